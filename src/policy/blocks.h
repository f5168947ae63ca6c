/* SPDX-License-Identifier: Apache-2.0 */
/* CIDR blocks with exceptions, as a table of prefixes whose longest match names all blocks that hold an address. */
#pragma once

#include "base/htab.h"
#include "net/addr.h"

struct peer;

/* Blocks that hold the same addresses' longest prefix; interned, so equal sets are one. */
struct block_set {
	struct htab_node node;
	uint64_t build; /* the last build that used it */
	unsigned n;
	struct peer *peers[]; /* by id */
};

struct block_prefix {
	struct prefix prefix;
	struct block_set *set;
	bool in_range; /* of the cluster's pods */
};

struct blocks {
	struct htab sets;
	struct block_prefix *prefixes; /* sorted by address, then length */
	size_t n_prefixes, cap_prefixes;
	struct block_start *starts; /* the same as disjoint ranges, for blocks_find() */
	size_t n_starts, cap_starts;
	uint64_t build;
	size_t memberships;
	bool overflow; /* too many memberships: every set is empty */
};

/**
 * blocks_build() - make the table anew
 * @peers: of type PEER_BLOCK
 * @max_memberships: bound on the sum of the sizes of all sets
 *
 * Sets that stay the same keep their addresses. O(n log n) for n prefixes and exceptions, plus the memberships.
 */
void blocks_build(struct blocks *b, struct peer *const *peers, size_t n, const struct prefix *ranges, size_t n_ranges,
		  size_t max_memberships);
/* Forgets the sets that the last build did not use. */
void blocks_sweep(struct blocks *b);
void blocks_done(struct blocks *b);

/* The longest prefix that holds the address; there always is one. O(log n). */
const struct block_prefix *blocks_find(const struct blocks *b, const struct addr *a);
