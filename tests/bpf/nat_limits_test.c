/* SPDX-License-Identifier: Apache-2.0 */
/* NAT and masquerade, who gets a port and how long it is his: ranges, shares, the node's own ports, states and time-outs. */
#include "base/str.h"
#include "nat_node.h"

#include <poll.h>
#include <sys/socket.h>

static const struct dp_nat_uplink no_v6 = { .addrs = {} };

static void exhaustion(void)
{
	bool seen[16] = {};

	dp_config.nat_port_min = 2000;
	dp_config.nat_port_max = 2009;
	reopen();
	for (int i = 0; i < 10; i++) {
		uint16_t port;

		packet(IPPROTO_TCP, i % 2 ? A4 : B4, 40000 + i, WORLD4, 443, "S");
		port = leave().sport;
		CHECK(port >= 2000 && port < 2010 && !seen[port - 2000]);
		seen[(port - 2000) & 15] = true;
	}
	packet(IPPROTO_TCP, A4, 40010, WORLD4, 443, "S");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_EXHAUSTED);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 10);
	packet(IPPROTO_TCP, A4, 40010, WORLD4, 444, "S"); /* another destination has ports */
	leave();
	packet(IPPROTO_TCP, A4, 40001, WORLD4, 443, "A"); /* and who has one keeps it */
	leave();
	restore();
}

static void shares_and_table(void)
{
	dp_config.nat_max = 64;
	dp_config.nat_share = 40;
	reopen();
	for (int i = 0; i < 40; i++) {
		packet(IPPROTO_UDP, A4, 3000 + i, WORLD4, 53, "");
		leave();
	}
	packet(IPPROTO_UDP, A4, 4000, WORLD4, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_SHARE);
	for (int i = 0; i < 24; i++) {
		packet(IPPROTO_UDP, B4, 5000 + i, WORLD4, 53, "");
		leave();
	}
	packet(IPPROTO_UDP, B4, 6000, WORLD4, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_TABLE_FULL);
	CHECK_INT(claims_of(1), 40);
	CHECK_INT(claims_of(2), 24);
	restore();
}

/* A pod floods one destination: it gets an eighth of the ports, at least 256, until they are answered or given up; others have the rest. */
static void a_flood_that_nobody_answers_leaves_ports_to_others(void)
{
	uint16_t port = 0;

	dp_config.nat_port_min = 2000;
	dp_config.nat_port_max = 3023;
	dp_config.nat_max = dp_config.nat_share = 4096;
	reopen();
	for (int i = 0; i < 2000; i++) {
		flows_forgive();
		packet(IPPROTO_TCP, A4, 10000 + i, WORLD4, 443, "S");
		if (run("to_net", &f, if_uplink).verdict == TC_ACT_OK)
			port = 10000 + i;
	}
	CHECK(port);
	CHECK_INT(last_drop(), DROP_NAT_UNANSWERED);
	CHECK(claims_of(1) >= NAT_ASKS_MIN && claims_of(1) < 2 * NAT_ASKS_MIN); /* some were forgiven meanwhile */
	for (int i = 0; i < 2000; i++) { /* wherever to; some are forgiven with each tick */
		packet(IPPROTO_TCP, A6, 40000 + i, WORLD6, 443, "S");
		if (run("to_net", &f, if_uplink).verdict != TC_ACT_OK)
			break;
	}
	CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_NAT_UNANSWERED));
	packet(IPPROTO_TCP, A4, port, WORLD4, 443, "S"); /* what it has, it keeps */
	leave();
	for (int i = 0; i < 300; i++) { /* more than the bound, and all answered */
		packet(IPPROTO_TCP, B4, 20000 + i, WORLD4, 443, "S");
		port = leave().sport;
		packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
		arrive(REDIRECT);
	}
	CHECK_INT(claims_of(2), 300);
	for (int i = 0; i < 300 && claims_of(1); i++)
		poll(NULL, 0, 100);
	CHECK_INT(claims_of(1), 0); /* within seconds */
	CHECK_INT(claims_of(2), 300);
	restore();
}

static void no_address_no_passage(void)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, NULL, 0, NULL);

	uplink.addrs[1] = no_v6.addrs[1];
	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
	packet(IPPROTO_UDP, A6, 3000, WORLD6, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_ADDRESS);
	apply(NULL, 0, NULL);
	forget();
}

/* Others believe the node for what its tunnel carries: a pod does not send that in its name. In the mesh nobody is believed. */
static void nobody_speaks_as_the_nodes_tunnel(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		packet(IPPROTO_UDP, v6 ? A6 : A4, 5000, v6 ? WORLD6 : WORLD4, dp_config.tunnel_port, "");
		CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_TUNNEL);
		packet(IPPROTO_TCP, v6 ? A6 : A4, 5000, v6 ? WORLD6 : WORLD4, dp_config.tunnel_port, "S");
		leave();
		packet(IPPROTO_UDP, v6 ? A6 : A4, 5000, v6 ? WORLD6 : WORLD4, dp_config.tunnel_port + 1, "");
		leave();
	}
	restore();
}

static void a_lost_address_ends_its_connections(void)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, NULL, 0, NULL);
	struct addr src;

	packet(IPPROTO_UDP, A4, 3000, WORLD4, 53, "");
	leave();
	uplink.addrs[0] = addr_of("192.0.2.9");
	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
	src = leave().src;
	CHECK_ADDR(src, "192.0.2.9");
	apply(NULL, 0, NULL);
	forget();
}

static void reserved_ports(void)
{
	static bool reserved[65536];

	memset(reserved + 30000, true, 2768);
	for (int i = 2000; i < 2010; i++)
		reserved[i] = i != 2007;
	dp_config.nat_port_min = 2000;
	dp_config.nat_port_max = 2009;
	harness_reopen();
	apply(NULL, 0, reserved);
	packet(IPPROTO_UDP, A4, 2003, WORLD4, 53, "");
	CHECK_INT(leave().sport, 2007);
	restore();
	apply(NULL, 0, reserved);
	packet(IPPROTO_UDP, A4, 30500, WORLD4, 53, "");
	CHECK(leave().sport != 30500);
	apply(NULL, 0, NULL);
	forget();
}

static int node_socket(int type, uint16_t port, bool v6)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(v6 ? AF_INET6 : AF_INET, type, 0), one = 1;

	CHECK(fd >= 0);
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	else
		*(struct sockaddr_in *)&any = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	CHECK_INT(bind(fd, (struct sockaddr *)&any, v6 ? sizeof(any) : sizeof(struct sockaddr_in)), 0);
	if (type == SOCK_STREAM)
		CHECK_INT(listen(fd, 1), 0);
	return fd;
}

static void ports_of_the_nodes_sockets(void)
{
	for (int i = 0; i < 4; i++) {
		int fd = node_socket(i < 2 ? SOCK_STREAM : SOCK_DGRAM, 5555, i % 2);
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;

		packet(proto, families[i % 2].pod, 5555, families[i % 2].world, 443, "S");
		CHECK(leave().sport != 5555);
		packet(proto, families[i % 2].pod, 5556, families[i % 2].world, 443, "S");
		CHECK_INT(leave().sport, 5556);
		close(fd);
		packet(proto, families[i % 2].pod, 5555, families[i % 2].world, 444, "S");
		CHECK_INT(leave().sport, 5555);
		forget();
	}
}

/* The node's socket picks a port from which a pod speaks to the same end: both go on. */
static void the_node_comes_later(void)
{
	struct view v;
	uint16_t port;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	CHECK_INT(leave().sport, 40000);
	packet(IPPROTO_TCP, OURS4, 40000, WORLD4, 443, "S");
	v = leave();
	port = v.sport;
	CHECK(port != 40000);
	CHECK_SUMS(&v);
	CHECK_INT(claims_of(NAT_OWNER_NODE), 1);
	packet(IPPROTO_TCP, OURS4, 40000, WORLD4, 443, "A");
	CHECK_INT(leave().sport, port);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
	v = arrive(TC_ACT_OK); /* to the stack */
	CHECK_ADDR(v.dst, OURS4);
	CHECK_INT(v.dport, 40000);
	CHECK_SUMS(&v);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, "SA");
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, A4);
	packet(IPPROTO_TCP, OURS4, 40001, WORLD4, 443, "S");
	CHECK_same("another port of the node");
	forget();
}

/* What netfilter translates here (containers behind a bridge) has the node's address and no socket. */
static struct view foreign(uint8_t proto, size_t family, uint16_t port)
{
	struct view v;

	packet(proto, families[family].ours, port, families[family].world, 443, proto == IPPROTO_TCP ? "S" : "Q");
	harness_came_by = if_b;
	v = leave();
	harness_came_by = 0;
	CHECK_ADDR(v.src, families[family].ours);
	CHECK_SUMS(&v);
	return v;
}

/* The world's answer to the port. @to: who gets it, there at @at. */
static void answer(uint8_t proto, size_t family, uint16_t port, const char *to, uint16_t at)
{
	const char *ours = families[family].ours, *world = families[family].world;
	bool echo = proto != IPPROTO_TCP && proto != IPPROTO_UDP;
	struct view v;

	packet(proto, world, echo ? port : 443, ours, port, echo ? "P" : "SA");
	v = arrive(streq(to, ours) ? TC_ACT_OK : REDIRECT);
	CHECK_ADDR(v.dst, to);
	CHECK_INT(v.dport, at);
	CHECK_SUMS(&v);
}

static uint16_t from_pod_as(uint8_t proto, const char *pod, size_t family, uint16_t port)
{
	struct view v;

	packet(proto, pod, port, families[family].world, 443, proto == IPPROTO_TCP ? "S" : "Q");
	v = leave();
	CHECK_ADDR(v.src, families[family].ours);
	return v.sport;
}

/* Whoever is first keeps the port; both get their answers. */
static void others_translate_here_too(void)
{
	for (size_t i = 0; i < 6; i++) {
		const char *pod = families[i % 2].pod, *ours = families[i % 2].ours;
		uint8_t proto = i < 2 ? IPPROTO_TCP : i < 4 ? IPPROTO_UDP : icmp_of(pod);
		uint16_t port;

		CHECK_INT(foreign(proto, i % 2, 40000).sport, 40000);
		CHECK_INT(foreign(proto, i % 2, 40000).sport, 40000);
		CHECK_INT(claims_of(NAT_OWNER_FOREIGN), 1);
		port = from_pod_as(proto, pod, i % 2, 40000);
		CHECK(port != 40000);
		answer(proto, i % 2, 40000, ours, 40000);
		answer(proto, i % 2, port, pod, 40000);
		CHECK_INT(from_pod_as(proto, pod, i % 2, 40001), 40001);
		port = foreign(proto, i % 2, 40001).sport;
		CHECK(port != 40001);
		CHECK_INT(foreign(proto, i % 2, 40001).sport, port);
		answer(proto, i % 2, 40001, pod, 40001);
		answer(proto, i % 2, port, ours, 40001);
		CHECK_INT(claims_of(NAT_OWNER_FOREIGN), 2);
		CHECK_INT(claims_of(NAT_OWNER_NODE), 0);
		forget();
	}
}

/* A port that netfilter publishes, and at which a proxy listens as well, is the one that answers have to come from. */
static void what_others_publish_keeps_its_port(void)
{
	int fd = node_socket(SOCK_STREAM, 5555, false);

	packet(IPPROTO_TCP, OURS4, 5555, WORLD4, 443, "SA");
	harness_came_by = if_b;
	CHECK_same("an answer from a published port");
	harness_came_by = 0;
	CHECK_INT(claims_of(NAT_OWNER_FOREIGN), 1);
	close(fd);
	CHECK(from_pod_as(IPPROTO_TCP, A4, 0, 5555) != 5555);
	forget();
}

static void others_without_a_claim(void)
{
	struct dp_exempt exempt = { .prefix = { addr_of("198.51.100.0"), 120 } };
	static bool reserved[65536];

	reserved[30500] = true;
	apply(&exempt, 1, reserved);
	foreign(IPPROTO_TCP, 0, 40000); /* where pods speak as themselves */
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	apply(NULL, 0, reserved);
	foreign(IPPROTO_UDP, 0, 30500); /* as no pod may */
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	packet(icmp_of(A6), OURS6, 7, WORLD6, 0, "P"); /* an answer gets none */
	harness_came_by = if_b;
	CHECK_same("an echo reply");
	harness_came_by = 0;
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	apply(NULL, 0, NULL);
	forget();
}

/* Their share bounds what they take from pods; beyond it they go on, as long as no pod is in their way. */
static void others_have_a_share(void)
{
	for (int i = 0; i < NAT_SHARE + 10; i++)
		CHECK_INT(foreign(IPPROTO_UDP, 0, 20000 + i).sport, 20000 + i);
	CHECK_INT(claims_of(NAT_OWNER_FOREIGN), NAT_SHARE);
	CHECK_INT(from_pod_as(IPPROTO_UDP, A4, 0, 20000 + NAT_SHARE), 20000 + NAT_SHARE);
	packet(IPPROTO_UDP, OURS4, 20000 + NAT_SHARE, WORLD4, 443, "");
	harness_came_by = if_b;
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_SHARE);
	harness_came_by = 0;
	forget();
}

static int stage_of(uint16_t port)
{
	struct nat_claim c;

	return claim_get(IPPROTO_TCP, OURS4, port, WORLD4, 443, &c) ? c.state.stage : -1;
}

static void tcp_states(void)
{
	static const struct {
		bool inside;
		const char *flags;
		int stage;
	} steps[] = {
		{ true, "S", FLOW_HALF_OPEN },	 { true, "S", FLOW_HALF_OPEN }, { false, "SA", FLOW_REPLIED }, { true, "A", FLOW_OPEN },
		{ false, "A", FLOW_OPEN },	 { true, "FA", FLOW_OPEN },	{ false, "FA", FLOW_CLOSING }, { true, "A", FLOW_CLOSING },
		{ true, "S", FLOW_HALF_OPEN },	 { false, "SA", FLOW_REPLIED }, { true, "A", FLOW_OPEN },      { false, "R", FLOW_RESET },
		{ false, "A", FLOW_OPEN },	 { true, "R", FLOW_RESET },
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].inside)
			packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, steps[i].flags);
		else
			packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, steps[i].flags);
		if (steps[i].inside)
			leave();
		else
			arrive(REDIRECT);
		if (stage_of(40000) != steps[i].stage)
			printf("# step %zu\n", i);
		CHECK_INT(stage_of(40000), steps[i].stage);
	}
	/* after a reset it is gone in seconds; its share is given back */
	for (int i = 0; i < 600 && stage_of(40000) >= 0; i++)
		poll(NULL, 0, 100);
	CHECK_INT(stage_of(40000), -1);
	CHECK_INT(claims_of(1), 0);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	forget();
}

/* From outside anybody may say that it is over. The pod's kernel knows better, and speaks on. */
static void a_reset_that_the_pod_does_not_believe(void)
{
	static const char *const flags[] = { "S", "SA", "A", "R" };

	for (int i = 0; i < 4; i++) {
		if (i % 2 == 0 && i < 3)
			packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, flags[i]);
		else
			packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, flags[i]);
		if (i % 2 == 0)
			leave();
		else
			arrive(REDIRECT);
	}
	CHECK_INT(stage_of(40000), FLOW_RESET);
	poll(NULL, 0, 300); /* the next tick */
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "A");
	CHECK_INT(leave().sport, 40000);
	for (int i = 0; i < 600 && stage_of(40000) == FLOW_RESET; i++)
		poll(NULL, 0, 100);
	CHECK_INT(stage_of(40000), FLOW_OPEN);
	forget();
}

/* As after a restart of the agent, and one with another size of table: entries are converted, and end in time. */
static void connections_outlive_the_agent(void)
{
	uint16_t port;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	leave();
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "S");
	port = leave().sport;
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, "SA"); /* unanswered ones do not outlive the time that some kernels verify for */
	arrive(REDIRECT);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
	arrive(REDIRECT);
	for (int i = 0; i < 2; i++) {
		struct view v;

		dp_config.nat_max = NAT_MAX * (1 + i);
		reopen();
		packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, B4);
		packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "A");
		CHECK_INT(leave().sport, port);
		CHECK_INT(claims_of(NAT_OWNER_ALL), 2);
	}
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "R");
	leave();
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "R");
	leave();
	for (int i = 0; i < 900 && claims_of(NAT_OWNER_ALL); i++)
		poll(NULL, 0, 100);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	restore();
}

static char told[256];

static void on_repair(enum dp_repair what, const char *text, void *ctx)
{
	(void)ctx;
	CHECK_INT(what, DP_REPAIR_ENTRY);
	snprintf(told, sizeof(told), "%s", text);
}

static void check_told(const struct dp_masquerade *m, const char *text)
{
	*told = 0;
	CHECK_INT(datapath_apply_masquerade(dp, m), 0);
	CHECK_STR(told, text);
}

/* What is wanted otherwise than before is no repair. */
static void what_somebody_takes_away_is_put_back_and_told(void)
{
	static bool reserved[65536] = { [30000] = true };
	struct dp_exempt exempt[2] = { { .prefix = prefix_of(&(struct addr[]){ addr_of("10.0.0.0") }[0], 104) },
				       { .prefix = prefix_of(&(struct addr[]){ addr_of("10.1.0.0") }[0], 112) } };
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, exempt, 2, reserved);
	uint32_t word = 30000 / 64;
	uint64_t none = 0;
	uint8_t key[64];

	datapath_on_repair(dp, on_repair, NULL);
	check_told(&m, "");
	check_told(&m, "");
	clear_map("nat_exempt");
	check_told(&m, "2 entries of nat_exempt");
	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_exempt"), NULL, key), 0);
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "nat_exempt"), key), 0);
	check_told(&m, "1 entries of nat_exempt");
	clear_map("nat_uplinks");
	check_told(&m, "1 entries of nat_uplinks");
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "nat_uplinks"), &if_uplink, &(struct nat_uplink){}, BPF_ANY), 0);
	check_told(&m, "1 entries of nat_uplinks");
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "nat_reserved"), &word, &none, BPF_ANY), 0);
	check_told(&m, "1 entries of nat_reserved");
	m.n_exempt = 1;
	check_told(&m, "");
	m.reserved = NULL;
	check_told(&m, "");
	restore();
}

/* What the table says itself. */
static uint64_t claims_there(uint32_t owner)
{
	int map = datapath_map_fd(dp, "nat_claims");
	struct nat_claim claim;
	struct nat_key key;
	uint64_t n = 0;

	for (int more = bpf_map_get_next_key(map, NULL, &key); more == 0; more = bpf_map_get_next_key(map, &key, &key))
		n += bpf_map_lookup_elem(map, &key, &claim) == 0 && (owner == NAT_OWNER_ALL || claim.state.owner == owner);
	return n;
}

static const uint32_t owners[] = { NAT_OWNER_ALL, NAT_OWNER_NODE, NAT_OWNER_INBOUND, NAT_OWNER_FOREIGN, 1, 2 };

/* @told_then: what the next audit says of it, "" nothing. */
static void check_counted_anew(const char *told_then)
{
	uint32_t links[] = { if_a, if_b };

	*told = 0;
	CHECK_INT(datapath_sweep_endpoints(dp, links, ARRAY_SIZE(links)), 0);
	CHECK_STR(told, told_then);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		CHECK_INT(claims_of(owners[i]), claims_there(owners[i]));
}

/* Two claims of one pod, one of another, one of the node. */
static void make_claims(void)
{
	packet(IPPROTO_UDP, A4, 3000, WORLD4, 53, "");
	leave();
	packet(IPPROTO_UDP, A4, 3001, WORLD4, 53, "");
	leave();
	packet(IPPROTO_UDP, B4, 3002, WORLD4, 53, "");
	leave();
	packet(IPPROTO_UDP, OURS4, 3000, WORLD4, 53, "");
	leave();
	CHECK_INT(claims_of(NAT_OWNER_ALL), 4);
	CHECK_INT(claims_of(NAT_OWNER_NODE), 1);
	CHECK_INT(claims_of(1), 2);
}

static void a_counter_of_claims_that_somebody_takes_away_is_made_anew(void)
{
	int map = datapath_map_fd(dp, "nat_shares");
	uint64_t below = -3;
	uint32_t id = 1;

	datapath_on_repair(dp, on_repair, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
		make_claims();
		CHECK_INT(bpf_map_delete_elem(map, &owners[i]), 0);
		packet(IPPROTO_UDP, A4, 4000, WORLD4, 53, "");
		if (owners[i] == NAT_OWNER_ALL || owners[i] == 1)
			CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_SHARE);
		check_counted_anew("1 entries of nat_shares");
		leave();
		check_counted_anew("");
		forget();
	}
	make_claims();
	clear_map("nat_shares");
	check_counted_anew("6 entries of nat_shares");
	CHECK_INT(bpf_map_update_elem(map, &id, &below, BPF_ANY), 0);
	check_counted_anew(""); /* nobody has taken anything away */
	restore();
}

/* Nobody was there to miss it. */
static void a_counter_of_claims_that_is_gone_when_the_agent_starts_is_made_anew(void)
{
	clear_map("nat_shares");
	reopen();
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		CHECK_INT(claims_of(owners[i]), claims_there(owners[i]));
	make_claims();
	clear_map("nat_shares");
	reopen();
	CHECK(claims_of(NAT_OWNER_ALL) > 0);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		CHECK_INT(claims_of(owners[i]), claims_there(owners[i]));
	restore();
}

static void pin_beside(const char *map, int fd)
{
	_cleanup_free_ char *maps = datapath_pin_dir(dp, 0), *path = xasprintf("%s/%s__before", maps, map);

	CHECK_INT(bpf_obj_pin(fd, path), 0);
	close(fd);
}

/* The two tables as they are, to be put beside the next ones. */
static void keep(int fds[2])
{
	fds[0] = dup(datapath_map_fd(dp, "nat_claims"));
	fds[1] = dup(datapath_map_fd(dp, "nat_forward"));
}

static void leave_beside(const int fds[2])
{
	pin_beside("nat_claims", fds[0]);
	pin_beside("nat_forward", fds[1]);
}

static void converse(const char *pod, uint16_t port, uint16_t as)
{
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, as, "SA");
	arrive(REDIRECT);
	packet(IPPROTO_TCP, pod, port, WORLD4, 443, "A");
	CHECK_INT(leave().sport, as);
}

static uint16_t as_whom(const char *pod, uint16_t port, const char *flags)
{
	packet(IPPROTO_TCP, pod, port, WORLD4, 443, flags);
	return leave().sport;
}

/* As many halves as @n claims have. */
static void check_whole(unsigned n)
{
	uint8_t key[64];
	unsigned forward = 0;
	int map = datapath_map_fd(dp, "nat_forward");

	for (int more = bpf_map_get_next_key(map, NULL, key); more == 0; more = bpf_map_get_next_key(map, key, key))
		forward++;
	CHECK_INT(forward, n);
	CHECK_INT(claims_of(NAT_OWNER_ALL), n);
}

/* What was written to the old tables after they had been copied, as the programs that are attached go on to do until they are replaced. Until what
 * they wrote is here, too, packets of these connections made claims anew: each of the other's port. */
static void what_began_between_copy_and_switch_is_taken_over(void)
{
	uint16_t port, wrong;
	struct nat_claim claim;
	int old[2];

	dp_config.nat_max = NAT_MAX * 2;
	reopen();
	keep(old);
	CHECK_INT(as_whom(A4, 40000, "S"), 40000);
	port = as_whom(B4, 40000, "S");
	CHECK(port != 40000);
	converse(A4, 40000, 40000);
	converse(B4, 40000, port);
	CHECK_INT(as_whom(A4, 40001, "S"), 40001);
	converse(A4, 40001, 40001);
	dp_config.nat_max = NAT_MAX;
	reopen();
	forget(); /* of the new tables: nothing was there to be copied */
	CHECK_INT(as_whom(B4, 40000, "A"), 40000);
	wrong = as_whom(A4, 40000, "A");
	CHECK(wrong != 40000);
	leave_beside(old);
	reopen();
	check_whole(3);
	CHECK_INT(claims_of(1), 2);
	CHECK_INT(claims_of(2), 1);
	CHECK(wrong == port || !claim_get(IPPROTO_TCP, OURS4, wrong, WORLD4, 443, &claim));
	CHECK(claim_get(IPPROTO_TCP, OURS4, 40000, WORLD4, 443, &claim));
	CHECK_INT(claim.state.stage, FLOW_OPEN);
	CHECK_INT(as_whom(A4, 40000, "A"), 40000);
	CHECK_INT(as_whom(B4, 40000, "A"), port);
	CHECK_INT(as_whom(A4, 40001, "A"), 40001);
	restore();
}

/* Who has been answered meanwhile keeps what he has got; and what is left has no half there. */
static void what_is_answered_does_not_give_way(void)
{
	uint16_t port;
	int old[2];

	dp_config.nat_max = NAT_MAX * 2;
	reopen();
	keep(old);
	CHECK_INT(as_whom(A4, 40000, "S"), 40000);
	converse(A4, 40000, 40000);
	dp_config.nat_max = NAT_MAX;
	reopen();
	forget();
	CHECK_INT(as_whom(B4, 40000, "S"), 40000);
	converse(B4, 40000, 40000);
	port = as_whom(A4, 40000, "S");
	CHECK(port != 40000);
	converse(A4, 40000, port);
	leave_beside(old);
	reopen();
	check_whole(2);
	CHECK_INT(as_whom(B4, 40000, "A"), 40000);
	CHECK_INT(as_whom(A4, 40000, "A"), port);
	restore();
}

static void a_deleted_pods_port_is_not_answered(void)
{
	packet(IPPROTO_UDP, B4, 5000, WORLD4, 53, "");
	leave();
	CHECK_INT(datapath_del_endpoint(dp, if_b), 0);
	packet(IPPROTO_UDP, WORLD4, 53, OURS4, 5000, "");
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, TC_ACT_OK);
	CHECK(memcmp(in.data, f.data, f.len) == 0);
	restore();
}

int main(void)
{
	harness_init();
	restore();
	RUN(exhaustion);
	RUN(shares_and_table);
	RUN(a_flood_that_nobody_answers_leaves_ports_to_others);
	RUN(no_address_no_passage);
	RUN(nobody_speaks_as_the_nodes_tunnel);
	RUN(a_lost_address_ends_its_connections);
	RUN(reserved_ports);
	RUN(ports_of_the_nodes_sockets);
	RUN(the_node_comes_later);
	RUN(others_translate_here_too);
	RUN(what_others_publish_keeps_its_port);
	RUN(others_without_a_claim);
	RUN(others_have_a_share);
	RUN(a_deleted_pods_port_is_not_answered);
	RUN(tcp_states);
	RUN(a_reset_that_the_pod_does_not_believe);
	RUN(connections_outlive_the_agent);
	RUN(what_somebody_takes_away_is_put_back_and_told);
	RUN(a_counter_of_claims_that_somebody_takes_away_is_made_anew);
	RUN(a_counter_of_claims_that_is_gone_when_the_agent_starts_is_made_anew);
	RUN(what_began_between_copy_and_switch_is_taken_over);
	RUN(what_is_answered_does_not_give_way);
	harness_done();
	return test_end();
}
