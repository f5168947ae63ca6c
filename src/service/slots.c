/* SPDX-License-Identifier: Apache-2.0 */
#include "service/slots.h"

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

size_t slots_random(const struct slot_candidate *c, size_t n, uint32_t *ret)
{
	uint32_t divisor = 0;
	size_t used = 0;

	for (size_t i = 0; i < n; i++)
		divisor = gcd(c[i].weight, divisor);
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < c[i].weight / divisor && used < SLOTS_MAX; k++)
			ret[used++] = i;
	return used;
}

/* Primes, so that every step visits every slot; a hundred slots a candidate keep the shares within 1 %. */
static size_t table_size(size_t n)
{
	static const size_t sizes[] = {251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i] >= 100 * n)
			return sizes[i];
	return sizes[ARRAY_SIZE(sizes) - 1];
}

struct turn {
	size_t at, step; /* the next slot that the candidate would like, and how it goes on */
	uint64_t credit; /* weight that has not been used */
};

static void claim(struct turn *t, size_t size, uint32_t who, uint32_t *ret)
{
	while (ret[t->at] != UINT32_MAX)
		t->at = (t->at + t->step) % size;
	ret[t->at] = who;
}

/* Candidates take turns in an order that does not depend on their places in the array. */
static const struct slot_candidate *sorting;

static int compare(const void *a, const void *b)
{
	const struct slot_candidate *x = &sorting[*(const uint32_t *)a], *y = &sorting[*(const uint32_t *)b];

	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

size_t slots_maglev(const struct slot_candidate *c, size_t n, uint32_t *ret)
{
	size_t size = table_size(n), filled = 0;
	struct turn *turns = xnew0_array(struct turn, n + 1);
	uint32_t *order = xnew0_array(uint32_t, n + 1), heaviest = 1;

	if (n == 0)
		size = 0;
	for (size_t i = 0; i < n; i++) {
		turns[i] = (struct turn){.at = c[i].hash % size, .step = (c[i].hash >> 32) % (size - 1) + 1};
		heaviest = MAX(heaviest, c[i].weight);
		order[i] = i;
	}
	sorting = c;
	qsort(order, n, sizeof(*order), compare);
	memset(ret, 0xff, size * sizeof(*ret));
	for (size_t i = 0; filled < size; i = (i + 1) % n) {
		struct turn *t = &turns[order[i]];

		t->credit += c[order[i]].weight;
		if (t->credit < heaviest)
			continue;
		t->credit -= heaviest;
		claim(t, size, order[i], ret);
		filled++;
	}
	free(turns);
	free(order);
	return size;
}
