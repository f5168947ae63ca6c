/* SPDX-License-Identifier: Apache-2.0 */
/* Is an engine's traffic calm: one packet at a time, in all of its workers? Then what a packet waits for most is another processor that
 * has to wake up, and packets are handled near: on the processor where they came (steer.c). A turn that finds more than one packet,
 * or one made of many, ends that, since then the work is to be spread.
 *
 * Workers note each turn; the owner decides. Each time that calm did not last, it has to be calm for twice as long before. */
#pragma once

#include "wg/timers.h"

#define CALM_NS (50 * NS_PER_MS)
#define CALM_MAX_NS (5 * NS_PER_S)
#define CALM_LASTED_NS NS_PER_S

struct calm {
	_Atomic bool near, asked;
	_Atomic int64_t crowded_at; /* the last time, to a millisecond */
	_Atomic int64_t wait_ns;
	int64_t near_since; /* the owner's */
};

static inline void calm_reset(struct calm *c, int64_t now)
{
	atomic_store(&c->near, false);
	atomic_store(&c->asked, false);
	atomic_store(&c->crowded_at, now);
	atomic_store(&c->wait_ns, CALM_NS);
}

/* A worker's turn. Return: the owner is to decide (said once). */
static inline bool calm_note(struct calm *c, int64_t now, bool crowded)
{
	int64_t before = atomic_load_explicit(&c->crowded_at, memory_order_relaxed);

	if (crowded && now - before > NS_PER_MS)
		atomic_store_explicit(&c->crowded_at, now, memory_order_relaxed);
	if (atomic_load_explicit(&c->near, memory_order_relaxed) ? !crowded :
	    crowded || now - before < atomic_load_explicit(&c->wait_ns, memory_order_relaxed))
		return false;
	return !atomic_load_explicit(&c->asked, memory_order_relaxed) && !atomic_exchange(&c->asked, true);
}

/* The owner's. Return: whether c->near has changed. */
static inline bool calm_decide(struct calm *c, int64_t now)
{
	int64_t crowded_at = atomic_load(&c->crowded_at), wait = atomic_load(&c->wait_ns);
	bool near = atomic_load(&c->near);

	atomic_store(&c->asked, false);
	if (near ? crowded_at < c->near_since : now - crowded_at < wait)
		return false;
	if (near)
		atomic_store(&c->wait_ns, now - c->near_since >= CALM_LASTED_NS ? CALM_NS : MIN(2 * wait, CALM_MAX_NS));
	else
		c->near_since = now;
	atomic_store(&c->near, !near);
	return true;
}
