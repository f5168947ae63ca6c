/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of a document, and what is refused though nobody reads it. fuzz_json holds the reader against jansson on texts of any kind. */
#include "base/json_read.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/test.h"

/* What is read of @text, as text. */
static char *read_as(const char *fields, const char *text)
{
	_cleanup_(json_fields_freep) struct json_fields *f = json_fields_new(fields);
	_cleanup_json_ json_t *j = json_read("test", text, strlen(text), f, NULL);

	return j ? json_text(j) : NULL;
}

static void fields_say_what_is_read(void)
{
	static const struct {
		const char *fields, *text, *want;
	} cases[] = {
		{ "a", "{\"a\": {\"b\": [1, {\"c\": null}]}, \"d\": {\"a\": 2}}", "{\"a\":{\"b\":[1,{\"c\":null}]}}" },
		{ "a(b)", "{\"a\": {\"b\": 1, \"c\": 2}, \"b\": 3}", "{\"a\":{\"b\":1}}" },
		{ "a(b)", "{\"a\": [{\"b\": 1, \"c\": 2}, 3, [{\"c\": 4}]]}", "{\"a\":[{\"b\":1},3,[{}]]}" }, /* a list stands for its elements */
		{ "a(b)", "{\"a\": \"no object\"}", "{\"a\":\"no object\"}" },
		{ "a(b),c,a(d)", "{\"a\": {\"b\": 1, \"c\": 2, \"d\": 3}, \"c\": {\"a\": 4}}", "{\"a\":{\"b\":1,\"d\":3},\"c\":{\"a\":4}}" },
		{ "a(b),a", "{\"a\": {\"c\": 2}}", "{\"a\":{\"c\":2}}" },
		{ "a", "[{\"b\": 1}, 2.5]", "[{},2.5]" },
		{ "a", "{\"\\u0061\": \"\\ud83d\\ude00\\n\\/\"}", "{\"a\":\"\xf0\x9f\x98\x80\\n/\"}" }, /* names are compared as they are meant */
		{ "a", "\"\"", "\"\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *got = read_as(cases[i].fields, cases[i].text);

		CHECK_STR(got, cases[i].want);
	}
}

static void what_nobody_reads_is_checked_too(void)
{
	static const char *const bad[] = {
		"{\"b\": {\"c\": 1, \"c\": 2}}", "{\"b\": {\"c\": 1, \"\\u0063\": 2}}", "{\"b\": \"\\u0000\"}", "{\"b\": \"\\ud800\"}", "{\"b\": \"\xed\xa0\x80\"}",
		"{\"b\": \"\xc0\x80\"}",	 "{\"b\": 01}",			       "{\"b\": 1e999}",      "{\"b\": 9223372036854775808}",
		"{\"b\": [1,]}",		 "{\"b\": {}",			       "{\"b\": tru}",	      "{\"b\": 1} 2",
		"{\"b\": \"a\tb\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *got = read_as("a", bad[i]);

		CHECK_STR(got, NULL);
	}
}

static void an_error_names_the_place(void)
{
	_cleanup_free_ char *read = NULL, *parsed = NULL;
	static const char text[] = "{\"a\":1,\n\"b\":{\"c\":2,\"c\":3}}";

	CHECK(!json_read("list", text, strlen(text), &json_fields_all, &read));
	CHECK(!json_parse("list", text, strlen(text), &parsed));
	CHECK(str_has_prefix(read, "list: line 2, column "));
	CHECK_STR(read, parsed);
}

/* Strings are passed over in blocks: what is odd in one is seen wherever it stands, and nothing is read behind the text's end. */
static void odd_bytes_at_every_place(void)
{
	static const char *const odd[] = { "\"", "\\", "\\n", "\x1f", "\x7f", "\x80", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\\u00e9", "\\ud83d\\ude00", "\\ud83d" };

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		for (int before = 0; before < 35; before++)
			for (int after = 0; after < 20; after += 19) {
				_cleanup_free_ char *text = xasprintf("[\"%.*s%s%.*s\"]", before, "0123456789abcdefghijklmnopqrstuvwxyz", odd[i], after,
								      "0123456789abcdefghijklmnopqrstuvwxyz");
				_cleanup_free_ char *exact = xmalloc(strlen(text));
				struct json_pieces p = { 0 };
				_cleanup_json_ json_t *want = json_parse("test", text, strlen(text), NULL), *got;

				memcpy(exact, text, strlen(text));
				CHECK_INT(json_read_pieces("test", exact, strlen(text), "items", &json_fields_all, &p, NULL) == 0, want != NULL);
				json_pieces_done(&p);
				got = json_read("test", exact, strlen(text), &json_fields_all, NULL);
				CHECK(!want == !got && (!want || json_equal(want, got)));
			}
}

/* {"0": 0, "1": 0, …, @last: 0} */
static char *many_keys(unsigned n, unsigned last)
{
	struct buf b = { 0 };

	buf_adds(&b, "{");
	for (unsigned i = 0; i < n; i++)
		buf_addf(&b, "\"%u\": {\"a\": \"b\"}, ", i);
	buf_addf(&b, "\"%u\": 0}", last);
	return b.data;
}

static void a_key_comes_once_among_many(void)
{
	for (unsigned n = 1; n < 200; n += 1 + n / 8) {
		_cleanup_free_ char *good = many_keys(n, n), *first = many_keys(n, 0), *last = many_keys(n, n - 1), *got = read_as("x", good);

		CHECK_STR(got, "{}");
		CHECK(!read_as("x", first) && !read_as("x", last));
	}
}

static char *nested(unsigned n, const char *innermost)
{
	char *text = xcalloc(1, 2 * n + strlen(innermost) + 1);

	memset(text, '[', n);
	strcpy(text + n, innermost);
	memset(text + n + strlen(innermost), ']', n);
	return text;
}

static void depth_is_bounded_as_before(void)
{
	for (unsigned n = 2046; n < 2050; n++)
		for (int full = 0; full < 2; full++) {
			_cleanup_free_ char *text = nested(n, full ? "1" : "");
			_cleanup_json_ json_t *want = json_parse("test", text, strlen(text), NULL);
			struct json_pieces p = { 0 };

			CHECK_INT(json_read_pieces("test", text, strlen(text), "items", &json_fields_all, &p, NULL) == 0, want != NULL);
			json_pieces_done(&p);
		}
}

static void a_list_comes_in_pieces(void)
{
	static const char text[] = "{\"kind\": \"List\", \"items\": [{\"name\": \"a\", \"idle\": [\"0123456789012345678901234567890123456789012345678901234567890123\"], \"z\": 1},\n"
				   "7, {\"idle\": {\"items\": [0]}, \"name\": \"b\"}], \"metadata\": {\"items\": [3], \"v\": 4}}";
	_cleanup_(json_fields_freep) struct json_fields *f = json_fields_new("metadata,items(name,z)");
	_cleanup_(json_pieces_done) struct json_pieces p = { 0 };
	static const char *const want[] = { "{\"name\":\"a\",\"z\":1}", "7", "{\"name\":\"b\"}" };
	_cleanup_free_ char *rest = NULL;

	CHECK_INT(json_read_pieces("list", text, strlen(text), "items", f, &p, NULL), 0);
	rest = json_text(p.rest);
	CHECK_STR(rest, "{\"items\":[],\"metadata\":{\"items\":[3],\"v\":4}}");
	CHECK_INT(p.n, 3);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		_cleanup_json_ json_t *j = json_next_piece(&p);
		_cleanup_free_ char *got = json_text(j);

		CHECK_STR(got, want[i]);
	}
	CHECK(!json_next_piece(&p));
}

static void a_list_is_whole_before_its_first_piece(void)
{
	static const char text[] = "{\"items\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"metadata\": {}, \"items\": []}";
	_cleanup_(json_pieces_done) struct json_pieces p = { 0 };
	_cleanup_free_ char *why = NULL;

	CHECK_INT(json_read_pieces("list", text, strlen(text), "items", &json_fields_all, &p, &why), -EBADMSG);
	CHECK(str_has_prefix(why, "list: line 1, column "));
	CHECK(!p.n && !json_next_piece(&p));
}

int main(void)
{
	RUN(fields_say_what_is_read);
	RUN(what_nobody_reads_is_checked_too);
	RUN(an_error_names_the_place);
	RUN(odd_bytes_at_every_place);
	RUN(a_key_comes_once_among_many);
	RUN(depth_is_bounded_as_before);
	RUN(a_list_comes_in_pieces);
	RUN(a_list_is_whole_before_its_first_piece);
	return test_end();
}
