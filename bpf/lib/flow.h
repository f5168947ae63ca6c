/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow table; weft/flow.h says what lies where and why.
 *
 * The established path is one lookup and, at most once a tick, one store. An entry may be handled by two CPUs at once:
 * insertion is BPF_NOEXIST and only who deletes an entry gives its share back, so shares stay true.
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
#include "lib/packet.h"
#include "lib/route.h"
#include "weft/flow.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* the loader sets both sizes */
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow_state);
} flows_new SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096 + 1);
	__type(key, __u32);
	__type(value, __u64);
} endpoint_flows SEC(".maps");

/* How a packet meets the table: at the local pod that sends it, or at the one that gets it; and did the stack send it there? */
enum flow_place { FLOW_AT_SOURCE = 0, FLOW_AT_DESTINATION = 1, FLOW_OUT_OF_STACK = 2 };

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
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	return first ? 0 : 1;
}

/* Ticks without a packet after which the entry counts as gone. */
static __always_inline __u32 flow_timeout(__u8 proto, const struct flow_state *f)
{
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return FLOW_TICKS(FLOW_TIMEOUT_ICMP);
	if (f->stage == FLOW_RESET)
		return FLOW_TICKS(FLOW_TIMEOUT_TCP_RESET);
	if (f->stage == FLOW_CLOSING)
		return FLOW_TICKS(FLOW_TIMEOUT_TCP_CLOSING);
	if (proto != IPPROTO_TCP)
		return f->stage == FLOW_OPEN ? FLOW_TICKS(FLOW_TIMEOUT_OPEN) : FLOW_TICKS(FLOW_TIMEOUT_NEW);
	if (f->stage != FLOW_OPEN)
		return FLOW_TICKS(FLOW_TIMEOUT_TCP_NEW);
	return f->fin ? FLOW_TICKS(FLOW_TIMEOUT_TCP_FIN) : FLOW_TICKS(FLOW_TIMEOUT_TCP_OPEN);
}

/* Signed: another CPU's packet may be a tick ahead of us. */
static __always_inline bool flow_is_stale(__u8 proto, const struct flow_state *f, __u32 now)
{
	return (__s32)(now - f->seen) >= (__s32)flow_timeout(proto, f);
}

static __always_inline void share_add(__u32 id, __s64 n)
{
	__u64 *held = bpf_map_lookup_elem(&endpoint_flows, &id);

	if (held)
		__sync_fetch_and_add(held, n);
}

/* Below zero for a while when an id has been given to a new endpoint, which counts from zero: the entries of its former owner, if
 * some are left, are given back as well. */
static __always_inline __s64 share_held(__u32 id)
{
	__u64 *held = bpf_map_lookup_elem(&endpoint_flows, &id);

	return held ? (__s64)*held : 0;
}

/* Takes an entry out of `flows`; who finds it gone does nothing. */
static __always_inline bool flow_remove(struct flow_key *key, __u32 owner)
{
	if (bpf_map_delete_elem(&flows, key))
		return false;
	share_add(owner, -1);
	share_add(0, -1);
	return true;
}

/* When the timer looks at the entry again. */
static __always_inline __u64 flow_timer_ns(__u32 ticks_left)
{
	if (ticks_left > FLOW_TICKS(FLOW_CHECK_SECONDS))
		ticks_left = FLOW_TICKS(FLOW_CHECK_SECONDS);
	return (__u64)(ticks_left + 1) << FLOW_TICK_SHIFT;
}

static int flow_on_timer(void *map __attribute__((unused)), struct flow_key *key, struct flow *f)
{
	__u32 owner = f->state.owner, timeout = flow_timeout(key->proto, &f->state);
	__s32 idle = tick_now() - f->state.seen;

	if (idle >= (__s32)timeout || !bpf_map_lookup_elem(&endpoint_flows, &owner))
		flow_remove(key, owner);
	else
		bpf_timer_start(&f->timer, flow_timer_ns(idle > 0 ? timeout - idle : timeout), 0);
	return 0;
}

/* A timer that runs already is only started anew. */
static __always_inline void flow_arm(const struct flow_key *key, struct flow *f)
{
	__s32 left = flow_timeout(key->proto, &f->state) - (tick_now() - f->state.seen);

	bpf_timer_init(&f->timer, &flows, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&f->timer, flow_on_timer);
	bpf_timer_start(&f->timer, flow_timer_ns(left > 0 ? left : 0), 0);
}

/* Moves a flow that became a conversation from `flows_new` to `flows`. */
static __always_inline enum drop_reason flow_promote(struct flow_key *key, const struct flow_state *state)
{
	struct flow fresh = { .state = *state }, *f;
	long r;

	fresh.state.stage = FLOW_OPEN;
	r = bpf_map_update_elem(&flows, key, &fresh, BPF_NOEXIST);
	if (r == -17 /* EEXIST: another CPU has just done it */)
		return DROP_NONE;
	if (r)
		return DROP_FLOW_TABLE_FULL;
	share_add(fresh.state.owner, 1);
	share_add(0, 1);
	f = bpf_map_lookup_elem(&flows, key);
	if (f)
		flow_arm(key, f);
	bpf_map_delete_elem(&flows_new, key);
	return DROP_NONE;
}

/* A TCP connection has ended: what is left of it waits in `flows_new`. */
static __noinline int flow_close(struct flow_key *key, struct flow *f, __u8 stage)
{
	struct flow_state left = f->state;

	left.stage = stage;
	if (flow_remove(key, left.owner))
		bpf_map_update_elem(&flows_new, key, &left, BPF_ANY);
	return 0;
}

/* A packet of a connection in `flows` that carries SYN, FIN or RST. */
static __always_inline void flow_control(struct flow_key *key, struct flow *f, __u8 flags, __u8 end)
{
	if (flags & TCP_RST) {
		flow_close(key, f, FLOW_RESET);
		return;
	}
	if (flags & TCP_FIN)
		f->state.fin |= 1 << end;
	if (f->state.fin == 3)
		flow_close(key, f, FLOW_CLOSING);
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

static __always_inline enum drop_reason flow_create(struct flow_key *key, __u8 end, __u32 owner, struct packet *pkt, __u8 place,
						    __u32 now)
{
	__u8 flags = pkt->tcp_flags;
	struct flow_state fresh = {
		.seen = now,
		.owner = owner,
		.initiator = end,
		.stage = flags & TCP_RST ? FLOW_RESET : FLOW_HALF_OPEN,
		.fin = flags & TCP_FIN ? 1 << end : 0,
	};

	if (share_held(owner) >= (__s64)config.flow_share)
		return DROP_FLOW_SHARE;
	if (share_held(0) >= (__s64)config.flow_max)
		return DROP_FLOW_TABLE_FULL;
	pkt->via_stack = flow_needs_stack(pkt, place);
	if (pkt->via_stack)
		fresh.stack = 1 << flow_local_end(end, place);
	bpf_map_update_elem(&flows_new, key, &fresh, BPF_ANY);
	return DROP_NONE;
}

/* The packet belongs to no conversation: the flow is new, half-open, one-way or over. */
__global enum drop_reason flow_track_new(const struct flow_key *of, __u8 end, __u32 owner, struct packet *pkt, __u8 place)
{
	__u32 now = tick_now();
	struct flow_state *f;
	struct flow_key key;
	bool over, tcp;
	__u8 flags;

	if (!of || !pkt)
		return DROP_NONE;
	flags = pkt->tcp_flags;
	key = *of; /* before 6.3 a map's key must lie in the function's own stack */
	f = bpf_map_lookup_elem(&flows_new, &key);
	tcp = key.proto == IPPROTO_TCP;
	if (!f || flow_is_stale(key.proto, f, now))
		return flow_create(&key, end, owner, pkt, place, now);
	over = f->stage == FLOW_CLOSING || f->stage == FLOW_RESET;
	if (over && (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) /* the ports are used again */
		return flow_create(&key, end, owner, pkt, place, now);
	pkt->via_stack = f->stack >> flow_local_end(end, place) & 1;
	if (f->seen != now)
		f->seen = now;
	if (tcp && (flags & (TCP_RST | TCP_FIN))) {
		if (flags & TCP_FIN)
			f->fin |= 1 << end;
		if (flags & TCP_RST)
			f->stage = FLOW_RESET;
		else if (f->fin == 3)
			f->stage = FLOW_CLOSING;
		return DROP_NONE;
	}
	if (f->stage == FLOW_RESET) /* the reset was not believed: data goes on */
		f->stage = FLOW_HALF_OPEN;
	if (f->stage == FLOW_HALF_OPEN && end != f->initiator)
		f->stage = FLOW_REPLIED;
	else if (f->stage == FLOW_REPLIED && end == f->initiator && !(flags & TCP_SYN))
		return flow_promote(&key, f);
	return DROP_NONE;
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
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	__u32 now;

	if (!f)
		return flow_track_new(&key, end, owner, pkt, place);
	pkt->via_stack = f->state.stack >> flow_local_end(end, place) & 1;
	now = tick_now();
	if (f->state.seen != now)
		f->state.seen = now;
	if (unlikely(pkt->tcp_flags & (TCP_FIN | TCP_RST)))
		flow_control(&key, f, pkt->tcp_flags, end);
	return DROP_NONE;
}

/* Is there a flow to which the packet belongs? If so, says whether what concerns its local end goes through the stack. */
static __always_inline bool flow_exists(const struct packet *pkt, __u8 place, bool *ret_via_stack)
{
	struct flow_state *f;
	struct flow *open;
	struct flow_key key;
	__u8 end = flow_key_of(pkt, &key);

	open = bpf_map_lookup_elem(&flows, &key);
	if (open) {
		*ret_via_stack = open->state.stack >> flow_local_end(end, place) & 1;
		return true;
	}
	f = bpf_map_lookup_elem(&flows_new, &key);
	if (!f || flow_is_stale(key.proto, f, tick_now()))
		return false;
	*ret_via_stack = f->stack >> flow_local_end(end, place) & 1;
	return true;
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
