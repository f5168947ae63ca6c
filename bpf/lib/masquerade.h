/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Masquerade: what a pod sends to the world leaves with the address of the uplink that it leaves by. The node's own packets
 * pass here too, for the case that one of its sockets has picked a port that a pod speaks from. */
#pragma once

#include "lib/endpoint.h"
#include "lib/icmp.h"
#include "lib/nat_return.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NAT_EXEMPT_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_exempt_key);
	__type(value, __u32);
} nat_exempt SEC(".maps");

/* As whom packets of @of's family leave by the interface; NULL when it is no uplink. The index is computed so that the verifier
 * sees that it is 0 or 1. */
static __always_inline const struct ip_addr *masquerade_addr(__u32 ifindex, const struct ip_addr *of)
{
	struct nat_uplink *uplink = bpf_map_lookup_elem(&nat_uplinks, &ifindex);

	if (!uplink)
		return NULL;
	return addr_is_v4(of) ? &uplink->addrs[0] : &uplink->addrs[1];
}

static __always_inline bool masquerade_exempt(const struct ip_addr *addr, enum nat_exempt_side side)
{
	struct nat_exempt_key key = { .len = 32 + 128, .side = side };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&nat_exempt, &key);
}

/* Which packets of pods are left as they are: to and from what is exempt, and answers to whoever reached the pod by its own address. */
static __always_inline bool masquerade_passes(const struct packet *pkt)
{
	bool begins = proto_is_icmp(pkt->proto) ? pkt->icmp_type == ICMP4_ECHO_REQUEST || pkt->icmp_type == ICMPV6_ECHO_REQUEST :
						  tcp_begins(pkt);

	if (masquerade_exempt(&pkt->dst, NAT_TO) || masquerade_exempt(&pkt->src, NAT_FROM))
		return true;
	return !begins && flow_is_answer(pkt);
}

/* A pod complains about a packet that it got through its claim: both the complaint and what it quotes change. */
__global enum drop_reason masquerade_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct packet quoted = {};
	struct nat_forward *forward;
	struct nat_end to = {};
	struct nat_key key;

	if (!pkt || packet_parse(skb, pkt->l4_off + 8, packet_protocol(pkt), true, &quoted) != DROP_NONE)
		return DROP_ICMP_UNRELATED;
	nat_key_of(&quoted, false, &key); /* its receiver is the inside end */
	forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (!forward) /* about a packet that came to the pod's own address; policy was asked when the pod sent it */
		return masquerade_exempt(&pkt->dst, NAT_TO) || masquerade_exempt(&pkt->src, NAT_FROM) || flow_exists(&quoted) ?
			       DROP_NONE : DROP_ICMP_UNRELATED;
	to.addr = forward->addr;
	to.port = forward->port;
	if (nat_rewrite_quoted(skb, pkt, &quoted, NAT_DESTINATION, &to))
		return DROP_TRUNCATED;
	to.port = 0;
	return nat_rewrite(skb, pkt, NAT_SOURCE, &to) ? DROP_TRUNCATED : DROP_NONE;
}

/* A claim of one of the node's ports: @as and its port are who the sender is from now on. */
static __noinline enum drop_reason masquerade_as(struct __sk_buff *skb, const struct packet *pkt, const struct ip_addr *as,
						      __u32 owner, struct nat_end *ret)
{
	struct nat_want w = { .owner = owner };
	enum drop_reason why;

	w.as.addr = *as;
	why = nat_connect(skb, pkt, &w);
	*ret = w.as;
	return why;
}

/* As whom the packet leaves by @ifindex. */
static __always_inline enum drop_reason masquerade_claim(struct __sk_buff *skb, const struct packet *pkt, __u32 owner,
							 struct nat_end *ret)
{
	const struct ip_addr *own = masquerade_addr(skb->ifindex, &pkt->src);

	if (!own || own->b[0] == ADDR_ABSENT_BYTE)
		return DROP_NAT_ADDRESS;
	return masquerade_as(skb, pkt, own, owner, ret);
}

/* Was it an answer, or a complaint, to who spoke to a Service? @ret_why: may it go on? */
static __always_inline bool masquerade_gave_back(struct __sk_buff *skb, struct packet *pkt, enum drop_reason *ret_why)
{
	int back = config.inbound ? nat_return(skb, pkt) : NAT_BACK_NONE;

	*ret_why = nat_back_drop(back);
	return back != NAT_BACK_NONE;
}

/* A pod's packet on its way out. */
static __always_inline enum drop_reason masquerade_pod(struct __sk_buff *skb, struct packet *pkt, __u32 owner)
{
	enum drop_reason why = fragment_resolve(pkt);
	struct nat_forward *forward;
	struct nat_end to = {};
	struct nat_key key;

	if (why != DROP_NONE)
		return why;
	fragment_note(pkt); /* judged it was before; of what the stack has cut anew nobody has seen the first */
	if (unlikely(pkt->icmp == ICMP_ERROR)) /* about a client's packet to a Service, or about one to the pod itself */
		return masquerade_gave_back(skb, pkt, &why) ? why : masquerade_error(skb, pkt);
	nat_key_of(pkt, true, &key);
	forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (likely(forward)) {
		nat_touch_out(pkt, forward);
		to.addr = forward->addr;
		to.port = forward->port;
	} else {
		if (masquerade_gave_back(skb, pkt, &why)) /* an answer of a Service */
			return why;
		if (masquerade_passes(pkt))
			return DROP_NONE;
		why = masquerade_claim(skb, pkt, owner, &to);
		if (why != DROP_NONE)
			return why;
	}
	if (nat_is_stuck(pkt, to.port, pkt->dport))
		return DROP_SERVICE_PORT;
	return nat_translate(skb, pkt, NAT_SOURCE, &to) ? DROP_TRUNCATED : DROP_NONE;
}

/* Has the node been given a claim that is still there? */
static __always_inline bool masquerade_node_is_inside(void)
{
	__u64 *held = nat_share(NAT_OWNER_NODE);

	return held && *held;
}

/* Is it forwarded? It came by an interface, which the kernel forgets of IPv6 that it cuts; what it makes itself in pieces has a socket. With the node's address it
 * is what netfilter translates here. */
static __always_inline bool masquerade_is_foreign(const struct __sk_buff *skb, const struct packet *pkt)
{
	return skb->ingress_ifindex || (pkt->fragment != FRAGMENT_NONE && !skb->sk);
}

/* Might a pod speak so? */
static __always_inline bool masquerade_may_clash(const struct packet *pkt)
{
	if (proto_is_icmp(pkt->proto) ? pkt->icmp != ICMP_QUERY || icmp_is_reply(pkt->icmp_type, pkt->v6) :
					nat_has_choice(pkt) && !nat_may_claim(bpf_ntohs(pkt->sport)))
		return false;
	return !masquerade_exempt(&pkt->dst, NAT_TO);
}

/* As the node, from another port if need be. */
static __always_inline enum drop_reason masquerade_node_as(struct __sk_buff *skb, struct packet *pkt, const struct nat_end *to)
{
	if (to->port == pkt->sport)
		return DROP_NONE;
	return nat_translate(skb, pkt, NAT_SOURCE, to) ? DROP_TRUNCATED : DROP_NONE;
}

/* A packet with the node's address: as it is, unless a pod's claim stands in its way. */
static __always_inline enum drop_reason masquerade_node(struct __sk_buff *skb, struct packet *pkt)
{
	bool foreign = masquerade_is_foreign(skb, pkt), choice;
	struct nat_forward *forward = NULL;
	struct nat_claim *claim;
	struct nat_end to = {};
	struct nat_key key;
	enum drop_reason why;

	nat_key_of(pkt, true, &key);
	if (unlikely(foreign || masquerade_node_is_inside()))
		forward = bpf_map_lookup_elem(&nat_forward, &key);
	if (forward) {
		nat_touch_out(pkt, forward);
		to.addr = forward->addr;
		to.port = forward->port;
		return masquerade_node_as(skb, pkt, &to);
	}
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (likely(!claim && !(foreign && masquerade_may_clash(pkt))))
		return DROP_NONE;
	choice = nat_has_choice(pkt);
	if (claim && !choice) /* the node goes before pods, and keeps it while it speaks: else the pod's next packet would take it back */
		nat_end_claim(&key, claim);
	why = masquerade_as(skb, pkt, &pkt->src, foreign ? NAT_OWNER_FOREIGN : NAT_OWNER_NODE, &to);
	if (why != DROP_NONE)
		return claim && choice ? why : DROP_NONE;
	return masquerade_node_as(skb, pkt, &to);
}
