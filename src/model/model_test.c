/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/test.h"
#include "model/model.h"

#include <malloc.h>

static json_t *J(const char *text)
{
	char *error = NULL;
	json_t *j = json_parse("test", text, strlen(text), &error);

	if (!j) {
		printf("# %s\n", error);
		abort();
	}
	return j;
}

static int put(struct model *m, enum model_table t, const char *text)
{
	_cleanup_json_ json_t *j = J(text);

	return model_upsert(m, t, j, NULL);
}

static int del(struct model *m, enum model_table t, const char *text)
{
	_cleanup_json_ json_t *j = J(text);

	return model_delete(m, t, j);
}

static struct addr A(const char *s) {
	struct addr a;

	if (addr_parse(s, &a) < 0)
		abort();
	return a;
}

static struct model_pod *
pod_at(const struct model *m, const char *addr)
{
	struct addr a = A(addr);

	return model_find_pod_by_addr(m, &a);
}

static struct model_node *node_at(const struct model *m, const char *addr)
{
	struct addr a = A(addr);

	return model_find_node_by_addr(m, &a);
}

static const char node1[] =
    "{\"metadata\":{\"name\":\"n1\",\"uid\":\"u1\",\"creationTimestamp\":\"2026-11-20T10:00:00Z\","
    "\"labels\":{\"topology.kubernetes.io/zone\":\"z1\",\"b\":\"2\",\"a\":\"1\"},"
    "\"annotations\":{\"weft.dev/key\":\"k\",\"other\":\"x\"}},"
    "\"spec\":{\"podCIDRs\":[\"10.244.1.0/24\",\"fd00:244:0:1::/64\"]},"
    "\"status\":{\"addresses\":[{\"type\":\"Hostname\",\"address\":\"n1\"},{\"type\":\"InternalIP\",\"address\":\"172."
    "30.0.11\"},"
    "{\"type\":\"InternalIP\",\"address\":\"fd30::11\"}]}}";

#define ADDRESSES(list) "{\"metadata\":{\"name\":\"n1\"},\"status\":{\"addresses\":[" list "]}}"
#define ADDRESS(type, text) "{\"type\":\"" type "\",\"address\":\"" text "\"}"

/* Policy is about all of them, the way to a node about the inner ones; none is there twice. */
static void a_nodes_external_addresses_stand_behind_its_own(void)
{
	struct model *m = model_new();
	const struct model_node *n;
	struct addr inner = A("172.30.0.11"), outer = A("203.0.113.1");

	CHECK_INT(put(m, MODEL_NODES, ADDRESSES(ADDRESS("ExternalIP", "203.0.113.1") "," ADDRESS("InternalIP", "172.30.0.11") "," ADDRESS(
							"InternalIP", "172.30.0.11") "," ADDRESS("ExternalIP", "172.30.0.11") "," ADDRESS("ExternalIP", "none") "," ADDRESS("Hostname", "10.0.0.1"))), 1);
	n = model_find_node(m, "n1");
	CHECK_INT(n->n_addrs, 1);
	CHECK_INT(n->n_external, 1);
	CHECK(addr_eq(&n->addrs[0], &inner) && addr_eq(&n->addrs[1], &outer));
	CHECK(node_at(m, "172.30.0.11") == n && !node_at(m, "203.0.113.1"));
	CHECK(model_is_node_addr(m, &inner) && model_is_node_addr(m, &outer));
	CHECK_INT(put(m, MODEL_NODES, ADDRESSES(ADDRESS("InternalIP", "172.30.0.11"))), 1);
	CHECK_INT(n->n_addrs + n->n_external, 1);
	CHECK(model_is_node_addr(m, &inner) && !model_is_node_addr(m, &outer));
	model_free(m);
}

static void SVC_31_nodes_that_leave(void)
{
	static const char *const leaving[] = {
	    "{\"metadata\":{\"name\":\"n1\",\"deletionTimestamp\":\"2026-11-28T12:00:00Z\"}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"taints\":[{\"key\":\"a\"},{\"key\":\"ToBeDeletedByClusterAutoscaler\"}]}}",
	};
	static const char *const staying[] = {
	    "{\"metadata\":{\"name\":\"n1\"}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"taints\":[{\"key\":\"a\"}, 1, {}]}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"taints\":\"ToBeDeletedByClusterAutoscaler\"}}",
	};
	_cleanup_(model_freep) struct model *m = model_new();

	for (size_t i = 0; i < ARRAY_SIZE(staying); i++) {
		put(m, MODEL_NODES, leaving[i % ARRAY_SIZE(leaving)]);
		CHECK(model_find_node(m, "n1")->leaving);
		CHECK_INT(put(m, MODEL_NODES, staying[i]), 1);
		CHECK(!model_find_node(m, "n1")->leaving);
	}
}

static void nodes(void)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct model_node *n;

	CHECK_INT(put(m, MODEL_NODES, node1), 1);
	CHECK_INT(model_take_dirty(m), 1u << MODEL_NODES);
	CHECK_INT(put(m, MODEL_NODES, node1), 0);
	CHECK_INT(model_take_dirty(m), 0);
	n = model_find_node(m, "n1");
	CHECK(n && n->n_cidrs == 2 && n->n_addrs == 2);
	CHECK_INT(n->created, 1795168800);
	CHECK_STR(n->zone, "z1");
	CHECK_STR(n->region, "");
	CHECK_STR(model_label(n->labels, "a"), "1");
	CHECK(!model_label(n->labels, "c"));
	CHECK_STR(model_label(n->annotations, "weft.dev/key"), "k");
	CHECK_INT(n->annotations->n, 1);
	CHECK(node_at(m, "fd30::11") == n && !node_at(m, "fd30::12"));
	CHECK_INT(put(m, MODEL_NODES, "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"podCIDR\":\"10.244.7.0/24\"}}"), 1);
	CHECK(n->n_cidrs == 1 && n->n_addrs == 0 && !node_at(m, "fd30::11"));
	CHECK(!n->leaving);
	CHECK_INT(del(m, MODEL_NODES, node1), 1);
	CHECK_INT(del(m, MODEL_NODES, node1), 0);
	CHECK(!model_find_node(m, "n1"));
}

#define POD(name, ips, more)                                                             \
	"{\"metadata\":{\"namespace\":\"default\",\"name\":\"" name "\",\"uid\":\"" name \
	"-uid\"},\"spec\":{\"nodeName\":\"n1\"" more "},\"status\":{\"phase\":\"Running\",\"podIPs\":[" ips "]}}"

#define TOLD(name, addrs, more)                                                                                              \
	"{\"metadata\":{\"namespace\":\"default\",\"name\":\"" name "\"},\"spec\":{\"nodeName\":\"n1\"},\"status\":{\"conditions\":[" \
	"{\"type\":\"" MODEL_POD_ADDRS_CONDITION "\",\"status\":\"True\",\"message\":\"" addrs "\"}]" more "}}"

static bool count_pod(struct model_pod *p _unused_, void *ctx)
{
	++*(int *)ctx;
	return true;
}

static void pods(void)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct model_pod *p;
	int count = 0;

	CHECK_INT(put(m, MODEL_PODS, POD("a", "{\"ip\":\"10.244.1.5\"},{\"ip\":\"fd00::5\"}", "")), 1);
	p = model_find_pod(m, "default", "a");
	CHECK(p && pod_at(m, "10.244.1.5") == p && pod_at(m, "fd00::5") == p);
	CHECK_STR(p->uid, "a-uid");
	CHECK_STR(p->node, "n1");
	/* one on the host's network owns no address */
	CHECK_INT(put(m, MODEL_PODS, POD("h", "{\"ip\":\"172.30.0.11\"}", ",\"hostNetwork\":true")), 1);
	CHECK(!pod_at(m, "172.30.0.11") && model_find_pod(m, "default", "h")->host_network);
	/* the address goes over to the later pod, and back when that one ends */
	CHECK_INT(put(m, MODEL_PODS, POD("b", "{\"ip\":\"10.244.1.5\"}", "")), 1);
	CHECK_STR(pod_at(m, "10.244.1.5")->name, "b");
	CHECK_STR(pod_at(m, "fd00::5")->name, "a");
	CHECK_INT(put(m, MODEL_PODS,
		      "{\"metadata\":{\"namespace\":\"default\",\"name\":\"b\",\"uid\":\"b-uid\"},\"spec\":{"
		      "\"nodeName\":\"n1\"},"
		      "\"status\":{\"phase\":\"Succeeded\",\"podIP\":\"10.244.1.5\"}}"),
		  1);
	CHECK_STR(pod_at(m, "10.244.1.5")->name, "a");
	model_each_pod_on(m, "n1", count_pod, &count);
	CHECK_INT(count, 3);
	/* before the kubelet tells, what the agent of its node has told */
	CHECK_INT(put(m, MODEL_PODS, TOLD("t", "10.244.1.9,fd00::9", "")), 1);
	CHECK_STR(pod_at(m, "10.244.1.9")->name, "t");
	CHECK_STR(pod_at(m, "fd00::9")->name, "t");
	CHECK_INT(put(m, MODEL_PODS, TOLD("t", "10.244.1.9,fd00::9", ",\"podIPs\":[{\"ip\":\"10.244.1.10\"}]")), 1);
	CHECK(!pod_at(m, "10.244.1.9") && !pod_at(m, "fd00::9") && pod_at(m, "10.244.1.10"));
	CHECK_INT(put(m, MODEL_PODS, TOLD("t", "fd00::9", "")), 1);
	CHECK(!pod_at(m, "10.244.1.10") && pod_at(m, "fd00::9"));
	CHECK_INT(put(m, MODEL_PODS, TOLD("t", "fd00::9", ",\"phase\":\"Failed\"")), 1);
	CHECK(!pod_at(m, "fd00::9"));
	count = 0;
	model_each_pod_on(m, "n1", count_pod, &count);
	CHECK_INT(count, 4);
	/* the same name, another pod */
	CHECK_INT(put(m, MODEL_PODS, "{\"metadata\":{\"namespace\":\"default\",\"name\":\"a\",\"uid\":\"new\"}}"), 1);
	CHECK_STR(model_find_pod(m, "default", "a")->uid, "new");
	CHECK_STR(model_find_pod(m, "default", "a")->node, "");
	CHECK(!pod_at(m, "10.244.1.5"));
	CHECK_INT(model_count(m, MODEL_PODS), 4);
}

static void pods_have_named_ports_and_the_uid_that_runtimes_know(void)
{
	_cleanup_(model_freep) struct model *m = model_new();
	const char *text = "{\"metadata\":{\"namespace\":\"default\",\"name\":\"s\",\"uid\":\"mirror\",\"annotations\":{"
			   "\"kubernetes.io/config.mirror\":\"static\"}},\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":1},"
			   "{\"name\":\"dns\",\"protocol\":\"UDP\",\"containerPort\":53}]}],\"initContainers\":[{\"ports\":[{\"name\":"
			   "\"over\",\"containerPort\":2}]},{\"restartPolicy\":\"Always\",\"ports\":[{\"name\":\"side\","
			   "\"containerPort\":3}]}]}}";
	struct model_pod *p;

	CHECK_INT(put(m, MODEL_PODS, text), 1);
	CHECK_INT(put(m, MODEL_PODS, text), 0);
	p = model_find_pod(m, "default", "s");
	CHECK_STR(p->uid, "static");
	CHECK_INT(p->n_ports, 2);
	CHECK_STR(p->ports[0].name, "dns");
	CHECK(p->ports[0].number == 53 && p->ports[0].proto == 17);
	CHECK_STR(p->ports[1].name, "side");
	CHECK_INT(put(m, MODEL_PODS, "{\"metadata\":{\"namespace\":\"default\",\"name\":\"bad\"},\"spec\":{\"containers\":[{\"ports\":["
				     "{\"name\":\"x\",\"containerPort\":70000}]}]}}"),
		  -EINVAL);
}

static void policies_and_namespaces(void)
{
	_cleanup_(model_freep) struct model *m = model_new();

	CHECK_INT(put(m, MODEL_NAMESPACES, "{\"metadata\":{\"name\":\"x\",\"labels\":{\"a\":\"1\"}}}"), 1);
	CHECK_INT(put(m, MODEL_NAMESPACES, "{\"metadata\":{\"name\":\"x\",\"labels\":{\"a\":\"1\"}}}"), 0);
	CHECK_INT(put(m, MODEL_NAMESPACES, "{\"metadata\":{\"name\":\"x\",\"labels\":{\"a\":\"2\"}}}"), 1);
	CHECK_STR(model_label(model_find_namespace(m, "x")->labels, "a"), "2");
	CHECK_INT(
	    put(m, MODEL_POLICIES, "{\"metadata\":{\"namespace\":\"x\",\"name\":\"p\"},\"spec\":{\"podSelector\":{}}}"),
	    1);
	CHECK_INT(
	    put(m, MODEL_POLICIES, "{\"metadata\":{\"namespace\":\"x\",\"name\":\"p\"},\"spec\":{\"podSelector\":{}}}"),
	    0);
	CHECK_STR(model_find_policy(m, "x", "p")->spec, "{\"podSelector\":{}}");
	/* a policy that becomes bad stays in force as it was */
	CHECK_INT(put(m, MODEL_POLICIES, "{\"metadata\":{\"namespace\":\"x\",\"name\":\"p\"},\"spec\":7}"), -EINVAL);
	CHECK(model_find_policy(m, "x", "p") && model_refused_count(m) == 1);
	CHECK_INT(put(m, MODEL_POLICIES, "{\"metadata\":{\"namespace\":\"x\",\"name\":\"p\"},\"spec\":{}}"), 1);
	CHECK_INT(model_refused_count(m), 0);
}

/* Of annotations an object may have as many as its size allows; it is in force all the same. */
static void NP_21_many_annotations_make_no_policy_invalid(void)
{
	_cleanup_(model_freep) struct model *m = model_new();
	struct buf text = { 0 };

	(void)buf_addf(&text, "{\"metadata\":{\"namespace\":\"a\",\"name\":\"p\",\"annotations\":{");
	for (unsigned i = 0; i < 5000; i++)
		buf_addf(&text, "\"a%u\":\"\",", i);
	buf_addf(&text, "\"last\":\"\"}},\"spec\":{\"podSelector\":{}}}");
	CHECK_INT(put(m, MODEL_POLICIES, text.data), 1);
	buf_done(&text);
}

static void mesh_nodes(void)
{
#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY_B "//////////////////////////////////////////8="
	_cleanup_(model_freep) struct model *m = model_new();
	_cleanup_free_ struct model_mesh_node **list = NULL;
	static const char good[] = "{\"metadata\":{\"name\":\"n1\",\"uid\":\"u\"},\"spec\":{\"publicKey\":\"" KEY_A
				   "\",\"endpoints\":[\"10.0.0.1:51820\",\"[fd00::1]:51820\"]}}";
	static const char *const bad[] = {
	    "{\"metadata\":{\"name\":\"n1\"}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"publicKey\":\"x\"}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"publicKey\":\"" KEY_A "\",\"nextKey\":1}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"publicKey\":\"" KEY_A "\",\"endpoints\":[\"10.0.0.1\"]}}",
	    "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"publicKey\":\"" KEY_A "\",\"endpoints\":[\"10.0.0.1:0\"]}}",
	};
	struct model_mesh_node *n;
	size_t count;

	CHECK_INT(put(m, MODEL_MESH_NODES, good), 1);
	CHECK_INT(put(m, MODEL_MESH_NODES, good), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_INT(put(m, MODEL_MESH_NODES, bad[i]), -EINVAL);
	n = model_find_mesh_node(m, "n1"); /* the last good form */
	CHECK(n && n->n_endpoints == 2 && n->endpoints[1].port == 51820 && !n->has_next);
	CHECK_INT(put(m, MODEL_MESH_NODES, "{\"metadata\":{\"name\":\"n1\",\"uid\":\"u\"},\"spec\":{\"publicKey\":\"" KEY_A
					   "\",\"nextKey\":\"" KEY_B "\"}}"), 1);
	CHECK(n->has_next && n->next_key[0] == 0xff && n->n_endpoints == 0);
	list = model_mesh_nodes_sorted(m, &count);
	CHECK(count == 1 && list[0] == n);
	CHECK_INT(del(m, MODEL_MESH_NODES, good), 1);
	CHECK(!model_find_mesh_node(m, "n1"));
}

static void bad_objects_are_refused(void)
{
	static const struct {
		enum model_table table;
		const char *text, *error;
	} cases[] = {
	    {MODEL_NODES, "[]", "Node : metadata.name: expected a DNS name"},
	    {MODEL_NODES, "{\"metadata\":{\"name\":\"../n\"}}", "Node ../n: metadata.name: expected a DNS name"},
	    {MODEL_NODES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"podCIDRs\":[\"10.0.0.1/24\"]}}",
	     "Node n: spec.podCIDRs[0]: expected a network such as 10.244.1.0/24"},
	    {MODEL_NODES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"podCIDRs\":7}}",
	     "Node n: spec.podCIDRs: expected a list"},
	    {MODEL_NODES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"podCIDRs\":[7]}}",
	     "Node n: spec.podCIDRs[0]: expected a network such as 10.244.1.0/24"},
	    {MODEL_NODES,
	     "{\"metadata\":{\"name\":\"n\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"x\"}]}}",
	     "Node n: status.addresses[0]: expected an IP address"},
	    {MODEL_NODES, "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":1}}}",
	     "Node n: metadata.labels[\\\"a\\\"]: expected a string"},
	    {MODEL_PODS, "{\"metadata\":{\"name\":\"p\"}}", "Pod p: metadata.namespace: expected a DNS label"},
	    {MODEL_PODS, "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"},\"status\":{\"phase\":\"Odd\"}}",
	     "Pod d/p: status.phase: expected Pending, Running, Succeeded, Failed or Unknown"},
	    {MODEL_PODS,
	     "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"},\"status\":{\"podIPs\":[{\"ip\":\"1.2.3\"}]}}",
	     "Pod d/p: status.podIPs[0]: expected an IP address"},
	    {MODEL_PODS,
	     "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"},\"status\":{\"podIPs\":[{\"ip\":\"1.2.3.4\"},{\"ip\":"
	     "\"1.2.3.5\"}]}}",
	     "Pod d/p: status.podIPs[1]: a second address of its family"},
	    {MODEL_PODS, TOLD("p", "1.2.3.4,", ""), "Pod default/p: status.conditions.weft.dev/PodAddresses[1]: expected an IP address"},
	    {MODEL_PODS, TOLD("p", "1.2.3.4,1.2.3.5", ""),
	     "Pod default/p: status.conditions.weft.dev/PodAddresses[1]: a second address of its family"},
	    {MODEL_PODS, "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"},\"spec\":{\"nodeName\":\"a b\"}}",
	     "Pod d/p: spec.nodeName: expected a node's name"},
	    {MODEL_POLICIES, "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"}}",
	     "NetworkPolicy d/p: spec: expected an object"},
	};
	_cleanup_(model_freep) struct model *m = model_new();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *j = J(cases[i].text);
		_cleanup_free_ char *error = NULL;

		CHECK_INT(model_upsert(m, cases[i].table, j, &error), -EINVAL);
		CHECK_STR(error, cases[i].error);
	}
	for (int t = 0; t < MODEL_TABLES; t++)
		CHECK_INT(model_count(m, t), 0);
	CHECK_INT(model_take_dirty(m), 0);
	CHECK_INT(model_refused_count(m), 7); /* by name */
}

static void a_list_replaces(void)
{
	_cleanup_(model_freep) struct model *m = model_new();

	put(m, MODEL_PODS, POD("a", "{\"ip\":\"10.0.0.1\"}", ""));
	put(m, MODEL_PODS, POD("b", "{\"ip\":\"10.0.0.2\"}", ""));
	put(m, MODEL_PODS, POD("c", "{\"ip\":\"10.0.0.3\"}", ""));
	put(m, MODEL_PODS, POD("never-good", "7", ""));
	model_take_dirty(m);
	model_replace_begin(m, MODEL_PODS);
	CHECK_INT(put(m, MODEL_PODS, POD("c", "{\"ip\":\"10.0.0.3\"}", "")), 0);
	model_replace_begin(m, MODEL_PODS); /* it broke off: once more */
	CHECK_INT(put(m, MODEL_PODS, POD("a", "{\"ip\":\"10.0.0.1\"}", "")), 0);
	CHECK_INT(put(m, MODEL_PODS, POD("b", "7", "")), -EINVAL); /* bad now: its last good form stays */
	CHECK_INT(model_count(m, MODEL_PODS), 3);		   /* nothing goes before the end */
	CHECK_INT(model_replace_end(m, MODEL_PODS), 1);
	CHECK(model_find_pod(m, "default", "a") && model_find_pod(m, "default", "b") &&
	      !model_find_pod(m, "default", "c"));
	CHECK_INT(model_take_dirty(m), 1u << MODEL_PODS);
	CHECK_INT(model_refused_count(m), 1); /* "never-good" did not come again */
	CHECK_INT(model_replace_end(m, MODEL_PODS), 0);
}

/* A naive model: an array of what was said last about each pod. */
enum { NAMES = 40, ADDRS = 12 };
struct naive {
	bool there, in_list;
	int addr; /* -1: none */
	int node;
	uint64_t order;
};

static int random_pod(struct model *m, struct naive *n, int k, uint64_t order)
{
	static const char *const phases[] = {"Running", "Pending", "Failed"};
	int addr = rand() % (ADDRS + 1) - 1, node = rand() % 5, phase = rand() % 3;
	bool host = rand() % 8 == 0, owned = addr >= 0 && phase != 2 && !host;
	char text[512], ip[64] = "";

	if (addr >= 0)
		snprintf(ip, sizeof(ip), "{\"ip\":\"10.0.0.%d\"}", addr);
	snprintf(text, sizeof(text),
		 "{\"metadata\":{\"namespace\":\"ns%d\",\"name\":\"p%d\",\"labels\":{\"app\":\"a%d\"}},"
		 "\"spec\":{\"nodeName\":\"n%d\",\"hostNetwork\":%s},\"status\":{\"phase\":\"%s\",\"podIPs\":[%s]}}",
		 k % 3, k, rand() % 4, node, host ? "true" : "false", phases[phase], ip);
	addr = owned ? addr : -1;
	/* who had the address already keeps its turn */
	if (!n->there || n->addr != addr)
		n->order = order;
	n->there = n->in_list = true;
	n->addr = addr;
	n->node = node;
	return put(m, MODEL_PODS, text);
}

static bool same_as_naive(const struct model *m, const struct naive *naive)
{
	size_t count = 0;

	for (int a = 0; a < ADDRS; a++) {
		struct model_pod *p;
		char text[32], name[16];
		int owner = -1;

		for (int k = 0; k < NAMES; k++)
			if (naive[k].there && naive[k].addr == a && (owner < 0 || naive[k].order > naive[owner].order))
				owner = k;
		snprintf(text, sizeof(text), "10.0.0.%d", a);
		snprintf(name, sizeof(name), "p%d", owner);
		p = pod_at(m, text);
		if (owner < 0 ? p != NULL : !p || strcmp(p->name, name) != 0)
			return false;
	}
	for (int node = 0; node < 5; node++) {
		int want = 0, have = 0;
		char name[16];

		for (int k = 0; k < NAMES; k++)
			want += naive[k].there && naive[k].node == node;
		snprintf(name, sizeof(name), "n%d", node);
		model_each_pod_on(m, name, count_pod, &have);
		if (want != have)
			return false;
		count += have;
	}
	return count == model_count(m, MODEL_PODS);
}

static void random_history_against_naive(void)
{
	for (unsigned seed = 0; seed < 30; seed++) {
		_cleanup_(model_freep) struct model *m = model_new();
		struct naive naive[NAMES] = {0};
		uint64_t order = 0;

		srand(seed);
		for (int step = 0; step < 600; step++) {
			int k = rand() % NAMES, what = rand() % 100;
			char text[128];

			if (what < 70) {
				random_pod(m, &naive[k], k, ++order);
			} else if (what < 98) {
				snprintf(text, sizeof(text), "{\"metadata\":{\"namespace\":\"ns%d\",\"name\":\"p%d\"}}",
					 k % 3, k);
				CHECK_INT(del(m, MODEL_PODS, text), naive[k].there);
				naive[k].there = false;
			} else {
				model_replace_begin(m, MODEL_PODS);
				for (int i = 0; i < NAMES; i++)
					naive[i].in_list = false;
				for (int i = 0; i < NAMES / 2; i++) {
					int j = rand() % NAMES;

					random_pod(m, &naive[j], j, ++order);
				}
				for (int i = 0; i < NAMES; i++)
					naive[i].there &= naive[i].in_list;
				model_replace_end(m, MODEL_PODS);
			}
			CHECK(same_as_naive(m, naive));
		}
	}
}

static void a_pod_costs_less_than_400_bytes(void)
{
	enum { N = 20000 };
	struct model *m = model_new();
	size_t before = mallinfo2().uordblks, after;

	for (int i = 0; i < N; i++) {
		char text[1024];

		snprintf(
		    text, sizeof(text),
		    "{\"metadata\":{\"namespace\":\"team-%d\",\"name\":\"frontend-deployment-7c5ddbdf54-%05d\","
		    "\"uid\":\"0b3f8a6e-6a57-4b3e-9d1c-%012d\",\"labels\":{\"app.kubernetes.io/name\":\"frontend\","
		    "\"pod-template-hash\":\"7c5ddbdf%d\"}},\"spec\":{\"nodeName\":\"node-%d\"},\"status\":{\"phase\":"
		    "\"Running\","
		    "\"podIPs\":[{\"ip\":\"10.%d.%d.%d\"},{\"ip\":\"fd00::%x:%x\"}]}}",
		    i % 50, i, i, i / 20, i % 500, 1 + i / 65536, i / 256 % 256, i % 256, i / 65536, i % 65536);
		if (put(m, MODEL_PODS, text) != 1)
			break;
	}
	after = mallinfo2().uordblks;
	CHECK_INT(model_count(m, MODEL_PODS), N);
	printf("# %zu bytes a pod\n", (after - before) / N);
	CHECK((after - before) / N < 400);
	model_free(m);
}

int main(void)
{
	RUN(nodes);
	RUN(a_nodes_external_addresses_stand_behind_its_own);
	RUN(SVC_31_nodes_that_leave);
	RUN(pods);
	RUN(pods_have_named_ports_and_the_uid_that_runtimes_know);
	RUN(policies_and_namespaces);
	RUN(NP_21_many_annotations_make_no_policy_invalid);
	RUN(mesh_nodes);
	RUN(bad_objects_are_refused);
	RUN(a_list_replaces);
	RUN(random_history_against_naive);
	RUN(a_pod_costs_less_than_400_bytes);
	return test_end();
}
