/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Direct server return: the node that a client asks sends its packets on as they are to the node of an endpoint, which serves them as
 * if they had come to itself, and answers the client by its own uplink.
 *
 * Each node remembers its own half (`nat_forward`, or the first one a way: lib/dsr_way.h): the first one which endpoint, so which node; the second one which of its
 * endpoints, and the way back. Neither tells the other anything: the packet itself, client and Service address, is the key of both.
 * Through a tunnel it comes from a node's address outside and a client's inside; without one it is a frame for this node with
 * another node's address (lib/service.h), so only node ports can be sent on. */
#pragma once

#include "lib/arrive.h"
#include "lib/inbound.h"

static __always_inline bool dsr_is_underlay_of_node(const struct ip_addr *outer)
{
	const struct node_route *route = node_route_find(outer);

	return route && addr_eq(&route->outer, outer);
}

/* A client's packet that a node sent on? It came through our tunnel from a node, and its source is nobody's here. */
__global int dsr_is_sent_on(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_tunnel_key key = {};
	struct ip_addr src, outer;

	if (!pkt)
		return 0;
	src = pkt->src;
	if (node_route_find(&src) || addr_is_node(&src) || endpoint_find(&src))
		return 0;
	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		addr_from_v4(&outer, bpf_htonl(key.remote_ipv4));
	else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		__builtin_memcpy(&outer, key.remote_ipv6, sizeof(outer));
	else
		return 0;
	return key.tunnel_id == config.vni && dsr_is_underlay_of_node(&outer) && encap_is_for_us(skb);
}

/* By which uplink is the client reached? Return: 0 when by none. */
__global __u32 dsr_uplink(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup way = { .ifindex = skb->ifindex };
	__u32 ifindex;
	long r;

	if (!pkt)
		return 0;
	if (pkt->v6) {
		way.family = 10; /* AF_INET6 */
		__builtin_memcpy(way.ipv6_dst, &pkt->src, 16);
	} else {
		way.family = 2; /* AF_INET */
		way.ipv4_dst = pkt->src.w[3];
	}
	r = bpf_fib_lookup(skb, &way, sizeof(way), 0);
	ifindex = way.ifindex;
	if (r != BPF_FIB_LKUP_RET_SUCCESS && r != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	return bpf_map_lookup_elem(&nat_uplinks, &ifindex) ? ifindex : 0;
}

/* Return: as inbound_enter(), but for the choice, which is made. */
static __always_inline int dsr_enter(struct __sk_buff *skb, struct packet *pkt)
{
	enum drop_reason why = DROP_NAT_ADDRESS;
	__u32 uplink;
	long way;

	if (unlikely(pkt->icmp == ICMP_ERROR))
		return inbound_error(skb, pkt);
	way = inbound_enter(skb, pkt, SERVICE_FORWARDED);
	if (likely(way < INBOUND_CHOSEN))
		return way;
	uplink = dsr_uplink(skb, pkt);
	if (uplink)
		why = inbound_begin(skb, pkt, way, uplink);
	return why == DROP_NONE ? inbound_enter(skb, pkt, SERVICE_FORWARDED | INBOUND_BEGUN) : -why;
}

/* What another node sent on: for an endpoint of this node, or for nobody. */
static __always_inline int dsr_arrive(struct __sk_buff *skb, struct packet *pkt)
{
	int way = packet_is_multicast(pkt) ? INBOUND_NONE : dsr_enter(skb, pkt);
	enum drop_reason why = way < 0 ? -way : DROP_TUNNEL_SOURCE;
	struct endpoint *ep = way == INBOUND_TRANSLATED ? endpoint_find(&pkt->dst) : NULL;

	if (!ep)
		return drop(skb, pkt, why);
	bpf_skb_change_type(skb, PACKET_HOST);
	if (!config.fast_path) /* to_pod looks at it */
		return forward_to_stack(skb);
	why = arrive_check(skb, pkt, ep->id, FLOW_TRANSLATED);
	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	return unlikely(pkt->via_stack) ? forward_to_stack(skb) : forward_to_pod(skb, pkt, ep);
}
