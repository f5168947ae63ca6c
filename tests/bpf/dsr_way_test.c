/* SPDX-License-Identifier: Apache-2.0 */
/* DSR where the endpoint can be chosen again (lib/dsr_way.h): the node that is asked has no entries of such connections but a way, and of their SYNs, which
 * xdp_net sends on itself, not even that. */
#include "xdp_node.h"
#include "weft/dsr.h"

enum { AGAIN = SERVICE_DSR | SERVICE_MAGLEV, SYN_NUMBER = 0xffffffff - 7 };

#define OTHER4 "10.9.2.8" /* another endpoint of the node that has DIRECT4 and DIRECT6 */
#define OTHER6 "fd09:0:0:2::8"

static const struct asked {
	const char *client, *ours, *any, *endpoint, *other;
} asked[] = {
	{ WORLD4, OURS4, "0.0.0.0", DIRECT4, OTHER4 },
	{ WORLD6, OURS6, "::", DIRECT6, OTHER6 },
};

#define for_each_family(a) for (const struct asked *a = asked; a < asked + ARRAY_SIZE(asked); a++)

/* ---- the node ---- */

static void forget_ways(void)
{
	forget_all();
	clear("dsr_ways");
	clear("service_affinity");
}

static size_t entries_of(const char *map)
{
	uint8_t key[64], next[64];
	size_t n = 0;

	while (bpf_map_get_next_key(datapath_map_fd(dp, map), n ? key : NULL, next) == 0) {
		memcpy(key, next, sizeof(key));
		n++;
	}
	return n;
}

/* ---- packets ---- */

static uint32_t epoch_now(void)
{
	return ticks_now() >> XDP_EPOCH_SHIFT;
}

static void wait_for(uint32_t mask, uint32_t tick)
{
	while ((ticks_now() & mask) != tick)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* The begin of the first epoch after the stack's turn: what follows has three quarters of a second. */
static void wait_for_the_epoch(void)
{
	wait_for(STACK_TURN - 1, 1 << XDP_EPOCH_SHIFT);
}

static void ask_from(const struct asked *a, uint8_t proto, uint16_t port, const char *flags)
{
	size_t payload = proto == IPPROTO_TCP && strchr(flags, 'S') ? 0 : 12;

	packet(proto, a->client, port, a->ours, NODE_PORT, flags, payload);
	if (proto == IPPROTO_UDP)
		((struct udphdr *)(f.data + f.l4))->len = htons(8 + payload);
	else
		((struct tcphdr *)(f.data + f.l4))->seq = htonl(strchr(flags, 'S') ? SYN_NUMBER : SYN_NUMBER + 1);
	set_transport_sum(&f);
}

static void ask(const struct asked *a, uint8_t proto, const char *flags)
{
	ask_from(a, proto, CLIENT_PORT, flags);
}

static void serve_by(const struct asked *a, uint8_t proto, const char *endpoint, uint32_t id)
{
	service(a->any, NODE_PORT, proto, endpoint, BACKEND_PORT, AGAIN, id);
}

/* Where the only way leads. */
static struct dsr_way only_way(void)
{
	struct dsr_way way = {};
	struct nat_key key;

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "dsr_ways"), NULL, &key), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "dsr_ways"), &key, &way), 0);
	return way;
}

static void CHECK_leads_to(const char *endpoint)
{
	struct dsr_way way = only_way();
	struct ip_addr to = ip_of(endpoint);

	CHECK(memcmp(&way.to, &to, 16) == 0);
}

/* It was last used so many ticks ago. */
static void let_the_way_rest(uint32_t ticks)
{
	struct dsr_way way = only_way();
	struct nat_key key;

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "dsr_ways"), NULL, &key), 0);
	way.seen -= ticks;
	put("dsr_ways", &key, &way);
}

/* Both endpoints are in the set of the Service 2; Maglev leads to the other one. */
static void two_serve(const struct asked *a)
{
	struct service_backend b = { .addr = ip_of(a->endpoint), .port = htons(BACKEND_PORT), .proto = IPPROTO_TCP, .roles = 1, .service = 2 };
	uint32_t id = 1;

	put("service_backends", &id, &b);
}

/* A packet of DSR stays as it is, but for its hop. */
static void CHECK_sent_as_it_is(const struct outcome *o)
{
	struct frame there = f;

	if (f.data[f.l3] >> 4 == 6) {
		frame_ip6(&there)->hop_limit--;
		CHECK(o->len == f.len && memcmp(o->data + f.l3, there.data + f.l3, f.len - f.l3) == 0);
		return;
	}
	frame_ip4(&there)->ttl--;
	frame_ip4(&there)->check = 0;
	CHECK_INT(o->len, f.len);
	CHECK(frame_ip4_checksum_ok(o->data + f.l3));
	for (size_t i = f.l3; i < f.len; i++)
		CHECK(o->data[i] == there.data[i] || i == (size_t)f.l3 + 10 || i == (size_t)f.l3 + 11);
}

/* By xdp_net, and nothing of it is changed but its hop. */
static void CHECK_sent_by_xdp(void)
{
	struct outcome o = run_xdp();

	CHECK_INT(o.verdict, XDP_TX);
	CHECK_sent_as_it_is(&o);
	CHECK(memcmp(o.data, mac_node, 6) == 0 && memcmp(o.data + 6, mac_host_a, 6) == 0);
}

/* ---- tests ---- */

static void from_net_makes_a_way_and_no_entries(void)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for_each_family(a)
		for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
			forget_ways();
			serve_by(a, protos[i], a->endpoint, 1);
			ask(a, protos[i], "S");
			out = run("from_net", &f, if_uplink);
			CHECK_INT(out.verdict, REDIRECT);
			CHECK_sent_as_it_is(&out);
			CHECK_leads_to(a->endpoint);
			ask(a, protos[i], "A");
			out = run("from_net", &f, if_uplink);
			CHECK_INT(out.verdict, REDIRECT);
			CHECK_sent_as_it_is(&out);
			CHECK_INT(entries_of("dsr_ways"), 1);
			CHECK_INT(entries_of("nat_forward") + entries_of("nat_claims"), 0);
		}
}

/* One whose choice cannot be made again has its entries, and so has one that is served here. */
static void others_have_entries(void)
{
	for_each_family(a) {
		forget_ways();
		service(a->any, NODE_PORT, IPPROTO_TCP, a->endpoint, BACKEND_PORT, SERVICE_DSR, 1);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		CHECK_INT(entries_of("nat_forward"), 1);
		forget_ways();
		serve_by(a, IPPROTO_TCP, a == asked ? A4 : A6, 1);
		through("from_net", if_uplink);
		CHECK_INT(entries_of("nat_forward"), 1);
		CHECK_INT(entries_of("dsr_ways"), 0);
	}
}

/* The Service's endpoints change while a connection stands: TCP goes on, a datagram while its endpoint serves (SVC-21). */
static void svc_21_ways_outlive_their_set(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		clear("service_backends");
		serve_by(a, IPPROTO_TCP, a->other, 2);
		ask(a, IPPROTO_TCP, "A");
		through("from_net", if_uplink);
		CHECK_leads_to(a->endpoint);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		CHECK_leads_to(a->other);
		forget_ways();
		serve_by(a, IPPROTO_UDP, a->endpoint, 1);
		ask(a, IPPROTO_UDP, "");
		through("from_net", if_uplink);
		clear("service_backends");
		serve_by(a, IPPROTO_UDP, a->other, 2);
		through("from_net", if_uplink);
		CHECK_leads_to(a->other);
	}
}

/* It is no secret, and may be lost: the same endpoint is chosen again. */
static void lost_ways_are_found_again(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "A");
		through("from_net", if_uplink);
		CHECK_leads_to(a->endpoint);
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		CHECK_INT(run_xdp().verdict, XDP_PASS); /* nothing is noted by xdp_net */
		through("from_net", if_uplink);
		CHECK_leads_to(a->endpoint);
	}
}

/* A port that goes to another Service, or is closed: datagrams follow in the next tick. A connection of TCP whose Service is gone ends some minutes later. */
static void svc_21_closed_ports_take_their_ways_along(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_UDP, a->endpoint, 1);
		ask(a, IPPROTO_UDP, "");
		through("from_net", if_uplink);
		serve_by(a, IPPROTO_UDP, a->other, 2); /* the endpoint serves on */
		let_the_way_rest(1);
		CHECK_INT(run_xdp().verdict, XDP_PASS);
		through("from_net", if_uplink);
		CHECK_leads_to(a->other);
		clear("service_frontends");
		let_the_way_rest(1);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		CHECK_INT(entries_of("dsr_ways"), 0);
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		clear("service_frontends");
		let_the_way_rest(FLOW_TICKS(FLOW_TIMEOUT_TCP_FIN) - 8);
		ask(a, IPPROTO_TCP, "A");
		through("from_net", if_uplink);
		CHECK_INT(only_way().gone, 1);
		let_the_way_rest(16);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
}

/* Whoever only says that he is the client moves no connection that stands: neither a SYN out of the blue, in either program, nor what follows another SYN. */
static void a_forged_syn_moves_nobody(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		serve_by(a, IPPROTO_TCP, a->other, 2); /* what Maglev would choose now */
		two_serve(a);
		through("from_net", if_uplink);
		CHECK_leads_to(a->endpoint);
		wait_for_the_epoch();
		CHECK_sent_by_xdp();
		ask(a, IPPROTO_TCP, "A");
		((struct tcphdr *)(f.data + f.l4))->seq = htonl(77);
		set_transport_sum(&f);
		CHECK_sent_by_xdp();
		CHECK_leads_to(a->endpoint);
		ask(a, IPPROTO_TCP, "A"); /* the line is gone with the first who did not fit */
		CHECK_sent_by_xdp();
		CHECK_leads_to(a->endpoint);
	}
}

static void m4_errors_go_by_the_way(void)
{
	for_each_family(a) {
		bool v6 = strchr(a->client, ':');
		struct frame sent;
		struct view v;
		size_t l4;

		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		packet(IPPROTO_TCP, a->ours, NODE_PORT, a->client, CLIENT_PORT, "A", 0);
		sent = f;
		frame_ether(&f, mac_host_a, mac_other, v6 ? ETH_P_IPV6 : ETH_P_IP);
		frame_ip(&f, v6 ? "2001:db8::77" : "203.0.113.1", a->ours, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		frame_icmp(&f, v6 ? 2 : 3, v6 ? 0 : 4, 0);
		l4 = f.l4;
		frame_put(&f, sent.data + sent.l3, v6 ? 48 : 28);
		f.l4 = l4;
		frame_end(&f);
		set_transport_sum(&f);
		sent = f;
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* of no connection that is known: the stack's */
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		f = sent;
		v = through("from_net", if_uplink);
		CHECK_sent_as_it_is(&out);
		CHECK(addr_eq(&v.dst, &(struct addr[]){ addr_of(a->ours) }[0]));
	}
}

/* What xdp_net makes of a SYN is what from_net makes of it, and it leaves no entry; from_net's way shows that one would be seen. */
static void a_syn_leaves_nothing(void)
{
	for_each_family(a) {
		struct outcome tc, xdp;

		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		tc = run("from_net", &f, if_uplink);
		CHECK_INT(entries_of("dsr_ways"), 1);
		clear("dsr_ways");
		wait_for_the_epoch();
		xdp = run_xdp();
		CHECK_INT(xdp.verdict, XDP_TX);
		CHECK_sent_as_it_is(&xdp);
		CHECK(memcmp(xdp.data + 12, tc.data + 12, tc.len - 12) == 0);
		CHECK(xdp.data[5] == 2 && memcmp(xdp.data + 6, mac_host_a, 6) == 0);
		for (unsigned i = 1; i < 200; i++) {
			ask_from(a, IPPROTO_TCP, CLIENT_PORT + i, "S");
			run_xdp();
		}
		CHECK_INT(entries_of("dsr_ways") + entries_of("nat_forward") + entries_of("nat_claims"), 0);
	}
}

/* Between a SYN and what the client says next the endpoints change: it goes where the SYN went, by both programs, and then has a way.
 * Return: was it sent on by xdp_net? */
static bool goes_on_after_a_change(const struct asked *a, const char *flags, bool later)
{
	struct outcome o;
	uint32_t epoch;

	do {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		wait_for_the_epoch();
		epoch = epoch_now();
		ask(a, IPPROTO_TCP, "S");
		CHECK_sent_by_xdp();
		clear("service_backends");
		serve_by(a, IPPROTO_TCP, a->other, 2);
		while (later && epoch_now() == epoch)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		ask(a, IPPROTO_TCP, flags);
		o = run_xdp();
	} while (epoch_now() - epoch > later); /* the machine was busy: the line has ended */
	if (o.verdict == XDP_TX)
		CHECK_sent_as_it_is(&o);
	through("from_net", if_uplink);
	CHECK_leads_to(a->endpoint);
	return o.verdict == XDP_TX;
}

static void svc_21_who_has_begun_goes_on(void)
{
	for_each_family(a) {
		CHECK(goes_on_after_a_change(a, "A", false));
		CHECK(!goes_on_after_a_change(a, "FA", false));
		CHECK(goes_on_after_a_change(a, "A", true));
	}
}

/* The client's next SYN begins anew. */
static void a_syn_begins_anew(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		wait_for_the_epoch();
		ask(a, IPPROTO_TCP, "S");
		CHECK_sent_by_xdp();
		clear("service_backends");
		serve_by(a, IPPROTO_TCP, a->other, 2);
		CHECK_sent_by_xdp();
		ask(a, IPPROTO_TCP, "A");
		CHECK_sent_by_xdp();
		CHECK_leads_to(a->other);
	}
}

/* An earlier connection with entries. @fin: has its client closed? */
static void put_entries(const struct asked *a, uint8_t fin)
{
	struct nat_key inside = { .local = ip_of(a->client), .remote = ip_of(a->ours), .local_port = htons(CLIENT_PORT), .remote_port = htons(NODE_PORT), .proto = IPPROTO_TCP };
	struct nat_forward forward = { .addr = inside.local, .port = inside.local_port, .open = 1, .seen = ticks_now(), .to = ip_of(a->other),
				       .to_port = htons(BACKEND_PORT), .direct = 1, .backend = 9 };
	struct nat_key outside = { .local = inside.local, .remote = forward.to, .local_port = inside.local_port, .remote_port = forward.to_port, .proto = IPPROTO_TCP };
	struct nat_claim claim = { .addr = inside.local, .front = inside.remote, .port = inside.local_port, .front_port = inside.remote_port, .uplink = if_uplink,
				   .state = { .seen = ticks_now(), .owner = NAT_OWNER_INBOUND, .stage = FLOW_OPEN, .fin = fin } };

	put("nat_claims", &outside, &claim);
	put("nat_forward", &inside, &forward);
}

/* Whoever sends a SYN and what follows it in the client's name: a connection that stands stays where it is, one that its client has ended gives way. */
static void an_earlier_connection_stays_until_its_client_ends_it(void)
{
	for_each_family(a)
		for (int ended = 0; ended < 2; ended++) {
			forget_ways();
			serve_by(a, IPPROTO_TCP, a->endpoint, 1);
			put_entries(a, ended);
			wait_for_the_epoch();
			ask(a, IPPROTO_TCP, "S");
			CHECK_sent_by_xdp();
			ask(a, IPPROTO_TCP, "A");
			CHECK_sent_by_xdp();
			CHECK_INT(entries_of("nat_forward"), !ended);
			CHECK_INT(entries_of("dsr_ways"), ended);
			forget_ways();
			serve_by(a, IPPROTO_TCP, a->other, 1);
			ask(a, IPPROTO_TCP, "S");
			through("from_net", if_uplink);
			ask(a, IPPROTO_TCP, ended ? "FA" : "A");
			through("from_net", if_uplink);
			serve_by(a, IPPROTO_TCP, a->endpoint, 2);
			wait_for_the_epoch();
			ask(a, IPPROTO_TCP, "S");
			CHECK_sent_by_xdp();
			ask(a, IPPROTO_TCP, "A");
			CHECK_sent_by_xdp();
			CHECK_leads_to(ended ? a->endpoint : a->other);
		}
}

/* A port that is used again after the client's end: the new connection has a way of its own, with all its time. */
static void a_port_that_is_used_again_begins_anew(void)
{
	for_each_family(a) {
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		ask(a, IPPROTO_TCP, "FA");
		through("from_net", if_uplink);
		CHECK_INT(only_way().ends, 1);
		let_the_way_rest(FLOW_TICKS(FLOW_TIMEOUT_TCP_FIN) - 8);
		ask(a, IPPROTO_TCP, "A"); /* half closed, it goes on */
		through("from_net", if_uplink);
		CHECK(ticks_now() - only_way().seen < 8);
		ask(a, IPPROTO_TCP, "S");
		through("from_net", if_uplink);
		CHECK_INT(only_way().ends, 0);
	}
}

#define CHECK_XDP_PASSES(what)                                                                                         \
	do {                                                                                                           \
		struct outcome _o = run_xdp();                                                                         \
		if (_o.verdict != XDP_PASS)                                                                            \
			printf("# %s\n", what);                                                                        \
		CHECK_INT(_o.verdict, XDP_PASS);                                                                       \
		CHECK(_o.len == f.len && memcmp(_o.data, f.data, f.len) == 0);                                         \
		CHECK_INT(entries_of("dsr_ways"), 0);                                                                  \
	} while (0)

/* Whatever from_net has to judge, or to make entries for. */
static void what_begins_otherwise_is_left_alone(void)
{
	for_each_family(a) {
		bool v6 = strchr(a->client, ':');
		struct ip_addr ours = ip_of(a->ours);

		forget_ways();
		wait_for_the_epoch();
		ask(a, IPPROTO_TCP, "S");
		CHECK_XDP_PASSES("no Service");
		service(a->any, NODE_PORT, IPPROTO_TCP, a->endpoint, BACKEND_PORT, SERVICE_DSR, 1);
		CHECK_XDP_PASSES("without Maglev");
		service(a->any, NODE_PORT, IPPROTO_TCP, a->endpoint, BACKEND_PORT, SERVICE_MAGLEV, 1);
		CHECK_XDP_PASSES("without DSR");
		service(a->any, NODE_PORT, IPPROTO_TCP, a->endpoint, BACKEND_PORT, AGAIN | SERVICE_SOURCES, 1);
		CHECK_XDP_PASSES("who may not ask");
		serve_by(a, IPPROTO_TCP, NULL, 1);
		CHECK_XDP_PASSES("nobody serves");
		serve_by(a, IPPROTO_TCP, v6 ? A6 : A4, 1);
		CHECK_XDP_PASSES("served here");
		serve_by(a, IPPROTO_TCP, v6 ? TUNNEL6 : TUNNEL4, 1);
		CHECK_XDP_PASSES("behind a tunnel");
		serve_by(a, IPPROTO_TCP, v6 ? "2001:db8::77" : "203.0.113.77", 1);
		CHECK_XDP_PASSES("outside");
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		service(a->ours, NODE_PORT, IPPROTO_TCP, a->endpoint, BACKEND_PORT, 0, 2);
		CHECK_XDP_PASSES("the address has its own");
		clear("service_frontends");
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "service_nodes"), &ours), 0);
		CHECK_XDP_PASSES("no node's address");
		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		ask(a, IPPROTO_TCP, "S");
		frame_put(&f, "early", 5);
		frame_end(&f);
		set_transport_sum(&f);
		CHECK_XDP_PASSES("data in a SYN");
		ask(a, IPPROTO_TCP, "SF");
		CHECK_XDP_PASSES("SYN and FIN");
		ask(a, IPPROTO_TCP, "SR");
		CHECK_XDP_PASSES("SYN and RST");
		ask(a, IPPROTO_TCP, "SA");
		CHECK_XDP_PASSES("SYN and ACK");
		wait_for_the_epoch();
		ask(a, IPPROTO_TCP, "S");
		CHECK_sent_by_xdp();
	}
}

/* Who comes back to his endpoint by affinity has entries: another node does not know it. */
static void affinity_has_entries(void)
{
	for_each_family(a) {
		struct service_key key = { .addr = ip_of(a->any), .port = htons(NODE_PORT), .proto = IPPROTO_TCP, .scope = SERVICE_EXTERNAL };
		struct service_frontend fe = { .service = 1, .set = 1, .slots = 1, .flags = AGAIN, .affinity = 100 };

		forget_ways();
		serve_by(a, IPPROTO_TCP, a->endpoint, 1);
		put("service_frontends", &key, &fe);
		wait_for_the_epoch();
		ask(a, IPPROTO_TCP, "S");
		CHECK_XDP_PASSES("affinity");
		through("from_net", if_uplink);
		CHECK_INT(entries_of("dsr_ways"), 0);
		CHECK_INT(entries_of("nat_forward"), 1);
	}
}

/* A neighbour that nobody in the kernel uses would never be asked for again. */
static void now_and_then_it_is_the_stacks_turn(void)
{
	struct outcome o;

	forget_ways();
	serve_by(asked, IPPROTO_TCP, asked->endpoint, 1);
	ask(asked, IPPROTO_TCP, "S");
	do {
		wait_for(STACK_TURN - 1, 0);
		o = run_xdp();
	} while (ticks_now() % STACK_TURN != 0);
	CHECK_INT(o.verdict, XDP_PASS);
}

/* All lines are taken by connections under way: a SYN goes on without one, and takes none from them. */
static void a_flood_takes_no_lines(void)
{
	struct xdp_recent_pair busy = {};
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info), epoch;

	CHECK_INT(bpf_obj_get_info_by_fd(datapath_map_fd(dp, "xdp_recent"), &info, &size), 0);
	do {
		forget_ways();
		serve_by(asked, IPPROTO_TCP, asked->endpoint, 1);
		wait_for_the_epoch();
		epoch = epoch_now();
		for (int i = 0; i < 2; i++)
			busy.line[i] = (struct xdp_recent){ .mark = 1, .to.epoch = epoch - 1 };
		for (uint32_t i = 0; i < info.max_entries; i++)
			put("xdp_recent", &i, &busy);
		for (unsigned i = 0; i < 50; i++) {
			ask_from(asked, IPPROTO_TCP, CLIENT_PORT + i, "S");
			run_xdp();
		}
	} while (epoch_now() != epoch);
	for (uint32_t i = 0; i < info.max_entries; i++) {
		struct xdp_recent_pair there;

		CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "xdp_recent"), &i, &there), 0);
		CHECK(memcmp(&there, &busy, sizeof(there)) == 0);
	}
	CHECK_INT(entries_of("dsr_ways"), 0);
}

int main(void)
{
	harness_init();
	dp_config.inbound = true;
	dp_config.inbound_port_min = 2000;
	dp_config.inbound_port_max = 2999;
	dp_config.xdp = DP_XDP_NATIVE;
	harness_reopen();
	RUN(stay_on_one_cpu);
	RUN(a_node_with_neighbours);
	RUN(from_net_makes_a_way_and_no_entries);
	RUN(others_have_entries);
	RUN(svc_21_ways_outlive_their_set);
	RUN(lost_ways_are_found_again);
	RUN(svc_21_closed_ports_take_their_ways_along);
	RUN(a_forged_syn_moves_nobody);
	RUN(m4_errors_go_by_the_way);
	RUN(a_syn_leaves_nothing);
	RUN(svc_21_who_has_begun_goes_on);
	RUN(a_syn_begins_anew);
	RUN(an_earlier_connection_stays_until_its_client_ends_it);
	RUN(a_port_that_is_used_again_begins_anew);
	RUN(what_begins_otherwise_is_left_alone);
	RUN(affinity_has_entries);
	RUN(now_and_then_it_is_the_stacks_turn);
	RUN(a_flood_takes_no_lines);
	harness_done();
	return test_end();
}
