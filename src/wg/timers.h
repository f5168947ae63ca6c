/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's timers, as stamps that are looked at when the earliest of them may be due. The data path only stores stamps
 * (no timer is armed for a packet); the owner of the peers asks for the next deadline and runs what has expired.
 * Times are nanoseconds of a clock that also counts suspension; 0 means "not pending". */
#pragma once

#include "base/macro.h"

#include <stdatomic.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define NEVER INT64_MAX

/* Whitepaper section 6.1. One table, so that a test can shorten it. */
struct limits {
	uint64_t rekey_after_messages, reject_after_messages;
	int64_t rekey_after_time, reject_after_time, rekey_attempt_time, rekey_timeout, rekey_jitter, keepalive_timeout;
};
extern const struct limits default_limits;

/* Reads "rekey_after_time=5,reject_after_time=8" (seconds) on top of the defaults. Return: 0, -EINVAL. */
int limits_parse(const char *text, struct limits *ret);

struct timers {
	/* stored by the data path, from any thread */
	_Atomic int64_t unanswered_since;  /* first data sent since something authentic came in */
	_Atomic int64_t owed_since;	   /* first data received since something was sent */
	_Atomic bool owed_again;	   /* more data came while a keepalive was owed */
	_Atomic int64_t last_traversal;	   /* anything authentic, either way */
	/* the owner's */
	int64_t retransmit_at;
	int64_t zero_at;
	int64_t jitter;
	unsigned attempts;
	bool asked_in_last_minute;
	int64_t persistent_ns; /* 0: off */
};

enum timer_action {
	TIMER_RETRANSMIT = 1 << 0,     /* send an initiation again */
	TIMER_GIVE_UP = 1 << 1,	       /* no answer for REKEY_ATTEMPT_TIME: drop what waits */
	TIMER_NEW_HANDSHAKE = 1 << 2,  /* we talk and hear nothing */
	TIMER_KEEPALIVE = 1 << 3,      /* we hear and say nothing */
	TIMER_PERSISTENT = 1 << 4,
	TIMER_ZERO_KEYS = 1 << 5,
};

/* Events. Those that can bring a deadline forward return it (NEVER: none was). */
int64_t timers_data_sent(struct timers *t, const struct limits *l, int64_t now);
int64_t timers_data_received(struct timers *t, const struct limits *l, int64_t now);
int64_t timers_traversal(struct timers *t, int64_t now);
static inline void timers_any_sent(struct timers *t)
{
	if (atomic_load_explicit(&t->owed_since, memory_order_relaxed))
		atomic_store_explicit(&t->owed_since, 0, memory_order_relaxed);
}
static inline void timers_any_received(struct timers *t)
{
	if (atomic_load_explicit(&t->unanswered_since, memory_order_relaxed))
		atomic_store_explicit(&t->unanswered_since, 0, memory_order_relaxed);
}
void timers_initiation_sent(struct timers *t, const struct limits *l, int64_t now, int64_t jitter);
void timers_handshake_done(struct timers *t);
void timers_session_derived(struct timers *t, const struct limits *l, int64_t now);
void timers_stop(struct timers *t);

int64_t timers_next(const struct timers *t, const struct limits *l);
/* Return: bits of enum timer_action that are due; their stamps are cleared or moved on. */
unsigned timers_run(struct timers *t, const struct limits *l, int64_t now);
