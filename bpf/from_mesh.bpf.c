/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress on the WireGuard interface: what other nodes sent, decrypted, to pods of this one or to this node. WireGuard has seen to
 * it that the source is one of its peer's; here it must be a node's that is reached this way, and nothing is forwarded onwards.
 * The interface has no Ethernet header; a pod's has one. */
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/forward.h"
#include "lib/host.h"
#include "lib/inbound.h"
#include "lib/outbound.h"
#include "lib/pod_tunnel.h"
#include "lib/route.h"

static __always_inline enum drop_reason check_source(struct __sk_buff *skb, const struct packet *pkt)
{
	const struct node_route *route = node_route_find(&pkt->src);

	return route && route->transport == TRANSPORT_MESH && route->ifindex == skb->ifindex ? DROP_NONE : DROP_TUNNEL_SOURCE;
}

/* Past the stack into the pod's interface, with a header before the packet. */
static __always_inline int deliver(struct __sk_buff *skb, const struct packet *pkt, const struct endpoint *ep)
{
	__be16 protocol = skb->protocol;

	if (pkt->ttl <= 1 || bpf_skb_change_head(skb, ETH_LEN, 0))
		return forward_to_stack(skb);
	if (!rewrite_hop(skb, pkt, ep->pod_mac, ep->host_mac) ||
	    bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0))
		return drop(skb, pkt, DROP_TRUNCATED);
	count_forward(skb, FORWARD_LOCAL);
	return bpf_redirect_peer(ep->ifindex, 0);
}

/* An endpoint's answer to a client for whom this node speaks: with a header, by the client's uplink. */
static __always_inline int leave(struct __sk_buff *skb, struct packet *pkt, __u32 uplink)
{
	__be16 protocol = skb->protocol;

	if (bpf_skb_change_head(skb, ETH_LEN, 0) || bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0))
		return drop(skb, pkt, DROP_TRUNCATED);
	pkt->l3_off += ETH_LEN;
	pkt->l4_off += ETH_LEN;
	return inbound_leave(skb, pkt, uplink);
}

SEC("tc")
int from_mesh(struct __sk_buff *skb)
{
	struct packet pkt = {};
	struct endpoint *ep;
	enum drop_reason why;

	why = packet_parse(skb, 0, skb->protocol, false, &pkt);
	if (why == DROP_NONE)
		why = check_source(skb, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	ep = endpoint_find(&pkt.dst);
	if (!ep) {
		if (!addr_is_node(&pkt.dst))
			return drop(skb, &pkt, DROP_TUNNEL_DESTINATION);
		why = icmp_check_link(&pkt);
		if (why != DROP_NONE)
			return drop(skb, &pkt, why);
		if (config.inbound) {
			int uplink = nat_return(skb, &pkt);

			why = nat_back_drop(uplink);
			if (why != DROP_NONE)
				return drop(skb, &pkt, why);
			if (uplink > NAT_BACK_INSIDE)
				return leave(skb, &pkt, uplink);
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
	return why == DROP_NONE ? deliver(skb, &pkt, ep) : drop(skb, &pkt, why);
}

char _license[] SEC("license") = "Dual BSD/GPL";
