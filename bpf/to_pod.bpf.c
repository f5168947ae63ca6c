/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on the host side of a pod's veth: what the node's stack sends to a pod, of its own or forwarded. Packets that were
 * delivered past the stack have been through the same checks where that was decided (lib/arrive.h). */
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/forward.h"
#include "lib/outbound.h"

/* Has the node said it? It came in by no interface, which the kernel also forgets of what it fragments again: what it forwards has no socket. */
static __always_inline bool is_of_node(struct __sk_buff *skb)
{
	return skb->ingress_ifindex == 0 && skb->sk;
}

/* Does somebody speak as a pod of this node, who is another? What came in by no interface is the node's. */
static __always_inline bool is_forged(struct __sk_buff *skb, struct packet *pkt)
{
	struct endpoint *ep = skb->ingress_ifindex ? endpoint_find(&pkt->src) : NULL;

	return ep && !endpoint_sent(ep, skb);
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
	if (unlikely(pkt.icmp == ICMP_ND && is_of_node(skb))) { /* the node's own; what it forwards, arrive_check() refuses */
		count_forward(skb, FORWARD_TO_POD);
		return TC_ACT_OK;
	}
	if (unlikely(!pod_iface_owns(pod, &pkt.dst, pkt.v6)))
		return drop(skb, &pkt, DROP_NOT_FOR_POD);
	if (unlikely(is_forged(skb, &pkt)))
		return drop(skb, &pkt, DROP_NET_SOURCE);
	why = arrive_check(skb, &pkt, pod->id, FLOW_OUT_OF_STACK | (is_of_node(skb) ? FLOW_OF_NODE : 0));
	if (why == DROP_NONE)
		why = outbound_return(skb, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	count_forward(skb, FORWARD_TO_POD);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
