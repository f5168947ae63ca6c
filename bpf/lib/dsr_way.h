/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the node that a client asked remembers of a DSR connection where anybody can choose its endpoint again: one entry that may be lost, in place of a claim
 * and a way out (lib/nat.h). A connection's SYN that xdp_net has sent on leaves not even that, but a line in `xdp_recent` until the client
 * speaks again: a flood of SYNs fills nothing. */
#pragma once

#include "lib/flow.h"
#include "lib/service.h"
#include "weft/dsr.h"
#include "weft/nat.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768); /* the loader sets it */
	__type(key, struct nat_key);
	__type(value, struct dsr_way);
} dsr_ways SEC(".maps");

/* Does whoever asks again find the same endpoint, here or on another node? */
static __always_inline bool service_tells_again(const struct service_frontend *f)
{
	return (f->flags & (SERVICE_DSR | SERVICE_MAGLEV)) == (SERVICE_DSR | SERVICE_MAGLEV) && !f->affinity;
}

static __always_inline __u32 dsr_way_timeout(const struct nat_key *key, const struct dsr_way *way)
{
	if (key->proto != IPPROTO_TCP)
		return FLOW_TICKS(FLOW_TIMEOUT_OPEN);
	return way->ends | way->gone ? FLOW_TICKS(FLOW_TIMEOUT_TCP_FIN) : FLOW_TICKS(FLOW_TIMEOUT_TCP_OPEN);
}

static __always_inline struct dsr_way *dsr_way_find(const struct nat_key *key)
{
	struct dsr_way *way = bpf_map_lookup_elem(&dsr_ways, key);

	return way && (__s32)(tick_now() - way->seen) < (__s32)dsr_way_timeout(key, way) ? way : NULL;
}

/* A packet goes by it. */
static __always_inline void dsr_way_touch(const struct packet *pkt, struct dsr_way *way)
{
	__u32 now = tick_now();

	if (unlikely(pkt->tcp_flags & (TCP_FIN | TCP_RST)))
		way->ends = 1;
	if (way->seen != now && likely(!way->gone))
		way->seen = now;
}

/* Return: 0, or - errno. */
static __always_inline long dsr_way_put(const struct nat_key *key, const struct ip_addr *to, __u32 backend)
{
	struct dsr_way fresh = { .to = *to, .backend = backend, .seen = tick_now() };

	return bpf_map_update_elem(&dsr_ways, key, &fresh, BPF_ANY);
}
