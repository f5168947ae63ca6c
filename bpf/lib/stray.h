/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the stack forwards that came in by an interface of somebody else: another overlay's device, a tunnel's, a container's. No program of ours
 * has looked at it there, and whoever reaches that interface (a pod may, by a packet to the node's port for it) says inside what he likes. So no packet from there
 * speaks as another node, or as a pod there. (This node's own addresses others may well have there: a container's packets that the stack has masqueraded.) */
#pragma once

#include "lib/endpoint.h"
#include "lib/mark.h"
#include "lib/route.h"
#include "weft/link.h"

enum { LOOPBACK_IFINDEX = 1 }; /* in every namespace (net/core/dev.c) */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct judged_links);
} judged_links SEC(".maps");

/* Does one of our programs see what comes in there? */
static __always_inline bool link_is_judged(__u32 ifindex)
{
	__u32 zero = 0;
	struct judged_links *links = bpf_map_lookup_elem(&judged_links, &zero);

	if (!links || !links->ifindex[0])
		return true;
#pragma unroll
	for (int i = 0; i < JUDGED_LINKS_MAX; i++) {
		if (links->ifindex[i] == ifindex)
			return true;
		if (!links->ifindex[i])
			return false;
	}
	return false;
}

/* By a network that both nodes share the owner's packets come, whether or not there is a program: not every uplink can carry one. */
__global enum drop_reason stray_judge(const struct ip_addr *of, __u32 ifindex)
{
	const struct node_route *owner;
	struct ip_addr src;

	if (!of)
		return DROP_NONE;
	src = *of; /* a key must be in this function's own stack */
	owner = node_owner_find(&src);
	if (owner)
		return node_comes_plain_by(owner, ifindex) ? DROP_NONE : DROP_STRAY_SOURCE;
	return addr_is_gateway(&src) ? DROP_NET_SOURCE : DROP_NONE;
}

/* Did it come by no interface, or by one at which our programs have looked at it? */
static __always_inline bool link_is_trusted(__u32 ifindex)
{
	return likely(ifindex <= LOOPBACK_IFINDEX || link_is_judged(ifindex)) || pod_iface_find(ifindex);
}

/* @src: no local pod's. What came by no interface is the node's own, or made anew of fragments. What came by a pod's own is judged, too: in an answer of DSR it
 * speaks as another node, and while programs are replaced its mark (lib/mark.h) may not be known. */
static __always_inline enum drop_reason stray_check(struct __sk_buff *skb, const struct ip_addr *src)
{
	__u32 ifindex = skb->ingress_ifindex;

	return link_is_trusted(ifindex) ? DROP_NONE : stray_judge(src, ifindex);
}

/* The tunnel device's outer packets. Of those over IPv4 the kernel forgets by which interface what is inside came, of those over IPv6 it does not, and nothing else tells
 * them from what somebody else has put into UDP. So what goes into the device says so in tc_index, which the kernel carries along; the control block is gone
 * by then. Programs of ours clear it where a packet comes in, so the number alone counts for what came by an interface of ours: that of another agent's
 * programs as well, while they are replaced. What came by another one may bring any, and has to bring the one that is drawn. */
static __always_inline void tunnel_mark(struct __sk_buff *skb)
{
	skb->tc_index = link_is_trusted(skb->ingress_ifindex) ? TUNNELLED : tunnelled_strangers();
}

static __always_inline bool tunnel_is_marked(struct __sk_buff *skb)
{
	if (!skb->ingress_ifindex || skb->tc_index == tunnelled_strangers())
		return true;
	return (skb->tc_index == TUNNELLED || skb->tc_index == WRAPPED) && link_is_trusted(skb->ingress_ifindex);
}
