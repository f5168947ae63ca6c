/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who has this address? ARP requests and neighbour solicitations for addresses of Services that this node announces are answered here:
 * the address is none of the node's, so the stack would not. The request becomes the answer and goes back by the port that it came by.
 *
 * When a peer says that it has taken an address over, the agent withdraws ours; while the agent is not there, it is done here. */
#pragma once

#include "lib/counter.h"
#include "lib/forward.h"
#include "lib/packet.h"
#include "weft/announce.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ANNOUNCED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct announce_key);
	__type(value, struct announced);
} announced SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ANNOUNCE_PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct announce_peer);
	__type(value, __u32);
} announce_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} announce_awake SEC(".maps");

enum { ARP_REQUEST = 1, ARP_REPLY = 2, ARP_HARDWARE_ETHERNET = 1, ND_TARGET_OFF = 8, ND_OPTION_TARGET_MAC = 2, ND_HOP_LIMIT = 255 };
enum { ND_ADVERT_SOLICITED = 0x40, ND_ADVERT_OVERRIDE = 0x20 };

/* RFC 826, for IPv4 on Ethernet. */
struct announce_arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 op;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};

/* RFC 4861 4.4, with the target's link-layer address. */
struct announce_advert {
	__u8 type, code;
	__be16 sum;
	__u8 flags, reserved[3];
	struct ip_addr target;
	__u8 option, option_len, mac[6];
};

/* @addr has been announced from @mac. If that is a peer, and our agent sleeps, the address is the peer's from now on. */
static __always_inline void announce_give_way(struct announce_key *key, const __u8 *mac)
{
	struct announce_peer peer = {};
	__u32 zero = 0;
	__u64 *until;

	__builtin_memcpy(peer.mac, mac, sizeof(peer.mac));
	until = bpf_map_lookup_elem(&announce_awake, &zero);
	if (!until || *until >= bpf_ktime_get_ns() || !bpf_map_lookup_elem(&announce_peers, &peer))
		return;
	bpf_map_delete_elem(&announced, key);
}

static __always_inline void announce_key_v4(struct __sk_buff *skb, const __u8 *v4, struct announce_key *key)
{
	__be32 a;

	__builtin_memcpy(&a, v4, sizeof(a));
	*key = (struct announce_key){ .ifindex = skb->ifindex };
	addr_from_v4(&key->addr, a);
}

/* An answer that was made in the packet's place leaves by the port that it came by. */
static __always_inline int announce_send(struct __sk_buff *skb)
{
	mark_put(skb, PAST_STACK);
	count_forward(skb, FORWARD_NEIGHBOUR);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int announce_arp_answer(struct __sk_buff *skb, struct announce_arp *arp, const struct announced *ours)
{
	struct ethhdr eth = { .h_proto = bpf_htons(ETH_P_ARP) };
	__u8 asked[4];

	__builtin_memcpy(asked, arp->target, sizeof(asked));
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->target, arp->sender, sizeof(asked));
	__builtin_memcpy(arp->sender_mac, ours->mac, ETH_ALEN);
	__builtin_memcpy(arp->sender, asked, sizeof(asked));
	arp->op = bpf_htons(ARP_REPLY);
	__builtin_memcpy(eth.h_dest, arp->target_mac, ETH_ALEN);
	__builtin_memcpy(eth.h_source, ours->mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) || bpf_skb_store_bytes(skb, ETH_LEN, arp, sizeof(*arp), 0))
		return TC_ACT_SHOT;
	return announce_send(skb);
}

/* An ARP packet at an uplink: answered, or the stack's. Those who only ask whether an address is free (RFC 5227) are answered, too. */
__global int announce_arp(struct __sk_buff *skb)
{
	struct announce_key key;
	struct announced *ours;
	struct announce_arp arp;
	__be32 sender, target;

	if (bpf_skb_load_bytes(skb, ETH_LEN, &arp, sizeof(arp)) ||
	    arp.hardware != bpf_htons(ARP_HARDWARE_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_len != ETH_ALEN ||
	    arp.protocol_len != sizeof(target))
		return TC_ACT_OK;
	__builtin_memcpy(&sender, arp.sender, sizeof(sender));
	__builtin_memcpy(&target, arp.target, sizeof(target));
	announce_key_v4(skb, arp.op == bpf_htons(ARP_REQUEST) ? arp.target : arp.sender, &key);
	ours = bpf_map_lookup_elem(&announced, &key);
	if (!ours)
		return TC_ACT_OK;
	if (arp.op == bpf_htons(ARP_REQUEST) && sender != target)
		return announce_arp_answer(skb, &arp, ours);
	if (sender == target)
		announce_give_way(&key, arp.sender_mac);
	return TC_ACT_OK;
}

static __always_inline int announce_nd_answer(struct __sk_buff *skb, const struct packet *pkt, const struct announce_key *key,
					      const struct announced *ours)
{
	struct announce_advert na = { .type = ND_NEIGHBOUR_ADVERT, .flags = ND_ADVERT_SOLICITED | ND_ADVERT_OVERRIDE,
				      .target = key->addr, .option = ND_OPTION_TARGET_MAC, .option_len = 1 };
	struct ipv6hdr ip = { .version = 6, .payload_len = bpf_htons(sizeof(na)), .nexthdr = IPPROTO_ICMPV6, .hop_limit = ND_HOP_LIMIT };
	struct ethhdr eth = { .h_proto = bpf_htons(ETH_P_IPV6) };
	static const __u8 all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct {
		struct ip_addr src, dst;
		__be32 len, proto;
	} pseudo = { .src = key->addr, .dst = pkt->src, .len = bpf_htonl(sizeof(na)), .proto = bpf_htonl(IPPROTO_ICMPV6) };
	__u64 sum;

	if (bpf_skb_load_bytes(skb, ETH_ALEN, eth.h_dest, ETH_ALEN) || bpf_skb_change_tail(skb, ETH_LEN + sizeof(ip) + sizeof(na), 0))
		return TC_ACT_SHOT;
	if ((pkt->src.q[0] | pkt->src.q[1]) == 0) { /* who only asks whether the address is free has none yet: all are told */
		pseudo.dst.w[0] = bpf_htonl(0xff020000);
		pseudo.dst.w[3] = bpf_htonl(1);
		na.flags = ND_ADVERT_OVERRIDE;
		__builtin_memcpy(eth.h_dest, all_nodes_mac, ETH_ALEN);
	}
	__builtin_memcpy(&ip.saddr, &pseudo.src, 16);
	__builtin_memcpy(&ip.daddr, &pseudo.dst, 16);
	__builtin_memcpy(eth.h_source, ours->mac, ETH_ALEN);
	__builtin_memcpy(na.mac, ours->mac, ETH_ALEN);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&na, sizeof(na), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	na.sum = ~sum;
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) || bpf_skb_store_bytes(skb, ETH_LEN, &ip, sizeof(ip), 0) ||
	    bpf_skb_store_bytes(skb, ETH_LEN + sizeof(ip), &na, sizeof(na), 0))
		return TC_ACT_SHOT;
	return announce_send(skb);
}

/* Neighbour discovery at an uplink: a solicitation is answered, what else there is is the stack's. */
__global int announce_nd(struct __sk_buff *skb, const struct packet *pkt)
{
	struct announce_key key = { .ifindex = skb->ifindex };
	struct announced *ours;
	__u8 mac[ETH_ALEN];

	if (!pkt || pkt->ttl != ND_HOP_LIMIT || pkt->l4_off != ETH_LEN + sizeof(struct ipv6hdr) ||
	    bpf_skb_load_bytes(skb, pkt->l4_off + ND_TARGET_OFF, &key.addr, sizeof(key.addr)))
		return TC_ACT_OK;
	ours = bpf_map_lookup_elem(&announced, &key);
	if (!ours)
		return TC_ACT_OK;
	if (pkt->icmp_type == ND_NEIGHBOUR_SOLICIT)
		return announce_nd_answer(skb, pkt, &key, ours);
	if (pkt->icmp_type == ND_NEIGHBOUR_ADVERT && pkt->dst.b[0] == 0xff && !bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)))
		announce_give_way(&key, mac);
	return TC_ACT_OK;
}
