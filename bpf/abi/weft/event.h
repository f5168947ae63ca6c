/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `events` (ring buffer): drops, sampled. Each reason has a token bucket on each CPU; what it held back is counted. */
#pragma once

#include "weft/addr.h"

#define EVENTS_BYTES (256 * 1024)
#define EVENT_BURST 16	 /* events of one reason at once, on one CPU */
#define EVENT_PER_TICK 1 /* tokens that come back in a tick (FLOW_TICK_SHIFT) */

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct ip_addr src, dst; /* zero when the packet was not understood so far */
	__be16 sport, dport;
	__u32 ifindex;
	__u32 len;    /* bytes of the frame */
	__u32 missed; /* events of this reason held back on this CPU since the one before */
	__u16 reason; /* enum drop_reason */
	__u8 proto;
	__u8 tcp_flags;
	__u32 pad;
};

/* `event_rates` (per-CPU array by reason) */
struct event_rate {
	__u32 tick; /* of the latest refill */
	__u32 tokens;
	__u32 missed;
};

ABI_SIZE(struct event, 64);
ABI_SIZE(struct event_rate, 12);
