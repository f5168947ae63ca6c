/* SPDX-License-Identifier: Apache-2.0 */
/* Driven by the schemas' field numbers (.pb). Go writes every field that is no pointer, set or not, so empty strings,
 * zero numbers and empty messages mean "not set" here. Depth is bounded by the schemas', which do not recurse. */
#include "hub/protobuf.h"
#include "base/str.h"
#include "hub/object.h"

struct reader {
	const uint8_t *p, *end;
	bool bad;
};

struct value {
	unsigned number, wire;
	uint64_t n;	      /* wire 0, 1, 5 */
	struct reader bytes;  /* wire 2 */
};

static uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; r->p < r->end && shift < 64; shift += 7) {
		uint8_t b = *r->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->bad = true;
	return 0;
}

static uint64_t read_fixed(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->p) < n) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)*r->p++ << (8 * i);
	return v;
}

/* The next field; false at the end or when the bytes are no protobuf. */
static bool read_value(struct reader *r, struct value *v)
{
	uint64_t tag;

	if (r->bad || r->p == r->end)
		return false;
	tag = read_varint(r);
	*v = (struct value){ .number = tag >> 3, .wire = tag & 7 };
	if (v->wire == 0)
		v->n = read_varint(r);
	else if (v->wire == 1 || v->wire == 5)
		v->n = read_fixed(r, v->wire == 1 ? 8 : 4);
	else if (v->wire == 2)
		v->n = read_varint(r);
	else
		r->bad = true;
	if (!r->bad && v->wire == 2) {
		if (v->n > (uint64_t)(r->end - r->p)) {
			r->bad = true;
			return false;
		}
		v->bytes = (struct reader){ r->p, r->p + v->n, false };
		r->p += v->n;
	}
	return !r->bad;
}

static json_t *decode_message(const struct schema *s, struct reader *r);

static json_t *text_of(struct reader *r, const struct value *v)
{
	json_t *j = v->wire == 2 ? json_stringn((const char *)v->bytes.p, v->bytes.end - v->bytes.p) : NULL;

	if (!j || strlen(json_string_value(j)) != json_string_length(j))
		r->bad = true;
	return j;
}

/* IntOrString: type = 1, intVal = 2, strVal = 3 */
static json_t *int_or_string_of(struct reader *r, const struct value *v)
{
	struct reader inner = v->bytes;
	_cleanup_json_ json_t *text = NULL;
	uint64_t type = 0, number = 0;
	struct value f;

	while (read_value(&inner, &f)) {
		if (f.number == 1)
			type = f.n;
		else if (f.number == 2)
			number = f.n;
		else if (f.number == 3 && !text)
			text = text_of(&inner, &f);
	}
	r->bad |= inner.bad || v->wire != 2;
	return type == 1 ? json_incref(text) : json_integer((int32_t)number);
}

/* Time: seconds = 1 */
static json_t *time_of(struct reader *r, const struct value *v)
{
	struct reader inner = v->bytes;
	char text[TIME_TEXT_MAX];
	uint64_t seconds = 0;
	struct value f;

	while (read_value(&inner, &f))
		if (f.number == 1)
			seconds = f.n;
	r->bad |= inner.bad || v->wire != 2;
	return seconds && seconds < 1ull << 40 ? json_string(time_format(text, seconds)) : NULL;
}

static json_t *decode_one(const struct field *f, struct reader *r, const struct value *v)
{
	struct reader inner = v->bytes;
	json_t *j;

	switch (f->type) {
	case F_STRING:
		return text_of(r, v);
	case F_INT:
	case F_LONG:
		return json_integer((int64_t)v->n);
	case F_BOOL:
		return json_boolean(v->n);
	case F_INT_OR_STRING:
		return int_or_string_of(r, v);
	case F_TIME:
		return time_of(r, v);
	case F_OBJECT:
		j = decode_message(f->of, &inner);
		r->bad |= inner.bad || v->wire != 2;
		return j;
	default:
		return NULL;
	}
}

/* A map entry: key = 1, value = 2 */
static void decode_entry(const struct field *f, struct reader *r, const struct value *v, json_t *map)
{
	struct reader inner = v->bytes;
	_cleanup_json_ json_t *key = NULL, *value = NULL;
	struct value part;

	while (read_value(&inner, &part)) {
		if (part.number == 1 && !key)
			key = text_of(&inner, &part);
		else if (part.number == 2 && !value)
			value = decode_one(f, &inner, &part);
	}
	r->bad |= inner.bad || v->wire != 2;
	if (!r->bad && key)
		json_object_set_new(map, json_string_value(key), value ? json_incref(value) : json_string(""));
}

static bool is_unset(const json_t *j)
{
	return !j || (json_is_string(j) && !json_string_length(j)) || (json_is_integer(j) && !json_integer_value(j)) ||
	       json_is_false(j);
}

static json_t *container(json_t *out, const struct field *f)
{
	json_t *c = json_object_get(out, f->name);

	if (!c) {
		c = f->shape == MAP ? json_object() : json_array();
		json_object_set_new(out, f->name, c);
	}
	return c;
}

static void decode_field(const struct field *f, struct reader *r, const struct value *v, json_t *out)
{
	json_t *j;

	if (f->shape == MAP) {
		decode_entry(f, r, v, container(out, f));
		return;
	}
	j = decode_one(f, r, v);
	if (f->shape != ONE && j)
		json_array_append_new(container(out, f), j);
	else if (is_unset(j))
		json_decref(j);
	else
		json_object_set_new(out, f->name, j);
}

static json_t *decode_message(const struct schema *s, struct reader *r)
{
	json_t *out = json_object();
	struct value v;

	while (read_value(r, &v))
		for (const struct field *f = s->fields; f->name; f++)
			if (f->pb && f->pb == v.number) {
				decode_field(f, r, &v, out);
				break;
			}
	return out;
}

/* TypeMeta: apiVersion = 1, kind = 2 */
static void read_type(struct reader r, json_t *out, bool *bad)
{
	struct value v;

	while (read_value(&r, &v))
		if ((v.number == 1 || v.number == 2) && v.wire == 2)
			json_object_set_new(out, v.number == 1 ? "apiVersion" : "kind", text_of(&r, &v));
	*bad |= r.bad;
}

json_t *protobuf_decode(const struct schema *s, const void *data, size_t n, char **ret_error)
{
	struct reader r = { (const uint8_t *)data + 4, (const uint8_t *)data + n, false }, raw = { 0 };
	_cleanup_json_ json_t *type = json_object(), *obj = NULL;
	struct value v;

	if (n < 4 || memcmp(data, "k8s", 4) != 0) {
		*ret_error = xstrdup("request body: expected an object in the protobuf form of Kubernetes");
		return NULL;
	}
	while (read_value(&r, &v)) { /* Unknown: typeMeta = 1, raw = 2 */
		if (v.number == 1 && v.wire == 2)
			read_type(v.bytes, type, &r.bad);
		else if (v.number == 2 && v.wire == 2)
			raw = v.bytes;
	}
	obj = decode_message(s, &raw);
	if (r.bad || raw.bad) {
		*ret_error = xstrdup("request body: broken protobuf");
		return NULL;
	}
	json_object_update(obj, type);
	return json_incref(obj);
}
