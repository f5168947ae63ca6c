/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An entry that a table leaves to the one that takes its place, as bpf/inherit.bpf.c is handed it: as a packet. */
#pragma once

#include "weft/flow.h"
#include "weft/nat.h"

struct inherited_flow {
	__u8 ether[16]; /* zero: what a packet begins with */
	struct flow_key key;
	struct flow_state state;
	__u32 pad;
};

struct inherited_claim {
	__u8 ether[16];
	struct nat_key key;
	struct nat_claim claim;
	struct nat_forward forward; /* of the same connection */
};

ABI_SIZE(struct inherited_flow, 80);
ABI_SIZE(struct inherited_claim, 168);
