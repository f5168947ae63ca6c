/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Conversations seen a moment ago: what an established packet meets before the flow table.
 *
 * To find a flow among many costs what memory costs: the bucket, the entry, and their pages. But most packets belong to a conversation
 * of which all was known a moment ago: it lies in `flows`, policy lets it pass, and nothing about it changes. For such a conversation
 * flow_track() leaves a mark here, eight to a cache line. A packet that finds it may pass: nothing else is looked up, and nothing is
 * written, so CPUs do not fight for the line.
 *
 * A mark stands for both ends, the protocol, the policy's revision and the epoch, about a second long. So it goes by itself: in the
 * next epoch one packet looks the flow up again, which also notes when it was last seen; and a policy that changes is felt by the next
 * packet. FIN and RST take the long way, and the mark away. An entry that somebody else removes from `flows` lives on here until the
 * epoch ends.
 *
 * No more lines are in use than the conversations that there are need, as the sweep counts them: where they are few their marks lie close
 * together and stay in the cache; and the packets of short connections, which are looked for here in vain, do not each fetch a line that
 * nobody has touched for long. When the number changes all marks are in wrong places: each conversation is looked up once more.
 *
 * A mark is 62 bits, and the two of flow_state.stack that say which end's packets take the stack. The 62 are no hash that could be met by
 * trying: they are two sums of the packet's words, each times a random number of 64 bits that is drawn anew whenever the programs are
 * loaded, and of both sums the upper bits. Whatever two different conversations are, for one of 2^62 choices of the numbers they have
 * the same (Lemire and Kaser, "Strongly universal string hashing is fast", 2014: MULTILINEAR). A packet of no known conversation
 * is compared with eight marks and so taken for one with a chance of 2^-59: of a pod that forges ten million a second, one packet in
 * 1,800 years. Those that fail tell it nothing about the numbers; and what it can learn by the clock, which conversations share a line,
 * is about the third row of numbers only, which is for nothing but the place. */
#pragma once

#include "lib/packet.h"
#include "weft/flow.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192); /* the loader sets it */
	__uint(map_flags, BPF_F_MMAPABLE); /* for the alignment: other arrays begin in the middle of a cache line */
	__type(key, __u32);
	__type(value, struct flow_recent);
} flows_recent SEC(".maps");

/* The message, by word: both addresses, and the rest. The first term stands alone. */
enum { RECENT_ALONE, RECENT_FIRST, RECENT_SECOND = 5, RECENT_PORTS = 9, RECENT_PROTO, RECENT_REVISION, RECENT_EPOCH };

struct recent_sums {
	__u64 high, low, place;
};

/* 2^8 jiffies: 0.26 s to 2.6 s, far below the shortest time-out of an entry in `flows`. (The helper becomes a load.) */
static __always_inline __u32 flow_recent_epoch(void)
{
	return bpf_jiffies64() >> 8;
}

static __always_inline void recent_sum(struct recent_sums *s, int term, __u64 word)
{
	s->high += config.recent_key[term][0] * word;
	s->low += config.recent_key[term][1] * word;
	if (term <= RECENT_PORTS) /* the place is the same under every revision, in every epoch */
		s->place += config.recent_key[term][2] * word;
}

/* Of an IPv4 address only the last word differs from others. */
static __always_inline struct recent_sums recent_sums_of(const struct flow_key *key, __u32 revision, __u32 epoch)
{
	struct recent_sums s = {};
	bool v4 = addr_is_v4(&key->addr[0]);

	recent_sum(&s, RECENT_ALONE, 1);
	recent_sum(&s, RECENT_FIRST + 3, key->addr[0].w[3]);
	recent_sum(&s, RECENT_SECOND + 3, key->addr[1].w[3]);
	recent_sum(&s, RECENT_PORTS, *(const __u32 *)key->port);
	recent_sum(&s, RECENT_PROTO, key->proto | v4 << 8);
	recent_sum(&s, RECENT_REVISION, revision);
	recent_sum(&s, RECENT_EPOCH, epoch);
	if (likely(v4))
		return s;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		recent_sum(&s, RECENT_FIRST + i, key->addr[0].w[i]);
		recent_sum(&s, RECENT_SECOND + i, key->addr[1].w[i]);
	}
	return s;
}

/* With the bits for the stack zero. */
static __always_inline __u64 recent_mark(const struct recent_sums *s)
{
	return (s->high & 0xffffffff00000000) | (s->low >> 32 & ~(__u64)FLOW_RECENT_STACK);
}

static __always_inline struct flow_recent *recent_head(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flows_recent, &zero);
}

/* The tick, computed once a jiffy: to ask for the time costs a packet of a young flow as much as a look into the table does, and this line it has read. */
static __always_inline __u32 flow_tick_now(void)
{
	struct flow_recent *head = recent_head();
	__u32 jiffies = bpf_jiffies64(), tick;
	__u64 known = head ? *(volatile __u64 *)&head->clock : 0;

	if (likely(known && known >> 32 == jiffies))
		return known;
	tick = tick_now();
	if (head)
		*(volatile __u64 *)&head->clock = (__u64)jiffies << 32 | tick;
	return tick;
}

/* Lines behind the first: FEW, or twice as many, and again, until there are no more than MARKS conversations for each. They become fewer when that
 * is a sixteenth: a number that goes up and down would make all marks void each time. */
enum { RECENT_FEW = 64, RECENT_MARKS = 4 };

static __always_inline __u32 recent_lines_for(__s64 conversations, __u32 used)
{
	__u32 all = config.recent_lines;

	if (!used || used > all || conversations < used / RECENT_MARKS)
		used = RECENT_FEW;
	for (int i = 0; i < 24 && conversations > (__s64)used * RECENT_MARKS; i++)
		used *= 2;
	return used < all ? used : all;
}

/* By the sweep, which knows how many conversations there are. */
static __always_inline void recent_resize(__s64 conversations)
{
	struct flow_recent *head = recent_head();
	__u32 want;

	if (!head)
		return;
	want = recent_lines_for(conversations, head->used);
	if (want != head->used)
		*(volatile __u32 *)&head->used = want;
}

/* The sum alone would lay flows whose ports count up at even distances: mostly better than chance does, at times all into few lines. */
static __always_inline __u64 recent_mixed(const struct recent_sums *s)
{
	return (s->place ^ s->place >> 32) * 0x9e3779b97f4a7c15;
}

static __always_inline struct flow_recent *recent_line(const struct recent_sums *s)
{
	__u64 mixed = recent_mixed(s);
	struct flow_recent *head = recent_head();
	__u32 used = head ? *(volatile __u32 *)&head->used : 0, line;

	if (unlikely(!used))
		used = config.recent_lines;
	line = 1 + ((mixed >> 32) * used >> 32);
	return bpf_map_lookup_elem(&flows_recent, &line);
}

static __always_inline __u64 recent_read(const struct flow_recent *line, int way)
{
	return *(const volatile __u64 *)&line->mark[way];
}

static __always_inline void recent_write(struct flow_recent *line, int way, __u64 mark)
{
	*(volatile __u64 *)&line->mark[way & (FLOW_RECENT_WAYS - 1)] = mark;
}

/* Was the conversation marked in this epoch, under this revision of the policy? Without branches, which nobody could predict, as a mark
 * lies in any of the eight places. Return: 0, or FLOW_RECENT_HIT with the bits of flow_state.stack. */
__global __u32 flow_is_recent(const struct flow_key *key, __u32 revision)
{
	__u32 epoch = flow_recent_epoch();
	struct flow_recent *line;
	struct recent_sums s;
	__u64 mark, found = 0;

	if (!key)
		return 0;
	s = recent_sums_of(key, revision, epoch);
	line = recent_line(&s);
	if (!line)
		return 0;
	mark = recent_mark(&s);
#pragma unroll
	for (int i = 0; i < FLOW_RECENT_WAYS; i++) {
		__u64 difference = recent_read(line, i) ^ mark;
		__s64 equal = (__s64)((difference >> 2) - 1) >> 63; /* all ones if nothing else differs than the bits for the stack */

		found |= equal & (difference | FLOW_RECENT_HIT);
	}
	return found;
}

/* Where @mark lies in the line, whatever its bits for the stack; or -1. */
static __always_inline int recent_find(const struct flow_recent *line, __u64 mark)
{
#pragma unroll
	for (int i = 0; i < FLOW_RECENT_WAYS; i++)
		if ((recent_read(line, i) ^ mark) <= FLOW_RECENT_STACK)
			return i;
	return -1;
}

/* @stack: of flow_state. In the place of its mark of the epoch before, so that those of one line find each its own; else in an empty one;
 * else in any: there it drives out a dead one, or one that comes back with its next packet. */
__global int flow_recent_add(const struct flow_key *key, __u32 revision, __u8 stack)
{
	__u32 epoch = flow_recent_epoch();
	struct recent_sums s, before;
	struct flow_recent *line;
	int way;

	if (!key)
		return 0;
	s = before = recent_sums_of(key, revision, epoch);
	recent_sum(&before, RECENT_EPOCH, -1ull);
	line = recent_line(&s);
	if (!line)
		return 0;
	way = recent_find(line, recent_mark(&before));
	if (way < 0)
		way = recent_find(line, 0);
	if (way < 0)
		way = bpf_get_prandom_u32();
	recent_write(line, way, recent_mark(&s) | (stack & FLOW_RECENT_STACK));
	return 0;
}

/* The next packet of it looks into the table. */
__global int flow_recent_forget(const struct flow_key *key, __u32 revision)
{
	__u32 epoch = flow_recent_epoch();
	struct flow_recent *line;
	struct recent_sums s;
	int way;

	if (!key)
		return 0;
	s = recent_sums_of(key, revision, epoch);
	line = recent_line(&s);
	if (!line)
		return 0;
	way = recent_find(line, recent_mark(&s));
	if (way >= 0)
		recent_write(line, way, 0);
	return 0;
}
