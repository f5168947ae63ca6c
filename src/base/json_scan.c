/* SPDX-License-Identifier: Apache-2.0 */
/* Most of a document is inside its strings, and most of their bytes are plain: neither end the string, nor begin an escape, nor belong to a longer character. These
 * are passed over sixteen at a time, by vectors as the compiler makes them for each processor. */
#include "base/json_scan.h"

#include <endian.h>

typedef int8_t block __attribute__((vector_size(16)));

/* The index of the first byte that is not plain, in two halves of a block of which it is known by 0xff. */
static inline unsigned first_of(const uint64_t half[2])
{
	return half[0] ? __builtin_ctzll(le64toh(half[0])) / 8 : 8 + __builtin_ctzll(le64toh(half[1])) / 8;
}

static inline bool is_plain(char c)
{
	return (int8_t)c >= 0x20 && c != '"' && c != '\\'; /* bytes above ASCII are negative */
}

static const char *plain_end(const char *at, const char *end)
{
	for (; end - at >= (ptrdiff_t)sizeof(block); at += sizeof(block)) {
		uint64_t half[2];
		block b, odd;

		memcpy(&b, at, sizeof(b));
		odd = (b < 0x20) | (b == '"') | (b == '\\');
		memcpy(half, &odd, sizeof(half));
		if (half[0] | half[1])
			return at + first_of(half);
	}
	while (at < end && is_plain(*at))
		at++;
	return at;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits; -1: it has not as many. */
static int code_unit(const char *at, const char *end)
{
	int unit = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex(at[i]);

		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

static bool is_high(int unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low(int unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Behind "\u". A NUL is refused, as a string of C could not hold it. */
static bool scan_unicode(struct json_scan *s)
{
	int unit = code_unit(s->at, s->end);

	if (unit <= 0 || is_low(unit))
		return false;
	s->at += 4;
	if (!is_high(unit))
		return true;
	if (!json_scan_word(s, "\\u", 2) || !is_low(code_unit(s->at, s->end)))
		return false;
	s->at += 4;
	return true;
}

static bool scan_escape(struct json_scan *s)
{
	char c;

	s->at++;
	c = json_scan_peek(s);
	if (!c || !strchr("\"\\/bfnrtu", c))
		return false;
	s->at++;
	return c != 'u' || scan_unicode(s);
}

/* A character of several bytes: RFC 3629, so neither longer than it must be, nor half of a pair, nor above U+10FFFF. */
static bool scan_utf8(struct json_scan *s)
{
	static const struct {
		uint8_t first, last, low, high, n; /* of the first byte; of the second; how many follow it */
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 1 }, { 0xe0, 0xe0, 0xa0, 0xbf, 2 }, { 0xe1, 0xec, 0x80, 0xbf, 2 },
		{ 0xed, 0xed, 0x80, 0x9f, 2 }, { 0xee, 0xef, 0x80, 0xbf, 2 }, { 0xf0, 0xf0, 0x90, 0xbf, 3 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 3 }, { 0xf4, 0xf4, 0x80, 0x8f, 3 },
	};
	const uint8_t *at = (const uint8_t *)s->at;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (*at < forms[i].first || *at > forms[i].last)
			continue;
		if (s->end - s->at <= forms[i].n || at[1] < forms[i].low || at[1] > forms[i].high)
			return false;
		for (unsigned k = 2; k <= forms[i].n; k++)
			if (at[k] < 0x80 || at[k] > 0xbf)
				return false;
		s->at += 1 + forms[i].n;
		return true;
	}
	return false; /* a control character, too */
}

bool json_scan_string(struct json_scan *s, struct json_span *ret)
{
	const char *from = ++s->at;
	bool escaped = false;

	for (;;) {
		s->at = plain_end(s->at, s->end);
		if (s->at == s->end)
			return false;
		if (*s->at == '"')
			break;
		escaped |= *s->at == '\\';
		if (*s->at == '\\' ? !scan_escape(s) : !scan_utf8(s))
			return false;
	}
	*ret = (struct json_span){ from, s->at - from, escaped };
	s->at++;
	return true;
}

static size_t encode(int32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = 0xc0 | c >> 6;
		out[1] = 0x80 | (c & 0x3f);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = 0xe0 | c >> 12;
		out[1] = 0x80 | (c >> 6 & 0x3f);
		out[2] = 0x80 | (c & 0x3f);
		return 3;
	}
	out[0] = 0xf0 | c >> 18;
	out[1] = 0x80 | (c >> 12 & 0x3f);
	out[2] = 0x80 | (c >> 6 & 0x3f);
	out[3] = 0x80 | (c & 0x3f);
	return 4;
}

/* From behind "\u". */
static size_t decode_unicode(const char **at, const char *end, char *out)
{
	int32_t c = code_unit(*at, end);

	*at += 4;
	if (is_high(c)) {
		c = 0x10000 + ((c - 0xd800) << 10) + (code_unit(*at + 2, end) - 0xdc00);
		*at += 6;
	}
	return encode(c, out);
}

size_t json_span_decode(const struct json_span *span, char *out)
{
	static const char names[] = "bfnrt", means[] = "\b\f\n\r\t";
	const char *at = span->text, *end = at + span->len;
	char *to = out;

	while (at < end) {
		const char *back = memchr(at, '\\', end - at), *named;
		size_t plain = (back ? back : end) - at;

		memcpy(to, at, plain);
		to += plain;
		at += plain;
		if (!back)
			break;
		at += 2;
		named = strchr(names, at[-1]);
		if (at[-1] == 'u')
			to += decode_unicode(&at, end, to);
		else
			*to++ = named ? means[named - names] : at[-1];
	}
	return to - out;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_of_number(char c)
{
	return is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

enum json_number json_scan_number(struct json_scan *s, int64_t *ret)
{
	bool negative = json_scan_take(s, '-');
	const char *from = s->at;
	int64_t n = 0;

	for (; s->at < s->end && is_digit(*s->at) && s->at - from < 18; s->at++)
		n = n * 10 + (*s->at - '0');
	if (s->at == from)
		return JSON_NUMBER_BAD;
	if (is_of_number(json_scan_peek(s))) {
		while (is_of_number(json_scan_peek(s)))
			s->at++;
		return JSON_NUMBER_OTHER;
	}
	if (*from == '0' && s->at - from > 1)
		return JSON_NUMBER_BAD;
	*ret = negative ? -n : n;
	return JSON_NUMBER_SHORT;
}
