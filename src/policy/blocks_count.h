/* SPDX-License-Identifier: Apache-2.0 */
/* What the blocks of some objects come to, counted without making the table: prefixes and memberships. */
#pragma once

#include "policy/store.h"

struct mark {
	struct prefix prefix;
	struct peer *peer;
	bool except;
};

struct marks {
	struct mark *m;
	size_t n, cap;
};

struct tally {
	struct marks all;
	struct peer **peers; /* each once */
	size_t n_peers, cap_peers;
	bool *on, *present; /* by peer.place: asked for; held by the prefix that the walk is at */
};

struct sums {
	size_t prefixes, memberships;
};

/* From { 0 }: objects, then tally_ready(). Then all blocks are on. */
void tally_add(struct tally *t, const struct object *o);
void tally_ready(struct tally *t);
void tally_done(struct tally *t);
/* Of the blocks of @m, which are sorted, that are on. */
struct sums tally_count(struct tally *t, const struct marks *m);

/* Adds the blocks that an object has in the table, or would have, those that are the same more than once. */
void marks_add(struct marks *to, const struct object *o);
void marks_sort(struct marks *m);
bool object_names_blocks(const struct object *o);
