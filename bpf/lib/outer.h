/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The outer packet, made here. It is what the kernel's tunnel device would make, without the lookup of a route, the hooks and the
 * devices in between, which cost more than the headers: no DF bit, the ECN bits as ip_tunnel_ecn_encap() takes them over, no UDP
 * checksum (RFC 6935; what is inside has its own), a source port by the flow, so that networks spread flows over their links.
 *
 * The agent has found out where outer packets leave (struct node_route, `uplink`). The device makes those of other nodes, and what
 * cannot be wrapped here: superpackets of other protocols than TCP and UDP, and what a pod has encapsulated itself. */
#pragma once

#include "lib/encap.h"
#include "lib/mark.h"
#include "lib/packet.h"

#include <linux/udp.h>

#define OUTER_PORTS 0xc000 /* RFC 7348 5: from 49152 */
#define OUTER_IDENTS 256

enum outer_result { OUTER_UNFIT = -1, OUTER_SPOILED = -2 };

/* The inner packet's Ethernet header follows. */
struct tunnel_header {
	struct udphdr udp;
	__be32 words[2]; /* of VXLAN or Geneve */
};

struct outer4 {
	struct iphdr ip;
	struct tunnel_header tunnel;
};

struct outer6 {
	struct ipv6hdr ip;
	struct tunnel_header tunnel;
};

/* IPv4 identifications: the network may cut what has no DF bit. One sequence for all packets between two nodes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTER_IDENTS);
	__type(key, __u32);
	__type(value, __u32);
} outer_idents SEC(".maps");

/* What is known of the inner packet before it gets its new headers. */
struct inner {
	__u32 len; /* without Ethernet header */
	__u32 segments;
	__be16 source_port; /* of the outer packet */
	__u8 ecn;	    /* likewise */
};

static __always_inline __be16 outer_source_port(struct __sk_buff *skb)
{
	__u32 hash = bpf_get_hash_recalc(skb);

	return bpf_htons(OUTER_PORTS | ((hash ^ hash >> 16) & ~OUTER_PORTS));
}

static __always_inline __u8 outer_ecn(struct __sk_buff *skb, bool v6)
{
	const __u8 *ip = (void *)(long)skb->data + ETH_LEN;
	__u8 ecn;

	if ((void *)(ip + 2) > (void *)(long)skb->data_end)
		return 0;
	ecn = (v6 ? ip[1] >> 4 : ip[1]) & 3;
	return ecn == 3 ? 2 : ecn; /* CE inside is ECT(0) outside */
}

static __always_inline __be16 outer_ident(__be32 remote, __u32 segments)
{
	__u32 key = remote ^ remote >> 16, *ident;

	key = (key ^ key >> 8) % OUTER_IDENTS;
	ident = bpf_map_lookup_elem(&outer_idents, &key);
	return ident ? bpf_htons(__sync_fetch_and_add(ident, segments)) : 0;
}

/* @eth: the frame's, which becomes the inner one's */
static __always_inline void put_tunnel_header(struct tunnel_header *t, const struct inner *in, const struct ethhdr *eth)
{
	t->udp.source = in->source_port;
	t->udp.dest = bpf_htons(config.tunnel_port);
	t->udp.len = bpf_htons(in->len + ETH_LEN + sizeof(*t));
	t->udp.check = 0;
	t->words[0] = config.geneve ? GENEVE_WORD : VXLAN_WORD;
	t->words[1] = bpf_htonl(config.vni << 8);
	*(struct ethhdr *)(t + 1) = *eth;
}

/* Of a header without options and fragments. */
static __always_inline __sum16 outer4_checksum(const struct iphdr *ip)
{
	__u64 sum = (__u64)ip->saddr + ip->daddr + bpf_htons(0x4500 | ip->tos) + ip->tot_len + ip->id + bpf_htons(ip->ttl << 8 | ip->protocol);

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* There is room for all of it behind @eth, the frame's Ethernet header. */
static __always_inline void put_outer4(struct ethhdr *eth, const struct inner *in, const struct node_route *route)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tos = in->ecn,
		.tot_len = bpf_htons(in->len + ETH_LEN + sizeof(struct outer4)),
		.id = outer_ident(route->underlay.w[3], in->segments),
		.ttl = ENCAP_TTL,
		.protocol = IPPROTO_UDP,
		.saddr = config.underlay[0].w[3],
		.daddr = route->underlay.w[3],
	};
	struct outer4 *o = (void *)(eth + 1);

	ip.check = outer4_checksum(&ip);
	o->ip = ip;
	put_tunnel_header(&o->tunnel, in, eth);
}

static __always_inline void put_outer6(struct ethhdr *eth, const struct inner *in, const struct node_route *route)
{
	struct outer6 *o = (void *)(eth + 1);

	*(__be32 *)&o->ip = bpf_htonl(6u << 28 | (__u32)in->ecn << 20);
	o->ip.payload_len = bpf_htons(in->len + ETH_LEN + sizeof(o->tunnel));
	o->ip.nexthdr = IPPROTO_UDP;
	o->ip.hop_limit = ENCAP_TTL;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		((__be32 *)&o->ip.saddr)[i] = config.underlay[1].w[i];
		((__be32 *)&o->ip.daddr)[i] = route->underlay.w[i];
	}
	put_tunnel_header(&o->tunnel, in, eth);
}

/* Out of an uplink; the kernel writes the MACs, and finds out the neighbour's if need be. */
static __always_inline long redirect_to_hop(__u32 uplink, const struct ip_addr *next)
{
	struct bpf_redir_neigh hop = { .nh_family = 2 /* AF_INET */ };

	if (addr_is_v4(next)) {
		hop.ipv4_nh = next->w[3];
	} else {
		hop.nh_family = 10; /* AF_INET6 */
		__builtin_memcpy(hop.ipv6_nh, next, 16);
	}
	return bpf_redirect_neigh(uplink, &hop, sizeof(hop), 0);
}

/**
 * outer_send() - put outer headers before a packet whose Ethernet header is the inner one already, and send it
 * @v6: of the inner packet
 *
 * Return: what the program returns; OUTER_UNFIT: the packet is as before; OUTER_SPOILED: it can only be dropped.
 */
__global int outer_send(struct __sk_buff *skb, const struct node_route *route, __u32 v6)
{
	struct inner in = {};
	__u32 room;
	void *data;
	bool v4;

	if (!route)
		return OUTER_UNFIT;
	v4 = addr_is_v4(&route->underlay);
	room = ETH_LEN + (v4 ? sizeof(struct outer4) : sizeof(struct outer6));
	in.len = skb->len - ETH_LEN;
	if (in.len + room > 0xffff)
		return OUTER_UNFIT;
	in.segments = skb->gso_segs ? skb->gso_segs : 1;
	in.source_port = outer_source_port(skb);
	in.ecn = outer_ecn(skb, v6);
	/* gso_size counts what is inside, and stays */
	if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC,
				(v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
					BPF_F_ADJ_ROOM_ENCAP_L2(ETH_LEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_FIXED_GSO |
					BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return OUTER_UNFIT;
	data = (void *)(long)skb->data;
	if (data + ETH_LEN + room > (void *)(long)skb->data_end)
		return OUTER_SPOILED;
	if (v4)
		put_outer4(data, &in, route);
	else
		put_outer6(data, &in, route);
	mark_put(skb, WRAPPED);
	return redirect_to_hop(route->uplink, &route->next_hop);
}
