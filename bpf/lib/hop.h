/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One hop less, in a header that lies in the packet. */
#pragma once

#include "lib/prelude.h"

#include <linux/ip.h>
#include <linux/ipv6.h>

static __always_inline void hop_take4(struct iphdr *ip)
{
	__u32 sum;

	ip->ttl--;
	sum = ip->check + bpf_htons(0x0100); /* RFC 1624, for a decrement of the high byte */
	ip->check = sum + (sum >= 0xffff);
}

static __always_inline void hop_take6(struct ipv6hdr *ip)
{
	ip->hop_limit--;
}
