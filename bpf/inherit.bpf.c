/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a table of flows or claims leaves to the one that takes its place, an entry a run (src/datapath/inherit.c). Packets are on their way
 * meanwhile: an entry may be there already, of a pass before, and know less than what is left; or because a packet met the new table first.
 *
 * A packet of a connection of which nothing is known makes an entry of its own: a flow that nobody saw begin, or that policy denies as if
 * its answer began it; a claim of another port, or of a port that is another's. So what is left comes in its place where it was a
 * conversation and the other is none yet; and it comes whole: claim and forward entry, or neither. */
#include "lib/flow_sweep.h"
#include "lib/nat.h"
#include "weft/inherit.h"

static __always_inline __u8 later_stage(__u8 a, __u8 b)
{
	return a > b ? a : b;
}

/* The same connection, as the old table and as the new one have seen it. */
static __always_inline void state_catch_up(struct flow_state *here, const struct flow_state *left)
{
	bool later = (__s32)(left->seen - here->seen) >= 0;

	if (later || (here->stage < FLOW_OPEN && left->stage <= FLOW_OPEN))
		here->stage = later_stage(here->stage, left->stage);
	if (!(left->origin & FLOW_ASKED)) /* its answer was counted */
		here->origin &= ~FLOW_ASKED;
	if (!later)
		return;
	here->seen = left->seen;
	here->fin |= left->fin;
}

/* ---- flows ---- */

static __always_inline bool flow_is_guessed(const struct flow_state *f)
{
	return f->origin & (FLOW_DENIED | FLOW_UNSURE);
}

/* A conversation that is in `flows` already. */
static __always_inline void flow_inherit_open(struct flow_key *key, struct flow *f, const struct flow_state *left)
{
	__u8 stage = left->stage;

	if (flow_is_over(left) && (__s32)(left->seen - f->state.seen) >= 0)
		flow_close(key, f, stage);
	else
		f->state.fin |= left->fin;
}

static __always_inline void flow_inherit(struct flow_key *key, struct flow_state *left)
{
	struct flow *open = bpf_map_lookup_elem(&flows, key);
	struct flow_state *here;

	if (open) {
		flow_inherit_open(key, open, left);
		return;
	}
	here = bpf_map_lookup_elem(&flows_new, key);
	if (!here) {
		bpf_map_update_elem(&flows_new, key, left, BPF_NOEXIST);
	} else if (flow_is_guessed(here) && !flow_is_guessed(left)) {
		left->judged = 0; /* the table may have given the memory to another flow: as flow_put() */
		*here = *left;
	} else {
		state_catch_up(here, left);
	}
	here = bpf_map_lookup_elem(&flows_new, key);
	if (here && here->stage == FLOW_OPEN && here->owner)
		flow_promote(key, here);
}

SEC("tc")
int inherit_flow(struct __sk_buff *skb)
{
	struct inherited_flow i;

	if (bpf_skb_load_bytes(skb, 0, &i, sizeof(i)))
		return TC_ACT_SHOT;
	if (!flow_is_stale(i.key.proto, &i.state, tick_now()))
		flow_inherit(&i.key, &i.state);
	return TC_ACT_OK;
}

/* ---- claims ---- */

static __always_inline bool claim_is_answered(const struct nat_claim *claim)
{
	return claim->state.stage == FLOW_REPLIED || claim->state.stage == FLOW_OPEN;
}

/* The forward entry beside a claim that is there. */
static __always_inline void forward_inherit(struct nat_key *inside, const struct nat_forward *left)
{
	struct nat_forward *here = bpf_map_lookup_elem(&nat_forward, inside);

	if (!here)
		bpf_map_update_elem(&nat_forward, inside, left, BPF_NOEXIST);
	else if ((__s32)(left->seen - here->seen) > 0)
		here->seen = left->seen;
}

/* Does @i give way to what came about meanwhile, or that to it? @there: another's claim of its port; @key: that of its inside end. */
static __always_inline bool claim_yields(const struct inherited_claim *i, const struct nat_claim *there, const struct nat_claim *own)
{
	if (!there && !own)
		return false;
	return !claim_is_answered(&i->claim) || (there && claim_is_answered(there)) || (own && claim_is_answered(own));
}

/* Both halves. Return: TC_ACT_SHOT when there is no room. */
static __always_inline int claim_put(struct inherited_claim *i, struct nat_key *inside)
{
	__u32 owner = i->claim.state.owner;
	struct nat_claim *claim;

	if (!nat_share(owner)) /* its endpoint is gone */
		return TC_ACT_OK;
	i->claim.turn = 0;
	if (bpf_map_update_elem(&nat_claims, &i->key, &i->claim, BPF_NOEXIST))
		return TC_ACT_SHOT;
	nat_share_add(owner, 1);
	if (bpf_map_update_elem(&nat_forward, inside, &i->forward, BPF_NOEXIST)) {
		nat_release(&i->key, owner);
		return TC_ACT_SHOT;
	}
	claim = bpf_map_lookup_elem(&nat_claims, &i->key);
	if (claim)
		turn_take(nat_turns, &i->key, claim);
	return TC_ACT_OK;
}

static __always_inline int claim_inherit(struct inherited_claim *i)
{
	struct nat_claim *there = bpf_map_lookup_elem(&nat_claims, &i->key), *own = NULL;
	struct nat_forward *forward;
	struct nat_key inside, key;

	nat_key_inside(&i->key, &i->claim, &inside);
	if (there && nat_is_same(there, &i->claim)) {
		state_catch_up(&there->state, &i->claim.state);
		forward_inherit(&inside, &i->forward);
		return TC_ACT_OK;
	}
	key = inside;
	forward = bpf_map_lookup_elem(&nat_forward, &inside);
	if (forward) {
		nat_key_outside(&key, forward);
		own = bpf_map_lookup_elem(&nat_claims, &key);
	}
	if (claim_yields(i, there, own))
		return TC_ACT_OK;
	if (own)
		nat_end_claim(&key, own);
	else if (forward) /* half of one */
		bpf_map_delete_elem(&nat_forward, &inside);
	if (there)
		nat_end_claim(&i->key, there);
	return claim_put(i, &inside);
}

SEC("tc")
int inherit_claim(struct __sk_buff *skb)
{
	struct inherited_claim i;

	if (bpf_skb_load_bytes(skb, 0, &i, sizeof(i)))
		return TC_ACT_SHOT;
	return claim_inherit(&i);
}

char _license[] SEC("license") = "Dual BSD/GPL";
