/* SPDX-License-Identifier: Apache-2.0 */
/* Which members of a document somebody reads: what json_read() makes values of.
 *
 *	metadata(name,labels),spec(containers(ports)),status
 *
 * A name is a member of an object; in parentheses stand those of its value that are meant, without them all are. A list stands for its elements, and what is
 * neither an object nor a list is always meant: a reader sees that there is a number where it wants an object. A name that comes twice means what either says. */
#pragma once

#include "base/macro.h"

struct json_fields {
	bool all;
	const char *name; /* inside the text of the root */
	size_t len;
	struct json_fields *first, *next; /* members; of the same object */
	char *text;			  /* the root's */
};

/* @text is our own: one that makes no sense ends the program. Return: the caller's. */
struct json_fields *json_fields_new(const char *text);
struct json_fields *json_fields_free(struct json_fields *f);
DEFINE_CLEANUP(struct json_fields *, json_fields_free)

extern const struct json_fields json_fields_all;

/* The member's fields, or NULL: it is not meant. */
static inline const struct json_fields *json_fields_find(const struct json_fields *f, const char *name, size_t len)
{
	if (f->all)
		return f;
	for (f = f->first; f; f = f->next)
		if (f->len == len && memcmp(f->name, name, len) == 0)
			return f;
	return NULL;
}
