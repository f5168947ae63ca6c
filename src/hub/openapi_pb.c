/* SPDX-License-Identifier: Apache-2.0 */
/* The protobuf wire format by hand, for the few messages of openapi.v2 that we need. Field numbers are those of
 * gnostic's OpenAPIv2.proto; each is named where it is written. */
#include "base/str.h"
#include "hub/openapi.h"

enum { WIRE_LEN = 2 };

static void put_varint(struct buf *out, uint64_t v)
{
	do {
		uint8_t byte = (v & 0x7f) | (v > 0x7f ? 0x80 : 0);

		buf_add(out, &byte, 1);
		v >>= 7;
	} while (v);
}

static void put_bytes(struct buf *out, unsigned field, const void *data, size_t n)
{
	put_varint(out, field << 3 | WIRE_LEN);
	put_varint(out, n);
	buf_add(out, data, n);
}

static void put_string(struct buf *out, unsigned field, const char *s)
{
	if (s)
		put_bytes(out, field, s, strlen(s));
}

/* Embeds a finished message and empties it. */
static void put_message(struct buf *out, unsigned field, struct buf *message)
{
	put_bytes(out, field, message->data, message->len);
	buf_done(message);
}

/* NamedAny: name = 1, value = 2; Any: yaml = 2 (JSON is YAML) */
static void put_extension(struct buf *out, unsigned field, const char *name, const json_t *value)
{
	_cleanup_free_ char *text = json_text(value);
	struct buf any = { 0 }, named = { 0 };

	put_string(&any, 2, text);
	put_string(&named, 1, name);
	put_message(&named, 2, &any);
	put_message(out, field, &named);
}

static void put_extensions(struct buf *out, unsigned field, const json_t *object)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)object, key, v)
		if (str_has_prefix(key, "x-"))
			put_extension(out, field, key, v);
}

static void encode_schema(const json_t *s, struct buf *out);

/* NamedSchema: name = 1, value = 2 */
static void put_named_schemas(struct buf *out, const json_t *object)
{
	const char *name;
	json_t *s;

	json_object_foreach((json_t *)object, name, s) {
		struct buf value = { 0 }, named = { 0 };

		encode_schema(s, &value);
		put_string(&named, 1, name);
		put_message(&named, 2, &value);
		put_message(out, 1, &named); /* Properties and Definitions: additional_properties = 1 */
	}
}

static void put_nested(struct buf *out, unsigned field, const json_t *s)
{
	struct buf schema = { 0 }, item = { 0 };

	if (!s)
		return;
	encode_schema(s, &schema);
	put_message(&item, 1, &schema); /* AdditionalPropertiesItem and ItemsItem: schema = 1 */
	put_message(out, field, &item);
}

/* Schema: _ref = 1, format = 2, description = 4, required = 19, additional_properties = 21, type = 22, items = 23,
 * properties = 25, vendor_extension = 31 */
static void encode_schema(const json_t *s, struct buf *out)
{
	const char *type = json_str_at(s, "type");
	struct buf nested = { 0 };
	json_t *v;
	size_t i;

	put_string(out, 1, json_str_at(s, "$ref"));
	put_string(out, 2, json_str_at(s, "format"));
	put_string(out, 4, json_str_at(s, "description"));
	json_array_foreach(json_object_get(s, "required"), i, v)
		put_string(out, 19, json_string_value(v));
	put_nested(out, 21, json_object_get(s, "additionalProperties"));
	if (type) {
		put_string(&nested, 1, type); /* TypeItem: value = 1 */
		put_message(out, 22, &nested);
	}
	put_nested(out, 23, json_object_get(s, "items"));
	if (json_object_get(s, "properties")) {
		put_named_schemas(&nested, json_object_get(s, "properties"));
		put_message(out, 25, &nested);
	}
	put_extensions(out, 31, s);
}

/* ParametersItem: parameter = 1; Parameter: non_body_parameter = 2; NonBodyParameter: query_parameter_sub_schema = 3;
 * QueryParameterSubSchema: in = 2, name = 4, type = 6 */
static void put_parameter(struct buf *out, const json_t *p)
{
	struct buf query = { 0 }, non_body = { 0 }, parameter = { 0 }, item = { 0 };

	put_string(&query, 2, json_str_at(p, "in"));
	put_string(&query, 4, json_str_at(p, "name"));
	put_string(&query, 6, json_str_at(p, "type"));
	put_message(&non_body, 3, &query);
	put_message(&parameter, 2, &non_body);
	put_message(&item, 1, &parameter);
	put_message(out, 8, &item);
}

/* Operation: parameters = 8, vendor_extension = 13 */
static void put_operation(struct buf *out, unsigned field, const json_t *op)
{
	struct buf b = { 0 };
	json_t *p;
	size_t i;

	if (!op)
		return;
	json_array_foreach(json_object_get(op, "parameters"), i, p)
		put_parameter(&b, p);
	put_extensions(&b, 13, op);
	put_message(out, field, &b);
}

/* Paths: path = 2 (NamedPathItem: name = 1, value = 2); PathItem: get = 2, put = 3, post = 4, delete = 5, patch = 8 */
static void put_paths(struct buf *out, const json_t *paths)
{
	const char *name;
	json_t *p;

	json_object_foreach((json_t *)paths, name, p) {
		struct buf item = { 0 }, named = { 0 };

		put_operation(&item, 2, json_object_get(p, "get"));
		put_operation(&item, 3, json_object_get(p, "put"));
		put_operation(&item, 4, json_object_get(p, "post"));
		put_operation(&item, 5, json_object_get(p, "delete"));
		put_operation(&item, 8, json_object_get(p, "patch"));
		put_string(&named, 1, name);
		put_message(&named, 2, &item);
		put_message(out, 2, &named);
	}
}

/* Document: swagger = 1, info = 2 (title = 1, version = 2), paths = 8, definitions = 9 */
void openapi_encode_v2(const json_t *definitions, const json_t *paths, struct buf *out)
{
	struct buf b = { 0 };

	put_string(out, 1, "2.0");
	put_string(&b, 1, "Weft");
	put_string(&b, 2, WEFT_VERSION);
	put_message(out, 2, &b);
	put_paths(&b, paths);
	put_message(out, 8, &b);
	put_named_schemas(&b, definitions);
	put_message(out, 9, &b);
}
