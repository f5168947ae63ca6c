/* SPDX-License-Identifier: Apache-2.0 */
/* The pure half of a watch: no clock, no sockets. Backoff, pages of a list, framing of the stream, meaning of an event. */
#pragma once

#include "base/buf.h"
#include "base/json_read.h"

/* Exponential with full upper-half jitter: attempt 0 waits between @min/2 and @min, each further one twice that, up to
 * @max. @rnd: uniformly random. Never below @retry_after_ms. */
uint64_t kube_backoff_ms(unsigned attempt, uint64_t min_ms, uint64_t max_ms, uint64_t retry_after_ms, uint64_t rnd);

enum kube_event_type {
	KUBE_EVENT_ADDED,
	KUBE_EVENT_MODIFIED,
	KUBE_EVENT_DELETED,
	KUBE_EVENT_BOOKMARK,
	KUBE_EVENT_EXPIRED, /* 410: list again */
	KUBE_EVENT_ERROR,   /* another Status object */
};

struct kube_event {
	enum kube_event_type type;
	json_t *object;		      /* caller's reference */
	const char *resource_version; /* inside @object; NULL for ERROR and EXPIRED */
	uint64_t retry_after_ms;      /* ERROR: what the server asks for, or 0 */
};

/* What is read of an event, of a page, when @object (json_fields.h) is read of an object. @object NULL: all of it. Return: the caller's. */
struct json_fields *kube_event_fields(const char *object);
struct json_fields *kube_page_fields(const char *object);

/* A page of a list. Its objects are made as they are asked for. */
struct kube_page {
	struct json_pieces objects;
	const char *resource_version; /* of the list; inside, as is */
	const char *next;	      /* the token for what follows; NULL: the list is whole */
};

/**
 * kube_page_parse() - an answer to a list
 * @text: must stay as long as the page does
 * @fields: of kube_page_fields(); must stay, too
 * @ret: the caller's, to kube_page_done(), which may be called on one that is zero
 * @ret_error: what is wrong with it, owned by the caller
 *
 * Return: 0, -EBADMSG.
 */
int kube_page_parse(const char *text, size_t len, const struct json_fields *fields, struct kube_page *ret, char **ret_error);
json_t *kube_page_next(struct kube_page *p); /* a new reference; NULL after the last. It may be no object. */
void kube_page_done(struct kube_page *p);

/**
 * kube_event_parse() - one line of a watch
 * @fields: of kube_event_fields()
 * @ret_error: what is wrong with it, owned by the caller
 *
 * Return: 0, -EBADMSG.
 */
int kube_event_parse(const char *line, size_t len, const struct json_fields *fields, struct kube_event *ret, char **ret_error);

/* Splits a byte stream into lines. A line past the bound is dropped whole and reported once. */
struct kube_lines {
	struct buf buf; /* set buf.max: the largest line */
	bool skipping;
};
/* @fn is called for each whole line; with @line NULL for one that was too long. It returns false to stop: then
 * kube_lines_feed() returns false at once, and the rest of the bytes is dropped. */
typedef bool kube_line_fn(const char *line, size_t len, void *ctx);
bool kube_lines_feed(struct kube_lines *l, const char *data, size_t n, kube_line_fn *fn, void *ctx);
void kube_lines_done(struct kube_lines *l);

/* Retry-After in seconds (the form the API uses) to milliseconds, bounded to 5 minutes; 0 when it is none. */
uint64_t kube_retry_after_ms(const char *value, size_t len);
