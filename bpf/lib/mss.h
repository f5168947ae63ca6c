/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The largest segment that a SYN speaks of, lowered to what the path between a pod and elsewhere carries. Both ends then send what
 * fits from the first byte on, also where no "too big" ever reaches them. Of a Service whose endpoint is elsewhere the node
 * between it and the client looks after its own way to the client, the endpoint's node after the one between them.
 *
 * Off unless asked for (config.mss_clamp), and then only SYNs pay. A SYN without the option asks for the smallest default and is
 * left alone; so is one whose options make no sense: the receiver judges it. */
#pragma once

#include "lib/endpoint.h"
#include "lib/packet.h"
#include "lib/route.h"

enum { TCP_OPTION_END = 0, TCP_OPTION_NOOP = 1, TCP_OPTION_MSS = 2 };
enum { MSS_OPTION_LEN = 4, TCP_OPTIONS_MAX = 40, MSS_AF_INET = 2, MSS_AF_INET6 = 10 };

enum mss_side { MSS_POD_SENDS, MSS_POD_GETS };

/* What the node's routes say of the way from the pod to the world: the uplink's MTU, or less where the route has a locked one or the
 * kernel has learned one. A packet longer than any MTU makes the kernel tell it. Return: 0 where no way leads out. */
static __always_inline __u32 mss_world_mtu(struct __sk_buff *skb, const struct packet *pkt, const struct ip_addr *near,
					   const struct ip_addr *far)
{
	struct bpf_fib_lookup way = { .tot_len = 0xffff, .ifindex = skb->ifindex };

	if (pkt->v6) {
		way.family = MSS_AF_INET6;
		__builtin_memcpy(way.ipv6_src, near, 16);
		__builtin_memcpy(way.ipv6_dst, far, 16);
	} else {
		way.family = MSS_AF_INET;
		way.ipv4_src = near->w[3];
		way.ipv4_dst = far->w[3];
	}
	return bpf_fib_lookup(skb, &way, sizeof(way), 0) == BPF_FIB_LKUP_RET_FRAG_NEEDED ? way.mtu_result : 0;
}

/* Of the whole path as far as this node knows it; 0: nothing to keep to, as between pods of one node. */
static __always_inline __u32 mss_path_mtu(struct __sk_buff *skb, const struct packet *pkt, enum mss_side side)
{
	struct ip_addr far = side == MSS_POD_SENDS ? pkt->dst : pkt->src; /* a key must be in this function's own stack */
	struct node_route *route = node_route_find(&far);

	if (route)
		return route->mtu;
	return endpoint_find(&far) ? 0 : mss_world_mtu(skb, pkt, side == MSS_POD_SENDS ? &pkt->src : &pkt->dst, &far);
}

/* Where the option's value is in the frame; 0: there is none, or the options cannot be followed. */
static __always_inline __u32 mss_find(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 off = pkt->l4_off + 20, end;
	__u8 option[2];

	if (bpf_skb_load_bytes(skb, pkt->l4_off + 12, option, 1))
		return 0;
	end = pkt->l4_off + (option[0] >> 4) * 4;
	if (end > pkt->l3_off + pkt->ip_len)
		return 0;
	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		if (off + MSS_OPTION_LEN > end || bpf_skb_load_bytes(skb, off, option, 2) || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_NOOP) {
			off++;
			continue;
		}
		if (option[0] == TCP_OPTION_MSS)
			return option[1] == MSS_OPTION_LEN ? off + 2 : 0;
		if (option[1] < 2)
			return 0;
		off += option[1];
	}
	return 0;
}

/* One that begins at an odd byte of the header lies across two words of the checksum. */
static __always_inline __u16 mss_in_sum(__be16 mss, bool odd)
{
	return odd ? __builtin_bswap16(mss) : mss;
}

/* @side: enum mss_side. Return: 1 when the segment size was lowered. */
__global int mss_lower(struct __sk_buff *skb, const struct packet *pkt, __u32 side)
{
	__u32 off, mtu, headers;
	__be16 old, new;
	bool odd;

	if (!pkt)
		return 0;
	headers = pkt->v6 ? 60 : 40;
	off = mss_find(skb, pkt);
	if (!off || bpf_skb_load_bytes(skb, off, &old, 2))
		return 0;
	mtu = mss_path_mtu(skb, pkt, side);
	if (mtu <= headers || bpf_ntohs(old) <= mtu - headers)
		return 0;
	new = bpf_htons(mtu - headers);
	odd = (off - pkt->l4_off) & 1;
	if (bpf_l4_csum_replace(skb, pkt->l4_off + 16, mss_in_sum(old, odd), mss_in_sum(new, odd), 2))
		return 0;
	return !bpf_skb_store_bytes(skb, off, &new, 2, 0);
}

/* For every packet that may pass; a SYN in fragments is nobody's honest one. */
static __always_inline void mss_clamp(struct __sk_buff *skb, const struct packet *pkt, enum mss_side side)
{
	if (config.mss_clamp && unlikely(pkt->tcp_flags & TCP_SYN) && pkt->fragment == FRAGMENT_NONE)
		mss_lower(skb, pkt, side);
}
