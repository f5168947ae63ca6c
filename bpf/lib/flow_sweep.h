/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep: what has become a conversation moves to `flows`, a little later than its packets pass.
 *
 * Most connections are over before a second has passed. They are noted once, in `flows_new`, and never cost a table entry, a timer
 * and two shares. What is a conversation is put into the queue `flows_ripe`; a timer takes it out about once a second, in the
 * kernel, agent or not, and moves what has not ended by then.
 *
 * Until it is moved a conversation could be evicted by a flood of new flows. So who makes new flows fast also makes the sweep
 * run at once: each CPU does after 1/256 of the table's size. And with the queue full, a conversation moves at once. */
#pragma once

#include "lib/flow_table.h"

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, FLOWS_RIPE_MAX);
	__uint(value_size, sizeof(struct flow_key));
} flows_ripe SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} flows_created SEC(".maps");

/* Return: 1 when there are no more. */
static long flow_sweep_one(__u32 i __attribute__((unused)), void *ctx __attribute__((unused)))
{
	struct flow_state *state;
	struct flow_key key;

	if (bpf_map_pop_elem(&flows_ripe, &key))
		return 1;
	state = bpf_map_lookup_elem(&flows_new, &key);
	if (state && state->stage == FLOW_OPEN)
		flow_promote(&key, state);
	return 0;
}

/* The flow has become a conversation. */
static __always_inline void flow_ripen(struct flow_key *key, struct flow_state *f)
{
	f->stage = FLOW_OPEN;
	if (likely(!bpf_map_push_elem(&flows_ripe, key, 0)))
		return;
	flow_promote(key, f);
	flow_sweep_now();
}

/* One more entry in `flows_new`. */
static __always_inline void flow_count_created(void)
{
	__u32 zero = 0, *n = bpf_map_lookup_elem(&flows_created, &zero);

	if (!n || ++*n < config.flow_max / 256)
		return;
	*n = 0;
	flow_sweep_now();
}
