/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trouble.h"

static const char *const names[TROUBLE_KINDS] = {[TROUBLE_TUNNEL] = "tunnel",
						 [TROUBLE_FORWARDING] = "forwarding",
						 [TROUBLE_SYSCTLS] = "sysctls",
						 [TROUBLE_ADDRESSES] = "addresses",
						 [TROUBLE_NEIGHBOURS] = "neighbours",
						 [TROUBLE_ROUTES] = "routes",
						 [TROUBLE_RULES] = "rules"};

void trouble_done(struct trouble *t)
{
	for (int i = 0; i < TROUBLE_KINDS; i++)
		free(t->kinds[i].why);
	*t = (struct trouble){0};
}

void trouble_note(struct trouble *t, enum trouble_kind kind, int r, const char *text)
{
	if (r >= 0 || t->kinds[kind].error)
		return;
	t->kinds[kind].error = r;
	t->kinds[kind].why = xstrdup(text && *text ? text : strerror(-r));
}

bool trouble_has(const struct trouble *t, enum trouble_kind kind)
{
	return t->kinds[kind].error < 0;
}

int trouble_sum(const struct trouble *t, char **ret_why)
{
	char *sum = NULL;
	int first = 0;

	for (int i = 0; i < TROUBLE_KINDS; i++) {
		char *before = sum;

		if (!t->kinds[i].error)
			continue;
		sum = xasprintf("%s%s%s: %s", before ? before : "", before ? "; " : "", names[i], t->kinds[i].why);
		free(before);
		first = first ? first : t->kinds[i].error;
	}
	if (sum)
		*ret_why = sum;
	return first;
}
