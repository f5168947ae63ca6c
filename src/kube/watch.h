/* SPDX-License-Identifier: Apache-2.0 */
/* A collection of the API, followed: list in pages, then watch, for ever; what was missed is resumed or listed again.
 */
#pragma once

#include "kube/client.h"

struct kube_watch;

/* All are called from the loop. Objects are borrowed for the call (keep one with json_incref()).
 *
 * A list arrives as replace_begin(), object()…, synced(): what was known before and did not come again in between is
 * gone, not earlier than synced(). When a list breaks off, another replace_begin() starts it anew; until synced() keep
 * the old. Afterwards upsert() and del(). Duplicates happen; an older version than the last one seen of an object does
 * not come. */
struct kube_watch_ops {
	void (*replace_begin)(void *ctx);
	void (*object)(json_t *object, void *ctx);
	void (*synced)(void *ctx);
	void (*upsert)(json_t *object, void *ctx);
	void (*del)(json_t *object, void *ctx); /* the last state known to the server */
	void (*state)(void *ctx);		/* kube_watch_status() has changed; may be NULL */
};

struct kube_watch_config {
	const char *path;	   /* "/api/v1/pods" */
	const char *fallback_path; /* tried when @path answers 404, e.g. an older API version; may be NULL */
	const char *label_selector, *field_selector; /* or NULL */
	const char *fields; /* what is read of an object (base/json_fields.h): what arrives has no more; NULL: everything */
	bool optional; /* the server may not have it (404): then it is empty, and asked for again once a minute */
	const struct kube_watch_ops *ops;	     /* must outlive the watch */
	void *ctx;
	unsigned page;				 /* objects a page; 0 takes 500 */
	size_t max_event;			 /* largest event; 0 takes 16 MiB */
	uint64_t backoff_min_ms, backoff_max_ms; /* 0 takes 500 ms and 30 s */
};

struct kube_watch_status {
	bool synced;	   /* a whole list has been delivered since the start */
	bool connected;	   /* the watch is running now */
	const char *path;  /* the one in use */
	const char *error; /* the last failure while not connected, else NULL; borrowed until the loop runs again */
	uint64_t last_event_us; /* CLOCK_MONOTONIC of the last event, bookmark or list; 0 before */
	uint64_t objects, events, bookmarks, lists, reconnects, refused; /* refused: malformed or too large events */
};

/* Starts at once. Strings of @config are copied. Return: 0, -EINVAL. */
int kube_watch_new(struct kube_client *c, const struct kube_watch_config *config, struct kube_watch **ret);
struct kube_watch *kube_watch_free(struct kube_watch *w);
DEFINE_CLEANUP(struct kube_watch *, kube_watch_free)
void kube_watch_status(const struct kube_watch *w, struct kube_watch_status *ret);
