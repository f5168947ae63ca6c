/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive hash table, chained, growing. The table stores nodes that live in the caller's objects; hashing and
 * comparing are the caller's, so any key works and nothing is copied.
 *
 *	struct pod { struct htab_node by_name; char *name; };
 *	htab_insert(&t, hash_str(name), &pod->by_name);
 *	HTAB_FIND(&t, hash_str(name), pod, by_name, streq(pod->name, name));
 */
#pragma once

#include "base/str.h"

struct htab_node {
	struct htab_node *next;
	uint64_t hash;
};

struct htab {
	struct htab_node **buckets; /* NULL while empty */
	size_t size;		    /* a power of two, or 0 */
	size_t count;
	size_t lowest; /* for htab_any(): no bucket below this one has a node */
};

void htab_done(struct htab *t); /* frees the buckets; the objects are their owner's */
void htab_insert(struct htab *t, uint64_t hash, struct htab_node *node);
void htab_remove(struct htab *t, struct htab_node *node); /* the node must be in the table */
struct htab_node *htab_first(const struct htab *t, uint64_t hash); /* chain of that hash's bucket, or NULL */

/* Sets `pos` to the entry with that hash for which `match` holds, or to NULL. */
#define HTAB_FIND(table, h, pos, member, match)                                                                        \
	do {                                                                                                           \
		uint64_t _h = (h);                                                                                     \
		struct htab_node *_n = htab_first((table), _h);                                                        \
		for (; _n; _n = _n->next) {                                                                            \
			(pos) = container_of(_n, __typeof__(*(pos)), member);                                          \
			if (_n->hash == _h && (match))                                                                 \
				break;                                                                                 \
		}                                                                                                      \
		if (!_n)                                                                                               \
			(pos) = NULL;                                                                                  \
	} while (0)

/* Iteration in bucket order: for (n = htab_begin(t); n; n = htab_next(t, n)). Fetch the next before removing one. */
struct htab_node *htab_begin(const struct htab *t);
struct htab_node *htab_next(const struct htab *t, const struct htab_node *node);

/* One of them, NULL when there is none: while ((n = htab_any(t))) for who takes all out. It does not look through the emptied part of the table again and
 * again, as htab_begin() would. */
struct htab_node *htab_any(struct htab *t);

/* Seeded at program start, so foreign names cannot be chosen to collide. */
uint64_t hash_str(const char *s);
uint64_t hash_mem(const void *data, size_t n);
