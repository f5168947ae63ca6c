/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep, about once a second: what has become a conversation moves to `flows`, and entries of `flows` and `nat_claims` whose turn has
 * come are looked at. The loader runs start_sweep at each start: only a program can start a timer. */
#include "lib/flow_recent.h"
#include "lib/flow_sweep.h"
#include "lib/nat.h"

static long look_flow(__u32 i __attribute__((unused)), void *ctx __attribute__((unused)))
{
	struct flow_key key;
	struct flow *f;
	__u8 turn;

	turn_next(flows_turns, &key, turn);
	if (!turn)
		return 1;
	f = bpf_map_lookup_elem(&flows, &key);
	if (f && f->turn == turn)
		flow_look(&key, f);
	return 0;
}

static long look_claim(__u32 i __attribute__((unused)), void *ctx __attribute__((unused)))
{
	struct nat_claim *claim;
	struct nat_key key;
	__u8 turn;

	turn_next(nat_turns, &key, turn);
	if (!turn)
		return 1;
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (claim && claim->turn == turn)
		nat_look(&key, claim);
	return 0;
}

/* ---- entries that have no turn ---- */

static long find_flow(void *map __attribute__((unused)), struct flow_key *of, struct flow *f, void *ctx __attribute__((unused)))
{
	struct flow_key key = *of; /* before 6.3 a map's key must lie in the function's own stack */

	if (!f->turn)
		flow_look(&key, f);
	return 0;
}

static long find_claim(void *map __attribute__((unused)), struct nat_key *of, struct nat_claim *claim, void *ctx __attribute__((unused)))
{
	struct nat_key key = *of;

	if (!claim->turn)
		nat_look(&key, claim);
	return 0;
}

/* A round after a queue was full: by then the keys of ended entries have left it. */
static __always_inline void find_missed(struct flow_sweep *sweep)
{
	__u32 now = tick_now();

	if (likely(!sweep->missed) || now - sweep->searched < TURN_TICKS)
		return;
	sweep->searched = now;
	sweep->missed = 0;
	sweep->searches++;
	bpf_for_each_map_elem(&flows, find_flow, NULL, 0);
	bpf_for_each_map_elem(&nat_claims, find_claim, NULL, 0);
}

/* Of a long queue one part at a time: packets are waiting for this CPU. */
static int on_sweep(void *map __attribute__((unused)), __u32 *key __attribute__((unused)), struct flow_sweep *sweep)
{
	bool more = bpf_loop(FLOW_SWEEP_BATCH, flow_sweep_one, NULL, 0) == FLOW_SWEEP_BATCH;

	more |= bpf_loop(FLOW_SWEEP_BATCH, look_flow, NULL, 0) == FLOW_SWEEP_BATCH;
	more |= bpf_loop(FLOW_SWEEP_BATCH, look_claim, NULL, 0) == FLOW_SWEEP_BATCH;
	find_missed(sweep);
	recent_resize(share_held(0));
	bpf_timer_start(&sweep->timer, more ? 0 : FLOW_SWEEP_NS, 0);
	return 0;
}

/* ---- the start ---- */

static long promote(void *map __attribute__((unused)), struct flow_key *of, struct flow_state *state, void *ctx __attribute__((unused)))
{
	struct flow_key key = *of;

	if (state->stage == FLOW_OPEN && state->owner) /* without an owner: the node's, which stay where they are (lib/host.h) */
		flow_promote(&key, state);
	return 0;
}

static long queue_flow(void *map __attribute__((unused)), struct flow_key *of, struct flow *f, void *ctx __attribute__((unused)))
{
	struct flow_key key = *of;

	turn_take(flows_turns, &key, f);
	return 0;
}

static long queue_claim(void *map __attribute__((unused)), struct nat_key *of, struct nat_claim *claim, void *ctx __attribute__((unused)))
{
	struct nat_key key = *of;

	turn_take(nat_turns, &key, claim);
	return 0;
}

/* A queue that is new, as its layout or size changed, has none of the keys of the entries that are there. */
static __always_inline void fill_empty_queues(void)
{
	struct flow_key flow;
	struct nat_key claim;

	if (bpf_map_peek_elem(&flows_turns, &flow))
		bpf_for_each_map_elem(&flows, queue_flow, NULL, 0);
	if (bpf_map_peek_elem(&nat_turns, &claim))
		bpf_for_each_map_elem(&nat_claims, queue_claim, NULL, 0);
}

/* Queues whose layout changed were left behind: conversations that nobody would move are moved, entries get new turns. */
SEC("tc")
int start_sweep(struct __sk_buff *skb __attribute__((unused)))
{
	struct flow_sweep *sweep = flow_sweep_find();

	if (!sweep)
		return TC_ACT_SHOT;
	fill_empty_queues();
	bpf_for_each_map_elem(&flows_new, promote, NULL, 0);
	bpf_timer_init(&sweep->timer, &flow_sweep, 1 /* CLOCK_MONOTONIC */); /* one that is there is only started anew */
	if (bpf_timer_set_callback(&sweep->timer, on_sweep) || bpf_timer_start(&sweep->timer, FLOW_SWEEP_NS, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
