/* SPDX-License-Identifier: Apache-2.0 */
/* What the blocks of some objects come to, counted without making the table: prefixes, memberships, and entries of rules. */
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

/* Who names blocks in a direction: an object. Its policies have an entry there for each set that holds any of them. */
struct user {
	struct object *object;
	size_t first, n; /* in tally.policies */
};

/* The same in both families at once: blocks of the one stand open while the other's are walked. */
struct held {
	unsigned v4, v6;
};

struct tally {
	struct policy *p;
	struct marks all;
	size_t n_peers;
	bool *on, *present; /* by peer.place: asked for; held by the prefix that the walk is at */
	struct user *users;
	size_t n_users, cap_users;
	uint32_t *policies; /* users' */
	size_t n_policies; /* each direction for itself */
	uint32_t *users_of, *first_user; /* by peer.place: users_of[first_user[place]] up to the next one's */
	struct held *by_user, *by_policy; /* how many of its blocks, or users, are present */
	bool *out; /* by policy: without entries */
};

struct sums {
	size_t prefixes, memberships, entries;
};

/* All blocks are on. */
void tally_begin(struct tally *t, struct policy *p);
void tally_done(struct tally *t);
/* Finds by whom, and for which policies, blocks are named: before entries are counted. */
void tally_users(struct tally *t);
/* Of the blocks of @m, which are sorted, that are on. @whole: entries, too. */
struct sums tally_count(struct tally *t, const struct marks *m, bool whole);

/* Adds the blocks that an object has in the table, those that are the same more than once. */
void marks_add(struct marks *to, const struct object *o);
void marks_sort(struct marks *m);
bool object_names_blocks(const struct object *o);
