/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent is asked for and what it answers: the parameters of `observe`, then an event for the line that people see. A
 * filter that is accepted judges any event; no event, whatever is in it, makes more than one line or moves a cursor. */
#include "fuzz.h"
#include "base/json.h"
#include "observe/filter.h"
#include "observe/line.h"

static void check_filter(const json_t *params, struct fuzz_input *in)
{
	struct observe_event e = { .reason = "arp", .text = "", .hook = "", .path = "" };
	struct observe_filter f;
	char *error = NULL;

	if (observe_filter_parse(params, &f, &error) < 0) {
		fuzz_require_line(error);
		free(error);
		return;
	}
	REQUIRE(!error && f.last <= OBSERVE_LAST_MAX);
	e.kind = fuzz_byte(in) % OBSERVE_KINDS;
	e.verdict = fuzz_byte(in) % OBSERVE_VERDICTS;
	e.src.kind = fuzz_byte(in) % OBSERVE_END_KINDS;
	e.src.name = fuzz_text(in, NULL);
	e.src.namespace_ = fuzz_text(in, NULL);
	observe_filter_matches(&f, &e);
	observe_event_done(&e);
	observe_filter_done(&f);
}

static void check_line(const json_t *event)
{
	struct buf out = { 0 };

	observe_line(event, &out);
	REQUIRE(out.len && out.data[out.len - 1] == '\n');
	out.data[out.len - 1] = 0;
	fuzz_require_line(out.data);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t n;
	_cleanup_free_ char *params = fuzz_text(&in, &n);
	_cleanup_json_ json_t *j = json_parse("params", params, n, NULL);

	if (json_is_object(j)) {
		check_filter(j, &in);
		check_line(j);
	}
	return 0;
}
