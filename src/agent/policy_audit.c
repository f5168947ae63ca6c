/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of policy maps that somebody else took away or changed are put back. A look-up costs a system call, and there may be hundreds of
 * thousands of entries, so each look takes the next few: all of a small node at once, those of a large one within the time of an audit. */
#include "agent/policy_apply.h"

enum { LOOKS = 8192 };

/* What should stand there is not certain: not put, or put otherwise. */
static bool is_uncertain(const struct policy_apply *p, enum policy_map map, const void *key)
{
	switch (map) {
	case POLICY_MAP_RULES:
		return policy_apply_has_failed(p, ((const struct policy_rule_key *)key)->policy);
	case POLICY_MAP_PORTS:
		return p->failed_ports;
	case POLICY_MAP_ENDPOINTS:
		return false;
	default:
		return policy_room_is_absent(&p->room, p->applied, map, key);
	}
}

static int look(struct policy_apply *p, enum policy_map map, const char *entry)
{
	const struct policy_map_shape *shape = &policy_map_shapes[map];
	struct policy_endpoint_value v;
	const void *value = entry + shape->value_offset;

	if (is_uncertain(p, map, entry))
		return 0;
	if (map == POLICY_MAP_ENDPOINTS) {
		v = policy_apply_endpoint_value(p, value);
		value = &v;
	}
	return datapath_policy_mend(p->dp, policy_apply_dp_map(map), entry, value);
}

int policy_apply_audit(struct policy_apply *p)
{
	unsigned looks = 0, mended = 0;
	int r = 0;

	if (!p->applied || p->fresh)
		return 0;
	for (unsigned maps = 0; maps <= POLICY_MAP_COUNT && looks < LOOKS && r >= 0; maps++) {
		enum policy_map map = p->audit.map;
		size_t n = p->applied->n[map], size = policy_map_shapes[map].entry_size;

		for (; p->audit.at < n && looks < LOOKS && r >= 0; p->audit.at++, looks++) {
			r = look(p, map, (const char *)p->applied->entries[map] + p->audit.at * size);
			mended += r > 0;
		}
		if (p->audit.at < n)
			break;
		p->audit.at = 0;
		p->audit.map = (p->audit.map + 1) % POLICY_MAP_COUNT;
	}
	if (mended) {
		int s = datapath_policy_commit(p->dp, p->applied->host_until);

		r = r < 0 ? r : s;
	}
	return r < 0 ? r : (int)mended;
}
