/* SPDX-License-Identifier: Apache-2.0 */
/* Labels and selectors, interned: equal keys, pairs, sets and selectors are one object each, so that matching compares
 * pointers and pods with the same labels share one set. Reference counted; the pool must outlive them. */
#pragma once

#include "base/htab.h"
#include "policy/selector.h"

/* Who looks at a key or pair: selectors of pods, selectors of namespaces, rules that name a port. */
enum label_use { USE_POD, USE_NAMESPACE, USE_PORT, USE_COUNT };

struct label_key;

struct label_pair {
	struct htab_node node;
	unsigned refs;
	unsigned used[USE_COUNT]; /* by terms that name the value */
	uint64_t touched; /* the pool's generation when a use last began or ended */
	struct label_key *key;
	const char *value; /* NULL: stands for all values of the key that nothing names */
};

struct label_key {
	struct htab_node node;
	unsigned refs;
	unsigned used[USE_COUNT]; /* by terms that ask whether the key is there, whatever its value, and by port names */
	uint64_t touched;
	struct label_pair other;
	char name[];
};

struct label_set {
	struct htab_node node;
	unsigned refs;
	unsigned n;
	uint64_t touched; /* as label_pool_mark_sets() found it */
	struct label_pair *pairs[]; /* sorted by address */
};

struct label_pool {
	struct htab keys, pairs, sets, selectors;
	uint64_t generation; /* of label_pool_clean() */
	bool dirty;	     /* a use began or ended in this generation */
};

struct label_in {
	const char *key, *value;
};

void label_pool_done(struct label_pool *p);
struct label_key *label_key_get(struct label_pool *p, const char *name); /* a reference */
void label_key_put(struct label_pool *p, struct label_key *k);
struct label_set *label_set_get(struct label_pool *p, const struct label_in *labels, size_t n);
struct label_set *label_set_put(struct label_pool *p, struct label_set *s); /* returns NULL */
/* Does the set hold a key or pair that was touched in this generation? */
bool label_set_dirty(const struct label_pool *p, const struct label_set *s);
/* The same for all sets at once: their `touched` is then the pool's generation. */
void label_pool_mark_sets(struct label_pool *p);
/* The next generation: nothing is touched. */
void label_pool_clean(struct label_pool *p);

/**
 * label_project() - what the uses of kind @use can tell apart: used pairs, and `other` of used keys
 * @ret: room for @s->n
 *
 * Labels that nothing selects leave no trace. Return: how many.
 */
unsigned label_project(const struct label_set *s, enum label_use use, struct label_pair **ret);

struct sel_term {
	struct label_key *key;
	enum selector_op op;
	unsigned n;
	struct label_pair **values;
};

/* An interned selector. */
struct sel {
	struct htab_node node;
	unsigned refs;
	unsigned n;
	struct sel_term *terms;
	char *text;
};

struct sel *sel_get(struct label_pool *p, const struct selector *s);
struct sel *sel_put(struct label_pool *p, struct sel *s); /* returns NULL */
/* @pairs: a set's pairs, or their projection while the selector is in use. */
bool sel_matches(const struct sel *s, struct label_pair *const *pairs, unsigned n);
void sel_use(struct label_pool *p, struct sel *s, enum label_use use, int by); /* by: 1 or -1 */
void label_key_use(struct label_pool *p, struct label_key *k, enum label_use use, int by);
