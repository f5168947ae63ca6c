/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses of Services that this node announces in its local networks: from_net answers for them, so they are answered for while the
 * agent is down. docs/services.md tells who announces what. */
#pragma once

#include "weft/addr.h"

/* `announced` (hash) */
struct announce_key {
	struct ip_addr addr;
	__u32 ifindex; /* the uplink in whose network it is */
	__u32 pad;     /* zero */
};

struct announced {
	__u8 mac[6]; /* the uplink's: what the answer says */
	__u16 pad;
};

/* `announce_peers` (hash): MAC addresses of the nodes that could announce the same → __u32, 1. */
struct announce_peer {
	__u8 mac[6];
	__u16 pad; /* zero */
};

/* `announce_awake` (array of one): until when (bpf_ktime_get_ns()) the agent counts as awake. While it is, it hears itself when a peer
 * takes an address over; when it is not, from_net gives way in its place. */

#define ANNOUNCED_MAX 4096
#define ANNOUNCE_PEERS_MAX 4096

ABI_SIZE(struct announce_key, 24);
ABI_SIZE(struct announced, 8);
ABI_SIZE(struct announce_peer, 8);
