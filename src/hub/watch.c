/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/watch.h"
#include "base/str.h"
#include "hub/status.h"

enum { TIMEOUT_DEFAULT_S = 1800 };

struct watch {
	struct list node;
	struct hub *hub;
	struct watch_spec spec;
	struct buf out;
	size_t sent;	   /* of out */
	bool ended;	   /* nothing is added any more */
	bool columns_sent; /* a table's columns stand in the first event only */
	uint64_t rev;	   /* of the last change looked at */
	sd_event_source *timer;
	void (*wake)(void *ctx);
	void *ctx;
};

void watch_spec_done(struct watch_spec *s)
{
	free(s->ns);
	free(s->name);
	selector_free(s->labels);
	field_selector_free(s->fields);
	*s = (struct watch_spec){ 0 };
}

bool watch_spec_matches(const struct watch_spec *s, const struct object *o)
{
	if ((s->ns && !streq(s->ns, o->ns)) || (s->name && !streq(s->name, o->name)))
		return false;
	return selector_matches(s->labels, json_at(o->json, "metadata", "labels")) && field_selector_matches(s->fields, o->json);
}

static void end_with(struct watch *w, json_t *status)
{
	_cleanup_free_ char *text = json_text(status);

	json_decref(status);
	w->ended = true;
	buf_addf(&w->out, "{\"type\":\"ERROR\",\"object\":%s}\n", text);
}

static void write_object(struct watch *w, const struct object *o)
{
	if (!w->spec.table) {
		buf_add(&w->out, o->text, o->text_len);
		return;
	}
	buf_addf(&w->out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"%llu\"},",
		 (unsigned long long)o->rev);
	if (w->columns_sent)
		buf_adds(&w->out, "\"columnDefinitions\":null");
	else
		table_write_columns(o->kind, &w->out);
	w->columns_sent = true;
	buf_adds(&w->out, ",\"rows\":[");
	table_write_row(o, w->spec.table_object, &w->out);
	buf_adds(&w->out, "]}");
}

static void add(struct watch *w, const char *type, const struct object *o)
{
	if (w->ended)
		return;
	if (w->out.len - w->sent > WATCH_BUFFER_MAX) {
		w->hub->metrics.slow_watches++;
		end_with(w, status_expired("too old resource version: the client does not keep up with the changes"));
		return;
	}
	w->hub->metrics.watch_events++;
	buf_addf(&w->out, "{\"type\":\"%s\",\"object\":", type);
	write_object(w, o);
	buf_adds(&w->out, "}\n");
}

/* What the change means to somebody who sees only what matches. */
static void offer(struct watch *w, const struct change *c)
{
	bool before, after;

	if (c->obj->kind != w->spec.kind || c->rev <= w->rev)
		return;
	w->rev = c->rev;
	before = c->prev && watch_spec_matches(&w->spec, c->prev);
	after = c->type != CHANGE_DELETED && watch_spec_matches(&w->spec, c->obj);
	if (after)
		add(w, before ? "MODIFIED" : "ADDED", c->obj);
	else if (before)
		add(w, "DELETED", c->obj);
}

static void add_bookmark(struct watch *w, bool initial_end)
{
	_cleanup_free_ char *api_version = kind_api_version(w->spec.kind);

	if (w->ended)
		return;
	buf_adds(&w->out, "{\"type\":\"BOOKMARK\",\"object\":");
	if (w->spec.table)
		buf_addf(&w->out,
			 "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"%llu\"},"
			 "\"columnDefinitions\":null,\"rows\":[]}}\n",
			 (unsigned long long)store_rev(w->hub->store));
	else
		buf_addf(&w->out,
			 "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%llu\","
			 "\"creationTimestamp\":null%s}}}\n",
			 w->spec.kind->kind, api_version, (unsigned long long)store_rev(w->hub->store),
			 initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct watch *w = ctx;

	(void)s;
	(void)usec;
	if (w->spec.bookmarks)
		add_bookmark(w, false);
	w->ended = true;
	w->wake(w->ctx);
	return 0;
}

static void replay(struct watch *w)
{
	const struct store *s = w->hub->store;

	for (size_t i = store_history_after(s, w->rev), n = store_history_count(s); i < n; i++)
		offer(w, store_history(s, i));
}

static void send_initial(struct watch *w)
{
	struct object *const *all;
	size_t n;

	all = store_all(w->hub->store, w->spec.kind, &n);
	for (size_t i = 0; i < n; i++)
		if (watch_spec_matches(&w->spec, all[i]))
			add(w, "ADDED", all[i]);
	w->rev = store_rev(w->hub->store);
	if (w->spec.initial_end)
		add_bookmark(w, true);
}

struct watch *watch_new(struct hub *hub, struct watch_spec *spec, void (*wake)(void *ctx), void *ctx)
{
	struct watch *w = xnew0(struct watch);
	unsigned timeout_s = spec->timeout_s ? spec->timeout_s : TIMEOUT_DEFAULT_S + hub->n_watches % 60;

	w->hub = hub;
	w->spec = *spec;
	*spec = (struct watch_spec){ 0 };
	w->rev = w->spec.rev;
	w->wake = wake;
	w->ctx = ctx;
	list_push_back(&hub->watches, &w->node);
	hub->n_watches++;
	if (w->spec.initial)
		send_initial(w);
	else
		replay(w);
	sd_event_add_time_relative(hub->event, &w->timer, CLOCK_MONOTONIC, timeout_s * 1000000ull, 100000, on_timeout, w);
	return w;
}

struct watch *watch_free(struct watch *w)
{
	if (!w)
		return NULL;
	sd_event_source_disable_unref(w->timer);
	list_remove(&w->node);
	w->hub->n_watches--;
	watch_spec_done(&w->spec);
	buf_done(&w->out);
	free(w);
	return NULL;
}

ssize_t watch_read(struct watch *w, char *out, size_t max)
{
	size_t n = MIN(max, w->out.len - w->sent);

	if (n == 0)
		return w->ended ? -EPIPE : 0;
	memcpy(out, w->out.data + w->sent, n);
	w->sent += n;
	if (w->sent == w->out.len) {
		buf_done(&w->out);
		w->sent = 0;
	} else if (w->sent > WATCH_BUFFER_MAX / 8) {
		buf_drop(&w->out, w->sent);
		w->sent = 0;
	}
	return n;
}

void watches_on_change(void *ctx, const struct change *c)
{
	struct hub *hub = ctx;
	struct watch *w;

	list_for_each(w, &hub->watches, node) {
		size_t before = w->out.len;

		offer(w, c);
		if (w->out.len != before)
			w->wake(w->ctx);
	}
}

void watches_send_bookmarks(struct hub *hub)
{
	struct watch *w;

	list_for_each(w, &hub->watches, node)
		if (w->spec.bookmarks && !w->ended) {
			add_bookmark(w, false);
			w->wake(w->ctx);
		}
}
