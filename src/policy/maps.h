/* SPDX-License-Identifier: Apache-2.0 */
/* The wanted contents of the datapath's policy maps: arrays of the abi structs, each sorted by key, never changed once made.
 * The seam to the datapath: diff against the maps of the last apply, and make the changes in the order given. */
#pragma once

#include "base/macro.h"
#include "weft/policy.h" /* bpf/abi */

#include <sys/types.h>

struct policy_addr_entry {
	struct policy_addr_key key;
	struct policy_class_value value;
};
struct policy_cidr_entry {
	struct policy_cidr_key key; /* sorted by address, then length: covering prefixes come first */
	struct policy_class_value value;
};
struct policy_rule_entry {
	struct policy_rule_key key;
	struct policy_rule_value value;
};
struct policy_port_entry {
	struct policy_port_key key;
	struct policy_port_value value;
};
struct policy_endpoint_entry {
	struct policy_addr_key key; /* an address of a local pod */
	struct policy_endpoint_value value;
};

enum policy_map { POLICY_MAP_ADDRS, POLICY_MAP_CIDRS, POLICY_MAP_RULES, POLICY_MAP_PORTS, POLICY_MAP_ENDPOINTS, POLICY_MAP_COUNT };

struct policy_maps {
	unsigned refs;
	size_t n[POLICY_MAP_COUNT];
	void *entries[POLICY_MAP_COUNT]; /* of the struct that belongs to the map */
	uint64_t host_until;  /* when the trial of the node's own policies ends; 0: there is none */
	uint32_t host_policy; /* the node's own; 0: none */
	uint32_t host_after;	/* what follows it when its trial ends by itself; 0: none */
	uint32_t host_failsafe; /* the policy of its failsafe ports alone, for where its own finds no room; POLICY_LOCKED: it has none */
};

struct policy_map_shape {
	const char *name;
	size_t key_size, value_size, value_offset, entry_size;
};
extern const struct policy_map_shape policy_map_shapes[POLICY_MAP_COUNT];

static inline const struct policy_addr_entry *policy_maps_addrs(const struct policy_maps *m)
{
	return m->entries[POLICY_MAP_ADDRS];
}
static inline const struct policy_cidr_entry *policy_maps_cidrs(const struct policy_maps *m)
{
	return m->entries[POLICY_MAP_CIDRS];
}
static inline const struct policy_rule_entry *policy_maps_rules(const struct policy_maps *m)
{
	return m->entries[POLICY_MAP_RULES];
}
static inline const struct policy_port_entry *policy_maps_ports(const struct policy_maps *m)
{
	return m->entries[POLICY_MAP_PORTS];
}
static inline const struct policy_endpoint_entry *policy_maps_endpoints(const struct policy_maps *m)
{
	return m->entries[POLICY_MAP_ENDPOINTS];
}

struct policy_maps *policy_maps_get(struct policy_maps *m); /* one more reference */
struct policy_maps *policy_maps_put(struct policy_maps *m); /* returns NULL; NULL is fine */
DEFINE_CLEANUP(struct policy_maps *, policy_maps_put)

/* The rules, ports and endpoints of both, by key; what their values are is not said. A reference of the caller's. */
struct policy_maps *policy_maps_merge(const struct policy_maps *a, const struct policy_maps *b);

/* Orders keys of one map as its array is sorted. */
int policy_map_cmp(enum policy_map map, const void *key_a, const void *key_b);

/* What a step of an update does, in the order of the steps. */
enum policy_step {
	POLICY_STEP_ADD,	  /* port tables and rules that are new: nobody refers to them yet */
	POLICY_STEP_CLASSES,	  /* addresses and prefixes get their classes, one by one: no verdict of a policy in force changes by a split */
	POLICY_STEP_SWITCH,	  /* endpoints get their policies; deleted addresses and prefixes go; then what turns does so, all at one instant */
	POLICY_STEP_REMOVE,	  /* rules and port tables that nothing refers to any more, and entries of endpoints that are none, after a grace period */
};

struct policy_change {
	enum policy_step step;
	enum policy_map map;
	bool turns; /* takes effect with all others that do, at the end of POLICY_STEP_SWITCH */
	const void *key;
	const void *value; /* NULL: delete */
};

/**
 * policy_maps_diff() - the changes from @old to @new, in the order in which they may be made
 * @old: NULL for nothing
 * @fn: called for each change; returns 0 to go on, else the diff stops and returns that value
 * @ret_classes_changed: when not NULL, whether the class of any address changed that had one: flows must be judged anew
 *
 * A key that stays in rules or ports never changes its value while its policy is in force, unless ids were reused, which
 * policy_settle() allows; a change of that sort is made in POLICY_STEP_ADD. O(entries).
 */
typedef int policy_change_fn(const struct policy_change *change, void *ctx);
int policy_maps_diff(const struct policy_maps *old, const struct policy_maps *new_, policy_change_fn *fn, void *ctx,
		     bool *ret_classes_changed);
