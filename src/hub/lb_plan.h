/* SPDX-License-Identifier: Apache-2.0 */
/* Which Service of type LoadBalancer has which addresses of which LoadBalancerPool. Pure: no clock, no store. What was given out
 * is in the Services' status, and nowhere else: so whoever runs this next, after a restart or elsewhere, goes on with it.
 *
 * The Services are gone through twice, the older before the younger. First each keeps what it has and may keep: an address
 * of a pool that is there for it, that it asks for if it asks, that nobody older has. Then the missing ones are given. So a
 * younger Service never takes what an older one holds, also when both come back from a restart at once. */
#pragma once

#include "base/json.h"
#include "net/addr.h"

#define LB_CONDITION "weft.dev/LoadBalancerAddresses" /* of a Service: whether it has what it asks for */
/* Its reason when no pool is there for the Service: what that has, if it has something, somebody else gave. Under every other reason, and whatever the
 * status, its addresses are the pools'; agents go by that (model/service_decode.c). */
#define LB_REASON_NO_POOL "NoPool"
#define LB_ANNOTATION_IPS "weft.dev/load-balancer-ips"	/* asks for addresses: at most one a family, separated by commas */
#define LB_ANNOTATION_POOL "weft.dev/load-balancer-pool" /* asks for a pool, by name */

struct lb_input {
	const json_t *const *pools; /* in the order in which they are used: the older first, so that a new one takes no range of theirs */
	size_t n_pools;
	const json_t *const *services; /* all, of whatever type: the older first */
	size_t n_services;
	const json_t *const *namespaces; /* sorted by name */
	size_t n_namespaces;
	const json_t *const *nodes;
	size_t n_nodes;
	const json_t *const *api; /* EndpointSlices of default/kubernetes */
	size_t n_api;
	const struct prefix *cluster; /* ranges of pods and of cluster addresses */
	size_t n_cluster;
	const char *now; /* for lastTransitionTime */
};

struct lb_plan {
	json_t *services; /* array of {namespace, name, status, reason, message, warning}: what has to be written */
	json_t *pools;	  /* array of {name, status} */
};

/**
 * lb_plan_make() - compare what Services and pools say with what should be
 *
 * A Service that no pool is there for, and that bears no condition of ours, is somebody else's and not touched; its addresses
 * are given to nobody else. What somebody names in externalIPs is given last: nodes may serve it there, which only they know, but a word in
 * a Service closes no pool. O(pools * services + addresses).
 */
void lb_plan_make(const struct lb_input *in, struct lb_plan *ret);
void lb_plan_done(struct lb_plan *p);
