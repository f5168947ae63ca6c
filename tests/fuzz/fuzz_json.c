/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is accepted can be written and read back; what is not has an error that says where. Of the same text the reader of a part takes what jansson takes, and
 * makes of it what is left of jansson's value when the rest is cut off, in one go and in pieces. */
#include "base/json_read.h"
#include "fuzz.h"

static json_t *cut(const json_t *j, const struct json_fields *f)
{
	json_t *out, *v;
	const char *key;
	size_t i;

	if (json_is_array(j)) {
		out = json_array();
		json_array_foreach(j, i, v)
			json_array_append_new(out, cut(v, f));
		return out;
	}
	if (!json_is_object(j))
		return json_incref((json_t *)j);
	out = json_object();
	json_object_foreach((json_t *)j, key, v) {
		const struct json_fields *of = json_fields_find(f, key, strlen(key));

		if (of)
			json_object_set_new(out, key, cut(v, of));
	}
	return out;
}

/* Members stand in the order of the text, too. */
static void require_same(const json_t *a, const json_t *b)
{
	_cleanup_free_ char *x = json_text(a), *y = json_text(b);

	REQUIRE(streq(x, y));
}

static void put_together(struct json_pieces *p, const char *list)
{
	json_t *elements = json_object_get(p->rest, list), *element;
	size_t n = 0;

	for (; (element = json_next_piece(p)); n++)
		json_array_append_new(elements, element);
	REQUIRE(n == p->n);
}

static void read_part(const char *text, size_t size, const char *fields, const json_t *whole, const char *error)
{
	_cleanup_(json_fields_freep) struct json_fields *own = fields ? json_fields_new(fields) : NULL;
	const struct json_fields *f = own ? own : &json_fields_all;
	_cleanup_json_ json_t *want = whole ? cut(whole, f) : NULL, *got = NULL;
	_cleanup_(json_pieces_done) struct json_pieces pieces = { 0 };
	_cleanup_free_ char *why = NULL, *why_in_pieces = NULL;

	got = json_read("input", text, size, f, &why);
	REQUIRE(!got == !want);
	/* The one does not hand on to jansson what it cannot read, so here it is seen who takes what. */
	REQUIRE((json_read_pieces("input", text, size, "items", f, &pieces, &why_in_pieces) == 0) == (want != NULL));
	if (!want) {
		REQUIRE(streq(why, error) && streq(why_in_pieces, error));
		return;
	}
	require_same(want, got);
	put_together(&pieces, "items");
	require_same(want, pieces.rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const fields[] = { NULL, "a", "a(b),b", "metadata(name),items(a,b(a),name)" };
	_cleanup_free_ char *error = NULL, *text = NULL;
	_cleanup_json_ json_t *j = json_parse("input", (const char *)data, size, &error), *again = NULL;

	REQUIRE(!j == !!error);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		read_part((const char *)data, size, fields[i], j, error);
	if (!j) {
		fuzz_require_line(error);
		REQUIRE(str_has_prefix(error, "input: line "));
		return 0;
	}
	text = json_text(j);
	again = json_parse("again", text, strlen(text), NULL);
	REQUIRE(again && json_equal(j, again));
	return 0;
}
