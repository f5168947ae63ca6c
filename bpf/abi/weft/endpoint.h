/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Local pods. */
#pragma once

#include "weft/addr.h"

#define ENDPOINTS_MAX 4096 /* pods of one node, two addresses each */

/* `endpoints`: local pod address (struct ip_addr) → where it is. */
struct endpoint {
	__u32 ifindex; /* host side of its veth */
	__u32 id;
	__u8 pod_mac[6];
	__u8 host_mac[6];
};

/* `pod_ifaces`: host-side ifindex (__u32) → as whom that pod may send. */
struct pod_iface {
	struct ip_addr addrs[2]; /* IPv4, IPv6; ADDR_ABSENT_BYTE where it has none */
	__u32 id;
	__u8 pod_mac[6];
	__u8 host_mac[6];
	__u64 netns; /* cookie of its namespace; 0: not known */
};

/* `endpoint_flows`: endpoint id (__u32) → entries of `flows` that it holds (__u64). Id 0 counts all. */

ABI_SIZE(struct endpoint, 20);
ABI_SIZE(struct pod_iface, 56);
