/* SPDX-License-Identifier: Apache-2.0 */
/* Updates of policy, half made ones too, and agents that die and start amid them, as packets meet them. */
#include "policy_cluster.h"
#include "datapath/priv.h"

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

int main(void)
{
	harness_init();
	RUN(a_restart_takes_over);
	RUN(an_agent_that_died_between_switch_and_commit_leaves_no_verdicts);
	RUN(what_goes_rests_whatever_comes_meanwhile);
	RUN(an_agent_that_died_while_it_wrote_leaves_what_was_in_force);
	RUN(an_update_is_met_at_both_ends_or_at_none);
	RUN(an_update_that_fails_half_way_is_felt_as_far_as_it_came);
	return cluster_done();
}
