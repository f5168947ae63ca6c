/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end at the wire: packets of local pods that the stack forwards to elsewhere, and of whoever only says that he is one. from_pod has seen
 * them, but if their addresses were translated in between, it saw another flow; lib/flow.h says what the one that leaves is needed for. */
#pragma once

#include "lib/drop.h"
#include "lib/endpoint.h"
#include "lib/flow.h"
#include "lib/forward.h"
#include "lib/host.h"
#include "lib/stray.h"

/* Reads no more than the source: most packets are none of ours. @l3_off: 0 where there is no Ethernet header. Return: is it an IP
 * packet? */
static __always_inline bool peek_source(struct __sk_buff *skb, __u32 l3_off, struct ip_addr *src)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 v4;

		if (packet_read(skb, l3_off + offsetof(struct iphdr, saddr), &v4, sizeof(v4)))
			return false;
		addr_from_v4(src, v4);
		return true;
	}
	return skb->protocol == bpf_htons(ETH_P_IPV6) &&
	       !packet_read(skb, l3_off + offsetof(struct ipv6hdr, saddr), src, sizeof(*src));
}

/* Errors belong to the flow that they quote, later fragments to what the first one noted. */
static __always_inline bool has_flow(const struct packet *pkt)
{
	return (pkt->icmp == ICMP_NOT || pkt->icmp == ICMP_QUERY) && pkt->fragment != FRAGMENT_LATER;
}

/* A packet of a pod, out of the stack. */
static __always_inline enum drop_reason leave_track(struct packet *pkt, __u32 owner)
{
	return config.foreign_nat && has_flow(pkt) ? flow_track(pkt, owner, FLOW_AT_SOURCE | FLOW_OUT_OF_STACK) : DROP_NONE;
}

static __always_inline int leave_node(struct __sk_buff *skb, __u32 l3_off)
{
	struct packet pkt = {};
	struct endpoint *ep;
	enum drop_reason why;

	if (likely(mark_is(skb, PAST_STACK)) || !peek_source(skb, l3_off, &pkt.src))
		return TC_ACT_OK;
	ep = endpoint_find(&pkt.src);
	why = ep ? endpoint_sent(ep, skb) ? DROP_NONE : DROP_NET_SOURCE : stray_check(skb, &pkt.src);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (!ep && !(config.host && host_is_end(&pkt.src)))
		return TC_ACT_OK;
	if (ep && !config.foreign_nat)
		return TC_ACT_OK;
	why = packet_parse(skb, l3_off, skb->protocol, false, &pkt);
	if (why == DROP_NONE)
		why = ep ? leave_track(&pkt, ep->id) : host_check(&pkt, &pkt.src);
	return why == DROP_NONE ? TC_ACT_OK : drop(skb, &pkt, why);
}
