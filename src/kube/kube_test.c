/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no connection: kubeconfig, paths, delays, the lines and events of a watch. */
#include "base/str.h"
#include "base/test.h"
#include "kube/client.h"
#include "kube/reflector.h"
#include "kube/watch.h"

static void backoff(void)
{
	static const uint64_t rnds[] = {0, 1, 249, 250, 251, UINT64_MAX, 0x123456789abcdef};

	for (unsigned attempt = 0; attempt < 100; attempt++)
		for (size_t i = 0; i < ARRAY_SIZE(rnds); i++) {
			uint64_t full = attempt < 6 ? 500ull << attempt : 30000, ms;

			full = MIN(full, (uint64_t)30000);
			ms = kube_backoff_ms(attempt, 500, 30000, 0, rnds[i]);
			CHECK(ms >= full / 2 && ms <= full);
			CHECK(kube_backoff_ms(attempt, 500, 30000, 7000, rnds[i]) >= 7000);
		}
	CHECK(kube_backoff_ms(0, 500, 30000, 0, 0) != kube_backoff_ms(0, 500, 30000, 0, 100));
	CHECK_INT(kube_backoff_ms(3, 0, 0, 0, 5) <= 1, 1);
}

static void retry_after(void)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {{"1", 1000},
		     {" 7 ", 7000},
		     {"999999", 300000},
		     {"0", 0},
		     {"-1", 0},
		     {"", 0},
		     {"1 2", 0},
		     {"Fri, 20 Nov 2026 10:00:00 GMT", 0},
		     {"18446744073709551616", 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_INT(kube_retry_after_ms(cases[i].text, strlen(cases[i].text)), cases[i].ms);
}

static void events(void)
{
	static const struct {
		const char *line;
		int type; /* -1: refused */
	} cases[] = {
	    {"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_ADDED},
	    {"{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_DELETED},
	    {"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", KUBE_EVENT_BOOKMARK},
	    {"{\"type\":\"ERROR\",\"object\":{\"code\":410}}", KUBE_EVENT_EXPIRED},
	    {"{\"type\":\"ERROR\",\"object\":{\"code\":500,\"details\":{\"retryAfterSeconds\":2}}}", KUBE_EVENT_ERROR},
	    {"{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}", -1},
	    {"{\"type\":\"ADDED\",\"object\":[]}", -1},
	    {"{\"type\":\"RENAMED\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}", -1},
	    {"{\"type\":5}", -1},
	    {"[]", -1},
	    {"{", -1},
	    {"\xff", -1},
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		_cleanup_(json_fields_freep) struct json_fields *fields = kube_event_fields(i % 2 ? "spec(nodeName)" : NULL);
		_cleanup_free_ char *error = NULL;
		struct kube_event ev = {0};
		int r = kube_event_parse(cases[i / 2].line, strlen(cases[i / 2].line), fields, &ev, &error);

		CHECK_INT(r, cases[i / 2].type < 0 ? -EBADMSG : 0);
		CHECK(r == 0 || error);
		CHECK(r < 0 || ev.type == cases[i / 2].type);
		CHECK(ev.type != KUBE_EVENT_ERROR || r < 0 || ev.retry_after_ms == 2000);
		json_decref(ev.object);
	}
}

static bool collect_line(const char *line, size_t len, void *ctx)
{
	buf_add(ctx, line ? line : "(too long)", line ? len : 10);
	buf_adds(ctx, "|");
	return !(line && streq(line, "stop"));
}

static void lines_at_every_split(void)
{
	static const char text[] = "one\ntwo\n\n0123456789\n01234567890\nthree\n012345678901234567890\nfour\nhalf";

	for (size_t a = 0; a < sizeof(text); a++)
		for (size_t b = a; b < sizeof(text); b++) {
			struct kube_lines l = {.buf.max = 10};
			struct buf out = {0};

			CHECK(kube_lines_feed(&l, text, a, collect_line, &out));
			CHECK(kube_lines_feed(&l, text + a, b - a, collect_line, &out));
			CHECK(kube_lines_feed(&l, text + b, sizeof(text) - 1 - MIN(b, sizeof(text) - 1), collect_line,
					      &out));
			CHECK_STR(out.data, "one|two|0123456789|(too long)|three|(too long)|four|");
			kube_lines_done(&l);
			buf_done(&out);
		}
}

static void lines_of_ten_megabytes_are_taken(void)
{
	size_t n = 10 << 20;
	struct kube_lines l = {.buf.max = 16 << 20};
	struct buf line = {0}, out = {0};

	memset(buf_reserve(&line, n), 'x', n);
	line.len = n;
	buf_adds(&line, "\n");
	for (size_t at = 0; at < line.len; at += 16384)
		CHECK(kube_lines_feed(&l, line.data + at, MIN((size_t)16384, line.len - at), collect_line, &out));
	CHECK_INT(out.len, n + 1);
	kube_lines_done(&l);
	buf_done(&line);
	buf_done(&out);
}

#define KUBECONFIG(cluster, user)                                                                     \
	"current-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: ns}\n" \
	"clusters:\n- name: k\n  cluster: {" cluster "}\nusers:\n- name: u\n  user: {" user "}\n"

static void kubeconfigs(void)
{
	static const struct {
		const char *text, *error; /* NULL: good */
	} cases[] = {
	    {KUBECONFIG("server: 'https://h:1/', certificate-authority-data: Q0E=",
			"client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: t"),
	     NULL},
	    {KUBECONFIG("server: 'ftp://h'", ""), "f: server: expected https://HOST:PORT, not \\\"ftp://h\\\""},
	    {KUBECONFIG("server: 'https://h', certificate-authority-data: '%%'", ""),
	     "f: certificate-authority-data is not base64"},
	    {KUBECONFIG("server: 'https://h', certificate-authority: /no/such", ""),
	     "f: cannot read /no/such: No such file or directory"},
	    {KUBECONFIG("server: 'https://h'", "client-certificate-data: QQ=="),
	     "f: the user has a client certificate without the key"},
	    {KUBECONFIG("server: 'https://h'", "exec: {command: x}"),
	     "f: the user's \\\"exec\\\" is not supported: use a client certificate or a token"},
	    {KUBECONFIG("x: y", ""), "f: the cluster has no server"},
	    {"current-context: c\n", "f: the current context \\\"c\\\" is not there"},
	    {"current-context: c\ncontexts: [{name: c, context: {cluster: z}}]\n",
	     "f: context \\\"c\\\" names the cluster \\\"z\\\", which is not there"},
	    {"a: b\n", "f: no current-context is set"},
	    {"[]", "f: expected a mapping with clusters, users, contexts"},
	    {"", "f: the file is empty"},
	    {"{\"current-context\": 1", "f: line 1, column "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(kube_config_done) struct kube_config c = {0};
		_cleanup_free_ char *error = NULL;
		int r = kube_config_parse("f", cases[i].text, strlen(cases[i].text), NULL, &c, &error);

		CHECK_INT(r < 0, cases[i].error != NULL);
		if (r < 0) {
			CHECK(str_has_prefix(error, cases[i].error));
			continue;
		}
		CHECK_STR(c.server, "https://h:1");
		CHECK_STR(c.ca, "CA");
		CHECK_STR(c.cert, "CERT");
		CHECK_STR(c.key, "KEY");
		CHECK_STR(c.token, "t");
		CHECK_STR(c.namespace_, "ns");
	}
}

static void paths(void)
{
	char *p = kube_path("/api/v1", "a b", "pods", "x/../y", "status");

	p = kube_path_query(p, "labelSelector", "a=b,c in (d)");
	p = kube_path_query(p, "limit", "5");
	CHECK_STR(p, "/api/v1/namespaces/a%20b/pods/x%2F..%2Fy/status?labelSelector=a%3Db%2Cc%20in%20%28d%29&limit=5");
	free(p);
}

int main(void)
{
	RUN(backoff);
	RUN(retry_after);
	RUN(events);
	RUN(lines_at_every_split);
	RUN(lines_of_ten_megabytes_are_taken);
	RUN(kubeconfigs);
	RUN(paths);
	return test_end();
}
