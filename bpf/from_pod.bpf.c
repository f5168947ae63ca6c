/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress on the host side of a pod's veth: what a pod sends.
 *
 * A pod speaks as itself or not at all. What is left is noted in the flow table and takes the shortest way: into the other
 * pod of this node, to the other node, or to the stack for everything else (this node, the world, answers of a router). */
#include "lib/dhcp.h"
#include "lib/drop.h"
#include "lib/echo.h"
#include "lib/forward.h"
#include "lib/fragment.h"
#include "lib/icmp.h"
#include "lib/mss.h"
#include "lib/outbound.h"
#include "lib/pod_tunnel.h"
#include "lib/vlan.h"

/* The frame: from the pod's MAC, to its gateway's or to a group, untagged. What a group may carry, the packet says. */
static __always_inline enum drop_reason check_frame(struct __sk_buff *skb, const struct pod_iface *pod, bool *ret_to_group)
{
	__u8 macs[2 * ETH_ALEN] __attribute__((aligned(4)));

	if (unlikely(skb->vlan_present || proto_is_vlan(skb->protocol)))
		return vlan_reason(skb);
	if (packet_read(skb, 0, macs, sizeof(macs)))
		return DROP_TRUNCATED;
	if (!mac_eq(macs + ETH_ALEN, pod->pod_mac))
		return DROP_SOURCE_MAC;
	*ret_to_group = macs[0] & 1;
	if (!mac_eq(macs, pod->host_mac) && !*ret_to_group)
		return DROP_DESTINATION_MAC;
	return DROP_NONE;
}

/* The addresses: from one of its own, to one host; such a packet does not come in a frame to a group (RFC 1122 3.3.6). */
static __always_inline enum drop_reason check_addresses(const struct packet *pkt, const struct pod_iface *pod, bool to_group)
{
	if (!pod_iface_owns(pod, &pkt->src, pkt->v6))
		return packet_is_dhcp(pkt) ? DROP_DHCP : DROP_SOURCE_ADDRESS;
	if (packet_is_multicast(pkt))
		return packet_is_dhcp(pkt) ? DROP_DHCP : DROP_MULTICAST;
	return to_group ? DROP_DESTINATION_MAC : DROP_NONE;
}

static __always_inline enum drop_reason check_flow(struct __sk_buff *skb, struct packet *pkt, const struct pod_iface *pod, __u8 place)
{
	enum drop_reason why = fragment_resolve(pkt);

	if (why != DROP_NONE)
		return why;
	if (unlikely(pkt->icmp == ICMP_ERROR))
		return icmp_check_error(skb, pkt, true);
	if (unlikely(pkt->icmp == ICMP_REDIRECTS))
		return DROP_ICMP_REDIRECT;
	why = flow_track(pkt, pod->id, FLOW_AT_SOURCE | place);
	if (why != DROP_NONE)
		return why;
	fragment_note(pkt);
	mss_clamp(skb, pkt, MSS_POD_SENDS);
	return DROP_NONE;
}

/* Whose the destination is: a pod's of this node, another node's, or neither. */
struct way {
	struct endpoint *ep;
	struct node_route *route;
};

static __always_inline void find_way(struct packet *pkt, struct way *way)
{
	way->ep = endpoint_find(&pkt->dst);
	way->route = way->ep ? NULL : node_route_find(&pkt->dst);
}

/* May a Service be there? Where tunnels lead to, only nodes' own addresses have node ports. */
static __always_inline bool may_serve(const struct way *way)
{
	return !way->ep && (!way->route || (way->route->node && way->route->transport != TRANSPORT_DIRECT));
}

static __always_inline int forward(struct __sk_buff *skb, struct packet *pkt, const struct way *way, const struct pod_iface *pod)
{
	if (way->ep)
		return forward_to_pod(skb, pkt, way->ep);
	if (way->route)
		return forward_to_node(skb, pkt, way->route, pod->host_mac);
	return forward_to_stack(skb);
}

/* Back to who spoke to a Service: a client outside, or a pod of this node; answers, and errors about what they sent. Return: TC_ACT_UNSPEC when it was nobody. */
static __always_inline int give_back(struct __sk_buff *skb, struct packet *pkt)
{
	int uplink = nat_return(skb, pkt);
	enum drop_reason why = nat_back_drop(uplink);
	struct endpoint *ep;

	if (why != DROP_NONE)
		return drop(skb, pkt, why);
	if (uplink <= NAT_BACK_INSIDE)
		return TC_ACT_UNSPEC;
	ep = endpoint_find(&pkt->dst);
	return ep ? forward_past_stack(skb, pkt, ep) : inbound_leave(skb, pkt, uplink);
}

/* Might it be for who spoke to a Service? Then it goes past the stack, which is left what it has to answer, before it is translated. */
static __always_inline bool may_be_given_back(const struct packet *pkt)
{
	if (!(pkt->translated || (config.inbound && pkt->icmp == ICMP_ERROR)))
		return false;
	return addr_is_node(&pkt->dst) || (config.fast_path && pkt->ttl > 1);
}

/* What has been noted and judged goes on. @translated: it is for a Service's endpoint. To itself a pod speaks as this node, and answers
 * this node: neither is for the stack. */
static __always_inline int send(struct __sk_buff *skb, struct packet *pkt, const struct way *way, const struct pod_iface *pod,
				bool translated)
{
	int r;

	if (unlikely(translated && way->ep && addr_is_node(&pkt->src)))
		return forward_past_stack(skb, pkt, way->ep);
	if (unlikely(!translated && may_be_given_back(pkt))) {
		r = give_back(skb, pkt);
		if (r != TC_ACT_UNSPEC)
			return r;
	}
	return unlikely(pkt->via_stack) ? forward_to_stack(skb) : forward(skb, pkt, way, pod);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct pod_iface *pod = pod_iface_find(skb->ifindex);
	struct packet pkt = {};
	enum drop_reason why;
	bool to_group = false;
	struct way way;
	int service = INBOUND_NONE;

	if (!pod)
		return drop(skb, &pkt, DROP_NO_ENDPOINT);
	why = check_frame(skb, pod, &to_group);
	if (why == DROP_NONE)
		why = packet_parse(skb, ETH_LEN, skb->protocol, false, &pkt);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (unlikely(pkt.icmp == ICMP_ND)) {
		why = nd_check(skb, &pkt, pod);
		return why == DROP_NONE ? forward_to_stack(skb) : drop(skb, &pkt, why);
	}
	why = check_addresses(&pkt, pod, to_group);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	find_way(&pkt, &way);
	if (unlikely(!way.ep && !way.route) && addr_is_loopback(&pkt.dst)) /* the node's own, if its kernel would take it (route_localnet) */
		return drop(skb, &pkt, DROP_LOOPBACK);
	if (unlikely(proto_is_tunnel(pkt.proto)) && !way.ep && pod_tunnel_is_for_node(skb, &pkt))
		return drop(skb, &pkt, DROP_POD_TUNNEL);
	if (config.inbound && unlikely(may_serve(&way))) {
		service = outbound_enter(skb, &pkt, pod->id);
		if (service == INBOUND_TRANSLATED)
			find_way(&pkt, &way);
		else if (service != INBOUND_NONE)
			return inbound_refuse(skb, &pkt, service);
	}
	why = check_flow(skb, &pkt, pod, service == INBOUND_TRANSLATED ? FLOW_TRANSLATED : 0);
	if (why != DROP_NONE)
		return drop(skb, &pkt, why);
	if (config.inbound && unlikely(pkt.icmp == ICMP_QUERY) && may_serve(&way)) {
		int answered = echo_answer(skb, &pkt);

		if (answered != TC_ACT_UNSPEC)
			return answered;
	}
	return send(skb, &pkt, &way, pod, service == INBOUND_TRANSLATED);
}

char _license[] SEC("license") = "Dual BSD/GPL";
