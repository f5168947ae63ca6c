/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of whitepaper section 6, with the details of the Linux implementation: a passive keepalive follows
 * KEEPALIVE_TIMEOUT after data that we did not answer, a new handshake KEEPALIVE_TIMEOUT + REKEY_TIMEOUT after data
 * that was not answered to us, an initiation is repeated each REKEY_TIMEOUT + jitter for REKEY_ATTEMPT_TIME. */
#include "wg/timers.h"

#include "base/str.h"

const struct limits default_limits = {
	.rekey_after_messages = 1ull << 60,
	.reject_after_messages = UINT64_MAX - (1ull << 13), /* 2^64 - 2^13 - 1 */
	.rekey_after_time = 120 * NS_PER_S,
	.reject_after_time = 180 * NS_PER_S,
	.rekey_attempt_time = 90 * NS_PER_S,
	.rekey_timeout = 5 * NS_PER_S,
	.rekey_jitter = 333 * NS_PER_MS,
	.keepalive_timeout = 10 * NS_PER_S,
};

static int64_t get(const _Atomic int64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void set(_Atomic int64_t *p, int64_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

int limits_parse(const char *text, struct limits *ret)
{
	_cleanup_free_ char *copy = xstrdup(text);
	struct limits l = default_limits;
	const struct {
		const char *name;
		int64_t *value;
	} names[] = {
		{ "rekey_after_time", &l.rekey_after_time },   { "reject_after_time", &l.reject_after_time },
		{ "rekey_attempt_time", &l.rekey_attempt_time }, { "rekey_timeout", &l.rekey_timeout },
		{ "keepalive_timeout", &l.keepalive_timeout },
	};
	char *save = NULL;

	for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(item, '=');
		uint64_t seconds;
		size_t i;

		if (!eq)
			return -EINVAL;
		*eq = '\0';
		for (i = 0; i < ARRAY_SIZE(names) && !streq(names[i].name, item); i++)
			;
		if (i == ARRAY_SIZE(names) || parse_u64(eq + 1, 86400, &seconds) < 0 || seconds == 0)
			return -EINVAL;
		*names[i].value = seconds * NS_PER_S;
	}
	*ret = l;
	return 0;
}

static int64_t new_handshake_at(const struct timers *t, const struct limits *l)
{
	int64_t since = get(&t->unanswered_since);

	return since ? since + l->keepalive_timeout + l->rekey_timeout + t->jitter : NEVER;
}

static int64_t keepalive_at(const struct timers *t, const struct limits *l)
{
	int64_t since = get(&t->owed_since);

	return since ? since + l->keepalive_timeout : NEVER;
}

static int64_t persistent_at(const struct timers *t)
{
	int64_t last = get(&t->last_traversal);

	return t->persistent_ns && last ? last + t->persistent_ns : NEVER;
}

int64_t timers_data_sent(struct timers *t, const struct limits *l, int64_t now)
{
	if (get(&t->unanswered_since))
		return NEVER;
	set(&t->unanswered_since, now);
	return new_handshake_at(t, l);
}

int64_t timers_data_received(struct timers *t, const struct limits *l, int64_t now)
{
	if (get(&t->owed_since)) {
		if (!atomic_load_explicit(&t->owed_again, memory_order_relaxed))
			atomic_store_explicit(&t->owed_again, true, memory_order_relaxed);
		return NEVER;
	}
	set(&t->owed_since, now);
	return keepalive_at(t, l);
}

int64_t timers_traversal(struct timers *t, int64_t now)
{
	int64_t before;

	if (!t->persistent_ns)
		return NEVER;
	before = get(&t->last_traversal);
	set(&t->last_traversal, now);
	return before ? NEVER : persistent_at(t);
}

void timers_initiation_sent(struct timers *t, const struct limits *l, int64_t now, int64_t jitter)
{
	t->jitter = jitter;
	t->retransmit_at = now + l->rekey_timeout + jitter;
}

void timers_handshake_done(struct timers *t)
{
	t->retransmit_at = 0;
	t->attempts = 0;
	t->asked_in_last_minute = false;
}

void timers_session_derived(struct timers *t, const struct limits *l, int64_t now)
{
	t->zero_at = now + 3 * l->reject_after_time;
}

void timers_stop(struct timers *t)
{
	set(&t->unanswered_since, 0);
	set(&t->owed_since, 0);
	atomic_store(&t->owed_again, false);
	set(&t->last_traversal, 0);
	t->retransmit_at = t->zero_at = 0;
	t->attempts = 0;
	t->asked_in_last_minute = false;
}

int64_t timers_next(const struct timers *t, const struct limits *l)
{
	int64_t next = MIN(new_handshake_at(t, l), keepalive_at(t, l));

	next = MIN(next, persistent_at(t));
	if (t->retransmit_at)
		next = MIN(next, t->retransmit_at);
	if (t->zero_at)
		next = MIN(next, t->zero_at);
	return next;
}

static unsigned run_retransmit(struct timers *t, const struct limits *l)
{
	t->retransmit_at = 0;
	if (t->attempts + 1 > l->rekey_attempt_time / l->rekey_timeout) {
		t->attempts = 0;
		set(&t->owed_since, 0);
		if (!t->zero_at)
			return TIMER_GIVE_UP | TIMER_ZERO_KEYS;
		return TIMER_GIVE_UP;
	}
	t->attempts++;
	return TIMER_RETRANSMIT;
}

unsigned timers_run(struct timers *t, const struct limits *l, int64_t now)
{
	unsigned due = 0;

	if (t->retransmit_at && now >= t->retransmit_at)
		due |= run_retransmit(t, l);
	if (now >= new_handshake_at(t, l)) {
		set(&t->unanswered_since, 0);
		due |= TIMER_NEW_HANDSHAKE;
	}
	if (now >= keepalive_at(t, l)) {
		bool again = atomic_exchange(&t->owed_again, false);

		set(&t->owed_since, again ? now : 0);
		due |= TIMER_KEEPALIVE;
	}
	if (now >= persistent_at(t)) {
		set(&t->last_traversal, now);
		due |= TIMER_PERSISTENT;
	}
	if (t->zero_at && now >= t->zero_at) {
		t->zero_at = 0;
		due |= TIMER_ZERO_KEYS;
	}
	return due;
}
