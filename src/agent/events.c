/* SPDX-License-Identifier: Apache-2.0 */
/* An Event's name follows from what it says, so an agent that was started anew, or another node's that sees the same of the same object,
 * makes no second one within the hour that Events are kept: the API refuses it as there already. Bounds: what is remembered, how many are sent in a second, how many are
 * under way. What a bound holds back is not remembered, so the next look tries it again. */
#include "agent/events.h"
#include "base/log.h"
#include "base/str.h"

#include <ctype.h>
#include <time.h>

enum { REFILL_US = 1000000, MESSAGE_MAX = 1000, LIFE_S = 3600 /* the API keeps them for an hour */ };

struct told {
	struct htab_node node;
	struct event_in in; /* strings owned */
	bool seen;
};


void events_init(struct events *e, sd_event *event, struct kube_client **client, const char *node)
{
	*e = (struct events){ .event = event, .client = client, .node = node, .tokens = EVENTS_BURST };
}

static void told_free(struct events *e, struct told *t)
{
	htab_remove(&e->told, &t->node);
	free((char *)t->in.api_version);
	free((char *)t->in.kind);
	free((char *)t->in.namespace_);
	free((char *)t->in.name);
	free((char *)t->in.uid);
	free((char *)t->in.reason);
	free((char *)t->in.message);
	free((char *)t->in.gone_reason);
	free((char *)t->in.gone_message);
	free(t);
}

void events_done(struct events *e)
{
	struct htab_node *n;

	while ((n = htab_any(&e->told)))
		told_free(e, container_of(n, struct told, node));
	htab_done(&e->told);
}

/* Of the same thing said of the same object the same. */
static uint64_t hash_of(const struct event_in *in)
{
	uint64_t h = hash_str(in->kind);

	h = h * 31 + hash_str(in->namespace_);
	h = h * 31 + hash_str(in->name);
	h = h * 31 + hash_str(in->uid);
	h = h * 31 + hash_str(in->reason);
	return h * 31 + hash_str(in->message);
}

static bool is_same(const struct event_in *a, const struct event_in *b)
{
	return streq(a->kind, b->kind) && streq(a->namespace_, b->namespace_) && streq(a->name, b->name) && streq(a->uid, b->uid) &&
	       streq(a->reason, b->reason) && streq(a->message, b->message);
}

static bool may_send(struct events *e)
{
	uint64_t now = 0, fresh;

	(void)sd_event_now(e->event, CLOCK_MONOTONIC, &now);
	fresh = (now - e->refilled_us) / REFILL_US;
	if (fresh) {
		e->refilled_us = now;
		e->tokens = MIN(e->tokens + fresh, (uint64_t)EVENTS_BURST);
	}
	if (!*e->client || !e->tokens || e->in_flight >= EVENTS_IN_FLIGHT)
		return false;
	e->tokens--;
	return true;
}

/* 409: it is there already, which is as good. */
static void on_answer(const struct kube_response *res, void *ctx)
{
	struct events *e = ctx;

	e->in_flight--;
	if (res->status == 201 || res->status == 409) {
		e->sent++;
		return;
	}
	e->failed++;
	log_warn("an Event was not taken", L_INT("status", res->status), L_STR("why", res->error));
}

static json_t *text(const char *s)
{
	char clean[MESSAGE_MAX + 1];
	json_t *j = strlen(s) <= MESSAGE_MAX ? json_string(s) : NULL;

	if (j)
		return j;
	str_escape(clean, sizeof(clean), s); /* no UTF-8, or too long: cut somewhere */
	return json_string(clean);
}

char *events_name(const char *of, uint64_t number)
{
	size_t n = strnlen(of, EVENTS_NAME_PART);

	while (n > 0 && !isalnum((unsigned char)of[n - 1]))
		n--;
	return xasprintf("%.*s.%016llx", (int)n, of, (unsigned long long)number);
}

static bool send_event(struct events *e, const struct event_in *in, bool gone)
{
	const char *ns = *in->namespace_ ? in->namespace_ : "default";
	_cleanup_free_ char *path = kube_path("/api/v1", ns, "events", NULL, NULL);
	_cleanup_free_ char *name = NULL;
	_cleanup_json_ json_t *body = NULL;
	struct kube_request req = { .method = "POST", .path = path };
	time_t now = time(NULL);
	char at[32];
	struct tm tm;

	if (!may_send(e))
		return false;
	name = events_name(in->name, hash_of(in) * 31 + now / LIFE_S * 2 + gone);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	body = json_pack("{ss, ss, s{ss, ss}, s{ss, ss, ss, ss*, ss*}, ss, ss, so, ss, ss, si, s{ss, ss}, ss, ss}", "apiVersion", "v1", "kind",
			 "Event", "metadata", "name", name, "namespace", ns, "involvedObject", "apiVersion", in->api_version, "kind", in->kind,
			 "name", in->name, "namespace", *in->namespace_ ? in->namespace_ : NULL, "uid", *in->uid ? in->uid : NULL, "type", gone ? "Normal" : "Warning",
			 "reason", gone ? in->gone_reason : in->reason, "message", text(gone ? in->gone_message : in->message), "firstTimestamp", at, "lastTimestamp", at, "count", 1, "source",
			 "component", "weftd", "host", e->node, "reportingComponent", "weft.dev/weftd", "reportingInstance", e->node);
	req.body = body;
	if (!body || kube_send(*e->client, &req, on_answer, e, NULL) < 0)
		return false;
	e->in_flight++;
	return true;
}

void events_begin(struct events *e)
{
	e->held = 0;
	for (struct htab_node *n = htab_begin(&e->told); n; n = htab_next(&e->told, n))
		container_of(n, struct told, node)->seen = false;
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static void remember(struct events *e, const struct event_in *in, uint64_t h)
{
	struct told *t = xnew0(struct told);

	t->in = (struct event_in){ copy(in->api_version), copy(in->kind), copy(in->namespace_), copy(in->name), copy(in->uid),
				   copy(in->reason), copy(in->message), copy(in->gone_reason), copy(in->gone_message) };
	t->seen = true;
	htab_insert(&e->told, h, &t->node);
}

void events_is_so(struct events *e, const struct event_in *in)
{
	uint64_t h = hash_of(in);
	struct told *t = NULL;

	HTAB_FIND(&e->told, h, t, node, is_same(&t->in, in));
	if (t)
		t->seen = true;
	else if (e->told.count < EVENTS_REMEMBERED && send_event(e, in, false))
		remember(e, in, h);
	else
		e->held++;
}

bool events_end(struct events *e, bool (*there)(const struct event_in *in, void *ctx), void *ctx)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&e->told); n; n = next) {
		struct told *t = container_of(n, struct told, node);

		next = htab_next(&e->told, n);
		if (t->seen)
			continue;
		if (t->in.gone_reason && there(&t->in, ctx) && !send_event(e, &t->in, true)) {
			e->held++;
			continue;
		}
		told_free(e, t);
	}
	return e->held > 0;
}

void events_forget_calls(struct events *e)
{
	e->in_flight = 0;
}
