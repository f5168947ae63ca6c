/* SPDX-License-Identifier: Apache-2.0 */
/* Selectors of the API: two label selectors, two field selectors, and an object to hold them against (JSON). What is
 * accepted joins with a comma and then means "both"; a negation means the opposite. */
#include "fuzz.h"
#include "hub/selector.h"

/* Two that are whole together break no bound when joined. */
static bool is_short(const char *text)
{
	size_t parts = 1;

	for (const char *c = text; *c; c++)
		parts += *c == ',';
	return parts <= 256 && strlen(text) <= 16384;
}

static void check_error(int r, char *error)
{
	REQUIRE((r < 0) == (error != NULL) && (r == 0 || r == -EINVAL));
	if (error)
		fuzz_require_line(error);
	free(error);
}

static struct selector *parse(const char *text)
{
	struct selector *s = NULL;
	char *error = NULL;
	int r = selector_parse(text, &s, &error);

	check_error(r, error);
	return s;
}

/* Return: NULL when it is none. */
static struct field_selector *parse_field(const char *text, const struct kind *k)
{
	struct field_selector *s = NULL;
	char *error = NULL;
	int r = field_selector_parse(text, k, &s, &error);

	check_error(r, error);
	return s;
}

static void check_labels(const char *a_text, const char *b_text, const json_t *labels)
{
	_cleanup_(selector_freep) struct selector *a = parse(a_text), *b = parse(b_text), *both = NULL;
	_cleanup_free_ char *joined = xasprintf("%s,%s", a_text, b_text);

	if (!a || !b)
		return;
	REQUIRE(!selector_is_empty(a) || selector_matches(a, labels));
	if (selector_is_empty(a) || selector_is_empty(b) || !is_short(joined))
		return;
	both = parse(joined);
	REQUIRE(both && selector_matches(both, labels) == (selector_matches(a, labels) && selector_matches(b, labels)));
}

/* A key is there, or it is not. */
static void check_existence(const char *key, const json_t *labels)
{
	_cleanup_(selector_freep) struct selector *is = NULL, *is_not = NULL;
	_cleanup_free_ char *negated = xasprintf("!%s", key);
	const char *value = json_str_at(labels, key);

	if (!label_key_is_valid(key))
		return;
	is = parse(key);
	is_not = parse(negated);
	REQUIRE(is && is_not && selector_matches(is, labels) == (value != NULL) &&
		selector_matches(is_not, labels) == (value == NULL));
}

/* key=value, as written, matches what has it. */
static void check_equality(const char *key, const char *value, const json_t *labels)
{
	_cleanup_(selector_freep) struct selector *is = NULL, *is_not = NULL;
	_cleanup_free_ char *equal = xasprintf("%s = %s", key, value), *other = xasprintf("%s notin (%s)", key, value);

	if (!label_key_is_valid(key) || !label_value_is_valid(value))
		return;
	is = parse(equal);
	is_not = parse(other);
	REQUIRE(is && is_not && selector_matches(is, labels) && !selector_matches(is_not, labels));
}

static void check_fields(const char *a_text, const char *b_text, const struct kind *k, const json_t *obj)
{
	_cleanup_(field_selector_freep) struct field_selector *a = parse_field(a_text, k), *b = parse_field(b_text, k), *both = NULL;
	_cleanup_free_ char *joined = xasprintf("%s,%s", a_text, b_text);
	size_t n = strlen(a_text);
	const char *name;

	if (a && (name = field_selector_name(a)) && field_selector_matches(a, obj))
		REQUIRE(streq(name, json_str_or(json_at(obj, "metadata", "name"), "")));
	/* a backslash at the end would take the comma */
	if (!a || !b || !n || !*b_text || !is_short(joined) || a_text[n - 1] == '\\' || a_text[n - 1] == ',')
		return;
	both = parse_field(joined, k);
	REQUIRE(both && field_selector_matches(both, obj) == (field_selector_matches(a, obj) && field_selector_matches(b, obj)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	_cleanup_free_ char *a = fuzz_text(&in, NULL), *b = fuzz_text(&in, NULL), *c = fuzz_text(&in, NULL), *d = fuzz_text(&in, NULL);
	_cleanup_json_ json_t *obj = json_parse("object", (const char *)in.data, in.size, NULL);
	json_t *labels = json_at(obj, "metadata", "labels"), *v;
	const struct kind *k = kind_of(json_str_or(json_object_get(obj, "kind"), "Pod"));
	const char *key;

	check_labels(a, b, labels);
	check_existence(a, labels);
	check_fields(c, d, k ? k : &kinds[0], obj);
	json_object_foreach(labels, key, v)
		if (json_is_string(v)) {
			check_existence(key, labels);
			check_equality(key, json_string_value(v), labels);
		}
	return 0;
}
