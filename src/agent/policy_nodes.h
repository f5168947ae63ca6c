/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the model, as the compiler of policy takes them. */
#pragma once

#include "model/model.h"
#include "policy/policy.h"
#include "route/plan.h"

/* This node's uplinks' addresses, with their networks; and every address that it has on any link and that others might reach. */
struct policy_links {
	const struct route_underlay *all;
	size_t n;
	const struct addr *own;
	size_t n_own;
};

/* @host: it is this node, and policies may speak of it; by what its links lead to it, NULL: it is another. Beside the addresses of its object that are those
 * that it has (the API knows few of them) and, of each uplink's network, the broadcast address (IPv4) and the routers' anycast address (IPv6, RFC 4291 2.6.1), and all groups (POLICY_GROUPS4, POLICY_GROUPS6): to peers they are nobody's. */
void policy_nodes_put(struct policy *to, const struct model_node *node, const struct policy_links *host);
/* The pod ranges of all nodes. */
void policy_nodes_put_ranges(struct policy *to, const struct model *m);
