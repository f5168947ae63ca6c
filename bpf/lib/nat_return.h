/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way back: what comes from a remote end to a port that was claimed towards it goes to the inside end, as if there were no
 * translation. Whatever is not understood, or not claimed, stays as it is: it is the node's. */
#pragma once

#include "lib/endpoint.h"
#include "lib/icmp.h"
#include "lib/nat_rewrite.h"

/* Whose the claim is: a living pod's, or the node's. */
static __always_inline bool nat_inside_lives(struct nat_claim *claim)
{
	return claim->state.owner == NAT_OWNER_NODE || endpoint_find(&claim->addr);
}

/* An error about a packet that went out by a claim: its quoted source is ours. */
__global bool nat_return_error(struct __sk_buff *skb, struct packet *pkt)
{
	struct packet quoted = {};
	struct nat_claim *claim;
	struct nat_end to = {};
	struct nat_key key;

	if (!pkt || packet_parse(skb, pkt->l4_off + 8, packet_protocol(pkt), true, &quoted) != DROP_NONE ||
	    !addr_eq(&quoted.src, &pkt->dst))
		return false;
	nat_key_of(&quoted, true, &key);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (!claim || !nat_inside_lives(claim))
		return false;
	to.addr = claim->addr;
	to.port = claim->port;
	if (nat_rewrite_quoted(skb, pkt, &quoted, NAT_SOURCE, &to))
		return false;
	to.port = 0;
	return nat_rewrite(skb, pkt, NAT_DESTINATION, &to) == 0;
}

/* Could the packet be an answer? A remote end that pings us is no answer to our ping. */
static __always_inline bool nat_may_return(const struct packet *pkt)
{
	if (proto_is_icmp(pkt->proto))
		return pkt->icmp == ICMP_QUERY && pkt->icmp_type != ICMP4_ECHO_REQUEST && pkt->icmp_type != ICMPV6_ECHO_REQUEST;
	return !(pkt->proto == IPPROTO_UDP && config.tunnel_port && pkt->dport == bpf_htons(config.tunnel_port));
}

/* The first fragment of a datagram that came by a claim tells the others. */
static __always_inline bool nat_resolve_later(struct packet *pkt)
{
	return pkt->fragment != FRAGMENT_LATER || fragment_resolve_ports(pkt) == DROP_NONE;
}

/**
 * nat_return() - translate a packet that came in by an uplink, if it is claimed
 *
 * @pkt is filled when the packet was translated. Return: was it?
 */
__global bool nat_return(struct __sk_buff *skb, struct packet *pkt)
{
	struct nat_claim *claim;
	struct nat_end to = {};
	struct nat_key key;

	if (!pkt || packet_parse(skb, ETH_LEN, skb->protocol, false, pkt) != DROP_NONE || packet_is_multicast(pkt))
		return false;
	if (unlikely(pkt->icmp == ICMP_ERROR))
		return nat_return_error(skb, pkt);
	if (!nat_may_return(pkt) || !nat_resolve_later(pkt))
		return false;
	nat_key_of(pkt, false, &key);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (likely(!claim) || !nat_inside_lives(claim))
		return false;
	if (unlikely(pkt->fragment == FRAGMENT_FIRST))
		fragment_resolve_ports(pkt);
	nat_touch_in(pkt, claim);
	to.addr = claim->addr;
	to.port = claim->port;
	return nat_rewrite(skb, pkt, NAT_DESTINATION, &to) == 0;
}
