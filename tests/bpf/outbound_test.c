/* SPDX-License-Identifier: Apache-2.0 */
/* Services from pods, packet by packet: pod A asks, pod B is the endpoint. */
#include "affinity.h"
#include "service_node.h"
#include "weft/policy.h"

static const struct pair {
	const char *a, *b, *vip, *any;
} pairs[] = { { A4, B4, "10.96.0.10", "0.0.0.0" }, { A6, B6, "fd96::10", "::" } };

enum { CLIENT = 40000, VIP_PORT = 53, SERVER = 5353, PING4 = 8 };

static void serve(const struct pair *p, uint8_t proto)
{
	forget();
	service_in(SERVICE_INTERNAL, p->vip, VIP_PORT, proto, p->b, SERVER, 0, 1);
}

/* The endpoint gets it, from the client itself. */
static void ask(const struct pair *p, uint8_t proto, const char *flags)
{
	struct view v;

	packet(proto, p->a, CLIENT, p->vip, VIP_PORT, flags, 20);
	from_pod_a();
	v = through("from_pod", if_a);
	CHECK_ENDS(v, p->a, CLIENT, p->b, SERVER);
	CHECK_SUMS(&v);
}

/* What the endpoint says to the client comes from there. */
static void answer(const struct pair *p, uint8_t proto, const char *flags, const char *as, uint16_t port)
{
	struct view v;

	packet(proto, p->b, SERVER, p->a, CLIENT, flags, 20);
	from_pod_b();
	v = through("from_pod", if_b);
	CHECK_ENDS(v, as, port, p->a, CLIENT);
	CHECK_SUMS(&v);
}

static void answers_come_from_the_service(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct pair *p = &pairs[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;

		serve(p, proto);
		ask(p, proto, "S");
		answer(p, proto, "SA", p->vip, VIP_PORT);
		ask(p, proto, "A");
		answer(p, proto, "A", p->vip, VIP_PORT);
	}
}

/* Each connection is from another port. */
static int connect_from_pod(void *ctx)
{
	const struct pair *p = ctx;
	static uint16_t port = 20000;

	packet(IPPROTO_UDP, p->a, ++port, p->vip, VIP_PORT, "", 20);
	from_pod_a();
	return through("from_pod", if_a).dport - SERVER;
}

static void svc_18_affinity_of_pods_lasts_as_long_as_asked_for(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		const struct pair *p = &pairs[i];

		forget();
		clear("service_affinity");
		service_of_two(SERVICE_INTERNAL, p->vip, VIP_PORT, IPPROTO_UDP, p->b, SERVER, FLOW_TICKS(60));
		affinity_lasts_and_ends(connect_from_pod, (void *)p);
	}
}

static struct flow_state flow_of(const struct pair *p, uint8_t proto)
{
	struct flow_state s = {};

	CHECK(flow_get("flows_new", proto, p->a, CLIENT, p->b, SERVER, &s) || flow_get("flows", proto, p->a, CLIENT, p->b, SERVER, &s));
	return s;
}

/* Which end of their flow is the client's. */
static int client_end(const struct pair *p, uint8_t proto)
{
	struct flow_key key = flow_key_of(proto, p->a, CLIENT, p->b, SERVER);

	return key.port[0] == htons(CLIENT) ? 0 : 1;
}

/* Whoever spoke first on what nobody knows: who asks a Service is the client. */
static void who_asks_a_service_is_the_client(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct pair *p = &pairs[i % 2];
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct flow_state s;

		serve(p, proto);
		answer(p, proto, "A", p->b, SERVER); /* as itself: there is no client yet */
		CHECK_INT(flow_of(p, proto).initiator, !client_end(p, proto));
		for (int round = 0; round < 3; round++) {
			ask(p, proto, "A");
			s = flow_of(p, proto);
			CHECK_INT(s.initiator, client_end(p, proto));
			CHECK_INT(s.stack, FLOW_STACK_TRANSLATED * 3);
			answer(p, proto, "A", p->vip, VIP_PORT);
			answer(p, proto, "A", p->vip, VIP_PORT); /* a server that has more to say */
		}
	}
}

static void lay_back(const struct pair *p, uint8_t proto, uint32_t seconds)
{
	struct flow_key key = flow_key_of(proto, p->a, CLIENT, p->b, SERVER);
	struct flow_state s = flow_of(p, proto);

	s.seen -= FLOW_TICKS(seconds);
	put("flows_new", &key, &s);
}

static void evict(const struct pair *p, uint8_t proto)
{
	struct flow_key key = flow_key_of(proto, p->a, CLIENT, p->b, SERVER);

	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "flows_new"), &key), 0);
}

/* The flow is forgotten, by silence or by a flood of others; the entries of its translation are there. */
static void a_server_that_pushes_on_a_forgotten_flow(void)
{
	for (size_t i = 0; i < 4; i++) {
		const struct pair *p = &pairs[i % 2];

		serve(p, IPPROTO_UDP);
		ask(p, IPPROTO_UDP, "");
		answer(p, IPPROTO_UDP, "", p->vip, VIP_PORT);
		if (i < 2)
			lay_back(p, IPPROTO_UDP, FLOW_TIMEOUT_NEW + 1);
		else
			evict(p, IPPROTO_UDP);
		answer(p, IPPROTO_UDP, "", p->b, SERVER);
		for (int round = 0; round < 3; round++) {
			ask(p, IPPROTO_UDP, "");
			answer(p, IPPROTO_UDP, "", p->vip, VIP_PORT);
		}
	}
}

/* Pod A may be spoken to, and begin nothing. */
static void a_begins_nothing(void)
{
	struct policy_cidr_key roots[] = { { .prefixlen = 0 }, { .prefixlen = 96, .addr = { [10] = 0xff, [11] = 0xff } } };
	struct policy_class_value class = { POLICY_CLASS_WORLD, POLICY_CLASS_WORLD };
	struct policy_endpoint_value value = { .policy = POLICY_ID_FIRST };
	uint32_t any[] = { POLICY_CLASS_ANY4, POLICY_CLASS_ANY6 };

	CHECK_INT(datapath_policy_begin(dp), 0);
	for (size_t i = 0; i < 2; i++) {
		struct addr a = addr_of(pairs[i].a);

		for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++) {
			struct policy_rule_key key = { POLICY_ID_FIRST, any[i], d };
			struct policy_rule_value rule = { .slot[1] = { 1 << 2 | (d == POLICY_EGRESS ? POLICY_DENY : POLICY_ALLOW), 77 } };

			CHECK_INT(datapath_policy_change(dp, DP_POLICY_RULES, &key, &rule), 0);
		}
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_CIDRS, &roots[i], &class), 0);
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, &value), 0);
	}
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
}

static void nobody_is_judged(void)
{
	for (size_t i = 0; i < 2; i++) {
		struct addr a = addr_of(pairs[i].a);

		CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, NULL), 0);
	}
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
}

/* To answer is not to begin: what the endpoint's packet opened is no way to ask a Service. */
static void the_client_is_judged_as_such(void)
{
	a_begins_nothing();
	for (size_t i = 0; i < 2; i++) {
		const struct pair *p = &pairs[i];
		struct view v;

		serve(p, IPPROTO_UDP);
		answer(p, IPPROTO_UDP, "", p->b, SERVER);
		packet(IPPROTO_UDP, p->a, CLIENT, p->b, SERVER, "", 20);
		from_pod_a();
		v = through("from_pod", if_a);
		CHECK_ENDS(v, p->a, CLIENT, p->b, SERVER);
		packet(IPPROTO_UDP, p->a, CLIENT, p->vip, VIP_PORT, "", 20);
		from_pod_a();
		CHECK_DROP("from_pod", &f, if_a, DROP_POLICY_EGRESS);
	}
}

/* A ping of the Service's address is answered in its name, and what policy closes is closed for it, too. */
static void a_ping_of_a_service_is_egress(void)
{
	for (size_t i = 0; i < 2; i++) {
		const struct pair *p = &pairs[i];
		struct service_key address = { .addr = ip_of(p->vip), .scope = SERVICE_INTERNAL };
		struct service_frontend fe = { .service = 1, .flags = SERVICE_ADDRESS };
		uint64_t before = forwards_of(FORWARD_ECHO);

		serve(p, IPPROTO_UDP);
		put("service_frontends", &address, &fe);
		frame_ether(&f, mac_host_a, mac_pod_a, i ? ETH_P_IPV6 : ETH_P_IP);
		frame_ip(&f, p->a, p->vip, i ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		frame_icmp(&f, i ? ICMPV6_ECHO_REQUEST : PING4, 0, 7);
		frame_end(&f);
		nobody_is_judged();
		CHECK_INT(run("from_pod", &f, if_a).verdict, REDIRECT);
		CHECK_INT(forwards_of(FORWARD_ECHO), before + 1);
		a_begins_nothing();
		last_drop();
		CHECK_DROP("from_pod", &f, if_a, DROP_POLICY_EGRESS);
		CHECK_INT(forwards_of(FORWARD_ECHO), before + 1);
	}
}

int main(void)
{
	harness_init();
	dp_config.inbound = true;
	dp_config.inbound_port_min = 2000;
	dp_config.inbound_port_max = 2999;
	harness_reopen();
	RUN(answers_come_from_the_service);
	RUN(svc_18_affinity_of_pods_lasts_as_long_as_asked_for);
	RUN(who_asks_a_service_is_the_client);
	RUN(a_server_that_pushes_on_a_forgotten_flow);
	RUN(the_client_is_judged_as_such);
	RUN(a_ping_of_a_service_is_egress);
	harness_done();
	return test_end();
}
