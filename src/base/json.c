/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/str.h"

json_t *json_parse(const char *what, const char *text, size_t len, char **ret_error)
{
	json_error_t e;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (!j && ret_error) {
		char msg[256];

		str_escape(msg, sizeof(msg), e.text);
		*ret_error = xasprintf("%s: line %d, column %d: %s", what, e.line, e.column, msg);
	}
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
