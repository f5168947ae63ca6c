/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/inbound.h"
#include "base/test.h"

static void ports_lie_beside_the_kernels(void)
{
	static const struct {
		uint16_t min, max, local_min, local_max, want_min, want_max;
	} cases[] = {
		{ 1024, 65535, 32768, 60999, 1024, 32767 },  /* the usual case */
		{ 1024, 65535, 10000, 20000, 20001, 65535 }, /* above is more */
		{ 1024, 65535, 1024, 65535, 1024, 65535 },   /* nothing is left: all */
		{ 1024, 65535, 1500, 65000, 1024, 65535 },   /* too little is left */
		{ 40000, 50000, 32768, 60999, 40000, 50000 },
		{ 61000, 65535, 32768, 60999, 61000, 65535 },
		{ 1024, 2023, 32768, 60999, 1024, 2023 },
		{ 65535, 65535, 1, 2, 65535, 65535 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint16_t min, max;

		inbound_ports_beside(cases[i].min, cases[i].max, cases[i].local_min, cases[i].local_max, &min, &max);
		CHECK_INT(min, cases[i].want_min);
		CHECK_INT(max, cases[i].want_max);
	}
}

int main(void)
{
	RUN(ports_lie_beside_the_kernels);
	return test_end();
}
