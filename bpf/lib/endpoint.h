/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Local pods: by address, and by the interface that they send through. */
#pragma once

#include "lib/prelude.h"
#include "weft/endpoint.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * ENDPOINTS_MAX);
	__type(key, struct ip_addr);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct pod_iface);
} pod_ifaces SEC(".maps");

static __always_inline struct endpoint *endpoint_find(struct ip_addr *addr)
{
	return bpf_map_lookup_elem(&endpoints, addr);
}

static __always_inline struct pod_iface *pod_iface_find(__u32 ifindex)
{
	return bpf_map_lookup_elem(&pod_ifaces, &ifindex);
}

/* Has the node said it? It came in by no interface, which the kernel also forgets of what it fragments again: what it forwards has no socket. */
static __always_inline bool node_sent(const struct __sk_buff *skb)
{
	return skb->ingress_ifindex == 0 && skb->sk;
}

/* Did the pod send the packet, which has its address? It came by its interface, or by none as it was made anew of fragments. By any other one, which
 * may be somebody else's in this namespace and has no program of ours, it is forged; and so is what a socket of this node has sent, which over IPv6
 * needs no right to speak as whomever it likes (IP_FREEBIND). */
static __always_inline bool endpoint_sent(const struct endpoint *ep, const struct __sk_buff *skb)
{
	return skb->ingress_ifindex == ep->ifindex || (skb->ingress_ifindex == 0 && !skb->sk);
}

static __always_inline bool pod_iface_owns(const struct pod_iface *pod, const struct ip_addr *addr, bool v6)
{
	if (v6)
		return addr_eq(addr, &pod->addrs[1]);
	return addr_eq(addr, &pod->addrs[0]);
}
