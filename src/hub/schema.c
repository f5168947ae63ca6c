/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/schema.h"
#include "base/str.h"

#include <limits.h>

enum { UNKNOWN_MAX = 100 };

const struct field *schema_field(const struct schema *s, const char *name)
{
	for (const struct field *f = s->fields; f->name; f++)
		if (streq(f->name, name))
			return f;
	return NULL;
}

static const char *skip_digits(const char *s)
{
	return s + strspn(s, "0123456789");
}

bool quantity_is_valid(const char *s)
{
	static const char *const suffixes[] = { "", "n", "u", "m", "k", "M", "G", "T", "P", "E",
						"Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	const char *p, *digits;

	s += *s == '+' || *s == '-';
	digits = s;
	p = skip_digits(s);
	if (*p == '.')
		p = skip_digits(p + 1);
	if (p == digits || (p == digits + 1 && *digits == '.'))
		return false;
	if ((*p == 'e' || *p == 'E') && (p[1] == '+' || p[1] == '-' || (p[1] >= '0' && p[1] <= '9'))) {
		const char *exp = p + 1 + (p[1] == '+' || p[1] == '-');

		p = skip_digits(exp);
		return p > exp && !*p;
	}
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		if (streq(p, suffixes[i]))
			return true;
	return false;
}

static bool shaped(const char **s, const char *shape)
{
	for (; *shape; shape++, (*s)++)
		if (*shape == '0' ? **s < '0' || **s > '9' : **s != *shape)
			return false;
	return true;
}

bool rfc3339_is_valid(const char *s)
{
	if (!shaped(&s, "0000-00-00T00:00:00"))
		return false;
	if (*s == '.') {
		const char *end = skip_digits(s + 1);

		if (end == s + 1)
			return false;
		s = end;
	}
	if (streq(s, "Z"))
		return true;
	return (*s == '+' || *s == '-') && s++ && shaped(&s, "00:00") && !*s;
}

static void decode_int(const json_t *v, long long min, long long max, const struct path *at, struct errors *errors)
{
	if (!json_is_integer(v))
		err_type(errors, at, "an integer", v);
	else if (json_integer_value(v) < min || json_integer_value(v) > max)
		err_type(errors, at, "a 32-bit integer", v);
}

static void decode_text(const json_t *v, bool (*valid)(const char *), const char *expected, const struct path *at,
			struct errors *errors)
{
	if (!json_is_string(v) || !valid(json_string_value(v)))
		err_type(errors, at, expected, v);
}

static void decode_one(const struct field *f, json_t *v, const struct path *at, json_t *unknown, struct errors *errors)
{
	switch (f->type) {
	case F_STRING:
		if (!json_is_string(v))
			err_type(errors, at, "a string", v);
		break;
	case F_INT:
		decode_int(v, INT_MIN, INT_MAX, at, errors);
		break;
	case F_LONG:
		decode_int(v, LLONG_MIN, LLONG_MAX, at, errors);
		break;
	case F_BOOL:
		if (!json_is_boolean(v))
			err_type(errors, at, "a boolean", v);
		break;
	case F_NUMBER:
		if (!json_is_number(v))
			err_type(errors, at, "a number", v);
		break;
	case F_INT_OR_STRING:
		if (!json_is_string(v))
			decode_int(v, INT_MIN, INT_MAX, at, errors);
		break;
	case F_QUANTITY:
		if (!json_is_number(v))
			decode_text(v, quantity_is_valid, "a quantity such as \"100m\" or \"1Gi\"", at, errors);
		break;
	case F_TIME:
	case F_MICROTIME:
		decode_text(v, rfc3339_is_valid, "a time such as \"2026-01-02T15:04:05Z\"", at, errors);
		break;
	case F_OBJECT:
		schema_decode(f->of, v, at, unknown, errors);
		break;
	case F_ANY:
		break;
	}
}

static void decode_map(const struct field *f, json_t *v, const struct path *at, json_t *unknown, struct errors *errors)
{
	const char *key;
	json_t *item;
	void *tmp;

	if (!json_is_object(v)) {
		err_type(errors, at, "an object", v);
		return;
	}
	json_object_foreach_safe(v, tmp, key, item) {
		if (json_is_null(item) && f->type != F_ANY && f->type != F_STRING)
			json_object_del(v, key);
		else if (json_is_null(item) && f->type == F_STRING)
			json_object_set_new(v, key, json_string(""));
		else
			decode_one(f, item, PATH_KEY(at, key), unknown, errors);
	}
}

static void decode_field(const struct field *f, json_t *v, const struct path *at, json_t *unknown, struct errors *errors)
{
	json_t *item;
	size_t i;

	if (f->shape == ONE) {
		decode_one(f, v, at, unknown, errors);
	} else if (f->shape == MAP) {
		decode_map(f, v, at, unknown, errors);
	} else if (!json_is_array(v)) {
		err_type(errors, at, "an array", v);
	} else {
		json_array_foreach(v, i, item)
			decode_one(f, item, PATH_AT(at, i), unknown, errors);
	}
}

void schema_decode(const struct schema *s, json_t *obj, const struct path *at, json_t *unknown, struct errors *errors)
{
	const char *key;
	json_t *v;
	void *tmp;

	if (!json_is_object(obj)) {
		err_type(errors, at, "an object", obj);
		return;
	}
	json_object_foreach_safe(obj, tmp, key, v) {
		const struct field *f = schema_field(s, key);

		if (!f && json_array_size(unknown) < UNKNOWN_MAX) {
			_cleanup_free_ char *where = path_format(PATH(at, key));

			json_array_append_new(unknown, json_string(where));
		}
		if (!f || json_is_null(v))
			json_object_del(obj, key);
		else
			decode_field(f, v, PATH(at, f->name), unknown, errors);
	}
}

static void validate_string(const struct field *f, const json_t *v, const struct path *at, struct errors *errors)
{
	const char *s = json_string_value(v);

	if (!s || !f->values)
		return;
	for (size_t i = 0; f->values[i]; i++)
		if (streq(f->values[i], s))
			return;
	err_unsupported(errors, at, s, f->values);
}

static void validate_one(const struct field *f, const json_t *v, const struct path *at, struct errors *errors)
{
	long long n = json_integer_value(v);

	if (f->type == F_OBJECT)
		schema_validate(f->of, v, at, errors);
	else if (f->type == F_STRING)
		validate_string(f, v, at, errors);
	else if ((f->type == F_INT || f->type == F_LONG) && f->max > f->min && (n < f->min || n > f->max))
		err_invalid(errors, at, v, "must be between %ld and %ld, inclusive", f->min, f->max);
}

/* Two entries of a keyed list with the same key cannot be told apart by a merge. */
static void validate_keys(const struct field *f, const json_t *list, const struct path *at, struct errors *errors)
{
	_cleanup_json_ json_t *seen = json_object();
	json_t *item;
	size_t i;

	if (!streq(f->key, "name"))
		return;
	json_array_foreach(list, i, item) {
		const char *name = json_str_at(item, f->key);

		if (name && *name && json_object_get(seen, name))
			err_duplicate(errors, PATH(PATH_AT(at, i), f->key), json_object_get(item, f->key));
		else if (name && *name)
			json_object_set_new(seen, name, json_true());
	}
}

static void validate_field(const struct field *f, const json_t *v, const struct path *at, struct errors *errors)
{
	const char *key;
	json_t *item;
	size_t i;

	if (f->shape == ONE) {
		validate_one(f, v, at, errors);
	} else if (f->shape == MAP) {
		json_object_foreach((json_t *)v, key, item)
			validate_one(f, item, PATH_KEY(at, key), errors);
	} else {
		json_array_foreach(v, i, item)
			validate_one(f, item, PATH_AT(at, i), errors);
		if (f->shape == KEYED)
			validate_keys(f, v, at, errors);
	}
}

static bool is_empty(const json_t *v)
{
	return !v || (json_is_string(v) && !*json_string_value(v)) || (json_is_array(v) && json_array_size(v) == 0);
}

void schema_validate(const struct schema *s, const json_t *obj, const struct path *at, struct errors *errors)
{
	for (const struct field *f = s->fields; f->name; f++) {
		const json_t *v = json_object_get(obj, f->name);

		if (f->required && is_empty(v))
			err_required(errors, PATH(at, f->name), NULL);
		else if (v)
			validate_field(f, v, PATH(at, f->name), errors);
	}
}
