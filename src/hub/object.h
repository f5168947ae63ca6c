/* SPDX-License-Identifier: Apache-2.0 */
/* A stored object: immutable, counted references, because the cache, the history and a running list all hold it. */
#pragma once

#include "hub/kind.h"

struct object {
	size_t refs;
	const struct kind *kind;
	uint64_t rev;
	char *ns;   /* "" for cluster scope */
	char *name;
	json_t *json; /* never changed */
	char *text;   /* the same, as compact JSON */
	size_t text_len;
};

/* @json: taken; @text: taken, or NULL: made here. Name, namespace and revision are read from the metadata. */
struct object *object_new(const struct kind *k, json_t *json, char *text);
struct object *object_ref(struct object *o);
struct object *object_unref(struct object *o); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct object *, object_unref)

int object_key_cmp(const char *ns_a, const char *name_a, const char *ns_b, const char *name_b);

/* Borrowed pieces of metadata; "" or NULL as said. */
const char *meta_str(const json_t *obj, const char *field); /* "" when missing */
json_t *meta_of(json_t *obj);				     /* created when missing */
uint64_t meta_rev(const json_t *obj);			     /* 0 when missing or not a number */

/* "2026-11-20T19:00:00Z" now and at @t; the buffer is the caller's */
enum { TIME_TEXT_MAX = 32 };
const char *time_format(char out[static TIME_TEXT_MAX], int64_t t);
const char *time_now(char out[static TIME_TEXT_MAX]);
const char *microtime_now(char out[static TIME_TEXT_MAX]);
int time_parse(const char *s, int64_t *ret); /* 0, -EINVAL; fractions are cut off */

char *uuid_new(void);
