/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's event stream, folded into jansson values by recursive descent. Anchored values are kept by name and
 * shared by reference where an alias names them; every value produced counts against one budget, so nested aliases
 * cannot blow up a consumer that copies. */
#include "base/yaml.h"
#include "base/str.h"

#include <yaml.h>

enum { DEPTH_MAX = 64, VALUES_MAX = 100000 };

struct reader {
	yaml_parser_t parser;
	json_t *anchors; /* name -> value */
	json_t *weights; /* name -> how many values it holds */
	size_t values;
	const char *what;
	char *error;
	int code;
};

static json_t *read_value(struct reader *r, const yaml_event_t *e, int depth);

static json_t *fail(struct reader *r, int code, yaml_mark_t at, const char *why)
{
	if (!r->error)
		r->error = xasprintf("%s: line %zu, column %zu: %s", r->what, at.line + 1, at.column + 1, why);
	r->code = code;
	return NULL;
}

static bool next_event(struct reader *r, yaml_event_t *e)
{
	if (yaml_parser_parse(&r->parser, e))
		return true;
	*e = (yaml_event_t){ 0 };
	fail(r, -EINVAL, r->parser.problem_mark, r->parser.problem ? r->parser.problem : "not YAML");
	return false;
}

static bool is_json_number(const char *s, bool *ret_real)
{
	const char *p = s + (*s == '-');
	size_t digits = strspn(p, "0123456789");

	*ret_real = false;
	if (digits == 0 || (digits > 1 && *p == '0'))
		return false;
	p += digits;
	if (*p == '.') {
		*ret_real = true;
		digits = strspn(++p, "0123456789");
		if (digits == 0)
			return false;
		p += digits;
	}
	if (*p == 'e' || *p == 'E') {
		*ret_real = true;
		p++;
		p += *p == '+' || *p == '-';
		digits = strspn(p, "0123456789");
		if (digits == 0)
			return false;
		p += digits;
	}
	return !*p;
}

static json_t *plain_scalar(const char *s)
{
	bool real;

	if (!*s || streq(s, "~") || streq(s, "null") || streq(s, "Null") || streq(s, "NULL"))
		return json_null();
	if (streq(s, "true") || streq(s, "True") || streq(s, "TRUE"))
		return json_true();
	if (streq(s, "false") || streq(s, "False") || streq(s, "FALSE"))
		return json_false();
	if (is_json_number(s, &real)) {
		json_t *n;

		errno = 0;
		n = real ? json_real(strtod(s, NULL)) : json_integer(strtoll(s, NULL, 10));
		if (errno == 0 && n)
			return n;
		json_decref(n);
	}
	return NULL;
}

static json_t *read_scalar(struct reader *r, const yaml_event_t *e)
{
	const char *s = (const char *)e->data.scalar.value;
	json_t *j = NULL;

	if (strlen(s) != e->data.scalar.length)
		return fail(r, -EINVAL, e->start_mark, "NUL byte in a string");
	if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && e->data.scalar.plain_implicit)
		j = plain_scalar(s);
	if (!j)
		j = json_string(s);
	return j ? j : fail(r, -EINVAL, e->start_mark, "string is not UTF-8");
}

static json_t *read_sequence(struct reader *r, int depth)
{
	_cleanup_json_ json_t *a = json_array();
	yaml_event_t e;

	while (next_event(r, &e)) {
		bool end = e.type == YAML_SEQUENCE_END_EVENT;
		json_t *v = end ? NULL : read_value(r, &e, depth + 1);

		yaml_event_delete(&e);
		if (end)
			return take_ptr(a);
		if (!v || json_array_append_new(a, v) < 0)
			return NULL;
	}
	return NULL;
}

static json_t *read_mapping(struct reader *r, int depth)
{
	_cleanup_json_ json_t *o = json_object();
	yaml_event_t k;

	while (next_event(r, &k)) {
		_cleanup_free_ char *key = NULL;
		yaml_mark_t at = k.start_mark;
		bool end = k.type == YAML_MAPPING_END_EVENT, scalar = k.type == YAML_SCALAR_EVENT, nul = false;
		yaml_event_t e;
		json_t *v;

		if (scalar) {
			key = xstrdup((const char *)k.data.scalar.value);
			nul = strlen(key) != k.data.scalar.length;
		}
		yaml_event_delete(&k);
		if (end)
			return take_ptr(o);
		if (!scalar)
			return fail(r, -EINVAL, at, "a key must be a scalar");
		if (nul)
			return fail(r, -EINVAL, at, "NUL byte in a key");
		if (json_object_get(o, key))
			return fail(r, -EINVAL, at, "key stands twice in this mapping");
		if (!next_event(r, &e))
			return NULL;
		v = read_value(r, &e, depth + 1);
		yaml_event_delete(&e);
		if (!v)
			return NULL;
		if (json_object_set_new(o, key, v) < 0)
			return fail(r, -EINVAL, at, "key is not UTF-8");
	}
	return NULL;
}

static json_t *read_alias(struct reader *r, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	json_t *v = json_object_get(r->anchors, name);

	if (!v)
		return fail(r, -EINVAL, e->start_mark, "alias of an unknown anchor");
	r->values += json_integer_value(json_object_get(r->weights, name));
	if (r->values > VALUES_MAX)
		return fail(r, -E2BIG, e->start_mark, "more than 100000 values");
	return json_incref(v);
}

static json_t *read_value(struct reader *r, const yaml_event_t *e, int depth)
{
	const char *anchor = NULL;
	size_t before = r->values;
	json_t *v;

	if (depth > DEPTH_MAX)
		return fail(r, -E2BIG, e->start_mark, "more than 64 levels");
	if (++r->values > VALUES_MAX)
		return fail(r, -E2BIG, e->start_mark, "more than 100000 values");
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return read_alias(r, e);
	case YAML_SCALAR_EVENT:
		anchor = (const char *)e->data.scalar.anchor;
		v = read_scalar(r, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = (const char *)e->data.sequence_start.anchor;
		v = read_sequence(r, depth);
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = (const char *)e->data.mapping_start.anchor;
		v = read_mapping(r, depth);
		break;
	default:
		return fail(r, -EINVAL, e->start_mark, "unexpected end of a value");
	}
	if (v && anchor) {
		json_object_set(r->anchors, anchor, v);
		json_object_set_new(r->weights, anchor, json_integer(r->values - before));
	}
	return v;
}

static int read_documents(struct reader *r, json_t *docs)
{
	for (bool end = false; !end;) {
		yaml_event_t e;
		json_t *v = NULL;
		bool value;

		if (!next_event(r, &e))
			return r->code;
		end = e.type == YAML_STREAM_END_EVENT;
		value = e.type == YAML_SCALAR_EVENT || e.type == YAML_SEQUENCE_START_EVENT ||
			e.type == YAML_MAPPING_START_EVENT || e.type == YAML_ALIAS_EVENT;
		if (e.type == YAML_DOCUMENT_START_EVENT) {
			json_object_clear(r->anchors);
			json_object_clear(r->weights);
		}
		if (value)
			v = read_value(r, &e, 1);
		yaml_event_delete(&e);
		if (value && !v)
			return r->code ? r->code : -EINVAL;
		if (v && !json_is_null(v))
			json_array_append_new(docs, v);
		else
			json_decref(v);
	}
	return 0;
}

int yaml_parse(const char *what, const char *text, size_t len, json_t **ret_docs, char **ret_error)
{
	struct reader r = { .what = what };
	_cleanup_json_ json_t *docs = json_array();
	int code;

	if (!yaml_parser_initialize(&r.parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	r.anchors = json_object();
	r.weights = json_object();
	code = read_documents(&r, docs);
	json_decref(r.anchors);
	json_decref(r.weights);
	yaml_parser_delete(&r.parser);
	if (code == 0)
		*ret_docs = take_ptr(docs);
	else if (ret_error)
		*ret_error = take_ptr(r.error);
	free(r.error);
	return code;
}

/* One open mapping or sequence while yaml_key_line() walks: how much of the path leads here, and what comes next. */
struct level {
	size_t path_len;
	bool mapping, want_key;
};

static void path_set(char **path, size_t keep, const char *key)
{
	char *next = keep ? xasprintf("%.*s.%s", (int)keep, *path, key) : xstrdup(key);

	free(*path);
	*path = next;
}

size_t yaml_key_line(const char *text, size_t len, const char *path)
{
	struct level levels[DEPTH_MAX + 2] = { 0 };
	_cleanup_free_ char *at = xstrdup("");
	size_t line = 0, depth = 0;
	yaml_parser_t parser;

	if (!yaml_parser_initialize(&parser))
		return 0;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	for (bool end = false; !end && line == 0;) {
		struct level *l = &levels[depth];
		yaml_event_t e;

		if (!yaml_parser_parse(&parser, &e))
			break;
		end = e.type == YAML_STREAM_END_EVENT;
		if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT) {
			bool mapping = e.type == YAML_MAPPING_START_EVENT;

			l->want_key = l->mapping;
			if (depth + 1 >= ARRAY_SIZE(levels))
				end = true;
			else
				levels[++depth] = (struct level){ strlen(at), mapping, mapping };
		} else if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT) {
			depth--;
		} else if (e.type == YAML_SCALAR_EVENT && l->mapping && l->want_key) {
			path_set(&at, l->path_len, (const char *)e.data.scalar.value);
			l->want_key = false;
			if (streq(at, path))
				line = e.start_mark.line + 1;
		} else if (e.type == YAML_SCALAR_EVENT || e.type == YAML_ALIAS_EVENT) {
			l->want_key = l->mapping;
		}
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	return line;
}
