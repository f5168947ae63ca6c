/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/session.h"

#include "wg/secret.h"

#include <sched.h>

struct session *session_new(int64_t now)
{
	static uint64_t last_id;
	struct session *s = secret_alloc(sizeof(*s));

	s->id = ++last_id;
	s->born_ns = now;
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	replay_done(&s->window);
	secret_free(s, sizeof(*s));
}

bool session_accept_counter(struct session *s, uint64_t counter, uint64_t limit)
{
	bool fresh;

	while (atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire))
		sched_yield();
	fresh = replay_accept(&s->window, counter, limit);
	atomic_flag_clear_explicit(&s->busy, memory_order_release);
	return fresh;
}
