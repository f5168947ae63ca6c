/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way back: what comes from a remote end to a port that was claimed towards it goes to the inside end, as if there were no
 * translation. Whatever is not understood, or not claimed, stays as it is; what is claimed and cannot be translated is dropped: as it is, or half
 * translated, it would be somebody else's.
 *
 * Of a pod's own connection the inside end is the pod. Of one from outside to a Service it is the client, and the backend
 * speaks as the Service: both ends change. */
#pragma once

#include "lib/endpoint.h"
#include "lib/icmp.h"
#include "lib/nat_rewrite.h"

/* What came of it. Above: the uplink by which the packet has to leave, to a client outside. Below: it is to be dropped. */
enum nat_back { NAT_BACK_NONE = -1, NAT_BACK_INSIDE = 0 };

#define NAT_BACK_DROPPED(why) (NAT_BACK_NONE - (int)(why))

static __always_inline enum drop_reason nat_back_drop(int back)
{
	return unlikely(back < NAT_BACK_NONE) ? NAT_BACK_NONE - back : DROP_NONE;
}

/* Whose the claim is: a living pod's, the node's, or a client's. */
static __always_inline bool nat_inside_lives(struct nat_claim *claim)
{
	return claim->uplink || !nat_owner_is_pod(claim->state.owner) || endpoint_find(&claim->addr);
}

static __always_inline void nat_front_of(const struct nat_claim *claim, struct nat_end *ret)
{
	ret->addr = claim->front;
	ret->port = claim->front_port;
}

/* An error about a packet that went out by a claim: its quoted source is ours, its quoted destination the remote end. */
__global int nat_return_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_end to = {}, front = {};
	struct packet quoted = {};
	struct nat_claim *claim;
	struct nat_key key;
	int back;

	if (!pkt || packet_parse(skb, pkt->l4_off + 8, packet_protocol(pkt), true, &quoted) != DROP_NONE ||
	    !addr_eq(&quoted.src, &pkt->dst))
		return NAT_BACK_NONE;
	nat_key_of(&quoted, true, &key);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (!claim || !nat_inside_lives(claim))
		return NAT_BACK_NONE;
	back = claim->uplink;
	to.addr = claim->addr;
	to.port = claim->port;
	nat_front_of(claim, &front);
	if (nat_rewrite_quoted(skb, pkt, &quoted, NAT_SOURCE, &to) ||
	    (back && nat_rewrite_quoted(skb, pkt, &quoted, NAT_DESTINATION, &front)))
		return NAT_BACK_DROPPED(DROP_TRUNCATED);
	to.port = 0;
	front.port = 0;
	if (back && nat_rewrite(skb, pkt, NAT_SOURCE, &front)) /* who complains is inside of the cluster: the client knows the Service */
		return NAT_BACK_DROPPED(DROP_TRUNCATED);
	return nat_rewrite(skb, pkt, NAT_DESTINATION, &to) ? NAT_BACK_DROPPED(DROP_TRUNCATED) : back;
}

/* Could the packet be an answer? A remote end that pings us is no answer to our ping. A later fragment is what its first was, which it was given by
 * fragment_resolve(). */
static __always_inline bool nat_may_return(const struct packet *pkt)
{
	if (proto_is_icmp(pkt->proto))
		return (pkt->icmp == ICMP_QUERY || pkt->fragment == FRAGMENT_LATER) && pkt->icmp_type != ICMP4_ECHO_REQUEST && pkt->icmp_type != ICMPV6_ECHO_REQUEST;
	return !(pkt->proto == IPPROTO_UDP && config.tunnel_port && pkt->dport == bpf_htons(config.tunnel_port));
}

/* Packets that are no ICMP error. */
__global int nat_return_data(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_end to = {}, front = {};
	struct nat_claim *claim;
	struct nat_key key;
	int back;

	if (!pkt)
		return NAT_BACK_NONE;
	if (fragment_resolve(pkt) != DROP_NONE || !nat_may_return(pkt))
		return NAT_BACK_NONE;
	nat_key_of(pkt, false, &key);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (likely(!claim) || !nat_inside_lives(claim))
		return NAT_BACK_NONE;
	fragment_note(pkt);
	back = claim->uplink;
	to.addr = claim->addr;
	to.port = claim->port;
	nat_front_of(claim, &front);
	if (nat_is_stuck(pkt, back ? front.port : pkt->sport, to.port))
		return NAT_BACK_DROPPED(DROP_SERVICE_PORT);
	nat_touch_in(pkt, claim);
	if (nat_translate(skb, pkt, NAT_DESTINATION, &to) || (back && nat_translate(skb, pkt, NAT_SOURCE, &front)))
		return NAT_BACK_DROPPED(DROP_TRUNCATED);
	return back;
}

/**
 * nat_return() - translate a packet from a remote end, if the port that it is for is claimed
 *
 * @pkt is parsed, no multicast, and changed with the packet. Return: enum nat_back, an ifindex, or what nat_back_drop() understands.
 */
static __always_inline int nat_return(struct __sk_buff *skb, struct packet *pkt)
{
	return unlikely(pkt->icmp == ICMP_ERROR) ? nat_return_error(skb, pkt) : nat_return_data(skb, pkt);
}
