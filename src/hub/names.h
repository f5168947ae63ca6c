/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted set of names. */
#pragma once

#include "base/macro.h"

struct names {
	char **list; /* ascending */
	size_t n, cap;
};

void names_add(struct names *s, const char *name);    /* O(n); one that is there stays */
void names_remove(struct names *s, const char *name); /* O(n); one that is not there is fine */
void names_done(struct names *s);
