/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A test run's packet has come through no tunnel. This lets it have come through the one that is named, and goes on to from_tunnel. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* What a receiver reads as remote and local is what a sender gives as local and remote. IPv4 in host order. */
struct bpf_tunnel_key outer;
__u32 outer_is_v6;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

SEC("tc")
int by_tunnel(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = outer;

	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), outer_is_v6 ? BPF_F_TUNINFO_IPV6 : 0))
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &next, 0);
	return TC_ACT_PIPE; /* nobody was there */
}

char _license[] SEC("license") = "Dual BSD/GPL";
