/* SPDX-License-Identifier: Apache-2.0 */
#include "base/htab.h"

#include <sys/random.h>

enum { FIRST_SIZE = 16 };

static struct htab_node **bucket(const struct htab *t, uint64_t hash)
{
	/* FNV's low bits are good enough for a power of two; fold the high ones in all the same. */
	return &t->buckets[(hash ^ hash >> 32) & (t->size - 1)];
}

static void grow(struct htab *t)
{
	struct htab bigger = { .size = t->size ? t->size * 2 : FIRST_SIZE, .count = t->count };

	bigger.buckets = xnew0_array(struct htab_node *, bigger.size);
	for (size_t i = 0; i < t->size; i++) {
		struct htab_node *n = t->buckets[i], *next;

		for (; n; n = next) {
			struct htab_node **b = bucket(&bigger, n->hash);

			next = n->next;
			n->next = *b;
			*b = n;
		}
	}
	free(t->buckets);
	*t = bigger;
}

void htab_done(struct htab *t)
{
	free(t->buckets);
	*t = (struct htab){ 0 };
}

void htab_insert(struct htab *t, uint64_t hash, struct htab_node *node)
{
	struct htab_node **b;

	if (t->count >= t->size)
		grow(t);
	b = bucket(t, hash);
	t->lowest = MIN(t->lowest, (size_t)(b - t->buckets));
	node->hash = hash;
	node->next = *b;
	*b = node;
	t->count++;
}

void htab_remove(struct htab *t, struct htab_node *node)
{
	struct htab_node **b = bucket(t, node->hash);

	while (*b != node) {
		assert(*b);
		b = &(*b)->next;
	}
	*b = node->next;
	node->next = NULL;
	t->count--;
}

struct htab_node *htab_first(const struct htab *t, uint64_t hash)
{
	return t->size ? *bucket(t, hash) : NULL;
}

static struct htab_node *first_from(const struct htab *t, size_t i)
{
	for (; i < t->size; i++)
		if (t->buckets[i])
			return t->buckets[i];
	return NULL;
}

struct htab_node *htab_begin(const struct htab *t)
{
	return first_from(t, 0);
}

struct htab_node *htab_next(const struct htab *t, const struct htab_node *node)
{
	if (node->next)
		return node->next;
	return first_from(t, bucket(t, node->hash) - t->buckets + 1);
}

struct htab_node *htab_any(struct htab *t)
{
	struct htab_node *first = first_from(t, t->lowest);

	t->lowest = first ? (size_t)(bucket(t, first->hash) - t->buckets) : t->size;
	return first;
}

static uint64_t hash_seed(void)
{
	static uint64_t seed;

	while (!seed)
		if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
			seed = 0;
	return seed;
}

uint64_t hash_mem(const void *data, size_t n)
{
	return hash_bytes(data, n, hash_seed());
}

uint64_t hash_str(const char *s)
{
	return hash_mem(s, strlen(s));
}
