/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: escaping can be undone, is never cut within an escape, and always prints on one line; names and numbers. */
#include "fuzz.h"

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What an escaped text stands for; fails on an escape that is cut or unknown. */
static char *unescape(const char *s)
{
	static const char from[] = "nrt\\\"", to[] = "\n\r\t\\\"";
	char *out = xmalloc(strlen(s) + 1), *p = out;

	while (*s) {
		const char *at;

		REQUIRE(*s != '"');
		if (*s != '\\') {
			*p++ = *s++;
			continue;
		}
		if (s[1] == 'x') {
			REQUIRE(hex(s[2]) >= 0 && hex(s[3]) >= 0);
			*p++ = hex(s[2]) << 4 | hex(s[3]);
			s += 4;
			continue;
		}
		at = s[1] ? strchr(from, s[1]) : NULL;
		REQUIRE(at);
		*p++ = to[at - from];
		s += 2;
	}
	*p = 0;
	return out;
}

static void check_escape(const char *s, size_t room)
{
	size_t n = strlen(s);
	_cleanup_free_ char *whole = xmalloc(n * 4 + 1), *cut = xmalloc(room), *back = NULL, *part = NULL;

	str_escape(whole, n * 4 + 1, s);
	back = unescape(whole);
	REQUIRE(streq(back, s));
	if (*whole)
		fuzz_require_line(whole);

	str_escape(cut, room, s);
	part = unescape(cut);
	REQUIRE(strlen(cut) < room && strncmp(whole, cut, strlen(cut)) == 0);
	REQUIRE(strncmp(part, s, strlen(part)) == 0);
	REQUIRE(strlen(cut) + 4 >= room || streq(cut, whole)); /* no piece is longer than four bytes */
	if (*cut)
		fuzz_require_line(cut);
}

static void check_number(const char *s)
{
	uint64_t v = 0, again = 0;
	char text[32];

	if (parse_u64(s, UINT64_MAX, &v) < 0)
		return;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	REQUIRE(streq(text, s + strspn(s, "0")) || (v == 0 && strspn(s, "0") == strlen(s)));
	REQUIRE(parse_u64(s, v, &again) == 0 && again == v);
	REQUIRE(v == 0 || parse_u64(s, v - 1, &again) == -ERANGE);
}

static void check_name(const char *s)
{
	bool label = name_is_dns_label(s), subdomain = name_is_dns_subdomain(s);

	REQUIRE(!label || subdomain);
	REQUIRE(label == (subdomain && !strchr(s, '.')));
	REQUIRE(!subdomain || (strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(s) && *s && strlen(s) < 254 &&
			       !strstr(s, "..") && !strstr(s, "-.") && !strstr(s, ".-")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t room = 1 + fuzz_byte(&in);
	_cleanup_free_ char *s = fuzz_text(&in, NULL);
	bool b;

	check_escape(s, room);
	check_number(s);
	check_name(s);
	REQUIRE(parse_bool(s, &b) == 0 || !streq(s, "on"));
	return 0;
}
