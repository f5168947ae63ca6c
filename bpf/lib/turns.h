/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The end of entries that nothing evicts: a timer in the kernel, agent or not, looks at each of them every TURN_SECONDS.
 *
 * An entry puts its key into a queue when it is made, and again each time it has been looked at; so the queue is in the order in which
 * turns come, and a look costs a few memory accesses. One timer is all there is: one an entry would be armed and moved with each
 * connection, and since Linux 6.18 the memory of a timer is taken without waiting for a lock, so that under load there is none.
 *
 * The turn is written into the entry as well: a key in the queue whose entry says another turn is left from an entry that ended
 * sooner, and dropped. An entry that found the queue full says 0; the sweep then looks through the whole table for such ones. */
#pragma once

#include "lib/prelude.h"
#include "weft/flow.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_sweep);
} flow_sweep SEC(".maps");

static __always_inline struct flow_sweep *flow_sweep_find(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_sweep, &zero);
}

static __always_inline void flow_sweep_now(void)
{
	struct flow_sweep *sweep = flow_sweep_find();

	if (sweep)
		bpf_timer_start(&sweep->timer, 0, 0);
}

/* The turn of what enters the queue now: never 0. */
static __always_inline __u8 turn_now(void)
{
	return (__u8)tick_now() | 1;
}

/* A turn may be a tick ahead, for its lowest bit. */
static __always_inline bool turn_has_come(__u8 turn)
{
	return (__u8)((__u8)tick_now() - turn + 1) >= TURN_TICKS + 1;
}

/* The queue was full. */
static __always_inline void turn_missed(void)
{
	struct flow_sweep *sweep = flow_sweep_find();

	if (sweep)
		sweep->missed = 1;
}

/* Puts the entry @e with the key at @k into the queue of its table. */
#define turn_take(queue, k, e)                             \
	do {                                               \
		(k)->turn = (e)->turn = turn_now();        \
		if (bpf_map_push_elem(&queue, k, 0)) {     \
			(e)->turn = 0;                     \
			turn_missed();                     \
		}                                          \
		(k)->turn = 0;                             \
	} while (0)

/* Takes the next key out of the queue into @k if its turn has come: @ret is the turn then, and else 0. Only the sweep takes any out. */
#define turn_next(queue, k, ret)                                                                                             \
	do {                                                                                                                 \
		ret = 0;                                                                                                     \
		if (!bpf_map_peek_elem(&queue, k) && turn_has_come((k)->turn) && !bpf_map_pop_elem(&queue, k)) {             \
			ret = (k)->turn;                                                                                     \
			(k)->turn = 0;                                                                                       \
		}                                                                                                            \
	} while (0)
