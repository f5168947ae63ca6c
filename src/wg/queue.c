/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/queue.h"

#include <pthread.h>
#include <sys/mman.h>

struct handshake_queue {
	pthread_mutex_t lock;
	size_t head, len;
	struct handshake_message entries[HANDSHAKE_QUEUE_MAX];
};

struct handshake_queue *handshake_queue_new(void)
{
	/* Pages that no flood ever reaches are never touched. */
	struct handshake_queue *q = mmap(NULL, sizeof(*q), PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (q == MAP_FAILED)
		return NULL;
	pthread_mutex_init(&q->lock, NULL);
	return q;
}

struct handshake_queue *handshake_queue_free(struct handshake_queue *q)
{
	if (q) {
		pthread_mutex_destroy(&q->lock);
		munmap(q, sizeof(*q));
	}
	return NULL;
}

int handshake_queue_push(struct handshake_queue *q, const void *msg, size_t len, const struct endpoint *from)
{
	int r = -ENOBUFS;

	assert(len <= sizeof(q->entries[0].msg));
	pthread_mutex_lock(&q->lock);
	if (q->len < HANDSHAKE_QUEUE_MAX) {
		struct handshake_message *h = &q->entries[(q->head + q->len) % HANDSHAKE_QUEUE_MAX];

		h->from = *from;
		h->len = len;
		memcpy(h->msg, msg, len);
		r = q->len++ == 0;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

unsigned handshake_queue_pop(struct handshake_queue *q, struct handshake_message *ret, unsigned max, size_t *ret_left)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	for (n = 0; n < max && q->len; n++) {
		ret[n] = q->entries[q->head];
		/* Starting over at the front keeps the touched pages few. */
		q->head = --q->len ? (q->head + 1) % HANDSHAKE_QUEUE_MAX : 0;
	}
	*ret_left = q->len;
	pthread_mutex_unlock(&q->lock);
	return n;
}

size_t handshake_queue_depth(struct handshake_queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->len;
	pthread_mutex_unlock(&q->lock);
	return n;
}
