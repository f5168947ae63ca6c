/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on an uplink: what leaves this node as it is, past the stack or through it; with encryption on, nothing of a pod does. Pods get the node's address towards the
 * world; what the tunnel device has made becomes Geneve, where that is the transport. */
#include "lib/guard.h"
#include "lib/leave.h"
#include "lib/geneve.h"
#include "lib/masquerade.h"
#include "lib/stray.h"

/* What is read before it is known that the packet concerns us. Return: is it an IP packet? */
static __always_inline bool peek(struct __sk_buff *skb, struct packet *pkt)
{
	pkt->v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	return peek_source(skb, ETH_LEN, &pkt->src);
}

/* The tunnel's outer packets are most of what a node sends itself; nothing is ever claimed towards that port (nat_would_forge()). */
static __always_inline bool is_tunnel(const struct packet *pkt)
{
	return config.tunnel_port && pkt->proto == IPPROTO_UDP && pkt->dport == bpf_htons(config.tunnel_port);
}

static __always_inline bool is_own(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct ip_addr *own = masquerade_addr(skb->ifindex, &pkt->src);

	return own && addr_eq(&pkt->src, own);
}

/* Does masquerade concern packets of this family? */
static __always_inline bool is_on(const struct packet *pkt)
{
	return config.masquerade & (pkt->v6 ? 2 : 1);
}

static __always_inline enum drop_reason leave_pod(struct __sk_buff *skb, struct packet *pkt, __u32 owner)
{
	enum drop_reason why = packet_parse(skb, ETH_LEN, skb->protocol, false, pkt);

	if (why == DROP_NONE)
		why = pkt->icmp == ICMP_ND ? DROP_ND_SPOOF : leave_track(pkt, owner); /* neighbour discovery stays with the pod's gateway */
	if (why != DROP_NONE)
		return why;
	if (is_on(pkt))
		return masquerade_pod(skb, pkt, owner);
	if (config.inbound) /* an answer of a Service, or nothing of ours */
		return nat_back_drop(nat_return(skb, pkt));
	return DROP_NONE;
}

/* The node's own packet. @here: of its address on this uplink. Another is the pod range's, towards pods by a plain way. */
static __always_inline enum drop_reason leave_own(struct __sk_buff *skb, struct packet *pkt, bool here)
{
	enum drop_reason why;

	if (packet_parse(skb, ETH_LEN, skb->protocol, false, pkt) != DROP_NONE || pkt->fragment == FRAGMENT_LATER)
		return DROP_NONE;
	if (is_tunnel(pkt)) /* what is forwarded with this node's address is a container's or a pod's, translated: the peer would take what is inside for this node's */
		return tunnel_is_marked(skb) ? DROP_NONE : DROP_NAT_TUNNEL;
	why = host_check(pkt, &pkt->src);
	if (why != DROP_NONE || !here)
		return why;
	if (config.inbound) { /* a pod with the node's addresses answers for a Service */
		int back = nat_return(skb, pkt);

		if (back != NAT_BACK_NONE)
			return nat_back_drop(back);
	}
	return is_on(pkt) ? masquerade_node(skb, pkt) : DROP_NONE;
}

/* The outer packets of the tunnel come from this node itself. */
static __always_inline void geneve_leave_own(struct __sk_buff *skb)
{
	struct ip_addr src;

	if (peek_source(skb, ETH_LEN, &src) && addr_is_underlay(&src))
		geneve_leave(skb);
}

SEC("tc")
int to_net(struct __sk_buff *skb)
{
	enum drop_reason why = DROP_NONE;
	struct packet pkt = {};
	struct endpoint *ep;
	bool here;

	if (mark_is(skb, WRAPPED) && !config.guard) /* with encryption nothing is wrapped */
		return TC_ACT_OK;
	if (config.guard && guard_peek(skb, &pkt.src, &pkt.dst) && guard_forbids(&pkt.src, &pkt.dst))
		return drop(skb, &pkt, DROP_PLAINTEXT_OUT);
	if (config.geneve)
		geneve_leave_own(skb);
	if (likely(mark_is(skb, PAST_STACK)) || !peek(skb, &pkt))
		return TC_ACT_OK;
	ep = endpoint_find(&pkt.src);
	if (ep) {
		why = endpoint_sent(ep, skb) ? leave_pod(skb, &pkt, ep->id) : DROP_NET_SOURCE;
	} else {
		here = ((is_on(&pkt) || config.inbound) && is_own(skb, &pkt)) || (skb->ingress_ifindex && addr_is_underlay(&pkt.src));
		if (!here)
			why = node_sent(skb) ? node_route_find(&pkt.src) ? DROP_NET_SOURCE : DROP_NONE : stray_check(skb, &pkt.src);
		if (why != DROP_NONE)
			return drop(skb, &pkt, why);
		if (here || (config.host && host_is_end(&pkt.src)))
			why = leave_own(skb, &pkt, here);
	}
	return why == DROP_NONE ? TC_ACT_OK : drop(skb, &pkt, why);
}

char _license[] SEC("license") = "Dual BSD/GPL";
