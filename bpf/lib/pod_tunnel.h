/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pods' tunnels and IPsec. To other pods and to the world they are packets as any; a node might take out what is inside and believe it: a kernel
 * with a tunnel's module loaded has a device that takes such packets from everybody. So nodes get none of them, unless that is wanted (config.pod_tunnels). The pod's
 * own node drops what is for itself, and for another node by the address that it knows it by; that node what came to another of its own. */
#pragma once

#include "lib/packet.h"
#include "lib/route.h"

enum { IPPROTO_L2TPV3 = 115, IPPROTO_MPLS_IN_IP = 137, IPPROTO_SRV6_ETHERNET = 143 };

/* Those that Linux takes packets out of. (Behind IPv6's extension headers, of which AH is one there.) */
static __always_inline bool proto_is_tunnel(__u8 proto)
{
	switch (proto) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
	case IPPROTO_ESP:
	case IPPROTO_AH:
	case IPPROTO_COMP:
	case IPPROTO_L2TPV3:
	case IPPROTO_MPLS_IN_IP:
	case IPPROTO_SRV6_ETHERNET:
		return true;
	default:
		return false;
	}
}

/* Of a pod of this node: is it for a node? The kernel says which other addresses are this one's. (Where there is no route, and of link-local ones, it says the same:
 * nobody else gets that.) */
__global bool pod_tunnel_is_for_node(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup way = { .ifindex = skb->ifindex };
	struct node_route *owner;
	struct ip_addr dst;

	if (!pkt || config.pod_tunnels)
		return false;
	dst = pkt->dst; /* a key must be in this function's own stack */
	owner = node_owner_find(&dst);
	if (owner || addr_is_node(&dst))
		return !owner || owner->node;
	if (pkt->v6) {
		way.family = 10; /* AF_INET6 */
		__builtin_memcpy(way.ipv6_src, &pkt->src, 16);
		__builtin_memcpy(way.ipv6_dst, &dst, 16);
	} else {
		way.family = 2; /* AF_INET */
		way.ipv4_src = pkt->src.w[3];
		way.ipv4_dst = dst.w[3];
	}
	return bpf_fib_lookup(skb, &way, sizeof(way), 0) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* For this node: is it of a pod elsewhere? */
static __always_inline enum drop_reason pod_tunnel_check(const struct packet *pkt)
{
	struct node_route *owner;

	if (likely(!proto_is_tunnel(pkt->proto)) || config.pod_tunnels)
		return DROP_NONE;
	owner = node_owner_find(&pkt->src);
	return owner && !owner->node ? DROP_POD_TUNNEL : DROP_NONE;
}
