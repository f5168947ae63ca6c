/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of words. Moving forward clears whole words, never bits: hence the window is one word shorter than the ring. The first words stand in the
 * window itself: before a counter is beyond them nothing moves, and they are the ring's beginning. */
#include "wg/replay.h"

#include "wg/secret.h"

enum { RING_SIZE = REPLAY_WORDS * sizeof(uint64_t) };

void replay_done(struct replay *r)
{
	secret_free(r->ring, RING_SIZE);
	*r = (struct replay){ 0 };
}

/* From the pool of secrets, as a worker takes it and the owner gives it back: malloc() would make an arena for each of them. */
static void grow(struct replay *r)
{
	r->ring = secret_alloc(RING_SIZE);
	memcpy(r->ring, r->few, sizeof(r->few));
}

bool replay_accept(struct replay *r, uint64_t counter, uint64_t limit)
{
	uint64_t word = counter / 64, bit = 1ull << (counter % 64), *bits;

	if (counter >= limit)
		return false;
	if (!r->ring && word >= REPLAY_FEW_WORDS)
		grow(r);
	bits = r->ring ? r->ring : r->few;
	if (counter >= r->next) {
		uint64_t top = r->next ? (r->next - 1) / 64 : 0;
		uint64_t steps = MIN(word - top, (uint64_t)REPLAY_WORDS);

		for (uint64_t i = 1; i <= steps; i++)
			bits[(top + i) % REPLAY_WORDS] = 0;
		r->next = counter + 1;
	} else if (r->next - counter > REPLAY_WINDOW) {
		return false;
	}
	if (bits[word % REPLAY_WORDS] & bit)
		return false;
	bits[word % REPLAY_WORDS] |= bit;
	return true;
}

void replay_save(const struct replay *r, struct replay_record *ret)
{
	*ret = (struct replay_record){ .next = r->next };
	if (r->ring)
		memcpy(ret->bits, r->ring, RING_SIZE);
	else
		memcpy(ret->bits, r->few, sizeof(r->few));
}

void replay_load(struct replay *r, const struct replay_record *from)
{
	*r = (struct replay){ .next = from->next };
	memcpy(r->few, from->bits, sizeof(r->few));
	if (from->next <= 64 * REPLAY_FEW_WORDS)
		return;
	grow(r);
	memcpy(r->ring, from->bits, RING_SIZE);
}
