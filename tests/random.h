/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for floods: quick, the same in every run (xorshift, Marsaglia 2003), no secret in sight. */
#pragma once

#include <stdint.h>

static inline uint32_t cheap_random(void)
{
	static uint32_t state = 0x9e3779b9;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}
