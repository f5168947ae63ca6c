/* SPDX-License-Identifier: Apache-2.0 */
/* Which node of a local network answers for an address: decided by each node for itself, without anybody in the middle. Pure: time,
 * probes and what is heard come in, what is to be done comes out.
 *
 * - Every candidate of an address has a rank, the same in everybody's eyes: a hash of address and node (rendezvous hashing). The best
 *   one that lives should have it; when it dies, the next one takes the address at once, and no other address moves.
 * - Who lives is known by probes that the node's kernel answers: an agent that ends moves nothing.
 * - An address is never given up because somebody else should have it, but when that one says that it has it (a claim): so there is
 *   always somebody. Of two that hold one address the worse one gives way.
 * - An address of which nobody has been heard is asked for first; whoever answers has it. So a node whose agent sleeps keeps what it
 *   has, and does not get what it has not.
 * - Who was dead must live for a while, longer each time, before it counts again; and who had to give way waits likewise. */
#pragma once

#include "net/addr.h"

enum {
	ELECTION_PROBE_MS = 150, /* between two probes of a peer, and two steps */
	ELECTION_MISSES = 4,	 /* that many probes without an answer: dead */
	ELECTION_SETTLE_MS = 10000, /* how long a peer that came back, or this node after its start, waits before it takes what another has */
	ELECTION_NODES_MAX = 4096,
};

enum election_act {
	ELECTION_TAKE,	/* answer for the address, and claim it */
	ELECTION_CLAIM, /* say again that it is ours */
	ELECTION_RELEASE, /* answer no more */
	ELECTION_ASK,	/* who has it? */
};
typedef void election_fn(enum election_act act, const struct addr *a, void *ctx);

/* An address and the names of nodes that may have it, this one perhaps among them, in any order. Borrowed for the call. */
struct election_want {
	struct addr addr;
	const char *const *nodes;
	size_t n_nodes;
};

struct election;
/* @fn is called from the calls below that take @now_ms. */
struct election *election_new(const char *me, uint64_t now_ms, election_fn *fn, void *ctx);
struct election *election_free(struct election *e);
DEFINE_CLEANUP(struct election *, election_free)

/* Makes the addresses exactly these; what is no one's any more is released. */
void election_set(struct election *e, const struct election_want *wants, size_t n, uint64_t now_ms);
/* This node answers for it already: an earlier agent has taken it. Before the election_set() that names it. */
void election_adopt(struct election *e, const struct addr *a);
/* The result of a probe of a node. */
void election_probed(struct election *e, const char *node, bool answered, uint64_t now_ms);
/* @node has the address, to everybody (@claim) or as an answer to who asked. @node NULL: somebody who is no node. */
void election_heard(struct election *e, const struct addr *a, const char *node, bool claim, uint64_t now_ms);
/* To be called every ELECTION_PROBE_MS. */
void election_step(struct election *e, uint64_t now_ms);

/* Nodes to probe: those that could have an address that this node could have, too. The list is the election's until the next set. */
const char *const *election_peers(const struct election *e, size_t *ret_n);
bool election_peer_lives(const struct election *e, const char *node);
enum election_state { ELECTION_NONE, ELECTION_UNKNOWN, ELECTION_OURS, ELECTION_OTHERS, ELECTION_FOREIGN };
/* Who has the address; @ret_node: its name where that is known, borrowed, else NULL. */
enum election_state election_owner(const struct election *e, const struct addr *a, const char **ret_node);
struct election_stats {
	size_t addresses, held, foreign, peers, dead;
	uint64_t taken, released, conflicts; /* conflicts: claims by others of what this node holds */
};
struct election_stats election_stats(const struct election *e);

/* Rank of a node for an address: the higher the better. The same on every node. */
uint64_t election_rank(const struct addr *a, const char *node);
