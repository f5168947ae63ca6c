/* SPDX-License-Identifier: Apache-2.0 */
/* The ring is the one queue for all readers: each has a place in it and is handed events from there while its socket takes them.
 * So memory does not depend on readers, and a slow one loses what the ring has overwritten, which it is told, and nothing
 * else happens. A reader that takes nothing at all for a minute is hung up on by the socket's server. */
#include "observe/stream.h"
#include "base/list.h"
#include "observe/filter.h"

enum {
	UNREAD_MAX = 256 << 10, /* bytes of a reader before it waits; an event is well below 8 KiB */
	CODE_TRY_AGAIN = 11,
	CODE_REFUSED = 7,
};

struct stream {
	struct observe_event *ring; /* event with number n lies at n % keep */
	size_t keep;
	uint64_t newest; /* its number; 0: none yet */
	const char *node;
	struct list readers;
	struct stream_stats stats;
};

struct reader {
	struct list link;
	struct stream *stream;
	struct ipc_request *req;
	struct observe_filter filter;
	uint64_t next; /* number of the event to look at */
	uint64_t end;  /* the last one that it wants; it follows: UINT64_MAX */
	uint64_t lost; /* not told yet */
};

struct stream *stream_new(size_t keep, const char *node)
{
	struct stream *s = xnew0(struct stream);

	*s = (struct stream){ .ring = xnew0_array(struct observe_event, keep), .keep = keep, .node = node };
	list_init(&s->readers);
	return s;
}

/* The request is answered or its client gone. */
static void reader_free(struct reader *r)
{
	list_remove(&r->link);
	r->stream->stats.readers--;
	observe_filter_done(&r->filter);
	free(r);
}

static void reader_end(struct reader *r)
{
	struct ipc_request *req = r->req;

	ipc_on_gone(req, NULL, NULL);
	reader_free(r);
	ipc_end(req);
}

struct stream *stream_free(struct stream *s)
{
	struct reader *r, *next;

	if (!s)
		return NULL;
	list_for_each_safe(r, next, &s->readers, link)
		reader_end(r);
	for (size_t i = 0; i < s->keep; i++)
		observe_event_done(&s->ring[i]);
	free(s->ring);
	free(s);
	return NULL;
}

static uint64_t oldest(const struct stream *s)
{
	return s->newest > s->keep ? s->newest - s->keep + 1 : 1;
}

static const struct observe_event *at(const struct stream *s, uint64_t number)
{
	return &s->ring[number % s->keep];
}

/* What the ring has overwritten before this reader came to it. */
static void skip_lost(struct reader *r)
{
	uint64_t from = oldest(r->stream);

	if (r->next >= from)
		return;
	r->lost += from - r->next;
	r->stream->stats.lost += from - r->next;
	r->next = from;
}

static int send_lost(struct reader *r)
{
	json_int_t lost = r->lost;

	r->lost = 0;
	return ipc_send(r->req, json_pack("{sI}", "lost", lost));
}

/* Hands out what there is, while the socket takes it. */
static void pump(struct reader *r)
{
	struct stream *s = r->stream;
	int err = 0;

	skip_lost(r);
	while (err == 0 && r->next <= MIN(s->newest, r->end) && ipc_unread(r->req) < UNREAD_MAX) {
		const struct observe_event *e = at(s, r->next++);

		if (r->lost)
			err = send_lost(r);
		if (err == 0 && observe_filter_matches(&r->filter, e))
			err = ipc_send(r->req, observe_event_json(e, s->node));
	}
	if (err < 0 || r->next > r->end)
		reader_end(r);
}

static void on_writable(_unused_ struct ipc_request *req, void *ctx)
{
	pump(ctx);
}

static void on_gone(struct ipc_request *req, void *ctx)
{
	struct reader *r = ctx;

	reader_free(r);
	ipc_end(req);
}

void stream_put(struct stream *s, struct observe_event *e)
{
	struct observe_event *slot = &s->ring[++s->newest % s->keep];
	struct reader *r, *next;

	e->seq = s->newest;
	s->stats.events[e->kind]++;
	observe_event_done(slot);
	*slot = *e;
	*e = (struct observe_event){ 0 };
	list_for_each_safe(r, next, &s->readers, link)
		pump(r);
}

/* The number from which on at most `last` of the kept events match. */
static uint64_t first_wanted(const struct stream *s, const struct observe_filter *f)
{
	uint64_t n = s->newest, left = f->last;

	while (left && n >= oldest(s) && n) {
		left -= observe_filter_matches(f, at(s, n));
		n--;
	}
	return n + 1;
}

void stream_read(struct stream *s, struct ipc_request *req, const json_t *params)
{
	_cleanup_free_ char *error = NULL;
	struct observe_filter filter;
	struct reader *r;

	if (observe_filter_parse(params, &filter, &error) < 0) {
		ipc_reply_error(req, CODE_REFUSED, error, NULL);
		return;
	}
	if (s->stats.readers >= STREAM_READERS_MAX) {
		observe_filter_done(&filter);
		ipc_reply_error(req, CODE_TRY_AGAIN, "too many read events already", NULL);
		return;
	}
	r = xnew0(struct reader);
	*r = (struct reader){ .stream = s, .req = req, .filter = filter, .next = first_wanted(s, &filter),
			      .end = filter.follow ? UINT64_MAX : s->newest };
	list_push_back(&s->readers, &r->link);
	s->stats.readers++;
	ipc_on_gone(req, on_gone, r);
	ipc_on_writable(req, on_writable, r);
	pump(r);
}

void stream_each(const struct stream *s, stream_fn *fn, void *ctx)
{
	for (uint64_t n = s->newest; n && n >= oldest(s); n--)
		if (!fn(at(s, n), ctx))
			return;
}

struct stream_stats stream_stats(const struct stream *s)
{
	return s->stats;
}
