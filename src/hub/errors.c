/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/errors.h"
#include "base/buf.h"
#include "base/str.h"

enum { CAUSES_MAX = 100, VALUE_MAX = 200 };

static void path_write(struct buf *b, const struct path *p)
{
	if (!p)
		return;
	path_write(b, p->up);
	if (!p->key)
		buf_addf(b, "[%zu]", p->index);
	else if (p->quoted)
		buf_addf(b, "[%s]", p->key);
	else
		buf_addf(b, "%s%s", b->len ? "." : "", p->key);
}

char *path_format(const struct path *p)
{
	struct buf b = { 0 };

	path_write(&b, p);
	return b.data ? b.data : xstrdup("");
}

void errors_done(struct errors *e)
{
	json_decref(e->causes);
	e->causes = NULL;
}

static void add(struct errors *e, const char *reason, const struct path *p, const char *message)
{
	_cleanup_free_ char *field = path_format(p);

	if (!e->causes)
		e->causes = json_array();
	if (json_array_size(e->causes) >= CAUSES_MAX)
		return;
	json_array_append_new(e->causes, json_pack("{ss ss ss}", "reason", reason, "message", message, "field",
						   *field ? field : "<root>"));
}

/* The value as it stands in the message: JSON, cut at a bound (on a UTF-8 boundary). */
static char *value_text(const json_t *value)
{
	char *s = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : xstrdup("null");
	size_t n = strlen(s);

	if (n > VALUE_MAX) {
		n = VALUE_MAX - 3;
		while (n > 0 && (s[n] & 0xc0) == 0x80)
			n--;
		strcpy(s + n, "...");
	}
	return s;
}

void err_required(struct errors *e, const struct path *p, const char *detail)
{
	_cleanup_free_ char *m = xasprintf("Required value%s%s", detail ? ": " : "", detail ? detail : "");

	add(e, "FieldValueRequired", p, m);
}

void err_invalid(struct errors *e, const struct path *p, const json_t *value, const char *fmt, ...)
{
	_cleanup_free_ char *v = value_text(value), *detail = NULL, *m = NULL;
	va_list ap;

	va_start(ap, fmt);
	detail = xvasprintf(fmt, ap);
	va_end(ap);
	m = xasprintf("Invalid value: %s: %s", v, detail);
	add(e, "FieldValueInvalid", p, m);
}

void err_unsupported(struct errors *e, const struct path *p, const char *value, const char *const *values)
{
	_cleanup_json_ json_t *j = json_string(value);
	_cleanup_free_ char *v = value_text(j);
	struct buf b = { 0 };

	buf_addf(&b, "Unsupported value: %s: supported values: ", v);
	for (size_t i = 0; values[i]; i++)
		buf_addf(&b, "%s\"%s\"", i ? ", " : "", values[i]);
	add(e, "FieldValueNotSupported", p, b.data);
	buf_done(&b);
}

void err_duplicate(struct errors *e, const struct path *p, const json_t *value)
{
	_cleanup_free_ char *v = value_text(value), *m = xasprintf("Duplicate value: %s", v);

	add(e, "FieldValueDuplicate", p, m);
}

void err_forbidden(struct errors *e, const struct path *p, const char *fmt, ...)
{
	_cleanup_free_ char *detail = NULL, *m = NULL;
	va_list ap;

	va_start(ap, fmt);
	detail = xvasprintf(fmt, ap);
	va_end(ap);
	m = xasprintf("Forbidden: %s", detail);
	add(e, "FieldValueForbidden", p, m);
}

void err_too_long(struct errors *e, const struct path *p, size_t max)
{
	_cleanup_free_ char *m = xasprintf("Too long: may not be more than %zu bytes", max);

	add(e, "FieldValueTooLong", p, m);
}

static const char *type_name(const json_t *j)
{
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return "object";
	case JSON_ARRAY:
		return "array";
	case JSON_STRING:
		return "string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "boolean";
	default:
		return "null";
	}
}

void err_type(struct errors *e, const struct path *p, const char *expected, const json_t *got)
{
	_cleanup_free_ char *m = xasprintf("expected %s, got %s", expected, type_name(got));

	add(e, "FieldValueTypeInvalid", p, m);
}
