/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with an object, field by field: "spec.ingress[2].from[0].ipBlock.cidr: …". */
#pragma once

#include "base/macro.h"

enum { POLICY_ERRORS_MAX = 32 }; /* further ones are counted only */

struct policy_errors {
	char **text;
	unsigned n, cap;
	unsigned total;
};

void policy_errors_done(struct policy_errors *e);

/* Where a value stands: a chain on the stack, formatted only for an error. */
struct at {
	const struct at *up;
	const char *key; /* NULL: an array element */
	size_t index;
};
#define AT_KEY(up_, key_) (&(const struct at){ .up = (up_), .key = (key_) })
#define AT_INDEX(up_, i_) (&(const struct at){ .up = (up_), .index = (i_) })

/**
 * policy_error() - remember one error
 * @e: NULL to count nothing
 *
 * Foreign text must be escaped by the caller or go through policy_error_value().
 */
void policy_error(struct policy_errors *e, const struct at *at, const char *fmt, ...) _printf_(3, 4);
/* "PATH: \"VALUE\": MESSAGE", the value escaped and cut. */
void policy_error_value(struct policy_errors *e, const struct at *at, const char *value, const char *message);
