/* SPDX-License-Identifier: Apache-2.0 */
/* What of a pass's steps could not be made so, a line for each kind: each step is tried, as one that fails does not hold up the others, and none hides what another says. */
#pragma once

#include "base/str.h"

enum trouble_kind {
	TROUBLE_TUNNEL, /* the device between nodes */
	TROUBLE_FORWARDING,
	TROUBLE_SYSCTLS, /* the others */
	TROUBLE_ADDRESSES,
	TROUBLE_NEIGHBOURS,
	TROUBLE_ROUTES,
	TROUBLE_RULES,
	TROUBLE_KINDS
};

struct trouble {
	struct {
		int error; /* the first, -errno, or 0 */
		char *why; /* what it is about, when there is an error */
	} kinds[TROUBLE_KINDS];
};

void trouble_done(struct trouble *t);
/* Notes nothing when @r is no error, or not the first of its kind. @text: NULL or empty: what @r says. */
void trouble_note(struct trouble *t, enum trouble_kind kind, int r, const char *text);
bool trouble_has(const struct trouble *t, enum trouble_kind kind);
/* Return: 0, the error of the first kind that has one. @ret_why: one line for people about all kinds, owned by the caller. */
int trouble_sum(const struct trouble *t, char **ret_why);
