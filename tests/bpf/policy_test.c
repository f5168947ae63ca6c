/* SPDX-License-Identifier: Apache-2.0 */
/* Policy as packets meet it: what the flow table remembers, answers, what only observes, and what a packet costs with many policies. */
#include "policy_cluster.h"
#include "datapath/priv.h"
#include "steps.h"

static void replies_pass_and_new_flows_do_not(void)
{
	start();
	allow("only-a", "a", "b");
	allow("nobody", "nobody", "a"); /* A takes nothing */
	apply();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK(passes(false, IPPROTO_UDP, 2000, 1000, NULL)); /* its answer */
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2001, NULL)); /* another port */
	CHECK(!passes(false, IPPROTO_UDP, 3000, 1000, NULL)); /* B begins */
}

static void a_change_is_felt_by_the_next_packet(void)
{
	start();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S"));
	CHECK(passes(false, IPPROTO_TCP, 2000, 1000, "SA"));
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	allow("nobody", "nobody", "b");
	apply();
	CHECK(!passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	CHECK(!passes(false, IPPROTO_TCP, 2000, 1000, "A")); /* nor does the answer go on as if B had begun */
	CHECK(passes(false, IPPROTO_TCP, 2000, 1001, "S"));  /* B may begin */
	offline_del(cluster, "NetworkPolicy", "default", "nobody");
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "A"));
}

static void a_denied_datagram_does_not_bar_the_way_back(void)
{
	start();
	allow("nobody", "nobody", "b");
	apply();
	CHECK(!passes(true, IPPROTO_UDP, 53, 54, NULL));
	CHECK(passes(false, IPPROTO_UDP, 54, 53, NULL)); /* B begins a flow of its own between the same ports */
	CHECK(passes(true, IPPROTO_UDP, 53, 54, NULL));  /* which A answers */
}

/* As if the flows had been seen so long ago, all of them. */
static void let_pass_by(uint32_t seconds)
{
	struct flow_key key, *from = NULL;
	struct flow_state f;
	int fd = datapath_map_fd(dp, "flows_new");

	for (; bpf_map_get_next_key(fd, from, &key) == 0; from = &key) {
		CHECK_INT(bpf_map_lookup_elem(fd, &key, &f), 0);
		f.seen -= FLOW_TICKS(seconds);
		CHECK_INT(bpf_map_update_elem(fd, &key, &f, BPF_EXIST), 0);
	}
}

/* What the receiver says after the change may be the answer to what passed before it; not for ever, however often both speak. */
static void a_late_answer_opens_nothing(void)
{
	for (uint16_t judged = 0; judged < 2; judged++) {
		uint16_t port = 4000 + judged; /* flows outlive a start() */

		start();
		if (judged)
			allow("a", "a", "b");
		apply();
		CHECK(passes(true, IPPROTO_UDP, port, 2000, NULL));
		offline_del(cluster, "NetworkPolicy", "default", "a");
		allow("nobody", "nobody", "b");
		apply();
		CHECK(!passes(true, IPPROTO_UDP, port, 2000, NULL));
		CHECK(!passes(false, IPPROTO_UDP, 2000, port, NULL));
		CHECK(!passes(true, IPPROTO_UDP, port, 2000, NULL));
		CHECK(passes(false, IPPROTO_UDP, 2001, port, NULL)); /* from another port it is one of its own */
		for (int i = 0; i < 3; i++) {
			let_pass_by(i < 2 ? 10 : FLOW_TIMEOUT_NEW - 19);
			CHECK(!passes(true, IPPROTO_UDP, port, 2000, NULL));
			CHECK(i == 2 || !passes(false, IPPROTO_UDP, 2000, port, NULL));
		}
		CHECK(passes(false, IPPROTO_UDP, 2000, port, NULL));
	}
}

static unsigned n_audits;
static struct dp_event audit;

static void on_event(const struct dp_event *e, void *ctx _unused_)
{
	if (e->kind != DP_EVENT_AUDIT)
		return;
	audit = *e;
	n_audits++;
}

/* Audits told since the last call; @audit is the last one. */
static unsigned audits(void)
{
	n_audits = 0;
	CHECK(datapath_read_events(dp, 1024, on_event, NULL) >= 0);
	return n_audits;
}

static uint64_t audits_counted(void)
{
	struct dp_counter counters[DROP_POLICY_REASONS];
	uint64_t n = 0;

	CHECK_INT(datapath_read_audits(dp, counters), 0);
	for (int i = 0; i < DROP_POLICY_REASONS; i++)
		n += counters[i].packets;
	return n;
}

static void observe(const char *name, bool on)
{
	json_t *object = json_deep_copy(offline_find(cluster, "NetworkPolicy", "default", name));

	json_object_set_new(json_object_get(object, "metadata"), "annotations", json_pack("{ss}", "weft.dev/mode", on ? "observe" : "enforce"));
	put(object);
}

static void what_only_observes_is_told_once_and_denies_nothing(void)
{
	char rule[200];
	uint64_t before;

	start();
	allow("only-a", "nobody", "b");
	observe("only-a", true);
	apply();
	audits();
	before = audits_counted();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK_INT(audits(), 1);
	policy_rule_format(cluster->policy, audit.rule, rule, sizeof(rule));
	CHECK_STR(rule, "NetworkPolicy default/only-a isolates for ingress");
	CHECK_INT(audit.reason, DROP_POLICY_INGRESS);
	CHECK_INT(audit.dport, 2000);
	CHECK(passes(false, IPPROTO_UDP, 2000, 1000, NULL) && passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	put_pod("c", "10.244.0.77");
	apply(); /* judged anew, and no otherwise */
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK_INT(audits(), 0);
	CHECK_INT(audits_counted(), before + 1);
}

static void from_observing_to_enforcing_is_felt_by_the_next_packet(void)
{
	start();
	allow("only-a", "nobody", "b");
	observe("only-a", true);
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S"));
	CHECK(passes(false, IPPROTO_TCP, 2000, 1000, "SA"));
	observe("only-a", false);
	apply();
	audits();
	CHECK(!passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	observe("only-a", true);
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	CHECK_INT(audits(), 1);
}

/* What is in force decides alone, and what it denies is no audit. */
static void an_observing_policy_allows_nothing(void)
{
	start();
	allow("in-force", "nobody", "b");
	allow("only-a", "a", "b");
	observe("only-a", true);
	apply();
	audits();
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK_INT(audits(), 0);
}

static void without_a_SYN_both_directions_are_judged(void)
{
	start();
	allow("only-a", "a", "b");
	allow("nobody", "nobody", "a");
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S"));
	CHECK(!passes(true, IPPROTO_TCP, 1001, 2000, "A"));  /* as B's connection to port 1001 it would not be allowed */
	CHECK(!passes(false, IPPROTO_TCP, 2000, 1002, "SA")); /* an answer that nobody asked for */
}

/* What B says about A's packet to port 2000. */
static bool error_passes(void)
{
	struct frame quoted;

	packet(true, IPPROTO_UDP, 1000, 2000, NULL);
	quoted = f;
	frame_ether(&f, mac_host_b, mac_pod_b, ETH_P_IP);
	frame_ip(&f, B4, A4, IPPROTO_ICMP);
	frame_icmp(&f, 3, 3, 0);
	frame_put(&f, quoted.data + 14, quoted.len - 14);
	frame_end(&f);
	last_drop();
	if (run("from_pod", &f, if_b).verdict != TC_ACT_SHOT)
		return true;
	CHECK_STR(drop_reason_label(last_drop()), "icmp_unrelated");
	return false;
}

/* Also before the flow's next packet is judged, after a change. */
static void errors_about_denied_flows_do_not_pass(void)
{
	start();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL) && error_passes());
	allow("nobody", "nobody", "b");
	apply();
	CHECK(!error_passes());
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL) && !error_passes());
	observe("nobody", true);
	apply();
	CHECK(error_passes());
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL) && error_passes());
}

static int echo_between(const char *a, const char *b, bool from_a, uint8_t type, uint16_t id)
{
	bool v4 = !strchr(a, ':');

	frame_ether(&f, from_a ? mac_host_a : mac_host_b, from_a ? mac_pod_a : mac_pod_b, v4 ? ETH_P_IP : ETH_P_IPV6);
	frame_ip(&f, from_a ? a : b, from_a ? b : a, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	frame_icmp(&f, type, 0, id);
	frame_end(&f);
	return run("from_pod", &f, from_a ? if_a : if_b).verdict;
}

static int echo(bool from_a, uint8_t type, uint16_t id)
{
	return echo_between(A4, B4, from_a, type, id);
}

static int echo6(bool from_a, uint8_t type, uint16_t id)
{
	return echo_between(A6, B6, from_a, type, id);
}

/* A conversation between two ends lets no other one pass: neither an echo request, nor an answer to none, whatever its identifier. */
static void GHSA_c66w_hq56_4q97_an_echo_does_not_ride_on_a_flow(void)
{
	start();
	allow("port-2000", "a", "b");
	apply();
	for (int after = 0; after < 2; after++) {
		CHECK_INT(echo(true, 8, 2000), TC_ACT_SHOT);
		CHECK_INT(echo(true, 8, 1000), TC_ACT_SHOT);
		CHECK_INT(echo(true, 0, 2000), TC_ACT_SHOT);
		CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
		CHECK(passes(false, IPPROTO_UDP, 2000, 1000, NULL));
		CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	}
	CHECK(echo(false, 8, 7) != TC_ACT_SHOT); /* its own, and what A answers */
	CHECK(echo(true, 0, 7) != TC_ACT_SHOT);
}

/* Who is pinged pings back with the same identifier: that is no answer. Nor does it keep the conversation alive. */
static void GHSA_c66w_hq56_4q97_an_echo_does_not_ride_on_the_other_ends(void)
{
	static const struct {
		int (*echo)(bool from_a, uint8_t type, uint16_t id);
		uint8_t request, reply, timestamp;
	} families[] = { { echo, 8, 0, 13 }, { echo6, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY, 139 } };

	start();
	put_pod("a6", A6);
	put_pod("b6", B6);
	allow("nobody", "nobody", "a"); /* A takes nothing, and asks whom it likes */
	allow("nobody6", "nobody", "a6");
	apply();
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		uint8_t request = families[i].request, reply = families[i].reply;

		CHECK_INT(families[i].echo(false, request, 77), TC_ACT_SHOT);
		for (int round = 0; round < 3; round++) {
			CHECK(families[i].echo(true, request, 78) != TC_ACT_SHOT);
			CHECK_INT(families[i].echo(false, request, 78), TC_ACT_SHOT);
			CHECK_INT(last_drop(), DROP_POLICY_INGRESS);
			CHECK(families[i].echo(false, reply, 78) != TC_ACT_SHOT);
		}
		CHECK_INT(families[i].echo(false, request, 77), TC_ACT_SHOT);
		CHECK(families[i].echo(true, request, 77) != TC_ACT_SHOT); /* what was denied bars nothing */
		CHECK(families[i].echo(false, reply, 77) != TC_ACT_SHOT);
		CHECK(families[i].echo(true, families[i].timestamp, 0) != TC_ACT_SHOT);
		CHECK_INT(families[i].echo(false, families[i].timestamp, 0), TC_ACT_SHOT);
		CHECK(families[i].echo(true, reply, 301) != TC_ACT_SHOT); /* an answer to nothing */
		CHECK_INT(families[i].echo(false, request, 301), TC_ACT_SHOT);
	}
	offline_del(cluster, "NetworkPolicy", "default", "nobody");
	apply();
	CHECK(echo(false, 8, 78) != TC_ACT_SHOT && echo(true, 0, 78) != TC_ACT_SHOT); /* both ask, both may */
	CHECK(echo(true, 8, 78) != TC_ACT_SHOT && echo(false, 0, 78) != TC_ACT_SHOT);
}

/* @tag: 0 of an INIT only. */
static bool sctp_passes(bool from_a, uint16_t sport, uint16_t dport, uint32_t tag)
{
	uint8_t header[16] = { sport >> 8, sport, dport >> 8, dport, tag >> 24, tag >> 16, tag >> 8, tag, [12] = tag ? 2 : 1, [15] = 4 };

	frame_ether(&f, from_a ? mac_host_a : mac_host_b, from_a ? mac_pod_a : mac_pod_b, ETH_P_IP);
	frame_ip(&f, from_a ? A4 : B4, from_a ? B4 : A4, IPPROTO_SCTP);
	frame_put(&f, header, sizeof(header));
	frame_end(&f);
	return run("from_pod", &f, from_a ? if_a : if_b).verdict != TC_ACT_SHOT;
}

/* The same ports, begun from the other end: as a TCP connection over what another one left. */
static void an_association_from_the_other_end_is_judged(void)
{
	start();
	allow("nobody", "nobody", "a");
	apply();
	CHECK(!sctp_passes(false, 2906, 2905, 0));
	CHECK(sctp_passes(true, 2905, 2905, 0));
	CHECK(!sctp_passes(false, 2905, 2905, 0));
	CHECK(sctp_passes(false, 2905, 2905, 5));
	CHECK(sctp_passes(true, 2905, 2905, 6));
	CHECK(!sctp_passes(false, 2905, 2905, 0));
	CHECK_INT(last_drop(), DROP_POLICY_INGRESS);
	CHECK(sctp_passes(false, 2905, 2905, 5));
	CHECK(sctp_passes(true, 2905, 2905, 0)); /* A may begin anew */
}

/* An association, or a ping, of the other end that policy has come to deny bars nobody who may: what it says is then the answer. */
static void who_may_ask_is_not_barred_by_the_others_denial(void)
{
	struct flow_state state;

	for (int moved = 0; moved < 2; moved++) {
		start();
		CHECK(sctp_passes(true, 2905, 2905, 0));
		CHECK(sctp_passes(false, 2905, 2905, 5));
		if (moved) {
			CHECK(sctp_passes(true, 2905, 2905, 6));
			CHECK(flow_moved(IPPROTO_SCTP, A4, 2905, B4, 2905, &state));
		}
		CHECK(echo(true, 8, 7) != TC_ACT_SHOT && echo(false, 0, 7) != TC_ACT_SHOT);
		allow("nobody", "nobody", "b");
		apply();
		CHECK(sctp_passes(false, 2905, 2905, 0)); /* the first one that B sends */
		CHECK(sctp_passes(true, 2905, 2905, 7));
		CHECK(sctp_passes(false, 2905, 2905, 8));
		CHECK(!sctp_passes(true, 2905, 2905, 0));
		CHECK_INT(last_drop(), DROP_POLICY_INGRESS);
		CHECK(sctp_passes(true, 2905, 2905, 7)); /* as before */
		CHECK(echo(false, 8, 7) != TC_ACT_SHOT && echo(true, 0, 7) != TC_ACT_SHOT);
		CHECK_INT(echo(true, 8, 7), TC_ACT_SHOT);
		CHECK(echo(false, 8, 7) != TC_ACT_SHOT && echo(true, 0, 7) != TC_ACT_SHOT);
		allow("nobody2", "nobody", "a");
		apply();
		CHECK(!sctp_passes(true, 2905, 2905, 7) && !sctp_passes(false, 2905, 2905, 0));
		CHECK(echo(false, 8, 7) == TC_ACT_SHOT && echo(true, 0, 7) == TC_ACT_SHOT);
	}
}

/* Nor is the flow of the one that began it the asker's while it may pass. */
static void who_asks_back_does_not_take_the_flow(void)
{
	start();
	CHECK(sctp_passes(true, 2905, 2905, 0) && sctp_passes(false, 2905, 2905, 5));
	put_pod("c", "10.244.0.77");
	allow("other", "nobody", "c"); /* another revision, and nothing new for these two */
	apply();
	CHECK(sctp_passes(false, 2905, 2905, 0));
	allow("nobody", "nobody", "a");
	apply();
	CHECK(!sctp_passes(false, 2905, 2905, 0));
	CHECK(sctp_passes(true, 2905, 2905, 6) && sctp_passes(false, 2905, 2905, 5));
}

/* Who asks back is told of as who asks, once as well. */
static void what_only_observes_tells_of_who_asks_back(void)
{
	start();
	allow("nobody", "nobody", "a");
	observe("nobody", true);
	apply();
	audits();
	CHECK(echo(true, 8, 7) != TC_ACT_SHOT && echo(false, 0, 7) != TC_ACT_SHOT);
	CHECK_INT(audits(), 0);
	for (int round = 0; round < 3; round++) {
		CHECK(echo(false, 8, 7) != TC_ACT_SHOT && echo(true, 0, 7) != TC_ACT_SHOT);
		CHECK(echo(true, 8, 7) != TC_ACT_SHOT && echo(false, 0, 7) != TC_ACT_SHOT);
		CHECK_INT(audits(), round == 0);
		CHECK_INT(audit.reason, DROP_POLICY_INGRESS);
	}
	put_pod("c", "10.244.0.77");
	apply();
	CHECK(echo(false, 8, 7) != TC_ACT_SHOT);
	CHECK_INT(audits(), 0);
	observe("nobody", false);
	apply();
	CHECK(echo(false, 8, 7) == TC_ACT_SHOT && echo(true, 8, 7) != TC_ACT_SHOT);
}

/* A SYN is an answer to nothing, in whatever state the other end's connection is: the port from which a pod dialled may be one at which it listens. */
static void a_SYN_is_no_answer(void)
{
	static const char *const before[][3] = { { "S" }, { "S", "SA" }, { "S", "SA", "A" } };

	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		start();
		allow("nobody", "nobody", "a"); /* A takes nothing, and dials whom it likes */
		apply();
		for (int k = 0; k < 3 && before[i][k]; k++)
			CHECK(passes(k != 1, IPPROTO_TCP, k != 1 ? 5000 : 7777, k != 1 ? 7777 : 5000, before[i][k]));
		CHECK(!passes(false, IPPROTO_TCP, 7777, 5000, "S"));
		CHECK(!passes(false, IPPROTO_TCP, 7777, 5000, "SF"));
		CHECK(passes(true, IPPROTO_TCP, 5000, 7777, i < 2 ? "S" : "A")); /* both at once: SYN and SYN-ACK are enough */
		CHECK(passes(false, IPPROTO_TCP, 7777, 5000, "SA"));
		CHECK(passes(true, IPPROTO_TCP, 5000, 7777, "A"));
	}
	start();
	CHECK(passes(true, IPPROTO_TCP, 5000, 7777, "S"));
	CHECK(passes(false, IPPROTO_TCP, 7777, 5000, "S")); /* nobody forbids it */
	CHECK(passes(true, IPPROTO_TCP, 5000, 7777, "SA"));
	CHECK(passes(false, IPPROTO_TCP, 7777, 5000, "A"));
	allow("nobody", "nobody", "b");
	apply();
	CHECK(passes(false, IPPROTO_TCP, 7777, 5000, "A") && passes(true, IPPROTO_TCP, 5000, 7777, "A")); /* it is B's connection */
}

static void its_own_node_always_reaches_a_pod(void)
{
	start();
	allow("nobody", "nobody", "b");
	apply();
	for (int own = 0; own < 2; own++) {
		frame_ether(&f, mac_pod_b, mac_host_b, ETH_P_IP);
		frame_ip(&f, NODE4, B4, IPPROTO_TCP);
		frame_tcp(&f, 1000 + own, 2000, "S");
		frame_end(&f);
		harness_came_by = own ? 0 : if_uplink;
		CHECK_INT(run("to_pod", &f, if_b).verdict == TC_ACT_SHOT, !own);
	}
	harness_came_by = 0;
}

static struct steps steps_once(enum dp_hook hook, uint32_t ifindex, uint32_t came_by)
{
	struct bpf_object *obj = dp->objects[hook];
	const char *why = NULL;
	struct steps s;

	if (steps_of(bpf_object__find_program_by_name(obj, dp_hook_names[hook]), obj, &f, ifindex, came_by, &s, &why) < 0) {
		printf("# %s: %s\n", dp_hook_names[hook], why);
		CHECK(!why);
	}
	return s;
}

/* Of an established flow's next packet: the fewest of some, as now and then one does what the next thousands need not. */
static struct steps steps_established(enum dp_hook hook, uint32_t ifindex, uint32_t came_by)
{
	struct steps best = { .instructions = UINT32_MAX };

	for (int i = 0; i < 5; i++) {
		int verdict = run(dp_hook_names[hook], &f, ifindex).verdict;
		struct steps s = steps_once(hook, ifindex, came_by);

		CHECK_INT(s.verdict, verdict);
		best = s.instructions < best.instructions ? s : best;
	}
	CHECK_INT(best.changes, 0);
	return best;
}

static void packet_to_direct(bool from_a, const char *flags)
{
	frame_ether(&f, mac_host_a, from_a ? mac_pod_a : mac_other, ETH_P_IP);
	frame_ip(&f, from_a ? A4 : DIRECT4, from_a ? DIRECT4 : A4, IPPROTO_TCP);
	frame_tcp(&f, from_a ? 1000 : 2000, from_a ? 2000 : 1000, flags);
	frame_end(&f);
}

struct paths {
	struct steps there, back, out, in;
};

static struct paths measure_paths(void)
{
	struct paths p;

	packet(true, IPPROTO_TCP, 1000, 2000, "A");
	p.there = steps_established(HOOK_FROM_POD, if_a, 0);
	packet(false, IPPROTO_TCP, 2000, 1000, "A");
	p.back = steps_established(HOOK_FROM_POD, if_b, 0);
	packet_to_direct(true, "A");
	p.out = steps_established(HOOK_FROM_POD, if_a, 0);
	packet_to_direct(false, "A");
	p.in = steps_established(HOOK_FROM_NET, if_uplink, 0);
	return p;
}

static void check_same(const char *what, const struct steps *few, const struct steps *many)
{
	printf("# %s: %u instructions, %u look-ups\n", what, few->instructions, few->lookups);
	CHECK_INT(many->instructions, few->instructions);
	CHECK_INT(many->lookups, few->lookups);
}

static void put_blocks(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(json_pack("{ss, s{ss, so}, s{s{}, s[s, s], s[{s[{s{so}}]}], s[{}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default",
			      "name", json_sprintf("block%u", i), "spec", "podSelector", "policyTypes", "Ingress", "Egress", "ingress", "from",
			      "ipBlock", "cidr", json_sprintf("172.%u.%u.0/24", 16 + i / 256, i % 256), "egress"));
}

static void established_packets_take_the_same_steps_with_10000_policies(void)
{
	struct steps anew;
	struct paths few, many;
	struct flow_state flow;

	start();
	put(json_pack("{ss, s{ss, ss}, s{s{}, s[s, s], s[{}], s[{}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default", "name", "all",
		      "spec", "podSelector", "policyTypes", "Ingress", "Egress", "ingress", "egress"));
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S") && passes(false, IPPROTO_TCP, 2000, 1000, "SA"));
	packet_to_direct(true, "S");
	CHECK(run("from_pod", &f, if_a).verdict != TC_ACT_SHOT);
	packet_to_direct(false, "SA");
	CHECK(run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT);
	measure_paths(); /* both are established, and on their way into the table */
	CHECK(flow_moved(IPPROTO_TCP, A4, 1000, B4, 2000, &flow));
	CHECK(flow_moved(IPPROTO_TCP, A4, 1000, DIRECT4, 2000, &flow));
	few = measure_paths();
	put_blocks(10000);
	apply();
	packet(true, IPPROTO_TCP, 1000, 2000, "A");
	anew = steps_once(HOOK_FROM_POD, if_a, 0);
	CHECK(anew.lookups > few.there.lookups && anew.instructions > few.there.instructions); /* it is seen here */
	many = measure_paths();
	check_same("from_pod, to the other pod", &few.there, &many.there);
	check_same("from_pod, its answer", &few.back, &many.back);
	check_same("from_pod, to another node", &few.out, &many.out);
	check_same("from_net", &few.in, &many.in);
}

int main(void)
{
	harness_init();
	RUN(replies_pass_and_new_flows_do_not);
	RUN(a_change_is_felt_by_the_next_packet);
	RUN(a_denied_datagram_does_not_bar_the_way_back);
	RUN(a_late_answer_opens_nothing);
	RUN(what_only_observes_is_told_once_and_denies_nothing);
	RUN(from_observing_to_enforcing_is_felt_by_the_next_packet);
	RUN(an_observing_policy_allows_nothing);
	RUN(without_a_SYN_both_directions_are_judged);
	RUN(errors_about_denied_flows_do_not_pass);
	RUN(GHSA_c66w_hq56_4q97_an_echo_does_not_ride_on_a_flow);
	RUN(GHSA_c66w_hq56_4q97_an_echo_does_not_ride_on_the_other_ends);
	RUN(an_association_from_the_other_end_is_judged);
	RUN(who_may_ask_is_not_barred_by_the_others_denial);
	RUN(who_asks_back_does_not_take_the_flow);
	RUN(what_only_observes_tells_of_who_asks_back);
	RUN(a_SYN_is_no_answer);
	RUN(its_own_node_always_reaches_a_pod);
	RUN(established_packets_take_the_same_steps_with_10000_policies);
	return cluster_done();
}
