/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first has the ports and leaves them here for the others, once it is known that it may pass.
 *
 * Who sends first fragments only would push out what others have left. So each owner has places of its own (weft/flow.h): a pod of this node
 * for what it sends, and more for what it gets from elsewhere. Of those a sender has a few, which it shares with a sixteenth of all others;
 * so what one of them, or all of them together, may send to one pod is nothing to another pod. What is between this node and others, for a
 * Service or by a claim of a port, lies apart, by the sender's address (over IPv6 its /64, in which a host may choose), and is noted only
 * once it is known to be such.
 *
 * Two CPUs may write one place at once, and a later fragment then get wrong ports, or none: it is nothing without its first, which is
 * always judged by its own. */
#pragma once

#include "lib/counter.h"
#include "lib/endpoint.h"
#include "lib/flow_recent.h"
#include "lib/packet.h"
#include "lib/route.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENT_SETS_MAX);
	__type(key, struct fragment_set_key);
	__type(value, struct fragment_set);
} fragment_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENT_SETS_OUTSIDE_MAX);
	__type(key, struct fragment_set_key);
	__type(value, struct fragment_set);
} fragment_sets_outside SEC(".maps");

/* What a new set is made of: too large for a stack. */
static const struct fragment_set fragment_set_empty;

enum { FRAGMENT_HASH = 0x9e3779b1 };

/* A sum by numbers that nobody knows, so that who chooses his address cannot aim at the places of another's: those of the row in which flows
 * find their place, and which tells nothing about their marks (lib/flow_recent.h). Without the lower half of an IPv6 address if not @whole. */
static __always_inline __u32 fragment_sum(const struct ip_addr *a, bool whole)
{
	__u64 sum = config.recent_key[RECENT_ALONE][2];

	if (addr_is_v4(a))
		return (sum + config.recent_key[RECENT_FIRST + 3][2] * a->w[3]) >> 32;
	sum += config.recent_key[RECENT_FIRST][2] * a->w[0] + config.recent_key[RECENT_FIRST + 1][2] * a->w[1];
	if (whole)
		sum += config.recent_key[RECENT_FIRST + 2][2] * a->w[2] + config.recent_key[RECENT_FIRST + 3][2] * a->w[3];
	return sum >> 32;
}

/* IPv4 numbers a protocol's datagrams. In IPv6 the number alone says which they are, and what stands in a later one is the next header's kind, which only the first
 * one's counts for (RFC 8200 4.5): extension headers may be between. */
static __always_inline __u8 fragment_proto(const struct packet *pkt)
{
	return pkt->v6 ? 0 : pkt->proto;
}

/* Whose places the packet's datagram has, and in which of their sets. Return: false when it is no pod's of this node. */
static __always_inline bool fragment_key_of(const struct packet *pkt, struct fragment_set_key *key)
{
	__u32 datagram = ((pkt->fragment_id ^ fragment_sum(&pkt->src, true) ^ fragment_sum(&pkt->dst, true)) + fragment_proto(pkt)) * FRAGMENT_HASH, sender;
	struct ip_addr a = pkt->src; /* before 6.3 a map's key must lie in the function's own stack */
	struct endpoint *ep = endpoint_find(&a);

	key->set = datagram / (0x100000000 / FRAGMENT_SETS);
	if (ep) {
		key->owner = ep->id;
		return true;
	}
	sender = fragment_sum(&a, node_route_find(&a)); /* pods elsewhere have their addresses, others choose in their /64 */
	a = pkt->dst;
	ep = endpoint_find(&a);
	key->owner = ep ? ep->id : sender;
	if (ep)
		key->set = FRAGMENT_SETS + sender / (0x100000000 / FRAGMENT_SENDERS) * FRAGMENT_SENDER_SETS + datagram / (0x100000000 / FRAGMENT_SENDER_SETS);
	return ep;
}

/* The set that the packet's datagram is noted in. @make: if there is none yet */
static __always_inline struct fragment_set *fragment_set_of(const struct packet *pkt, bool make)
{
	struct fragment_set_key key = {};
	struct fragment_set *set;

	if (fragment_key_of(pkt, &key)) {
		set = bpf_map_lookup_elem(&fragment_sets, &key);
		if (set || !make)
			return set;
		bpf_map_update_elem(&fragment_sets, &key, &fragment_set_empty, BPF_NOEXIST);
		return bpf_map_lookup_elem(&fragment_sets, &key);
	}
	set = bpf_map_lookup_elem(&fragment_sets_outside, &key);
	if (set || !make)
		return set;
	bpf_map_update_elem(&fragment_sets_outside, &key, &fragment_set_empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&fragment_sets_outside, &key);
}

static __always_inline bool fragment_is(const struct fragment *f, const struct packet *pkt)
{
	return f->id == pkt->fragment_id && (pkt->v6 || f->proto == pkt->proto) && addr_eq(&f->src, &pkt->src) && addr_eq(&f->dst, &pkt->dst);
}

static __always_inline bool fragment_is_live(const struct fragment *f, __u32 now)
{
	return f->seen && (__s32)(now - f->seen) <= (__s32)FLOW_TICKS(FRAGMENT_TIMEOUT);
}

static __always_inline struct fragment *fragment_find(struct fragment_set *set, const struct packet *pkt)
{
	for (int i = 0; i < FRAGMENT_WAYS; i++)
		if (fragment_is(&set->place[i], pkt))
			return &set->place[i];
	return NULL;
}

/* The headers of a first fragment, which no later one may change, in units of 8 bytes. */
static __always_inline __u8 fragment_header(const struct packet *pkt)
{
	return (pkt->fragment_off + (transport_is_known(pkt->proto) ? transport_len(pkt->proto, false) : 0) + 7) / 8;
}

/* Would the datagram be longer than one may be (ping of death)? */
static __always_inline bool fragment_is_beyond(const struct packet *pkt)
{
	__u32 headers = pkt->v6 ? sizeof(struct ipv6hdr) + sizeof(struct extension) : 0; /* IPv6 counts what follows its own */

	return pkt->fragment_off + pkt->ip_len > 65535 + headers;
}

/* A first fragment tells its ports. */
__global int fragment_note_ports(const struct packet *pkt)
{
	__u32 now = tick_now();
	struct fragment_set *set;
	struct fragment *f;

	if (!pkt)
		return 0;
	set = fragment_set_of(pkt, true);
	if (!set)
		return 0;
	f = fragment_find(set, pkt);
	if (!f) {
		f = &set->place[set->next++ % FRAGMENT_WAYS];
		if (fragment_is_live(f, now) && !f->asked)
			count_bytes(COUNTER_FRAGMENTS_PUSHED_OUT, pkt->ip_len);
	}
	f->src = pkt->src;
	f->dst = pkt->dst;
	f->id = pkt->fragment_id;
	f->proto = pkt->proto;
	f->sport = pkt->sport;
	f->dport = pkt->dport;
	f->icmp_type = pkt->icmp_type;
	f->header = fragment_header(pkt);
	f->asked = 0;
	f->seen = now;
	return 0;
}

/* A later one is given them. */
__global enum drop_reason fragment_resolve_ports(struct packet *pkt)
{
	struct fragment_set *set;
	struct fragment *first;

	if (!pkt)
		return DROP_FRAGMENT_UNKNOWN;
	if (fragment_is_beyond(pkt))
		return DROP_MALFORMED;
	if (transport_is_known(pkt->proto) && pkt->fragment_off < transport_len(pkt->proto, false)) /* RFC 1858, 3128 */
		return DROP_FRAGMENT_OVERLAP;
	set = fragment_set_of(pkt, false);
	first = set ? fragment_find(set, pkt) : NULL;
	if (!first || !fragment_is_live(first, tick_now()))
		return DROP_FRAGMENT_UNKNOWN;
	if (pkt->fragment_off < first->header * 8)
		return DROP_FRAGMENT_OVERLAP;
	first->asked = 1;
	pkt->proto = first->proto;
	pkt->sport = first->sport;
	pkt->dport = first->dport;
	pkt->icmp_type = first->icmp_type;
	return DROP_NONE;
}

/* Gives a later fragment the ports of its first; other packets have theirs. */
static __always_inline enum drop_reason fragment_resolve(struct packet *pkt)
{
	return likely(pkt->fragment != FRAGMENT_LATER) ? DROP_NONE : fragment_resolve_ports(pkt);
}

/* The packet may pass: if it is a first fragment the others may, too. */
static __always_inline void fragment_note(const struct packet *pkt)
{
	if (unlikely(pkt->fragment == FRAGMENT_FIRST))
		fragment_note_ports(pkt);
}
