/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The per-CPU array `counters`: packets and bytes by drop reason, then by the way they were forwarded; then flows that would be denied. */
#pragma once

#include "weft/addr.h"
#include "weft/drop.h"

/* clang-format off */
/* X(NAME, metric label, text). New ones go to the end. */
#define FORWARD_WAYS(X) \
	X(LOCAL,  "local",  "to a pod of this node, past the stack") \
	X(TUNNEL, "tunnel", "encapsulated, to another node") \
	X(DIRECT, "direct", "as it is, to another node") \
	X(STACK,  "stack",  "handed to the node's stack") \
	X(TO_POD, "to_pod", "from the node's stack to a pod") \
	X(MESH,   "mesh",   "to the WireGuard interface, for another node") \
	X(CLIENT, "client", "from a Service's endpoint to a client outside, past the stack") \
	X(NEIGHBOUR, "neighbour", "an answer to who asked for the MAC address of a Service's address that this node announces") \
	X(ECHO, "echo", "an answer to a pod that pings a Service's address")
/* clang-format on */

enum forward_way {
#define FORWARD_ENUM(name, label, text) FORWARD_##name,
	FORWARD_WAYS(FORWARD_ENUM)
#undef FORWARD_ENUM
	FORWARD_WAY_COUNT,
};

/* The places of the array are fixed, so that a longer list of reasons finds its counters again. */
#define COUNTER_DROPS 0 /* + enum drop_reason */
#define COUNTER_FORWARDS 128 /* + enum forward_way */
#define COUNTER_XDP 151 /* forwarded before there was an skb; each is in one of the ways, too */
#define COUNTER_AUDITS 152 /* + enum drop_reason - DROP_POLICY_EGRESS: flows that were let pass and would be denied */
#define COUNTER_FRAGMENTS_PUSHED_OUT 159 /* what a first fragment had left and no later one had asked for, by another of the same owner */
#define COUNTER_MAX 160

struct counter {
	__u64 packets, bytes;
};

ABI_SIZE(struct counter, 16);
_Static_assert((int)DROP_REASON_COUNT <= COUNTER_FORWARDS, "drop reasons have run into the other counters");
_Static_assert(COUNTER_FORWARDS + (int)FORWARD_WAY_COUNT <= COUNTER_XDP, "more ways than counters");
_Static_assert(COUNTER_AUDITS + (int)DROP_POLICY_REASONS <= COUNTER_FRAGMENTS_PUSHED_OUT, "more reasons than counters");
