/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow table: one entry a connection, the same for both directions.
 *
 * `flows_new` (LRU hash) holds flows that are half-open, one-way, answered once (a DNS query), or closing: whoever floods it
 * evicts such entries only. A flow becomes a conversation when the initiator has spoken again after the reply, which for TCP
 * is the third packet of the handshake. The next sweep (lib/flow_sweep.h) moves it to `flows` (hash), which is never evicted;
 * entries expire in the kernel (lib/turns.h), and each is paid for by one endpoint's share. A connection that has ended before stays,
 * one that ends later goes back to `flows_new`: so short connections do not fill the table.
 *
 * A pod whose share is used up begins no more. How many others begin with it is their choice, and refusing the next caller would punish another one
 * than who took the places: what a pod receives is never refused for want of room. It takes no more than three quarters of a share,
 * and of the table, as the pod has to begin flows as well; beyond that conversations stay in `flows_new`. */
#pragma once

#include "weft/addr.h"

#include <linux/bpf.h>

/* End 0 is the one whose address (then port), as bytes in memory, is the smaller; so both directions have one key. */
struct flow_key {
	struct ip_addr addr[2];
	__be16 port[2]; /* ICMP echo: the identifier, twice; 0 where the protocol has none */
	__u8 proto;	/* IPPROTO_*; behind IPv6 extension headers */
	__u8 turn;	/* in the queue `flows_turns`, else 0 */
	__u8 pad[2];
};

enum flow_stage {
	FLOW_HALF_OPEN, /* no reply yet */
	FLOW_REPLIED,	/* the other end has answered */
	FLOW_OPEN,	/* the initiator has spoken after that: in `flows`, or on its way there */
	FLOW_CLOSING,	/* TCP: FIN from both ends */
	FLOW_RESET,	/* TCP: RST from either */
};

struct flow_state {
	__u32 seen;	/* tick (FLOW_TICK_SHIFT) of the latest packet */
	__u32 owner;	/* id of the endpoint on whose share the flow is */
	__u8 stage;	/* enum flow_stage */
	__u8 initiator; /* end that sent the first packet */
	__u8 fin;	/* bit 0, 1: that end has sent FIN */
	__u8 stack;	/* bit 0, 1: that end's packets, to and from, go through the stack of its node (lib/flow.h);
			 * bit 2, 3: they are translated, as a client's from outside to a Service (lib/inbound.h) */
	__u32 judged;	/* revision (weft/policy.h) under which policy let it pass, at each end that is here; 0: it did not, or was not asked */
	__u8 origin;	/* enum flow_origin bits */
	__u8 received;	/* the endpoint whose share it is on did not begin it */
	__u8 audited;	/* bit 0, 1: what that end began would be denied by what only observes, and that was told */
	__u8 pad;
};

enum flow_origin { /* 0x80 is lib/policy.h's */
	FLOW_DENIED = 1,    /* by policy: what is left is a tombstone, so that the other end's packets begin no flow of their own */
	FLOW_UNSURE = 2,    /* nobody saw who began it: allowed only as if either had */
	FLOW_FROM_NODE = 4, /* begun by this node itself, not forwarded: its own pods take it */
	FLOW_ASKED = 8,     /* counted as unanswered until it is answered (lib/flow_asks.h) */
	FLOW_TO_ITSELF = 32, /* a pod's to itself through a Service, in which it speaks as this node: the initiator's end is the pod, too */
	FLOW_PASSED = 64,   /* by policy, at least once: the receiver may have something to answer */
};

#define FLOW_STACK_TRANSLATED 4

struct flow {
	struct flow_state state;
	__u8 turn; /* the latest in `flows_turns`; 0: none */
	__u8 pad[3];
};

/* `flows_turns`, `nat_turns` (queues of keys): the entries of `flows` and of `nat_claims` in the order in which the sweep looks at them. A
 * turn is a tick, the lowest bit set. Room for more than the table holds: keys of entries that have ended lie there for a round. */
#define TURN_SECONDS 4
#define TURN_TICKS FLOW_TICKS(TURN_SECONDS)
#define TURNS_MAX(table) ((table) + (table) / 4 + 1024)

/* `flows_ripe` (queue of struct flow_key): conversations that the next sweep moves. */
#define FLOWS_RIPE_MAX 8192

/* `flow_sweep` (array of one) */
struct flow_sweep {
	struct bpf_timer timer;
	__u32 missed; /* an entry got no turn as a queue was full */
	__u32 searched; /* tick when such entries were last looked for */
	__u64 searches; /* how often they were */
};

#define FLOW_SWEEP_NS 1000000000ull
#define FLOW_SWEEP_BATCH 512 /* looked at in one go, of each queue */

/* `flows_created` (per-CPU array of one __u32): entries made in `flows_new` since this CPU asked for a sweep. */

/* `flow_asks` (LRU hash): endpoint id (__u32) → flows that it has begun and nobody answered. */
struct flow_asks {
	__u32 tick; /* when some were last forgiven */
	__s32 unanswered;
};

#define FLOW_ASKS_MAX 4096

/* `flows_recent` (array): marks of conversations that lie in `flows` and were found there a moment ago (lib/flow_recent.h). One element is
 * a cache line. The first has no marks, but what every packet needs to know. */
#define FLOW_RECENT_WAYS 8
struct flow_recent {
	union {
		__u64 mark[FLOW_RECENT_WAYS]; /* 0: none. The lowest two bits are those of flow_state.stack */
		struct {
			__u64 clock; /* the lower half is the tick when jiffies were the upper half; 0: nobody has asked */
			__u32 used; /* lines behind the first; 0: all there are */
		};
	};
};

#define FLOW_RECENT_STACK 3
#define FLOW_RECENT_HIT 4

/* The keys of the marks: a term for each 32-bit word that is summed, and one that stands alone; two rows for the mark, one for its place. */
enum { FLOW_RECENT_TERMS = 13, FLOW_RECENT_ROWS = 3 };

/* A tick is 2^27 ns (134 ms) of CLOCK_MONOTONIC. */
#define FLOW_TICK_SHIFT 27
#define FLOW_TICKS(seconds) ((__u32)((seconds)*1000000000ull >> FLOW_TICK_SHIFT))

/* Seconds without a packet after which an entry is gone. */
#define FLOW_TIMEOUT_TCP_OPEN 8000 /* RFC 5382 REQ-5: not less than 2 h 4 min */
#define FLOW_TIMEOUT_TCP_FIN 240   /* one end has closed */
#define FLOW_TIMEOUT_TCP_NEW 60
#define FLOW_TIMEOUT_TCP_CLOSING 10
#define FLOW_TIMEOUT_TCP_RESET 5
#define FLOW_TIMEOUT_OPEN 180 /* UDP (RFC 4787 REQ-5: not less than 2 min), SCTP and the rest */
#define FLOW_TIMEOUT_NEW 30
#define FLOW_TIMEOUT_ICMP 30

/* What a first fragment said about the later ones. */
struct fragment {
	struct ip_addr src, dst;
	__u32 id; /* as in the header; IPv4: 16 bits */
	__u32 seen; /* tick; 0: an empty place */
	__be16 sport, dport;
	__u8 proto; /* of its transport header */
	__u8 asked; /* a later one came */
	__u8 icmp_type;
	__u8 header; /* how far its headers reach, in units of 8 bytes */
};

/* `fragment_sets`, `fragment_sets_outside` (LRU hashes): each owner has FRAGMENT_SETS sets, a set FRAGMENT_WAYS places, in which the newest takes
 * that of the oldest. So nobody has more than that many datagrams in them (lib/fragment.h). Behind those a pod has FRAGMENT_SENDER_SETS for each of the
 * FRAGMENT_SENDERS parts of all that send to it from elsewhere. */
struct fragment_set_key {
	__u32 owner; /* of `fragment_sets`: an endpoint's id; of the other: a sum of the sender's address or /64 */
	__u32 set;
};

#define FRAGMENT_SETS 16
#define FRAGMENT_SENDERS 16
#define FRAGMENT_SENDER_SETS 4
#define FRAGMENT_WAYS 8
#define FRAGMENT_SETS_MAX (64 * (FRAGMENT_SETS + FRAGMENT_SENDERS * FRAGMENT_SENDER_SETS)) /* owners that all have their sets full */
#define FRAGMENT_SETS_OUTSIDE_MAX (64 * FRAGMENT_SETS)
#define FRAGMENT_TIMEOUT 30

struct fragment_set {
	struct fragment place[FRAGMENT_WAYS];
	__u32 next; /* how many were written */
	__u32 pad;
};

ABI_SIZE(struct flow_key, 40);
ABI_SIZE(struct flow_state, 20);
ABI_SIZE(struct flow, 24);
ABI_SIZE(struct flow_sweep, 32);
ABI_SIZE(struct flow_asks, 8);
ABI_SIZE(struct flow_recent, 64);
ABI_SIZE(struct fragment, 48);
ABI_SIZE(struct fragment_set_key, 8);
ABI_SIZE(struct fragment_set, 392);
