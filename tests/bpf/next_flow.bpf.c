/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For the bench: a repeated test run hands the same packet in again and again. This makes it the next flow's, as it was before the
 * measured program changed it, and goes on there. With nothing to go on to, it measures itself. Where each packet is to begin a flow, nobody
 * answers any: what is counted as unanswered is forgiven, before it is refused. */
#include "lib/prelude.h"

#include <linux/ip.h>
#include <linux/tcp.h>

const volatile __u32 flow_mask; /* number of flows less one */
const volatile __u32 fresh; /* of whose id: each packet begins another flow; 0: none does */
const volatile __u16 service; /* the port that they all ask for; 0: another one after each round of source ports */
const volatile __u8 frame[ETH_LEN];
const volatile __u32 l3; /* 0 where packets have no Ethernet header */
const volatile __be32 source, destination;
const volatile __u16 mark; /* in tc_index, and the word that proves it (lib/mark.h) */
const volatile __u64 word;
const volatile __u32 tunnel_from, tunnel_to, tunnel_id; /* as if it had come out of the tunnel; tunnel_id 0: it has not */
__u32 turn;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct asks { /* the datapath's */
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOW_ASKS_MAX);
	__type(key, __u32);
	__type(value, struct flow_asks);
} flow_asks SEC(".maps"), nat_asks SEC(".maps");

static __always_inline void forgive(struct asks *map)
{
	__u32 id = fresh;
	struct flow_asks *asks = bpf_map_lookup_elem(map, &id);

	if (asks)
		asks->unanswered = 0;
}

SEC("tc")
int next_flow(struct __sk_buff *skb)
{
	/* what a receiver reads as remote and local is what a sender gives as local and remote */
	struct bpf_tunnel_key key = { .tunnel_id = tunnel_id, .remote_ipv4 = tunnel_to, .local_ipv4 = tunnel_from };
	void *data = (void *)(long)skb->data;
	struct iphdr *ip = data + l3;
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	if (l3)
#pragma unroll
		for (unsigned i = 0; i < ETH_LEN; i++)
			((__u8 *)data)[i] = frame[i];
	ip->ttl = 64;
	ip->saddr = source;
	ip->daddr = destination;
	skb->tc_index = mark;
	skb->cb[0] = word;
	skb->cb[1] = word >> 32;
	/* an odd step visits all flows in an order that no prefetcher follows */
	tcp->source = bpf_htons((turn * 40503u) & flow_mask);
	if (fresh) {
		tcp->dest = bpf_htons(service ? service : 1 + (turn >> 16)); /* other ones, once all have been */
		forgive(&flow_asks);
		if (service)
			forgive(&nat_asks);
	}
	turn++;
	if (tunnel_id && bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0))
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &next, 0);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
