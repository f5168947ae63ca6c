/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Outer packets that come in: what is in them for a pod is taken out here, past the stack's UDP, the tunnel's device and its second
 * round through the receive path. Only what is plain: everything else, and whatever is wrong, is left to the device and from_tunnel, as
 * it came. So the packet is looked at where it lies, and unwrapped when it is clear that the pod gets it.
 *
 * Superpackets are the device's: no program can take the tunnel's marks off them (bpf_skb_adjust_room() leaves skb->encapsulation and
 * the GSO type), and a pod that forwards them would cut them wrongly. Its device hands them on one softirq later; single packets of
 * the same flow that followed would overtake them. So a flow that had one stays with the device until it had none for a while. */
#pragma once

#include "lib/encap.h"
#include "lib/outer.h"
#include "lib/packet.h"

#define UNWRAP_FLOWS 16384
#define UNWRAP_PAUSE FLOW_TICKS(2)

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4 /* Linux 6.3; before, a packet of the other family than its outer one is the device's */
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ull << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ull << 8)
#endif

/* By the outer source port, which is the inner flow's, and address: the tick of the latest superpacket. Flows that share a place share
 * their way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UNWRAP_FLOWS);
	__type(key, __u32);
	__type(value, __u32);
} unwrap_bulk SEC(".maps");

/* Is it a UDP packet, in one piece, for the tunnel's port? A function of its own, as from_net's stack is short. */
__global int outer_is_tunnel(struct __sk_buff *skb)
{
	__u32 l4 = ETH_LEN + sizeof(struct iphdr), word[3], ports;
	__u8 proto;

	if (packet_read(skb, ETH_LEN, word, sizeof(word)))
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if ((word[0] & bpf_htonl(0xff000000)) != bpf_htonl(0x45000000) || word[1] & bpf_htonl(0x3fff))
			return 0;
		proto = bpf_ntohl(word[2]) >> 16;
	} else {
		proto = bpf_ntohl(word[1]) >> 8;
		l4 = ETH_LEN + sizeof(struct ipv6hdr);
	}
	return proto == IPPROTO_UDP && !packet_read(skb, l4, &ports, sizeof(ports)) && (bpf_ntohl(ports) & 0xffff) == config.tunnel_port;
}

enum { ECN_CE = 3 };

/* Does the flow stay with the device? */
static __always_inline bool unwrap_is_bulk(const struct __sk_buff *skb, __be16 sport, __u16 src)
{
	__u32 key = (__u32)(sport ^ src) % UNWRAP_FLOWS, now = tick_now();
	__u32 *last = bpf_map_lookup_elem(&unwrap_bulk, &key);

	if (!last)
		return true;
	if (skb->gso_size) {
		if (*last != now)
			*last = now;
		return true;
	}
	return *last && now - *last < UNWRAP_PAUSE;
}

/* Is it to the byte what a node of ours sends to this one? (Its address is another's question: what it is not sent to is the device's, and
 * dropped by from_tunnel.) Its UDP checksum would have to be verified: nobody of us makes any. */
static __always_inline bool tunnel_header_is_plain(const struct tunnel_header *t, __u32 len)
{
	return t->udp.check == 0 && bpf_ntohs(t->udp.len) == len && t->words[0] == VXLAN_WORD && t->words[1] == bpf_htonl(config.vni << 8);
}

struct outside {
	struct ip_addr src;
	__u32 room;
	__u16 protocol; /* inner ethertype, network order */
	__u8 ecn;
};

static __always_inline bool unwrap_outer4(const struct __sk_buff *skb, const struct outer4 *o, struct outside *out)
{
	__u32 len = skb->len - ETH_LEN;

	if (o->ip.daddr != config.underlay[0].w[3] || bpf_ntohs(o->ip.tot_len) != len || outer4_checksum(&o->ip) != o->ip.check ||
	    !tunnel_header_is_plain(&o->tunnel, len - sizeof(o->ip)))
		return false;
	addr_from_v4(&out->src, o->ip.saddr);
	out->ecn = o->ip.tos & 3;
	out->protocol = ((const struct ethhdr *)(o + 1))->h_proto;
	return !unwrap_is_bulk(skb, o->tunnel.udp.source, o->ip.saddr >> 16);
}

static __always_inline bool unwrap_outer6(const struct __sk_buff *skb, const struct outer6 *o, struct outside *out)
{
	__u32 len = skb->len - ETH_LEN - sizeof(o->ip);

#pragma unroll
	for (int i = 0; i < 4; i++)
		if (((const __be32 *)&o->ip.daddr)[i] != config.underlay[1].w[i])
			return false;
	if (bpf_ntohs(o->ip.payload_len) != len || !tunnel_header_is_plain(&o->tunnel, len))
		return false;
#pragma unroll
	for (int i = 0; i < 4; i++)
		out->src.w[i] = ((const __be32 *)&o->ip.saddr)[i];
	out->ecn = bpf_ntohl(*(const __be32 *)&o->ip) >> 20 & 3;
	out->protocol = ((const struct ethhdr *)(o + 1))->h_proto;
	return !unwrap_is_bulk(skb, o->tunnel.udp.source, out->src.w[3] >> 16);
}

static __always_inline bool unwrap_outer(struct __sk_buff *skb, struct outside *out)
{
	bool v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	void *data = (void *)(long)skb->data + ETH_LEN;

	out->room = ETH_LEN + (v6 ? sizeof(struct outer6) : sizeof(struct outer4));
	if (data + ETH_LEN + sizeof(struct outer6) + sizeof(struct iphdr) > (void *)(long)skb->data_end)
		return false;
	return v6 ? unwrap_outer6(skb, data, out) : unwrap_outer4(skb, data, out);
}

/* RFC 6040 4.2: what changes nothing, and congestion on the way, which unwrap_take() tells inside. The rest is the device's to judge. */
static __always_inline bool unwrap_ecn_is_clear(__u8 outside, __u8 inside)
{
	if (outside == 0 || outside == inside || (outside == 2 && inside == ECN_CE)) /* CE is sent as ECT(0) */
		return true;
	return outside == ECN_CE && inside;
}

static __always_inline __u8 ecn_at(struct __sk_buff *skb, __u32 off, bool v6)
{
	__u8 first[4] __attribute__((aligned(4)));

	if (packet_read(skb, off, first, sizeof(first)))
		return 0;
	return (v6 ? first[1] >> 4 : first[1]) & 3;
}

/**
 * unwrap_look() - is it a single packet of another node's pod, or of that node, and what is inside?
 *
 * @pkt becomes the inner packet, where it lies. Return: 1; 0: it is the device's.
 */
__global int unwrap_look(struct __sk_buff *skb, struct packet *pkt)
{
	struct outside out = {};
	struct node_route *route;
	struct ip_addr src;

	if (!pkt || !unwrap_outer(skb, &out))
		return 0;
	*pkt = (struct packet){};
	if (packet_parse(skb, ETH_LEN + out.room, out.protocol, false, pkt) != DROP_NONE || pkt->ttl <= 1 ||
	    pkt->fragment != FRAGMENT_NONE || (pkt->icmp != ICMP_NOT && pkt->icmp != ICMP_QUERY))
		return 0;
	src = pkt->src; /* a key must be in this function's own stack */
	route = node_route_find(&src);
	if (!route || !route->unwrap || !addr_eq(&route->outer, &out.src))
		return 0;
	return unwrap_ecn_is_clear(out.ecn, ecn_at(skb, pkt->l3_off, pkt->v6));
}

/* Takes the outer headers away. @v6: of what is inside. Return: 0, or not 0 and the packet is as it came. */
__global int unwrap_take(struct __sk_buff *skb, __u32 v6)
{
	bool was_v6 = skb->protocol == bpf_htons(ETH_P_IPV6), ce = ecn_at(skb, ETH_LEN, was_v6) == ECN_CE;
	__s32 room = ETH_LEN + (was_v6 ? sizeof(struct outer6) : sizeof(struct outer4));
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	__be16 type = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

	if (v6 != was_v6)
		flags |= v6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
	if (bpf_skb_adjust_room(skb, -room, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	if (v6 != was_v6)
		bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type), 0);
	if (ce)
		bpf_skb_ecn_set_ce(skb);
	return 0;
}
