/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `guard`: prefix (a struct node_route_key) → whose addresses these are, as a struct guard_entry. Where encryption is on, packets
 * between them do not pass an uplink as they are. */
#pragma once

#include "weft/addr.h"

#define GUARD_MAX 65536

enum guard_kind {
	GUARD_POD = 1,	/* a range of the cluster's pods */
	GUARD_NODE = 2, /* an address of a node */
};

struct guard_entry {
	__u32 kind; /* enum guard_kind */
};

ABI_SIZE(struct guard_entry, 4);
