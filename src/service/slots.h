/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: from weighted endpoints to the table that packets draw from. Pure. */
#pragma once

#include "base/macro.h"

/* One candidate. Its position in the caller's array is what slots name. */
struct slot_candidate {
	uint64_t hash;	 /* of what the candidate is (address, port): the same on every node */
	uint32_t weight; /* at least 1 */
};

enum { SLOTS_MAX = 65536 };

/**
 * slots_random() - each candidate as often as its weight, weights cut down by their common divisor
 * @ret: SLOTS_MAX places; indexes of candidates
 *
 * Return: how many slots; at most SLOTS_MAX (with more candidates than that, the first ones).
 */
size_t slots_random(const struct slot_candidate *c, size_t n, uint32_t *ret);

/**
 * slots_maglev() - a Maglev table (Eisenbud et al., NSDI 2016, 3.4): a prime number of slots, at least a hundred a candidate
 *
 * Candidates share the slots by weight, within 1 %; when one comes or goes, few others move. Depends on the hashes only, not on
 * the order. Return: how many slots, 0 without candidates.
 */
size_t slots_maglev(const struct slot_candidate *c, size_t n, uint32_t *ret);
