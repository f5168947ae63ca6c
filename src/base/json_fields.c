/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_fields.h"
#include "base/str.h"

const struct json_fields json_fields_all = { .all = true };

static struct json_fields *member(struct json_fields *of, const char *name, size_t len)
{
	struct json_fields **at = &of->first;

	assert(len);
	for (; *at; at = &(*at)->next)
		if ((*at)->len == len && memcmp((*at)->name, name, len) == 0)
			return *at;
	*at = xnew0(struct json_fields);
	(*at)->name = name;
	(*at)->len = len;
	return *at;
}

static const char *parse_members(struct json_fields *of, const char *at)
{
	for (;;) {
		size_t len = strcspn(at, "(),");
		struct json_fields *f = member(of, at, len);

		at += len;
		if (*at == '(') {
			at = parse_members(f, at + 1);
			assert(*at == ')');
			at++;
		} else {
			f->all = true;
		}
		if (*at != ',')
			return at;
		at++;
	}
}

struct json_fields *json_fields_new(const char *text)
{
	struct json_fields *f = xnew0(struct json_fields);
	const char *end;

	f->text = xstrdup(text);
	end = parse_members(f, f->text);
	assert(!*end);
	return f;
}

struct json_fields *json_fields_free(struct json_fields *f)
{
	struct json_fields *next;

	for (struct json_fields *m = f ? f->first : NULL; m; m = next) {
		next = m->next;
		json_fields_free(m);
	}
	if (f)
		free(f->text);
	free(f);
	return NULL;
}
