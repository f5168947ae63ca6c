/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/names.h"
#include "base/str.h"

static size_t search(const struct names *s, const char *name, bool *ret_found)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(s->list[mid], name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = lo < s->n && streq(s->list[lo], name);
	return lo;
}

void names_add(struct names *s, const char *name)
{
	bool found;
	size_t at = search(s, name, &found);

	if (found)
		return;
	GROW(s->list, s->n, s->cap);
	memmove(s->list + at + 1, s->list + at, (s->n - at) * sizeof(*s->list));
	s->list[at] = xstrdup(name);
	s->n++;
}

void names_remove(struct names *s, const char *name)
{
	bool found;
	size_t at = search(s, name, &found);

	if (!found)
		return;
	free(s->list[at]);
	memmove(s->list + at, s->list + at + 1, (s->n - at - 1) * sizeof(*s->list));
	s->n--;
}

void names_done(struct names *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i]);
	free(s->list);
	*s = (struct names){0};
}
