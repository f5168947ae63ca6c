/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `xdp_recent` (array): what xdp_net did with connections' packets a moment ago (lib/xdp_recent.h). One element is two cache lines, of which a connection
 * may have either; each CPU has a row of config.xdp_pairs. */
#pragma once

#include "weft/addr.h"

/* What becomes of a packet: as what it leaves, from which MAC address to which. */
struct xdp_onward {
	struct ip_addr src, dst;
	__be16 sport, dport;
	__u8 dmac[6], smac[6];
	__u16 mtu; /* of its way */
	__u8 way;  /* enum forward_way; XDP_BEGUN */
	__u8 epoch; /* its lower bits */
	__u32 backend; /* datagrams of a client go there only while it serves; 0: whatever becomes of it */
};

struct xdp_recent {
	__u64 mark; /* 0: none */
	struct xdp_onward to;
};

struct xdp_recent_pair {
	struct xdp_recent line[2];
};

/* An epoch, for which a line is believed: two ticks, 0.27 s. Each eighth tick, in which it is the stack's turn, begins one. */
#define XDP_EPOCH_SHIFT 1

ABI_SIZE(struct xdp_onward, 56);
ABI_SIZE(struct xdp_recent, 64);
ABI_SIZE(struct xdp_recent_pair, 128);
