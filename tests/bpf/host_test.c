/* SPDX-License-Identifier: Apache-2.0 */
/* Policies of the node itself, as packets meet them: a trial ends without an agent; whose connections are adopted, and for how long. */
#include "agent/policy_apply.h"
#include "base/test.h"
#include "harness.h"
#include "policy/policy.h"
#include "weft/policy.h"

#include <err.h>
#include <time.h>

#define UNDERLAY4 "192.0.2.1"
#define UNDERLAY6 "fd30::1"
#define PEER4 "198.51.100.20"
#define PEER6 "fe80::20"

static const uint64_t never = 0, past = 1, far = UINT64_MAX;
static struct policy_apply applied;
static struct policy *compiler;
static struct frame f;

static void put_at(const char *name, const char *subject, const char *action, int port, bool after)
{
	json_t *object = json_pack("{ss, s{ss, s{ss}}, s{ss, si, s{s{}}, s[{ss, s[{s[s]}], s[{s{s{si}}}]}]}}", "kind", "ClusterNetworkPolicy", "metadata",
				   "name", name, "annotations", "weft.dev/subject", subject, "spec", "tier", "Admin", "priority", 1, "subject",
				   "namespaces", "egress", "action", action, "to", "networks", "0.0.0.0/0", "protocols", "tcp", "destinationPort",
				   "number", port);
	struct policy_spec *spec;
	char *why = NULL;

	if (policy_spec_parse(object, NULL, &spec, &why) < 0)
		errx(1, "%s", why);
	if (after)
		policy_spec_set_after(spec);
	policy_put_object(compiler, spec);
	json_decref(object);
}

static void put(const char *name, const char *subject, const char *action, int port)
{
	put_at(name, subject, action, port, false);
}

static void apply(uint64_t until, uint64_t adopts)
{
	_cleanup_(policy_maps_putp) struct policy_maps *maps = NULL;

	policy_set_host_times(compiler, (struct policy_host_times){ until, adopts });
	maps = policy_compile(compiler);
	CHECK_INT(policy_apply(&applied, dp, maps), 0);
	while (policy_apply_is_leaving(&applied))
		CHECK_INT(policy_apply_finish(&applied), 0);
}

static void start_open(void)
{
	const struct addr own[] = { addr_of(UNDERLAY4), addr_of(UNDERLAY6), addr_of(NODE4), { .b = POLICY_GROUPS4 }, { .b = POLICY_GROUPS6 } };

	flows_clear();
	policy_free(compiler);
	compiler = policy_new();
	policy_set_host(compiler, NULL, 0, own, ARRAY_SIZE(own));
}

/* The node's own 22 takes nothing; it asks for no 80. */
static void start(uint64_t until, uint64_t adopts)
{
	start_open();
	put("in", "nodes-from", "Deny", 22);
	put("out", "nodes", "Deny", 80);
	apply(until, adopts);
	last_drop();
}

static void tcp(const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *flags)
{
	frame_ether(&f, mac_host_a, mac_host_a, ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_TCP);
	frame_tcp(&f, sport, dport, flags);
	frame_end(&f);
}

static bool enters(uint16_t sport, uint16_t dport, const char *flags)
{
	tcp(PEER4, sport, UNDERLAY4, dport, flags);
	return run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT;
}

static bool leaves(uint16_t sport, uint16_t dport, const char *flags)
{
	tcp(UNDERLAY4, sport, PEER4, dport, flags);
	return run("to_net", &f, if_uplink).verdict != TC_ACT_SHOT;
}

static bool pod_enters(uint16_t sport)
{
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, NODE4, IPPROTO_TCP);
	frame_tcp(&f, sport, 22, "S");
	frame_end(&f);
	return run("from_pod", &f, if_a).verdict != TC_ACT_SHOT;
}

static void a_trial_ends_without_an_agent(void)
{
	start(far, never);
	CHECK(!enters(1000, 22, "S") && !leaves(1000, 80, "S") && !pod_enters(1000));
	CHECK(enters(1000, 23, "S"));
	apply(past, never);
	CHECK(enters(1000, 22, "S"));
	CHECK(leaves(1000, 80, "S"));
	CHECK(pod_enters(1000));
	apply(never, never); /* confirmed after all */
	CHECK(!enters(1000, 22, "A") && !leaves(1000, 80, "S") && !pod_enters(1000));
}

static uint64_t boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Confirmed: nobody comes to 22. On trial: nobody to 23. Nobody writes anything when its time is over. */
static void after_a_trial_the_programs_go_back_to_what_was_confirmed(void)
{
	uint64_t until = boot_ns() + 1000000000;

	start(never, never);
	put("in", "nodes-from", "Deny", 23);
	put_at("in", "nodes-from", "Deny", 22, true);
	put_at("out", "nodes", "Deny", 80, true);
	apply(until, never);
	CHECK(enters(1000, 22, "S") && pod_enters(1000) && !enters(1000, 23, "S") && !leaves(1000, 80, "S"));
	while (boot_ns() < until)
		;
	CHECK(!enters(1000, 22, "A")); /* of a connection that was allowed: judged anew */
	CHECK(!enters(1001, 22, "S"));
	CHECK(!pod_enters(1000));
	CHECK(enters(1000, 23, "S"));
	CHECK(!leaves(1000, 80, "S"));
	apply(never, never); /* the next agent: confirmed after all */
	CHECK(enters(1002, 22, "S") && !enters(1001, 23, "S"));
}

/* Nobody saw its SYN: the node may have begun it from its port 22. */
static void connections_older_than_the_policy_go_on_for_a_while(void)
{
	start(never, far);
	CHECK(!enters(1000, 22, "S"));
	CHECK(enters(1001, 22, "A"));
	apply(never, past);
	CHECK(enters(1001, 22, "A"));  /* it is known */
	CHECK(!enters(1002, 22, "A")); /* who comes now would begin one */
	CHECK(!enters(1002, 22, "A"));
}

/* Only a socket that has the connection sends so: its entry was pushed out. */
static void what_the_node_goes_on_with_is_known_again(void)
{
	start(never, never);
	CHECK(!leaves(443, 80, "S"));
	CHECK(leaves(443, 80, "A"));
	CHECK(enters(80, 443, "A"));
	start(never, never);
	CHECK(!enters(443, 22, "A"));
	CHECK(leaves(22, 443, "A")); /* as the one who asks 443 */
}

/* Nothing but DHCP's answers comes in; with @subject "nodes", nothing but DHCP's goes out. */
static void close_all(const char *subject)
{
	static const char rules[] = "{\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"namespaces\": {}}, \"egress\": ["
				    "{\"action\": \"Accept\", \"to\": [{\"networks\": [\"0.0.0.0/0\"]}], \"protocols\": [{\"udp\": {\"destinationPort\": {\"number\": 68}}}]},"
				    "{\"action\": \"Deny\", \"to\": [{\"networks\": [\"0.0.0.0/0\", \"::/0\"]}]}]}";
	json_t *object = json_pack("{ss, s{ss, s{ss}}, so}", "kind", "ClusterNetworkPolicy", "metadata", "name", "closed", "annotations", "weft.dev/subject",
				   subject, "spec", json_loads(rules, 0, NULL));
	struct policy_spec *spec;
	char *why = NULL;

	start_open();
	if (policy_spec_parse(object, NULL, &spec, &why) < 0)
		errx(1, "%s", why);
	policy_put_object(compiler, spec);
	json_decref(object);
	apply(never, never);
	last_drop();
}

/* @port: of UDP, the type of ICMP, else nothing. */
static bool passes(const char *program, const char *src, const char *dst, uint8_t proto, uint16_t port)
{
	static const uint8_t to_all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct addr a = addr_of(src);

	frame_ether(&f, to_all, mac_host_a, addr_is_v4(&a) ? ETH_P_IP : ETH_P_IPV6);
	frame_ip(&f, src, dst, proto);
	if (proto == IPPROTO_UDP)
		frame_udp(&f, 5353, port);
	else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		frame_icmp(&f, port, 0, 7);
	else
		frame_payload(&f, 8);
	frame_end(&f);
	return run(program, &f, if_uplink).verdict != TC_ACT_SHOT;
}

enum { PONG4 = 0, PING4 = 8, MLD_QUERY = 130, VRRP = 112 };

static void what_neighbours_say_to_many_is_for_the_node(void)
{
	start_open();
	CHECK(passes("from_net", PEER4, "224.0.0.251", IPPROTO_UDP, 5353));
	close_all("nodes-from");
	CHECK(!passes("from_net", PEER4, "255.255.255.255", IPPROTO_UDP, 5353));
	CHECK_INT(last_drop(), DROP_POLICY_INGRESS);
	CHECK(!passes("from_net", PEER4, "224.0.0.251", IPPROTO_UDP, 5353));
	CHECK(!passes("from_net", PEER4, "239.255.255.250", IPPROTO_UDP, 1900));
	CHECK(!passes("from_net", PEER4, "224.0.0.18", VRRP, 0));
	CHECK(!passes("from_net", PEER4, "224.0.0.1", IPPROTO_ICMP, PING4));
	CHECK(!passes("from_net", "0.0.0.0", "255.255.255.255", IPPROTO_UDP, 67));
	CHECK(!passes("from_net", PEER6, "ff02::fb", IPPROTO_UDP, 5353));
	CHECK(!passes("from_net", PEER6, "ff02::1", IPPROTO_ICMPV6, ICMPV6_ECHO_REQUEST));
	CHECK(passes("from_net", PEER4, "255.255.255.255", IPPROTO_UDP, 68));
	CHECK(passes("from_net", PEER4, "224.0.0.1", IPPROTO_IGMP, 0));
	CHECK(passes("from_net", PEER6, "ff02::1", IPPROTO_ICMPV6, MLD_QUERY));
}

/* What the node asks opens nothing to whom it asks, but answers. */
static void an_echo_does_not_ride_on_the_nodes_own(void)
{
	start_open();
	close_all("nodes-from");
	CHECK(!passes("from_net", PEER4, UNDERLAY4, IPPROTO_ICMP, PING4));
	CHECK(passes("to_net", UNDERLAY4, PEER4, IPPROTO_ICMP, PING4));
	CHECK(!passes("from_net", PEER4, UNDERLAY4, IPPROTO_ICMP, PING4));
	CHECK_INT(last_drop(), DROP_POLICY_INGRESS);
	CHECK(passes("from_net", PEER4, UNDERLAY4, IPPROTO_ICMP, PONG4));
	CHECK(!passes("from_net", PEER4, UNDERLAY4, IPPROTO_ICMP, PING4));
}

static void what_the_node_says_to_many_is_asked_of_its_egress_only(void)
{
	close_all("nodes-from");
	CHECK(passes("to_net", UNDERLAY4, "255.255.255.255", IPPROTO_UDP, 5353) && passes("to_net", UNDERLAY4, "224.0.0.251", IPPROTO_UDP, 5353));
	CHECK(passes("to_net", UNDERLAY6, "ff02::fb", IPPROTO_UDP, 5353));
	close_all("nodes");
	CHECK(!passes("to_net", UNDERLAY4, "224.0.0.251", IPPROTO_UDP, 5353) && !passes("to_net", UNDERLAY6, "ff02::fb", IPPROTO_UDP, 5353));
	CHECK(passes("to_net", UNDERLAY4, "255.255.255.255", IPPROTO_UDP, 68));
	CHECK(passes("to_net", UNDERLAY4, "224.0.0.22", IPPROTO_IGMP, 0));
	CHECK(passes("from_net", PEER4, "224.0.0.251", IPPROTO_UDP, 5353));
}

int main(void)
{
	harness_init();
	dp_config.host = true;
	harness_reopen();
	RUN(a_trial_ends_without_an_agent);
	RUN(after_a_trial_the_programs_go_back_to_what_was_confirmed);
	RUN(connections_older_than_the_policy_go_on_for_a_while);
	RUN(what_the_node_goes_on_with_is_known_again);
	RUN(what_neighbours_say_to_many_is_for_the_node);
	RUN(an_echo_does_not_ride_on_the_nodes_own);
	RUN(what_the_node_says_to_many_is_asked_of_its_egress_only);
	policy_apply_forget(&applied);
	policy_free(compiler);
	harness_done();
	return test_end();
}
