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

/* It has found room after all. */
void policy_room_note_present(struct policy_room *r, const struct policy_maps *m, enum policy_map map, const void *key);

/**
 * policy_room_exchange() - which prefixes should go, so that others may come that some policies cannot do without
 * @ids: policies; 0 is none
 * @ret_go: numbers of entries that are there, and that those do not tell apart; no more than come
 * @ret_come: of those that are absent, and that they do
 */
void policy_room_exchange(const struct policy_room *r, const struct policy_maps *m, const uint32_t *ids, size_t n_ids, size_t **ret_go, size_t *ret_n_go,
			  size_t **ret_come, size_t *ret_n_come);

/**
 * policy_room_each_blind() - the policies that would take an absent address for another
 * @m: the maps that are applied
 *
 * Where an entry is missing the prefix around it answers, so a policy is blind if its rules for the two differ. A pod's address is taken for that
 * of a pod that nobody knows, which opens nothing: that alone makes no policy blind. O(entries + policies * different pairs of classes).
 */
typedef void policy_room_fn(uint32_t policy, void *ctx);
void policy_room_each_blind(const struct policy_room *r, const struct policy_maps *m, policy_room_fn *fn, void *ctx);
