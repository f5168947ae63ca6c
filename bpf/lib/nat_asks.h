/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Claims that a pod has got and nobody has answered: each endpoint may have an eighth of the ports of them. Without that bound a pod
 * that floods one destination takes every port towards it, and other pods have none.
 *
 * Claims of TCP that nobody answers are gone after NAT_TIMEOUT_UNANSWERED, and in that time as many are forgiven as the bound allows; so
 * a flood holds at most a quarter of the ports towards one destination, and a pod that floods no more has the whole bound again then. */
#pragma once

#include "lib/prelude.h"
#include "weft/nat.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOW_ASKS_MAX);
	__type(key, __u32);
	__type(value, struct flow_asks);
} nat_asks SEC(".maps");

/* The node's own claims, others' at this node, and clients' from outside have no bound of this kind. */
static __always_inline bool nat_owner_is_pod(__u32 owner)
{
	return owner < NAT_OWNER_FOREIGN;
}

static __always_inline __u32 nat_asks_bound(void)
{
	__u32 ports = config.nat_port_max - config.nat_port_min + 1, part = ports / 8;

	return part < NAT_ASKS_MIN ? NAT_ASKS_MIN : part;
}

static __always_inline void nat_asks_forgive(struct flow_asks *asks)
{
	__u32 now = tick_now(), life = FLOW_TICKS(NAT_TIMEOUT_UNANSWERED), ticks = now - asks->tick, forgiven;
	__s32 n = asks->unanswered;

	if ((__s32)ticks <= 0) /* another CPU's clock may be a tick ahead */
		return;
	forgiven = ticks >= life ? 0x7fffffff : ticks * nat_asks_bound() / life;
	asks->tick = now;
	asks->unanswered = n > (__s32)forgiven ? n - (__s32)forgiven : 0;
}

/* May the endpoint have one more? */
static __always_inline bool nat_may_ask(__u32 owner)
{
	struct flow_asks *asks;

	if (!nat_owner_is_pod(owner))
		return true;
	asks = bpf_map_lookup_elem(&nat_asks, &owner);
	if (!asks)
		return true;
	nat_asks_forgive(asks);
	return asks->unanswered < (__s32)nat_asks_bound();
}

/* It has got one. */
static __always_inline void nat_asked(__u32 owner)
{
	struct flow_asks *asks = bpf_map_lookup_elem(&nat_asks, &owner), fresh = { .tick = tick_now(), .unanswered = 1 };

	if (!asks)
		bpf_map_update_elem(&nat_asks, &owner, &fresh, BPF_ANY);
	else
		__sync_fetch_and_add(&asks->unanswered, 1);
}

/* Two CPUs at once may take one too many: below zero counts as zero when it is forgiven. */
static __always_inline void nat_answered(__u32 owner)
{
	struct flow_asks *asks = bpf_map_lookup_elem(&nat_asks, &owner);

	if (asks && asks->unanswered > 0)
		__sync_fetch_and_add(&asks->unanswered, -1);
}
