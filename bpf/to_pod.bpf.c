/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc egress on the host side of a pod's veth: what the node's stack sends to a pod, of its own or forwarded. Packets that were
 * delivered past the stack have been through the same checks where that was decided (lib/arrive.h). */
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/forward.h"
#include "lib/outbound.h"

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct pod_iface *pod = pod_iface_find(skb->ifindex);
	struct packet pkt = {};
	enum drop_reason why;

	if (unlikely(skb->tc_index == PAST_STACK)) /* an answer to the pod itself, made in from_pod */
		return TC_ACT_OK;
	if (!pod)
		return drop(skb, &pkt, DROP_NO_ENDPOINT);
	why = packet_parse(skb, ETH_LEN, skb->protocol, false, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (unlikely(pkt.icmp == ICMP_ND && skb->ingress_ifindex == 0)) { /* the node's own; what it forwards, arrive_check() refuses */
		count_forward(skb, FORWARD_TO_POD);
		return TC_ACT_OK;
	}
	if (unlikely(!pod_iface_owns(pod, &pkt.dst, pkt.v6)))
		return drop(skb, &pkt, DROP_NOT_FOR_POD);
	/* What the node says itself has come in by no interface. */
	why = arrive_check(skb, &pkt, pod->id, FLOW_OUT_OF_STACK | (skb->ingress_ifindex == 0 ? FLOW_OF_NODE : 0));
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	outbound_return(skb, &pkt);
	count_forward(skb, FORWARD_TO_POD);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
