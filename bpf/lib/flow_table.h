/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The entries of the flow table: shares, time-outs, and how an entry gets into `flows` and out of it.
 *
 * An entry may be handled by two CPUs at once: insertion is BPF_NOEXIST and only who deletes an entry gives its share back, so
 * shares stay true. */
#pragma once

#include "lib/packet.h"
#include "lib/turns.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* the loader sets both sizes */
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, TURNS_MAX(65536));
	__uint(value_size, sizeof(struct flow_key));
} flows_turns SEC(".maps");

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

static __always_inline bool flow_is_over(const struct flow_state *f)
{
	return f->stage == FLOW_CLOSING || f->stage == FLOW_RESET;
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

/* How many entries of @all may be there when one more comes, of the part that is open to what was @received. */
static __always_inline __s64 flow_room(__u32 all, __u8 received)
{
	return received ? all - all / 4 : all;
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

/* The entry's turn: it ends, or has another one. */
static __always_inline void flow_look(struct flow_key *key, struct flow *f)
{
	__u32 owner = f->state.owner;

	if (flow_is_stale(key->proto, &f->state, tick_now()) || !bpf_map_lookup_elem(&endpoint_flows, &owner))
		flow_remove(key, owner);
	else
		turn_take(flows_turns, key, f);
}

/* What packets have done to the entry in `flows_new` since it was copied: another CPU may have closed the connection. */
static __always_inline void flow_catch_up(struct flow_key *key, struct flow *f, const struct flow_state *old)
{
	f->state.fin |= old->fin;
	if (flow_is_over(old))
		flow_remove(key, f->state.owner);
	else
		bpf_map_delete_elem(&flows_new, key);
}

/**
 * flow_promote() - move a conversation from `flows_new` to `flows`
 *
 * When it stays, as the table is full or its endpoint's share used up, it lives on where floods may evict it.
 */
static __always_inline void flow_promote(struct flow_key *key, const struct flow_state *state)
{
	struct flow fresh = { .state = *state }, *f;
	__u8 received = fresh.state.received;

	if (share_held(fresh.state.owner) >= flow_room(config.flow_share, received) || share_held(0) >= flow_room(config.flow_max, received))
		return;
	if (bpf_map_update_elem(&flows, key, &fresh, BPF_NOEXIST)) /* full, or another CPU was faster */
		return;
	share_add(fresh.state.owner, 1);
	share_add(0, 1);
	f = bpf_map_lookup_elem(&flows, key);
	if (!f)
		return;
	turn_take(flows_turns, key, f);
	flow_catch_up(key, f, state);
}

/* A TCP connection has ended: what is left of it waits in `flows_new`, and is there before its entry goes: a packet in between would be of a connection
 * that nobody knows. */
static __noinline int flow_close(struct flow_key *key, struct flow *f, __u8 stage)
{
	struct flow_state left = f->state;

	left.stage = stage;
	bpf_map_update_elem(&flows_new, key, &left, BPF_NOEXIST); /* else another CPU has closed it */
	flow_remove(key, left.owner);
	return 0;
}

/* A packet of a connection in `flows` that carries FIN or RST. Return: is the connection over by it? */
static __always_inline bool flow_control(struct flow_key *key, struct flow *f, __u8 flags, __u8 end)
{
	if (flags & TCP_FIN)
		f->state.fin |= 1 << end;
	if (!(flags & TCP_RST) && f->state.fin != 3)
		return false;
	flow_close(key, f, flags & TCP_RST ? FLOW_RESET : FLOW_CLOSING);
	return true;
}
