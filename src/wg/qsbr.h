/* SPDX-License-Identifier: Apache-2.0 */
/* Deferred freeing for data that workers read without locks (quiescent-state-based reclamation). A worker is a reader
 * from qsbr_online() to qsbr_offline(), which it brackets one batch with; what the single writer retires is freed when
 * every reader has been offline or started a batch since. */
#pragma once

#include "base/macro.h"

#include <stdatomic.h>

enum { QSBR_READERS_MAX = 64 };

struct qsbr_retired {
	void (*fn)(void *ctx, void *p);
	void *ctx, *p;
	uint64_t epoch;
};

struct qsbr {
	_Atomic uint64_t epoch; /* never 0 */
	struct {
		_Alignas(64) _Atomic uint64_t seen; /* 0: offline */
	} readers[QSBR_READERS_MAX];
	struct qsbr_retired *retired; /* a queue in order of epoch */
	size_t n_retired, cap;
};

void qsbr_init(struct qsbr *q);
/* Frees everything at once: no reader may be left. */
void qsbr_done(struct qsbr *q);

static inline void qsbr_online(struct qsbr *q, unsigned reader)
{
	atomic_store_explicit(&q->readers[reader].seen, atomic_load(&q->epoch), memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst); /* before any read of shared data; a store alone orders no later load */
}
static inline void qsbr_offline(struct qsbr *q, unsigned reader)
{
	atomic_store_explicit(&q->readers[reader].seen, 0, memory_order_release);
}

/* @p is unreachable for new readers; @fn is called with it once no old one is left. Writer only. */
void qsbr_retire(struct qsbr *q, void *p, void (*fn)(void *ctx, void *p), void *ctx);
/* Frees what can be freed. Return: whether something is still waiting. */
bool qsbr_poll(struct qsbr *q);
