/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every program needs: kernel types, helpers, the configuration, time, addresses. */
#pragma once

#include "weft/addr.h"
#include "weft/config.h"
#include "weft/flow.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <linux/if_packet.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A function that the verifier judges once, by its types alone, instead of once for each state in which it is called: for what
 * has loops or is far from the common path. Pointers to anything but the packet may be NULL in its eyes. */
#define __global __attribute__((noinline))

/* Set by the loader. */
const volatile struct config config;

#define ETH_LEN ((__u32)sizeof(struct ethhdr))

static __always_inline __u32 tick_now(void)
{
	return bpf_ktime_get_coarse_ns() >> FLOW_TICK_SHIFT;
}

static __always_inline bool addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

static __always_inline bool addr_is_v4(const struct ip_addr *a)
{
	return a->q[0] == 0 && a->w[2] == bpf_htonl(0xffff);
}

static __always_inline void addr_from_v4(struct ip_addr *a, __be32 v4)
{
	a->q[0] = 0;
	a->w[2] = bpf_htonl(0xffff);
	a->w[3] = v4;
}

static __always_inline bool addr_is_config(const struct ip_addr *a, const volatile struct ip_addr *c)
{
	return a->q[0] == c->q[0] && a->q[1] == c->q[1];
}

static __always_inline bool addr_is_underlay(const struct ip_addr *a)
{
	return addr_is_config(a, &config.underlay[0]) || addr_is_config(a, &config.underlay[1]);
}

/* A copy of a configured address. Not by a cast: without volatile the compiler takes the constants for the zeros that they are in
 * the object file. */
static __always_inline void addr_from_config(struct ip_addr *a, const volatile struct ip_addr *c)
{
	a->q[0] = c->q[0];
	a->q[1] = c->q[1];
}

static __always_inline bool addr_is_link_local(const struct ip_addr *a)
{
	return (a->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Of the host itself: it never leaves one (RFC 1122 3.2.1.3, RFC 4291 2.5.3). */
static __always_inline bool addr_is_loopback(const struct ip_addr *a)
{
	if (a->w[0] || a->w[1])
		return false;
	return a->w[2] == bpf_htonl(0xffff) ? a->b[12] == 127 : !a->w[2] && a->w[3] == bpf_htonl(1);
}

/* The pods' gateway: 169.254.1.1, fe80::1. Beyond neighbour discovery nobody speaks as it: what the node says to them has an address of its own. */
static __always_inline bool addr_is_gateway(const struct ip_addr *a)
{
	if (a->w[0] == bpf_htonl(0xfe800000))
		return a->w[1] == 0 && a->q[1] == bpf_cpu_to_be64(1);
	return addr_is_v4(a) && a->w[3] == bpf_htonl(0xa9fe0101);
}

/* Is it one of this node's own? */
static __always_inline bool addr_is_node(const struct ip_addr *a)
{
	return addr_is_config(a, &config.node_addrs[0]) || addr_is_config(a, &config.node_addrs[1]) ||
	       addr_is_underlay(a);
}

static __always_inline bool addr_is_within(const struct ip_addr *a, const volatile struct ip_addr *range, const volatile struct ip_addr *mask)
{
	return ((a->q[0] ^ range->q[0]) & mask->q[0]) == 0 && ((a->q[1] ^ range->q[1]) & mask->q[1]) == 0;
}

/* Of this node's pod ranges, whether or not a pod has it. */
static __always_inline bool addr_is_in_range(const struct ip_addr *a)
{
	return addr_is_within(a, &config.ranges[0], &config.masks[0]) || addr_is_within(a, &config.ranges[1], &config.masks[1]);
}

static __always_inline bool mac_eq(const __u8 *a, const __u8 *b)
{
	__u16 difference = 0;

#pragma unroll
	for (int i = 0; i < 6; i += 2)
		difference |= *(const __u16 *)(a + i) ^ *(const __u16 *)(b + i);
	return difference == 0;
}
