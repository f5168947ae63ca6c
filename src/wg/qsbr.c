/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/qsbr.h"

void qsbr_init(struct qsbr *q)
{
	memset(q, 0, sizeof(*q));
	atomic_store(&q->epoch, 1);
}

static void release(struct qsbr *q, size_t n)
{
	for (size_t i = 0; i < n; i++)
		q->retired[i].fn(q->retired[i].ctx, q->retired[i].p);
	q->n_retired -= n;
	if (q->n_retired) /* the array may be none at all */
		memmove(q->retired, q->retired + n, q->n_retired * sizeof(*q->retired));
}

void qsbr_done(struct qsbr *q)
{
	release(q, q->n_retired);
	free(q->retired);
	q->retired = NULL;
	q->cap = 0;
}

void qsbr_retire(struct qsbr *q, void *p, void (*fn)(void *ctx, void *p), void *ctx)
{
	/* A reader that saw @p had published an epoch of at most this one. */
	uint64_t epoch = atomic_fetch_add(&q->epoch, 1);

	GROW(q->retired, q->n_retired, q->cap);
	q->retired[q->n_retired++] = (struct qsbr_retired){ .fn = fn, .ctx = ctx, .p = p, .epoch = epoch };
}

bool qsbr_poll(struct qsbr *q)
{
	uint64_t oldest = UINT64_MAX;
	size_t n = 0;

	if (!q->n_retired)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < QSBR_READERS_MAX; i++) {
		uint64_t seen = atomic_load(&q->readers[i].seen);

		if (seen && seen < oldest)
			oldest = seen;
	}
	while (n < q->n_retired && q->retired[n].epoch < oldest)
		n++;
	if (n)
		release(q, n);
	return q->n_retired > 0;
}
