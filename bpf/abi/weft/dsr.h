/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `dsr_ways` (LRU hash): the way of a connection that this node sends on by DSR, where the Service's frontend can tell it again from the packet alone
 * (SERVICE_MAGLEV, no affinity). Key: struct nat_key, the client is local, the address that it asked for remote. */
#pragma once

#include "weft/addr.h"

/* Without this entry the same endpoint is chosen as long as the Service's endpoints are the same: it keeps connections where they are when those change. So a
 * flood may push entries out, and nothing is counted. */
struct dsr_way {
	struct ip_addr to;
	__u32 backend; /* its id (weft/service.h) */
	__u32 seen;    /* tick of the latest packet, or one shortly before */
	__u8 ends; /* 1: the client has closed */
	__u8 gone; /* 1: the Service is, so what comes now keeps it no longer */
	__u8 pad[6];
};

ABI_SIZE(struct dsr_way, 32);
