/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress on an uplink: what comes from outside as it is. Packets that claim to be from here, or from a pod that only a tunnel leads
 * to, are dropped; answers to what left by a claim (NAT) get their true destination back, before anything else looks at them; packets
 * for local pods go straight in, who asks for an address that this node announces is answered, everything else is the stack's. Geneve
 * becomes what the tunnel device understands. */
#include "lib/announce.h"
#include "lib/arrive.h"
#include "lib/drop.h"
#include "lib/forward.h"
#include "lib/geneve.h"
#include "lib/guard.h"
#include "lib/host.h"
#include "lib/inbound.h"
#include "lib/outbound.h"
#include "lib/pod_tunnel.h"
#include "lib/unwrap.h"
#include "lib/vlan.h"
#include "lib/vxlan.h"

/* Of a VLAN, which is another network: it is its device's, if there is one. A tag of VLAN 0 says but a priority. */
static __always_inline bool is_of_a_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

/* Other devices may be above this one (a VLAN's, a macvlan), so nothing is dropped: the stack takes neither. Frames for another host's
 * MAC address come as a switch floods what it cannot place, and while somebody captures. */
static __always_inline bool is_of_others(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_OTHERHOST || is_of_a_vlan(skb);
}

/* What the node itself says to many the stack gives back to its own sockets here: without a frame, and judged where it left. */
static __always_inline bool is_echoed(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_LOOPBACK;
}

/* Below a tag of VLAN 0 another such one: the stack takes it off after us, and what nobody has looked at would be inside. */
static __always_inline bool is_tagged_again(struct __sk_buff *skb)
{
	__be16 tci;

	if (!proto_is_vlan(skb->protocol))
		return false;
	return bpf_skb_load_bytes(skb, ETH_LEN, &tci, sizeof(tci)) || !(bpf_ntohs(tci) & VLAN_ID);
}

/* In a frame to a group, or to all: no router sends that on (RFC 1812 5.3.4), so neither to a pod, in a tunnel or without, nor to a Service's
 * endpoint. What it has for the node itself is the stack's to judge. */
static __always_inline bool is_to_many(const struct __sk_buff *skb)
{
	return skb->pkt_type != PACKET_HOST;
}

/* Reads no more than the addresses: most packets are none of ours. Return: is it an IP packet? */
static __always_inline bool peek_addresses(struct __sk_buff *skb, struct packet *pkt)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 a[2];

		if (packet_read(skb, ETH_LEN + offsetof(struct iphdr, saddr), a, sizeof(a)))
			return false;
		addr_from_v4(&pkt->src, a[0]);
		addr_from_v4(&pkt->dst, a[1]);
		return true;
	}
	return skb->protocol == bpf_htons(ETH_P_IPV6) &&
	       !packet_read(skb, ETH_LEN + offsetof(struct ipv6hdr, saddr), &pkt->src, 2 * sizeof(struct ip_addr));
}

/* Outer packets to this node: what is inside is looked at here or in from_tunnel, the outer source included. WireGuard's packets are no
 * tunnel device's. */
static __always_inline bool is_tunnelled(struct __sk_buff *skb, const struct packet *pkt)
{
	return config.tunnel_port && !config.guard && addr_is_underlay(&pkt->dst) && outer_is_tunnel(skb);
}

/* For a pod of this node, and nothing about it is special: it is taken out, and goes straight in. @pkt: what is inside */
static __always_inline int arrive_inside(struct __sk_buff *skb, struct packet *pkt)
{
	struct endpoint *ep = endpoint_find(&pkt->dst);
	enum drop_reason why;

	if (!ep)
		return TC_ACT_OK;
	why = arrive_check(skb, pkt, ep->id, 0);
	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	if (unlikely(pkt->via_stack || (config.inbound && pkt->translated)) || unwrap_take(skb, pkt->v6))
		return TC_ACT_OK;
	return forward_past_stack(skb, pkt, ep);
}

static __always_inline int arrive_outer(struct __sk_buff *skb, struct packet *pkt)
{
	enum drop_reason why = config.geneve ? geneve_arrive(skb) : DROP_NONE;

	if (why == DROP_NONE && addr_is_node(&pkt->src))
		why = DROP_NET_SOURCE;
	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	if (config.fast_path && unwrap_look(skb, pkt))
		return arrive_inside(skb, pkt);
	why = vxlan_judge(skb);
	return why == DROP_NONE ? TC_ACT_OK : drop(skb, pkt, why);
}

/* To a local pod. @place: of the flow, beside its being the destination's end. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *pkt, struct endpoint *ep, __u8 place)
{
	enum drop_reason why;

	if (!config.fast_path) /* to_pod looks at it */
		return forward_to_stack(skb);
	why = arrive_check(skb, pkt, ep->id, place);
	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	if (unlikely(pkt->via_stack))
		return forward_to_stack(skb);
	why = outbound_return(skb, pkt);
	return why == DROP_NONE ? forward_to_pod(skb, pkt, ep) : drop(skb, pkt, why);
}

/* For the stack: it may be for this node. */
static __always_inline int to_stack(struct __sk_buff *skb, struct packet *pkt)
{
	enum drop_reason why = pod_tunnel_check(pkt);

	if (why == DROP_NONE)
		why = host_check(pkt, &pkt->dst);
	return why == DROP_NONE ? TC_ACT_OK : drop(skb, pkt, why);
}

/* For a Service: it has got its endpoint's address. */
static __always_inline int to_endpoint(struct __sk_buff *skb, struct packet *pkt)
{
	struct endpoint *ep = endpoint_find(&pkt->dst);
	struct node_route *route;

	if (ep)
		return arrive(skb, pkt, ep, FLOW_TRANSLATED);
	route = node_route_find(&pkt->dst);
	if (route)
		return inbound_to_node(skb, pkt, route);
	if (addr_is_node(&pkt->dst)) /* a pod with the node's own addresses: what its policy closes, no Service opens */
		return to_stack(skb, pkt);
	return inbound_leave(skb, pkt, skb->ifindex);
}

/* What becomes of a packet for a Service; one that begins a connection finds its entries at the second look. */
static __always_inline int enter(struct __sk_buff *skb, struct packet *pkt)
{
	enum drop_reason why;
	long way;

	if (unlikely(pkt->icmp == ICMP_ERROR))
		return inbound_error(skb, pkt);
	way = inbound_enter(skb, pkt, SERVICE_EXTERNAL);
	if (way < INBOUND_CHOSEN)
		return way;
	mss_clamp(skb, pkt, MSS_POD_GETS); /* by the way to the client: the endpoint's node sees only ours */
	why = inbound_begin(skb, pkt, way, skb->ifindex);
	return why == DROP_NONE ? inbound_enter(skb, pkt, SERVICE_EXTERNAL | INBOUND_BEGUN) : -why;
}

/* For no pod as it is. What is neither an answer to what was translated, nor for a Service, is the stack's, untouched. */
static __always_inline int for_node(struct __sk_buff *skb, struct packet *pkt)
{
	enum drop_reason why;
	struct endpoint *ep;
	int way;

	if (unlikely(addr_is_loopback(&pkt->src) || addr_is_loopback(&pkt->dst))) /* the stack may take them (route_localnet) */
		return drop(skb, pkt, DROP_LOOPBACK);
	why = packet_parse(skb, ETH_LEN, skb->protocol, false, pkt);
	if (why != DROP_NONE) /* what cannot be judged, the stack might understand */
		return config.host && host_is_end(&pkt->dst) ? drop(skb, pkt, why) : TC_ACT_OK;
	if (pkt->icmp == ICMP_ND)
		return announce_nd(skb, pkt);
	if (packet_is_multicast(pkt) || is_to_many(skb))
		return to_stack(skb, pkt);
	way = nat_return(skb, pkt);
	why = nat_back_drop(way);
	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	if (way > NAT_BACK_INSIDE)
		return inbound_leave(skb, pkt, way);
	if (way == NAT_BACK_INSIDE) {
		ep = endpoint_find(&pkt->dst);
		return ep ? arrive(skb, pkt, ep, 0) : to_stack(skb, pkt); /* the node's own connection */
	}
	if (!config.inbound)
		return to_stack(skb, pkt);
	way = enter(skb, pkt);
	if (way == INBOUND_NONE)
		return to_stack(skb, pkt);
	return way == INBOUND_TRANSLATED || way == INBOUND_DIRECT ? to_endpoint(skb, pkt) : inbound_refuse(skb, pkt, way);
}

SEC("tc")
int from_net(struct __sk_buff *skb)
{
	struct packet pkt = {};
	struct endpoint *ep;
	enum drop_reason why;

	if (unlikely(is_of_others(skb) || is_echoed(skb)))
		return TC_ACT_OK;
	if (unlikely(is_tagged_again(skb)))
		return drop(skb, &pkt, DROP_QINQ);
	if (!peek_addresses(skb, &pkt))
		return skb->protocol == bpf_htons(ETH_P_ARP) ? announce_arp(skb) : TC_ACT_OK;
	if (is_tunnelled(skb, &pkt))
		return unlikely(is_to_many(skb)) ? drop(skb, &pkt, DROP_DESTINATION_MAC) : arrive_outer(skb, &pkt);
	if (config.guard && guard_forbids(&pkt.src, &pkt.dst))
		return drop(skb, &pkt, DROP_PLAINTEXT_IN);
	if (addr_is_node(&pkt.src) || addr_is_in_range(&pkt.src) || endpoint_find(&pkt.src))
		return drop(skb, &pkt, DROP_NET_SOURCE);
	ep = endpoint_find(&pkt.dst);
	if (!addr_may_come_plain(&pkt.src, skb->ifindex, ep))
		return drop(skb, &pkt, DROP_PLAIN_SOURCE);
	if (config.geneve && addr_is_underlay(&pkt.dst)) {
		why = geneve_arrive(skb);
		if (why != DROP_NONE)
			return drop(skb, &pkt, why);
	}
	if (!ep)
		return for_node(skb, &pkt);
	if (unlikely(!inbound_is_client(&pkt.src)))
		return drop(skb, &pkt, DROP_NET_SOURCE);
	if (unlikely(is_to_many(skb)))
		return drop(skb, &pkt, DROP_DESTINATION_MAC);
	why = packet_parse(skb, ETH_LEN, skb->protocol, false, &pkt);
	return why == DROP_NONE ? arrive(skb, &pkt, ep, 0) : drop(skb, &pkt, why);
}

char _license[] SEC("license") = "Dual BSD/GPL";
