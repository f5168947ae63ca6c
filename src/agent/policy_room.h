/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes for which a policy map has no room, and which policies cannot do without them. */
#pragma once

#include "policy/maps.h"

struct policy_room {
	bool *absent[POLICY_MAP_COUNT]; /* by index in the maps that were applied; of addresses and prefixes only. NULL: none */
	size_t n;			/* how many */
};

void policy_room_done(struct policy_room *r);
/* @key: one of @m's, of @map */
void policy_room_note_absent(struct policy_room *r, const struct policy_maps *m, enum policy_map map, const void *key);
static inline bool policy_room_is_absent(const struct policy_room *r, const struct policy_maps *m, enum policy_map map, const void *key)
{
	return r->absent[map] && r->absent[map][((const char *)key - (const char *)m->entries[map]) / policy_map_shapes[map].entry_size];
}

/**
 * policy_room_each_blind() - the policies that would take an absent address for another
 * @m: the maps that are applied
 *
 * Where an entry is missing the prefix around it answers, so a policy is blind if its rules for the two differ. A pod's address is taken for that
 * of a pod that nobody knows, which opens nothing: that alone makes no policy blind. O(entries + policies * different pairs of classes).
 */
typedef void policy_room_fn(uint32_t policy, void *ctx);
void policy_room_each_blind(const struct policy_room *r, const struct policy_maps *m, policy_room_fn *fn, void *ctx);
