/* SPDX-License-Identifier: Apache-2.0 */
/* get, list, watch. A list is the state at one revision: without a continue token the present, with one the revision of
 * its first page, rebuilt from the history (410 when that no longer reaches back). */
#include "hub/api.h"
#include "base/str.h"
#include "hub/table.h"
#include "hub/token.h"
#include "hub/watch.h"

static int parse_rev(const struct request *rq, uint64_t *ret, struct reply *rp)
{
	const char *text = query_str(rq, "resourceVersion");

	*ret = 0;
	if (!*text || parse_u64(text, INT64_MAX, ret) == 0)
		return 0;
	reply_status(rp, status_bad_request("invalid resource version: it must be a decimal number"));
	return -EINVAL;
}

static int parse_table_object(const struct request *rq, enum table_object *ret, struct reply *rp)
{
	const char *v = query_str(rq, "includeObject");

	if (!*v || streq(v, "Metadata"))
		*ret = TABLE_METADATA;
	else if (streq(v, "None"))
		*ret = TABLE_NONE;
	else if (streq(v, "Object"))
		*ret = TABLE_OBJECT;
	else {
		reply_status(rp, status_bad_request("includeObject: expected None, Metadata or Object"));
		return -EINVAL;
	}
	return 0;
}

/* Selectors, namespace, table: what a list and a watch share. */
static int parse_selection(const struct request *rq, struct watch_spec *s, struct reply *rp)
{
	_cleanup_free_ char *error = NULL;

	s->kind = rq->kind;
	s->ns = rq->ns ? xstrdup(rq->ns) : NULL;
	s->table = wants_table(rq);
	if (parse_table_object(rq, &s->table_object, rp) < 0)
		return -EINVAL;
	if (selector_parse(query_str(rq, "labelSelector"), &s->labels, &error) < 0) {
		reply_status(rp, status_bad_request("unable to parse requirement: %s", error));
		return -EINVAL;
	}
	if (field_selector_parse(query_str(rq, "fieldSelector"), rq->kind, &s->fields, &error) < 0) {
		reply_status(rp, status_bad_request("Unable to find \"%s, Resource=%s\" that match label selector \"%s\", field "
						    "selector \"%s\": %s",
						    rq->kind->version, rq->kind->resource, query_str(rq, "labelSelector"),
						    query_str(rq, "fieldSelector"), error));
		return -EINVAL;
	}
	return 0;
}

static void start_table(const struct kind *k, uint64_t rev, struct buf *out)
{
	buf_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"%llu\"},",
		 (unsigned long long)rev);
	table_write_columns(k, out);
	buf_adds(out, ",\"rows\":[");
}

void api_get(struct hub *hub, struct request *rq, struct reply *rp)
{
	const struct object *o = store_get(hub->store, rq->kind, rq->ns ? rq->ns : "", rq->name);
	enum table_object with;

	if (parse_table_object(rq, &with, rp) < 0)
		return;
	if (!o) {
		reply_status(rp, status_not_found(rq->kind, rq->name));
	} else if (!wants_table(rq)) {
		reply_object(rp, 200, o);
	} else {
		rp->code = 200;
		rp->content_type = "application/json";
		start_table(rq->kind, o->rev, &rp->body);
		table_write_row(o, with, &rp->body);
		buf_adds(&rp->body, "]}");
	}
}

struct page {
	uint64_t rev;
	uint64_t limit; /* 0: none */
	struct continue_token from;
};

static int parse_page(struct hub *hub, const struct request *rq, struct page *p, struct reply *rp)
{
	const char *limit = query_str(rq, "limit"), *token = query_str(rq, "continue");
	uint64_t rev;

	if (*limit && parse_u64(limit, INT64_MAX, &p->limit) < 0) {
		reply_status(rp, status_bad_request("limit: expected a number"));
		return -EINVAL;
	}
	p->rev = store_rev(hub->store);
	if (*token) {
		if (continue_token_parse(token, &p->from) < 0) {
			reply_status(rp, status_bad_request("continue key is not valid"));
			return -EINVAL;
		}
		p->rev = p->from.rev;
		return 0;
	}
	if (parse_rev(rq, &rev, rp) < 0)
		return -EINVAL;
	if (streq(query_str(rq, "resourceVersionMatch"), "Exact"))
		p->rev = rev;
	if (rev > store_rev(hub->store)) {
		json_t *s = status_new(504, "Timeout", "Too large resource version: %llu, current: %llu", (unsigned long long)rev,
				       (unsigned long long)store_rev(hub->store));

		json_object_set_new(s, "details",
				    json_pack("{s[{ss ss}] si}", "causes", "reason", "ResourceVersionTooLarge", "message",
					      "Too large resource version", "retryAfterSeconds", 1));
		reply_status(rp, s);
		return -EINVAL;
	}
	return 0;
}

static void start_list(const struct kind *k, const struct watch_spec *s, uint64_t rev, struct buf *out)
{
	_cleanup_free_ char *api_version = kind_api_version(k);

	if (s->table) {
		buf_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",");
		table_write_columns(k, out);
		buf_adds(out, ",\"rows\":[");
	} else {
		buf_addf(out, "{\"kind\":\"%sList\",\"apiVersion\":\"%s\",\"items\":[", k->kind, api_version);
	}
	(void)rev;
}

static void end_list(uint64_t rev, const struct object *last, size_t remaining, bool count_remaining, struct buf *out)
{
	buf_addf(out, "],\"metadata\":{\"resourceVersion\":\"%llu\"", (unsigned long long)rev);
	if (last) {
		_cleanup_free_ char *token = continue_token_format(rev, last->ns, last->name);

		buf_addf(out, ",\"continue\":\"%s\"", token);
		if (count_remaining)
			buf_addf(out, ",\"remainingItemCount\":%zu", remaining);
	}
	buf_adds(out, "}}");
}

static void write_list(struct object *const *all, size_t n, const struct watch_spec *s, const struct page *p,
		       struct buf *out)
{
	const struct object *last = NULL;
	size_t sent = 0, remaining = 0;

	start_list(s->kind, s, p->rev, out);
	for (size_t i = 0; i < n; i++) {
		const struct object *o = all[i];

		if ((p->from.name && object_key_cmp(o->ns, o->name, p->from.ns, p->from.name) <= 0) || !watch_spec_matches(s, o))
			continue;
		if (p->limit && sent == p->limit) {
			remaining++;
			continue;
		}
		if (sent++)
			buf_adds(out, ",");
		if (s->table)
			table_write_row(o, s->table_object, out);
		else
			buf_add(out, o->text, o->text_len);
		last = o;
	}
	end_list(p->rev, remaining ? last : NULL, remaining, selector_is_empty(s->labels), out);
}

static void list_page(struct hub *hub, struct watch_spec *s, const struct page *p, struct reply *rp)
{
	struct object *const *all;
	struct object **past = NULL;
	size_t n;

	if (p->rev == store_rev(hub->store)) {
		all = store_all(hub->store, s->kind, &n);
	} else if (store_snapshot(hub->store, s->kind, p->rev, &past, &n) == 0) {
		all = past;
	} else {
		reply_status(rp, status_expired("The provided continue parameter is too old to display a consistent list result. "
						"You must start a new list without the continue parameter."));
		return;
	}
	rp->code = 200;
	rp->content_type = "application/json";
	write_list(all, n, s, p, &rp->body);
	if (past)
		store_snapshot_free(past, n);
}

void api_list(struct hub *hub, struct request *rq, struct reply *rp)
{
	struct watch_spec s = { 0 };
	struct page p = { 0 };

	if (parse_selection(rq, &s, rp) == 0 && parse_page(hub, rq, &p, rp) == 0)
		list_page(hub, &s, &p, rp);
	watch_spec_done(&s);
	continue_token_done(&p.from);
}

static int parse_watch(struct hub *hub, const struct request *rq, struct watch_spec *s, struct reply *rp)
{
	const char *timeout = query_str(rq, "timeoutSeconds");
	uint64_t seconds = 0;

	if (parse_selection(rq, s, rp) < 0 || parse_rev(rq, &s->rev, rp) < 0)
		return -EINVAL;
	if (*timeout && parse_u64(timeout, 24 * 3600, &seconds) < 0) {
		reply_status(rp, status_bad_request("timeoutSeconds: expected a number up to 86400"));
		return -EINVAL;
	}
	s->timeout_s = seconds;
	s->bookmarks = query_bool(rq, "allowWatchBookmarks");
	s->initial_end = query_bool(rq, "sendInitialEvents");
	s->initial = s->rev == 0 || s->initial_end;
	if (streq(query_str(rq, "sendInitialEvents"), "false") && s->rev == 0) {
		s->initial = false;
		s->rev = store_rev(hub->store);
	}
	if (s->initial_end && (!s->bookmarks || !streq(query_str(rq, "resourceVersionMatch"), "NotOlderThan"))) {
		reply_status(rp, status_bad_request("sendInitialEvents needs allowWatchBookmarks=true and "
						    "resourceVersionMatch=NotOlderThan"));
		return -EINVAL;
	}
	if (!s->initial && s->rev < store_oldest(hub->store)) {
		reply_status(rp, status_expired("too old resource version: %llu (%llu)", (unsigned long long)s->rev,
						(unsigned long long)store_oldest(hub->store)));
		return -ESTALE;
	}
	return 0;
}

void api_watch(struct hub *hub, struct request *rq, struct reply *rp)
{
	struct watch_spec *s = xnew0(struct watch_spec);

	if (parse_watch(hub, rq, s, rp) < 0) {
		watch_spec_done(s);
		free(s);
		return;
	}
	rp->code = 200;
	rp->content_type = "application/json";
	rp->watch = s;
}
