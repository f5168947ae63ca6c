/* SPDX-License-Identifier: Apache-2.0 */
/* Do the packets of one direction come one by one? Then a worker takes one at a turn and handles it at once: the system
 * calls that would find no second packet stand in the way of an answer. Where more wait, they are taken together, since
 * each system call is shared.
 *
 * What tells: how many a turn found when it looked for all; and while turns take just one, that the next turn finds
 * another at once, without having waited for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* PACE_ALONE turns with one packet each, and the next takes just one. PACE_WAITED_NS: a call of epoll_wait() that has something to
 * report takes a fifth of that; one that sleeps, more. */
enum { PACE_ALONE = 4, PACE_WAITED_NS = 2000 };

struct pace {
	uint64_t turn; /* the last that handled this direction */
	unsigned alone; /* turns with one packet, in a row */
};

/**
 * pace_begin() - a turn handles this direction
 * @turn:   its number
 * @waited: the worker slept before it
 *
 * Return: take just one packet.
 */
static inline bool pace_begin(struct pace *p, uint64_t turn, bool waited)
{
	if (!waited && p->turn + 1 == turn)
		p->alone = 0;
	p->turn = turn;
	return p->alone >= PACE_ALONE;
}

/* So many packets were there for the turn. */
static inline void pace_end(struct pace *p, unsigned packets)
{
	if (packets > 1)
		p->alone = 0;
	else if (packets && p->alone < PACE_ALONE)
		p->alone++;
}
