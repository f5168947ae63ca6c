/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `judged_links` (array of one): the interfaces towards other nodes and the world that carry programs of ours, which see to it that nobody speaks there
 * as another. */
#pragma once

#include "weft/addr.h"

#define JUDGED_LINKS_MAX 32

struct judged_links {
	__u32 ifindex[JUDGED_LINKS_MAX]; /* a 0 ends them; the first 0: nobody has said yet */
};

ABI_SIZE(struct judged_links, 128);
