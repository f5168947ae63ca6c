/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow table; weft/flow.h says what lies where and why.
 *
 * A packet of a conversation that was seen a moment ago is nothing but a look at flows_recent: flow_track(). All others go through
 * flow_track_entry(), the young flows' table first: nearly all of its packets are theirs, as most connections are short, and a
 * conversation comes here once an epoch. A flow begins in flow_create(), and nowhere else. Packets that two CPUs handle at once may
 * do a step twice, never lose one.
 *
 * Somebody else may translate addresses in the stack of a node (kube-proxy, a port map, an administrator's rule). What pod P sent
 * to a Service comes out of the stack as P → backend; the answer backend → P must meet the stack again, at P's node if the
 * backend is elsewhere, at the backend's pod if it is here. So a flow whose first packet came out of the stack carries a bit for
 * the end that is the local pod: what this pod sends and gets in the flow goes through the stack. A flow that a pod began
 * by itself towards another pod has none, also when a packet of it takes the stack for another reason (its size): its entry is there
 * already. And where packets towards the other end have no way past the stack (the world, a node), those that come from there take none
 * either: a firewall that saw only half of a connection would call the other half invalid, and kube-proxy's drops that. */
#pragma once

#include "lib/endpoint.h"
#include "lib/flow_asks.h"
#include "lib/flow_event.h"
#include "lib/flow_recent.h"
#include "lib/flow_sweep.h"
#include "lib/packet.h"
#include "lib/policy.h"
#include "lib/route.h"
#include "weft/flow.h"

/* How a packet meets the table: at the local pod that sends it, or at the one that gets it; did the stack send it there, and is it
 * the node's own? */
enum flow_place { FLOW_AT_SOURCE = 0, FLOW_AT_DESTINATION = 1, FLOW_OUT_OF_STACK = 2, FLOW_OF_NODE = 4, FLOW_TRANSLATED = 8 };

static __always_inline __u8 flow_origin_of(__u8 place)
{
	return place & FLOW_OF_NODE ? FLOW_FROM_NODE : 0;
}

/* Which end of the key the packet's source is. */
static __always_inline __u8 flow_key_of(const struct packet *pkt, struct flow_key *key)
{
	const struct ip_addr *s = &pkt->src, *d = &pkt->dst;
	bool first;

	if (s->q[1] != d->q[1])
		first = s->q[1] < d->q[1];
	else if (s->q[0] != d->q[0])
		first = s->q[0] < d->q[0];
	else
		first = pkt->sport <= pkt->dport;
	key->addr[0] = first ? *s : *d;
	key->addr[1] = first ? *d : *s;
	key->port[0] = first ? pkt->sport : pkt->dport;
	key->port[1] = first ? pkt->dport : pkt->sport;
	key->proto = pkt->proto;
	key->turn = 0;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	return first ? 0 : 1;
}

static __always_inline __u8 flow_local_end(__u8 end, __u8 place)
{
	return place & FLOW_AT_DESTINATION ? end ^ 1 : end;
}

/* Does what the local end of a new flow sends and gets go through the stack? */
static __always_inline bool flow_needs_stack(struct packet *pkt, __u8 place)
{
	struct ip_addr far = place & FLOW_AT_DESTINATION ? pkt->src : pkt->dst; /* a copy: before 6.3 keys lie in the own stack */

	if (!config.foreign_nat)
		return false;
	return place & FLOW_OUT_OF_STACK || !(endpoint_find(&far) || node_route_find(&far));
}

/* Was the first packet seen? A TCP packet without SYN is one of a connection that somebody began before, SYN-ACK answers one. */
static __always_inline bool flow_is_begun(const struct packet *pkt)
{
	return pkt->proto != IPPROTO_TCP || packet_asks(pkt);
}

/* Is the entry a tombstone of what its receiver never answered, and does the receiver begin a flow of its own now? A SYN says so, and what answers
 * nothing; a datagram may be the late answer to what was let pass before policy changed. */
static __always_inline bool flow_is_begun_anew(const struct flow_state *f, const struct packet *pkt, __u8 end)
{
	return f->origin & FLOW_DENIED && f->stage == FLOW_HALF_OPEN && end != f->initiator &&
	       (packet_asks(pkt) || (pkt->proto != IPPROTO_TCP && !(f->origin & FLOW_PASSED)));
}

/* @bits: of flow_state.stack, of the end that is here. */
static __always_inline void flow_note_way(struct packet *pkt, __u8 bits)
{
	pkt->via_stack = bits & 1;
	pkt->translated = bits & FLOW_STACK_TRANSLATED;
}

/* The other end has spoken, be it to refuse. */
static __always_inline void flow_on_answer(struct flow_state *f)
{
	if (!(f->origin & FLOW_ASKED))
		return;
	f->origin &= ~FLOW_ASKED;
	flow_answered(f->owner);
}

/* Who asks a Service has begun the flow, whoever spoke first on what nobody knew (its entry was evicted, or out of date): it is judged as such. */
static __always_inline void flow_begun_by(struct flow_state *f, const struct flow_key *key, __u8 end)
{
	struct ip_addr src = end ? key->addr[1] : key->addr[0];

	flow_on_answer(f);
	f->initiator = end;
	f->origin &= ~FLOW_FROM_NODE;
	f->received = 0;
	if (addr_is_node(&src))
		f->origin |= FLOW_TO_ITSELF;
	f->judged = 0;
}

/* Is the flow translated? So says its initiator's packet where it comes from the pod, each time: before, the same ends may have spoken
 * another way (a port is used again). Elsewhere a packet that is translated says so, and one that is not says nothing. */
__global int flow_turn(struct flow_state *f, const struct flow_key *key, __u8 end, __u8 place)
{
	__u8 mine = FLOW_STACK_TRANSLATED << flow_local_end(end, place);

	if (!f || !key)
		return 0;
	if (place & FLOW_TRANSLATED) {
		if (!(place & FLOW_AT_DESTINATION) && f->initiator != end)
			flow_begun_by(f, key, end);
		if (f->stack & mine)
			return 0;
		f->stack = place & FLOW_AT_DESTINATION ? mine : FLOW_STACK_TRANSLATED * 3;
		flow_recent_forget(key, policy_revision());
	} else if (end == f->initiator && !(place & (FLOW_AT_DESTINATION | FLOW_OUT_OF_STACK))) {
		f->stack &= FLOW_STACK_TRANSLATED - 1;
	}
	return 0;
}

/* Notes a flow that begins. @old: the entry that the key has in `flows_new`, of a flow that is over; NULL when it has none. That one is written over
 * where it lies: to put another one in its place costs more than all else that a new flow does, as the table's lists of free and old entries
 * are touched, and whoever connects to one place again and again soon comes back to the ports that it had. It was looked up a while ago: the table
 * may have given its memory to another flow since, and policy's word about this one must not be that one's. So it is said there by the next packet. */
static __always_inline void flow_put(struct flow_key *key, struct flow_state *fresh, struct flow_state *old)
{
	if (old) {
		fresh->judged = 0;
		*old = *fresh;
		return;
	}
	bpf_map_update_elem(&flows_new, key, fresh, BPF_ANY);
	flow_count_created();
}

/* @old: as flow_put() */
static __always_inline enum drop_reason flow_create(struct flow_key *key, struct flow_state *old, __u8 end, __u32 owner, struct packet *pkt,
						    __u8 place, __u32 now)
{
	__u8 flags = pkt->tcp_flags;
	struct flow_state fresh = {
		.seen = now,
		.owner = owner,
		.initiator = end,
		.stage = flags & TCP_RST ? FLOW_RESET : FLOW_HALF_OPEN,
		.fin = flags & TCP_FIN ? 1 << end : 0,
		.origin = (flow_is_begun(pkt) ? 0 : FLOW_UNSURE) | flow_origin_of(place),
		.received = place & FLOW_AT_DESTINATION,
	};
	enum drop_reason why;

	if (place == (FLOW_AT_SOURCE | FLOW_TRANSLATED) && addr_is_node(&pkt->src))
		fresh.origin |= FLOW_TO_ITSELF;
	if (!fresh.received && share_held(owner) >= (__s64)config.flow_share)
		return DROP_FLOW_SHARE;
	if (!fresh.received && share_held(0) >= (__s64)config.flow_max)
		return DROP_FLOW_TABLE_FULL;
	if (!(place & (FLOW_AT_DESTINATION | FLOW_OUT_OF_STACK))) {
		if (!flow_ask(owner, now))
			return DROP_FLOW_UNANSWERED;
		fresh.origin |= FLOW_ASKED;
	}
	pkt->translated = place & FLOW_TRANSLATED;
	pkt->via_stack = !pkt->translated && flow_needs_stack(pkt, place);
	if (pkt->via_stack || pkt->translated)
		fresh.stack = (pkt->translated ? FLOW_STACK_TRANSLATED : 1) << flow_local_end(end, place);
	if (pkt->translated && !(place & FLOW_AT_DESTINATION)) /* a pod's, to a Service: the endpoint may be here as well */
		fresh.stack = FLOW_STACK_TRANSLATED * 3;
	why = policy_check(key, &fresh, pkt, policy_revision());
	if (why == DROP_NONE)
		fresh.origin |= FLOW_PASSED;
	flow_put(key, &fresh, old);
	if (why == DROP_NONE)
		flow_event(pkt, EVENT_FLOW_NEW, DROP_NONE);
	return why;
}

/* Does the packet, whose key has an entry in `flows_new`, begin another flow there? */
static __always_inline bool flow_is_replaced(const struct flow_state *f, const struct packet *pkt, __u8 proto, __u8 end, __u32 now)
{
	if (flow_is_stale(proto, f, now) || flow_is_begun_anew(f, pkt, end))
		return true;
	return flow_is_over(f) && flow_is_begun(pkt); /* the ports are used again */
}

/* A packet of a flow that is no conversation yet: half-open, one-way or over; or of one that the sweep has still to move. */
static __always_inline void flow_step(struct flow_key *key, struct flow_state *f, struct packet *pkt, __u8 end)
{
	__u8 flags = pkt->tcp_flags;

	if (end != f->initiator)
		flow_on_answer(f);
	if (key->proto == IPPROTO_TCP && (flags & (TCP_RST | TCP_FIN))) {
		if (flags & TCP_FIN)
			f->fin |= 1 << end;
		if (flags & TCP_RST)
			f->stage = FLOW_RESET;
		else if (f->fin == 3)
			f->stage = FLOW_CLOSING;
		if (flow_is_over(f))
			flow_event(pkt, EVENT_FLOW_CLOSED, DROP_NONE);
		return;
	}
	if (f->stage == FLOW_RESET) /* the reset was not believed: data goes on */
		f->stage = FLOW_HALF_OPEN;
	if (f->stage == FLOW_HALF_OPEN && end != f->initiator)
		f->stage = FLOW_REPLIED;
	else if (f->stage == FLOW_REPLIED && end == f->initiator && !(flags & TCP_SYN))
		flow_ripen(key, f);
}

/* Nothing is left to be done for its packets but to let them pass, whatever they are: of ICMP and SCTP the other end's may ask. */
static __always_inline bool flow_is_settled(__u8 proto, const struct flow_state *f)
{
	return !proto_is_icmp(proto) && proto != IPPROTO_SCTP && f->stage == FLOW_OPEN && !f->fin && !(f->stack & ~FLOW_RECENT_STACK) && !(f->origin & FLOW_DENIED);
}

/* A packet of a conversation. */
static __always_inline void flow_go_on(struct flow_key *key, struct flow *f, struct packet *pkt, __u8 end, __u32 revision)
{
	if (unlikely(pkt->tcp_flags & (TCP_FIN | TCP_RST))) {
		flow_recent_forget(key, revision);
		if (flow_control(key, f, pkt->tcp_flags, end))
			flow_event(pkt, EVENT_FLOW_CLOSED, DROP_NONE);
	} else if (flow_is_settled(key->proto, &f->state)) {
		flow_recent_add(key, revision, f->state.stack);
	}
}

/* Is what the flow's initiator says denied now? */
static __always_inline bool flow_is_denied(const struct flow_key *key, const struct flow_state *f, struct packet *pkt)
{
	__u32 fragment_id = pkt->fragment_id; /* where the rule is told */
	bool denied;

	if (f->judged == policy_now())
		return false;
	denied = policy_judge(key, f->initiator, f->origin, pkt) & ~POLICY_ON_TRIAL;
	pkt->fragment_id = fragment_id; /* the asker passes */
	return denied;
}

/* The receiver of a flow asks something itself, with the same identifier or ports: that is no answer, and judged as if the asker had begun a flow. The entry
 * stays the other's while that one's flow is one: where it is denied, or a connection that nobody has answered, it is from now on the asker's flow, whose answers
 * the other end's packets are. */
static __always_inline enum drop_reason flow_judge_asker(const struct flow_key *key, struct flow_state *f, __u8 end, struct packet *pkt, __u8 place)
{
	enum drop_reason why = policy_judge_begun(key, f, true, flow_origin_of(place), pkt);

	if (why != DROP_NONE)
		return why;
	if ((pkt->proto == IPPROTO_TCP && f->stage == FLOW_HALF_OPEN) || flow_is_denied(key, f, pkt)) {
		flow_on_answer(f);
		f->initiator = end;
		f->origin = flow_origin_of(place);
		f->judged = f->fin = 0;
		if (f->stage < FLOW_OPEN)
			f->stage = FLOW_HALF_OPEN;
	}
	return DROP_NONE;
}

/* Of the packet's conversation nothing is known from a moment ago: its entry, if it has one, says more. */
__global enum drop_reason flow_track_entry(const struct flow_key *of, __u8 end, __u32 owner, struct packet *pkt, __u8 place)
{
	__u32 now = flow_tick_now();
	struct flow *open = NULL;
	enum drop_reason why;
	struct flow_state *f;
	struct flow_key key;

	if (!of || !pkt)
		return DROP_NONE;
	key = *of; /* before 6.3 a map's key must lie in the function's own stack */
	f = bpf_map_lookup_elem(&flows_new, &key);
	if (!f) {
		open = bpf_map_lookup_elem(&flows, &key);
		if (open)
			f = &open->state;
	}
	if (!f || (!open && flow_is_replaced(f, pkt, key.proto, end, now)))
		return flow_create(&key, f, end, owner, pkt, place, now);
	if (unlikely(place & FLOW_TRANSLATED || f->stack >= FLOW_STACK_TRANSLATED))
		flow_turn(f, &key, end, place);
	flow_note_way(pkt, f->stack >> flow_local_end(end, place));
	if (end != f->initiator && unlikely(packet_asks(pkt))) {
		why = flow_judge_asker(&key, f, end, pkt, place);
		if (why != DROP_NONE)
			return why;
	}
	why = policy_check(&key, f, pkt, policy_revision());
	if (f->seen != now && (why == DROP_NONE || !(f->origin & FLOW_PASSED)))
		f->seen = now; /* an answer may be late by as long as it takes to forget the last packet that passed */
	if (why != DROP_NONE)
		return why;
	if (open)
		flow_go_on(&key, open, pkt, end, f->judged);
	else
		flow_step(&key, f, pkt, end);
	return DROP_NONE;
}

/* What was found out about the conversation a moment ago. */
static __always_inline bool flow_recall(const struct flow_key *key, __u8 end, struct packet *pkt, __u8 place, __u32 revision)
{
	__u32 found;

	if (unlikely(pkt->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST) || place & FLOW_TRANSLATED)) /* of those no mark tells */
		return false;
	found = flow_is_recent(key, revision);
	if (found)
		flow_note_way(pkt, (found & FLOW_RECENT_STACK) >> flow_local_end(end, place));
	return found;
}

/**
 * flow_track() - note the packet in the flow table, where it meets a local pod
 * @owner: endpoint that pays for the flow if it is new
 * @place: enum flow_place bits
 */
static __always_inline enum drop_reason flow_track(struct packet *pkt, __u32 owner, __u8 place)
{
	struct flow_key key;
	__u8 end = flow_key_of(pkt, &key);

	if (likely(flow_recall(&key, end, pkt, place, policy_revision())))
		return DROP_NONE;
	return flow_track_entry(&key, end, owner, pkt, place);
}

/* The flow to which the packet belongs; @ret_end: which end of it the packet's source is. */
static __always_inline struct flow_state *flow_find(const struct packet *pkt, struct flow_key *ret_key, __u8 *ret_end)
{
	struct flow_state *f;
	struct flow *open;

	*ret_end = flow_key_of(pkt, ret_key);
	open = bpf_map_lookup_elem(&flows, ret_key);
	if (open)
		return &open->state;
	f = bpf_map_lookup_elem(&flows_new, ret_key);
	return f && !flow_is_stale(ret_key->proto, f, tick_now()) ? f : NULL;
}

/* Is there a flow to which the packet belongs, and which was let pass when it was judged last? */
static __always_inline bool flow_exists(const struct packet *pkt)
{
	struct flow_key key;
	__u8 end;
	struct flow_state *f = flow_find(pkt, &key, &end);

	return f && !(f->origin & FLOW_DENIED);
}

/* Is there one, and does policy let it pass as it is now, whatever its last packet met? If so, says whether what concerns its local end goes
 * through the stack. */
static __always_inline bool flow_passes(struct packet *pkt, __u8 place, bool *ret_via_stack)
{
	enum drop_reason why;
	struct flow_key key;
	__u8 end;
	struct flow_state *f = flow_find(pkt, &key, &end);

	if (!f)
		return false;
	*ret_via_stack = f->stack >> flow_local_end(end, place) & 1;
	why = policy_judge(&key, f->initiator, f->origin, pkt);
	return why == DROP_NONE || why == POLICY_ON_TRIAL;
}

/* Did the packet's receiver begin the conversation? Unknown ones were begun by their sender. */
__global bool flow_is_answer(const struct packet *pkt)
{
	struct flow_state *state;
	struct flow_key key;
	struct flow *f;
	__u8 end;

	if (!pkt)
		return false;
	end = flow_key_of(pkt, &key);
	f = bpf_map_lookup_elem(&flows, &key);
	if (f)
		return f->state.initiator != end;
	state = bpf_map_lookup_elem(&flows_new, &key);
	return state && !flow_is_stale(key.proto, state, tick_now()) && state->initiator != end;
}
