/* SPDX-License-Identifier: Apache-2.0 */
/* S3: Maglev shares evenly, and few connections move when a backend goes. */
#include "service/slots.h"
#include "base/test.h"

static uint32_t slots[SLOTS_MAX], before[SLOTS_MAX];
static uint64_t state;

static uint64_t next(void)
{
	state += 0x9e3779b97f4a7c15ull; /* splitmix64 */
	uint64_t z = state;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void fill_candidates(struct slot_candidate *c, size_t n, uint32_t weight)
{
	for (size_t i = 0; i < n; i++)
		c[i] = (struct slot_candidate){next(), weight};
}

static void random_slots_follow_weights(void)
{
	static const int want[] = {0, 0, 1, 2, 2, 2};
	struct slot_candidate c[] = {{1, 4}, {2, 2}, {3, 6}};
	size_t n = slots_random(c, 3, slots);

	CHECK_INT(n, 6); /* 2, 1, 3 */
	for (uint32_t i = 0; i < 6; i++)
		CHECK_INT(slots[i], want[i]);
	CHECK_INT(slots_random(c, 0, slots), 0);
}

static void S3_maglev_shares_evenly(void)
{
	struct slot_candidate c[600];

	for (size_t n = 1; n <= 600; n = n * 3 / 2 + 1) {
		size_t counts[600] = {0}, size, most = 0;

		fill_candidates(c, n, 1);
		size = slots_maglev(c, n, slots);
		for (size_t i = 0; i < size; i++)
			counts[slots[i]]++;
		for (size_t i = 0; i < n; i++)
			most = MAX(most, counts[i]);
		printf("# %zu candidates, %zu slots: the most has %.2f %% above its share\n", n, size, 100.0 * most * n / size - 100);
		CHECK(most <= size * 1.01 / n + 1);
	}
}

static void S3_few_move_when_one_goes(void)
{
	struct slot_candidate c[50];
	size_t n = 50, size, moved = 0;

	fill_candidates(c, n, 1);
	size = slots_maglev(c, n, before);
	c[7] = c[--n]; /* its place in the array changes, what it is does not */
	CHECK_INT(slots_maglev(c, n, slots), size);
	for (size_t i = 0; i < size; i++) {
		uint32_t was = before[i] == 49 ? 7 : before[i];

		moved += before[i] != 7 && was != slots[i];
	}
	printf("# %zu of %zu slots moved that need not have: %.2f / N\n", moved, size, 50.0 * moved / size);
	CHECK(moved <= 2 * size / 50);
}

static void order_does_not_matter(void)
{
	struct slot_candidate c[9], turned[9];
	size_t size;

	fill_candidates(c, 9, 1);
	for (size_t i = 0; i < 9; i++)
		turned[i] = c[8 - i];
	size = slots_maglev(c, 9, before);
	CHECK_INT(slots_maglev(turned, 9, slots), size);
	for (size_t i = 0; i < size; i++)
		CHECK_INT(slots[i], 8 - before[i]);
}

int main(void)
{
	RUN(random_slots_follow_weights);
	RUN(S3_maglev_shares_evenly);
	RUN(S3_few_move_when_one_goes);
	RUN(order_does_not_matter);
	return test_end();
}
