/* SPDX-License-Identifier: Apache-2.0 */
/* X25519 side by side against one at a time: pairs of a scalar and a point, 32 bytes each, as many as there are lanes. A pair that is
 * cut short ends with zeros. */
#include "fuzz.h"
#include "wg/curve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t pairs[CURVE_LANES][2][KEY_LEN] = { 0 }, pub[KEY_LEN], want[KEY_LEN];
	struct dh_job jobs[CURVE_LANES];
	unsigned n = MIN((size + sizeof(pairs[0]) - 1) / sizeof(pairs[0]), (size_t)CURVE_LANES);

	REQUIRE(crypto_init() == 0);
	memcpy(pairs, data, MIN(size, sizeof(pairs)));
	for (unsigned i = 0; i < n; i++)
		jobs[i] = (struct dh_job){ .key = dh_key_new(pairs[i][0], pub), .pub = pairs[i][1] };
	dh_many(jobs, n);
	for (unsigned i = 0; i < n; i++) {
		(void)dh(jobs[i].key, pairs[i][1], want); /* zero is a result, too */
		REQUIRE(memcmp(jobs[i].result, want, KEY_LEN) == 0);
		dh_key_free(jobs[i].key);
	}
	return 0;
}
