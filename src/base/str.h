/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: allocation that cannot fail, strict number parsing, escaping, Kubernetes names. */
#pragma once

#include "base/macro.h"

#include <stdarg.h>

char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) _printf_(1, 2);
char *xvasprintf(const char *fmt, va_list ap);

/**
 * str_escape() - printable, one-line form of a foreign string
 * @out: receives at most @size - 1 bytes and a NUL
 *
 * Control bytes, DEL, backslash and double quote become `\n`-style or `\xNN`; valid UTF-8 outside of the C1
 * control range stays, other bytes become `\xNN`. So the result can neither end a line nor drive a terminal.
 */
void str_escape(char *out, size_t size, const char *s);

/* The same, but double quotes and backslashes stay: for a message that is shown as it is. What it quotes has been escaped where it was quoted. */
void str_show(char *out, size_t size, const char *s);

/**
 * parse_u64() - a decimal number, whole string, no sign, no spaces
 * @max: the largest value accepted
 *
 * Return: 0, -EINVAL when it is not a number, -ERANGE when it is above @max.
 */
int parse_u64(const char *s, uint64_t max, uint64_t *ret);

/**
 * parse_bool() - "true", "yes", "on", "1" and their opposites
 *
 * Return: 0, -EINVAL.
 */
int parse_bool(const char *s, bool *ret);

/**
 * name_is_dns_label() - RFC 1123 label: [a-z0-9]([-a-z0-9]*[a-z0-9])?, 1 to 63 bytes
 * name_is_dns_subdomain() - labels joined by dots, 1 to 253 bytes: the form of most object names
 */
bool name_is_dns_label(const char *s);
bool name_is_dns_subdomain(const char *s);

static inline bool str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}
bool str_has_suffix(const char *s, const char *suffix);

/* FNV-1a, for hash tables that only we fill; seeded callers mix their seed in first. */
static inline uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
	uint64_t h = 0xcbf29ce484222325ull ^ seed;

	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3ull;
	return h;
}
