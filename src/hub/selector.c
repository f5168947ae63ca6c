/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/selector.h"
#include "base/str.h"

enum { TEXT_MAX = 16384, REQUIREMENTS_MAX = 256, VALUES_MAX = 256 };

enum op { OP_IN, OP_NOT_IN, OP_EXISTS, OP_NOT_EXISTS, OP_GREATER, OP_LESS };

struct requirement {
	char *key;
	enum op op;
	char **values;
	size_t n_values, cap;
	int64_t number; /* of OP_GREATER, OP_LESS */
};

struct selector {
	struct requirement *list;
	size_t n, cap;
};

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name_part(const char *s, size_t n)
{
	if (n == 0 || n > 63 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("-_.", s[i]))
			return false;
	return true;
}

bool label_key_is_valid(const char *s)
{
	const char *slash = strchr(s, '/');

	if (slash) {
		_cleanup_free_ char *prefix = xstrndup(s, slash - s);

		if (!name_is_dns_subdomain(prefix))
			return false;
		s = slash + 1;
	}
	return is_name_part(s, strlen(s));
}

bool label_value_is_valid(const char *s)
{
	return !*s || is_name_part(s, strlen(s));
}

struct selector *selector_free(struct selector *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n; i++) {
		for (size_t j = 0; j < s->list[i].n_values; j++)
			free(s->list[i].values[j]);
		free(s->list[i].values);
		free(s->list[i].key);
	}
	free(s->list);
	free(s);
	return NULL;
}

bool selector_is_empty(const struct selector *s)
{
	return !s || s->n == 0;
}

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* A run of bytes that mean nothing to the grammar. */
static char *read_word(const char **p)
{
	size_t n;
	char *word;

	*p = skip_space(*p);
	n = strcspn(*p, " \t\r\n,()=!<>");
	word = xstrndup(*p, n);
	*p = skip_space(*p + n);
	return word;
}

static int bad(char **ret_error, const char *fmt, const char *arg)
{
	char escaped[300];

	str_escape(escaped, sizeof(escaped), arg);
	*ret_error = xasprintf(fmt, escaped);
	return -EINVAL;
}
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static int add_value(struct requirement *r, char *value, char **ret_error)
{
	if (!label_value_is_valid(value)) {
		bad(ret_error,
		    "values: Invalid value: \"%s\": a valid label value is empty or at most 63 alphanumeric characters, "
		    "'-', '_' or '.', starting and ending with an alphanumeric character",
		    value);
		free(value);
		return -EINVAL;
	}
	if (r->n_values >= VALUES_MAX) {
		free(value);
		return bad(ret_error, "%s: too many values", r->key);
	}
	GROW(r->values, r->n_values, r->cap);
	r->values[r->n_values++] = value;
	return 0;
}

static int read_set(const char **p, struct requirement *r, char **ret_error)
{
	int e;

	if (**p != '(')
		return bad(ret_error, "found '%s', expected: '('", *p);
	do {
		(*p)++;
		e = add_value(r, read_word(p), ret_error);
		if (e < 0)
			return e;
	} while (**p == ',');
	if (**p != ')')
		return bad(ret_error, "found '%s', expected: ',' or ')'", *p);
	*p = skip_space(*p + 1);
	return 0;
}

static int read_number(const char **p, struct requirement *r, char **ret_error)
{
	_cleanup_free_ char *word = read_word(p);
	uint64_t n;

	if (parse_u64(word, INT64_MAX, &n) < 0)
		return bad(ret_error, "for 'Gt', 'Lt' operators, the value must be an integer, not \"%s\"", word);
	r->number = n;
	return 0;
}

static int read_operator(const char **p, struct requirement *r, char **ret_error)
{
	static const struct {
		const char *text;
		enum op op;
	} symbols[] = { { "==", OP_IN }, { "=", OP_IN }, { "!=", OP_NOT_IN }, { ">", OP_GREATER }, { "<", OP_LESS } };

	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		if (!str_has_prefix(*p, symbols[i].text))
			continue;
		*p += strlen(symbols[i].text);
		r->op = symbols[i].op;
		if (r->op == OP_GREATER || r->op == OP_LESS)
			return read_number(p, r, ret_error);
		return add_value(r, read_word(p), ret_error);
	}
	_cleanup_free_ char *word = read_word(p);
	if (streq(word, "in") || streq(word, "notin")) {
		r->op = streq(word, "in") ? OP_IN : OP_NOT_IN;
		return read_set(p, r, ret_error);
	}
	return bad(ret_error, "found '%s', expected: in, notin, =, ==, !=, <, >", *word ? word : *p);
}

static int read_requirement(const char **p, struct requirement *r, char **ret_error)
{
	bool negated = false;

	*p = skip_space(*p);
	if (**p == '!') {
		negated = true;
		(*p)++;
	}
	r->key = read_word(p);
	if (!label_key_is_valid(r->key))
		return bad(ret_error,
			   "key: Invalid value: \"%s\": name part must consist of alphanumeric characters, '-', '_' or '.', "
			   "and must start and end with an alphanumeric character",
			   r->key);
	r->op = negated ? OP_NOT_EXISTS : OP_EXISTS;
	if (**p == ',' || !**p)
		return 0;
	if (negated)
		return bad(ret_error, "found '%s', expected: ',' or the end", *p);
	return read_operator(p, r, ret_error);
}

int selector_parse(const char *text, struct selector **ret, char **ret_error)
{
	_cleanup_(selector_freep) struct selector *s = xnew0(struct selector);
	const char *p = skip_space(text);

	if (strlen(text) > TEXT_MAX)
		return bad(ret_error, "selector is longer than 16384 bytes%s", "");
	while (*p) {
		int r;

		if (s->n >= REQUIREMENTS_MAX)
			return bad(ret_error, "more than 256 requirements%s", "");
		GROW(s->list, s->n, s->cap);
		s->list[s->n] = (struct requirement){ 0 };
		r = read_requirement(&p, &s->list[s->n++], ret_error);
		if (r < 0)
			return r;
		if (*p == ',' && *skip_space(p + 1))
			p++;
		else if (*p)
			return bad(ret_error, "found '%s', expected: identifier after ','", p);
	}
	*ret = take_ptr(s);
	return 0;
}

static bool has_value(const struct requirement *r, const char *value)
{
	for (size_t i = 0; i < r->n_values; i++)
		if (streq(r->values[i], value))
			return true;
	return false;
}

static bool requirement_matches(const struct requirement *r, const char *value)
{
	uint64_t n;

	switch (r->op) {
	case OP_IN:
		return value && has_value(r, value);
	case OP_NOT_IN:
		return !value || !has_value(r, value);
	case OP_EXISTS:
		return value;
	case OP_NOT_EXISTS:
		return !value;
	case OP_GREATER:
		return value && parse_u64(value, INT64_MAX, &n) == 0 && (int64_t)n > r->number;
	case OP_LESS:
		return value && parse_u64(value, INT64_MAX, &n) == 0 && (int64_t)n < r->number;
	}
	return false;
}

bool selector_matches(const struct selector *s, const json_t *labels)
{
	for (size_t i = 0; s && i < s->n; i++)
		if (!requirement_matches(&s->list[i], json_str_at(labels, s->list[i].key)))
			return false;
	return true;
}

struct field_selector {
	struct field_requirement {
		char *path, *value;
		bool negated;
	} *list;
	size_t n, cap;
};

struct field_selector *field_selector_free(struct field_selector *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n; i++) {
		free(s->list[i].path);
		free(s->list[i].value);
	}
	free(s->list);
	free(s);
	return NULL;
}

static bool label_is_supported(const struct kind *k, const char *path)
{
	if (streq(path, "metadata.name") || (k->namespaced && streq(path, "metadata.namespace")))
		return true;
	for (const char *const *l = k->field_labels; l && *l; l++)
		if (streq(*l, path))
			return true;
	return false;
}

/* Up to an unescaped comma; backslash takes the next byte as it is. */
static char *read_field_value(const char **p)
{
	char *out = xmalloc(strlen(*p) + 1), *w = out;

	while (**p && **p != ',') {
		if (**p == '\\' && (*p)[1])
			(*p)++;
		*w++ = *(*p)++;
	}
	*w = 0;
	return out;
}

int field_selector_parse(const char *text, const struct kind *k, struct field_selector **ret, char **ret_error)
{
	_cleanup_(field_selector_freep) struct field_selector *s = xnew0(struct field_selector);
	const char *p = text;

	if (strlen(text) > TEXT_MAX)
		return bad(ret_error, "field selector is longer than 16384 bytes%s", "");
	while (*p) {
		size_t n = strcspn(p, "=!,");
		struct field_requirement *f;

		if (s->n >= REQUIREMENTS_MAX)
			return bad(ret_error, "more than 256 requirements%s", "");
		GROW(s->list, s->n, s->cap);
		f = &s->list[s->n++];
		*f = (struct field_requirement){ .path = xstrndup(p, n) };
		p += n;
		f->negated = *p == '!';
		p += f->negated;
		if (*p != '=')
			return bad(ret_error, "invalid field selector: '%s'; can't understand it", text);
		p += p[1] == '=' && !f->negated ? 2 : 1;
		f->value = read_field_value(&p);
		p += *p == ',';
		if (!label_is_supported(k, f->path))
			return bad(ret_error, "field label not supported: %s", f->path);
	}
	*ret = take_ptr(s);
	return 0;
}

json_t *json_dotted(const json_t *obj, const char *path)
{
	json_t *j = (json_t *)obj;

	while (j && *path) {
		size_t n = strcspn(path, ".");

		j = json_object_getn(j, path, n);
		path += n + (path[n] == '.');
	}
	return j;
}

bool field_selector_matches(const struct field_selector *s, const json_t *obj)
{
	for (size_t i = 0; s && i < s->n; i++) {
		const json_t *v = json_dotted(obj, s->list[i].path);
		const char *text = json_is_boolean(v) ? (json_is_true(v) ? "true" : "false") : json_str_or(v, "");

		if (streq(text, s->list[i].value) == s->list[i].negated)
			return false;
	}
	return true;
}

const char *field_selector_name(const struct field_selector *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		if (streq(s->list[i].path, "metadata.name") && !s->list[i].negated)
			return s->list[i].value;
	return NULL;
}
