/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Geneve (RFC 8926) on the wire, VXLAN in the node. Without options both headers have eight bytes, the network identifier in the same
 * place, and an Ethernet frame behind them; only the first word differs. So the kernel's VXLAN device, on Geneve's port, does all the
 * work (source port by the inner flow, segmentation and merging of superpackets, checksums, both families outside), and the programs
 * at the uplink exchange that word. We send no options; those of others that need not be understood are taken out. */
#pragma once

#include "lib/encap.h"
#include "lib/endpoint.h"
#include "lib/packet.h"

#include <linux/udp.h>

#define GENEVE_VERSION 0xc0000000u
#define GENEVE_CONTROL 0x00800000u
#define GENEVE_CRITICAL 0x00400000u
#define GENEVE_LEN 8
/* IPv6, UDP, the fixed header of Geneve: what stands before the options */
#define GENEVE_OUTER_MAX (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + GENEVE_LEN)

struct geneve_place {
	__u32 udp;     /* offset of the header */
	bool v6;
	bool plain_ip; /* no IPv4 options, no fragment: options of Geneve can be taken out */
};

/* Where is the UDP header? Return: false when there is none in this packet. */
static __always_inline bool geneve_find_udp(struct __sk_buff *skb, struct geneve_place *ret)
{
	struct iphdr ip4;
	struct ipv6hdr ip6;

	ret->v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	if (!ret->v6) {
		if (bpf_skb_load_bytes(skb, ETH_LEN, &ip4, sizeof(ip4)) || ip4.protocol != IPPROTO_UDP ||
		    ip4.frag_off & bpf_htons(0x1fff) || ip4.ihl < 5)
			return false;
		ret->udp = ETH_LEN + ip4.ihl * 4;
		ret->plain_ip = ip4.ihl == 5 && !(ip4.frag_off & bpf_htons(0x2000));
		return true;
	}
	if (bpf_skb_load_bytes(skb, ETH_LEN, &ip6, sizeof(ip6)))
		return false;
	ret->udp = ETH_LEN + sizeof(ip6);
	ret->plain_ip = ip6.nexthdr == IPPROTO_UDP;
	if (ip6.nexthdr == IPPROTO_FRAGMENT) {
		struct {
			__u8 nexthdr, reserved;
			__be16 off;
			__be32 id;
		} f;

		if (bpf_skb_load_bytes(skb, ret->udp, &f, sizeof(f)) || f.nexthdr != IPPROTO_UDP || f.off & bpf_htons(0xfff8))
			return false;
		ret->udp += sizeof(f);
		return true;
	}
	return ret->plain_ip;
}

/* One word of the header becomes another, and the UDP checksum, if there is one, follows. */
static __always_inline bool geneve_put_word(struct __sk_buff *skb, const struct geneve_place *at, __u32 off, __be32 old, __be32 new)
{
	__u32 check = at->udp + offsetof(struct udphdr, check);

	if (old == new)
		return true;
	return !bpf_l4_csum_replace(skb, check, old, new, 4 | BPF_F_MARK_MANGLED_0) &&
	       !bpf_skb_store_bytes(skb, at->udp + sizeof(struct udphdr) + off, &new, sizeof(new), 0);
}

static __always_inline bool geneve_load(struct __sk_buff *skb, const struct geneve_place *at, __be32 ret_words[2])
{
	struct udphdr udp;

	return !bpf_skb_load_bytes(skb, at->udp, &udp, sizeof(udp)) && udp.dest == bpf_htons(config.tunnel_port) &&
	       !bpf_skb_load_bytes(skb, at->udp + sizeof(udp), ret_words, GENEVE_LEN);
}

/* At the egress of an uplink: what the tunnel device has made. */
__global int geneve_leave(struct __sk_buff *skb)
{
	struct geneve_place at = {};
	__be32 words[2] = {};

	if (!geneve_find_udp(skb, &at) || !geneve_load(skb, &at, words) || words[0] != VXLAN_WORD ||
	    bpf_ntohl(words[1]) >> 8 != config.vni)
		return 0;
	geneve_put_word(skb, &at, 0, words[0], GENEVE_WORD);
	return 0;
}

/* The outer headers move up over the options. Their UDP checksum covered these: it becomes none (RFC 6935 allows that for IPv6, too,
 * and what is inside has its own). */
static __always_inline bool geneve_strip(struct __sk_buff *skb, const struct geneve_place *at, __u32 options)
{
	__u8 head[GENEVE_OUTER_MAX] = {};
	struct udphdr *udp;

	if (at->v6 ? bpf_skb_load_bytes(skb, ETH_LEN, head, GENEVE_OUTER_MAX) :
		     bpf_skb_load_bytes(skb, ETH_LEN, head, sizeof(struct iphdr) + sizeof(struct udphdr) + GENEVE_LEN))
		return false;
	if (at->v6) {
		struct ipv6hdr *ip = (void *)head;

		ip->payload_len = bpf_htons(bpf_ntohs(ip->payload_len) - options);
		udp = (void *)head + sizeof(struct ipv6hdr);
	} else {
		struct iphdr *ip = (void *)head;
		__be16 old = ip->tot_len;
		__u32 sum;

		ip->tot_len = bpf_htons(bpf_ntohs(old) - options);
		sum = (__u16)~ip->check + (__u16)~old + ip->tot_len;
		sum = (sum & 0xffff) + (sum >> 16);
		ip->check = ~((sum & 0xffff) + (sum >> 16));
		udp = (void *)head + sizeof(struct iphdr);
	}
	udp->len = bpf_htons(bpf_ntohs(udp->len) - options);
	udp->check = 0;
	if (bpf_skb_adjust_room(skb, -(__s32)options, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return false;
	return at->v6 ? !bpf_skb_store_bytes(skb, ETH_LEN, head, GENEVE_OUTER_MAX, BPF_F_RECOMPUTE_CSUM) :
			!bpf_skb_store_bytes(skb, ETH_LEN, head, sizeof(struct iphdr) + sizeof(struct udphdr) + GENEVE_LEN,
					     BPF_F_RECOMPUTE_CSUM);
}

/* At the ingress of an uplink, for a packet to this node. Return: a drop reason, DROP_NONE also for what is no Geneve. */
__global int geneve_arrive(struct __sk_buff *skb)
{
	struct geneve_place at = {};
	__be32 words[2] = {};
	__u32 first, options;

	if (!geneve_find_udp(skb, &at) || !geneve_load(skb, &at, words))
		return DROP_NONE;
	first = bpf_ntohl(words[0]);
	options = (first >> 24 & 0x3f) * 4;
	if (first & GENEVE_VERSION || (first & 0xffff) != 0x6558 || (options && !at.plain_ip))
		return DROP_GENEVE_HEADER;
	if (first & GENEVE_CONTROL)
		return DROP_GENEVE_CONTROL;
	if (first & GENEVE_CRITICAL)
		return DROP_GENEVE_CRITICAL;
	if (options && !geneve_strip(skb, &at, options))
		return DROP_GENEVE_HEADER;
	if (!geneve_put_word(skb, &at, 0, words[0], VXLAN_WORD) ||
	    !geneve_put_word(skb, &at, 4, words[1], words[1] & bpf_htonl(0xffffff00))) /* the reserved byte is ignored */
		return DROP_GENEVE_HEADER;
	return DROP_NONE;
}
