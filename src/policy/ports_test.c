/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "policy/ports.h"

static unsigned check_range(uint16_t lo, uint16_t hi)
{
	struct port_prefix p[PORT_PREFIXES_MAX];
	unsigned n = ports_to_prefixes(lo, hi, p);
	uint32_t next = lo;

	for (unsigned i = 0; i < n; i++) {
		uint32_t size = 1u << (16 - p[i].len);

		CHECK_INT(p[i].port, next); /* no gap, no overlap */
		CHECK_INT(p[i].port % size, 0);
		next += size;
		/* two that could be one would not be the fewest */
		CHECK(i == 0 || p[i].len != p[i - 1].len || p[i - 1].port % (2 * size) != 0);
	}
	CHECK_INT(next, (uint32_t)hi + 1);
	return n;
}

static void ranges_are_covered_exactly(void)
{
	unsigned seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		uint16_t a = rand_r(&seed), b = rand_r(&seed);

		check_range(a < b ? a : b, a < b ? b : a);
	}
}

static void ends_of_the_range(void)
{
	CHECK_INT(check_range(0, 65535), 1);
	CHECK_INT(check_range(65535, 65535), 1);
	CHECK_INT(check_range(0, 0), 1);
	CHECK_INT(check_range(80, 80), 1);
	CHECK_INT(check_range(1, 65534), PORT_PREFIXES_MAX);
	CHECK_INT(check_range(1, 65535), 16);
	CHECK_INT(check_range(32768, 65535), 1);
}

int main(void)
{
	RUN(ranges_are_covered_exactly);
	RUN(ends_of_the_range);
	return test_end();
}
