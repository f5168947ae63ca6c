/* SPDX-License-Identifier: Apache-2.0 */
/* jansson, with ownership by scope and paths. JSON from outside is parsed by json_parse() only: bounded depth (jansson
 * stops at 2,048 levels), no duplicate keys, size bounded by the caller. */
#pragma once

#include "base/macro.h"

#include <jansson.h>

static inline void json_decrefp_(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_decrefp_)

/**
 * json_parse() - text to value
 * @what: names the document in the error text, for example "request body"
 * @ret_error: on failure, when not NULL: "what: line 3, column 7: …", owned by the caller
 *
 * Return: the value (a new reference) or NULL.
 */
json_t *json_parse(const char *what, const char *text, size_t len, char **ret_error);

/**
 * json_at() - follow a path of object keys: json_at(pod, "status", "podIP")
 *
 * Return: borrowed, or NULL where a step is missing or no object.
 */
#define json_at(j, ...) json_walk((j), (const char *const[]){ __VA_ARGS__, NULL })
json_t *json_walk(const json_t *j, const char *const *path);

/* The string there, or NULL; json_str_or() with a default. Borrowed from the document. */
#define json_str_at(j, ...) json_string_value(json_at((j), __VA_ARGS__))
static inline const char *json_str_or(const json_t *j, const char *fallback)
{
	const char *s = json_string_value(j);

	return s ? s : fallback;
}

/* A new string value. What is no UTF-8 (it may quote what a client sent, cut in the middle of a character also) is escaped. */
json_t *json_string_or_escaped(const char *text);

/* An API object's status.conditions: the one of that type, or NULL. Borrowed; and whether it is "True". */
json_t *json_condition(const json_t *object, const char *type);
bool json_condition_is_true(const json_t *object, const char *type);

/**
 * json_text() - compact text, owned by the caller
 */
char *json_text(const json_t *j);
