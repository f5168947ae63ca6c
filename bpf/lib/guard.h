/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The underlay guard: where encryption is on, a packet of a pod that meets an uplink unencrypted is on a wrong way, however it got
 * there: a route that is missing or was added, another program, a forged frame. What is encrypted is between nodes' addresses and
 * passes, and so does what pods have to do with the world. */
#pragma once

#include "lib/prelude.h"
#include "weft/guard.h"
#include "weft/route.h"

#include <linux/ip.h>
#include <linux/ipv6.h>

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, GUARD_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct node_route_key);
	__type(value, struct guard_entry);
} guard SEC(".maps");

static __always_inline __u32 guard_kind(const struct ip_addr *addr)
{
	struct node_route_key key = { .len = 128 };
	struct guard_entry *e;

	__builtin_memcpy(key.addr, addr, 16);
	e = bpf_map_lookup_elem(&guard, &key);
	return e ? e->kind : 0;
}

/* Between pods, or between a pod and a node. Later fragments have addresses, too. */
static __always_inline bool guard_forbids(const struct ip_addr *src, const struct ip_addr *dst)
{
	__u32 from = guard_kind(src), to = from ? guard_kind(dst) : 0;

	return to && (from | to) & GUARD_POD;
}

/* Reads the addresses of an IP packet at an uplink. Return: is it one? */
static __always_inline bool guard_peek(struct __sk_buff *skb, struct ip_addr *src, struct ip_addr *dst)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 a[2];

		if (bpf_skb_load_bytes(skb, ETH_LEN + offsetof(struct iphdr, saddr), a, sizeof(a)))
			return false;
		addr_from_v4(src, a[0]);
		addr_from_v4(dst, a[1]);
		return true;
	}
	return skb->protocol == bpf_htons(ETH_P_IPV6) &&
	       !bpf_skb_load_bytes(skb, ETH_LEN + offsetof(struct ipv6hdr, saddr), src, sizeof(*src)) &&
	       !bpf_skb_load_bytes(skb, ETH_LEN + offsetof(struct ipv6hdr, daddr), dst, sizeof(*dst));
}
