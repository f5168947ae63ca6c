/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets and bytes: by drop reason, by way of forwarding; flows that policies on trial would deny. */
#pragma once

#include "lib/prelude.h"
#include "weft/counter.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_MAX);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline void count(struct __sk_buff *skb, __u32 index)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (!c)
		return;
	c->packets++;
	c->bytes += skb->len;
}

static __always_inline void count_bytes(__u32 index, __u32 bytes)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (!c)
		return;
	c->packets++;
	c->bytes += bytes;
}

/* A flow, at its first packet, that may pass but would be denied for @why. */
static __always_inline void count_audit(__u32 why, __u32 bytes)
{
	count_bytes(COUNTER_AUDITS + why - DROP_POLICY_EGRESS, bytes);
}

static __always_inline void count_forward(struct __sk_buff *skb, enum forward_way way)
{
	count(skb, COUNTER_FORWARDS + way);
}
