/* SPDX-License-Identifier: Apache-2.0 */
/* Field errors: what is wrong where in an object, collected, in the words that users of Kubernetes know. */
#pragma once

#include "base/json.h"

/* A place in a document, as a chain of stack frames; formatted only when an error is written. */
struct path {
	const struct path *up;
	const char *key; /* an object's key, or NULL: an index */
	size_t index;
	bool quoted;	 /* key of a map: written as [key] */
};

#define PATH(parent, name) (&(const struct path){ .up = (parent), .key = (name) })
#define PATH_KEY(parent, name) (&(const struct path){ .up = (parent), .key = (name), .quoted = true })
#define PATH_AT(parent, i) (&(const struct path){ .up = (parent), .index = (i) })

char *path_format(const struct path *p); /* "spec.containers[0].name", owned by the caller */

/* Causes as they stand in metav1.Status.details.causes: {reason, message, field}. At most 100 are kept. */
struct errors {
	json_t *causes; /* array, NULL while there are none */
};

void errors_done(struct errors *e);
static inline bool errors_any(const struct errors *e)
{
	return e->causes != NULL;
}

void err_required(struct errors *e, const struct path *p, const char *detail); /* detail may be NULL */
void err_invalid(struct errors *e, const struct path *p, const json_t *value, const char *fmt, ...) _printf_(4, 5);
void err_unsupported(struct errors *e, const struct path *p, const char *value, const char *const *values);
void err_duplicate(struct errors *e, const struct path *p, const json_t *value);
void err_forbidden(struct errors *e, const struct path *p, const char *fmt, ...) _printf_(3, 4);
void err_too_long(struct errors *e, const struct path *p, size_t max);
void err_type(struct errors *e, const struct path *p, const char *expected, const json_t *got);
