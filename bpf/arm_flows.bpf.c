/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Run by the loader: only a program can start timers.
 *
 * start_sweep, at each start, sets the sweep going, and moves conversations that no sweep would find: those whose queue was left
 * behind with another layout. arm_flows, after the loader has written entries into `flows` or `nat_claims` (which a
 * change of layout makes it do), starts the timers of these. */
#include "lib/flow_sweep.h"
#include "lib/nat.h"

static long promote(void *map __attribute__((unused)), struct flow_key *of, struct flow_state *state,
		    void *ctx __attribute__((unused)))
{
	struct flow_key key = *of; /* before 6.3 a map's key must lie in the function's own stack */

	if (state->stage == FLOW_OPEN)
		flow_move(&key, state);
	return 0;
}

/* What got no timer. The first for which there is none now either ends the round. */
static long arm_flow_again(__u32 i __attribute__((unused)), void *ctx __attribute__((unused)))
{
	struct flow_key key;
	struct flow *f;

	if (bpf_map_pop_elem(&flows_unarmed, &key))
		return 1;
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f || !flow_arm(&key, f))
		return 0;
	flow_arm_later(&key);
	return 1;
}

static long arm_claim_again(__u32 i __attribute__((unused)), void *ctx __attribute__((unused)))
{
	struct nat_claim *claim;
	struct nat_key key;

	if (bpf_map_pop_elem(&nat_unarmed, &key))
		return 1;
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (!claim || !nat_arm(&key, claim))
		return 0;
	if (bpf_map_push_elem(&nat_unarmed, &key, 0))
		nat_end_claim(&key, claim);
	return 1;
}

static int on_sweep(void *map, __u32 *key, struct flow_sweep *sweep)
{
	bpf_loop(FLOW_SWEEP_BATCH, arm_flow_again, NULL, 0);
	bpf_loop(FLOW_SWEEP_BATCH, arm_claim_again, NULL, 0);
	return flow_on_sweep(map, key, sweep);
}

SEC("tc")
int start_sweep(struct __sk_buff *skb __attribute__((unused)))
{
	struct flow_sweep *sweep = flow_sweep_find();

	if (!sweep)
		return TC_ACT_SHOT;
	bpf_timer_init(&sweep->timer, &flow_sweep, 1 /* CLOCK_MONOTONIC */); /* one that is there is only started anew */
	if (bpf_timer_set_callback(&sweep->timer, on_sweep) || bpf_timer_start(&sweep->timer, FLOW_SWEEP_NS, 0))
		return TC_ACT_SHOT;
	bpf_for_each_map_elem(&flows_new, promote, NULL, 0);
	return TC_ACT_OK;
}

static long arm(void *map __attribute__((unused)), struct flow_key *key, struct flow *f,
		void *ctx __attribute__((unused)))
{
	struct flow_key of = *key;

	if (flow_arm(&of, f))
		flow_arm_later(&of);
	return 0;
}

static long arm_claim(void *map __attribute__((unused)), struct nat_key *key, struct nat_claim *claim,
		      void *ctx __attribute__((unused)))
{
	struct nat_key of = *key;

	if (!nat_arm_or_note(&of, claim))
		nat_end_claim(&of, claim);
	return 0;
}

SEC("tc")
int arm_flows(struct __sk_buff *skb __attribute__((unused)))
{
	bpf_for_each_map_elem(&flows, arm, NULL, 0);
	bpf_for_each_map_elem(&nat_claims, arm_claim, NULL, 0);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
