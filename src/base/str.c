/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
	char *copy;

	n = strnlen(s, n);
	copy = xmalloc(n + 1);
	memcpy(copy, s, n);
	copy[n] = 0;
	return copy;
}

char *xvasprintf(const char *fmt, va_list ap)
{
	char *s;

	if (vasprintf(&s, fmt, ap) < 0) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return s;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	return s;
}

/* Length of the well-formed UTF-8 sequence at s that prints harmlessly, 0 when there is none (RFC 3629 section 4). */
static size_t utf8_printable(const unsigned char *s)
{
	uint32_t c;
	size_t n;

	if (s[0] >= 0x20 && s[0] < 0x7f)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2, c = s[0] & 0x1f;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3, c = s[0] & 0x0f;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4, c = s[0] & 0x07;
	else
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < 0xa0 || (n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	/* line and paragraph separators, bidirectional overrides and isolates */
	if (c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff)
		return 0;
	return n;
}

static size_t escape_byte(char out[5], unsigned char c)
{
	static const char from[] = "\n\r\t\\\"", to[] = "nrt\\\"";
	const char *at = c ? strchr(from, c) : NULL;

	if (at)
		return snprintf(out, 5, "\\%c", to[at - from]);
	return snprintf(out, 5, "\\x%02x", c);
}

/* @also: what else is not left as it is */
static void escape(char *out, size_t size, const char *s, const char *also)
{
	size_t used = 0;

	assert(size > 0);
	while (*s) {
		size_t n = strchr(also, *s) ? 0 : utf8_printable((const unsigned char *)s);
		char piece[5];
		size_t len = n;

		if (n == 0)
			len = escape_byte(piece, *s);
		if (used + len >= size)
			break;
		memcpy(out + used, n ? s : piece, len);
		used += len;
		s += n ? n : 1;
	}
	out[used] = 0;
}

void str_escape(char *out, size_t size, const char *s)
{
	escape(out, size, s, "\\\"");
}

void str_show(char *out, size_t size, const char *s)
{
	escape(out, size, s, "");
}

int parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (const char *p = s; *p; p++)
		if (*p < '0' || *p > '9')
			return -EINVAL;
	for (; *s; s++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (streq(s, words[i])) {
			*ret = i & 1;
			return 0;
		}
	return -EINVAL;
}

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Length of the label at s, 0 when it is none. */
static size_t label_len(const char *s)
{
	size_t n = 0;

	while (is_lower_alnum(s[n]) || s[n] == '-')
		n++;
	if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
		return 0;
	return n;
}

bool name_is_dns_label(const char *s)
{
	size_t n = label_len(s);

	return n && !s[n];
}

bool name_is_dns_subdomain(const char *s)
{
	if (strlen(s) > 253)
		return false;
	for (;;) {
		size_t n = label_len(s);

		if (!n)
			return false;
		if (!s[n])
			return true;
		if (s[n] != '.')
			return false;
		s += n + 1;
	}
}

bool str_has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}
