/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SCTP's checksum, CRC32c (RFC 9260, appendix A), mended without a look at what it covers. A CRC is the remainder of the message as a polynomial
 * over GF(2), so it is linear: the checksums of two messages of one length differ by the remainder of their difference. That is zero but for
 * the first four bytes, the ports; n bytes before the end they count times x^8n. It is a product in a field, whatever the packet's
 * length: at most 16 multiplications.
 *
 * Bits are reflected, as on the wire: bit 31 stands for x^0. */
#pragma once

#include "lib/prelude.h"

#define CRC32C_POLY 0x82f63b78u

/* Without a branch: the verifier goes through it once. */
static __always_inline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 32; i++) {
		product ^= b & (__u32)((__s32)a >> 31);
		a <<= 1;
		b = b >> 1 ^ (CRC32C_POLY & -(b & 1));
	}
	return product;
}

/* x^8, and each the square of the one before: what 2^i bytes count. */
static const __u32 crc32c_powers[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

struct crc32c_advance {
	__u32 sum, len;
};

static long crc32c_advance_by(__u32 bit, struct crc32c_advance *a)
{
	if (a->len >> (bit & 15) & 1)
		a->sum = crc32c_multiply(a->sum, crc32c_powers[bit & 15]);
	return 0;
}

/* By what the checksum of @len bytes changes when their first four change by @first (as they lie in memory). */
static __always_inline __u32 crc32c_difference(__u32 first, __u32 len)
{
	struct crc32c_advance a = { first, len };

	bpf_loop(16, crc32c_advance_by, &a, 0);
	return a.sum;
}
