/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, section 4) of data whose size is known, such as keys. */
#pragma once

#include "base/macro.h"

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes BASE64_LEN(@n) characters and a NUL; returns @out. */
char *base64_encode(const void *data, size_t n, char *out);

/**
 * base64_decode() - the one canonical text of @n bytes: padded, no spaces, unused bits zero
 *
 * Return: 0, -EINVAL (what @ret then holds is undefined).
 */
int base64_decode(const char *s, void *ret, size_t n);
