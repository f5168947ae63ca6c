/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `node_routes`: what belongs to other nodes, and how packets get there. */
#pragma once

#include "weft/addr.h"

#define NODE_ROUTES_MAX 16384

struct node_route_key {
	__u32 len; /* bits of addr that count; an IPv4 /24 is 120 */
	__be32 addr[4]; /* directly behind len, as an LPM key must be */
};

enum transport { TRANSPORT_DIRECT, TRANSPORT_VXLAN };

struct node_route {
	struct ip_addr underlay; /* direct: next hop; vxlan: outer destination, and the only outer source accepted */
	__u32 ifindex;		 /* direct: uplink; vxlan: tunnel device */
	__u16 mtu;		 /* largest inner IP packet */
	__u8 transport;		 /* enum transport */
	__u8 vtep_mac[6];	 /* vxlan: inner destination MAC */
	__u8 pad[3];
};

ABI_SIZE(struct node_route_key, 20);
ABI_SIZE(struct node_route, 32);
