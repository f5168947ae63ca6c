/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's maps, brought into the datapath. */
#pragma once

#include "agent/policy_room.h"
#include "datapath/datapath.h"
#include "policy/maps.h"

struct policy_apply {
	struct datapath *dp;	   /* that has `applied`; NULL: none yet */
	struct policy_maps *applied;
	struct policy_maps *leaving[2]; /* what was applied before: since the last policy_apply_finish(), since the one before. Or NULL */
	uint32_t host_policy, host_failsafe, host_after; /* of the maps that are being applied, or were last */
	unsigned fresh;		   /* so many times policy_apply_finish() until what earlier agents have left goes, too; 0: it is gone */
	bool *failed, *failed_ports; /* policies and port tables of `applied` that did not fit, by id; or NULL */
	size_t n_failed_ids, n_failed_ports;
	struct policy_room room;   /* addresses and prefixes of `applied` that found none */
	bool *blind;		   /* policies that cannot do without those, by id; or NULL */
	size_t n_blind;
	size_t locked;		   /* endpoints that are locked down because of one or the other */
	struct {
		enum policy_map map;
		size_t at;
	} audit; /* where policy_apply_audit() goes on */
	uint64_t commits;
};

/* Lists of ids, for what this is made of. */
static inline bool policy_apply_id_is_in(const bool *list, size_t n, uint32_t id)
{
	return id < n && list[id];
}
void policy_apply_mark(bool **list, size_t *n, uint32_t id);

/* The datapath is another now, or closed. */
void policy_apply_forget(struct policy_apply *p);

/**
 * policy_apply() - make the datapath's policy maps these, but for what goes
 *
 * A policy that does not fit, or for which an address or prefix that it tells apart does not, is not in force: its endpoints are locked down, and
 * p->locked counts them. What did not fit is tried again by the next call, which changes nothing while there still is no room. Return: 0, -errno when nothing
 * can be said of what is in force; the next call does everything again.
 */
int policy_apply(struct policy_apply *p, struct datapath *dp, struct policy_maps *maps);
/* To be called at intervals of at least a grace period: removes what no maps have had since the last call, or longer, so that no program is still on its
 * way to it. Return: 0, -errno when something may be left. */
int policy_apply_finish(struct policy_apply *p);
static inline bool policy_apply_is_leaving(const struct policy_apply *p)
{
	return p->leaving[0] || p->leaving[1] || p->fresh;
}

/* How many rules there are, those that are leaving among them. */
size_t policy_apply_count_rules(const struct policy_apply *p);

static inline bool policy_apply_is_failed(const struct policy_apply *p)
{
	return p->locked || p->room.n;
}

/* Addresses of endpoints whose policy found no room; @blind: it did, but not what it must tell apart. */
typedef void policy_apply_locked_fn(const struct addr *addr, bool blind, void *ctx);
void policy_apply_each_locked(const struct policy_apply *p, policy_apply_locked_fn *fn, void *ctx);
/* The node's own policies have found no room: what was confirmed goes on (on trial), or only its failsafe ports are open. */
bool policy_apply_host_is_failed(const struct policy_apply *p);
/* All that are locked down, for whatever reason. */
size_t policy_apply_count_locked(const struct policy_apply *p);
/* Looks at the next few thousand entries of the datapath, and puts back what somebody took away or changed. Return: how many, -errno. */
int policy_apply_audit(struct policy_apply *p);

/* For policy_audit.c: did the policy not fit; an endpoint's value, as it is in force; which map is meant. */
bool policy_apply_has_failed(const struct policy_apply *p, uint32_t policy);
struct policy_endpoint_value policy_apply_endpoint_value(const struct policy_apply *p, const struct policy_endpoint_value *wanted);
enum dp_policy_map policy_apply_dp_map(enum policy_map map);
