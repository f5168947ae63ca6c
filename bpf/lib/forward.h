/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One hop further, past the stack. What a router has to answer (hop limit used up, too big) goes to the stack, which
 * answers it; and so does everything when the fast path is off. */
#pragma once

#include "lib/counter.h"
#include "lib/drop.h"
#include "lib/encap.h"
#include "lib/endpoint.h"
#include "lib/mark.h"
#include "lib/hop.h"
#include "lib/outer.h"
#include "lib/packet.h"

static __always_inline int forward_to_stack(struct __sk_buff *skb)
{
	count_forward(skb, FORWARD_STACK);
	return TC_ACT_OK;
}

/* New MACs, one hop less. Return: false when the headers cannot be written. */
static __always_inline bool rewrite_hop(struct __sk_buff *skb, const struct packet *pkt, const __u8 *dst_mac,
					const __u8 *src_mac)
{
	__u32 need = ETH_LEN + (pkt->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth;

	if (unlikely(data + need > (void *)(long)skb->data_end)) {
		if (bpf_skb_pull_data(skb, need))
			return false;
		data = (void *)(long)skb->data;
	}
	eth = data;
	if (pkt->v6) {
		struct ipv6hdr *ip = data + ETH_LEN;

		if ((void *)(ip + 1) > (void *)(long)skb->data_end)
			return false;
		hop_take6(ip);
	} else {
		struct iphdr *ip = data + ETH_LEN;

		if ((void *)(ip + 1) > (void *)(long)skb->data_end)
			return false;
		hop_take4(ip);
	}
	__builtin_memcpy(eth->h_dest, dst_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, src_mac, ETH_ALEN);
	return true;
}

/* Into the pod's own interface, also when the fast path is off: what was translated the stack would not know. */
static __always_inline int forward_past_stack(struct __sk_buff *skb, const struct packet *pkt, const struct endpoint *ep)
{
	if (pkt->ttl <= 1 || !rewrite_hop(skb, pkt, ep->pod_mac, ep->host_mac))
		return forward_to_stack(skb);
	count_forward(skb, FORWARD_LOCAL);
	return bpf_redirect_peer(ep->ifindex, 0);
}

/* Into the pod's own interface; it sees the packet come from its gateway. */
static __always_inline int forward_to_pod(struct __sk_buff *skb, const struct packet *pkt, const struct endpoint *ep)
{
	return config.fast_path ? forward_past_stack(skb, pkt, ep) : forward_to_stack(skb);
}

static __always_inline int forward_direct(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route)
{
	static const __u8 zero[ETH_ALEN];

	if (!rewrite_hop(skb, pkt, zero, zero))
		return forward_to_stack(skb);
	mark_put(skb, PAST_STACK);
	count_forward(skb, FORWARD_DIRECT);
	return redirect_to_hop(route->ifindex, &route->underlay);
}

/* What the path must have room for. Bytes behind the IP packet (a trailer) would travel, too, in a tunnel as well: the stack, to which what is too large goes,
 * takes them off. */
static __always_inline __u32 forward_len(struct __sk_buff *skb, const struct packet *pkt)
{
	return skb->gso_size ? packet_wire_len(skb, pkt) : skb->len - pkt->l3_off;
}

static __always_inline bool forward_fits(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route)
{
	return forward_len(skb, pkt) <= route->mtu;
}

/* @own_mac: inner source MAC. What is too big for the way and has to get there all the same goes by the device: the kernel cuts outer packets, which
 * have no DF bit. */
static __always_inline int forward_tunnel(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route,
					  const __u8 *own_mac, bool fits)
{
	__u32 device = route->ifindex, uplink = fits ? route->uplink : 0;

	if ((!uplink && encap_set_key(skb, route)) || !rewrite_hop(skb, pkt, route->vtep_mac, own_mac))
		return forward_to_stack(skb);
	count_forward(skb, FORWARD_TUNNEL);
	if (uplink) {
		int r = outer_send(skb, route, pkt->v6);

		if (likely(r >= 0))
			return r;
		if (r == OUTER_SPOILED || encap_set_key(skb, route))
			return drop(skb, pkt, DROP_TRUNCATED);
	}
	mark_put(skb, PAST_STACK);
	return bpf_redirect(device, 0);
}

/* Into the WireGuard interface; the kernel takes the Ethernet header off (net/core/filter.c, __bpf_redirect_no_mac). */
static __always_inline int forward_mesh(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route)
{
	static const __u8 zero[ETH_ALEN];
	__u32 ifindex = route->ifindex;

	if (!rewrite_hop(skb, pkt, zero, zero))
		return forward_to_stack(skb);
	mark_put(skb, PAST_STACK);
	count_forward(skb, FORWARD_MESH);
	return bpf_redirect(ifindex, 0);
}

/* To the node that the destination belongs to. @own_mac: inner source MAC in a tunnel. */
static __always_inline int forward_to_node(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route,
					   const __u8 *own_mac)
{
	if (!config.fast_path || pkt->ttl <= 1 || !forward_fits(skb, pkt, route))
		return forward_to_stack(skb);
	if (route->transport == TRANSPORT_TUNNEL)
		return forward_tunnel(skb, pkt, route, own_mac, true);
	if (route->transport == TRANSPORT_MESH)
		return forward_mesh(skb, pkt, route);
	return forward_direct(skb, pkt, route);
}
