/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the stack forwards that came in by an interface of somebody else: another overlay's device, a tunnel's, a container's. No program of ours
 * has looked at it there, and whoever reaches that interface (a pod may, by a packet to the node's port for it) says inside what he likes. So no packet from there
 * speaks as another node, or as a pod there. (This node's own addresses others may well have there: a container's packets that the stack has masqueraded.) */
#pragma once

#include "lib/endpoint.h"
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

/* @src: no local pod's. What came by no interface is the node's own, or made anew of fragments. What came by a pod's own is judged, too: in an answer of DSR it
 * speaks as another node, and while programs are replaced its mark (lib/mark.h) may not be known. */
static __always_inline enum drop_reason stray_check(struct __sk_buff *skb, const struct ip_addr *src)
{
	__u32 ifindex = skb->ingress_ifindex;

	if (likely(ifindex <= LOOPBACK_IFINDEX || link_is_judged(ifindex)) || pod_iface_find(ifindex))
		return DROP_NONE;
	return stray_judge(src, ifindex);
}
