/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From outside to a Service: NodePorts of this node, addresses of load balancers, external addresses.
 *
 * The first packet of a connection chooses an endpoint; from then on the entry in `nat_forward` leads there, whatever becomes of the
 * frontend; of DSR where anybody can tell the endpoint again, one in `dsr_ways`. Who is sent to an endpoint of this node keeps the client's address (its port too, unless another connection of the
 * client to the same endpoint has it already: SVC-47); towards other nodes this node speaks in the client's place, so that the
 * answer comes back here. The answer finds the claim (lib/nat_return.h).
 *
 * Such packets never meet the stack: it would drop a packet that comes in with an address of this node as its source. */
#pragma once

#include "lib/answer.h"
#include "lib/drop.h"
#include "lib/dsr_way.h"
#include "lib/forward.h"
#include "lib/mss.h"
#include "lib/nat_return.h"
#include "lib/service.h"

/* What came of a packet; below zero: - enum drop_reason. */
enum inbound_way { INBOUND_NONE, INBOUND_TRANSLATED, INBOUND_DIRECT /* lib/dsr.h */, INBOUND_UNKNOWN /* within */, INBOUND_ANSWER_TOO_BIG /* + mtu */ };

/* A connection begins: + the id of the backend that was chosen for it, for inbound_begin(); + whether the Service asks for DSR, and whether the choice can be made
 * again (lib/dsr_way.h). */
#define INBOUND_CHOSEN (1l << 32)
#define INBOUND_CHOSEN_DSR (1l << 33)
#define INBOUND_CHOSEN_AGAIN (1l << 34)

static __always_inline bool inbound_fragments(struct __sk_buff *skb, const struct packet *pkt)
{
	__be16 off;

	return !pkt->v6 && !bpf_skb_load_bytes(skb, pkt->l3_off + offsetof(struct iphdr, frag_off), &off, 2) && !(off & bpf_htons(0x4000));
}

/* Does the kernel cut the outer packets of this way? Over IPv6 it does not cut what a tunnel device sends. */
static __always_inline bool inbound_cuts_outer(const struct node_route *route)
{
	return route->transport != TRANSPORT_TUNNEL || addr_is_v4(&route->underlay);
}

/* Does the packet fit into the way to the endpoint, or may it be cut? Return: 0, or the MTU that it is too big for. */
static __always_inline __u32 inbound_check_size(struct __sk_buff *skb, const struct packet *pkt, const struct ip_addr *to)
{
	struct node_route *route = node_route_find(to);

	if (!route || packet_wire_len(skb, pkt) <= route->mtu || (inbound_cuts_outer(route) && inbound_fragments(skb, pkt)))
		return 0;
	return route->mtu;
}

/* Both ends, as the entry says. Of a later fragment only the addresses are there to be changed. */
static __always_inline int inbound_rewrite(struct __sk_buff *skb, struct packet *pkt, const struct nat_end *as, const struct nat_end *to)
{
	__u32 mtu = inbound_check_size(skb, pkt, &to->addr);

	if (unlikely(mtu))
		return INBOUND_ANSWER_TOO_BIG + mtu;
	if (nat_is_stuck(pkt, as->port, to->port))
		return -DROP_SERVICE_PORT;
	if (nat_translate(skb, pkt, NAT_DESTINATION, to))
		return -DROP_TRUNCATED;
	if (addr_eq(&as->addr, &pkt->src) && as->port == pkt->sport)
		return INBOUND_TRANSLATED;
	return nat_translate(skb, pkt, NAT_SOURCE, as) ? -DROP_TRUNCATED : INBOUND_TRANSLATED;
}

/* As it is, to the endpoint's node. Only @pkt speaks of the endpoint. */
static __always_inline int inbound_direct(struct __sk_buff *skb, struct packet *pkt, const struct ip_addr *to)
{
	__u32 mtu = inbound_check_size(skb, pkt, to);

	if (unlikely(mtu))
		return INBOUND_ANSWER_TOO_BIG + mtu;
	pkt->dst = *to;
	return INBOUND_DIRECT;
}

/* Beside the scope of inbound_enter(): its entries have just been made, nothing is asked again. */
#define INBOUND_BEGUN 0x100

/* May the connection go on with the endpoint that it has? TCP does until somebody ends it; what begins anew, and datagrams, turn to
 * another one when theirs is gone (SVC-21). */
static __always_inline bool inbound_backend_serves(const struct packet *pkt, __u32 backend)
{
	__u32 id = backend;
	struct service_backend *b;

	if (pkt->proto == IPPROTO_TCP && !tcp_begins(pkt))
		return true;
	b = bpf_map_lookup_elem(&service_backends, &id);
	return b && b->roles;
}

/* The same, and is what the client asks for still that endpoint's? An address or a port may have gone to another Service, or be closed
 * to the client, while the endpoint serves on. Datagrams ask in the first packet of a tick. @seen: tick of the one before */
static __always_inline bool inbound_goes_on(const struct packet *pkt, __u32 backend, __u32 seen, __u32 scope)
{
	struct service_frontend *f;

	if (pkt->proto == IPPROTO_TCP ? !tcp_begins(pkt)
				      : pkt->proto != IPPROTO_UDP || seen == tick_now())
		return inbound_backend_serves(pkt, backend);
	f = service_find(&pkt->dst, pkt->dport, pkt->proto, scope);
	return f && service_backend_of(f, backend) && service_lets_in(f, &pkt->src);
}

static __always_inline void inbound_forget(struct nat_key *inside, struct nat_forward *forward)
{
	struct nat_key key = *inside;
	struct nat_claim *claim;

	nat_key_outside(&key, forward);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (claim)
		nat_end_claim(&key, claim);
	else
		bpf_map_delete_elem(&nat_forward, inside);
}

/* As whom the client speaks to this endpoint. */
static __always_inline bool inbound_as(struct __sk_buff *skb, const struct packet *pkt, const struct service_backend *b, struct nat_want *w)
{
	__u32 ifindex = skb->ifindex;
	struct ip_addr to = b->addr;
	struct nat_uplink *uplink;

	if (b->flags & SERVICE_ON_THIS_NODE || addr_is_node(&to)) { /* the stack takes no packet from this node to itself */
		w->as.addr = pkt->src;
		return true;
	}
	if (node_route_find(&to)) {
		if (pkt->v6)
			addr_from_config(&w->as.addr, &config.node_addrs[1]);
		else
			addr_from_config(&w->as.addr, &config.node_addrs[0]);
	} else { /* outside of the pod ranges: as who is on this uplink */
		uplink = bpf_map_lookup_elem(&nat_uplinks, &ifindex);
		if (!uplink)
			return false;
		w->as.addr = pkt->v6 ? uplink->addrs[1] : uplink->addrs[0];
	}
	return w->as.addr.b[0] != ADDR_ABSENT_BYTE;
}

/* Can the endpoint's node tell that a packet was sent on to it? In a tunnel it can; else if the packet is for another node's address.
 * WireGuard takes no packets of others from a node. */
static __always_inline bool inbound_can_go_direct(const struct packet *pkt, const struct service_backend *b)
{
	struct node_route *route = b->flags & (SERVICE_ON_THIS_NODE | SERVICE_HOST) ? NULL : node_route_find(&b->addr);
	struct ip_addr dst = pkt->dst;

	if (!route || route->transport == TRANSPORT_MESH)
		return false;
	return route->transport == TRANSPORT_TUNNEL || bpf_map_lookup_elem(&service_nodes, &dst);
}

/* As nat_connect(), and where clients' share is used up one that is no connection yet gives way. */
static __always_inline enum drop_reason inbound_connect(struct __sk_buff *skb, const struct packet *pkt, struct nat_want *w)
{
	enum drop_reason why = nat_claim(skb, pkt, w);

	if (unlikely(why == DROP_NAT_SHARE || why == DROP_NAT_TABLE_FULL) && nat_make_room())
		why = nat_claim(skb, pkt, w);
	return why == DROP_NONE ? nat_publish(pkt, w) : why;
}

/* DSR where the choice can be made again: no entries, but a way. */
__global enum drop_reason inbound_note_way(const struct packet *pkt, __u32 id)
{
	struct service_backend *b = bpf_map_lookup_elem(&service_backends, &id);
	struct nat_key key;

	if (!pkt || !b)
		return DROP_SERVICE_REFUSED;
	nat_key_of(pkt, true, &key);
	return dsr_way_put(&key, &b->addr, id) ? DROP_NAT_TABLE_FULL : DROP_NONE;
}

/* A connection begins with the endpoint @chosen (as of inbound_enter()): its entries are made. @uplink: by which answers leave. */
static __always_inline enum drop_reason inbound_begin(struct __sk_buff *skb, const struct packet *pkt, long chosen, __u32 uplink)
{
	__u32 id = chosen;
	struct service_backend *b = bpf_map_lookup_elem(&service_backends, &id);
	struct nat_want w = { .backend = id, .owner = NAT_OWNER_INBOUND, .uplink = uplink };

	if (!b)
		return DROP_SERVICE_REFUSED;
	w.to.addr = b->addr;
	w.to.port = b->port;
	if (unlikely(chosen & INBOUND_CHOSEN_DSR) && inbound_can_go_direct(pkt, b)) {
		if (chosen & INBOUND_CHOSEN_AGAIN)
			return inbound_note_way(pkt, id);
		w.as.addr = pkt->src;
		w.direct = 1;
	} else if (!inbound_as(skb, pkt, b, &w)) {
		return DROP_NAT_ADDRESS;
	}
	return inbound_connect(skb, pkt, &w);
}

/* The same on every node, so that with Maglev another node chooses the same endpoint. FNV-1a. */
static __always_inline __u32 inbound_hash(const struct packet *pkt)
{
	__u32 words[5] = { pkt->src.w[0], pkt->src.w[1], pkt->src.w[2], pkt->src.w[3], pkt->sport };
	__u32 h = 0x811c9dc5;

#pragma unroll
	for (int i = 0; i < 5; i++)
#pragma unroll
		for (int b = 0; b < 32; b += 8)
			h = (h ^ (words[i] >> b & 0xff)) * 0x01000193;
	return h;
}

/* An address that somebody outside can have, beyond the link. The stack, which these packets never meet, would drop the others, but for the pods' gateway. */
static __always_inline bool inbound_is_client(const struct ip_addr *a)
{
	if (addr_is_v4(a))
		return a->b[12] && a->b[12] != 127 && a->b[12] < 224 && !addr_is_gateway(a);
	return a->b[0] != 0xff && !addr_is_link_local(a) && (a->w[0] || a->w[1] || a->w[2] || bpf_ntohl(a->w[3]) > 1);
}

/* From outside this node is a router on the way to the endpoint, whose answer must speak of the packet as it was sent: before anything is
 * translated, or claimed. Pods' packets have another hop before them: forward() sees to it. */
static __always_inline bool inbound_has_ended(const struct packet *pkt, __u32 scope)
{
	return pkt->ttl <= 1 && scope == SERVICE_EXTERNAL;
}

/* Which endpoint serves a new connection? */
static __always_inline long inbound_choose(struct packet *pkt, __u32 scope)
{
	struct service_ask ask = { .client = pkt->src };
	struct service_frontend *f = service_find(&pkt->dst, pkt->dport, pkt->proto, scope);
	struct service_backend backend = {};
	__u32 id = 0;

	if (!f)
		return INBOUND_NONE;
	if (unlikely(inbound_has_ended(pkt, scope)))
		return -DROP_HOP_LIMIT;
	if (unlikely(!inbound_is_client(&pkt->src)))
		return -DROP_NET_SOURCE;
	if (!service_lets_in(f, &pkt->src))
		return -DROP_SERVICE_SOURCE;
	if (!f->slots)
		return service_empty(f) == SERVICE_DROP ? -DROP_SERVICE_NO_LOCAL : -DROP_SERVICE_REFUSED;
	ask.hash = f->flags & SERVICE_MAGLEV ? inbound_hash(pkt) : bpf_get_prandom_u32();
	if (service_choose(f, &ask, &backend, &id) != SERVICE_CHOSEN)
		return -DROP_SERVICE_REFUSED;
	service_count(SERVICE_TRANSLATED_PACKET);
	return (INBOUND_CHOSEN | (f->flags & SERVICE_DSR ? INBOUND_CHOSEN_DSR : 0) |
		(scope == SERVICE_EXTERNAL && service_tells_again(f) ? INBOUND_CHOSEN_AGAIN : 0)) + id;
}

/* By a way of lib/dsr_way.h. */
static __always_inline int inbound_error_by_way(struct __sk_buff *skb, struct packet *pkt, const struct nat_key *key)
{
	struct dsr_way *way = dsr_way_find(key);
	struct ip_addr to;

	if (!way)
		return INBOUND_NONE;
	to = way->to;
	return inbound_direct(skb, pkt, &to);
}

/* An error about what an endpoint sent to a client: on to the endpoint, and about the packet as it sent it (M4). */
__global int inbound_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_end as = {}, to = {};
	struct nat_forward *forward;
	struct packet quoted = {};
	struct nat_key key;

	if (!pkt || packet_parse(skb, pkt->l4_off + 8, packet_protocol(pkt), true, &quoted) != DROP_NONE || !addr_eq(&quoted.src, &pkt->dst))
		return INBOUND_NONE;
	nat_key_of(&quoted, false, &key); /* its receiver is the inside end */
	forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (!forward || !forward->backend)
		return inbound_error_by_way(skb, pkt, &key);
	as.addr = forward->addr;
	as.port = forward->port;
	to.addr = forward->to;
	to.port = forward->to_port;
	if (unlikely(forward->direct))
		return inbound_direct(skb, pkt, &to.addr);
	if (nat_rewrite_quoted(skb, pkt, &quoted, NAT_SOURCE, &to) || nat_rewrite_quoted(skb, pkt, &quoted, NAT_DESTINATION, &as))
		return -DROP_TRUNCATED;
	as.port = to.port = 0;
	if (nat_rewrite(skb, pkt, NAT_DESTINATION, &to))
		return -DROP_TRUNCATED;
	/* Another node takes packets from our addresses only. */
	if (node_route_find(&to.addr) && nat_rewrite(skb, pkt, NAT_SOURCE, &as))
		return -DROP_TRUNCATED;
	return INBOUND_TRANSLATED;
}

/* A packet that is for no pod: is it of a connection that has entries? Return: as inbound_enter(), or INBOUND_UNKNOWN. */
__global long inbound_follow(struct __sk_buff *skb, struct packet *pkt, __u32 scope)
{
	struct nat_end as = {}, to = {};
	struct nat_forward *forward;
	struct nat_key key;

	if (!pkt || fragment_resolve(pkt) != DROP_NONE)
		return INBOUND_NONE;
	if (pkt->icmp != ICMP_NOT) /* errors: inbound_error(), not called from here as the verifier adds up the stacks */
		return INBOUND_NONE;
	nat_key_of(pkt, true, &key);
	forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (!forward || !forward->backend)
		return INBOUND_UNKNOWN;
	fragment_note(pkt);
	if (!(scope & INBOUND_BEGUN)) {
		if (unlikely(!inbound_goes_on(pkt, forward->backend, forward->seen, scope) || (forward->direct && scope == SERVICE_FORWARDED))) {
			inbound_forget(&key, forward);
			return INBOUND_UNKNOWN;
		}
		if (unlikely(inbound_has_ended(pkt, scope)))
			return -DROP_HOP_LIMIT;
		nat_touch_out(pkt, forward);
	}
	as.addr = forward->addr;
	as.port = forward->port;
	to.addr = forward->to;
	to.port = forward->to_port;
	if (unlikely(forward->direct))
		return inbound_direct(skb, pkt, &to.addr);
	return inbound_rewrite(skb, pkt, &as, &to);
}

/* May it go on by its way? As inbound_goes_on(); a SYN after the client's end begins anew; and a connection of TCP whose Service is gone altogether ends
 * before long: the endpoint's node may know nothing of it, and send it back. */
static __always_inline bool inbound_way_stands(const struct packet *pkt, struct dsr_way *way, __u32 scope)
{
	if (tcp_begins(pkt) && way->ends)
		return false;
	if (pkt->proto != IPPROTO_TCP || tcp_begins(pkt))
		return inbound_goes_on(pkt, way->backend, way->seen, scope);
	if (way->seen != tick_now())
		way->gone = !service_find(&pkt->dst, pkt->dport, pkt->proto, scope);
	return true;
}

/* A connection without entries: which way did it go before? */
static __always_inline struct dsr_way *inbound_recall(const struct packet *pkt, const struct nat_key *key, __u32 scope)
{
	struct dsr_way *way = (scope & ~INBOUND_BEGUN) == SERVICE_EXTERNAL ? dsr_way_find(key) : NULL;

	if (!way || scope & INBOUND_BEGUN || inbound_way_stands(pkt, way, scope))
		return way;
	bpf_map_delete_elem(&dsr_ways, key);
	return NULL;
}

/* It has none: has it a way, or does it begin? A function beside the other, as the verifier adds up the stacks. */
__global long inbound_find(struct __sk_buff *skb, struct packet *pkt, __u32 scope)
{
	struct dsr_way *way;
	struct ip_addr to;
	struct nat_key key;

	if (!pkt)
		return INBOUND_NONE;
	nat_key_of(pkt, true, &key);
	way = inbound_recall(pkt, &key, scope);
	if (likely(!way))
		return scope & INBOUND_BEGUN ? -DROP_NAT_EXHAUSTED /* ended meanwhile, by another CPU */ : inbound_choose(pkt, scope);
	fragment_note(pkt);
	if (unlikely(inbound_has_ended(pkt, scope)))
		return -DROP_HOP_LIMIT;
	dsr_way_touch(pkt, way);
	to = way->to;
	return inbound_direct(skb, pkt, &to);
}

/**
 * inbound_enter() - a packet that is for no pod: is it for a Service?
 * @scope: enum service_scope: from outside, a pod's, or sent on by another node; and INBOUND_BEGUN
 *
 * @pkt is parsed, no multicast, and changed with the packet. Return: enum inbound_way, INBOUND_CHOSEN + id, or - enum drop_reason.
 */
static __always_inline long inbound_enter(struct __sk_buff *skb, struct packet *pkt, __u32 scope)
{
	long way = inbound_follow(skb, pkt, scope);

	return way == INBOUND_UNKNOWN ? inbound_find(skb, pkt, scope) : way;
}

/* To the client, by the uplink that it came by. The neighbour is found in the kernel's tables. */
static __always_inline int inbound_leave(struct __sk_buff *skb, const struct packet *pkt, __u32 uplink)
{
	static const __u8 zero[ETH_ALEN];

	if (unlikely(pkt->ttl <= 1)) /* it is translated: whoever sent it would not know what an answer is about */
		return drop(skb, pkt, DROP_HOP_LIMIT);
	mss_clamp(skb, pkt, MSS_POD_SENDS);
	if (!rewrite_hop(skb, pkt, zero, zero))
		return drop(skb, pkt, DROP_TRUNCATED);
	mark_put(skb, PAST_STACK);
	count_forward(skb, FORWARD_CLIENT);
	return bpf_redirect_neigh(uplink, NULL, 0, 0);
}

/* To the node of an endpoint, also when the fast path is off. */
static __always_inline int inbound_to_node(struct __sk_buff *skb, const struct packet *pkt, const struct node_route *route)
{
	__u8 own_mac[ETH_ALEN];

	if (unlikely(pkt->ttl <= 1)) /* an error: nothing is said about those */
		return drop(skb, pkt, DROP_HOP_LIMIT);
	if (bpf_skb_load_bytes(skb, 0, own_mac, sizeof(own_mac)))
		return drop(skb, pkt, DROP_TRUNCATED);
	if (route->transport == TRANSPORT_TUNNEL)
		return forward_tunnel(skb, pkt, route, own_mac, forward_fits(skb, pkt, route));
	if (route->transport == TRANSPORT_MESH)
		return forward_mesh(skb, pkt, route);
	return forward_direct(skb, pkt, route);
}

/* What is said to somebody whose packet goes no further. */
static __always_inline int inbound_refuse(struct __sk_buff *skb, const struct packet *pkt, int way)
{
	enum drop_reason why = -way;

	if (way >= INBOUND_ANSWER_TOO_BIG) {
		drop(skb, pkt, DROP_TOO_BIG);
		return answer_send(skb, pkt, ANSWER_TOO_BIG, way - INBOUND_ANSWER_TOO_BIG);
	}
	drop(skb, pkt, why);
	if (why == DROP_SERVICE_REFUSED)
		return answer_send(skb, pkt, ANSWER_PORT_UNREACHABLE, 0);
	return why == DROP_HOP_LIMIT ? answer_send(skb, pkt, ANSWER_TIME_EXCEEDED, 0) : TC_ACT_SHOT;
}
