/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of policy without room: who is locked down, and who is not. */
#include "policy_cluster.h"

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

/* ---- while it is applied ---- */

static bool (*looks)(void); /* asked at each instant at which something turns, or NULL */
static unsigned n_looks, n_refused;

int __real_datapath_policy_commit(struct datapath *datapath, uint64_t until);
int __wrap_datapath_policy_commit(struct datapath *datapath, uint64_t until);

int __wrap_datapath_policy_commit(struct datapath *datapath, uint64_t until)
{
	int r = __real_datapath_policy_commit(datapath, until);

	if (looks) {
		n_looks++;
		n_refused += !looks();
	}
	return r;
}

static bool c_reaches_a(uint16_t port);

static bool is_a_reached(void)
{
	return c_reaches_a(1000 + n_looks); /* a new flow each time */
}

/* A takes C, and @n networks more. */
static void allow_c_and(unsigned n)
{
	json_t *from = json_pack("[{s{s{ss}}}]", "podSelector", "matchLabels", "app", "c");

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(from, json_pack("{s{so}}", "ipBlock", "cidr", json_sprintf("192.168.%u.0/24", i)));
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{so}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default", "name", "only-c", "spec",
		      "podSelector", "matchLabels", "app", "a", "policyTypes", "Ingress", "ingress", "from", from));
}

/* Another's policy, which has room and changes, is in force at each instant. */
static void what_has_no_room_comes_last(void)
{
	dp_config.policy_rule_max = 64;
	policy_apply_forget(&applied);
	harness_reopen();
	start();
	put_pod("c", DIRECT4);
	allow_c_and(1);
	put_many(200);
	apply();
	CHECK_INT(applied.locked, 1);
	CHECK(c_reaches_a(999));
	n_looks = n_refused = 0;
	looks = is_a_reached;
	for (unsigned n = 2; n < 5; n++) {
		allow_c_and(n);
		apply();
		CHECK_INT(applied.locked, 1);
	}
	CHECK(n_looks >= 3);
	CHECK_INT(n_refused, 0);
	put_many(201); /* it changes itself */
	apply();
	CHECK_INT(n_refused, 0);
	looks = NULL;
	CHECK_INT(applied.locked, 1);
	dp_config.policy_rule_max = 0; /* the next ones have a smaller table of prefixes than what is left here: that is said, and no error */
}

/* @to takes C at its port 2000, and at @n that no prefix joins. */
static void allow_at_ports(const char *name, const char *to, unsigned n)
{
	json_t *ports = json_pack("[{ss, si}]", "protocol", "UDP", "port", 2000);

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(ports, json_pack("{ss, si}", "protocol", "TCP", "port", 3001 + 2 * i));
	put(json_pack("{ss, s{ss, ss}, s{s{s{ss}}, s[s], s[{s[{s{s{ss}}}], so}]}}", "kind", "NetworkPolicy", "metadata", "namespace", "default", "name",
		      name, "spec", "podSelector", "matchLabels", "app", to, "policyTypes", "Ingress", "ingress", "from", "podSelector", "matchLabels",
		      "app", "c", "ports", ports));
}

/* The same of tables of ports, and at a start, which writes everything. */
static void ports_without_room_come_last(void)
{
	dp_config.policy_rule_max = 64;
	policy_apply_forget(&applied);
	harness_reopen();
	start();
	put_pod("c", DIRECT4);
	allow_at_ports("large", "b", 200);
	allow_at_ports("small", "a", 0);
	apply();
	CHECK_INT(applied.locked, 1);
	CHECK(c_reaches_a(899));
	n_looks = n_refused = 0;
	looks = is_a_reached;
	for (unsigned n = 1; n < 4; n++) {
		uint64_t commits = applied.commits;

		allow_at_ports("small", "a", n);
		apply();
		CHECK_INT(applied.locked, 1);
		CHECK(applied.commits > commits);
		commits = applied.commits;
		apply(); /* still no room: nothing is written */
		CHECK_INT(applied.commits, commits);
	}
	CHECK_INT(n_refused, 0);
	looks = NULL;
	policy_apply_forget(&applied);
	apply(); /* another agent */
	CHECK_INT(applied.locked, 1);
	CHECK(c_reaches_a(898));
	offline_del(cluster, "NetworkPolicy", "default", "large");
	apply();
	CHECK_INT(applied.locked, 0);
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

/* Takes from @n networks only. */
static void close_node_but_for(unsigned n)
{
	json_t *networks = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(networks, json_sprintf("172.20.%u.0/24", 2 * i));
	put(json_pack("{ss, s{ss, s{ss}}, s{ss, si, s{s{}}, s[{ss, s[{so}]}, {ss, s[{s[s]}]}]}}", "kind", "ClusterNetworkPolicy", "metadata", "name", "host",
		      "annotations", "weft.dev/subject", "nodes-from", "spec", "tier", "Admin", "priority", 1, "subject", "namespaces", "egress", "action",
		      "Accept", "to", "networks", networks, "action", "Deny", "to", "networks", "0.0.0.0/0"));
}

/* Also when others have it already, and at a start. */
static void the_nodes_own_policies_have_room_before_those_of_pods(void)
{
	dp_config.policy_rule_max = 64;
	policy_apply_forget(&applied);
	harness_reopen();
	start();
	cluster->host = "n1";
	put_node("n1", "192.168.77.1");
	put_many(40);
	apply();
	CHECK_INT(applied.locked, 0);
	close_node_but_for(25);
	apply();
	CHECK(!policy_apply_host_is_failed(&applied));
	CHECK_INT(applied.locked, 1);
	CHECK(!passes(true, IPPROTO_UDP, 1000, 2000, NULL));
	policy_apply_forget(&applied);
	harness_reopen();
	apply();
	CHECK(!policy_apply_host_is_failed(&applied));
	CHECK_INT(applied.locked, 1);
	offline_del(cluster, "ClusterNetworkPolicy", "", "host");
	apply();
	apply(); /* its rules are gone */
	CHECK_INT(applied.locked, 0);
	dp_config.policy_rule_max = 0;
}

/* Where another's stand already: those that its policies tell apart. */
static void prefixes_of_the_nodes_own_policies_have_room_before_others(void)
{
	start_with_addresses(64);
	cluster->host = "n1";
	put_node("n1", "192.168.77.1");
	allow_but(200);
	apply();
	CHECK(applied.room.n > 0);
	close_node_but_for(10);
	apply();
	CHECK(!policy_apply_host_is_failed(&applied));
	CHECK(applied.locked > 0);
	policy_apply_forget(&applied);
	harness_reopen();
	apply();
	apply(); /* what the agent before has written is gone */
	CHECK(!policy_apply_host_is_failed(&applied));
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

int main(void)
{
	harness_init();
	RUN(a_policy_that_does_not_fit_locks_down_its_pods_only);
	RUN(what_has_no_room_comes_last);
	RUN(ports_without_room_come_last);
	RUN(an_exception_without_room_locks_down_who_makes_it_and_nobody_else);
	RUN(nodes_find_room_before_pods_and_without_it_nobody_takes_them_for_the_world);
	RUN(the_nodes_own_policies_have_room_before_those_of_pods);
	RUN(prefixes_of_the_nodes_own_policies_have_room_before_others);
	RUN(a_restart_with_tables_that_are_all_used_locks_nobody_down);
	return cluster_done();
}
