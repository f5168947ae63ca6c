/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress on the tunnel device: what other nodes sent to pods of this one, or to this node. It was sent to this node's
 * own address on the underlay, and the inner source must belong to the node that the outer packet came from, or be a client's that asks a Service by way of that node (DSR); nothing from a tunnel
 * is forwarded onwards. */
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/dsr.h"
#include "lib/forward.h"
#include "lib/host.h"
#include "lib/inbound.h"
#include "lib/outbound.h"
#include "lib/pod_tunnel.h"

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet pkt = {};
	struct endpoint *ep;
	enum drop_reason why;

	if (unlikely(skb->vlan_present)) /* no node sends such frames */
		return drop(skb, &pkt, DROP_VLAN);
	why = packet_parse(skb, ETH_LEN, skb->protocol, false, &pkt);
	if (why == DROP_NONE)
		why = encap_check_source(skb, &pkt.src);
	if (why == DROP_NONE && !encap_is_for_us(skb))
		why = DROP_TUNNEL_DESTINATION;
	if (unlikely(config.inbound && why == DROP_TUNNEL_SOURCE) && dsr_is_sent_on(skb, &pkt))
		return dsr_arrive(skb, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	/* The inner destination MAC need not be the device's: without this the packet counts as another host's. */
	bpf_skb_change_type(skb, PACKET_HOST);
	ep = endpoint_find(&pkt.dst);
	if (!ep) {
		if (!addr_is_node(&pkt.dst))
			return drop(skb, &pkt, DROP_TUNNEL_DESTINATION);
		why = icmp_check_link(&pkt);
		if (why != DROP_NONE)
			return drop(skb, &pkt, why);
		if (config.inbound) { /* an endpoint's answer to a client for whom this node speaks */
			int uplink = nat_return(skb, &pkt);

			why = nat_back_drop(uplink);
			if (why != DROP_NONE)
				return drop(skb, &pkt, why);
			if (uplink > NAT_BACK_INSIDE)
				return inbound_leave(skb, &pkt, uplink);
		}
		why = pod_tunnel_check(&pkt);
		if (why == DROP_NONE)
			why = host_check(&pkt, &pkt.dst);
		return why == DROP_NONE ? forward_to_stack(skb) : drop(skb, &pkt, why);
	}
	if (!config.fast_path) /* to_pod looks at it */
		return forward_to_stack(skb);
	why = arrive_check(skb, &pkt, ep->id, 0);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (unlikely(pkt.via_stack))
		return forward_to_stack(skb);
	why = outbound_return(skb, &pkt);
	return why == DROP_NONE ? forward_to_pod(skb, &pkt, ep) : drop(skb, &pkt, why);
}

char _license[] SEC("license") = "Dual BSD/GPL";
