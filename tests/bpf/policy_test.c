/* SPDX-License-Identifier: Apache-2.0 */
/* Policy as packets meet it: what the flow table remembers, who may answer, what an update and a restart let through, full maps. */
#include "agent/policy_apply.h"
#include "base/test.h"
#include "datapath/priv.h"
#include "harness.h"
#include "policy/offline.h"
#include "steps.h"

#include <bpf/bpf.h>
#include <err.h>

static struct policy_apply applied;
static struct offline *cluster;
static struct frame f;

static void put(json_t *object)
{
	char *error = NULL;

	if (offline_put(cluster, object, NULL, &error) < 0)
		errx(1, "%s", error);
	json_decref(object);
}

static void put_pod(const char *name, const char *ip)
{
	put(json_pack("{ss, s{ss, ss, s{ss}}, s{}, s{s[{ss}]}}", "kind", "Pod", "metadata", "namespace", "default", "name", name, "labels",
		      "app", name, "spec", "status", "podIPs", "ip", ip));
}

/* Pods with label app=@to take UDP and TCP port 2000 from app=@from. */
static void allow(const char *name, const char *from, const char *to)
{
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{s[{s{s{ss}}}], s[{ss, si}, {ss, si}]}]}}", "kind", "NetworkPolicy", "metadata",
		      "namespace", "default", "name", name, "spec", "podSelector", "matchLabels", "app", to, "policyTypes", "Ingress", "ingress",
		      "from", "podSelector", "matchLabels", "app", from, "ports", "protocol", "UDP", "port", 2000, "protocol", "TCP", "port",
		      2000));
}

static void apply(void)
{
	offline_compile(cluster, true);
	CHECK_INT(policy_apply(&applied, dp, cluster->maps), 0);
	while (policy_apply_is_leaving(&applied))
		CHECK_INT(policy_apply_finish(&applied), 0);
}

/* A fresh cluster of pods A and B, without policies. */
static void start(void)
{
	flows_clear();
	offline_free(cluster);
	cluster = offline_new();
	put(json_pack("{ss, s{ss}}", "kind", "Namespace", "metadata", "name", "default"));
	put_pod("a", A4);
	put_pod("b", B4);
	apply();
	last_drop();
}

static void packet(bool from_a, uint8_t protocol, uint16_t sport, uint16_t dport, const char *flags)
{
	frame_ether(&f, from_a ? mac_host_a : mac_host_b, from_a ? mac_pod_a : mac_pod_b, ETH_P_IP);
	frame_ip(&f, from_a ? A4 : B4, from_a ? B4 : A4, protocol);
	if (protocol == IPPROTO_TCP)
		frame_tcp(&f, sport, dport, flags);
	else
		frame_udp(&f, sport, dport);
	frame_end(&f);
}

/* Return: does it pass? What is dropped is dropped by policy. */
static bool passes(bool from_a, uint8_t protocol, uint16_t sport, uint16_t dport, const char *flags)
{
	enum drop_reason why;

	packet(from_a, protocol, sport, dport, flags);
	last_drop();
	if (run("from_pod", &f, from_a ? if_a : if_b).verdict != TC_ACT_SHOT)
		return true;
	why = last_drop();
	CHECK(drop_is_by_policy(why));
	return false;
}

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

static int echo(bool from_a, uint8_t type, uint16_t id)
{
	frame_ether(&f, from_a ? mac_host_a : mac_host_b, from_a ? mac_pod_a : mac_pod_b, ETH_P_IP);
	frame_ip(&f, from_a ? A4 : B4, from_a ? B4 : A4, IPPROTO_ICMP);
	frame_icmp(&f, type, 0, id);
	frame_end(&f);
	return run("from_pod", &f, from_a ? if_a : if_b).verdict;
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

/* Another compiler, which counts anew, beside what is in force. */
static void a_restart_takes_over(void)
{
	start();
	allow("only-a", "a", "b");
	apply();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL) && !passes(true, IPPROTO_UDP, 1000, 2001, NULL));
	policy_apply_forget(&applied);
	harness_reopen();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL) && !passes(true, IPPROTO_UDP, 1000, 2001, NULL)); /* nobody has applied yet */
	offline_free(cluster);
	cluster = offline_new();
	put(json_pack("{ss, s{ss}}", "kind", "Namespace", "metadata", "name", "default"));
	put_pod("b", B4);
	put_pod("a", A4);
	allow("others", "nobody", "a");
	allow("only-a", "a", "b");
	apply();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL) && !passes(true, IPPROTO_UDP, 1000, 2001, NULL));
	CHECK(!passes(false, IPPROTO_UDP, 1, 2, NULL));
}

/* Killed after the endpoint has got its new policy, before flows are told that there is one. The next agent may have no API to ask. */
static void an_agent_that_died_between_switch_and_commit_leaves_no_verdicts(void)
{
	struct policy_endpoint_value locked = { .policy = POLICY_LOCKED };
	struct addr b = addr_of(B4);

	start();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S"));
	CHECK(passes(false, IPPROTO_TCP, 2000, 1000, "SA"));
	CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &b, &locked), 0);
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "A")); /* as remembered */
	policy_apply_forget(&applied);
	harness_reopen();
	CHECK(!passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "A")); /* what the API says */
}

static unsigned count_rules(void)
{
	struct policy_rule_key key, next, *last = NULL;
	unsigned n = 0;

	for (; bpf_map_get_next_key(dp->maps[MAP_POLICY_RULES], last, &next) == 0; n++) {
		key = next;
		last = &key;
	}
	return n;
}

static void update(void)
{
	offline_compile(cluster, true);
	CHECK_INT(policy_apply(&applied, dp, cluster->maps), 0);
}

/* A program may have looked up its policy a moment before. */
static void what_goes_rests_whatever_comes_meanwhile(void)
{
	unsigned before;

	start();
	allow("only-a", "a", "b");
	apply();
	before = count_rules();
	CHECK(before > 0);
	offline_del(cluster, "NetworkPolicy", "default", "only-a");
	update();
	put_pod("c", "10.244.0.77");
	update();
	CHECK_INT(count_rules(), before);
	CHECK_INT(policy_apply_finish(&applied), 0); /* it may come a moment after the update */
	CHECK_INT(count_rules(), before);
	put_pod("d", "10.244.0.78");
	update();
	CHECK_INT(policy_apply_finish(&applied), 0);
	CHECK_INT(count_rules(), 0);
	apply();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2001, NULL));
}

/* A closed map stands for one that cannot be written: B has changed over by then, and C's address was to go. */
static void an_update_that_fails_half_way_is_felt_as_far_as_it_came(void)
{
	int addrs;

	start();
	put_pod("c", "10.244.0.77");
	apply();
	CHECK(passes(true, IPPROTO_TCP, 1000, 2000, "S"));
	CHECK(passes(false, IPPROTO_TCP, 2000, 1000, "SA"));
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default", "name", "none", "spec",
		      "podSelector", "matchLabels", "app", "b", "policyTypes", "Ingress"));
	offline_del(cluster, "Pod", "default", "c");
	offline_compile(cluster, true);
	addrs = dp->maps[MAP_POLICY_ADDRS];
	dp->maps[MAP_POLICY_ADDRS] = -1;
	CHECK_INT(policy_apply(&applied, dp, cluster->maps), -EBADF);
	dp->maps[MAP_POLICY_ADDRS] = addrs;
	CHECK(!passes(true, IPPROTO_TCP, 1000, 2000, "A"));
	apply();
	CHECK(!passes(true, IPPROTO_TCP, 1000, 2000, "A"));
}

/* All pods: nothing may come in, or nothing go out. */
static void deny_all(const char *direction)
{
	put(json_pack("{ss, s{ss, ss}, s{s{}, s[s]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default", "name", "all", "spec", "podSelector",
		      "policyTypes", direction));
}

struct halfway {
	bool at_once; /* each change by itself: the planted fault */
	unsigned passed;
	uint16_t port;
};

static void ask_both_ways(struct halfway *h)
{
	h->port++;
	h->passed += passes(true, IPPROTO_UDP, h->port, 2000, NULL) + passes(false, IPPROTO_UDP, h->port, 2001, NULL);
}

static int change_and_ask(const struct policy_change *c, void *ctx)
{
	struct halfway *h = ctx;
	enum dp_policy_map map = policy_apply_dp_map(c->map);

	if (c->step == POLICY_STEP_REMOVE)
		return 0;
	CHECK_INT(c->turns && !h->at_once ? datapath_policy_turn(dp, map, c->key, c->value) : datapath_policy_change(dp, map, c->key, c->value), 0);
	ask_both_ways(h);
	return 0;
}

/* What has just been applied stands beside what was before, until the revision that is in force. */
static void has_turned(const char *pod)
{
	struct addr key = addr_of(pod);
	struct policy_endpoint_turn t;
	struct policy_state state;
	uint32_t zero = 0;

	CHECK_INT(bpf_map_lookup_elem(dp->maps[MAP_POLICY_ENDPOINTS], &key, &t), 0);
	CHECK_INT(bpf_map_lookup_elem(dp->maps[MAP_POLICY_STATE], &zero, &state), 0);
	CHECK(t.policy >= POLICY_ID_FIRST && t.before.policy == POLICY_OPEN);
	CHECK_INT(t.since, state.revision);
}

/* Denied at one end before, at the other afterwards: there is no packet that meets half of it. Return: how many passed. */
static unsigned turn_round(bool at_once)
{
	struct halfway h = { .at_once = at_once, .port = 1000 };
	struct policy_maps *old;

	start();
	deny_all("Egress");
	apply();
	has_turned(A4);
	has_turned(B4);
	ask_both_ways(&h);
	old = policy_maps_get(cluster->maps);
	deny_all("Ingress");
	offline_compile(cluster, true);
	CHECK_INT(policy_maps_diff(old, cluster->maps, change_and_ask, &h, NULL), 0);
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
	ask_both_ways(&h);
	CHECK(drops_of(DROP_POLICY_INGRESS) > 0);
	policy_maps_put(old);
	policy_apply_forget(&applied);
	harness_reopen();
	return h.passed;
}

static int change_one_endpoint(const struct policy_change *c, _unused_ void *ctx)
{
	enum dp_policy_map map = policy_apply_dp_map(c->map);

	CHECK_INT(c->turns ? datapath_policy_turn(dp, map, c->key, c->value) : datapath_policy_change(dp, map, c->key, c->value), 0);
	return c->map == POLICY_MAP_ENDPOINTS;
}

/* The next agent may have no API to ask: it goes on with all that was in force, not with some of what was to come. */
static void an_agent_that_died_while_it_wrote_leaves_what_was_in_force(void)
{
	struct halfway h = { .port = 3000 };
	uint64_t by_egress;
	struct policy_maps *old;

	start();
	deny_all("Egress");
	apply();
	old = policy_maps_get(cluster->maps);
	deny_all("Ingress");
	offline_compile(cluster, true);
	CHECK_INT(policy_maps_diff(old, cluster->maps, change_one_endpoint, NULL, NULL), 1);
	policy_maps_put(old);
	policy_apply_forget(&applied);
	harness_reopen();
	by_egress = drops_of(DROP_POLICY_EGRESS);
	ask_both_ways(&h);
	CHECK_INT(h.passed, 0);
	CHECK_INT(drops_of(DROP_POLICY_EGRESS), by_egress + 2);
	apply();
	ask_both_ways(&h);
	CHECK_INT(h.passed, 0);
	CHECK_INT(drops_of(DROP_POLICY_EGRESS), by_egress + 2);
}

static void an_update_is_met_at_both_ends_or_at_none(void)
{
	CHECK_INT(turn_round(false), 0);
	CHECK(turn_round(true) > 0); /* it would be seen */
}

static void put_many(unsigned n)
{
	char name[32], cidr[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		snprintf(cidr, sizeof(cidr), "172.16.%u.0/24", i);
		put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{s[{s{ss}}]}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default",
			      "name", name, "spec", "podSelector", "matchLabels", "app", "b", "policyTypes", "Ingress", "ingress", "from",
			      "ipBlock", "cidr", cidr));
	}
}

static void a_policy_that_does_not_fit_locks_down_its_pods_only(void)
{
	char name[32];

	dp_config.policy_rule_max = 64;
	policy_apply_forget(&applied);
	harness_reopen();
	start();
	put_many(200);
	allow("only-b", "b", "a");
	apply(); /* both are new: the large one leaves room */
	CHECK_INT(applied.locked, 1);
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK_STR(drop_reason_label(DROP_POLICY_LOCKED), "policy_locked");
	CHECK(drops_of(DROP_POLICY_LOCKED) > 0);
	offline_del(cluster, "NetworkPolicy", "default", "only-b");
	allow("only-b", "nobody", "a");
	apply(); /* A's policy can still change */
	CHECK_INT(applied.locked, 1);
	for (unsigned i = 5; i < 200; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		offline_del(cluster, "NetworkPolicy", "default", name);
	}
	apply();
	CHECK_INT(applied.locked, 0);
	allow("only-a", "a", "b");
	apply();
	CHECK(passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	dp_config.policy_rule_max = 0;
}

static json_t *excepts(unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_sprintf("10.8.%u.0/24", i));
	json_array_append_new(list, json_string(A4 "/32")); /* the last by its address */
	return list;
}

/* B takes all of 10.0.0.0/8 but @n networks, and A. */
static void allow_but(unsigned n)
{
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{s[{s{ss, so}}]}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default",
		      "name", "most", "spec", "podSelector", "matchLabels", "app", "b", "policyTypes", "Ingress", "ingress", "from", "ipBlock", "cidr",
		      "10.0.0.0/8", "except", excepts(n)));
}

static void start_with_addresses(unsigned room)
{
	dp_config.policy_addr_max = room;
	policy_apply_forget(&applied);
	harness_reopen();
	start();
}

static bool c_reaches_a(uint16_t port)
{
	frame_ether(&f, mac_host_a, mac_other, ETH_P_IP);
	frame_ip(&f, DIRECT4, A4, IPPROTO_UDP);
	frame_udp(&f, port, 2000);
	frame_end(&f);
	return run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT;
}

/* The prefix around it, which is allowed, would answer in its place. */
static void an_exception_without_room_locks_down_who_makes_it_and_nobody_else(void)
{
	uint64_t commits;

	start_with_addresses(64);
	allow_but(200);
	put_pod("c", DIRECT4);
	allow("only-c", "c", "a");
	apply();
	CHECK(applied.room.n > 0);
	CHECK_INT(applied.locked, 1);
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	CHECK(c_reaches_a(1000));
	commits = applied.commits;
	apply(); /* while there is no room nothing is written, and no flow judged anew */
	CHECK_INT(applied.commits, commits);
	CHECK_INT(applied.locked, 1);
	offline_del(cluster, "NetworkPolicy", "default", "only-c");
	allow("only-c", "nobody", "a");
	apply();
	CHECK(!c_reaches_a(1000)); /* A's can change */
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	allow_but(5);
	apply();
	CHECK_INT(applied.locked, 0);
	CHECK_INT(applied.room.n, 0);
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL)); /* it is an exception */
}

static void put_node(const char *name, const char *ip)
{
	put(json_pack("{ss, s{ss}, s{s[s]}, s{s[{ss, ss}]}}", "kind", "Node", "metadata", "name", name, "spec", "podCIDRs", "10.9.1.0/24", "status",
		      "addresses", "type", "InternalIP", "address", ip));
}

static bool reaches_node(const char *ip)
{
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, ip, IPPROTO_UDP);
	frame_udp(&f, 1000, 2000);
	frame_end(&f);
	last_drop();
	return run("from_pod", &f, if_a).verdict != TC_ACT_SHOT || !drop_is_by_policy(last_drop());
}

/* Without room a pod is one that nobody knows, and allowed less; a node would be the world, and denied less. */
static void nodes_find_room_before_pods_and_without_it_nobody_takes_them_for_the_world(void)
{
	char name[32], ip[32];

	start_with_addresses(64);
	for (unsigned i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		snprintf(ip, sizeof(ip), "10.9.1.%u", 20 + i);
		put_pod(name, ip);
	}
	put_node("n1", "192.168.77.1");
	put(json_pack("{ss, s{ss}, s{ss, si, s{s{s{ss}}}, s[{ss, s[{s{}}]}]}}", "kind", "ClusterNetworkPolicy", "metadata", "name", "no-nodes", "spec",
		      "tier", "Admin", "priority", 1, "subject", "namespaces", "matchLabels", "kubernetes.io/metadata.name", "default", "egress",
		      "action", "Deny", "to", "nodes"));
	apply();
	CHECK(applied.room.n > 0);
	CHECK_INT(applied.locked, 0);
	CHECK(!reaches_node("192.168.77.1") && reaches_node("192.168.77.2"));
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "n%u", 2 + i);
		snprintf(ip, sizeof(ip), "192.168.78.%u", i);
		put_node(name, ip);
	}
	apply();
	CHECK(applied.locked > 0);
	CHECK(!reaches_node("192.168.78.199"));
	start_with_addresses(0);
}

/* It writes beside what the one before has written. */
static void a_restart_with_tables_that_are_all_used_locks_nobody_down(void)
{
	start_with_addresses(64);
	allow_but(55);
	apply();
	CHECK_INT(applied.room.n, 0);
	policy_apply_forget(&applied);
	harness_reopen();
	offline_compile(cluster, true);
	CHECK_INT(policy_apply(&applied, dp, cluster->maps), 0);
	CHECK_INT(applied.room.n + applied.locked, 0);
	start_with_addresses(0);
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
	RUN(what_only_observes_is_told_once_and_denies_nothing);
	RUN(from_observing_to_enforcing_is_felt_by_the_next_packet);
	RUN(an_observing_policy_allows_nothing);
	RUN(without_a_SYN_both_directions_are_judged);
	RUN(errors_about_denied_flows_do_not_pass);
	RUN(GHSA_c66w_hq56_4q97_an_echo_does_not_ride_on_a_flow);
	RUN(its_own_node_always_reaches_a_pod);
	RUN(a_restart_takes_over);
	RUN(an_agent_that_died_between_switch_and_commit_leaves_no_verdicts);
	RUN(what_goes_rests_whatever_comes_meanwhile);
	RUN(an_agent_that_died_while_it_wrote_leaves_what_was_in_force);
	RUN(an_update_is_met_at_both_ends_or_at_none);
	RUN(an_update_that_fails_half_way_is_felt_as_far_as_it_came);
	RUN(established_packets_take_the_same_steps_with_10000_policies);
	RUN(a_policy_that_does_not_fit_locks_down_its_pods_only);
	RUN(an_exception_without_room_locks_down_who_makes_it_and_nobody_else);
	RUN(nodes_find_room_before_pods_and_without_it_nobody_takes_them_for_the_world);
	RUN(a_restart_with_tables_that_are_all_used_locks_nobody_down);
	policy_apply_forget(&applied);
	offline_free(cluster);
	harness_done();
	return test_end();
}
