/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t n, char *out)
{
	const uint8_t *in = data;
	char *at = out;

	for (size_t i = 0; i < n; i += 3) {
		size_t have = MIN(n - i, (size_t)3);
		uint32_t v = in[i] << 16 | (have > 1 ? in[i + 1] << 8 : 0) | (have > 2 ? in[i + 2] : 0);

		for (size_t k = 0; k < 4; k++)
			*at++ = k <= have ? digits[v >> (18 - 6 * k) & 63] : '=';
	}
	*at = '\0';
	return out;
}

/* Value of a digit, by arithmetic: private keys are decoded, too, and a table's cache lines would tell of them. */
static int digit_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *s, void *ret, size_t n)
{
	uint8_t *out = ret;

	if (strlen(s) != BASE64_LEN(n))
		return -EINVAL;
	for (size_t i = 0; i < n; i += 3, s += 4) {
		size_t have = MIN(n - i, (size_t)3);
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k <= have ? digit_value(s[k]) : s[k] == '=' ? 0 : -1;

			if (d < 0)
				return -EINVAL;
			v = v << 6 | d;
		}
		if (v & (0xffffffu >> (8 * have)) & 0xffffff)
			return -EINVAL;
		for (size_t k = 0; k < have; k++)
			out[i + k] = v >> (16 - 8 * k);
	}
	return 0;
}
