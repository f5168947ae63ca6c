/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What xdp_net did a moment ago: a packet like the one before needs no look into the tables, nor the kernel's route and neighbour.
 *
 * A connection of which two packets come within a tick leaves a line here, which says for the rest of an epoch what becomes of the next ones; and a new
 * one in the epoch after, with its first packet there. So one of few packets writes nothing (but for a SYN that xdp_net sends on: xdp_recent_begin()). The line stands for both ends, the protocol, the
 * uplink, the traffic class and the flow label (which routes may ask for) and the epoch, by a mark as lib/flow_recent.h makes them, of the same
 * numbers. It goes by itself: a packet of each epoch takes the long way, which also keeps the clocks of the connection's entries; and that long
 * a route, a MAC address, an entry that is gone or an address that has become a pod's may be overlooked. What each packet says of itself is
 * asked of each, and so is whether a datagram's endpoint still serves; what begins or ends a TCP connection takes the line away.
 *
 * A CPU has lines of its own, so none is read while it is written. What was written in this epoch stays: connections that drove each other out would
 * all take the long way, and write besides. */
#pragma once

#include "lib/flow_recent.h"
#include "weft/xdp.h"

/* In xdp_onward.way: of a connection that a SYN began, which has no entry yet (lib/dsr_way.h). The line says by which endpoint, as `dst` and `backend`, and in the first
 * word of `src` the SYN's number: only who sent it knows what comes next. All else stays in a packet of DSR as it is. */
enum { XDP_BEGUN = 0x80 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); /* the loader sets it */
	__uint(map_flags, BPF_F_MMAPABLE); /* for the alignment, as flows_recent */
	__type(key, __u32);
	__type(value, struct xdp_recent_pair);
} xdp_recent SEC(".maps");

enum { XDP_RECENT_UPLINK_SHIFT = 9, XDP_RECENT_UPLINK_MAX = (1 << 23) - 1 };

/* Where the connection's line is, if it has one, and the mark that stands in it: of this epoch, or of the one before. */
struct xdp_recent_at {
	struct xdp_recent_pair *pair;
	__u64 mark, before;
	__u8 epoch;
	__be32 seq; /* of TCP */
};

/* The message has the terms of lib/flow_recent.h, with other words in those that mean other things there. @class: traffic class and flow label */
static __always_inline struct recent_sums xdp_recent_sums_of(const struct packet *pkt, __u32 uplink, __u32 class, __u32 epoch)
{
	struct recent_sums s = {};

	recent_sum(&s, RECENT_ALONE, 1);
	recent_sum(&s, RECENT_FIRST + 3, pkt->src.w[3]);
	recent_sum(&s, RECENT_SECOND + 3, pkt->dst.w[3]);
	recent_sum(&s, RECENT_PORTS, (__u32)pkt->sport | (__u32)pkt->dport << 16);
	recent_sum(&s, RECENT_PROTO, pkt->proto | !pkt->v6 << 8 | uplink << XDP_RECENT_UPLINK_SHIFT);
	recent_sum(&s, RECENT_REVISION, class);
	recent_sum(&s, RECENT_EPOCH, epoch);
	if (!pkt->v6)
		return s;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		recent_sum(&s, RECENT_FIRST + i, pkt->src.w[i]);
		recent_sum(&s, RECENT_SECOND + i, pkt->dst.w[i]);
	}
	return s;
}

/* The marks, and where they may stand. A function of its own, whose stack is free again when the long way needs it. */
static __noinline __u32 xdp_recent_marks(const struct packet *pkt, __u32 uplink, __u32 class, struct xdp_recent_at *ret)
{
	__u32 epoch = tick_now() >> XDP_EPOCH_SHIFT;
	struct recent_sums s = xdp_recent_sums_of(pkt, uplink, class, epoch);

	ret->epoch = epoch;
	ret->mark = recent_mark(&s);
	recent_sum(&s, RECENT_EPOCH, -1ull);
	ret->before = recent_mark(&s);
	return bpf_get_smp_processor_id() * config.xdp_pairs + ((recent_mixed(&s) >> 32) * config.xdp_pairs >> 32);
}

/* Return: false for an uplink whose number is beyond what the sum tells apart. */
static __always_inline bool xdp_recent_at(const struct packet *pkt, __u32 uplink, __u32 class, struct xdp_recent_at *ret)
{
	__u32 index = xdp_recent_marks(pkt, uplink, class, ret);

	ret->pair = bpf_map_lookup_elem(&xdp_recent, &index);
	return ret->pair && uplink <= XDP_RECENT_UPLINK_MAX;
}

static __always_inline const struct xdp_onward *xdp_recent_find(const struct xdp_recent_at *at)
{
	struct xdp_recent *line = at->pair->line;

	if (line[0].mark == at->mark)
		return &line[0].to;
	return line[1].mark == at->mark ? &line[1].to : NULL;
}

static __always_inline bool xdp_recent_is_free(const struct xdp_recent_at *at, const struct xdp_recent *line)
{
	return !line->mark || line->to.epoch != at->epoch;
}

/* The line that the connection had in the epoch before; else, if it is @busy, one that nobody has in this one. */
static __always_inline struct xdp_recent *xdp_recent_line(const struct xdp_recent_at *at, bool busy)
{
	struct xdp_recent *line = at->pair->line;

	if (line[0].mark == at->before)
		return &line[0];
	if (line[1].mark == at->before)
		return &line[1];
	if (!busy)
		return NULL;
	if (xdp_recent_is_free(at, &line[0]))
		return &line[0];
	return xdp_recent_is_free(at, &line[1]) ? &line[1] : NULL;
}

/* @busy: not the first packet of its tick */
static __always_inline void xdp_recent_put(const struct xdp_recent_at *at, const struct xdp_onward *to, bool busy)
{
	struct xdp_recent *line = xdp_recent_line(at, busy);

	if (!line)
		return;
	line->to = *to;
	line->to.epoch = at->epoch;
	line->mark = at->mark;
}

/* Nobody's for a whole epoch: a flood of connections that only begin takes none from those under way. */
static __always_inline struct xdp_recent *xdp_recent_unused(const struct xdp_recent_at *at)
{
	struct xdp_recent *line = at->pair->line;

	if (!line[0].mark || (__u8)(at->epoch - line[0].to.epoch) > 1)
		return &line[0];
	return !line[1].mark || (__u8)(at->epoch - line[1].to.epoch) > 1 ? &line[1] : NULL;
}

/* A SYN went on so: whatever becomes of the Service's endpoints, the next packet follows it. */
static __always_inline void xdp_recent_begin(struct xdp_recent *line, const struct xdp_recent_at *at, const struct xdp_onward *to)
{
	line->to = *to;
	line->to.src.w[0] = at->seq;
	line->to.way |= XDP_BEGUN;
	line->to.epoch = at->epoch;
	line->mark = at->mark;
}

/* The line of a connection that has begun, in this epoch or the one before. */
static __always_inline struct xdp_recent *xdp_recent_begun(const struct xdp_recent_at *at)
{
	struct xdp_recent *line = at->pair->line;

	if ((line[0].mark == at->mark || line[0].mark == at->before) && line[0].to.way & XDP_BEGUN)
		return &line[0];
	return (line[1].mark == at->mark || line[1].mark == at->before) && line[1].to.way & XDP_BEGUN ? &line[1] : NULL;
}

static __always_inline void xdp_recent_forget(const struct xdp_recent_at *at)
{
	struct xdp_recent *line = at->pair->line;

	if (line[0].mark == at->mark || line[0].mark == at->before)
		line[0].mark = 0;
	if (line[1].mark == at->mark || line[1].mark == at->before)
		line[1].mark = 0;
}
