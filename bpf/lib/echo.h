/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A pod pings a Service's address: nobody has it, so the datapath answers in its name. It says that the address is a Service's, not that
 * somebody serves. No endpoint gets it, so policy knows it by the address itself: one outside of the cluster, judged before. Fragmented requests are left alone. */
#pragma once

#include "lib/answer.h"
#include "lib/service.h"

static __always_inline bool echo_is_request(const struct packet *pkt)
{
	return pkt->icmp == ICMP_QUERY && pkt->fragment == FRAGMENT_NONE &&
	       pkt->icmp_type == (pkt->v6 ? ICMPV6_ECHO_REQUEST : ICMP4_ECHO_REQUEST);
}

/* Both ends change places: no sum over them changes. */
static __always_inline bool echo_swap_addresses(struct __sk_buff *skb, const struct packet *pkt)
{
	if (pkt->v6) {
		__u32 off = pkt->l3_off + offsetof(struct ipv6hdr, saddr);

		return !bpf_skb_store_bytes(skb, off, &pkt->dst, 16, 0) && !bpf_skb_store_bytes(skb, off + 16, &pkt->src, 16, 0);
	}
	__u32 off = pkt->l3_off + offsetof(struct iphdr, saddr);

	return !bpf_skb_store_bytes(skb, off, &pkt->dst.w[3], 4, 0) && !bpf_skb_store_bytes(skb, off + 4, &pkt->src.w[3], 4, 0);
}

static __always_inline bool echo_make_reply(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 type = pkt->v6 ? ICMPV6_ECHO_REPLY : ICMP4_ECHO_REPLY;
	__be16 from = bpf_htons(pkt->icmp_type << 8), to = bpf_htons(type << 8); /* the code is zero, or stays in the sum */

	return !bpf_l4_csum_replace(skb, pkt->l4_off + 2, from, to, 2) && !bpf_skb_store_bytes(skb, pkt->l4_off, &type, 1, 0);
}

/**
 * echo_answer() - answers a ping of a cluster address (SVC-45), back by the interface that it came from
 *
 * @pkt is parsed. Return: what the program returns, or TC_ACT_UNSPEC when it is no such ping; then nothing was changed.
 */
__global int echo_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	struct service_key key = { .scope = SERVICE_INTERNAL };

	if (!pkt || !echo_is_request(pkt))
		return TC_ACT_UNSPEC;
	key.addr = pkt->dst;
	if (!bpf_map_lookup_elem(&service_frontends, &key))
		return TC_ACT_UNSPEC;
	if (!echo_make_reply(skb, pkt) || !echo_swap_addresses(skb, pkt) || !answer_swap_macs(skb))
		return TC_ACT_SHOT;
	count_forward(skb, FORWARD_ECHO);
	mark_put(skb, PAST_STACK);
	return bpf_redirect(skb->ifindex, 0);
}
