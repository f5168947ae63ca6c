/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is accepted can be written and read back; what is not has an error that says where. */
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *error = NULL, *text = NULL;
	_cleanup_json_ json_t *j = json_parse("input", (const char *)data, size, &error), *again = NULL;

	REQUIRE(!j == !!error);
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
