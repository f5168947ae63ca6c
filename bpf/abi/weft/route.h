/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `node_routes`: what belongs to other nodes, and how packets get there. */
#pragma once

#include "weft/addr.h"

#define NODE_ROUTES_MAX 16384
#define NODE_ROUTE_LINKS 5

struct node_route_key {
	__u32 len; /* bits of addr that count; an IPv4 /24 is 120 */
	__be32 addr[4]; /* directly behind len, as an LPM key must be */
};

enum transport {
	TRANSPORT_DIRECT,
	TRANSPORT_TUNNEL,
	TRANSPORT_MESH,
	TRANSPORT_NONE, /* nothing is sent by it: it says only how the other node's packets may come */
};

/* May its packets come as they are? (Programs of earlier versions, which find entries of this one after a step back, look whether it is 0.) */
enum plain { PLAIN_NEVER, PLAIN_BY_LINKS, PLAIN_TO_NODES };

struct node_route {
	struct ip_addr underlay; /* direct: next hop; tunnel: outer destination */
	struct ip_addr outer;	 /* the only outer source by which its packets may come; ADDR_ABSENT_BYTE: by no tunnel */
	__u32 ifindex;		 /* direct: uplink; tunnel: its device; mesh: the WireGuard interface, which has no Ethernet header */
	__u16 mtu;		 /* largest inner IP packet */
	__u8 transport;		 /* enum transport: how packets are sent */
	__u8 plain;		 /* enum plain */
	__u8 vtep_mac[6];	 /* tunnel: inner destination MAC */
	__u8 unwrap;		 /* tunnel: 1: what comes by it may be taken out of its outer packet at the uplink */
	__u8 node;		 /* 1: a node's own address: to a node it may come as it is, by any uplink */
	/* tunnel: where outer packets leave, so that the program makes them itself; 0: the tunnel's device makes them */
	__u32 uplink;
	__u32 plain_by[NODE_ROUTE_LINKS]; /* uplinks in networks that both nodes share; a 0 ends them, the first one 0: by any */
	struct ip_addr next_hop; /* of outer packets, on @uplink */
};

ABI_SIZE(struct node_route_key, 20);
ABI_SIZE(struct node_route, 88);
