/* SPDX-License-Identifier: Apache-2.0 */
/* xdp_net beside from_net: what it sends is what from_net would send, byte by byte, and entries and counters move the same; everything else it
 * leaves as it was. The MACs are asked for apart: from_net leaves them to the kernel, which writes them behind it. */
#include "service_node.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "weft/xdp.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <time.h>

enum { BACKEND_PORT = 8080, CLIENT_PORT = 40000, STACK_TURN = 8, MUTATIONS = 3000, ROUTE_MTU = 1500 };

#define ROUTER4 "192.0.2.254"
#define ROUTER6 "fd30::fe"
#define OUTSIDE4 "198.51.100.77"
#define OUTSIDE6 "2001:db8::77"

static const uint8_t mac_node[6] = { 2, 2, 2, 2, 2, 2 }, mac_router[6] = { 2, 2, 2, 2, 2, 0xfe };

/* Where the endpoint is, and how the client's packets get there. */
static const struct conn {
	const char *what, *client, *ours, *endpoint, *as; /* as whom the node speaks to it */
	uint8_t proto, flags;				  /* of the frontend */
	const uint8_t *hop;
	enum forward_way way;
} conns[] = {
	{ "TCP over IPv4 to a node", WORLD4, OURS4, DIRECT4, NODE4, IPPROTO_TCP, 0, mac_node, FORWARD_DIRECT },
	{ "UDP over IPv4 to a node", WORLD4, OURS4, DIRECT4, NODE4, IPPROTO_UDP, 0, mac_node, FORWARD_DIRECT },
	{ "TCP over IPv6 to a node", WORLD6, OURS6, DIRECT6, NODE6, IPPROTO_TCP, 0, mac_node, FORWARD_DIRECT },
	{ "UDP over IPv6 to a node", WORLD6, OURS6, DIRECT6, NODE6, IPPROTO_UDP, 0, mac_node, FORWARD_DIRECT },
	{ "TCP over IPv4 to an endpoint outside", WORLD4, OURS4, OUTSIDE4, OURS4, IPPROTO_TCP, 0, mac_router, FORWARD_CLIENT },
	{ "UDP over IPv6 to an endpoint outside", WORLD6, OURS6, OUTSIDE6, OURS6, IPPROTO_UDP, 0, mac_router, FORWARD_CLIENT },
	{ "DSR, TCP over IPv4", WORLD4, OURS4, DIRECT4, NULL, IPPROTO_TCP, SERVICE_DSR, mac_node, FORWARD_DIRECT },
	{ "DSR, UDP over IPv6", WORLD6, OURS6, DIRECT6, NULL, IPPROTO_UDP, SERVICE_DSR, mac_node, FORWARD_DIRECT },
};

static uint16_t as_port; /* from which the node speaks to the endpoint */

/* ---- the node ---- */

static void neighbour(struct rtnl *nl, const char *addr, const uint8_t mac[6])
{
	struct neigh n = { .ifindex = if_uplink, .addr = addr_of(addr) };

	memcpy(n.mac, mac, 6);
	CHECK_INT(rtnl_replace_neigh(nl, &n), 0);
}

static void world_is_behind(struct rtnl *nl, const char *range, const char *router)
{
	struct route r = { .oif = if_uplink, .via = addr_of(router), .onlink = true };

	CHECK_INT(prefix_parse(range, &r.dst, NULL), 0);
	CHECK_INT(rtnl_replace_route(nl, &r), 0);
}

/* NODE_PORT, or no port at all: nobody claims it. */
static void reserve(bool it)
{
	bool reserved[65536] = { [NODE_PORT] = it };
	struct dp_nat_uplink uplink = { if_uplink, { addr_of(OURS4), addr_of(OURS6) } };
	struct dp_masquerade m = { .uplinks = &uplink, .n_uplinks = 1, .reserved = reserved };

	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
}

static void a_node_with_neighbours(void)
{
	_cleanup_close_ int self = netns_open_self();
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link_addr a4 = { if_uplink, addr_of(OURS4), 120, RT_SCOPE_UNIVERSE, 0 }, a6 = { if_uplink, addr_of(OURS6), 64, RT_SCOPE_UNIVERSE, IFA_F_NODAD };

	CHECK(self >= 0 && netns_sysctl(self, "ipv4/ip_forward", "1") == 0);
	CHECK_INT(netns_sysctl(self, "ipv6/conf/all/forwarding", "1"), 0);
	CHECK_INT(netns_sysctl(self, "ipv6/conf/uplink/disable_ipv6", "0"), 0);
	CHECK_INT(rtnl_open(&nl), 0);
	CHECK_INT(rtnl_replace_addr(nl, &a4), 0);
	CHECK_INT(rtnl_replace_addr(nl, &a6), 0);
	neighbour(nl, "192.0.2.2", mac_node);
	neighbour(nl, "fd30::2", mac_node);
	neighbour(nl, ROUTER4, mac_router);
	neighbour(nl, ROUTER6, mac_router);
	world_is_behind(nl, "198.51.100.0/24", ROUTER4);
	world_is_behind(nl, "2001:db8::/32", ROUTER6);
	reserve(false);
}

/* What xdp_net remembers as well. */
static void forget_all(void)
{
	int map = datapath_map_fd(dp, "xdp_recent");
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	forget();
	CHECK_INT(bpf_obj_get_info_by_fd(map, &info, &size), 0);
	for (uint32_t i = 0; i < info.max_entries; i++) {
		static const struct xdp_recent_pair none;
		struct xdp_recent_pair there;

		if (bpf_map_lookup_elem(map, &i, &there) == 0 && (there.line[0].mark || there.line[1].mark))
			put("xdp_recent", &i, &none);
	}
}

/* ---- packets ---- */

static struct outcome run_xdp(void)
{
	struct xdp_md ctx = { .data_end = f.len, .ingress_ifindex = if_uplink };
	struct outcome o = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.data, .data_size_in = f.len, .data_out = o.data, .data_size_out = sizeof(o.data),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	int r = bpf_prog_test_run_opts(datapath_program_fd(dp, "xdp_net"), &opts);

	CHECK_INT(r, 0);
	o.verdict = (int)opts.retval;
	o.len = opts.data_size_out;
	return o;
}

static void from_client(const struct conn *c, const char *flags, size_t payload)
{
	packet(c->proto, c->client, CLIENT_PORT, c->ours, NODE_PORT, flags, payload);
	if (c->proto == IPPROTO_UDP)
		((struct udphdr *)(f.data + f.l4))->len = htons(8 + payload);
	set_transport_sum(&f);
}

static void from_endpoint(const struct conn *c, const char *flags, size_t payload)
{
	packet(c->proto, c->endpoint, BACKEND_PORT, c->as, as_port, flags, payload);
	if (c->proto == IPPROTO_UDP)
		((struct udphdr *)(f.data + f.l4))->len = htons(8 + payload);
	set_transport_sum(&f);
}

/* As a veth, or a guest's virtio device, hands on what no wire has seen: the checksum's field holds the pseudo header's sum. */
static void sum_to_come(void)
{
	struct view v = view_of(f.data + f.l3);
	uint16_t pseudo = fold(sum_of(v.ip + (v.v6 ? 8 : 12), v.v6 ? 32 : 8) + v.proto + (v.len - v.l4));
	uint8_t *sum = f.data + f.l4 + sum_offset(v.proto);

	sum[0] = pseudo >> 8;
	sum[1] = pseudo;
}

/* A connection that has been answered, and goes on. */
static void establish(const struct conn *c)
{
	forget_all();
	service(c->ours, NODE_PORT, c->proto, c->endpoint, BACKEND_PORT, c->flags, 1);
	from_client(c, "S", 0);
	as_port = through("from_net", if_uplink).sport;
	if (c->as) {
		from_endpoint(c, "SA", 0);
		through("from_net", if_uplink);
	}
	from_client(c, "A", 0);
	through("from_net", if_uplink);
}

/* What lies in both maps: there is one connection. */
struct memory {
	struct nat_key inside, outside;
	struct nat_forward forward;
	struct nat_claim claim;
};

static struct memory remember(void)
{
	struct memory m = {};

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_forward"), NULL, &m.inside), 0);
	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_claims"), NULL, &m.outside), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_forward"), &m.inside, &m.forward), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_claims"), &m.outside, &m.claim), 0);
	return m;
}

static void restore(const struct memory *m)
{
	put("nat_forward", &m->inside, &m->forward);
	put("nat_claims", &m->outside, &m->claim);
}

static bool memory_eq(const struct memory *a, const struct memory *b)
{
	return memcmp(&a->forward, &b->forward, sizeof(a->forward)) == 0 && memcmp(&a->claim, &b->claim, sizeof(a->claim)) == 0;
}

static uint64_t sent_on(void)
{
	struct dp_counter n;

	CHECK_INT(datapath_read_xdp_packets(dp, &n), 0);
	return n.packets;
}

static struct dp_counter forwards[FORWARD_WAY_COUNT];

static void count_before(void)
{
	CHECK_INT(datapath_read_forwards(dp, forwards), 0);
}

/* The bytes that went @way since then, and nothing went another way. */
static uint64_t counted(enum forward_way way)
{
	struct dp_counter now[FORWARD_WAY_COUNT];

	CHECK_INT(datapath_read_forwards(dp, now), 0);
	for (unsigned i = 0; i < FORWARD_WAY_COUNT; i++)
		CHECK_INT(now[i].packets, forwards[i].packets + (i == way));
	return now[way].bytes - forwards[way].bytes;
}

/* from_net and then xdp_net over the frame, within one tick of the datapath's clock: what they note of the time is the same. */
static void both(struct outcome *tc, struct outcome *xdp, struct memory *after_tc, struct memory *after_xdp, enum forward_way way)
{
	struct memory before = remember();
	uint64_t bytes;
	uint32_t tick;

	do {
		tick = ticks_now();
		restore(&before);
		count_before();
		*tc = run("from_net", &f, if_uplink);
		bytes = counted(way);
		*after_tc = remember();
		count_before();
		*xdp = run_xdp();
		*after_xdp = remember();
	} while (ticks_now() != tick);
	if (xdp->verdict == XDP_TX)
		CHECK_INT(counted(way), bytes);
}

/* From the Ethernet header's type on. */
static bool bytes_eq(const struct outcome *xdp, const struct outcome *tc)
{
	for (size_t i = 12; i < tc->len && xdp->len == tc->len; i++)
		if (xdp->data[i] != tc->data[i]) {
			printf("# byte %zu of %zu: %02x came, from_net makes %02x of %02x\n", i, tc->len, xdp->data[i], tc->data[i], f.data[i]);
			return false;
		}
	return xdp->len == tc->len;
}

static void CHECK_same_as_from_net(const char *what, const uint8_t *hop, enum forward_way way)
{
	struct memory after_tc, after_xdp;
	struct outcome tc, xdp;

	both(&tc, &xdp, &after_tc, &after_xdp, way);
	if (xdp.verdict != XDP_TX || !bytes_eq(&xdp, &tc))
		printf("# %s\n", what);
	CHECK_INT(tc.verdict, REDIRECT);
	CHECK_INT(xdp.verdict, XDP_TX);
	CHECK(bytes_eq(&xdp, &tc));
	CHECK(memcmp(xdp.data, hop, 6) == 0);
	CHECK(memcmp(xdp.data + 6, mac_host_a, 6) == 0);
	CHECK(memory_eq(&after_tc, &after_xdp));
}

#define CHECK_PASSED(what)                                                                                             \
	do {                                                                                                           \
		uint64_t _sent = sent_on();                                                                            \
		struct outcome _o = run_xdp();                                                                         \
		if (_o.verdict != XDP_PASS)                                                                            \
			printf("# %s\n", what);                                                                        \
		CHECK_INT(_o.verdict, XDP_PASS);                                                                       \
		CHECK(_o.len == f.len && memcmp(_o.data, f.data, f.len) == 0);                                         \
		CHECK_INT(sent_on(), _sent);                                                                           \
	} while (0)

/* ---- tests ---- */

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

/* ---- what is remembered ---- */

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

/* What xdp_net remembers it remembers on each CPU for itself. */
static void stay_on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	CHECK_INT(sched_setaffinity(0, sizeof(one), &one), 0);
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
	RUN(what_it_sends_is_what_from_net_sends);
	RUN(ports_that_nobody_claims);
	RUN(sums_come_out_the_same);
	RUN(udp_sums_of_zero);
	RUN(damage_is_not_mended);
	RUN(what_begins_or_ends_is_left_alone);
	RUN(what_is_not_known_is_left_alone);
	RUN(a_busy_connection_needs_no_look);
	RUN(each_packet_is_asked_what_it_says_itself);
	RUN(what_begins_or_ends_is_forgotten);
	RUN(svc_21_udp_is_remembered_while_its_endpoint_serves);
	RUN(who_is_not_busy_is_not_remembered);
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
