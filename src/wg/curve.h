/* SPDX-License-Identifier: Apache-2.0 */
/* X25519 for several pairs at once: one a lane of the processor's vectors. Scalars are clamped already. No branch and
 * no address depends on a secret. */
#pragma once

#include "wg/crypto.h"

enum { CURVE_LANES = 8 };

struct curve_lanes {
	const char *name;
	bool (*available)(void);
	void (*multiply)(const uint8_t scalars[static CURVE_LANES][KEY_LEN],
			 const uint8_t points[static CURVE_LANES][KEY_LEN], uint8_t ret[static CURVE_LANES][KEY_LEN]);
	unsigned worth; /* from so many on a call is cheaper than OpenSSL's one by one */
};

/* All there are, best first; NULL ends them. */
extern const struct curve_lanes *const all_curve_lanes[];
extern const struct curve_lanes curve_lanes_avx512;

/* For tests and measurements: NULL for none. Return: those used before. */
const struct curve_lanes *dh_use_lanes(const struct curve_lanes *l);
/* Takes the best that are right. Return: 0, -EBADMSG when some are not. */
int dh_setup(void);
