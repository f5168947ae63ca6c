/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An address as keys and values hold it: 16 bytes, network order, IPv4 as ::ffff:a.b.c.d. */
#pragma once

#include <linux/types.h>

struct ip_addr {
	union {
		__u8 b[16];
		__be32 w[4];
		__u64 q[2]; /* as they lie in memory: for comparing and hashing only */
	};
};

/* Where a node or pod has no address of a family, maps and configuration hold all ones, which equals no packet's (zero would
 * equal the unspecified address). */
#define ADDR_ABSENT_BYTE 0xff

/* The version of everything in this directory, and the name of the directory with the pins ("v1"). It changes when maps
 * of two versions cannot be turned into each other field by field. */
#define ABI_VERSION 1

#define ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), "size of " #type " is part of the ABI")

ABI_SIZE(struct ip_addr, 16);
