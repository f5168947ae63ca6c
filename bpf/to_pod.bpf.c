/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on the host side of a pod's veth: what the node's stack sends to a pod, of its own or forwarded. Packets that were
 * delivered past the stack have been through the same checks where that was decided (lib/arrive.h). */
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/forward.h"
#include "lib/outbound.h"
#include "lib/stray.h"

/* Does somebody speak as a pod of this node, who is another; this node as a pod or as another node; or as any node who came by none of our interfaces? */
static __always_inline enum drop_reason check_source(struct __sk_buff *skb, struct packet *pkt)
{
	bool own = node_sent(skb);
	struct endpoint *ep;

	if (own && addr_is_node(&pkt->src)) /* nearly all that it says */
		return DROP_NONE;
	ep = endpoint_find(&pkt->src);
	if (ep)
		return endpoint_sent(ep, skb) ? DROP_NONE : DROP_NET_SOURCE;
	if (own)
		return node_route_find(&pkt->src) ? DROP_NET_SOURCE : DROP_NONE;
	return stray_check(skb, &pkt->src);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct pod_iface *pod = pod_iface_find(skb->ifindex);
	struct packet pkt = {};
	enum drop_reason why;

	/* an answer to the pod itself, made in from_pod */
	if (unlikely(mark_is(skb, PAST_STACK) && skb->ingress_ifindex == skb->ifindex))
		return TC_ACT_OK;
	if (!pod)
		return drop(skb, &pkt, DROP_NO_ENDPOINT);
	why = packet_parse(skb, ETH_LEN, skb->protocol, false, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (unlikely(pkt.icmp == ICMP_ND && node_sent(skb))) { /* the node's own; what it forwards, arrive_check() refuses */
		count_forward(skb, FORWARD_TO_POD);
		return TC_ACT_OK;
	}
	if (unlikely(!pod_iface_owns(pod, &pkt.dst, pkt.v6)))
		return drop(skb, &pkt, DROP_NOT_FOR_POD);
	why = check_source(skb, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	why = arrive_check(skb, &pkt, pod->id, FLOW_OUT_OF_STACK | (node_sent(skb) ? FLOW_OF_NODE : 0));
	if (why == DROP_NONE)
		why = outbound_return(skb, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	count_forward(skb, FORWARD_TO_POD);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
