/* SPDX-License-Identifier: Apache-2.0 */
/* PATCH bodies: the first byte picks the form, then come the object, and the patch (JSON). The object stays as it
 * was, the result is within bounds, a merge patch applied twice is a merge patch applied once. */
#include "fuzz.h"
#include "hub/kind.h"
#include "hub/patch.h"

enum { DEPTH = 4096, GROWTH = 4 << 20 };

static void check_depth(const json_t *v, int depth)
{
	const char *key;
	json_t *child;
	size_t i;

	REQUIRE(depth <= DEPTH);
	json_array_foreach((json_t *)v, i, child)
		check_depth(child, depth + 1);
	json_object_foreach((json_t *)v, key, child)
		check_depth(child, depth + 1);
}

static json_t *apply(uint8_t form, const struct kind *k, const json_t *target, const json_t *patch)
{
	char *error = NULL;
	bool failed_test = false;
	json_t *out;

	if (form == 0)
		return patch_merge(target, patch);
	out = form == 1 ? patch_json(target, patch, &failed_test, &error) : patch_strategic(k->schema, target, patch, &error);
	REQUIRE(!out == !!error && (!failed_test || !out));
	if (error) {
		_cleanup_json_ json_t *text = json_string(error);

		REQUIRE(text); /* it goes into a Status */
	}
	free(error);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	uint8_t form = fuzz_byte(&in) % 3; /* 'c', 'd', 'e' in the corpus */
	size_t len;
	_cleanup_free_ char *text = fuzz_text(&in, &len), *written = NULL;
	_cleanup_json_ json_t *target = json_parse("object", text, len, NULL);
	_cleanup_json_ json_t *patch = json_parse("patch", (const char *)in.data, in.size, NULL);
	const struct kind *k = kind_of(json_str_or(json_object_get(target, "kind"), ""));
	_cleanup_json_ json_t *before = NULL, *out = NULL, *twice = NULL;

	if (!json_is_object(target) || !patch)
		return 0;
	before = json_deep_copy(target);
	out = apply(form, k ? k : &kinds[0], target, patch);
	REQUIRE(json_equal(before, target));
	if (!out)
		return 0;
	check_depth(out, 0);
	written = json_text(out);
	REQUIRE(strlen(written) <= size * 8 + GROWTH);
	if (form == 0) {
		twice = patch_merge(out, patch);
		REQUIRE(json_equal(out, twice));
	}
	return 0;
}
