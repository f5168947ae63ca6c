/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/reflector.h"
#include "base/str.h"

enum { RETRY_AFTER_MAX_S = 300 };

uint64_t kube_backoff_ms(unsigned attempt, uint64_t min_ms, uint64_t max_ms, uint64_t retry_after_ms, uint64_t rnd)
{
	uint64_t full = min_ms, wait;

	while (attempt-- > 0 && full < max_ms)
		full *= 2;
	full = MIN(full, max_ms);
	full = full ? full : 1;
	wait = full / 2 + rnd % (full - full / 2 + 1);
	/* a server in trouble names the same time to everybody: the jitter comes on top */
	return retry_after_ms ? MAX(wait, retry_after_ms + rnd % (full / 2 + 1)) : wait;
}

static int parse_type(const char *name)
{
	static const char *const names[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(name, names[i]))
			return i;
	return streq(name, "ERROR") ? KUBE_EVENT_ERROR : -1;
}

static uint64_t status_retry_ms(const json_t *status)
{
	json_int_t s = json_integer_value(json_at(status, "details", "retryAfterSeconds"));

	return s > 0 ? MIN(s, (json_int_t)RETRY_AFTER_MAX_S) * 1000 : 0;
}

struct json_fields *kube_page_fields(const char *object)
{
	_cleanup_free_ char *text = object ? xasprintf("metadata(resourceVersion,continue),items(%s)", object) : xstrdup("metadata(resourceVersion,continue),items");

	return json_fields_new(text);
}

/* An error is an object, too: a Status. */
struct json_fields *kube_event_fields(const char *object)
{
	_cleanup_free_ char *text = object ? xasprintf("type,object(metadata(resourceVersion),code,reason,message,details(retryAfterSeconds),%s)", object) :
					     xstrdup("type,object");

	return json_fields_new(text);
}

int kube_page_parse(const char *text, size_t len, const struct json_fields *fields, struct kube_page *ret, char **ret_error)
{
	struct kube_page p = { 0 };
	const json_t *items;

	if (json_read_pieces("list", text, len, "items", fields, &p.objects, ret_error) < 0)
		return -EBADMSG;
	items = json_object_get(p.objects.rest, "items");
	p.resource_version = json_str_at(p.objects.rest, "metadata", "resourceVersion");
	p.next = json_str_at(p.objects.rest, "metadata", "continue");
	if (p.next && !*p.next)
		p.next = NULL;
	/* an empty list may say null */
	if (!p.resource_version || !*p.resource_version || (!json_is_array(items) && !json_is_null(items))) {
		kube_page_done(&p);
		if (ret_error)
			*ret_error = xstrdup("the answer is no list");
		return -EBADMSG;
	}
	*ret = p;
	return 0;
}

json_t *kube_page_next(struct kube_page *p)
{
	return json_next_piece(&p->objects);
}

void kube_page_done(struct kube_page *p)
{
	json_pieces_done(&p->objects);
	*p = (struct kube_page){ 0 };
}

int kube_event_parse(const char *line, size_t len, const struct json_fields *fields, struct kube_event *ret, char **ret_error)
{
	_cleanup_json_ json_t *j = json_read("event", line, len, fields, ret_error);
	json_t *object = json_object_get(j, "object");
	const char *rv = json_str_at(object, "metadata", "resourceVersion");
	int type = parse_type(json_str_or(json_object_get(j, "type"), ""));

	if (!j)
		return -EBADMSG;
	if (type < 0 || !json_is_object(object) || (type != KUBE_EVENT_ERROR && (!rv || !*rv))) {
		if (ret_error)
			*ret_error = xstrdup(type < 0		       ? "event: of no known type"
					     : !json_is_object(object) ? "event: without an object"
								       : "event: the object has no resourceVersion");
		return -EBADMSG;
	}
	*ret = (struct kube_event){.type = type, .object = json_incref(object), .resource_version = rv};
	if (type == KUBE_EVENT_ERROR) {
		ret->resource_version = NULL;
		ret->retry_after_ms = status_retry_ms(object);
		if (json_integer_value(json_object_get(object, "code")) == 410 ||
		    streq(json_str_at(object, "reason"), "Expired") || streq(json_str_at(object, "reason"), "Gone"))
			ret->type = KUBE_EVENT_EXPIRED;
	}
	return 0;
}

/* One whole line, or the end of one that was too long. Return: go on? */
static bool end_line(struct kube_lines *l, kube_line_fn *fn, void *ctx)
{
	bool go_on = true;

	if (l->skipping)
		l->skipping = false;
	else if (l->buf.len)
		go_on = fn(l->buf.data, l->buf.len, ctx);
	l->buf.len = 0;
	return go_on;
}

bool kube_lines_feed(struct kube_lines *l, const char *data, size_t n, kube_line_fn *fn, void *ctx)
{
	while (n) {
		const char *nl = memchr(data, '\n', n);
		size_t piece = nl ? (size_t)(nl - data) : n;

		if (!l->skipping && buf_add(&l->buf, data, piece) < 0) {
			l->skipping = true;
			buf_done(&l->buf);
			if (!fn(NULL, 0, ctx))
				return false;
		}
		if (!nl)
			return true;
		if (!end_line(l, fn, ctx))
			return false;
		data = nl + 1;
		n -= piece + 1;
	}
	return true;
}

void kube_lines_done(struct kube_lines *l)
{
	buf_done(&l->buf);
	l->skipping = false;
}

uint64_t kube_retry_after_ms(const char *value, size_t len)
{
	_cleanup_free_ char *s = xstrndup(value, len);
	char *from = s + strspn(s, " \t"), *end = from + strcspn(from, " \t\r\n");
	uint64_t v;

	if (end[strspn(end, " \t\r\n")])
		return 0;
	*end = 0;
	if (parse_u64(from, UINT64_MAX, &v) < 0)
		return 0;
	return MIN(v, (uint64_t)RETRY_AFTER_MAX_S) * 1000;
}
