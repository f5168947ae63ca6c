/* SPDX-License-Identifier: Apache-2.0 */
/* The words of JSON: strings and numbers, found and checked in a text that ends somewhere, and without anything made of them. */
#pragma once

#include "base/macro.h"

struct json_scan {
	const char *at, *end;
};

/* A string as it stands in the text. */
struct json_span {
	const char *text; /* between the quotes */
	size_t len;
	bool escaped;
};

/* What stands there; 0 at the end, where no other NUL is good either. */
static inline char json_scan_peek(const struct json_scan *s)
{
	return s->at < s->end ? *s->at : 0;
}

static inline void json_scan_space(struct json_scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

static inline bool json_scan_take(struct json_scan *s, char c)
{
	if (json_scan_peek(s) != c)
		return false;
	s->at++;
	return true;
}

/* true, false, null */
static inline bool json_scan_word(struct json_scan *s, const char *word, size_t len)
{
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return false;
	s->at += len;
	return true;
}

/* From an opening quote to behind the closing one. UTF-8, whole surrogate pairs, no NUL. Return: is it good? */
bool json_scan_string(struct json_scan *s, struct json_span *ret);

/* What the string says, of a good one. @out has room for @span->len bytes. Return: how many it took. */
size_t json_span_decode(const struct json_span *span, char *out);

enum json_number {
	JSON_NUMBER_BAD,
	JSON_NUMBER_SHORT, /* a whole number of at most 18 digits, so an int64_t */
	JSON_NUMBER_OTHER, /* begins like a number, and is as long as one may be; jansson is to say what it is */
};

/* @ret: of a short one. */
enum json_number json_scan_number(struct json_scan *s, int64_t *ret);
