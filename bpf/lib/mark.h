/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a program says to the one at the egress of the interface that it sends a packet to: there is nothing to be done for it.
 *
 * It says so in tc_index, which the kernel clears where a program hands a packet to the stack. But what comes in by an interface that has no
 * program of ours keeps what its owner has set, in another namespace too. So the mark counts only with a word in the control block: the stack uses
 * that one for itself, and nobody else knows the word, which is drawn whenever the programs are loaded. (It is a number that
 * flows_recent has no use for: of the row for places, which the epoch does not change.) */
#pragma once

#include "lib/flow_recent.h"

enum mark {
	PAST_STACK = 0x5757, /* judged, and translated if need be, past the stack */
	WRAPPED = 0x5758,    /* an outer packet that was made here (lib/outer.h) */
	TUNNELLED = 0x5759,  /* what went into the tunnel device; without the word */
};

static __always_inline void mark_put(struct __sk_buff *skb, enum mark mark)
{
	__u64 word = config.recent_key[RECENT_EPOCH][2];

	skb->tc_index = mark;
	skb->cb[0] = word;
	skb->cb[1] = word >> 32;
}

static __always_inline bool mark_is(const struct __sk_buff *skb, enum mark mark)
{
	__u64 word = config.recent_key[RECENT_EPOCH][2];

	return skb->tc_index == mark && skb->cb[0] == (__u32)word && skb->cb[1] == word >> 32;
}

/* Of others' packets in the tunnel device, in place of TUNNELLED: lib/stray.h. */
static __always_inline __u16 tunnelled_strangers(void)
{
	return config.recent_key[RECENT_EPOCH][2] >> 48 | 1;
}
