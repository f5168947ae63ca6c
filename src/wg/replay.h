/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding window over message counters (after RFC 6479): each counter is accepted once, and not when it is older than
 * the window. Wide, since segmentation bursts over several cores reorder far. */
#pragma once

#include "base/macro.h"

enum { REPLAY_WINDOW = 8192, REPLAY_BITS = REPLAY_WINDOW + 64, REPLAY_WORDS = REPLAY_BITS / 64 };

struct replay {
	uint64_t next; /* one past the highest accepted counter */
	uint64_t bits[REPLAY_WORDS];
};

/**
 * replay_accept() - mark a counter as seen; call after the message has been authenticated
 * @limit: counters at or above are refused (REJECT_AFTER_MESSAGES)
 *
 * Return: whether it is new.
 */
bool replay_accept(struct replay *r, uint64_t counter, uint64_t limit);
