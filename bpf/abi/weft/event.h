/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `events` (ring buffer): what is worth telling, sampled. Each reason has a token bucket on each CPU; what it held back, and what
 * found no room in the ring, is counted. */
#pragma once

#include "weft/addr.h"

#define EVENTS_BYTES (256 * 1024)
#define EVENT_BURST 16	 /* events of one reason at once, on one CPU */
#define EVENT_PER_TICK 1 /* tokens that come back in a tick (FLOW_TICK_SHIFT) */

#define FLOW_EVENT_BURST 64 /* the same of connections, by kind */
#define FLOW_EVENT_PER_TICK 8

enum event_kind {
	EVENT_DROP,
	EVENT_FLOW_NEW,
	EVENT_FLOW_CLOSED,  /* TCP: by FIN from both ends, or RST */
	EVENT_FLOW_CHANGED, /* a policy lets pass what it denied, or the other way round */
	EVENT_AUDIT,	    /* let pass, but a policy that only observes would deny it; also without flow_events */
	EVENT_KINDS
};

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct ip_addr src, dst; /* zero when the packet was not understood so far */
	__be16 sport, dport;
	__u32 ifindex;
	__u32 len;    /* bytes of the frame */
	__u32 missed; /* events of this reason not sent by this CPU since the one before */
	__u16 reason; /* enum drop_reason; of EVENT_AUDIT: what it would be */
	__u8 proto;
	__u8 tcp_flags;
	__u32 rule;  /* id of the policy rule that decided; 0: none */
	__u8 hook;   /* the program: config.hook */
	__u8 kind;   /* enum event_kind */
	__u8 pad[6];
};

/* `event_rates` (per-CPU array by reason, then by kind) */
#define EVENT_RATE_FLOWS 120 /* + enum event_kind */
#define EVENT_RATES 128

struct event_rate {
	__u32 tick; /* of the latest refill */
	__u32 tokens;
	__u32 missed; /* in all; it wraps */
	__u32 told;   /* of them, in events */
};

ABI_SIZE(struct event, 72);
ABI_SIZE(struct event_rate, 16);
_Static_assert(EVENT_RATE_FLOWS + (int)EVENT_KINDS <= EVENT_RATES, "more kinds than rates");
