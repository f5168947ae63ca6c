/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first has the ports and leaves them here for the others. */
#pragma once

#include "lib/packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_MAX);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

__global enum drop_reason fragment_resolve_ports(struct packet *pkt)
{
	struct fragment first = { .seen = tick_now() }, *known;
	struct fragment_key key = {};

	if (!pkt)
		return DROP_FRAGMENT_UNKNOWN;
	key.src = pkt->src;
	key.dst = pkt->dst;
	key.id = pkt->fragment_id;
	key.proto = pkt->proto;
	first.sport = pkt->sport;
	first.dport = pkt->dport;
	if (pkt->fragment == FRAGMENT_FIRST) {
		bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
		return DROP_NONE;
	}
	if (transport_is_known(pkt->proto) && pkt->fragment_off < transport_len(pkt->proto, false)) /* RFC 1858, 3128 */
		return DROP_FRAGMENT_OVERLAP;
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known || (__s32)(first.seen - known->seen) > (__s32)FLOW_TICKS(FRAGMENT_TIMEOUT))
		return DROP_FRAGMENT_UNKNOWN;
	pkt->sport = known->sport;
	pkt->dport = known->dport;
	return DROP_NONE;
}

/* Gives a later fragment the ports of its first; other packets have theirs. */
static __always_inline enum drop_reason fragment_resolve(struct packet *pkt)
{
	return likely(pkt->fragment == FRAGMENT_NONE) ? DROP_NONE : fragment_resolve_ports(pkt);
}
