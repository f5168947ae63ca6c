/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/line.h"
#include "base/str.h"

#include <time.h>

enum { TEXT_MAX = 700 };

/* A text of the event, escaped, in one of a few static buffers: enough for one end. */
static const char *text(const json_t *o, const char *key)
{
	static char bufs[8][TEXT_MAX];
	static unsigned next;
	char *out = bufs[next++ % ARRAY_SIZE(bufs)];

	str_escape(out, TEXT_MAX, json_str_or(json_object_get(o, key), ""));
	return out;
}

static void add_time(const json_t *event, struct buf *out)
{
	json_int_t ms = json_integer_value(json_object_get(event, "atMs"));
	time_t s = ms / 1000;
	char when[32];
	struct tm tm;

	if (ms < 0 || !localtime_r(&s, &tm) || !strftime(when, sizeof(when), "%H:%M:%S", &tm))
		snprintf(when, sizeof(when), "--:--:--");
	(void)buf_addf(out, "%s.%03d ", when, ms < 0 ? 0 : (int)(ms % 1000));
}

/* "10.0.0.1:80", "[fd00::1]:80", "10.0.0.1" */
static void add_address(const json_t *end, struct buf *out)
{
	const char *addr = text(end, "address");
	json_int_t port = json_integer_value(json_object_get(end, "port"));
	bool v6 = strchr(addr, ':') != NULL;

	if (port)
		(void)buf_addf(out, "%s%s%s:%lld", v6 ? "[" : "", addr, v6 ? "]" : "", (long long)port);
	else
		(void)buf_adds(out, addr);
}

/* "default/a (10.244.0.2:4444, n1)", "node n2 (172.30.0.12:80)", "192.0.2.1:80 (world)" */
void observe_one_end(const json_t *end, struct buf *out)
{
	const char *kind = text(end, "kind"), *ns = text(end, "namespace"), *name = text(end, "name"), *node = text(end, "node");

	if (!*name) {
		add_address(end, out);
		(void)buf_addf(out, "%s(%s%s%s)", *text(end, "address") ? " " : "", *kind ? kind : "unknown", *node ? ", " : "", node);
		return;
	}
	if (*ns)
		(void)buf_addf(out, "%s%s/%s (", streq(kind, "service") ? "service " : "", ns, name);
	else
		(void)buf_addf(out, "%s %s (", kind, name);
	add_address(end, out);
	(void)buf_addf(out, "%s%s)", *node ? ", " : "", node);
}

static void add_why(const json_t *event, struct buf *out)
{
	const char *reason = text(event, "reason"), *rule = text(event, "rule"), *path = text(event, "path");
	json_int_t missed = json_integer_value(json_object_get(event, "missed"));

	if (*reason)
		(void)buf_addf(out, "  %s: %s", reason, text(event, "text"));
	if (*rule)
		(void)buf_addf(out, "  by %s", rule);
	if (*path)
		(void)buf_addf(out, "  %s", path);
	if (*text(event, "program"))
		(void)buf_addf(out, "  [%s%s%s]", text(event, "program"), *text(event, "pod") ? " of " : "", text(event, "pod"));
	if (missed > 0)
		(void)buf_addf(out, "  (%lld more not shown before it)", (long long)missed);
}

void observe_ends(const json_t *event, struct buf *out)
{
	observe_one_end(json_object_get(event, "source"), out);
	(void)buf_adds(out, " → ");
	observe_one_end(json_object_get(event, "destination"), out);
}

void observe_line(const json_t *event, struct buf *out)
{
	json_int_t lost = json_integer_value(json_object_get(event, "lost"));
	const char *flags = text(event, "tcpFlags");
	char protocol[2 * TEXT_MAX];

	if (lost) {
		(void)buf_addf(out, "-- %lld events passed by unread: this reader is too slow\n", (long long)lost);
		return;
	}
	add_time(event, out);
	snprintf(protocol, sizeof(protocol), "%s%s%s", text(event, "protocol"), *flags ? " " : "", flags);
	(void)buf_addf(out, "%-9s %-7s %-6s ", text(event, "verdict"), text(event, "kind"), protocol);
	observe_ends(event, out);
	add_why(event, out);
	(void)buf_adds(out, "\n");
}
