/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* As next_flow.bpf.c, for XDP: a repeated test run hands the same frame in again, as the measured program has left it.
 * This makes it the next flow's (a longer one is cut to its length: an encapsulation is taken off), and goes on there.
 * With nothing to go on to, it measures itself. */
#include "lib/prelude.h"

#include <linux/ip.h>
#include <linux/tcp.h>

enum { FRAME_HEADERS = ETH_LEN + sizeof(struct iphdr) + sizeof(struct tcphdr) };

const volatile __u32 frame_len;
const volatile __u8 frame[FRAME_HEADERS]; /* its headers, as they are of all flows */
const volatile __u32 flow_mask;		  /* number of flows less one */
const volatile __u32 step; /* odd: all flows are visited; a large one does so in an order that no prefetcher follows */
const volatile __u32 senders; /* flows differ by the receiver's port, from `first_port` on, and come from so many
				 addresses; 0: by the sender's */
const volatile __u32 first_port;
const volatile __u32 fresh; /* 1: other clients, once all ports have been */
__u32 turn;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

SEC("xdp")
int next_frame(struct xdp_md *ctx)
{
	__u32 flow = (turn * step) & flow_mask;
	struct tcphdr *tcp;
	struct iphdr *ip;
	__u8 *data;

	if (bpf_xdp_adjust_head(ctx, (int)(bpf_xdp_get_buff_len(ctx) - frame_len)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	ip = (void *)(data + ETH_LEN);
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (unsigned i = 0; i < FRAME_HEADERS; i++)
		data[i] = frame[i];
	if (senders) {
		ip->saddr += bpf_htonl(flow % senders);
		tcp->dest = bpf_htons(first_port + flow / senders);
	} else {
		tcp->source = bpf_htons(flow);
	}
	if (fresh)
		ip->saddr += bpf_htonl(turn >> 16);
	turn++;
	bpf_tail_call(ctx, &next, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
