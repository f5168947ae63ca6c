/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's maps, brought into the datapath. */
#pragma once

#include "datapath/datapath.h"
#include "policy/maps.h"

struct policy_apply {
	struct datapath *dp;	   /* that has `applied`; NULL: none yet */
	struct policy_maps *applied, *before; /* before: what is to be removed from is in it and not in applied */
	bool fresh;		   /* what earlier agents have left is still there */
	bool *failed, *failed_ports; /* policies and port tables of `applied` that did not fit, by id; or NULL */
	size_t n_failed_ids, n_failed_ports;
	size_t locked, missed;	   /* endpoints that are locked down because of that; addresses that found no room */
	uint64_t commits;
};

/* The datapath is another now, or closed. */
void policy_apply_forget(struct policy_apply *p);

/**
 * policy_apply() - make the datapath's policy maps these, but for what goes
 *
 * A policy that does not fit is not in force: its endpoints are locked down, and p->locked counts them. Return: 0, -errno when nothing
 * can be said of what is in force; the next call does everything again.
 */
int policy_apply(struct policy_apply *p, struct datapath *dp, struct policy_maps *maps);
/* Removes what the maps of the last policy_apply() have no more; after a grace period, so that no program is still on its way to it. */
int policy_apply_finish(struct policy_apply *p);
static inline bool policy_apply_is_failed(const struct policy_apply *p)
{
	return p->locked || p->missed;
}
