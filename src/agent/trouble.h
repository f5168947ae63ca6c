/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong first of several steps that are each tried, as one that fails does not hold up the others. */
#pragma once

#include "base/str.h"

struct trouble {
	int error; /* -errno, or 0 */
	char *why; /* one line for people, when there is an error */
};

static inline void trouble_done(struct trouble *t)
{
	free(t->why);
	*t = (struct trouble){0};
}

/* Notes nothing when @r is no error. */
static inline void trouble_note(struct trouble *t, int r, const char *what, const char *text)
{
	if (r >= 0 || t->error)
		return;
	t->error = r;
	t->why = xasprintf("%s: %s", what, text && *text ? text : strerror(-r));
}
