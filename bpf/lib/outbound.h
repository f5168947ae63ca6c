/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a pod of this node to a Service, packet by packet: what the socket programs did not translate. Those are sockets of foreign
 * cgroups, raw ones, a pod that is its own endpoint, and connected UDP, which meets the socket programs once and has to follow
 * when its endpoint goes.
 *
 * It is the way of lib/inbound.h with the pod in the client's place: an entry in `nat_forward` leads to the endpoint, a claim leads
 * back. The pod keeps its address and, unless it speaks from it to the same endpoint under another name, or its socket may do so (SVC-47), its port. Only
 * to itself it speaks as this node, as it would not take packets from its own address.
 *
 * Flow table and policy see the endpoint's address, not the Service's: on the way out they are asked after the translation, on the
 * way back before it. The flow remembers that it is translated, so nothing else is asked for other flows. */
#pragma once

#include "lib/inbound.h"
#include "lib/service_apart.h"

/* Both are read: with one of them the compiler would compute an index, of which the verifier does not know the bounds. */
static __always_inline void outbound_node_addr(bool v6, struct ip_addr *ret)
{
	__u64 four[2] = { config.node_addrs[0].q[0], config.node_addrs[0].q[1] };
	__u64 six[2] = { config.node_addrs[1].q[0], config.node_addrs[1].q[1] };

	ret->q[0] = v6 ? six[0] : four[0];
	ret->q[1] = v6 ? six[1] : four[1];
}

/* Is it a datagram of a socket that speaks to other Services' endpoints by itself? */
__global bool outbound_is_apart(const struct packet *pkt)
{
	struct service_apart key = {};

	if (!pkt)
		return false;
	key.client = pkt->src;
	key.vip = pkt->dst;
	key.client_port = pkt->sport;
	key.vip_port = pkt->dport;
	return bpf_map_lookup_elem(&service_aparts, &key);
}

/* As whom the pod speaks to the endpoint @id; the entries are made. */
static __always_inline enum drop_reason outbound_begin(struct __sk_buff *skb, const struct packet *pkt, __u32 owner, __u32 id)
{
	struct nat_want w = { .backend = id, .owner = owner, .uplink = skb->ifindex };
	struct service_backend *b = bpf_map_lookup_elem(&service_backends, &id);

	if (!b)
		return DROP_SERVICE_REFUSED;
	w.to.addr = b->addr;
	w.to.port = b->port;
	w.as.addr = pkt->src;
	if (addr_eq(&b->addr, &pkt->src))
		outbound_node_addr(pkt->v6, &w.as.addr);
	else if (pkt->proto == IPPROTO_UDP)
		w.other_port = outbound_is_apart(pkt);
	return nat_connect(skb, pkt, &w);
}

/* Return: as inbound_enter(), but for the choice, which is made. */
static __always_inline int outbound_enter(struct __sk_buff *skb, struct packet *pkt, __u32 owner)
{
	long way = inbound_enter(skb, pkt, SERVICE_INTERNAL);
	enum drop_reason why;

	if (likely(way < INBOUND_CHOSEN))
		return way;
	why = outbound_begin(skb, pkt, owner, way - INBOUND_CHOSEN);
	return why == DROP_NONE ? inbound_enter(skb, pkt, SERVICE_INTERNAL | INBOUND_BEGUN) : -why;
}

/* An endpoint's answer, or a router's word about what was sent to it, on its way to a pod of this node: from the Service again. */
static __always_inline enum drop_reason outbound_return(struct __sk_buff *skb, struct packet *pkt)
{
	if (unlikely(config.inbound && (pkt->translated || pkt->icmp == ICMP_ERROR)))
		return nat_back_drop(nat_return(skb, pkt));
	return DROP_NONE;
}
