/* SPDX-License-Identifier: Apache-2.0 */
/* Transport keys of one finished handshake, with their counters and replay window. Made and retired by the device's
 * owner, used by all workers. */
#pragma once

#include "wg/crypto.h"
#include "wg/index.h"
#include "wg/replay.h"
#include "wg/timers.h"

struct session {
	struct index_slot slot; /* our receiver index */
	uint32_t remote_index;
	uint64_t id; /* never used twice in a process: names the keys to a worker's cipher contexts */
	bool initiator;
	int64_t born_ns;
	uint8_t send_key[KEY_LEN], recv_key[KEY_LEN];
	_Atomic uint64_t sent;	/* next counter to send */
	_Atomic int64_t asked_at; /* when a successor was last asked for */
	_Atomic bool confirmed; /* the peer, who began it, has shown that it has the keys */
	bool crosses;		/* the peer's initiation for it came while ours for the session of index @crossed was under way */
	uint32_t crossed;
	_Atomic bool expired;	/* our identity changed: send nothing more */
	atomic_flag busy;	/* guards the window */
	struct replay window;
};

struct session *session_new(int64_t now);
/* After no reader is left; wipes. */
void session_free(struct session *s);

static inline bool session_may_send(const struct session *s, const struct limits *l, int64_t now)
{
	return s && now - s->born_ns < l->reject_after_time &&
	       atomic_load_explicit(&s->sent, memory_order_relaxed) < l->reject_after_messages &&
	       !atomic_load_explicit(&s->expired, memory_order_relaxed);
}
/* Does the one that the peer began take the place of @current without a question? If both ends began one at once, it is the owner that decides. */
static inline bool session_goes_before(const struct session *next, const struct session *current)
{
	if (!atomic_load_explicit(&next->confirmed, memory_order_relaxed))
		return false;
	return !current || (current->id < next->id && !(next->crosses && next->crossed == current->slot.index));
}
static inline bool session_may_receive(const struct session *s, const struct limits *l, int64_t now)
{
	return now - s->born_ns < l->reject_after_time;
}
/* Whether the sender should ask for new keys. */
static inline bool session_is_stale_to_send(const struct session *s, const struct limits *l, int64_t now)
{
	return atomic_load_explicit(&s->sent, memory_order_relaxed) > l->rekey_after_messages ||
	       (s->initiator && now - s->born_ns >= l->rekey_after_time);
}
/* The initiator that only receives asks in the session's last seconds. */
static inline bool session_is_stale_to_receive(const struct session *s, const struct limits *l, int64_t now)
{
	return s->initiator && now - s->born_ns >= l->reject_after_time - l->keepalive_timeout - l->rekey_timeout;
}

/* At most once a second: the data path looks at every batch. */
static inline bool session_may_ask(struct session *s, int64_t now)
{
	if (now - atomic_load_explicit(&s->asked_at, memory_order_relaxed) < NS_PER_S)
		return false;
	atomic_store_explicit(&s->asked_at, now, memory_order_relaxed);
	return true;
}

/* Return: whether the counter is new; any thread. */
bool session_accept_counter(struct session *s, uint64_t counter, uint64_t limit);
