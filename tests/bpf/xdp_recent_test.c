/* SPDX-License-Identifier: Apache-2.0 */
/* What xdp_net remembers of busy connections: what it says for the next packets, of what it is asked all the same, and how it goes. */
#include "xdp_node.h"

static bool in_epoch(uint32_t tick)
{
	return ticks_now() >> XDP_EPOCH_SHIFT == tick >> XDP_EPOCH_SHIFT;
}

/* Return: the tick, the first of an epoch, and not the stack's turn. */
static uint32_t wait_for_an_epoch(void)
{
	uint32_t tick;

	while (tick = ticks_now(), tick & ((1 << XDP_EPOCH_SHIFT) - 1) || tick % STACK_TURN == 0)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return tick;
}

static void forget_entries(void)
{
	clear("nat_claims");
	clear("nat_forward");
}

static void packet_of(const struct conn *c, bool back)
{
	(back ? from_endpoint : from_client)(c, "A", 40);
}

/* A busy connection, of which the tables know no more. @ret_tc: what from_net has made of its packet. Return: a tick of the epoch. */
static uint32_t remembered(const struct conn *c, bool back, struct outcome *ret_tc)
{
	uint32_t tick;

	do {
		forget_all();
		establish(c);
		packet_of(c, back);
		tick = wait_for_an_epoch();
		CHECK_INT(run_xdp().verdict, XDP_TX);
		CHECK_INT(run_xdp().verdict, XDP_TX);
		*ret_tc = run("from_net", &f, if_uplink);
		forget_entries();
	} while (ticks_now() != tick);
	return tick;
}

/* Every way that has two directions, or one: of what answers itself. */
#define for_each_way(c, back)                                                     \
	for (const struct conn *c = conns; c < conns + ARRAY_SIZE(conns); c++)    \
		for (int back = 0; back < (c->as ? 2 : 1); back++)

static void a_busy_connection_needs_no_look(void)
{
	for_each_way(c, back) {
		struct outcome tc, xdp;
		uint64_t bytes;
		uint32_t tick;

		do {
			tick = remembered(c, back, &tc);
			count_before();
			xdp = run_xdp();
			bytes = counted(back ? FORWARD_CLIENT : c->way);
		} while (!in_epoch(tick));
		CHECK_INT(xdp.verdict, XDP_TX);
		CHECK(bytes_eq(&xdp, &tc));
		CHECK(memcmp(xdp.data, back ? mac_router : c->hop, 6) == 0 && memcmp(xdp.data + 6, mac_host_a, 6) == 0);
		CHECK_INT(bytes, f.len);
		while (in_epoch(tick))
			nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* the kernel's coarse clock */
		CHECK_PASSED("the epoch is over");
	}
}

static void last_hop(void)
{
	if (f.data[f.l3] >> 4 == 6)
		frame_ip6(&f)->hop_limit = 1;
	else
		frame_ip4(&f)->ttl = 1;
}

static void other_class(void)
{
	f.data[f.l3 + 1] ^= 0x10;
}

static void other_frame(void)
{
	f.data[5] ^= 1;
}

static void other_port(void)
{
	f.data[f.l4 + 1] ^= 1;
	set_transport_sum(&f);
}

static void too_long(void)
{
	uint16_t more = ROUTE_MTU;

	memset(f.data + f.len, 0, more);
	f.len += more;
	if (f.data[f.l3] >> 4 == 6)
		frame_ip6(&f)->payload_len = htons(ntohs(frame_ip6(&f)->payload_len) + more);
	else
		frame_ip4(&f)->tot_len = htons(ntohs(frame_ip4(&f)->tot_len) + more);
	set_transport_sum(&f);
}

static void each_packet_is_asked_what_it_says_itself(void)
{
	static const struct {
		const char *what;
		void (*change)(void);
	} changes[] = { { "the last hop", last_hop },	   { "another class", other_class },	{ "another host's frame", other_frame },
			{ "another port", other_port }, { "a sum to come", sum_to_come }, { "too long", too_long } };

	for_each_way(c, back) {
		for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
			struct outcome tc, changed, as_before;
			struct frame plain;
			uint32_t tick;

			do {
				tick = remembered(c, back, &tc);
				plain = f;
				changes[i].change();
				changed = run_xdp();
				f = plain;
				as_before = run_xdp();
			} while (!in_epoch(tick));
			if (changed.verdict != XDP_PASS || as_before.verdict != XDP_TX)
				printf("# %s%s: %s\n", c->what, back ? ", back" : "", changes[i].what);
			CHECK_INT(changed.verdict, XDP_PASS);
			CHECK_INT(as_before.verdict, XDP_TX);
		}
	}
}

static void what_begins_or_ends_is_forgotten(void)
{
	static const char *const flags[] = { "S", "SA", "FA", "R" };

	for_each_way(c, back) {
		for (size_t i = 0; i < ARRAY_SIZE(flags) && c->proto == IPPROTO_TCP; i++) {
			struct outcome tc, ends, after;
			uint32_t tick;

			do {
				tick = remembered(c, back, &tc);
				(back ? from_endpoint : from_client)(c, flags[i], 0);
				ends = run_xdp();
				packet_of(c, back);
				after = run_xdp();
			} while (!in_epoch(tick));
			CHECK_INT(ends.verdict, XDP_PASS);
			CHECK_INT(after.verdict, XDP_PASS);
		}
	}
}

static void svc_21_udp_is_remembered_while_its_endpoint_serves(void)
{
	for (const struct conn *c = conns; c < conns + ARRAY_SIZE(conns); c++) {
		struct outcome tc, there, gone;
		uint32_t tick;

		do {
			tick = remembered(c, false, &tc);
			there = run_xdp();
			clear("service_backends");
			gone = run_xdp();
		} while (!in_epoch(tick));
		if (there.verdict != XDP_TX)
			printf("# %s\n", c->what);
		CHECK_INT(there.verdict, XDP_TX);
		CHECK_INT(gone.verdict, c->proto == IPPROTO_UDP ? XDP_PASS : XDP_TX);
	}
}

/* One packet in a tick writes nothing; the first one in the epoch after that of a busy connection does. */
static void who_is_not_busy_is_not_remembered(void)
{
	for (int busy = 0; busy < 2; busy++) {
		struct outcome first, second;
		uint32_t tick, next;
		bool in_one;

		do {
			forget_all();
			establish(&conns[0]);
			packet_of(&conns[0], false);
			tick = wait_for_an_epoch();
			next = tick + (1 << XDP_EPOCH_SHIFT);
			for (int i = 0; i < 2 * busy; i++)
				run_xdp();
			in_one = ticks_now() == tick;
			while (in_epoch(tick))
				nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL); /* not all clocks say so at once */
			first = run_xdp();
			forget_entries();
			second = run_xdp();
		} while (!in_one || ticks_now() != next || next % STACK_TURN == 0);
		CHECK_INT(first.verdict, XDP_TX);
		CHECK_INT(second.verdict, busy ? XDP_TX : XDP_PASS);
	}
}

int main(void)
{
	begin_xdp();
	RUN(stay_on_one_cpu);
	RUN(a_node_with_neighbours);
	RUN(a_busy_connection_needs_no_look);
	RUN(each_packet_is_asked_what_it_says_itself);
	RUN(what_begins_or_ends_is_forgotten);
	RUN(svc_21_udp_is_remembered_while_its_endpoint_serves);
	RUN(who_is_not_busy_is_not_remembered);
	harness_done();
	return test_end();
}
