/* SPDX-License-Identifier: Apache-2.0 */
/* YAML: bounded, and whatever is accepted is the same once more when it is written as JSON (YAML holds JSON). Every key
 * has a line. */
#include "base/yaml.h"
#include "fuzz.h"

enum { LEVELS = 64, VALUES = 100000 };

/* libyaml takes less than JSON does in three places: long keys, control characters, surrogate pairs. */
static bool fits(const json_t *v, int depth, size_t *values)
{
	const char *key;
	json_t *child;
	size_t i;

	REQUIRE(depth <= LEVELS);
	REQUIRE(++*values <= VALUES);
	if (json_is_string(v)) {
		for (const char *s = json_string_value(v); *s; s++)
			if (*s < 0x20 || *s == 0x7f)
				return false;
	}
	json_array_foreach((json_t *)v, i, child)
		if (!fits(child, depth + 1, values))
			return false;
	json_object_foreach((json_t *)v, key, child) {
		if (strlen(key) > 1000)
			return false;
		for (const char *s = key; *s; s++)
			if (*s < 0x20 || *s == 0x7f)
				return false;
		if (!fits(child, depth + 1, values))
			return false;
	}
	return true;
}

static void check_document(const json_t *doc, size_t *values)
{
	_cleanup_json_ json_t *again = NULL;
	_cleanup_free_ char *text = NULL, *error = NULL;
	int r;

	if (!fits(doc, 1, values))
		return;
	text = json_text(doc);
	r = yaml_parse("again", text, strlen(text), &again, &error);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", text, error);
	REQUIRE(r == 0 && json_array_size(again) == 1 && json_equal(json_array_get(again, 0), doc));
}

static void check_lines(const char *text, size_t len, const json_t *doc)
{
	const char *key;
	json_t *v;
	int n = 0;

	json_object_foreach((json_t *)doc, key, v) {
		REQUIRE(yaml_key_line(text, len, key) > 0);
		if (++n == 4)
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	_cleanup_json_ json_t *docs = NULL;
	_cleanup_free_ char *error = NULL;
	size_t values = 0;
	int r = yaml_parse("input", text, size, &docs, &error);

	yaml_key_line(text, size, "a.b");
	if (r < 0) {
		fuzz_require_line(error);
		REQUIRE((r == -EINVAL || r == -E2BIG) && !docs);
		return 0;
	}
	for (size_t i = 0; i < json_array_size(docs); i++)
		check_document(json_array_get(docs, i), &values);
	if (json_array_size(docs) == 1)
		check_lines(text, size, json_array_get(docs, 0));
	return 0;
}
