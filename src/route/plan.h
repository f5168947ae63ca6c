/* SPDX-License-Identifier: Apache-2.0 */
/* From the nodes of the cluster to what this node's kernel should hold: routes, rules, neighbours, addresses, and the
 * datapath's node routes (docs/architecture.md, "Addresses and routes on a node"). Pure: the same input gives the same
 * plan, in the same order, whatever the history. */
#pragma once

#include "model/model.h"
#include "net/netobj.h"

enum route_transport { ROUTE_DIRECT, ROUTE_VXLAN, ROUTE_GENEVE, ROUTE_WIREGUARD, ROUTE_TRANSPORTS };

/* One of this node's own addresses outside of the pod ranges. */
struct route_underlay {
	struct addr addr;
	struct prefix net; /* what is on-link by it */
	uint32_t ifindex;
	uint32_t mtu; /* of the link */
};

/* A path to a node's address is narrower than the link that leads there. */
struct route_path {
	struct addr remote;
	uint32_t mtu;
};

struct route_config {
	const char *node; /* own name */
	enum route_transport transport;
	/* `auto`: direct to the peers that are proven, @transport to the others */
	bool auto_direct;
	const char *const *proven; /* names, sorted */
	size_t n_proven;
	uint16_t probe_port;
	bool ipv4, ipv6;			/* families of the pods */
	const struct route_underlay *underlays; /* in order of preference */
	size_t n_underlays;
	const struct route_path *paths; /* tunnels: those that cannot be cut into fragments, sorted by address */
	size_t n_paths;
	uint32_t tunnel_ifindex;
	uint32_t vni;
	uint32_t lo_ifindex; /* 0 takes 1 */
	const struct prefix *service_ranges; /* cluster addresses: what none of them has goes nowhere */
	size_t n_service_ranges;
};

enum route_peer_state {
	ROUTE_PEER_OK,
	ROUTE_PEER_NO_RANGE,	/* no podCIDRs (yet) */
	ROUTE_PEER_NO_ADDRESS,	/* no InternalIP that this node's families can reach */
	ROUTE_PEER_NOT_ON_LINK, /* direct: shares no network with us */
	ROUTE_PEER_NO_ROOM,	/* the underlay is too small for the only family in common */
	ROUTE_PEER_CONFLICT,	/* its ranges overlap those of an older node, or ours */
};

struct route_peer {
	char *name; /* the plan's own: a node may go from the model before the next plan is made */
	enum route_peer_state state;
	enum route_transport transport;
	struct addr underlay, own_underlay; /* where packets go, and from which address of ours; zero unless OK */
	uint32_t mtu;			    /* largest packet that travels in one piece; 0 unless OK */
	bool probe;			    /* `auto`: it shares our networks; whether direct works is to be found out */
	struct addr probe_addrs[2];	    /* its node addresses in the pod ranges; zero where there is none in common */
	char *why; /* one line when something is not as it should be (also OK with one family missing), else NULL */
};

enum { ROUTE_PLAIN_LINKS_MAX = 5 };

/* The same facts as the datapath's node table wants them. */
struct route_node_route {
	struct prefix prefix;
	char *node; /* whose it is; the plan's own, too */
	enum route_transport transport;
	struct addr underlay; /* direct: next hop; tunnel: outer destination */
	struct addr outer;    /* the only outer source of its packets; zero: they may not come by tunnel */
	bool plain;	      /* its packets may come as they are, by these links: of networks that it shares with us */
	uint32_t plain_by[ROUTE_PLAIN_LINKS_MAX];
	size_t n_plain_by;    /* more than there is room for: how many more is not told */
	bool is_node;	      /* the peer's own address: to a node its packets come as they are in any case */
	bool only_source;     /* what is for it is the stack's */
	uint32_t ifindex;
	uint8_t vtep_mac[6];
	uint16_t mtu;
};

struct route_plan {
	struct route *routes;
	size_t n_routes;
	struct rule *rules;
	size_t n_rules;
	struct neigh *neighs;
	size_t n_neighs;
	struct link_addr *addrs; /* the node's addresses in the pod ranges, on lo */
	size_t n_addrs;
	struct route_node_route *node_routes; /* sorted by prefix */
	size_t n_node_routes;
	struct route_peer *peers; /* sorted by name, without this node */
	size_t n_peers;
	struct prefix ranges[2];   /* own ranges: IPv4, IPv6; len 0 where there is none */
	struct addr node_addrs[2]; /* own addresses in them; zero where there is none */
	uint8_t vtep_mac[6];	   /* own; zero without a range */
	uint32_t pod_mtu;	   /* of a pod's routes: the smallest path MTU */
	uint32_t device_mtu;	   /* of a pod's device: the underlay's, with IPv6 at least 1280 */
	char *error; /* why this node itself cannot take part (no range yet, overlap, no underlay), else NULL */
};

/**
 * route_compile() - the whole plan
 *
 * Overlapping ranges: of two nodes the one created later loses (equal times: the greater uid, then name); it gets no
 * routes and says why. This node's own ranges win over everybody's, unless it is the younger one: then @error says so,
 * its own plan stays (pods that run keep their addresses), and the older peer's overlapping ranges are not routed here.
 * A range that is too small to hold a node address and one pod (longer than /30, /126) is a conflict of its own.
 *
 * O(n log n) for n nodes. Never fails.
 */
void route_compile(const struct route_config *config, const struct model *m, struct route_plan *ret);
/* Do both want the same of the kernel and the datapath? */
bool route_plan_eq(const struct route_plan *a, const struct route_plan *b);
void route_plan_done(struct route_plan *p);

/* The node's address in a range: the first after the network's. */
struct addr route_node_addr(const struct prefix *range);
/* A node's VTEP MAC from its ranges (IPv4 first): anybody can derive any peer's. Return: 0, -ENOENT without a range. */
int route_vtep_mac(const struct prefix *ranges, size_t n, uint8_t ret[6]);
const char *route_transport_name(enum route_transport t);
bool route_transport_is_tunnel(enum route_transport t);
/* Bytes that it adds to an IP packet. */
uint32_t route_overhead(enum route_transport t, bool outer_v6);
/* The interface's MTU over an underlay's, whatever family is outside. */
uint32_t route_transport_mtu(enum route_transport t, uint32_t underlay);
const char *route_peer_state_name(enum route_peer_state s);
