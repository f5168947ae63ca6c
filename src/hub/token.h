/* SPDX-License-Identifier: Apache-2.0 */
/* Continue tokens: where a paged list goes on, and at which revision. Opaque to clients, checked strictly. */
#pragma once

#include "base/macro.h"

struct continue_token {
	uint64_t rev;
	char *ns, *name; /* the last object that was sent */
};

void continue_token_done(struct continue_token *t);
char *continue_token_format(uint64_t rev, const char *ns, const char *name);
/* Return: 0, -EINVAL. */
int continue_token_parse(const char *text, struct continue_token *ret);
