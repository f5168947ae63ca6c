/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/labels.h"

void label_pool_done(struct label_pool *p)
{
	assert(p->keys.count == 0 && p->pairs.count == 0 && p->sets.count == 0 && p->selectors.count == 0);
	htab_done(&p->keys);
	htab_done(&p->pairs);
	htab_done(&p->sets);
	htab_done(&p->selectors);
}

struct label_key *label_key_get(struct label_pool *p, const char *name)
{
	uint64_t h = hash_str(name);
	struct label_key *k = NULL;

	HTAB_FIND(&p->keys, h, k, node, streq(k->name, name));
	if (!k) {
		k = xcalloc(1, sizeof(*k) + strlen(name) + 1);
		strcpy(k->name, name);
		k->other.key = k;
		htab_insert(&p->keys, h, &k->node);
	}
	k->refs++;
	return k;
}

void label_key_put(struct label_pool *p, struct label_key *k)
{
	if (--k->refs)
		return;
	htab_remove(&p->keys, &k->node);
	free(k);
}

static struct label_pair *pair_get(struct label_pool *p, const char *key, const char *value)
{
	struct label_key *k = label_key_get(p, key);
	uint64_t h = hash_str(value) ^ k->node.hash * 31;
	struct label_pair *pair = NULL;

	HTAB_FIND(&p->pairs, h, pair, node, pair->key == k && streq(pair->value, value));
	if (!pair) {
		pair = xcalloc(1, sizeof(*pair) + strlen(value) + 1);
		pair->value = strcpy((char *)(pair + 1), value);
		pair->key = k; /* the reference goes along */
		htab_insert(&p->pairs, h, &pair->node);
	} else {
		label_key_put(p, k);
	}
	pair->refs++;
	return pair;
}

static void pair_put(struct label_pool *p, struct label_pair *pair)
{
	if (--pair->refs)
		return;
	htab_remove(&p->pairs, &pair->node);
	label_key_put(p, pair->key);
	free(pair);
}

static int cmp_pointer(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return x < y ? -1 : x > y;
}

struct label_set *label_set_get(struct label_pool *p, const struct label_in *labels, size_t n)
{
	struct label_set *s = xcalloc(1, sizeof(*s) + n * sizeof(s->pairs[0])), *found = NULL;
	uint64_t h;

	for (s->n = 0; s->n < n; s->n++)
		s->pairs[s->n] = pair_get(p, labels[s->n].key, labels[s->n].value);
	if (n)
		qsort(s->pairs, n, sizeof(s->pairs[0]), cmp_pointer);
	h = hash_mem(s->pairs, n * sizeof(s->pairs[0]));
	HTAB_FIND(&p->sets, h, found, node, found->n == n && memcmp(found->pairs, s->pairs, n * sizeof(s->pairs[0])) == 0);
	if (found) {
		for (size_t i = 0; i < n; i++)
			pair_put(p, s->pairs[i]);
		free(s);
		s = found;
	} else {
		htab_insert(&p->sets, h, &s->node);
	}
	s->refs++;
	return s;
}

struct label_set *label_set_put(struct label_pool *p, struct label_set *s)
{
	if (!s || --s->refs)
		return NULL;
	htab_remove(&p->sets, &s->node);
	for (unsigned i = 0; i < s->n; i++)
		pair_put(p, s->pairs[i]);
	free(s);
	return NULL;
}

bool label_set_dirty(const struct label_pool *p, const struct label_set *s)
{
	for (unsigned i = 0; p->dirty && i < s->n; i++)
		if (s->pairs[i]->touched == p->generation || s->pairs[i]->key->touched == p->generation)
			return true;
	return false;
}

void label_pool_mark_sets(struct label_pool *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->sets); n; n = htab_next(&p->sets, n)) {
		struct label_set *s = container_of(n, struct label_set, node);

		if (label_set_dirty(p, s))
			s->touched = p->generation;
	}
}

void label_pool_clean(struct label_pool *p)
{
	p->generation++;
	p->dirty = false;
}

unsigned label_project(const struct label_set *s, enum label_use use, struct label_pair **ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		struct label_pair *pair = s->pairs[i];

		if (pair->used[use])
			ret[n++] = pair;
		else if (pair->key->used[use])
			ret[n++] = &pair->key->other;
	}
	if (n > 1)
		qsort(ret, n, sizeof(*ret), cmp_pointer);
	return n;
}

struct sel *sel_get(struct label_pool *p, const struct selector *in)
{
	uint64_t h = hash_str(in->text);
	struct sel *s = NULL;

	HTAB_FIND(&p->selectors, h, s, node, streq(s->text, in->text));
	if (s) {
		s->refs++;
		return s;
	}
	s = xnew(struct sel);
	*s = (struct sel){ .refs = 1, .n = in->n, .text = xstrdup(in->text), .terms = xnew0_array(struct sel_term, in->n) };
	for (unsigned i = 0; i < in->n; i++) {
		const struct selector_term *from = &in->terms[i];
		struct sel_term *t = &s->terms[i];

		*t = (struct sel_term){ .key = label_key_get(p, from->key), .op = from->op, .n = from->n };
		t->values = xnew0_array(struct label_pair *, from->n);
		for (unsigned v = 0; v < from->n; v++)
			t->values[v] = pair_get(p, from->key, from->values[v]);
	}
	htab_insert(&p->selectors, h, &s->node);
	return s;
}

struct sel *sel_put(struct label_pool *p, struct sel *s)
{
	if (!s || --s->refs)
		return NULL;
	htab_remove(&p->selectors, &s->node);
	for (unsigned i = 0; i < s->n; i++) {
		for (unsigned v = 0; v < s->terms[i].n; v++)
			pair_put(p, s->terms[i].values[v]);
		free(s->terms[i].values);
		label_key_put(p, s->terms[i].key);
	}
	free(s->terms);
	free(s->text);
	free(s);
	return NULL;
}

static bool one_of(const struct sel_term *t, const struct label_pair *pair)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->values[i] == pair)
			return true;
	return false;
}

static bool term_matches(const struct sel_term *t, struct label_pair *const *pairs, unsigned n)
{
	const struct label_pair *have = NULL;

	for (unsigned i = 0; i < n && !have; i++)
		if (pairs[i]->key == t->key)
			have = pairs[i];
	switch (t->op) {
	case SELECTOR_IN:
		return have && one_of(t, have);
	case SELECTOR_NOT_IN: /* also what lacks the key: NP-8 */
		return !have || !one_of(t, have);
	case SELECTOR_EXISTS:
		return have;
	case SELECTOR_NOT_EXISTS:
		return !have;
	}
	return false;
}

bool sel_matches(const struct sel *s, struct label_pair *const *pairs, unsigned n)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!term_matches(&s->terms[i], pairs, n))
			return false;
	return true;
}

void label_key_use(struct label_pool *p, struct label_key *k, enum label_use use, int by)
{
	unsigned before = k->used[use];

	k->used[use] += by;
	if (!before == !k->used[use])
		return;
	k->touched = p->generation;
	p->dirty = true;
}

static void pair_use(struct label_pool *p, struct label_pair *pair, enum label_use use, int by)
{
	unsigned before = pair->used[use];

	pair->used[use] += by;
	if (!before == !pair->used[use])
		return;
	pair->touched = p->generation;
	p->dirty = true;
}

void sel_use(struct label_pool *p, struct sel *s, enum label_use use, int by)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct sel_term *t = &s->terms[i];

		/* IN and NOT_IN cannot tell a value that they do not name from no value. */
		if (t->op == SELECTOR_EXISTS || t->op == SELECTOR_NOT_EXISTS)
			label_key_use(p, t->key, use, by);
		for (unsigned v = 0; v < t->n; v++)
			pair_use(p, t->values[v], use, by);
	}
}
