/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `node_routes`: what belongs to other nodes, and how packets get there. */
#pragma once

#include "weft/addr.h"

#define NODE_ROUTES_MAX 16384

struct node_route_key {
	__u32 len; /* bits of addr that count; an IPv4 /24 is 120 */
	__be32 addr[4]; /* directly behind len, as an LPM key must be */
};

enum transport { TRANSPORT_DIRECT, TRANSPORT_TUNNEL, TRANSPORT_MESH };

struct node_route {
	struct ip_addr underlay; /* direct: next hop; tunnel: outer destination */
	struct ip_addr outer;	 /* the only outer source by which its packets may come; ADDR_ABSENT_BYTE: by no tunnel */
	__u32 ifindex;		 /* direct: uplink; tunnel: its device; mesh: the WireGuard interface, which has no Ethernet header */
	__u16 mtu;		 /* largest inner IP packet */
	__u8 transport;		 /* enum transport: how packets are sent */
	__u8 plain;		 /* 1: its packets may come as they are */
	__u8 vtep_mac[6];	 /* tunnel: inner destination MAC */
	__u8 unwrap;		 /* tunnel: 1: what comes by it may be taken out of its outer packet at the uplink */
	__u8 pad;
	/* tunnel: where outer packets leave, so that the program makes them itself; 0: the tunnel's device makes them */
	__u32 uplink;
	__u32 pad2;
	struct ip_addr next_hop; /* of outer packets, on @uplink */
};

ABI_SIZE(struct node_route_key, 20);
ABI_SIZE(struct node_route, 72);
