/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NAT engine's memory: claims of ports and how they end; weft/nat.h says what lies where and why.
 *
 * An allocation is one BPF_NOEXIST insertion of a claim, so two CPUs never get one port. Order: claim, forward entry, turn; and
 * at the end the forward entry first. Who deletes a claim gives its share back. */
#pragma once

#include "lib/flow.h"
#include "lib/nat_asks.h"
#include "weft/nat.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* the loader sets both sizes */
	__type(key, struct nat_key);
	__type(value, struct nat_claim);
} nat_claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, TURNS_MAX(65536));
	__uint(value_size, sizeof(struct nat_key));
} nat_turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct nat_key);
	__type(value, struct nat_forward);
} nat_forward SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096 + 4);
	__type(key, __u32);
	__type(value, __u64);
} nat_shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAT_UPLINKS_MAX);
	__type(key, __u32);
	__type(value, struct nat_uplink);
} nat_uplinks SEC(".maps");

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

/* May another port stand for the sender's? Of a fragment nobody knows how far SCTP's checksum reaches; others have no ports. */
static __always_inline bool nat_has_choice(const struct packet *pkt)
{
	if (proto_is_icmp(pkt->proto))
		return pkt->sport != 0; /* echo */
	if (pkt->proto == IPPROTO_SCTP)
		return pkt->fragment == FRAGMENT_NONE;
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
	key->turn = 0;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
}

static __always_inline void nat_key_local(struct nat_key *key, const struct ip_addr *addr, __be16 port)
{
	key->local = *addr;
	key->local_port = port;
}

static __always_inline bool nat_is_reserved(__u32 port)
{
	__u32 index = port / 64;
	__u64 *word = bpf_map_lookup_elem(&nat_reserved, &index);

	return !word || *word >> (port % 64) & 1;
}

/* Can a port of TCP or UDP have been claimed? Neither a reserved one can, as NodePorts are, nor one of neither range. (There may be claims from
 * before either was set.) */
static __always_inline bool nat_may_claim(__u32 port)
{
	if ((port < config.nat_port_min || port > config.nat_port_max) && (port < config.inbound_port_min || port > config.inbound_port_max))
		return false;
	return !nat_is_reserved(port);
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

/* Where the owner's claims are counted, and where everybody's. */
struct nat_shares_of {
	__u64 *held, *all;
};

static __always_inline enum drop_reason nat_check_share(__u32 owner, struct nat_shares_of *ret)
{
	__u64 *held = ret->held = nat_share(owner), *all = ret->all = nat_share(NAT_OWNER_ALL);

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

/* The connection of a claim as its inside end sees it. */
static __always_inline void nat_key_inside(const struct nat_key *key, const struct nat_claim *claim, struct nat_key *ret)
{
	*ret = *key;
	nat_key_local(ret, &claim->addr, claim->port);
	if (claim->uplink) {
		ret->remote = claim->front;
		ret->remote_port = claim->front_port;
	}
}

/* Both entries of the claim @key. */
static __always_inline void nat_end_claim(struct nat_key *key, const struct nat_claim *claim)
{
	__u32 owner = claim->state.owner;
	struct nat_key inside;

	nat_key_inside(key, claim, &inside);
	bpf_map_delete_elem(&nat_forward, &inside);
	nat_release(key, owner);
}

static __always_inline __u32 nat_timeout(__u8 proto, const struct flow_state *s)
{
	if (proto == IPPROTO_TCP && s->stage == FLOW_HALF_OPEN)
		return FLOW_TICKS(NAT_TIMEOUT_UNANSWERED);
	return flow_timeout(proto, s);
}

/* The claim's turn: it ends, or has another one. Which of its two sides was seen last counts. */
static __always_inline void nat_look(struct nat_key *key, struct nat_claim *claim)
{
	__u32 seen = claim->state.seen, now = tick_now();
	struct nat_forward *forward;
	struct nat_key inside;

	nat_key_inside(key, claim, &inside);
	forward = bpf_map_lookup_elem(&nat_forward, &inside);
	if (forward && (__s32)(forward->seen - seen) > 0) {
		seen = forward->seen;
		if (claim->state.stage == FLOW_RESET && forward->open) /* the inside end did not believe the reset: it speaks on */
			claim->state.stage = FLOW_OPEN;
	}
	if (!forward || (__s32)(now - seen) >= (__s32)nat_timeout(key->proto, &claim->state) || !nat_share(claim->state.owner))
		nat_end_claim(key, claim);
	else
		turn_take(nat_turns, key, claim);
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

/* Makes the inside end's key into its claim's. */
static __always_inline void nat_key_outside(struct nat_key *key, const struct nat_forward *forward)
{
	nat_key_local(key, &forward->addr, forward->port);
	if (forward->backend) {
		key->remote = forward->to;
		key->remote_port = forward->to_port;
	}
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
	nat_key_outside(&key, forward);
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (!claim)
		return;
	nat_track(&claim->state, pkt->tcp_flags, true);
	/* Answers are not seen: a second packet means that there was one. */
	if (forward->direct && claim->state.stage == FLOW_HALF_OPEN && !(pkt->tcp_flags & TCP_SYN))
		claim->state.stage = FLOW_OPEN;
	forward->open = claim->state.stage == FLOW_OPEN;
}

static __always_inline void nat_touch_in(const struct packet *pkt, struct nat_claim *claim)
{
	__u32 now = tick_now();

	if (claim->state.seen != now)
		claim->state.seen = now;
	if (unlikely(claim->state.origin & FLOW_ASKED)) {
		claim->state.origin &= ~FLOW_ASKED;
		nat_answered(claim->state.owner);
	}
	if (unlikely(claim->state.stage != FLOW_OPEN || (pkt->tcp_flags & (TCP_FIN | TCP_RST))))
		nat_track(&claim->state, pkt->tcp_flags, false);
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

enum nat_taking { NAT_BUSY, NAT_TAKEN, NAT_OURS_ALREADY, NAT_NO_ROOM };

struct nat_try {
	struct __sk_buff *skb;
	struct nat_key key;
	struct nat_claim fresh;
	__u32 port_min, port_max, modulus;
	__u32 at, step; /* the sequence of ports that are tried */
	bool choice;	/* may it be another port than the inside end's own? */
	bool of_node;	/* may a socket of the node have the port? */
	bool own;	/* is it the inside end's own that is tried? */
	enum nat_taking result;
};

/* Identifiers of echo requests are all free to use; ports have a range, and holes in it. */
static __always_inline bool nat_port_allowed(const struct nat_try *t, __u32 port)
{
	if (proto_is_icmp(t->key.proto))
		return true;
	return port >= t->port_min && port <= t->port_max && !nat_is_reserved(port);
}

static __always_inline bool nat_is_same(const struct nat_claim *a, const struct nat_claim *b)
{
	return a->port == b->port && addr_eq(&a->addr, &b->addr) && a->front_port == b->front_port && addr_eq(&a->front, &b->front);
}

static __always_inline enum nat_taking nat_take(struct nat_try *t, __be16 port)
{
	struct nat_claim *there;
	long r;

	t->key.local_port = port;
	there = bpf_map_lookup_elem(&nat_claims, &t->key);
	if (there)
		return nat_is_same(there, &t->fresh) ? NAT_OURS_ALREADY : NAT_BUSY;
	if (t->of_node && !(t->own && t->fresh.state.owner == NAT_OWNER_FOREIGN) && nat_node_has(t->skb, &t->key))
		return NAT_BUSY; /* (netfilter takes a port before a socket at it gets anything: a published one, at which a proxy listens as well) */
	r = bpf_map_update_elem(&nat_claims, &t->key, &t->fresh, BPF_NOEXIST);
	if (r == -17 /* EEXIST: another CPU was faster */)
		return NAT_BUSY;
	return r ? NAT_NO_ROOM : NAT_TAKEN;
}

/* Another port to try: any of the range. Where all can be tried it is the next of a sequence that visits each once, by steps modulo a
 * prime; over a large range such a sequence may stay for long within a block of neighbours that are all taken (the ports that the
 * kernels of pods like best). Return: 0 when it is none that may be used. */
static __always_inline __u32 nat_next_port(struct nat_try *t)
{
	__u32 port;

	if (t->modulus > NAT_TRIES)
		t->at = bpf_get_prandom_u32() % t->modulus;
	else if ((t->at += t->step) >= t->modulus)
		t->at -= t->modulus;
	port = t->port_min + t->at;
	return port <= t->port_max && nat_port_allowed(t, port) ? port : 0;
}

/* One try: the inside end's own port, or another. Return: 1 to stop. */
static __noinline long nat_try(__u32 i __attribute__((unused)), struct nat_try *t)
{
	__be16 port = t->own ? t->fresh.port : bpf_htons(nat_next_port(t));

	if (t->own ? !t->choice || nat_port_allowed(t, bpf_ntohs(port)) : port != 0)
		t->result = nat_take(t, port);
	return t->result != NAT_BUSY;
}

/* Finds a port and claims it: the inside end's own if it can be had (endpoints behind NAT that look for each other like it
 * best), else up to NAT_TRIES others in an order that nobody can guess (RFC 6056 3.3.2). */
static __always_inline void nat_allocate(struct nat_try *t, bool other_port)
{
	t->result = NAT_BUSY;
	t->own = true;
	if (likely(!other_port) && (likely(nat_try(0, t)) || !t->choice))
		return;
	t->own = false;
	t->at = bpf_get_prandom_u32() % t->modulus;
	t->step = 1 + bpf_get_prandom_u32() % (t->modulus - 1);
	bpf_loop(NAT_TRIES, nat_try, t, 0);
}

/* What a connection that begins is given. */
struct nat_want {
	struct nat_end as; /* as whom its sender speaks; the port comes from nat_claim() */
	struct nat_end to; /* inbound: the backend */
	__u32 backend;	   /* its id; 0: not inbound, the remote end stays as it is */
	__u32 owner;	   /* endpoint id, or another NAT_OWNER_…: on whose share */
	__u32 uplink;	   /* inbound: by which answers leave */
	__u16 direct;	   /* as in struct nat_forward */
	__u16 other_port;  /* not the sender's own */
};

static __always_inline void nat_key_wanted(const struct packet *pkt, const struct nat_want *w, struct nat_key *key)
{
	nat_key_of(pkt, true, key);
	key->local = w->as.addr;
	if (w->backend) {
		key->remote = w->to.addr;
		key->remote_port = w->to.port;
	}
}

/* Which ports are used. Where this node speaks for a client, none that the kernel gives to the node's own sockets. */
static __always_inline void nat_ports(const struct packet *pkt, const struct nat_want *w, struct nat_try *t)
{
	bool inbound = w->backend && !addr_eq(&w->as.addr, &pkt->src);

	t->port_min = inbound ? config.inbound_port_min : config.nat_port_min;
	t->port_max = inbound ? config.inbound_port_max : config.nat_port_max;
	t->modulus = inbound ? config.inbound_modulus : config.nat_modulus;
}

/* Would others take it for what this node's tunnel sends them? Not in WireGuard, where nobody is believed for an address. */
static __always_inline bool nat_would_forge(const struct packet *pkt, const struct nat_want *w, const struct nat_key *key)
{
	return config.tunnel_port && !config.guard && key->proto == IPPROTO_UDP && key->remote_port == bpf_htons(config.tunnel_port) &&
	       !addr_eq(&w->as.addr, &pkt->src);
}

/**
 * nat_claim() - the first half of a translation: a port of @w->as is claimed for a new connection of the packet's sender
 */
__global enum drop_reason nat_claim(struct __sk_buff *skb, const struct packet *pkt, struct nat_want *w)
{
	struct nat_try t = { .skb = skb };
	struct nat_shares_of shares;
	enum drop_reason why;

	if (!pkt || !w)
		return DROP_NAT_ADDRESS;
	nat_key_wanted(pkt, w, &t.key);
	if (nat_would_forge(pkt, w, &t.key))
		return DROP_NAT_TUNNEL;
	why = nat_check_share(w->owner, &shares);
	if (why != DROP_NONE)
		return why;
	if (!nat_may_ask(w->owner))
		return DROP_NAT_UNANSWERED;
	nat_ports(pkt, w, &t);
	t.fresh.addr = pkt->src;
	t.fresh.port = pkt->sport;
	t.fresh.state.seen = tick_now();
	t.fresh.state.owner = w->owner;
	t.fresh.state.origin = nat_owner_is_pod(w->owner) ? FLOW_ASKED : 0;
	if (w->backend) {
		t.fresh.front = pkt->dst;
		t.fresh.front_port = pkt->dport;
		t.fresh.uplink = w->uplink;
	}
	t.choice = nat_has_choice(pkt);
	t.of_node = !nat_owner_is_pod(w->owner) || !addr_eq(&w->as.addr, &pkt->src); /* a pod's own address is no node's */
	nat_allocate(&t, w->other_port);
	if (t.result == NAT_BUSY)
		return DROP_NAT_EXHAUSTED;
	if (t.result == NAT_NO_ROOM)
		return DROP_NAT_TABLE_FULL;
	if (t.result == NAT_TAKEN) {
		__sync_fetch_and_add(shares.held, 1);
		__sync_fetch_and_add(shares.all, 1);
		if (t.fresh.state.origin & FLOW_ASKED)
			nat_asked(w->owner);
	}
	w->as.port = t.key.local_port;
	return DROP_NONE;
}

/* Another CPU had the connection's packet at the same time, and was faster: its claim counts. */
static __always_inline enum drop_reason nat_yield(struct nat_key *inside, struct nat_key *key, struct nat_want *w)
{
	struct nat_forward *forward = bpf_map_lookup_elem(&nat_forward, inside);

	if (!forward || forward->port != w->as.port || !addr_eq(&forward->addr, &w->as.addr))
		nat_release(key, w->owner);
	if (!forward)
		return DROP_NAT_EXHAUSTED;
	w->as.addr = forward->addr;
	w->as.port = forward->port;
	return DROP_NONE;
}

/**
 * nat_publish() - the second half: the way out, and the claim's first turn
 *
 * Apart from nat_claim() because the verifier adds up the stacks. @w->as: what the packet's sender speaks as from now on.
 */
__global enum drop_reason nat_publish(const struct packet *pkt, struct nat_want *w)
{
	struct nat_forward fresh = { .seen = tick_now() };
	struct nat_key inside, key;
	struct nat_claim *claim;
	long r;

	if (!pkt || !w)
		return DROP_NAT_ADDRESS;
	fresh.addr = w->as.addr;
	fresh.port = w->as.port;
	if (w->backend) {
		fresh.to = w->to.addr;
		fresh.to_port = w->to.port;
		fresh.backend = w->backend;
		fresh.direct = w->direct;
	}
	nat_key_of(pkt, true, &inside);
	nat_key_wanted(pkt, w, &key);
	key.local_port = w->as.port;
	r = bpf_map_update_elem(&nat_forward, &inside, &fresh, BPF_NOEXIST);
	if (r == -17 /* EEXIST */)
		return nat_yield(&inside, &key, w);
	if (r) {
		nat_release(&key, w->owner);
		return DROP_NAT_TABLE_FULL;
	}
	claim = bpf_map_lookup_elem(&nat_claims, &key);
	if (claim)
		turn_take(nat_turns, &key, claim);
	return DROP_NONE;
}

/* Makes room for one more client from outside. Whoever may forge addresses fills the share of all of them with connections that never come about, as
 * endpoints answer each; so of the claims whose turn is next one goes that is none yet. An honest client is through with that in a round trip, long
 * before its turn comes. Return: 1 when there is room. */
__global int nat_make_room(void)
{
	struct nat_claim *claim;
	struct nat_key key;

	for (int i = 0; i < NAT_ROOM_TRIES; i++) {
		__u8 turn;

		if (bpf_map_pop_elem(&nat_turns, &key))
			return 0;
		turn = key.turn;
		key.turn = 0;
		claim = bpf_map_lookup_elem(&nat_claims, &key);
		if (!claim || claim->turn != turn) /* left from a claim that ended sooner */
			continue;
		if (claim->state.owner == NAT_OWNER_INBOUND && claim->state.stage < FLOW_OPEN) {
			nat_end_claim(&key, claim);
			return 1;
		}
		turn_take(nat_turns, &key, claim);
	}
	return 0;
}

static __always_inline enum drop_reason nat_connect(struct __sk_buff *skb, const struct packet *pkt, struct nat_want *w)
{
	enum drop_reason why = nat_claim(skb, pkt, w);

	return why == DROP_NONE ? nat_publish(pkt, w) : why;
}
