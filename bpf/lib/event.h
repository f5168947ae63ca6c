/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Drops as events, at a bounded rate: a flood of one kind neither fills the ring nor hides the other kinds. */
#pragma once

#include "lib/packet.h"
#include "weft/event.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_RATES);
	__type(key, __u32);
	__type(value, struct event_rate);
} event_rates SEC(".maps");

/* May an event be sent now? */
static __always_inline bool event_allowed(struct event_rate *rate, __u32 burst, __u32 per_tick)
{
	__u32 now = tick_now(), fresh;

	fresh = (now - rate->tick) * per_tick;
	if (fresh) {
		rate->tick = now;
		rate->tokens = fresh >= burst - rate->tokens ? burst : rate->tokens + fresh;
	}
	if (rate->tokens == 0) {
		rate->missed++;
		return false;
	}
	rate->tokens--;
	return true;
}

static __always_inline void event_drop(struct __sk_buff *skb, const struct packet *pkt, enum drop_reason reason)
{
	__u32 index = reason;
	struct event_rate *rate = bpf_map_lookup_elem(&event_rates, &index);
	struct event *e;

	if (!rate || !event_allowed(rate, EVENT_BURST, EVENT_PER_TICK))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		rate->missed++;
		return;
	}
	*e = (struct event){
		.time_ns = bpf_ktime_get_ns(),
		.src = pkt->src,
		.dst = pkt->dst,
		.sport = pkt->sport,
		.dport = pkt->dport,
		.ifindex = skb->ifindex,
		.len = skb->len,
		.missed = rate->missed - rate->told,
		.reason = reason,
		.proto = pkt->proto,
		.tcp_flags = pkt->tcp_flags,
		.rule = drop_is_by_policy(reason) ? pkt->rule : 0,
		.hook = config.hook,
	};
	rate->told = rate->missed;
	bpf_ringbuf_submit(e, 0);
}
