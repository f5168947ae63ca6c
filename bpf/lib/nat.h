/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NAT engine's memory: claims of ports and how they end; weft/nat.h says what lies where and why.
 *
 * An allocation is one BPF_NOEXIST insertion of a claim, so two CPUs never get one port. Order: claim, forward entry, timer; and
 * at the end the forward entry first. Who deletes a claim gives its share back. */
#pragma once

#include "lib/flow.h"
#include "weft/nat.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* the loader sets both sizes */
	__type(key, struct nat_key);
	__type(value, struct nat_claim);
} nat_claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct nat_key);
	__type(value, struct nat_forward);
} nat_forward SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096 + 2);
	__type(key, __u32);
	__type(value, __u64);
} nat_shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NAT_RESERVED_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} nat_reserved SEC(".maps");

/* An address and a port of one side. */
struct nat_end {
	struct ip_addr addr;
	__be16 port;
	__u16 pad;
};

/* May another port stand for the sender's? SCTP's checksum cannot be mended from a difference, others have no ports. */
static __always_inline bool nat_has_choice(const struct packet *pkt)
{
	if (proto_is_icmp(pkt->proto))
		return pkt->sport != 0; /* echo */
	return pkt->proto == IPPROTO_TCP || pkt->proto == IPPROTO_UDP || pkt->proto == IPPROTO_UDPLITE;
}

/* The connection as its local end sees it: the packet's source on the way out, its destination on the way in. */
static __always_inline void nat_key_of(const struct packet *pkt, bool out, struct nat_key *key)
{
	key->local = out ? pkt->src : pkt->dst;
	key->remote = out ? pkt->dst : pkt->src;
	key->local_port = out ? pkt->sport : pkt->dport;
	key->remote_port = out ? pkt->dport : pkt->sport;
	if (proto_is_icmp(pkt->proto))
		key->remote_port = 0;
	key->proto = pkt->proto;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
}

static __always_inline void nat_key_local(struct nat_key *key, const struct ip_addr *addr, __be16 port)
{
	key->local = *addr;
	key->local_port = port;
}

/* ---- shares ---- */

static __always_inline __u64 *nat_share(__u32 owner)
{
	return bpf_map_lookup_elem(&nat_shares, &owner);
}

static __always_inline void nat_share_add(__u32 owner, __s64 n)
{
	__u64 *held = nat_share(owner), *all = nat_share(NAT_OWNER_ALL);

	if (held)
		__sync_fetch_and_add(held, n);
	if (all)
		__sync_fetch_and_add(all, n);
}

static __always_inline enum drop_reason nat_check_share(__u32 owner)
{
	__u64 *held = nat_share(owner), *all = nat_share(NAT_OWNER_ALL);

	if (!held || !all || (owner != NAT_OWNER_NODE && (__s64)*held >= (__s64)config.nat_share))
		return DROP_NAT_SHARE;
	return (__s64)*all >= (__s64)config.nat_max ? DROP_NAT_TABLE_FULL : DROP_NONE;
}

/* ---- the end of a claim ---- */

static __always_inline void nat_release(struct nat_key *key, __u32 owner)
{
	if (bpf_map_delete_elem(&nat_claims, key) == 0)
		nat_share_add(owner, -1);
}

/* Both entries of the claim @key. */
static __always_inline void nat_end_claim(struct nat_key *key, const struct nat_claim *claim)
{
	struct nat_key inside = *key;
	__u32 owner = claim->state.owner;

	nat_key_local(&inside, &claim->addr, claim->port);
	bpf_map_delete_elem(&nat_forward, &inside);
	nat_release(key, owner);
}

static int nat_on_timer(void *map __attribute__((unused)), struct nat_key *key, struct nat_claim *claim)
{
	__u32 timeout = flow_timeout(key->proto, &claim->state), seen = claim->state.seen, owner = claim->state.owner;
	struct nat_key outside = *key, inside = *key;
	struct nat_forward *forward;
	__s32 idle;

	nat_key_local(&inside, &claim->addr, claim->port);
	forward = bpf_map_lookup_elem(&nat_forward, &inside);
	if (forward && (__s32)(forward->seen - seen) > 0)
		seen = forward->seen;
	idle = tick_now() - seen;
	if (!forward || idle >= (__s32)timeout || !nat_share(owner))
		nat_end_claim(&outside, claim);
	else
		bpf_timer_start(&claim->timer, flow_timer_ns(idle > 0 ? timeout - idle : timeout), 0);
	return 0;
}

static __always_inline void nat_arm(const struct nat_key *key, struct nat_claim *claim)
{
	bpf_timer_init(&claim->timer, &nat_claims, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&claim->timer, nat_on_timer);
	bpf_timer_start(&claim->timer, flow_timer_ns(flow_timeout(key->proto, &claim->state)), 0);
}

/* ---- state ---- */

/* @inside: the packet came from the inside end. */
static __always_inline void nat_track(struct flow_state *s, __u8 flags, bool inside)
{
	if (flags & TCP_RST) {
		s->stage = FLOW_RESET;
		return;
	}
	if (inside && (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) { /* the ports are used again */
		s->stage = FLOW_HALF_OPEN;
		s->fin = 0;
		return;
	}
	if (flags & TCP_FIN)
		s->fin |= inside ? 1 : 2;
	if (s->fin == 3)
		s->stage = FLOW_CLOSING;
	else if (inside && s->stage == FLOW_REPLIED)
		s->stage = FLOW_OPEN;
	else if (!inside && s->stage == FLOW_HALF_OPEN)
		s->stage = FLOW_REPLIED;
	else if (!inside && s->stage == FLOW_RESET) /* the reset was not believed: data goes on */
		s->stage = FLOW_OPEN;
}

/* What is over is looked at soon, so that short connections do not hold ports until the timer's next regular look. */
static __always_inline void nat_note(__u8 proto, struct nat_claim *claim, __u8 flags, bool inside)
{
	nat_track(&claim->state, flags, inside);
	if (claim->state.stage == FLOW_CLOSING || claim->state.stage == FLOW_RESET)
		bpf_timer_start(&claim->timer, flow_timer_ns(flow_timeout(proto, &claim->state)), 0);
}

/* A packet goes out by this entry. The claim is looked at while the conversation is young, and when TCP begins or ends something. */
static __always_inline void nat_touch_out(const struct packet *pkt, struct nat_forward *forward)
{
	__u32 now = tick_now();
	struct nat_claim *claim;
	struct nat_key key;

	if (forward->seen != now)
		forward->seen = now;
	if (likely(forward->open && !(pkt->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))))
		return;
	nat_key_of(pkt, true, &key);
	nat_key_local(&key, &forward->addr, forward->port);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (!claim)
		return;
	nat_note(pkt->proto, claim, pkt->tcp_flags, true);
	forward->open = claim->state.stage == FLOW_OPEN;
}

static __always_inline void nat_touch_in(const struct packet *pkt, struct nat_claim *claim)
{
	__u32 now = tick_now();

	if (claim->state.seen != now)
		claim->state.seen = now;
	if (unlikely(claim->state.stage != FLOW_OPEN || (pkt->tcp_flags & (TCP_FIN | TCP_RST))))
		nat_note(pkt->proto, claim, pkt->tcp_flags, false);
}

/* ---- the beginning of a claim ---- */

/* Would a packet from the remote end to this address and port reach a socket of the node? */
static __always_inline bool nat_node_has(struct __sk_buff *skb, const struct nat_key *key)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);
	struct bpf_sock *sk;

	if (addr_is_v4(&key->local)) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = key->remote.w[3];
		tuple.ipv4.daddr = key->local.w[3];
		tuple.ipv4.sport = key->remote_port;
		tuple.ipv4.dport = key->local_port;
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &key->remote, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &key->local, 16);
		tuple.ipv6.sport = key->remote_port;
		tuple.ipv6.dport = key->local_port;
	}
	if (key->proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (key->proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/* Identifiers of echo requests are all free to use; ports have a range, and holes in it. */
static __always_inline bool nat_port_allowed(__u8 proto, __u32 port)
{
	__u32 index = port / 64;
	__u64 *word;

	if (proto_is_icmp(proto))
		return true;
	word = bpf_map_lookup_elem(&nat_reserved, &index);
	return port >= config.nat_port_min && port <= config.nat_port_max && word && !(*word >> (port % 64) & 1);
}

enum nat_taking { NAT_BUSY, NAT_TAKEN, NAT_OURS_ALREADY, NAT_NO_ROOM };

struct nat_try {
	struct __sk_buff *skb;
	struct nat_key key;
	struct nat_claim fresh;
	__u32 at, step; /* the sequence of ports that are tried */
	enum nat_taking result;
};

static __always_inline enum nat_taking nat_take(struct nat_try *t, __be16 port)
{
	struct nat_claim *there;
	long r;

	t->key.local_port = port;
	there = bpf_map_lookup_elem(&nat_claims, &t->key);
	if (there)
		return there->port == t->fresh.port && addr_eq(&there->addr, &t->fresh.addr) ? NAT_OURS_ALREADY : NAT_BUSY;
	if (nat_node_has(t->skb, &t->key))
		return NAT_BUSY;
	r = bpf_map_update_elem(&nat_claims, &t->key, &t->fresh, BPF_NOEXIST);
	if (r == -17 /* EEXIST: another CPU was faster */)
		return NAT_BUSY;
	return r ? NAT_NO_ROOM : NAT_TAKEN;
}

/* One port of a sequence that visits each of the range once: steps modulo a prime. Return: 1 to stop. */
static long nat_try_next(__u32 i __attribute__((unused)), struct nat_try *t)
{
	__u32 port;

	t->at += t->step;
	if (t->at >= config.nat_modulus)
		t->at -= config.nat_modulus;
	port = config.nat_port_min + t->at;
	if (port > config.nat_port_max || !nat_port_allowed(t->key.proto, port))
		return 0;
	t->result = nat_take(t, bpf_htons(port));
	return t->result != NAT_BUSY;
}

/* Finds a port and claims it: the inside end's own if it can be had (endpoints behind NAT that look for each other like it
 * best), else up to NAT_TRIES others in an order that nobody can guess (RFC 6056 3.3.2). */
static __always_inline void nat_allocate(struct nat_try *t, bool choice)
{
	__be16 own = t->fresh.port;

	t->result = NAT_BUSY;
	if (!choice || nat_port_allowed(t->key.proto, bpf_ntohs(own)))
		t->result = nat_take(t, own);
	if (t->result != NAT_BUSY || !choice)
		return;
	t->at = bpf_get_prandom_u32() % config.nat_modulus;
	t->step = 1 + bpf_get_prandom_u32() % (config.nat_modulus - 1);
	bpf_loop(NAT_TRIES, nat_try_next, t, 0);
}

/* The claim is ours: makes the way out, and starts the clock. */
static __always_inline enum drop_reason nat_publish(const struct packet *pkt, struct nat_try *t, __u32 owner,
						    struct nat_end *ret)
{
	struct nat_forward fresh = { .addr = t->key.local, .port = t->key.local_port, .seen = t->fresh.state.seen }, *forward;
	struct nat_claim *claim;
	struct nat_key inside;
	long r;

	nat_key_of(pkt, true, &inside);
	if (t->result == NAT_TAKEN)
		nat_share_add(owner, 1);
	r = bpf_map_update_elem(&nat_forward, &inside, &fresh, BPF_NOEXIST);
	if (r && t->result == NAT_TAKEN)
		nat_release(&t->key, owner);
	if (r == -17) { /* EEXIST: another CPU had the same connection's packet */
		forward = bpf_map_lookup_elem(&nat_forward, &inside);
		if (!forward)
			return DROP_NAT_EXHAUSTED;
		ret->addr = forward->addr;
		ret->port = forward->port;
		return DROP_NONE;
	}
	if (r)
		return DROP_NAT_TABLE_FULL;
	claim = bpf_map_lookup_elem(&nat_claims, &t->key);
	if (claim)
		nat_arm(&t->key, claim);
	ret->addr = fresh.addr;
	ret->port = fresh.port;
	return DROP_NONE;
}

/**
 * nat_claim() - a port of @as for a new connection of the packet's sender
 * @owner: endpoint id, or NAT_OWNER_NODE: on whose share
 * @ret: as whom it speaks from now on
 */
__global enum drop_reason nat_claim(struct __sk_buff *skb, const struct packet *pkt, const struct ip_addr *as, __u32 owner,
				    struct nat_end *ret)
{
	struct nat_try t = { .skb = skb };
	enum drop_reason why;

	if (!pkt || !as || !ret)
		return DROP_NAT_ADDRESS;
	why = nat_check_share(owner);
	if (why != DROP_NONE)
		return why;
	nat_key_of(pkt, true, &t.key);
	t.fresh.addr = t.key.local;
	t.fresh.port = t.key.local_port;
	t.fresh.state.seen = tick_now();
	t.fresh.state.owner = owner;
	t.key.local = *as;
	nat_allocate(&t, nat_has_choice(pkt));
	if (t.result == NAT_BUSY)
		return DROP_NAT_EXHAUSTED;
	if (t.result == NAT_NO_ROOM)
		return DROP_NAT_TABLE_FULL;
	return nat_publish(pkt, &t, owner, ret);
}
