/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of a watch: however it is cut into reads, the same lines come out of it, those that a naive splitter finds;
 * each line is an event that holds together, or an error with a text. First byte: the largest line; second: the cuts. */
#include "fuzz.h"
#include "kube/reflector.h"

struct seen {
	struct buf text; /* lines, each after its length; "-" for one that was too long */
	size_t stop_after, lines;
};

static void check_event(const char *line, size_t len)
{
	_cleanup_(json_fields_freep) struct json_fields *fields = kube_event_fields("metadata(name)");
	_cleanup_free_ char *error = NULL;
	struct kube_event ev = { 0 };
	int r = kube_event_parse(line, len, fields, &ev, &error);

	REQUIRE((r < 0) == (error != NULL));
	if (r < 0) {
		fuzz_require_line(error);
		return;
	}
	REQUIRE(ev.type <= KUBE_EVENT_ERROR && ev.retry_after_ms <= 300000);
	if (ev.type < KUBE_EVENT_EXPIRED)
		REQUIRE(json_is_object(ev.object) && ev.resource_version && *ev.resource_version);
	json_decref(ev.object);
}

static bool on_line(const char *line, size_t len, void *ctx)
{
	struct seen *s = ctx;

	if (line)
		buf_addf(&s->text, "%zu ", len);
	else
		buf_adds(&s->text, "-");
	buf_add(&s->text, line, line ? len : 0);
	buf_adds(&s->text, "\n");
	if (line)
		check_event(line, len);
	return ++s->lines != s->stop_after;
}

static void model(const uint8_t *data, size_t size, size_t max, struct seen *s)
{
	while (size) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t n = nl ? (size_t)(nl - data) : size;

		if (n > max)
			buf_adds(&s->text, "-\n");
		else if (nl && n) {
			buf_addf(&s->text, "%zu ", n);
			buf_add(&s->text, data, n);
			buf_adds(&s->text, "\n");
		}
		if (!nl)
			return;
		data = nl + 1;
		size -= n + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct kube_lines lines = { .buf = { .max = 1 + 16 * (size_t)fuzz_byte(&in) } };
	size_t piece = 1 + fuzz_byte(&in);
	struct seen got = { 0 }, want = { 0 };

	model(in.data, in.size, lines.buf.max, &want);
	while (in.size) {
		size_t n = MIN(piece, in.size);

		REQUIRE(kube_lines_feed(&lines, (const char *)in.data, n, on_line, &got));
		REQUIRE(lines.buf.len <= lines.buf.max);
		in.data += n;
		in.size -= n;
	}
	REQUIRE(got.text.len == want.text.len && (!got.text.len || memcmp(got.text.data, want.text.data, got.text.len) == 0));
	kube_lines_done(&lines);
	buf_done(&got.text);
	buf_done(&want.text);
	return 0;
}
