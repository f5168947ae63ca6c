/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flows that a pod has begun and nobody has answered: each endpoint may have as many of them as its share of the table. Without that bound a pod that
 * floods would push the half-open flows of others out of `flows_new`. What is not answered is forgiven in time, an eighth of the
 * bound a tick, so that the whole is there again after about a second.
 *
 * Only what a local pod begins is counted, where it sends: a flood from outside must not make the pod refuse its callers. */
#pragma once

#include "lib/prelude.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOW_ASKS_MAX);
	__type(key, __u32);
	__type(value, struct flow_asks);
} flow_asks SEC(".maps");

static __always_inline void flow_asks_forgive(struct flow_asks *asks, __u32 now, __u32 bound)
{
	__s32 ticks = now - asks->tick, n = asks->unanswered, part = bound / 8;

	if (ticks <= 0) /* another CPU's clock may be a tick ahead */
		return;
	asks->tick = now;
	asks->unanswered = ticks >= 8 || n <= ticks * part ? 0 : n - ticks * part;
}

/* May the endpoint begin one more flow? */
static __always_inline bool flow_ask(__u32 owner, __u32 now)
{
	struct flow_asks *asks = bpf_map_lookup_elem(&flow_asks, &owner), fresh = { .tick = now, .unanswered = 1 };
	__u32 bound = config.flow_share;

	if (!asks) {
		bpf_map_update_elem(&flow_asks, &owner, &fresh, BPF_ANY);
		return true;
	}
	flow_asks_forgive(asks, now, bound);
	if (asks->unanswered >= (__s32)bound)
		return false;
	__sync_fetch_and_add(&asks->unanswered, 1);
	return true;
}

/* Two CPUs at once may take one too many: below zero counts as zero when it is forgiven. */
static __always_inline void flow_answered(__u32 owner)
{
	struct flow_asks *asks = bpf_map_lookup_elem(&flow_asks, &owner);

	if (asks && asks->unanswered > 0)
		__sync_fetch_and_add(&asks->unanswered, -1);
}
