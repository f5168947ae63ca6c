/* SPDX-License-Identifier: Apache-2.0 */
/* xdp_net beside from_net: what it sends is what from_net would send, byte by byte, and entries and counters move the same; everything else it
 * leaves as it was. The MACs are asked for apart: from_net leaves them to the kernel, which writes them behind it. What it remembers: xdp_recent_test.c. */
#include "xdp_node.h"

static void what_it_sends_is_what_from_net_sends(void)
{
	static const size_t sizes[] = { 0, 1, 7, 64, 1000, 1400 };
	uint64_t before = sent_on();

	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		const struct conn *c = &conns[i];

		establish(c);
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
			from_client(c, "A", sizes[s]);
			CHECK_same_as_from_net(c->what, c->hop, c->way);
			if (!c->as) /* answers go another way */
				continue;
			from_endpoint(c, "A", sizes[s]);
			CHECK_same_as_from_net(c->what, mac_router, FORWARD_CLIENT);
		}
	}
	CHECK(sent_on() >= before + ARRAY_SIZE(sizes) * (2 * ARRAY_SIZE(conns) - 2));
}

/* Towards a port that cannot be claimed no claim is looked for; one that has it from before is from_net's. */
static void ports_that_nobody_claims(void)
{
	reserve(true);
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		const struct conn *c = &conns[i];
		struct nat_key key = { .local = ip_of(c->ours), .remote = ip_of(c->client), .local_port = htons(NODE_PORT), .remote_port = htons(CLIENT_PORT), .proto = c->proto };
		struct nat_claim claim = { .addr = ip_of(c->endpoint), .port = htons(BACKEND_PORT), .uplink = if_uplink };

		establish(c);
		from_client(c, "A", 64);
		CHECK_same_as_from_net(c->what, c->hop, c->way);
		if (c->as) {
			from_endpoint(c, "A", 64);
			CHECK_same_as_from_net(c->what, mac_router, FORWARD_CLIENT);
		}
		forget_all();
		claim.state = (struct flow_state){ .seen = ticks_now(), .owner = NAT_OWNER_INBOUND, .stage = FLOW_OPEN };
		put("nat_claims", &key, &claim);
		from_client(c, "A", 64);
		CHECK_PASSED("a claim of a reserved port");
	}
	reserve(false);
}

/* Every payload gives another sum; the rare ones are those that are zero, before or after. */
static void sums_come_out_the_same(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct conn *c = &conns[i];

		establish(c);
		from_client(c, "A", 2);
		for (unsigned n = 0; n < 65536; n += n % 7 == 0 ? 1 : 251) {
			f.data[f.len - 2] = n >> 8;
			f.data[f.len - 1] = n;
			set_transport_sum(&f);
			CHECK_same_as_from_net(c->what, c->hop, c->way);
		}
	}
}

/* UDP without a sum keeps none; one that mends to zero is written as 0xffff. */
static void udp_sums_of_zero(void)
{
	for (size_t i = 1; i < 4; i += 2) {
		const struct conn *c = &conns[i];
		struct outcome o;
		uint16_t sum;

		establish(c);
		from_client(c, "", 2);
		((struct udphdr *)(f.data + f.l4))->check = 0;
		CHECK_same_as_from_net("no sum", c->hop, c->way);
		from_client(c, "", 2);
		f.data[f.len - 2] = f.data[f.len - 1] = 0;
		set_transport_sum(&f);
		o = run("from_net", &f, if_uplink); /* how far its sum is from zero, the payload makes up for */
		sum = o.data[f.l4 + 6] << 8 | o.data[f.l4 + 7];
		f.data[f.len - 2] = sum >> 8;
		f.data[f.len - 1] = sum;
		set_transport_sum(&f);
		CHECK_same_as_from_net("a sum of zero", c->hop, c->way);
		o = run_xdp();
		CHECK(o.verdict != XDP_TX || (o.data[f.l4 + 6] == 0xff && o.data[f.l4 + 7] == 0xff));
	}
}

/* A damaged packet stays as damaged. */
static void damage_is_not_mended(void)
{
	for (size_t i = 0; i < 4; i++) {
		establish(&conns[i]);
		from_client(&conns[i], "A", 100);
		f.data[f.len - 1] ^= 0x40;
		CHECK_same_as_from_net("damaged", conns[i].hop, conns[i].way);
	}
}

static void what_begins_or_ends_is_left_alone(void)
{
	static const char *const flags[] = { "S", "SA", "F", "FA", "R", "RA" };

	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		if (conns[i].proto != IPPROTO_TCP)
			continue;
		establish(&conns[i]);
		for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
			from_client(&conns[i], flags[k], 0);
			CHECK_PASSED(flags[k]);
			if (!conns[i].as)
				continue;
			from_endpoint(&conns[i], flags[k], 0);
			CHECK_PASSED(flags[k]);
		}
	}
}

static void what_is_not_known_is_left_alone(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		const struct conn *c = &conns[i];

		establish(c);
		packet(c->proto, c->client, CLIENT_PORT + 1, c->ours, NODE_PORT, "A", 9);
		CHECK_PASSED("another port");
		packet(c->proto, c->client, CLIENT_PORT, c->ours, 22, "A", 9);
		CHECK_PASSED("another service");
		from_client(c, "A", 9);
		forget_all();
		CHECK_PASSED("forgotten");
	}
}

/* Half open: from_net sees the handshake to its end. */
static void young_connections_are_left_alone(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct conn *c = &conns[i];

		forget_all();
		service(c->ours, NODE_PORT, c->proto, c->endpoint, BACKEND_PORT, 0, 1);
		from_client(c, "S", 0);
		as_port = through("from_net", if_uplink).sport;
		from_client(c, "A", 0);
		CHECK_PASSED("not answered");
		from_endpoint(c, "A", 0);
		CHECK_PASSED("the first answer");
	}
}

static void what_is_not_plain_is_left_alone(void)
{
	const struct conn *c4 = &conns[1], *c6 = &conns[3];
	uint8_t options[8] = { IPPROTO_UDP, 0, 1, 4 };

	for (size_t i = 0; i < 4; i++) {
		const struct conn *c = &conns[i];

		establish(c);
		for (int back = 0; back < 2; back++) {
			(back ? from_endpoint : from_client)(c, "A", 10);
			if (strchr(c->client, ':'))
				frame_ip6(&f)->hop_limit = 1;
			else
				frame_ip4(&f)->ttl = 1;
			CHECK_PASSED("the last hop");
		}
		from_client(c, "A", 10);
		f.len -= 11;
		CHECK_PASSED("cut off");
		from_client(c, "A", ROUTE_MTU);
		CHECK_PASSED("too big for the way");
		from_endpoint(c, "A", ROUTE_MTU);
		CHECK_PASSED("too big for the client's way");
	}
	establish(c4);
	from_client(c4, "", 24);
	frame_ip4(&f)->frag_off = htons(0x2000);
	CHECK_PASSED("a first fragment");
	frame_ip4(&f)->frag_off = htons(3);
	CHECK_PASSED("a later fragment");
	from_client(c4, "", 24);
	frame_ip4(&f)->ihl = 6;
	CHECK_PASSED("options");
	from_client(c4, "", 24);
	memmove(f.data + 16, f.data + 12, f.len - 12);
	f.len += 4;
	memcpy(f.data + 12, "\x81\x00\x00\x05", 4);
	CHECK_PASSED("of a VLAN");
	establish(c6);
	from_client(c6, "", 24);
	memmove(f.data + f.l4 + 8, f.data + f.l4, f.len - f.l4);
	memcpy(f.data + f.l4, options, 8);
	f.len += 8;
	frame_ip6(&f)->nexthdr = IPPROTO_DSTOPTS;
	frame_ip6(&f)->payload_len = htons(f.len - f.l4);
	CHECK_PASSED("destination options");
	f.data[f.l4 + 1] = f.data[f.l4 + 2] = f.data[f.l4 + 3] = 0;
	frame_ip6(&f)->nexthdr = IPPROTO_FRAGMENT;
	CHECK_PASSED("an atomic fragment");
}

static void sums_that_are_to_come_are_left_alone(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct conn *c = &conns[i];

		establish(c);
		for (int back = 0; back < 2; back++) {
			(back ? from_endpoint : from_client)(c, "A", 33);
			sum_to_come();
			CHECK_PASSED("the pseudo header's sum");
		}
	}
}

static void frames_for_others_are_left_alone(void)
{
	establish(&conns[0]);
	from_client(&conns[0], "A", 10);
	f.data[5] ^= 1;
	CHECK_PASSED("another host's");
	memset(f.data, 0xff, 6);
	CHECK_PASSED("to all");
}

/* from_net drops these, and counts them. */
static void who_may_not_come_is_left_alone(void)
{
	static const char *const sources[] = { A4, NODE4, OURS4, "10.9.1.99" /* of its range */, TUNNEL4 };

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		struct conn c = conns[0];
		struct memory m;
		struct addr src = addr_of(sources[i]);

		establish(&c);
		m = remember();
		memcpy(&m.inside.local, &src, 16);
		put("nat_forward", &m.inside, &m.forward); /* even if there were an entry */
		c.client = sources[i];
		from_client(&c, "A", 10);
		CHECK_PASSED(sources[i]);
	}
}

static void endpoints_here_or_behind_a_tunnel_are_left_alone(void)
{
	static const char *const endpoints[] = { A4, TUNNEL4 };

	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
		struct conn c = conns[0];
		struct memory m;

		c.endpoint = endpoints[i];
		c.as = NULL;
		establish(&c);
		m = remember();
		m.forward.open = 1;
		restore(&m);
		from_client(&c, "A", 10);
		CHECK_PASSED(endpoints[i]);
	}
}

static void answers_by_another_uplink_are_left_alone(void)
{
	struct memory m;

	establish(&conns[0]);
	m = remember();
	m.claim.uplink = if_b;
	restore(&m);
	from_endpoint(&conns[0], "A", 10);
	CHECK_PASSED("the client came by another uplink");
}

/* Datagrams turn to another endpoint, TCP goes on (SVC-21). */
static void svc_21_udp_without_its_endpoint_is_left_alone(void)
{
	establish(&conns[1]);
	clear("service_backends");
	from_client(&conns[1], "", 10);
	CHECK_PASSED("its endpoint is gone");
	establish(&conns[0]);
	clear("service_backends");
	from_client(&conns[0], "A", 10);
	CHECK_same_as_from_net("its endpoint is gone", mac_node, FORWARD_DIRECT);
}

static void unknown_neighbours_are_left_alone(void)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct neigh n = { .ifindex = if_uplink, .addr = addr_of("192.0.2.2") };

	CHECK_INT(rtnl_open(&nl), 0);
	establish(&conns[0]);
	CHECK_INT(rtnl_del_neigh(nl, &n), 0);
	from_client(&conns[0], "A", 10);
	CHECK_PASSED("nobody knows its MAC address");
	neighbour(nl, "192.0.2.2", mac_node);
	CHECK_same_as_from_net("it is back", mac_node, FORWARD_DIRECT);
}

/* Each connection shows itself to the stack now and then, so that the neighbour stays known. */
static void now_and_then_it_is_the_stacks_turn(void)
{
	const struct conn *c = &conns[0];
	unsigned turns = 0, others = 0;

	establish(c);
	while (turns < 2 || others < 2) {
		struct memory old = remember();
		uint32_t tick = ticks_now();
		struct outcome o;
		bool turn = tick % STACK_TURN == 0;

		old.forward.seen = 0;
		restore(&old);
		from_client(c, "A", 10);
		o = run_xdp();
		if (ticks_now() != tick)
			continue;
		CHECK_INT(o.verdict, turn ? XDP_PASS : XDP_TX);
		CHECK_INT(remember().forward.seen, turn ? 0 : tick);
		*(turn ? &turns : &others) += 1;
	}
}

/* Whatever is done to a packet of a connection: what is sent on is what from_net sends. */
static void mutations_come_out_the_same(void)
{
	unsigned sent = 0;

	srandom(5757);
	for (size_t i = 0; i < ARRAY_SIZE(conns); i++) {
		const struct conn *c = &conns[i];
		struct memory fresh;

		establish(c);
		fresh = remember();
		for (unsigned n = 0; n < MUTATIONS / ARRAY_SIZE(conns); n++) {
			struct outcome xdp, tc;

			(c->as && n % 2 ? from_endpoint : from_client)(c, "A", n % 64);
			for (unsigned k = 0; k < n / 2 % 2 * 2; k++) /* remembered, mostly */
				run_xdp();
			for (long k = random() % 3; k >= 0; k--)
				f.data[random() % f.len] ^= 1 << random() % 8;
			restore(&fresh);
			xdp = run_xdp();
			if (xdp.verdict == XDP_PASS) {
				CHECK(xdp.len == f.len && memcmp(xdp.data, f.data, f.len) == 0);
				continue;
			}
			sent++;
			CHECK_INT(xdp.verdict, XDP_TX);
			tc = run("from_net", &f, if_uplink);
			CHECK_INT(tc.verdict, REDIRECT);
			CHECK(bytes_eq(&xdp, &tc));
		}
	}
	CHECK(sent > MUTATIONS / 8);
}

int main(void)
{
	begin_xdp();
	RUN(stay_on_one_cpu);
	RUN(a_node_with_neighbours);
	RUN(what_it_sends_is_what_from_net_sends);
	RUN(ports_that_nobody_claims);
	RUN(sums_come_out_the_same);
	RUN(udp_sums_of_zero);
	RUN(damage_is_not_mended);
	RUN(what_begins_or_ends_is_left_alone);
	RUN(what_is_not_known_is_left_alone);
	RUN(young_connections_are_left_alone);
	RUN(what_is_not_plain_is_left_alone);
	RUN(sums_that_are_to_come_are_left_alone);
	RUN(frames_for_others_are_left_alone);
	RUN(who_may_not_come_is_left_alone);
	RUN(endpoints_here_or_behind_a_tunnel_are_left_alone);
	RUN(answers_by_another_uplink_are_left_alone);
	RUN(svc_21_udp_without_its_endpoint_is_left_alone);
	RUN(unknown_neighbours_are_left_alone);
	RUN(now_and_then_it_is_the_stacks_turn);
	RUN(mutations_come_out_the_same);
	harness_done();
	return test_end();
}
