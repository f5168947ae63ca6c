/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections as events: begun, ended, judged otherwise than before. Never an established packet's business. Switched off nothing is left of
 * it: config.flow_events is a constant to the verifier. What the rate holds back is counted, as of drops. */
#pragma once

#include "lib/event.h"

static __always_inline struct event_rate *flow_event_rate(enum event_kind kind)
{
	__u32 index = EVENT_RATE_FLOWS + kind;

	return bpf_map_lookup_elem(&event_rates, &index);
}

__global int flow_event_send(const struct packet *pkt, enum event_kind kind, enum drop_reason why)
{
	struct event_rate *rate = flow_event_rate(kind);
	struct event *e;

	if (!pkt || !rate || !event_allowed(rate, FLOW_EVENT_BURST, FLOW_EVENT_PER_TICK))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		rate->missed++;
		return 0;
	}
	*e = (struct event){
		.time_ns = bpf_ktime_get_ns(),
		.src = pkt->src,
		.dst = pkt->dst,
		.sport = pkt->sport,
		.dport = pkt->dport,
		.len = pkt->ip_len,
		.missed = rate->missed - rate->told,
		.reason = why,
		.proto = pkt->proto,
		.tcp_flags = pkt->tcp_flags,
		.rule = why == DROP_NONE ? 0 : pkt->rule,
		.hook = config.hook,
		.kind = kind,
	};
	rate->told = rate->missed;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* @why: of a verdict that has changed: DROP_NONE when packets pass now */
static __always_inline void flow_event(const struct packet *pkt, enum event_kind kind, enum drop_reason why)
{
	if (config.flow_events)
		flow_event_send(pkt, kind, why);
}
