/* SPDX-License-Identifier: Apache-2.0 */
/* A state machine of one transfer at a time:
 *
 *	wait ──> list page ──> … ──> list page ──> watch ──> watch ──> …
 *	  ^          │ fails, 410 expired            │ ends, fails: wait, then resume at the last resourceVersion
 *	  └──────────┴───────────────────────────────┘ 410: wait, then list again
 *
 * The resourceVersion moves with every event and bookmark; a whole list sets it. An event that is older than it is a
 * repetition out of order and is left out: taken in, it would undo what is known. (The API compares versions as numbers
 *since Kubernetes 1.35; a version that is no number is never older.)
 *
 * A stretch of failures backs off exponentially; what proves that the server works (a page, an event, a watch that
 *lived longer than the shortest wait) starts the count anew. */
#include "kube/watch.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/client_internal.h"
#include "kube/reflector.h"

#include <sys/random.h>

enum {
	DEFAULT_PAGE = 500,
	DEFAULT_EVENT = 16 << 20,
	DEFAULT_MIN_MS = 500,
	DEFAULT_MAX_MS = 30000,
	PAGE_MAX = 128 << 20,
	ERROR_BODY_MAX = 16384,
	LIST_TIMEOUT_MS = 60000,
	WATCH_SECONDS = 300, /* asked of the server, plus as much at random: not all come back at once */
	WATCH_GRACE_MS = 30000,
	ABSENT_MS = 60000,
	GARBAGE_MAX = 3, /* broken streams in a row before listing again */
};

struct kube_watch {
	struct kube_client *client;
	const struct kube_watch_ops *ops;
	void *ctx;
	char *path, *fallback, *label_selector, *field_selector;
	struct json_fields *page_fields, *event_fields;
	unsigned page;
	uint64_t min_ms, max_ms;

	struct kube_transfer *transfer;
	sd_event_source *timer;
	struct buf body; /* of a page, or of an error's answer to a watch */
	struct kube_lines lines;
	bool watching;	 /* the transfer is a watch, else a page */
	char *rv;	 /* where to watch from; NULL: list first */
	char *next_page; /* continue token */
	bool in_fallback, optional;
	bool broken; /* the stream made no sense, or said that it is over */
	uint64_t started_us, retry_after_ms;
	unsigned attempt, garbage;
	char *error;
	struct kube_watch_status status;
};

static void step(struct kube_watch *w);

static uint64_t random_u64(void)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		v = (uint64_t)rand() * 2654435761u; /* only jitter */
	return v;
}

static uint64_t now_us(const struct kube_watch *w)
{
	uint64_t t = 0;

	sd_event_now(kube_client_event(w->client), CLOCK_MONOTONIC, &t);
	return t;
}

static void set_error(struct kube_watch *w, const char *text)
{
	char clean[512];

	if (text) {
		str_escape(clean, sizeof(clean), text);
		text = clean;
	}
	free(w->error);
	w->error = text ? xstrdup(text) : NULL;
}

static void tell_state(struct kube_watch *w)
{
	if (w->ops->state)
		w->ops->state(w->ctx);
}

static void alive(struct kube_watch *w)
{
	w->attempt = 0;
	w->status.last_event_us = now_us(w);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	step(ctx);
	return 0;
}

static void wait_ms(struct kube_watch *w, uint64_t ms)
{
	sd_event_source_set_time_relative(w->timer, ms * 1000);
	sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Something went wrong: say it once a stretch, wait, go on from where we are. */
static void retry(struct kube_watch *w, const char *error)
{
	uint64_t ms = kube_backoff_ms(w->attempt, w->min_ms, w->max_ms, w->retry_after_ms, random_u64());
	bool was_connected = w->status.connected;

	set_error(w, error);
	if (w->attempt == 0 || was_connected)
		log_info("lost the watch, trying again", L_STR("path", w->in_fallback ? w->fallback : w->path),
			 L_STR("reason", w->error), L_UINT("wait_ms", ms));
	w->attempt++;
	w->retry_after_ms = 0;
	w->status.connected = false;
	w->status.reconnects++;
	wait_ms(w, ms);
	tell_state(w);
}

static void list_again(struct kube_watch *w)
{
	free(w->rv);
	w->rv = NULL;
	free(w->next_page);
	w->next_page = NULL;
}

static bool is_older(const char *rv, const char *than)
{
	uint64_t a, b;

	return parse_u64(rv, UINT64_MAX, &a) == 0 && parse_u64(than, UINT64_MAX, &b) == 0 && a < b;
}

static void set_rv(struct kube_watch *w, const char *rv)
{
	if (streq(w->rv, rv))
		return;
	free(w->rv);
	w->rv = xstrdup(rv);
}

static void deliver(struct kube_watch *w, const struct kube_event *ev)
{
	if (is_older(ev->resource_version, w->rv))
		return;
	set_rv(w, ev->resource_version);
	alive(w);
	w->garbage = 0;
	if (ev->type == KUBE_EVENT_BOOKMARK) {
		w->status.bookmarks++;
		return;
	}
	w->status.events++;
	if (ev->type == KUBE_EVENT_DELETED)
		w->ops->del(ev->object, w->ctx);
	else
		w->ops->upsert(ev->object, w->ctx);
}

/* Return: go on reading? */
static bool on_event(struct kube_watch *w, const struct kube_event *ev)
{
	if (ev->type == KUBE_EVENT_EXPIRED) {
		list_again(w);
		set_error(w, "the server has forgotten the version we watched from");
		return false;
	}
	if (ev->type == KUBE_EVENT_ERROR) {
		w->retry_after_ms = ev->retry_after_ms;
		set_error(
		    w, json_str_or(json_object_get(ev->object, "message"), "the server ended the watch with an error"));
		return false;
	}
	deliver(w, ev);
	return true;
}

static bool on_line(const char *line, size_t len, void *ctx)
{
	_cleanup_free_ char *error = NULL;
	struct kube_watch *w = ctx;
	struct kube_event ev;
	bool go_on;

	if (!line) {
		/* which object it was we cannot know; the next list brings it, if it is smaller then */
		w->status.refused++;
		log_error("refused an event that is too large", L_STR("path", w->path),
			  L_UINT("max_bytes", w->lines.buf.max));
		return true;
	}
	if (kube_event_parse(line, len, w->event_fields, &ev, &error) < 0) {
		w->status.refused++;
		set_error(w, error);
		if (++w->garbage >= GARBAGE_MAX) {
			w->garbage = 0;
			list_again(w);
		}
		w->broken = true;
		return false;
	}
	go_on = on_event(w, &ev);
	json_decref(ev.object);
	w->broken = !go_on;
	return go_on;
}

static void on_head(int status, void *ctx)
{
	struct kube_watch *w = ctx;

	if (!w->watching || status != 200 || w->status.connected)
		return;
	w->status.connected = true;
	set_error(w, NULL);
	tell_state(w);
}

static bool on_data(const char *data, size_t n, void *ctx)
{
	struct kube_watch *w = ctx;

	if (!w->watching)
		return buf_add(&w->body, data, n) == 0;
	if (kube_transfer_status(w->transfer) != 200)
		return buf_add(&w->body, data, MIN(n, ERROR_BODY_MAX - w->body.len)) == 0;
	return kube_lines_feed(&w->lines, data, n, on_line, w);
}

static const char *current_path(const struct kube_watch *w)
{
	return w->in_fallback ? w->fallback : w->path;
}

static void deliver_page(struct kube_watch *w, struct kube_page *page, bool first)
{
	json_t *item;

	if (first)
		w->ops->replace_begin(w->ctx);
	for (; (item = kube_page_next(page)); json_decref(item)) {
		if (json_is_object(item)) {
			w->status.objects++;
			w->ops->object(item, w->ctx);
		} else {
			w->status.refused++;
		}
	}
}

/* The last page: the list is whole. */
static void on_listed(struct kube_watch *w, const char *rv)
{
	set_rv(w, rv);
	w->status.lists++;
	w->status.synced = true;
	w->status.path = current_path(w);
	set_error(w, NULL);
	w->ops->synced(w->ctx);
	tell_state(w);
}

static void on_page(struct kube_watch *w)
{
	_cleanup_(buf_done) struct buf body = w->body;
	_cleanup_(kube_page_done) struct kube_page page = { 0 };
	_cleanup_free_ char *error = NULL;
	bool first = !w->next_page;

	w->body = (struct buf){ .max = body.max };
	if (kube_page_parse(body.data ? body.data : "", body.len, w->page_fields, &page, &error) < 0)
		return retry(w, error);
	alive(w);
	if (first)
		w->status.objects = 0;
	deliver_page(w, &page, first);
	free(w->next_page);
	w->next_page = page.next ? xstrdup(page.next) : NULL;
	if (!w->next_page)
		on_listed(w, page.resource_version);
	step(w);
}

static char *describe_failure(struct kube_watch *w, int status)
{
	_cleanup_json_ json_t *body = w->body.len ? json_parse("answer", w->body.data, w->body.len, NULL) : NULL;

	return kube_error_text(status, body, w->body.data);
}

/* The server does not have it: as good as an empty list. */
static void on_absent(struct kube_watch *w)
{
	list_again(w);
	alive(w);
	w->ops->replace_begin(w->ctx);
	w->status.objects = 0;
	w->status.connected = false;
	w->status.synced = true;
	set_error(w, NULL);
	w->ops->synced(w->ctx);
	wait_ms(w, ABSENT_MS);
	tell_state(w);
}

static void on_list_done(struct kube_watch *w, int status, const char *error)
{
	_cleanup_free_ char *text = NULL;

	if (!error && status == 200)
		return on_page(w);
	if (!error && status == 404 && w->optional)
		return on_absent(w);
	if (status == 404 && w->fallback)
		w->in_fallback = !w->in_fallback;
	text = error ? xstrdup(error) : describe_failure(w, status);
	list_again(w); /* a list that broke off starts over: its pages would belong to different times */
	if (status == 404 && w->in_fallback)
		step(w);
	else
		retry(w, text);
}

static void on_watch_done(struct kube_watch *w, int status, const char *error)
{
	bool lived = now_us(w) - w->started_us >= w->min_ms * 1000;
	_cleanup_free_ char *text = NULL;

	if (status == 410 || (status == 404 && w->optional))
		list_again(w);
	if (w->broken)
		text = xstrdup(w->error ? w->error : "the stream made no sense");
	else if (status && status != 200)
		text = describe_failure(w, status);
	else if (error)
		text = xstrdup(error);
	if (!text && lived) {
		/* the server's time for a watch is over, as always: resume at once */
		w->attempt = 0;
		w->status.reconnects++;
		return step(w);
	}
	retry(w, text ? text : "the server ended the watch at once");
}

static void on_done(int status, const char *error, uint64_t retry_after_ms, void *ctx)
{
	struct kube_watch *w = ctx;
	bool watching = w->watching;

	w->transfer = NULL;
	if (retry_after_ms)
		w->retry_after_ms = retry_after_ms;
	kube_lines_done(&w->lines);
	if (watching)
		on_watch_done(w, status, error);
	else
		on_list_done(w, status, error);
}

static char *common_query(const struct kube_watch *w)
{
	char *path = xstrdup(current_path(w));

	if (w->label_selector)
		path = kube_path_query(path, "labelSelector", w->label_selector);
	if (w->field_selector)
		path = kube_path_query(path, "fieldSelector", w->field_selector);
	return path;
}

static char *list_query(const struct kube_watch *w)
{
	char text[16], *path = common_query(w);

	snprintf(text, sizeof(text), "%u", w->page);
	path = kube_path_query(path, "limit", text);
	return w->next_page ? kube_path_query(path, "continue", w->next_page) : path;
}

static char *watch_query(const struct kube_watch *w, unsigned seconds)
{
	char text[16], *path = common_query(w);

	snprintf(text, sizeof(text), "%u", seconds);
	path = kube_path_query(path, "watch", "true");
	path = kube_path_query(path, "allowWatchBookmarks", "true");
	path = kube_path_query(path, "resourceVersion", w->rv);
	return kube_path_query(path, "timeoutSeconds", text);
}

/* Starts the next transfer. */
static void step(struct kube_watch *w)
{
	static const struct kube_transfer_ops ops = {.head = on_head, .data = on_data, .done = on_done};
	unsigned seconds = WATCH_SECONDS + random_u64() % WATCH_SECONDS;
	_cleanup_free_ char *path = NULL;
	struct kube_transfer_spec spec = {.method = "GET"};
	int r;

	w->watching = w->rv != NULL;
	w->broken = false;
	w->body.len = 0;
	w->body.max = w->watching ? ERROR_BODY_MAX : PAGE_MAX;
	w->started_us = now_us(w);
	path = w->watching ? watch_query(w, seconds) : list_query(w);
	spec.path = path;
	spec.endless = w->watching;
	spec.timeout_ms = w->watching ? seconds * 1000ull + WATCH_GRACE_MS : LIST_TIMEOUT_MS;
	r = kube_transfer_start(w->client, &spec, &ops, w, &w->transfer);
	if (r < 0)
		retry(w, strerror(-r));
}

int kube_watch_new(struct kube_client *c, const struct kube_watch_config *config, struct kube_watch **ret)
{
	_cleanup_(kube_watch_freep) struct kube_watch *w = NULL;
	int r;

	if (config->path[0] != '/' || (config->fallback_path && config->fallback_path[0] != '/'))
		return -EINVAL;
	w = xnew0(struct kube_watch);
	w->client = c;
	w->ops = config->ops;
	w->ctx = config->ctx;
	w->path = xstrdup(config->path);
	w->fallback = config->fallback_path ? xstrdup(config->fallback_path) : NULL;
	w->label_selector = config->label_selector ? xstrdup(config->label_selector) : NULL;
	w->field_selector = config->field_selector ? xstrdup(config->field_selector) : NULL;
	w->page_fields = kube_page_fields(config->fields);
	w->event_fields = kube_event_fields(config->fields);
	w->optional = config->optional;
	w->page = config->page ? config->page : DEFAULT_PAGE;
	w->lines.buf.max = config->max_event ? config->max_event : DEFAULT_EVENT;
	w->min_ms = config->backoff_min_ms ? config->backoff_min_ms : DEFAULT_MIN_MS;
	w->max_ms = MAX(config->backoff_max_ms ? config->backoff_max_ms : DEFAULT_MAX_MS, w->min_ms);
	r = sd_event_add_time(kube_client_event(c), &w->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, w);
	if (r < 0)
		return r;
	*ret = take_ptr(w); /* the timer is due at once: the first list starts from the loop */
	return 0;
}

struct kube_watch *kube_watch_free(struct kube_watch *w)
{
	if (!w)
		return NULL;
	if (w->transfer)
		kube_transfer_cancel(w->transfer);
	sd_event_source_disable_unref(w->timer);
	buf_done(&w->body);
	kube_lines_done(&w->lines);
	free(w->path);
	free(w->fallback);
	free(w->label_selector);
	free(w->field_selector);
	json_fields_free(w->page_fields);
	json_fields_free(w->event_fields);
	free(w->rv);
	free(w->next_page);
	free(w->error);
	free(w);
	return NULL;
}

void kube_watch_status(const struct kube_watch *w, struct kube_watch_status *ret)
{
	*ret = w->status;
	ret->path = current_path(w);
	ret->error = w->status.connected ? NULL : w->error;
}
