/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/str.h"

static void set_error(char **ret_error, const char *what, int line, int column, const char *why)
{
	char msg[256];

	if (!ret_error)
		return;
	str_escape(msg, sizeof(msg), why);
	*ret_error = xasprintf("%s: line %d, column %d: %s", what, line, column, msg);
}

/* jansson reads on over a NUL that follows a number or a word: that is taken for what it has not looked at yet. */
static json_t *refuse_nul(const char *what, const char *text, const char *nul, json_t *j, char **ret_error)
{
	const char *start = text;
	int line = 1;

	for (const char *at = text; at < nul; at++)
		if (*at == '\n') {
			line++;
			start = at + 1;
		}
	json_decref(j);
	set_error(ret_error, what, line, nul - start + 1, "a NUL");
	return NULL;
}

json_t *json_parse(const char *what, const char *text, size_t len, char **ret_error)
{
	json_error_t e;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
	const char *nul = j ? memchr(text, 0, len) : NULL;

	if (nul)
		return refuse_nul(what, text, nul, j, ret_error);
	if (!j)
		set_error(ret_error, what, e.line, e.column, e.text);
	return j;
}

json_t *json_string_or_escaped(const char *text)
{
	json_t *j = json_string(text);
	char clean[1024];

	if (j)
		return j;
	str_escape(clean, sizeof(clean), text);
	return json_string(clean);
}

json_t *json_walk(const json_t *j, const char *const *path)
{
	for (; j && *path; path++)
		j = json_object_get(j, *path);
	return (json_t *)j;
}

json_t *json_condition(const json_t *object, const char *type)
{
	json_t *c;
	size_t i;

	json_array_foreach(json_at(object, "status", "conditions"), i, c)
		if (streq(json_str_at(c, "type"), type))
			return c;
	return NULL;
}

bool json_condition_is_true(const json_t *object, const char *type)
{
	return streq(json_str_at(json_condition(object, type), "status"), "True");
}

char *json_text(const json_t *j)
{
	char *s = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);

	assert(s); /* fails only for values that jansson cannot hold */
	return s;
}
