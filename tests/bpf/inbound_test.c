/* SPDX-License-Identifier: Apache-2.0 */
/* Services from outside, packet by packet: in through from_net, back through from_pod, from_tunnel and from_net; every header and
 * checksum of what comes out is looked at. The node is 192.0.2.1 and fd30::1 on its uplink. */
#include "affinity.h"
#include "service_node.h"

/* A switch that does not know where a node is floods its frames: only that node serves them. And no router forwards what is to a group. */
static void frames_for_others_are_not_served(void)
{
	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, 0, 1);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 10);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, REDIRECT);
	f.data[5] ^= 1;
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	f.data[0] |= 1;
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	memset(f.data, 0xff, 6);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
}

/* An endpoint here sees the client as it is, and answers as the Service. */
static void svc_4_node_port_of_a_local_endpoint(void)
{
	for (int i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct view v;

		forget();
		service(a->any, NODE_PORT, proto, a->local, 8080, 0, 1);
		packet(proto, a->client, 40000, a->ours, NODE_PORT, "S", 10);
		v = through("from_net", if_uplink);
		CHECK_ENDS(v, a->client, 40000, a->local, 8080);
		CHECK_SUMS(&v);
		CHECK(memcmp(out.data, mac_pod_a, 6) == 0);
		packet(proto, a->local, 8080, a->client, 40000, "SA", 10);
		from_pod_a();
		v = through("from_pod", if_a);
		CHECK_ENDS(v, a->ours, NODE_PORT, a->client, 40000);
		CHECK_SUMS(&v);
	}
}

/* For an endpoint elsewhere this node speaks in the client's place; the answer is found again in the tunnel, and at an uplink. */
static void svc_17_remote_endpoints_answer_to_this_node(void)
{
	for (int i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct view v;
		uint16_t port;

		forget();
		service(a->any, NODE_PORT, proto, a->remote, 8080, 0, 1);
		packet(proto, a->client, 40000, a->ours, NODE_PORT, "S", 10);
		v = through("from_net", if_uplink);
		port = v.sport;
		CHECK_ENDS(v, a->own, port, a->remote, 8080);
		CHECK(port >= dp_config.inbound_port_min && port <= dp_config.inbound_port_max);
		CHECK_SUMS(&v);
		v = through("from_net", if_uplink); /* the second packet goes the same way */
		CHECK_INT(v.sport, port);
	}
}

static void svc_17_answers_come_back_by_a_direct_node(void)
{
	static const struct family direct[] = { { WORLD4, OURS4, A4, DIRECT4, NODE4, "0.0.0.0" },
						{ WORLD6, OURS6, A6, DIRECT6, NODE6, "::" } };

	for (int i = 0; i < 2; i++) {
		const struct family *a = &direct[i];
		struct view v;

		forget();
		service(a->ours, 80, IPPROTO_TCP, a->remote, 8080, 0, 1); /* as an address of a load balancer */
		packet(IPPROTO_TCP, a->client, 40000, a->ours, 80, "S", 0);
		v = through("from_net", if_uplink);
		packet(IPPROTO_TCP, a->remote, 8080, a->own, v.sport, "SA", 0);
		v = through("from_net", if_uplink);
		CHECK_ENDS(v, a->ours, 80, a->client, 40000);
		CHECK_SUMS(&v);
	}
}

/* The same client's port towards two addresses with one endpoint behind: two connections, told apart on the way back. */
static void svc_47_one_client_two_addresses_one_endpoint(void)
{
	struct view first, second, back;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, 0, 1);
	service("203.0.113.9", 80, IPPROTO_TCP, A4, 8080, 0, 2);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 0);
	first = through("from_net", if_uplink);
	CHECK_INT(first.sport, 40000);
	packet(IPPROTO_TCP, WORLD4, 40000, "203.0.113.9", 80, "S", 0);
	second = through("from_net", if_uplink);
	CHECK(second.sport != 40000);
	CHECK_ENDS(second, WORLD4, second.sport, A4, 8080);
	packet(IPPROTO_TCP, A4, 8080, WORLD4, second.sport, "SA", 0);
	from_pod_a();
	back = through("from_pod", if_a);
	CHECK_ENDS(back, "203.0.113.9", 80, WORLD4, 40000);
	packet(IPPROTO_TCP, A4, 8080, WORLD4, 40000, "SA", 0);
	from_pod_a();
	back = through("from_pod", if_a);
	CHECK_ENDS(back, OURS4, NODE_PORT, WORLD4, 40000);
}

static void established_connections_outlive_the_frontend(void)
{
	struct view v;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, 0, 1);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 0);
	through("from_net", if_uplink);
	clear("service_frontends");
	clear("service_backends");
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "A", 0);
	v = through("from_net", if_uplink);
	CHECK_ENDS(v, WORLD4, 40000, A4, 8080);
}

static void svc_21_udp_turns_to_another_endpoint_at_once(void)
{
	struct view v;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_UDP, A4, 8080, 0, 1);
	packet(IPPROTO_UDP, WORLD4, 40000, OURS4, NODE_PORT, "", 4);
	through("from_net", if_uplink);
	clear("service_backends");
	service("0.0.0.0", NODE_PORT, IPPROTO_UDP, B4, 8080, 0, 2);
	packet(IPPROTO_UDP, WORLD4, 40000, OURS4, NODE_PORT, "", 4);
	v = through("from_net", if_uplink);
	CHECK_ENDS(v, WORLD4, 40000, B4, 8080);
}

/* Each connection is from another port. */
static int connect_from_outside(void *ctx)
{
	const struct family *a = ctx;
	static uint16_t port = 20000;

	packet(IPPROTO_TCP, a->client, ++port, a->ours, NODE_PORT, "S", 0);
	return through("from_net", if_uplink).dport - 8080;
}

static void svc_18_affinity_lasts_as_long_as_asked_for(void)
{
	for (int i = 0; i < 2; i++) {
		const struct family *a = &families[i];

		forget();
		clear("service_affinity");
		service_of_two(SERVICE_EXTERNAL, a->any, NODE_PORT, IPPROTO_TCP, a->local, 8080, FLOW_TICKS(60));
		affinity_lasts_and_ends(connect_from_outside, (void *)a);
	}
}

static uint8_t only_claims_stage(void)
{
	struct nat_claim claim = {};
	struct nat_key key;

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_claims"), NULL, &key), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_claims"), &key, &claim), 0);
	return claim.state.stage;
}

/* What a node sends on by DSR it sees no answers to: a second datagram tells that there was one, the first does not. */
static void a_datagram_sent_on_is_no_conversation_before_the_second(void)
{
	for (int i = 0; i < 2; i++) {
		const struct family *a = &families[i];

		forget();
		service(a->any, NODE_PORT, IPPROTO_UDP, a->remote, 8080, SERVICE_DSR, 1);
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 4);
		through("from_net", if_uplink);
		CHECK_INT(out.verdict, REDIRECT);
		CHECK_INT(only_claims_stage(), FLOW_HALF_OPEN);
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 4);
		through("from_net", if_uplink);
		CHECK_INT(out.verdict, REDIRECT);
		CHECK_INT(only_claims_stage(), FLOW_OPEN);
	}
}

/* The entry of the connection's way out is of an earlier tick. */
static void let_a_tick_go_by(void)
{
	struct nat_forward forward;
	struct nat_key key;

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_forward"), NULL, &key), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_forward"), &key, &forward), 0);
	forward.seen--;
	put("nat_forward", &key, &forward);
}

/* The port goes to another Service, or is closed (to the client), while the endpoint that the client had serves on. */
static void svc_21_a_port_that_changes_hands_takes_its_clients_along(void)
{
	for (int i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct view v;

		forget();
		service(a->any, NODE_PORT, proto, a->local, 8080, 0, 1);
		packet(proto, a->client, 40000, a->ours, NODE_PORT, "S", 4);
		v = through("from_net", if_uplink);
		CHECK_ENDS(v, a->client, 40000, a->local, 8080);
		service(a->any, NODE_PORT, proto, a->local, 9090, 0, 2);
		let_a_tick_go_by();
		v = through("from_net", if_uplink);
		CHECK_ENDS(v, a->client, 40000, a->local, 9090);
		service(a->any, NODE_PORT, proto, a->local, 9090, SERVICE_SOURCES, 2);
		let_a_tick_go_by();
		CHECK_DROP("from_net", &f, if_uplink, DROP_SERVICE_SOURCE);
		service(a->any, NODE_PORT, proto, a->local, 9090, 0, 2);
		through("from_net", if_uplink);
		clear("service_frontends");
		let_a_tick_go_by();
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
}

/* An ICMP error about the packet as it was sent, to its sender, with checksums that hold. */
static void check_answer(const struct family *a, uint8_t type, uint8_t code)
{
	struct view v, quoted;

	CHECK_INT(out.verdict, REDIRECT);
	v = view_of(out.data + ETH_HLEN);
	CHECK_INT(v.proto, v.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	CHECK_INT(v.ip[v.l4], type);
	CHECK_INT(v.ip[v.l4 + 1], code);
	CHECK(addr_eq(&v.src, &(struct addr[]){ addr_of(a->ours) }[0]));
	CHECK(addr_eq(&v.dst, &(struct addr[]){ addr_of(a->client) }[0]));
	CHECK_SUMS(&v);
	quoted = view_of(v.ip + v.l4 + 8);
	CHECK_ENDS(quoted, a->client, 40000, a->ours, NODE_PORT);
}

static void svc_19_nobody_serves(void)
{
	for (int i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;
		uint64_t before = drops_of(DROP_SERVICE_REFUSED);

		forget();
		service(a->any, NODE_PORT, proto, NULL, 0, 0, 1);
		packet(proto, a->client, 40000, a->ours, NODE_PORT, "S", 8);
		out = run("from_net", &f, if_uplink);
		check_answer(a, i % 2 ? 1 : 3, i % 2 ? 4 : 3);
		CHECK_INT(drops_of(DROP_SERVICE_REFUSED), before + 1);
		service(a->any, NODE_PORT, proto, NULL, 0, SERVICE_DROP_EMPTY, 1);
		CHECK_DROP("from_net", &f, if_uplink, DROP_SERVICE_NO_LOCAL);
	}
}

/* The sender's kernel had left the checksum to the hardware: the field holds the sum of the pseudo header. What it will be when it is
 * filled in on the way out is counted in already. */
static void answers_to_unfinished_checksums(void)
{
	uint8_t *sum;
	struct view v;
	uint32_t pseudo, whole;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, NULL, 0, 0, 1);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 0);
	pseudo = fold(sum_of(f.data + f.l3 + 12, 8) + IPPROTO_TCP + 20);
	sum = f.data + f.l4 + 16;
	sum[0] = pseudo >> 8;
	sum[1] = pseudo;
	out = run("from_net", &f, if_uplink);
	CHECK_INT(out.verdict, REDIRECT);
	v = view_of(out.data + ETH_HLEN);
	whole = fold(sum_of(v.ip + v.l4 + 28, 20)); /* the quoted TCP header, as the hardware sums it up */
	sum = (uint8_t *)v.ip + v.l4 + 28 + 16;
	sum[0] = ~whole >> 8;
	sum[1] = ~whole;
	CHECK_SUMS(&v);
}

static void svc_42_source_ranges(void)
{
	struct service_source_key key = { .len = 32 + 120, .service = 1 };
	struct ip_addr range = ip_of("198.51.100.0");
	uint32_t yes = 1;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, SERVICE_SOURCES, 1);
	memcpy(key.addr, &range, 16);
	put("service_sources", &key, &yes);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 0);
	through("from_net", if_uplink);
	packet(IPPROTO_TCP, "203.0.113.50", 40000, OURS4, NODE_PORT, "S", 0);
	CHECK_DROP("from_net", &f, if_uplink, DROP_SERVICE_SOURCE);
}

/* Addresses that no client outside has: the stack would have dropped them. */
static void s10_nobody_asks_from_addresses_that_nobody_has(void)
{
	static const char *const nobody[] = { "127.0.0.1", "127.9.9.9", "0.0.0.0", "224.0.0.5", "255.255.255.255", "::1", "::", "ff02::5" };

	forget();
	for (unsigned i = 0; i < ARRAY_SIZE(nobody); i++) {
		const struct family *a = &families[strchr(nobody[i], ':') != NULL];

		service(a->any, NODE_PORT, IPPROTO_UDP, a->local, 8080, 0, 1);
		packet(IPPROTO_UDP, nobody[i], 40000, a->ours, NODE_PORT, NULL, 8);
		CHECK_DROP("from_net", &f, if_uplink, strstr(nobody[i], "127.") || streq(nobody[i], "::1") ? DROP_LOOPBACK : DROP_NET_SOURCE);
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, NULL, 8);
		through("from_net", if_uplink);
	}
}

/* Another port each way, another node's endpoint as well (then both ports change), and a checksum that stays true at each length. */
static void svc_4_sctp_ports_are_translated(void)
{
	static const size_t lengths[] = { 0, 1, 3, 20, 255, 256, 1000, 1301 };
	struct view v;

	for (unsigned i = 0; i < ARRAY_SIZE(families) * ARRAY_SIZE(lengths); i++) {
		const struct family *a = &families[i % 2];
		size_t n = lengths[i / 2];

		forget();
		service(a->any, NODE_PORT, IPPROTO_SCTP, a->local, 9999, 0, 1);
		sctp(a->client, 40000, a->ours, NODE_PORT, n);
		v = through("from_net", if_uplink);
		CHECK_ENDS(v, a->client, 40000, a->local, 9999);
		CHECK(sctp_is_whole(&v, 12 + n));
		sctp(a->local, 9999, a->client, 40000, n);
		from_pod_a();
		v = through("from_pod", if_a);
		CHECK_ENDS(v, a->ours, NODE_PORT, a->client, 40000);
		CHECK(sctp_is_whole(&v, 12 + n));
		forget();
		service(a->any, NODE_PORT, IPPROTO_SCTP, a->remote, 9999, 0, 1);
		sctp(a->client, 40000, a->ours, NODE_PORT, n);
		out = run("from_net", &f, if_uplink);
		CHECK_INT(out.verdict, REDIRECT);
		v = view_of(out.data + ETH_HLEN);
		CHECK_INT(v.dport, 9999);
		CHECK(sctp_is_whole(&v, 12 + n));
	}
}

/* A sum of zero is none yet, or never; what was damaged stays so; of a fragment nobody knows how far the sum reaches. */
static void sctp_sums_that_are_left_alone(void)
{
	struct view v;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_SCTP, A4, 9999, 0, 1);
	sctp(WORLD4, 40000, OURS4, NODE_PORT, 20);
	memset(f.data + f.l4 + 8, 0, 4);
	v = through("from_net", if_uplink);
	CHECK_ENDS(v, WORLD4, 40000, A4, 9999);
	CHECK(memcmp(v.ip + v.l4 + 8, "\0\0\0", 4) == 0);
	sctp(WORLD4, 40000, OURS4, NODE_PORT, 20);
	f.data[f.l4 + 20] ^= 1;
	v = through("from_net", if_uplink);
	CHECK(!sctp_is_whole(&v, 32));
	sctp(WORLD4, 40001, OURS4, NODE_PORT, 20);
	frame_ip4(&f)->frag_off = htons(0x2000);
	frame_end(&f);
	CHECK_DROP("from_net", &f, if_uplink, DROP_SERVICE_PORT);
}

/* One of two fragments of an SCTP packet. */
static void sctp_fragment(const char *src, uint16_t sport, const char *dst, uint16_t dport, bool later)
{
	bool v6 = strchr(src, ':');
	uint8_t ports[12] = { sport >> 8, sport, dport >> 8, dport, 1, 2, 3, 4, 9, 9, 9, 9 }, header[8] = { IPPROTO_SCTP, 0, 0, later ? 64 : 1, 0, 0, 0, 7 };

	frame_ether(&f, mac_host_a, mac_other, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, v6 ? IPPROTO_FRAGMENT : IPPROTO_SCTP);
	if (v6) {
		frame_put(&f, header, sizeof(header));
	} else {
		frame_ip4(&f)->frag_off = htons(later ? 8 : 0x2000);
		frame_ip4(&f)->id = htons(7);
	}
	if (!later)
		frame_put(&f, ports, sizeof(ports));
	frame_payload(&f, later ? 40 : 52);
	frame_end(&f);
}

/* An endpoint's answer in fragments, as the Service: where that is another port nobody can mend the checksum, and as itself the endpoint must not speak. */
static void sctp_answers_in_fragments(void)
{
	static const uint16_t ports[] = { NODE_PORT, 9999 };

	for (unsigned i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint16_t port = ports[i / 2];

		forget();
		service(a->any, NODE_PORT, IPPROTO_SCTP, a->local, port, 0, 1);
		sctp(a->client, 40000, a->ours, NODE_PORT, 20);
		through("from_net", if_uplink);
		for (int later = 0; later < 2; later++) {
			struct addr ours = addr_of(a->ours), client = addr_of(a->client);
			struct view v;

			sctp_fragment(a->local, port, a->client, 40000, later);
			from_pod_a();
			if (port != NODE_PORT) {
				CHECK_DROP("from_pod", &f, if_a, DROP_SERVICE_PORT);
				continue;
			}
			v = through("from_pod", if_a);
			CHECK(addr_eq(&v.src, &ours) && addr_eq(&v.dst, &client));
		}
	}
}

static uint64_t claims(void)
{
	uint32_t owner = NAT_OWNER_INBOUND;
	uint64_t n = 0;

	bpf_map_lookup_elem(datapath_map_fd(dp, "nat_shares"), &owner, &n);
	return n;
}

static void clear_turns(void)
{
	struct nat_key key;

	while (bpf_map_lookup_and_delete_elem(datapath_map_fd(dp, "nat_turns"), NULL, &key) == 0)
		;
}

static void set_stages(int map, uint8_t from, uint8_t to)
{
	for (struct nat_key key, *last = NULL; bpf_map_get_next_key(map, last, &key) == 0; last = &key) {
		struct nat_claim claim;

		CHECK_INT(bpf_map_lookup_elem(map, &key, &claim), 0);
		if (claim.state.stage != from)
			continue;
		claim.state.stage = to;
		put("nat_claims", &key, &claim);
	}
}

/* Whoever forges addresses begins more connections than clients may have: those that are none yet give way, answered or not, to the next client; what
 * is one stays, and where all are the next client has no room. */
static void clients_find_room_in_a_flood(void)
{
	int map = datapath_map_fd(dp, "nat_claims");

	for (int answered = 0; answered < 2; answered++) {
		uint64_t before = drops_of(DROP_NAT_SHARE);

		forget();
		clear_turns();
		service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, 0, 1);
		for (int port = 40001; port <= 40004; port++) { /* real ones */
			packet(IPPROTO_TCP, WORLD4, port, OURS4, NODE_PORT, "S", 0);
			through("from_net", if_uplink);
			packet(IPPROTO_TCP, A4, 8080, WORLD4, port, "SA", 0);
			from_pod_a();
			through("from_pod", if_a);
			packet(IPPROTO_TCP, WORLD4, port, OURS4, NODE_PORT, "A", 0);
			through("from_net", if_uplink);
		}
		for (int port = 50000; port < 50000 + 3 * NAT_SHARE; port++) {
			packet(IPPROTO_TCP, "203.0.113.77", port, OURS4, NODE_PORT, "S", 0);
			through("from_net", if_uplink);
			if (answered)
				set_stages(map, FLOW_HALF_OPEN, FLOW_REPLIED);
		}
		CHECK_INT(drops_of(DROP_NAT_SHARE), before);
		CHECK_INT(claims(), NAT_SHARE);
		for (int port = 40001; port <= 40004; port++) {
			struct nat_key key = { .local = ip_of(WORLD4), .remote = ip_of(A4), .local_port = htons(port), .remote_port = htons(8080), .proto = IPPROTO_TCP };
			struct nat_claim claim;

			CHECK_INT(bpf_map_lookup_elem(map, &key, &claim), 0);
			CHECK_INT(claim.state.stage, FLOW_OPEN);
		}
	}
	set_stages(map, FLOW_REPLIED, FLOW_OPEN);
	packet(IPPROTO_TCP, WORLD4, 9999, OURS4, NODE_PORT, "S", 0);
	CHECK_DROP("from_net", &f, if_uplink, DROP_NAT_SHARE);
	forget();
}

/* A router on the way says so, and claims nothing: a loop of node ports ends, and traceroute sees this node. */
static void the_last_hop_is_told(void)
{
	for (int i = 0; i < 4; i++) {
		const struct family *a = &families[i % 2];
		uint64_t before = drops_of(DROP_HOP_LIMIT), held;

		forget();
		service(a->any, NODE_PORT, IPPROTO_UDP, a->remote, 8080, 0, 1);
		if (i >= 2) { /* of a connection */
			packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 8);
			through("from_net", if_uplink);
		}
		held = claims();
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 8);
		if (i % 2)
			frame_ip6(&f)->hop_limit = 1;
		else
			frame_ip4(&f)->ttl = 1;
		frame_end(&f);
		set_transport_sum(&f);
		out = run("from_net", &f, if_uplink);
		check_answer(a, i % 2 ? 3 : 11, 0);
		CHECK_INT(drops_of(DROP_HOP_LIMIT), before + 1);
		CHECK_INT(claims(), held);
	}
	forget();
}

static void set_hops(bool v6, uint8_t hops)
{
	if (v6)
		frame_ip6(&f)->hop_limit = hops;
	else
		frame_ip4(&f)->ttl = hops;
	frame_end(&f);
	set_transport_sum(&f);
}

/* The client's about what the Service sent to its port. */
static void complaint(const struct family *a, uint16_t port, uint8_t hops)
{
	struct frame sent;
	bool v6 = strchr(a->ours, ':');

	packet(IPPROTO_UDP, a->ours, NODE_PORT, a->client, port, "", 8);
	sent = f;
	frame_ether(&f, mac_host_a, mac_other, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, a->client, a->ours, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	frame_icmp(&f, v6 ? 1 : 3, v6 ? 4 : 3, 0);
	frame_put(&f, sent.data + sent.l3, v6 ? 48 : 28);
	set_hops(v6, hops);
}

/* No answer, and no complaint of a client, goes on with a hop limit of 0, or, one lower, of 255. The stack tells a pod of this node. */
static void answers_have_a_last_hop_too(void)
{
	static const struct family direct[] = { { WORLD4, OURS4, A4, DIRECT4, NODE4, "0.0.0.0" },
						{ WORLD6, OURS6, A6, DIRECT6, NODE6, "::" } };

	for (int i = 0; i < 4; i++) {
		const struct family *a = &direct[i % 2];
		uint8_t hops = i / 2;
		uint16_t port;

		forget();
		service(a->any, NODE_PORT, IPPROTO_UDP, a->remote, 8080, 0, 1);
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 8);
		port = through("from_net", if_uplink).sport;
		packet(IPPROTO_UDP, a->remote, 8080, a->own, port, "", 8);
		set_hops(i % 2, hops);
		CHECK_DROP("from_net", &f, if_uplink, DROP_HOP_LIMIT);
		complaint(a, 40000, hops);
		CHECK_DROP("from_net", &f, if_uplink, DROP_HOP_LIMIT);
		forget();
		service(a->any, NODE_PORT, IPPROTO_UDP, a->local, 8080, 0, 1);
		packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 8);
		through("from_net", if_uplink);
		packet(IPPROTO_UDP, a->local, 8080, a->client, 40000, "", 8);
		from_pod_a();
		set_hops(i % 2, hops);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	}
	forget();
}

/* The first one of a UDP datagram's. */
static void udp_fragment6(const char *src, uint16_t sport, const char *dst, uint16_t dport, size_t payload)
{
	uint8_t header[8] = { IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 7 };

	frame_ether(&f, mac_host_a, mac_other, ETH_P_IPV6);
	frame_ip(&f, src, dst, IPPROTO_FRAGMENT);
	frame_put(&f, header, sizeof(header));
	frame_udp(&f, sport, dport);
	frame_payload(&f, payload);
}

/* The tunnel carries 1450 bytes: a client is told so, about the packet that it sent (M4). */
static void m4_too_big_for_the_tunnel(void)
{
	for (int i = 0; i < 3; i++) { /* the third: the first piece of a datagram, which its sender has cut for a wider way */
		const struct family *a = &families[i > 0];
		uint64_t before = drops_of(DROP_TOO_BIG);
		struct view v;

		forget();
		service(a->any, NODE_PORT, IPPROTO_UDP, a->remote, 8080, 0, 1);
		if (i == 2)
			udp_fragment6(a->client, 40000, a->ours, NODE_PORT, 1430);
		else
			packet(IPPROTO_UDP, a->client, 40000, a->ours, NODE_PORT, "", 1430);
		if (i == 0)
			frame_ip4(&f)->frag_off = htons(0x4000);
		frame_end(&f);
		set_transport_sum(&f);
		out = run("from_net", &f, if_uplink);
		check_answer(a, i ? 2 : 3, i ? 0 : 4);
		v = view_of(out.data + ETH_HLEN);
		CHECK_INT(v.ip[v.l4 + 6] << 8 | v.ip[v.l4 + 7], 1450);
		CHECK_INT(drops_of(DROP_TOO_BIG), before + 1);
	}
}

/* An error about what an endpoint sent to the client goes to the endpoint, about the packet as it sent it. */
static void m4_errors_reach_the_endpoint(void)
{
	struct view v, quoted;
	struct frame sent;
	size_t l4;

	forget();
	service("0.0.0.0", NODE_PORT, IPPROTO_TCP, A4, 8080, 0, 1);
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, NODE_PORT, "S", 0);
	through("from_net", if_uplink);
	packet(IPPROTO_TCP, A4, 8080, WORLD4, 40000, "SA", 0);
	from_pod_a();
	through("from_pod", if_a);
	packet(IPPROTO_TCP, OURS4, NODE_PORT, WORLD4, 40000, "A", 0);
	sent = f;
	frame_ether(&f, mac_host_a, mac_other, ETH_P_IP);
	frame_ip(&f, "203.0.113.1", OURS4, IPPROTO_ICMP);
	frame_icmp(&f, 3, 4, 0);
	l4 = f.l4;
	frame_put(&f, sent.data + sent.l3, 28);
	f.l4 = l4;
	frame_end(&f);
	set_transport_sum(&f);
	v = through("from_net", if_uplink);
	CHECK(addr_eq(&v.dst, &(struct addr[]){ addr_of(A4) }[0]));
	CHECK_SUMS(&v);
	quoted = view_of(v.ip + v.l4 + 8);
	CHECK_ENDS(quoted, A4, 8080, WORLD4, 40000);
}

/* The same of SCTP, whose port is translated as well: its ends are turned in the quote, and nothing else of it is touched, not its sum,
 * which is about a packet that is not there. A router's quote may end behind the ports and the tag. */
static void m4_errors_about_sctp_reach_the_endpoint(void)
{
	for (int i = 0; i < 8; i++) {
		const struct family *a = &families[i % 2];
		bool v6 = i % 2, by_client = i & 2; /* else by a router */
		size_t quote = (v6 ? 40 : 20) + (i & 4 ? 12 + 20 : 8), l4;
		struct view v, quoted;
		struct frame sent;

		forget();
		service(a->any, NODE_PORT, IPPROTO_SCTP, a->local, 9999, 0, 1);
		sctp(a->client, 40000, a->ours, NODE_PORT, 20);
		through("from_net", if_uplink);
		sctp(a->local, 9999, a->client, 40000, 20);
		from_pod_a();
		through("from_pod", if_a);
		sctp(a->ours, NODE_PORT, a->client, 40000, 20);
		sent = f;
		frame_ether(&f, mac_host_a, mac_other, v6 ? ETH_P_IPV6 : ETH_P_IP);
		frame_ip(&f, by_client ? a->client : v6 ? "2001:db8::77" : "203.0.113.1", a->ours, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		frame_icmp(&f, v6 ? 1 : 3, v6 ? 4 : 2, 0); /* no such port, no such protocol */
		l4 = f.l4;
		frame_put(&f, sent.data + sent.l3, quote);
		f.l4 = l4;
		frame_end(&f);
		set_transport_sum(&f);
		v = through("from_net", if_uplink);
		CHECK(addr_eq(&v.dst, &(struct addr[]){ addr_of(a->local) }[0]));
		CHECK_SUMS(&v);
		quoted = view_of(v.ip + v.l4 + 8);
		CHECK_ENDS(quoted, a->local, 9999, a->client, 40000);
		CHECK(memcmp(quoted.ip + quoted.l4 + 4, sent.data + sent.l4 + 4, quote - (v6 ? 40 : 20) - 4) == 0);
	}
}

/* What is no Service's stays the stack's. */
static void the_rest_is_left_alone(void)
{
	forget();
	packet(IPPROTO_TCP, WORLD4, 40000, OURS4, 22, "S", 0);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	packet(IPPROTO_UDP, WORLD6, 40000, OURS6, NODE_PORT, "", 4);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
}

int main(void)
{
	harness_init();
	dp_config.inbound = true;
	dp_config.inbound_port_min = 2000;
	dp_config.inbound_port_max = 2999;
	harness_reopen();
	RUN(frames_for_others_are_not_served);
	RUN(svc_4_node_port_of_a_local_endpoint);
	RUN(svc_17_remote_endpoints_answer_to_this_node);
	RUN(svc_17_answers_come_back_by_a_direct_node);
	RUN(svc_47_one_client_two_addresses_one_endpoint);
	RUN(established_connections_outlive_the_frontend);
	RUN(a_datagram_sent_on_is_no_conversation_before_the_second);
	RUN(svc_18_affinity_lasts_as_long_as_asked_for);
	RUN(svc_21_udp_turns_to_another_endpoint_at_once);
	RUN(svc_21_a_port_that_changes_hands_takes_its_clients_along);
	RUN(svc_19_nobody_serves);
	RUN(answers_to_unfinished_checksums);
	RUN(svc_42_source_ranges);
	RUN(s10_nobody_asks_from_addresses_that_nobody_has);
	RUN(svc_4_sctp_ports_are_translated);
	RUN(sctp_sums_that_are_left_alone);
	RUN(sctp_answers_in_fragments);
	RUN(clients_find_room_in_a_flood);
	RUN(the_last_hop_is_told);
	RUN(answers_have_a_last_hop_too);
	RUN(m4_too_big_for_the_tunnel);
	RUN(m4_errors_reach_the_endpoint);
	RUN(m4_errors_about_sctp_reach_the_endpoint);
	RUN(the_rest_is_left_alone);
	harness_done();
	return test_end();
}
