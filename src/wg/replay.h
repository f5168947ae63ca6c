/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding window over message counters (after RFC 6479): each counter is accepted once, and not when it is older than
 * the window. Wide, since segmentation bursts over several cores reorder far; but a session that has carried a few messages only, as most of
 * many have, needs no more than a bit for each of them. */
#pragma once

#include "base/macro.h"

enum { REPLAY_WINDOW = 8192, REPLAY_BITS = REPLAY_WINDOW + 64, REPLAY_WORDS = REPLAY_BITS / 64, REPLAY_FEW_WORDS = 4 };

struct replay {
	uint64_t next; /* one past the highest accepted counter */
	uint64_t few[REPLAY_FEW_WORDS]; /* until there is a ring */
	uint64_t *ring; /* REPLAY_WORDS; NULL: no counter has been beyond @few */
};

/* As all zero it is empty. */
void replay_done(struct replay *r);

/**
 * replay_accept() - mark a counter as seen; call after the message has been authenticated
 * @limit: counters at or above are refused (REJECT_AFTER_MESSAGES)
 *
 * Return: whether it is new.
 */
bool replay_accept(struct replay *r, uint64_t counter, uint64_t limit);

/* The whole of it, for another process. */
struct replay_record {
	uint64_t next;
	uint64_t bits[REPLAY_WORDS];
};
void replay_save(const struct replay *r, struct replay_record *ret);
/* Into an empty one. */
void replay_load(struct replay *r, const struct replay_record *from);
