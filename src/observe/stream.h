/* SPDX-License-Identifier: Apache-2.0 */
/* The latest events, kept in a ring, and those who read along: the agent's method `observe`. */
#pragma once

#include "ipc/server.h"
#include "observe/event.h"

struct stream;

enum { STREAM_READERS_MAX = 16 };

/* @keep: events, at least 1. @node: this node's name, borrowed. */
struct stream *stream_new(size_t keep, const char *node);
/* Ends all readers' requests. */
struct stream *stream_free(struct stream *s);
DEFINE_CLEANUP(struct stream *, stream_free)

/* Takes @e, gives it its number, hands it to the readers that want it. */
void stream_put(struct stream *s, struct observe_event *e);

/**
 * stream_read() - the method: answers @req with the events that @params ask for, one a line
 *
 * A reader that falls behind by more than the ring holds is told how many passed by: {"lost": n}. Bad parameters are answered
 * with code 7, too many readers with code 11.
 */
void stream_read(struct stream *s, struct ipc_request *req, const json_t *params);

/* Newest first, until @fn returns false. */
typedef bool stream_fn(const struct observe_event *e, void *ctx);
void stream_each(const struct stream *s, stream_fn *fn, void *ctx);

struct stream_stats {
	uint64_t events[OBSERVE_KINDS]; /* taken so far */
	uint64_t lost;			/* passed by readers that were too slow */
	unsigned readers;
};
struct stream_stats stream_stats(const struct stream *s);
