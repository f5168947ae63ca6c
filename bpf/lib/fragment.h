/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first has the ports and leaves them here for the others.
 *
 * Who sends first fragments only would push out what others have left. So each owner has places of its own (weft/flow.h): a packet's owner is
 * the pod of this node that sends it, else the one that it is for. What is between this node and others, for a Service or by a claim of
 * a port, lies apart, by the sender's address (over IPv6 its /64, in which a host may choose), and is noted only once it is known to be such.
 *
 * Two CPUs may write one place at once, and a later fragment then get wrong ports, or none: it is nothing without its first, which is
 * always judged by its own. */
#pragma once

#include "lib/counter.h"
#include "lib/endpoint.h"
#include "lib/flow_recent.h"
#include "lib/packet.h"

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

/* The pod whose packet it is; 0: none of this node. */
static __always_inline __u32 fragment_owner(const struct packet *pkt)
{
	struct ip_addr key = pkt->src; /* before 6.3 a map's key must lie in the function's own stack */
	struct endpoint *ep = endpoint_find(&key);

	if (!ep) {
		key = pkt->dst;
		ep = endpoint_find(&key);
	}
	return ep ? ep->id : 0;
}

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

/* The set that the packet's datagram is noted in. @make: if there is none yet */
static __always_inline struct fragment_set *fragment_set_of(const struct packet *pkt, bool make)
{
	struct fragment_set_key key = { .owner = fragment_owner(pkt) };
	struct fragment_set *set;

	key.set = ((pkt->fragment_id ^ fragment_sum(&pkt->src, true) ^ fragment_sum(&pkt->dst, true)) + pkt->proto) * FRAGMENT_HASH >> 28;
	if (key.owner) {
		set = bpf_map_lookup_elem(&fragment_sets, &key);
		if (set || !make)
			return set;
		bpf_map_update_elem(&fragment_sets, &key, &fragment_set_empty, BPF_NOEXIST);
		return bpf_map_lookup_elem(&fragment_sets, &key);
	}
	key.owner = fragment_sum(&pkt->src, false);
	set = bpf_map_lookup_elem(&fragment_sets_outside, &key);
	if (set || !make)
		return set;
	bpf_map_update_elem(&fragment_sets_outside, &key, &fragment_set_empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&fragment_sets_outside, &key);
}

static __always_inline bool fragment_is(const struct fragment *f, const struct packet *pkt)
{
	return f->id == pkt->fragment_id && f->proto == pkt->proto && addr_eq(&f->src, &pkt->src) && addr_eq(&f->dst, &pkt->dst);
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

static __always_inline void fragment_note(struct fragment_set *set, const struct packet *pkt, __u32 now)
{
	struct fragment *f = fragment_find(set, pkt);

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
	f->asked = 0;
	f->seen = now;
}

__global enum drop_reason fragment_resolve_ports(struct packet *pkt)
{
	__u32 now = tick_now();
	struct fragment_set *set;
	struct fragment *first;
	bool later;

	if (!pkt)
		return DROP_FRAGMENT_UNKNOWN;
	later = pkt->fragment != FRAGMENT_FIRST;
	if (later && transport_is_known(pkt->proto) && pkt->fragment_off < transport_len(pkt->proto, false)) /* RFC 1858, 3128 */
		return DROP_FRAGMENT_OVERLAP;
	set = fragment_set_of(pkt, !later);
	if (!set)
		return later ? DROP_FRAGMENT_UNKNOWN : DROP_NONE;
	if (!later) {
		fragment_note(set, pkt, now);
		return DROP_NONE;
	}
	first = fragment_find(set, pkt);
	if (!first || !fragment_is_live(first, now))
		return DROP_FRAGMENT_UNKNOWN;
	first->asked = 1;
	pkt->sport = first->sport;
	pkt->dport = first->dport;
	return DROP_NONE;
}

/* Gives a later fragment the ports of its first; other packets have theirs. */
static __always_inline enum drop_reason fragment_resolve(struct packet *pkt)
{
	return likely(pkt->fragment == FRAGMENT_NONE) ? DROP_NONE : fragment_resolve_ports(pkt);
}
