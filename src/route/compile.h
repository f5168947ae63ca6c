/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler's files share: the state of one compilation, and the table of transports. Nobody else includes it. */
#pragma once

#include "route/plan.h"

/* A node in the compiler's eyes. */
struct member {
	const struct model_node *node;
	struct prefix ranges[2]; /* IPv4, IPv6; len 0: none */
	bool claims[2];		 /* it owns that range */
	char *why;		 /* what is wrong, first finding */
	bool conflict;
	struct route_peer *peer;
};

struct compiling {
	const struct route_config *config;
	struct member *members;
	size_t n;
	struct member *own;
	const struct model *model;
	struct prefix *owned; /* all ranges that have an owner: disjoint, in order */
	size_t n_owned;
	struct route_plan *plan;
	size_t cap_routes, cap_rules, cap_neighs, cap_addrs, cap_node_routes;
};

/* A way to carry packets between nodes. One row of route_transports, in transport.c, is all that the compiler knows of it. */
struct transport_ops {
	const char *name;
	/* Bytes that it adds to an IP packet, over IPv4 and over IPv6 outside. */
	uint32_t overhead[2];
	/* Do packets of this node's pods to the peers' own addresses take it as well? Then routes of pods are looked up in the
	 * table of peers (NET_TABLE_PEERS) first. */
	bool is_tunnel;
	/* Routes, neighbours and node routes towards a peer with which we have a family in common. Sets the peer's state,
	 * addresses and MTU; complains of what is wrong. */
	void (*plan)(struct compiling *c, struct member *m);
};
extern const struct transport_ops route_transports[ROUTE_TRANSPORTS];

/* Does the peer own a range of family @f (0: IPv4, 1: IPv6), and so do we? */
bool route_is_common(const struct compiling *c, const struct member *m, int f);
/* The largest packet of family @f inside, over a link of @mtu bytes. */
uint32_t route_inner_mtu(const struct transport_ops *t, uint32_t mtu, bool outer_v6);
/* Does the Node name an IPv6 address before those of IPv4? @m may be NULL. */
bool route_names6_first(const struct member *m);
/* Keeps the first finding about a node. */
void route_complain(struct member *m, const char *fmt, ...) _printf_(2, 3);
/* Is it an address of some node's pods? A node that claims it would draw their packets to itself. */
bool route_in_pod_range(const struct compiling *c, const struct addr *a);
const struct route_underlay *route_own_underlay(const struct route_config *c, int family);
/* Does the peer share a network with us in every family that both have, and has it room for it? */
bool route_is_on_link(const struct compiling *c, const struct member *m);
void route_add_route(struct compiling *c, struct route r);
void route_add_rule(struct compiling *c, struct rule r);
/* The first pair of addresses, of the peer and of us, that are on one network. Return: ours, or NULL. */
const struct route_underlay *route_on_link(const struct route_config *c, const struct model_node *n, int family,
					   const struct addr **ret_addr);

/* The plain way to a peer's address in the pod range, for probes; and the rule that sends them there. */
void route_plan_probe(struct compiling *c, struct member *m);
void route_plan_probe_rule(struct compiling *c, int f);
