/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses of Services are to be announced, and by which nodes they may be. Pure; how it is done, and by which one of them, is
 * the announcers' (agent/announcer.h). */
#pragma once

#include "service/service.h"

enum announce_from {
	ANNOUNCE_POOLS, /* addresses that came from a LoadBalancerPool */
	ANNOUNCE_ALL,	/* every load balancer address; external addresses, too, if they are served */
};

struct announcement {
	struct addr addr;
	const char *namespace_, *name; /* the Service; of several that to which a pool gave it, then the oldest. Borrowed from the model */
	const struct model_node **nodes; /* sorted by name */
	size_t n_nodes;
};

/**
 * service_announcements() - what the cluster announces, the same from every node's point of view
 *
 * A node may announce when it has no label node.kubernetes.io/exclude-from-external-load-balancers, and, as long as there are such
 * nodes, is ready, not cordoned and not about to go. With externalTrafficPolicy Local only nodes with a ready endpoint may.
 * O(Services + addresses (nodes + endpoints)).
 *
 * Return: sorted by address; the caller's to announcements_free(). Valid until the model changes.
 */
struct announcement *service_announcements(const struct service_env *env, enum announce_from from, size_t *ret_n);
void announcements_free(struct announcement *list, size_t n);
