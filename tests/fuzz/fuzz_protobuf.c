/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in protobuf, after the name of their kind and a form feed: nothing, with a reason, or an object that has only
 * fields of its schema. */
#include "fuzz.h"
#include "hub/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	_cleanup_free_ char *name = fuzz_text(&in, NULL), *error = NULL, *text = NULL;
	const struct kind *k = kind_of(name);
	_cleanup_json_ json_t *unknown = json_array(), *obj = NULL;
	struct errors e = { 0 };

	if (!k)
		return 0;
	obj = protobuf_decode(k->schema, in.data, in.size, &error);
	REQUIRE(!obj == !!error);
	if (error)
		fuzz_require_line(error);
	if (!obj)
		return 0;
	text = json_text(obj);
	REQUIRE(json_is_object(obj) && strlen(text) <= size * 64 + 4096);
	schema_decode(k->schema, obj, NULL, unknown, &e);
	REQUIRE(json_array_size(unknown) == 0);
	errors_done(&e);
	return 0;
}
