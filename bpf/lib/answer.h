/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors that a router or a host would send, made out of the packet that they are about and sent back by the interface that it
 * came from: nobody in the stack knows about addresses that are Services'.
 *
 * A sender on this machine may have left the packet's checksum to the hardware (CHECKSUM_PARTIAL), and the kernel will fill it in within
 * the quoted header on the way out, after the ICMP checksum has been computed. A program cannot see that state, but what the field
 * holds then: the sum of the pseudo header. And what the transport part will sum up to is known as well: its complement. */
#pragma once

#include "lib/counter.h"
#include "lib/event.h"
#include "lib/forward.h"

/* Answers are few: each CPU has a bucket of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_rate);
} answer_rates SEC(".maps");

enum { ANSWERS_PER_TICK = 128 };

enum answer { ANSWER_PORT_UNREACHABLE, ANSWER_TOO_BIG, ANSWER_TIME_EXCEEDED };

static __always_inline bool answer_is_allowed(void)
{
	struct event_rate *rate;
	__u32 zero = 0, now = tick_now();

	rate = bpf_map_lookup_elem(&answer_rates, &zero);
	if (!rate)
		return false;
	if (rate->tick != now) {
		rate->tick = now;
		rate->tokens = ANSWERS_PER_TICK;
	}
	if (!rate->tokens) {
		rate->missed++;
		return false;
	}
	rate->tokens--;
	return true;
}

struct answer_icmp {
	__u8 type, code;
	__be16 sum;
	__be32 rest;
};

static __always_inline void answer_header(bool v6, enum answer what, __u32 mtu, struct answer_icmp *icmp)
{
	*icmp = (struct answer_icmp){};
	if (v6) {
		icmp->type = what == ANSWER_TOO_BIG ? ICMPV6_PKT_TOOBIG : what == ANSWER_TIME_EXCEEDED ? ICMPV6_TIME_EXCEED : ICMPV6_DEST_UNREACH;
		icmp->code = what == ANSWER_PORT_UNREACHABLE ? ICMPV6_PORT_UNREACH : 0;
		icmp->rest = what == ANSWER_TOO_BIG ? bpf_htonl(mtu) : 0;
	} else {
		icmp->type = what == ANSWER_TIME_EXCEEDED ? ICMP4_TIME_EXCEEDED : ICMP4_UNREACHABLE;
		icmp->code = what == ANSWER_PORT_UNREACHABLE ? 3 : what == ANSWER_TOO_BIG ? 4 : 0;
		icmp->rest = what == ANSWER_TOO_BIG ? bpf_htonl(mtu & 0xffff) : 0;
	}
}

static __always_inline __u32 answer_fold(__u64 sum)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What is summed up beside the packet, in IPv6 and in every transport checksum. IPv4's other 24 bytes are zero. */
struct answer_pseudo {
	struct ip_addr src, dst;
	__be32 len, proto;
};

static __always_inline __u32 answer_pseudo_sum(const struct packet *pkt, const struct ip_addr *src, const struct ip_addr *dst, __u32 len,
					       __u8 proto)
{
	struct answer_pseudo p = { .len = bpf_htonl(len), .proto = bpf_htonl(proto) };

	if (pkt->v6) {
		p.src = *src;
		p.dst = *dst;
	} else { /* without the ::ffff that makes one type of both families */
		p.src.w[3] = src->w[3];
		p.dst.w[3] = dst->w[3];
	}
	return answer_fold(bpf_csum_diff(NULL, 0, (__be32 *)&p, sizeof(p), 0));
}

struct answer_quote {
	__be32 ip[12]; /* with IPv6's fragment header; what is not there is zero */
	union {
		__be32 l4[5]; /* without TCP: 8 bytes, the others zero */
		__be16 half[10];
	};
};

static __always_inline __u32 answer_quote_sum(const struct packet *pkt, const struct answer_quote *q)
{
	__u32 sum = bpf_csum_diff(NULL, 0, (__be32 *)q->ip, sizeof(q->ip), 0), pseudo;
	__be16 field = pkt->proto == IPPROTO_TCP ? q->half[8] : pkt->proto == IPPROTO_UDP ? q->half[3] : 0;

	pseudo = answer_pseudo_sum(pkt, &pkt->src, &pkt->dst, pkt->ip_len - (pkt->l4_off - pkt->l3_off), pkt->proto);
	if (field && field == pseudo && pkt->fragment == FRAGMENT_NONE) /* who makes fragments has computed it */
		return answer_fold((__u64)sum + (__u16)~pseudo);
	return answer_fold((__u64)sum + (__u32)bpf_csum_diff(NULL, 0, (__be32 *)q->l4, sizeof(q->l4), 0));
}

/* Writes the headers into the room that was made for them; ends swapped. Return: false when they cannot be written. */
static __always_inline bool answer_write(struct __sk_buff *skb, const struct packet *pkt, struct answer_icmp *icmp, __u32 quote_sum,
					 __u32 len)
{
	__u64 sum = quote_sum + (__u64)(__u32)bpf_csum_diff(NULL, 0, (__be32 *)icmp, sizeof(*icmp), 0);

	if (pkt->v6) {
		struct ipv6hdr ip = { .version = 6, .payload_len = bpf_htons(len), .nexthdr = IPPROTO_ICMPV6, .hop_limit = 64 };

		__builtin_memcpy(&ip.saddr, &pkt->dst, 16);
		__builtin_memcpy(&ip.daddr, &pkt->src, 16);
		sum += answer_pseudo_sum(pkt, &pkt->dst, &pkt->src, len, IPPROTO_ICMPV6);
		icmp->sum = ~answer_fold(sum);
		return !bpf_skb_store_bytes(skb, ETH_LEN, &ip, sizeof(ip), 0) &&
		       !bpf_skb_store_bytes(skb, ETH_LEN + sizeof(ip), icmp, sizeof(*icmp), 0);
	}
	struct iphdr ip = { .version = 4, .ihl = 5, .tot_len = bpf_htons(len + sizeof(ip)), .ttl = 64, .protocol = IPPROTO_ICMP,
			    .saddr = pkt->dst.w[3], .daddr = pkt->src.w[3] };

	ip.check = ~answer_fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	icmp->sum = ~answer_fold(sum);
	return !bpf_skb_store_bytes(skb, ETH_LEN, &ip, sizeof(ip), 0) &&
	       !bpf_skb_store_bytes(skb, ETH_LEN + sizeof(ip), icmp, sizeof(*icmp), 0);
}

static __always_inline bool answer_swap_macs(struct __sk_buff *skb)
{
	__u8 macs[2 * ETH_ALEN], swapped[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return false;
	__builtin_memcpy(swapped, macs + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(swapped + ETH_ALEN, macs, ETH_ALEN);
	return !bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
}

/* Of the packet's own header, and of a first fragment's in IPv6: who sends a datagram in pieces that are too big hears of it by that only. */
static __always_inline __u32 answer_ip_len(const struct packet *pkt)
{
	if (!pkt->v6)
		return 20;
	return pkt->fragment == FRAGMENT_FIRST ? 48 : 40;
}

/* Packets with options or other extension headers, fragments behind the first, errors and frames to groups are not answered (RFC 1122 3.2.2). */
static __always_inline bool answer_is_due(struct __sk_buff *skb, const struct packet *pkt)
{
	return pkt->l3_off == ETH_LEN && pkt->l4_off - pkt->l3_off == answer_ip_len(pkt) && pkt->fragment != FRAGMENT_LATER &&
	       pkt->icmp != ICMP_ERROR && skb->pkt_type == PACKET_HOST && transport_is_known(pkt->proto);
}

/* Lengths are constants, for the verifier. */
static __always_inline long answer_quote_ip(struct __sk_buff *skb, __u32 len, struct answer_quote *q)
{
	if (len == 20)
		return bpf_skb_load_bytes(skb, ETH_LEN, q->ip, 20);
	return len == 40 ? bpf_skb_load_bytes(skb, ETH_LEN, q->ip, 40) : bpf_skb_load_bytes(skb, ETH_LEN, q->ip, 48);
}

/**
 * answer_send() - turn the packet into an ICMP error about itself, from the address that it was for
 * @mtu: for ANSWER_TOO_BIG
 *
 * The packet was not changed since it was parsed. Return: what the program returns.
 */
__global int answer_send(struct __sk_buff *skb, const struct packet *pkt, __u32 what, __u32 mtu)
{
	struct answer_quote quote = {};
	struct answer_icmp icmp;
	__u32 ip_len, room, l4_len, sum;

	if (!pkt || !answer_is_due(skb, pkt) || !answer_is_allowed())
		return TC_ACT_SHOT;
	l4_len = pkt->proto == IPPROTO_TCP ? 20 : 8; /* of TCP no less: its checksum must stay within the packet */
	ip_len = answer_ip_len(pkt);
	room = (pkt->v6 ? 40 : 20) + sizeof(icmp);
	if (answer_quote_ip(skb, ip_len, &quote))
		return TC_ACT_SHOT;
	if (pkt->proto == IPPROTO_TCP ? bpf_skb_load_bytes(skb, pkt->l4_off, quote.l4, 20) :
					bpf_skb_load_bytes(skb, pkt->l4_off, quote.l4, 8))
		return TC_ACT_SHOT;
	answer_header(pkt->v6, what, mtu, &icmp);
	sum = answer_quote_sum(pkt, &quote);
	if (bpf_skb_change_tail(skb, ETH_LEN + ip_len + l4_len, 0) || bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0) ||
	    !answer_write(skb, pkt, &icmp, sum, sizeof(icmp) + ip_len + l4_len) || !answer_swap_macs(skb))
		return TC_ACT_SHOT;
	mark_put(skb, PAST_STACK);
	return bpf_redirect(skb->ifindex, 0);
}
