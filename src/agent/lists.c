/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lists.h"
#include "base/str.h"

enum { WORD_MAX = 64 };

/* The next word of a list, without blanks. Return: 1, 0 at the end, -EINVAL for one that is empty or too long. */
static int next_word(const char **text, char ret[static WORD_MAX])
{
	const char *from = *text, *end;
	size_t n;

	if (!from)
		return 0;
	end = from + strcspn(from, ",");
	*text = *end ? end + 1 : NULL;
	while (*from == ' ')
		from++;
	while (end > from && end[-1] == ' ')
		end--;
	n = end - from;
	if (n == 0 || n >= WORD_MAX)
		return -EINVAL;
	memcpy(ret, from, n);
	ret[n] = 0;
	return 1;
}

static bool is_blank(const char *text)
{
	return text[strspn(text, " ")] == 0;
}

static int parse_prefix(const char *word, struct prefix *ret)
{
	struct addr host;

	if (!strchr(word, '/')) {
		if (addr_parse(word, &host) < 0)
			return -EINVAL;
		*ret = prefix_host(&host);
		return 0;
	}
	return prefix_parse(word, ret, NULL) < 0 ? -EINVAL : 0;
}

int list_prefixes(const char *text, struct prefix *ret, size_t *ret_n)
{
	char word[WORD_MAX];
	size_t n = 0;
	int r = 0;

	if (is_blank(text))
		text = NULL;
	while ((r = next_word(&text, word)) > 0) {
		if (n == LIST_PREFIXES_MAX)
			return -E2BIG;
		r = parse_prefix(word, &ret[n++]);
		if (r < 0)
			return r;
	}
	if (r == 0)
		*ret_n = n;
	return r;
}

int port_range_parse(const char *text, uint16_t *ret_min, uint16_t *ret_max)
{
	char first[WORD_MAX];
	const char *dash = strchr(text, '-');
	size_t n = dash ? (size_t)(dash - text) : strlen(text);
	uint64_t min, max;

	if (n >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, n);
	first[n] = 0;
	if (parse_u64(first, PORTS - 1, &min) < 0 || min == 0)
		return -EINVAL;
	max = min;
	if (dash && (parse_u64(dash + 1, PORTS - 1, &max) < 0 || max < min))
		return -EINVAL;
	*ret_min = min;
	*ret_max = max;
	return 0;
}

int list_ports(const char *text, bool ret[static PORTS])
{
	char word[WORD_MAX];
	uint16_t min, max;
	int r;

	if (is_blank(text))
		return 0;
	while ((r = next_word(&text, word)) > 0) {
		r = port_range_parse(word, &min, &max);
		if (r < 0)
			return r;
		memset(ret + min, true, max - min + 1u);
	}
	return r;
}
