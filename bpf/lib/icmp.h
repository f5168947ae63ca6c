/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors belong to the flow of the packet that they quote; neighbour discovery stays between a pod and its gateway. */
#pragma once

#include "lib/endpoint.h"
#include "lib/flow.h"
#include "lib/fragment.h"

static __always_inline __be16 packet_protocol(const struct packet *pkt)
{
	return pkt->v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

/**
 * icmp_check_error() - does the error concern a packet that its receiver really sent?
 * @from_pod: the sender is a pod, which can only complain about packets to itself (a router complains about any)
 */
__global enum drop_reason icmp_check_error(struct __sk_buff *skb, struct packet *pkt, bool from_pod)
{
	struct packet quoted = {};
	enum drop_reason why;

	if (!pkt)
		return DROP_ICMP_UNRELATED;
	why = packet_parse(skb, pkt->l4_off + 8, packet_protocol(pkt), true, &quoted);
	if (why != DROP_NONE)
		return why;
	if (!addr_eq(&quoted.src, &pkt->dst) || (from_pod && !addr_eq(&quoted.dst, &pkt->src)))
		return DROP_ICMP_UNRELATED;
	if (quoted.fragment == FRAGMENT_LATER && fragment_resolve_ports(&quoted) != DROP_NONE) /* IPv6 complains about these too */
		return DROP_ICMP_UNRELATED;
	return flow_passes(&quoted, from_pod ? FLOW_AT_DESTINATION : FLOW_AT_SOURCE, &pkt->via_stack) ? DROP_NONE : DROP_ICMP_UNRELATED;
}

/* The stack forwards neighbour discovery like any packet, when it is to a global address or to a group beyond the link. */
static __always_inline bool nd_stays(const struct ip_addr *dst)
{
	return addr_is_link_local(dst) || addr_is_node(dst) || (dst->w[0] & bpf_htonl(0xff0f0000)) == bpf_htonl(0xff020000);
}

/* May the pod speak as this address in neighbour discovery? */
static __always_inline bool nd_owns(const struct pod_iface *pod, const struct ip_addr *a)
{
	return pod_iface_owns(pod, a, true) || (addr_is_link_local(a) && !addr_is_gateway(a));
}

/**
 * nd_check() - neighbour discovery and multicast listener messages from a pod
 *
 * A pod may solicit and may speak for its own addresses (RFC 4861 7.1), to its gateway; it needs nothing else, as its routes and its
 * gateway's neighbour entry are set.
 */
__global enum drop_reason nd_check(struct __sk_buff *skb, const struct packet *pkt, const struct pod_iface *pod)
{
	struct ip_addr target;

	if (!pkt || !pod)
		return DROP_ND_SPOOF;
	if (pkt->icmp_type == ND_ROUTER_SOLICIT)
		return DROP_ROUTER_SOLICITATION;
	if (pkt->icmp_type == ND_ROUTER_ADVERT)
		return DROP_ROUTER_ADVERTISEMENT;
	if (pkt->icmp_type != ND_NEIGHBOUR_SOLICIT && pkt->icmp_type != ND_NEIGHBOUR_ADVERT)
		return DROP_MLD;
	if (pkt->l4_off + 24 > pkt->l3_off + pkt->ip_len || bpf_skb_load_bytes(skb, pkt->l4_off + 8, &target, 16))
		return DROP_TRUNCATED;
	if (pkt->ttl != 255 || !nd_stays(&pkt->dst)) /* it has not come over a router, and goes over none */
		return DROP_ND_SPOOF;
	if (pkt->icmp_type == ND_NEIGHBOUR_ADVERT)
		return nd_owns(pod, &pkt->src) && nd_owns(pod, &target) ? DROP_NONE : DROP_ND_SPOOF;
	if ((pkt->src.q[0] | pkt->src.q[1]) == 0) /* duplicate address detection */
		return nd_owns(pod, &target) ? DROP_NONE : DROP_ND_SPOOF;
	return nd_owns(pod, &pkt->src) ? DROP_NONE : DROP_ND_SPOOF;
}

/* What belongs on a link, and comes from further away. */
static __always_inline enum drop_reason icmp_check_link(const struct packet *pkt)
{
	if (unlikely(pkt->icmp == ICMP_ND))
		return DROP_ND_SPOOF;
	return unlikely(pkt->icmp == ICMP_REDIRECTS) ? DROP_ICMP_REDIRECT : DROP_NONE;
}
