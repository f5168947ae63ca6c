/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of words. Moving forward clears whole words, never bits: hence the window is one word shorter than the ring. */
#include "wg/replay.h"

bool replay_accept(struct replay *r, uint64_t counter, uint64_t limit)
{
	uint64_t word = counter / 64, bit = 1ull << (counter % 64);

	if (counter >= limit)
		return false;
	if (counter >= r->next) {
		uint64_t top = r->next ? (r->next - 1) / 64 : 0;
		uint64_t steps = MIN(word - top, (uint64_t)REPLAY_WORDS);

		for (uint64_t i = 1; i <= steps; i++)
			r->bits[(top + i) % REPLAY_WORDS] = 0;
		r->next = counter + 1;
	} else if (r->next - counter > REPLAY_WINDOW) {
		return false;
	}
	if (r->bits[word % REPLAY_WORDS] & bit)
		return false;
	r->bits[word % REPLAY_WORDS] |= bit;
	return true;
}
