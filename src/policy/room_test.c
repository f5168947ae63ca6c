/* SPDX-License-Identifier: Apache-2.0 */
/* Where there is no room for all: who goes without, and that nobody else does; in whatever order it came. */
#include "base/buf.h"
#include "base/str.h"
#include "base/test.h"
#include "policy/lookup.h"
#include "policy/store.h"

static unsigned seed;

static unsigned pick(unsigned n)
{
	return rand_r(&seed) % n;
}

static struct addr address(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

/* Takes @text. @failsafe: as the agent's own. */
static void put(struct policy *p, char *text, bool failsafe)
{
	_cleanup_free_ _unused_ char *owned = text;
	_cleanup_json_ json_t *j = json_parse("test", text, strlen(text), NULL);
	struct policy_spec *s;

	CHECK(j);
	CHECK_INT(policy_spec_parse(j, NULL, &s, NULL), 0);
	CHECK_INT(s->errors.n, 0);
	if (failsafe)
		s->priority = PRIORITY_FAILSAFE;
	policy_put_object(p, s);
}

static void put_pod(struct policy *p, const char *ns, const char *name, const char *addr)
{
	struct label_in label = { "app", name };

	policy_put_pod(p, &(struct policy_pod_in){ .namespace_ = ns, .name = name, .labels = &label, .n_labels = 1, .n_addrs = 1,
						   .addrs = { address(addr) }, .local = true });
}

enum { NEST = 50 }; /* 2,500 memberships: 50 everywhere, 49 at each exception */

/* Peers from @from on, up to @to. */
static char *nest_peers(unsigned from, unsigned to)
{
	struct buf b = { 0 };

	for (unsigned i = from; i < to; i++)
		(void)buf_addf(&b, "%s{\"ipBlock\": {\"cidr\": \"20.0.0.0/8\", \"except\": [\"20.0.%u.1/32\"]}}", i > from ? "," : "", i);
	return b.data;
}

static void put_peers(struct policy *p, const char *ns, const char *name, const char *app, const char *mode, const char *peers)
{
	put(p, xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"%s\", \"namespace\": \"%s\", \"annotations\": {\"weft.dev/mode\": \"%s\"}},"
			 "\"spec\": {\"podSelector\": {\"matchLabels\": {\"app\": \"%s\"}}, \"ingress\": [{\"from\": [%s]}]}}", name, ns, mode, app, peers), false);
}

static void put_nest(struct policy *p, const char *ns, const char *name, const char *app, const char *mode, unsigned from, unsigned to)
{
	_cleanup_free_ char *peers = nest_peers(from, to);

	put_peers(p, ns, name, app, mode, peers);
}

static const char host_block[] = "{\"kind\": \"ClusterNetworkPolicy\", \"metadata\": {\"name\": \"host\", \"annotations\": {\"weft.dev/subject\": \"nodes-from\"}},"
				 "\"spec\": {\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"namespaces\": {}}, \"egress\": ["
				 "{\"action\": \"Accept\", \"to\": [{\"networks\": [%s]}]}, {\"action\": \"Deny\", \"to\": [{\"networks\": [\"0.0.0.0/0\"]}]}]}}";
static const char failsafe[] = "{\"kind\": \"ClusterNetworkPolicy\", \"metadata\": {\"name\": \"failsafe\", \"annotations\": {\"weft.dev/subject\": \"nodes-from\"}},"
			       "\"spec\": {\"tier\": \"Admin\", \"priority\": 0, \"subject\": {\"namespaces\": {}}, \"egress\": [{\"action\": \"Accept\", \"to\": "
			       "[{\"networks\": [\"0.0.0.0/0\"]}], \"protocols\": [{\"tcp\": {\"destinationPort\": {\"number\": 22}}}]}]}}";

static void put_host(struct policy *p, const char *networks)
{
	_cleanup_free_ char *list = xstrdup(networks);
	struct buf text = { 0 };
	const char *gap = strstr(host_block, "%s");

	(void)buf_addf(&text, "%.*s%s%s", (int)(gap - host_block), host_block, list, gap + 2);
	put(p, text.data, false);
	put(p, xstrdup(failsafe), true);
}

static bool allows(struct policy *p, const char *of, const char *from, uint16_t port)
{
	_cleanup_(policy_maps_putp) struct policy_maps *m = policy_compile(p);
	struct addr a = address(of), peer = address(from);
	struct policy_side side;

	policy_lookup_side(m, &a, &peer, POLICY_INGRESS, IPPROTO_TCP, port, &side);
	CHECK(side.judged);
	return side.allowed;
}

/* Two namespaces, the node; a victim that takes from a block. */
static struct policy *world(size_t memberships)
{
	struct policy *p = policy_new();
	struct addr node = address("192.0.2.1");

	policy_set_limits(p, 0, memberships, 0);
	policy_put_namespace(p, "x", NULL, 0);
	policy_put_namespace(p, "yy", NULL, 0);
	policy_set_host(p, NULL, 0, &node, 1);
	put_pod(p, "x", "victim", "10.0.0.1");
	put_pod(p, "yy", "d", "10.0.0.2");
	put_peers(p, "x", "b", "victim", "enforce", "{\"ipBlock\": {\"cidr\": \"198.51.100.0/24\"}}");
	put_host(p, "\"198.51.100.0/24\"");
	return p;
}

static void victims_are_as_ever(struct policy *p)
{
	CHECK(allows(p, "10.0.0.1", "198.51.100.1", 80));
	CHECK(!allows(p, "10.0.0.1", "203.0.113.1", 80));
	CHECK(allows(p, "192.0.2.1", "198.51.100.1", 80));
	CHECK(!allows(p, "192.0.2.1", "203.0.113.1", 80));
	CHECK(allows(p, "192.0.2.1", "203.0.113.1", 22));
}

struct seen {
	enum policy_problem what;
	const char *subject;
	bool seen;
};

static void on_problem(enum policy_problem what, const char *subject, _unused_ const char *detail, void *ctx)
{
	struct seen *s = ctx;

	s->seen |= what == s->what && streq(subject, s->subject);
}

static bool has_problem(struct policy *p, enum policy_problem what, const char *subject)
{
	struct seen s = { what, subject, false };

	policy_each_problem(p, on_problem, &s);
	return s.seen;
}

static void who_names_too_many_blocks_is_alone_without(void)
{
	_cleanup_(policy_freep) struct policy *p = world(1000);

	victims_are_as_ever(p);
	put_nest(p, "yy", "nest", "d", "enforce", 0, NEST);
	victims_are_as_ever(p);
	CHECK(!allows(p, "10.0.0.2", "20.0.0.2", 80));
	CHECK(has_problem(p, PROBLEM_NO_ROOM, "NetworkPolicy yy/nest") && !has_problem(p, PROBLEM_NO_ROOM, "NetworkPolicy x/b"));
	CHECK(has_problem(p, PROBLEM_TOO_MANY_BLOCKS, "yy/d") && !has_problem(p, PROBLEM_TOO_MANY_BLOCKS, "x/victim"));
	CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "yy", "nest"));
	put_nest(p, "yy", "nest", "d", "enforce", 0, 20);
	CHECK(allows(p, "10.0.0.2", "20.0.0.2", 80)); /* what retires goes without before it */
	victims_are_as_ever(p);
	CHECK(!has_problem(p, PROBLEM_NO_ROOM, "NetworkPolicy yy/nest"));
}

/* The victim's policy costs more than each of them. */
static void to_cut_it_up_is_no_way_around(void)
{
	_cleanup_(policy_freep) struct policy *p = world(1000);
	char name[16];

	put_peers(p, "x", "b", "victim", "enforce", "{\"ipBlock\": {\"cidr\": \"198.51.100.0/24\"}}, {\"ipBlock\": {\"cidr\": \"192.0.2.0/25\"}},"
		  "{\"ipBlock\": {\"cidr\": \"10.1.0.0/25\"}}, {\"ipBlock\": {\"cidr\": \"10.1.0.128/25\"}}, {\"ipBlock\": {\"cidr\": \"10.2.0.0/16\"}}");
	for (unsigned i = 0; i < NEST; i++) {
		snprintf(name, sizeof(name), "nest%u", i);
		put_nest(p, "yy", name, "d", "enforce", i, i + 1);
	}
	victims_are_as_ever(p);
	CHECK(p->n_left_out && !p->blocks.overflow);
}

/* The greatest goes; what fits without it stays. */
static void what_fits_beside_the_others_stays(void)
{
	_cleanup_(policy_freep) struct policy *p = world(1000);

	put_pod(p, "yy", "e", "10.0.0.3");
	put_nest(p, "yy", "small", "e", "enforce", 60, 75);
	put_nest(p, "yy", "nest", "d", "enforce", 0, NEST);
	CHECK(allows(p, "10.0.0.3", "20.0.0.2", 80));
	CHECK(!allows(p, "10.0.0.2", "20.0.0.2", 80));
	victims_are_as_ever(p);
}

static char *dump(struct policy *p)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	policy_maps_put(policy_compile(p));
	while (policy_rests(p)) {
		policy_settle(p, UINT64_MAX);
		policy_maps_put(policy_compile(p));
	}
	policy_dump(p, to);
	fclose(to);
	return text;
}

enum { NESTS = 6 };

static void put_a_nest(struct policy *p, unsigned i)
{
	char name[8];

	snprintf(name, sizeof(name), "n%u", i);
	put_nest(p, i & 1 ? "x" : "yy", name, i & 1 ? "victim" : "d", "enforce", 5 * i, 5 * i + 10 + i / 2);
}

static void shuffle(unsigned *order, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned j = i + pick(n - i), was = order[i];

		order[i] = order[j];
		order[j] = was;
	}
}

static void any_order_leaves_out_the_same(void)
{
	_cleanup_free_ char *first = NULL;

	for (seed = 1; seed <= 20; seed++) {
		_cleanup_(policy_freep) struct policy *p = world(600);
		_cleanup_free_ char *text = NULL;
		unsigned order[NESTS] = { 0, 1, 2, 3, 4, 5 };

		shuffle(order, NESTS);
		for (unsigned i = 0; i < NESTS; i++) {
			put_a_nest(p, order[i]);
			if (pick(2))
				policy_maps_put(policy_compile(p));
			if (pick(3) == 0) {
				put_a_nest(p, pick(NESTS)); /* one that is not there yet, or the same again */
				policy_maps_put(policy_compile(p));
			}
		}
		text = dump(p);
		CHECK(p->n_left_out);
		if (!first)
			first = take_ptr(text);
		else
			CHECK_STR(text, first);
	}
}

static char *random_block(void)
{
	static const char *const some[] = { "{\"ipBlock\": {\"cidr\": \"0.0.0.0/0\", \"except\": [\"10.0.0.0/8\"]}}", "{\"ipBlock\": {\"cidr\": \"::/0\", \"except\": [\"fd00::/8\"]}}",
					    "{\"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}", "{\"ipBlock\": {\"cidr\": \"fd00::/16\"}}" };
	unsigned len = 9 + pick(8), net = pick(4);

	if (pick(3) == 0)
		return xstrdup(some[pick(ARRAY_SIZE(some))]);
	return xasprintf("{\"ipBlock\": {\"cidr\": \"%u.0.0.0/8\", \"except\": [\"%u.%u.0.0/%u\", \"%u.%u.%u.0/24\"]}}", 10 + net, 10 + net, pick(2) * 128, len, 10 + net,
			 pick(2) * 128, pick(3));
}

/* One block with many exceptions makes many prefixes, though few memberships. */
static void who_names_too_many_prefixes_is_alone_without(void)
{
	_cleanup_(policy_freep) struct policy *p = world(0);

	policy_set_limits(p, 0, 0, NEST);
	victims_are_as_ever(p);
	put_nest(p, "yy", "nest", "d", "enforce", 0, NEST);
	victims_are_as_ever(p);
	CHECK(!allows(p, "10.0.0.2", "20.0.0.2", 80) && p->blocks.n_prefixes < 10);
	policy_set_limits(p, 0, 0, NEST + 3); /* with those of the others */
	policy_maps_put(policy_compile(p));
	CHECK(allows(p, "10.0.0.2", "20.0.0.2", 80) && p->blocks.n_prefixes > NEST);
}

static void put_random_peers(struct policy *p, unsigned i)
{
	_cleanup_free_ char *a = random_block(), *b = random_block(), *both = xasprintf("%s, %s", a, b);
	char name[8], pod[8], addr[16];

	snprintf(name, sizeof(name), "p%u", i);
	snprintf(pod, sizeof(pod), "pod%u", pick(4));
	snprintf(addr, sizeof(addr), "10.0.1.%c", pod[3]);
	put_pod(p, "x", pod, addr);
	put_peers(p, "x", name, pick(2) ? pod : "victim", "enforce", both);
}

/* Whoever names the whole has an entry for each part that others name. */
static void who_splits_what_others_name_is_alone_without(void)
{
	_cleanup_(policy_freep) struct policy *p = world(0);
	struct buf parts = { 0 };
	char name[16], addr[16];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		snprintf(addr, sizeof(addr), "10.0.2.%u", i + 1);
		put_pod(p, "x", name, addr);
		put_peers(p, "x", name, name, "enforce", "{\"ipBlock\": {\"cidr\": \"20.0.0.0/8\"}}");
	}
	for (unsigned i = 0; i < 100; i++)
		(void)buf_addf(&parts, "%s{\"ipBlock\": {\"cidr\": \"20.9.0.%u/32\"}}", i ? "," : "", i);
	put_peers(p, "yy", "parts", "d", "enforce", parts.data);
	CHECK(allows(p, "10.0.0.2", "20.9.0.7", 80));
	CHECK(p->maps->n[POLICY_MAP_RULES] > 40 * 100);
	policy_set_rule_room(p, 3000);
	CHECK(!allows(p, "10.0.0.2", "20.9.0.7", 80));
	CHECK(has_problem(p, PROBLEM_NO_ROOM, "NetworkPolicy yy/parts"));
	for (unsigned i = 1; i <= 40; i++) {
		snprintf(addr, sizeof(addr), "10.0.2.%u", i);
		CHECK(allows(p, addr, "20.9.0.7", 80) && allows(p, addr, "20.1.0.7", 80) && !allows(p, addr, "21.0.0.1", 80));
	}
	CHECK(p->maps->n[POLICY_MAP_RULES] < 3000);
	CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "yy", "parts")); /* half of them have room */
	policy_maps_put(policy_compile(p));
	parts.len = 0;
	for (unsigned i = 0; i < 50; i++)
		(void)buf_addf(&parts, "%s{\"ipBlock\": {\"cidr\": \"20.9.0.%u/32\"}}", i ? "," : "", i);
	put_peers(p, "yy", "parts", "d", "enforce", parts.data);
	CHECK(allows(p, "10.0.0.2", "20.9.0.7", 80));
	for (unsigned i = 41; i <= 80; i++) { /* more of who names the whole: no block is another than before */
		snprintf(name, sizeof(name), "v%u", i);
		snprintf(addr, sizeof(addr), "10.0.2.%u", i);
		put_pod(p, "x", name, addr);
		put_peers(p, "x", name, name, "enforce", "{\"ipBlock\": {\"cidr\": \"20.0.0.0/8\"}}");
	}
	CHECK(!allows(p, "10.0.0.2", "20.9.0.7", 80));
	CHECK(allows(p, "10.0.2.80", "20.9.0.7", 80) && allows(p, "10.0.2.1", "20.9.0.7", 80));
	free(parts.data);
}

/* What is counted without any set, or entry, is what the tables come to. */
static void the_count_is_exact(void)
{
	for (seed = 1; seed <= 60; seed++) {
		_cleanup_(policy_freep) struct policy *p = world(0);
		unsigned n = 1 + pick(12);

		for (unsigned i = 0; i < n; i++)
			put_random_peers(p, i);
		policy_maps_put(policy_compile(p));
		policy_set_rule_room(p, p->maps->n[POLICY_MAP_RULES]);
		CHECK(!rules_are_too_many(p));
		policy_set_rule_room(p, p->maps->n[POLICY_MAP_RULES] - 1);
		CHECK(rules_are_too_many(p));
		policy_set_rule_room(p, 0);
		policy_set_limits(p, 0, p->blocks.memberships, 0);
		CHECK(!blocks_are_too_many(p, false));
		policy_set_limits(p, 0, p->blocks.memberships - 1, 0);
		CHECK(blocks_are_too_many(p, false));
	}
}

/* Neither its memberships nor the entries that its blocks split off from others'. */
static void what_only_observes_takes_nothing(void)
{
	_cleanup_(policy_freep) struct policy *p = world(1000);
	size_t rules;

	put_peers(p, "x", "wide", "victim", "enforce", "{\"ipBlock\": {\"cidr\": \"20.0.0.0/8\"}}");
	policy_maps_put(policy_compile(p));
	rules = p->maps->n[POLICY_MAP_RULES];
	put_nest(p, "yy", "nest", "d", "observe", 0, NEST);
	victims_are_as_ever(p);
	CHECK(allows(p, "10.0.0.1", "20.0.0.2", 80));
	CHECK(has_problem(p, PROBLEM_TRIAL_NO_ROOM, "yy/d") && !p->n_left_out);
	CHECK_INT(p->maps->n[POLICY_MAP_RULES], rules);
	policy_set_limits(p, 0, 0, 0);
	put_pod(p, "yy", "e", "10.0.0.3"); /* it is asked anew */
	policy_maps_put(policy_compile(p));
	CHECK(!has_problem(p, PROBLEM_TRIAL_NO_ROOM, "yy/d"));
	CHECK(p->maps->n[POLICY_MAP_RULES] > rules + 2 * NEST);
	for (int prefixes = 0; prefixes < 2; prefixes++) {
		policy_set_trial_room(p, prefixes ? 0 : 2 * NEST);
		policy_set_limits(p, 0, 0, prefixes ? NEST : 0);
		put_pod(p, "yy", "e", "10.0.0.3");
		victims_are_as_ever(p);
		CHECK(has_problem(p, PROBLEM_TRIAL_NO_ROOM, "yy/d"));
		CHECK_INT(p->maps->n[POLICY_MAP_RULES], rules);
		CHECK(p->blocks.n_prefixes < NEST);
	}
	put_pod(p, "x", "peer", "198.51.100.7"); /* what comes and goes meanwhile */
	CHECK(allows(p, "10.0.0.1", "198.51.100.7", 80));
	CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "yy", "nest"));
	policy_maps_put(policy_compile(p));
	CHECK(!p->trials_left_out);
}

/* By itself: no tenant can do that. */
static void the_node_without_room_keeps_its_failsafe_ports_alone(void)
{
	_cleanup_(policy_freep) struct policy *p = world(1000);
	struct buf networks = { 0 };

	policy_set_limits(p, 20, 0, 0);
	for (unsigned i = 0; i < 25; i++)
		(void)buf_addf(&networks, "%s\"198.51.%u.0/24\"", i ? "," : "", 2 * i);
	put_host(p, networks.data);
	CHECK(!allows(p, "192.0.2.1", "203.0.113.1", 80) && !allows(p, "192.0.2.1", "198.51.100.1", 80));
	CHECK(allows(p, "192.0.2.1", "203.0.113.1", 22));
	CHECK(has_problem(p, PROBLEM_HOST_TOO_LARGE, "/node") && has_problem(p, PROBLEM_NO_ROOM, "ClusterNetworkPolicy host"));
	policy_set_host_times(p, (struct policy_host_times){ .until_ns = 1 }); /* on trial, and nothing was confirmed */
	policy_maps_put(policy_compile(p));
	CHECK_INT(p->maps->host_policy, POLICY_OPEN);
	policy_set_host_times(p, (struct policy_host_times){ 0 });
	put_host(p, "\"198.51.100.0/24\"");
	victims_are_as_ever(p);
	free(networks.data);
}

enum { VICTIMS = 12, MANY = 200 };

static char *many_peers(const char *format, unsigned from, unsigned to)
{
	struct buf b = { 0 };

	for (unsigned i = from; i < to; i++) {
		(void)buf_addf(&b, "%s", i > from ? "," : "");
		(void)buf_addf(&b, format, i);
	}
	return b.data;
}

#define ADDRESS "{\"ipBlock\": {\"cidr\": \"10.77.0.%u/32\"}}"
#define LABEL "{\"namespaceSelector\": {}, \"podSelector\": {\"matchLabels\": {\"app\": \"m%u\"}}}"

static void put_many(struct policy *p, const char *ns, const char *name, const char *app, const char *format, unsigned from, unsigned to)
{
	_cleanup_free_ char *peers = many_peers(format, from, to);

	put_peers(p, ns, name, app, "enforce", peers);
}

/* Twelve policies that each name a namespace of many pods. */
static struct policy *victims_of_many(void)
{
	struct label_in team = { "team", "many" };
	struct policy *p = world(0);
	char name[16], addr[16];

	policy_put_namespace(p, "many", &team, 1);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		snprintf(addr, sizeof(addr), "10.77.0.%u", i);
		put_pod(p, "many", name, addr);
	}
	for (unsigned i = 0; i < VICTIMS; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		snprintf(addr, sizeof(addr), "10.0.2.%u", i + 1);
		put_pod(p, "x", name, addr);
		put_peers(p, "x", name, name, "enforce", "{\"namespaceSelector\": {\"matchLabels\": {\"team\": \"many\"}}}");
	}
	return p;
}

static void those_victims_are_as_ever(struct policy *p)
{
	char addr[16];

	victims_are_as_ever(p);
	for (unsigned i = 1; i <= VICTIMS; i++) {
		snprintf(addr, sizeof(addr), "10.0.2.%u", i);
		CHECK(allows(p, addr, "10.77.0.7", 80) && !allows(p, addr, "10.0.0.1", 80));
	}
}

static void who_splits_others_by_selectors_is_alone_without(void)
{
	static const char *const formats[] = { ADDRESS, LABEL };

	for (unsigned i = 0; i < 2; i++) {
		_cleanup_(policy_freep) struct policy *p = victims_of_many();

		policy_set_rule_room(p, 768);
		those_victims_are_as_ever(p);
		put_many(p, "yy", "greedy", "d", formats[i], 0, MANY);
		those_victims_are_as_ever(p);
		CHECK(!allows(p, "10.0.0.2", "10.77.0.7", 80));
		CHECK(has_problem(p, PROBLEM_NO_ROOM, "NetworkPolicy yy/greedy"));
		CHECK(p->maps->n[POLICY_MAP_RULES] <= 768);
		policy_set_rule_room(p, VICTIMS * (MANY + 8) + 2 * MANY + 100);
		CHECK(allows(p, "10.0.0.2", "10.77.0.7", 80));
		CHECK(!p->n_left_out);
		those_victims_are_as_ever(p);
	}
}

/* Nor if it is cut up, or two namespaces name the same. */
static void to_share_what_splits_others_is_no_way_around(void)
{
	_cleanup_(policy_freep) struct policy *p = victims_of_many();
	char name[16];

	policy_set_rule_room(p, 768);
	policy_put_namespace(p, "zz", NULL, 0);
	put_pod(p, "zz", "d", "10.0.0.4");
	for (unsigned i = 0; i < MANY / 4; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put_many(p, "yy", name, "d", LABEL, 4 * i, 4 * i + 4);
		put_many(p, "zz", name, "d", LABEL, 4 * i, 4 * i + 4);
		if (i % 16 == 0)
			policy_maps_put(policy_compile(p));
	}
	those_victims_are_as_ever(p);
	CHECK(!allows(p, "10.0.0.2", "10.77.0.7", 80) && !allows(p, "10.0.0.4", "10.77.0.7", 80));
}

/* Who names more, but splits nothing of anybody's, is not the one; however many objects the other has. */
static void who_names_more_but_splits_nothing_stays(void)
{
	for (unsigned objects = 1; objects <= 12; objects++) {
		_cleanup_(policy_freep) struct policy *p = world(0);
		char name[16], addr[16];

		policy_put_namespace(p, "innocent", NULL, 0);
		put_pod(p, "innocent", "inn", "10.0.3.1");
		put_many(p, "innocent", "inn", "inn", "{\"ipBlock\": {\"cidr\": \"30.0.0.%u/32\"}}", 0, 150);
		for (unsigned i = 0; i < 8; i++) {
			snprintf(name, sizeof(name), "v%u", i);
			snprintf(addr, sizeof(addr), "10.0.2.%u", i + 1);
			put_pod(p, "x", name, addr);
			put_peers(p, "x", name, name, "enforce", "{\"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}");
		}
		policy_set_rule_room(p, 320);
		for (unsigned i = 0; i < objects; i++) {
			snprintf(name, sizeof(name), "n%u", i);
			put_many(p, "yy", name, "d", ADDRESS, 10 * i, 10 * i + 10);
			CHECK(allows(p, "10.0.3.1", "30.0.0.9", 80));
		}
		victims_are_as_ever(p);
		CHECK(allows(p, "10.0.2.1", "10.77.0.7", 80) && allows(p, "10.0.2.8", "10.77.0.7", 80));
		CHECK_INT(allows(p, "10.0.0.2", "10.77.0.7", 80), objects < 2);
		CHECK(p->maps->n[POLICY_MAP_RULES] <= 320);
	}
}

/* The bound of one policy: what others split of it is theirs. */
static void who_splits_one_policy_too_much_is_alone_without(void)
{
	_cleanup_(policy_freep) struct policy *p = world(0);

	policy_set_limits(p, 100, 0, 0);
	put_host(p, "\"198.51.100.0/24\", \"10.0.0.0/8\"");
	put_peers(p, "x", "v", "victim", "enforce", "{\"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}, {\"ipBlock\": {\"cidr\": \"198.51.100.0/24\"}}");
	put_pod(p, "yy", "e", "10.0.0.3");
	put_many(p, "yy", "first", "d", ADDRESS, 0, 70);
	CHECK(allows(p, "10.0.0.2", "10.77.0.7", 80));
	put_many(p, "yy", "second", "e", ADDRESS, 70, 130);
	victims_are_as_ever(p);
	CHECK(allows(p, "10.0.0.1", "10.77.0.7", 80) && allows(p, "192.0.2.1", "10.77.0.7", 80));
	CHECK(!allows(p, "10.0.0.2", "10.77.0.7", 80) && allows(p, "10.0.0.3", "10.77.0.99", 80)); /* one of them is enough */
	CHECK(!has_problem(p, PROBLEM_TOO_LARGE, "x/victim") && !has_problem(p, PROBLEM_HOST_TOO_LARGE, "/node"));
}

/* One that is too large by itself, by its entries in both directions or by rules that meet, has none; its neighbour, who splits what it names, is as ever. */
static void what_is_too_large_by_itself_is_nobody_elses_fault(void)
{
	_cleanup_free_ char *many = many_peers(ADDRESS, 10, 70);
	struct buf meet = { 0 };

	for (unsigned i = 0; i < 40; i++)
		(void)buf_addf(&meet, "{\"from\": [{\"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}], \"ports\": [{\"port\": %u}]},", 1000 + 2 * i);
	for (unsigned how = 0; how < 2; how++) {
		_cleanup_(policy_freep) struct policy *p = world(0);
		char *rules = how ? xasprintf("\"ingress\": [%s {\"from\": [%s]}]", meet.data, many) :
				    xasprintf("\"ingress\": [{\"from\": [%s]}], \"egress\": [{\"to\": [%s]}]", many, many);

		policy_set_limits(p, 100, 0, 0);
		put_pod(p, "x", "near", "10.0.0.5");
		put_many(p, "x", "near", "near", ADDRESS, 0, 20);
		put(p, xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"large\", \"namespace\": \"yy\"}, \"spec\": {"
				 "\"podSelector\": {\"matchLabels\": {\"app\": \"d\"}}, \"policyTypes\": [\"Ingress\", \"Egress\"], %s}}", rules), false);
		victims_are_as_ever(p);
		CHECK(allows(p, "10.0.0.5", "10.77.0.3", 80) && allows(p, "10.0.0.5", "10.77.0.15", 80) && !allows(p, "10.0.0.5", "10.77.0.50", 80));
		CHECK(!allows(p, "10.0.0.2", "10.77.0.15", 80));
		CHECK(has_problem(p, PROBLEM_TOO_LARGE, "yy/d"));
		CHECK(!p->n_left_out);
		free(rules);
	}
	buf_done(&meet);
}

static bool is_applied(struct policy *p, const struct policy_maps *before)
{
	_cleanup_(policy_maps_putp) struct policy_maps *m = policy_compile(p);

	return m->n[POLICY_MAP_ADDRS] == before->n[POLICY_MAP_ADDRS] &&
	       memcmp(policy_maps_addrs(m), policy_maps_addrs(before), m->n[POLICY_MAP_ADDRS] * sizeof(struct policy_addr_entry)) == 0;
}

/* What is left out costs a change nothing: it is asked anew when the caller says so. */
static void a_change_does_not_ask_anew(void)
{
	_cleanup_(policy_freep) struct policy *p = victims_of_many();
	struct policy_maps *before;

	policy_set_patient(p);
	policy_set_rule_room(p, 768);
	CHECK(!policy_room_is_stale(p));
	put_many(p, "yy", "greedy", "d", LABEL, 0, MANY);
	policy_maps_put(policy_compile(p));
	policy_ask_room(p);
	before = policy_compile(p);
	CHECK(p->n_left_out == 1 && !policy_room_is_stale(p));
	put_peers(p, "x", "v0", "v0", "enforce", "");
	CHECK(is_applied(p, before)); /* no class has been made for it */
	CHECK(policy_room_is_stale(p) && p->n_left_out == 1);
	policy_maps_put(before);
	put_many(p, "yy", "greedy", "d", LABEL, 0, 5);
	CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "x", "v1"));
	policy_maps_put(policy_compile(p));
	policy_settle(p, UINT64_MAX);
	policy_ask_room(p);
	CHECK(allows(p, "10.0.0.2", "10.77.0.2", 80));
	CHECK(!p->n_left_out && !policy_room_is_stale(p));
	put_nest(p, "yy", "trial", "d", "observe", 0, NEST);
	policy_set_trial_room(p, NEST);
	policy_maps_put(policy_compile(p));
	CHECK(p->trials_left_out && !policy_room_is_stale(p)); /* all took part in the answer */
	policy_set_trial_room(p, 0);
	put_pod(p, "yy", "e", "10.0.0.3");
	policy_maps_put(policy_compile(p));
	CHECK(p->trials_left_out && policy_room_is_stale(p));
	policy_ask_room(p);
	policy_maps_put(policy_compile(p));
	CHECK(!p->trials_left_out && !has_problem(p, PROBLEM_TRIAL_NO_ROOM, "yy/d"));
}

static void put_a_random(struct policy *p, unsigned i)
{
	static const char *const apps[] = { "victim", "d", "a", "b" };
	static const char *const formats[] = { ADDRESS, LABEL, "{\"ipBlock\": {\"cidr\": \"10.%u.0.0/16\"}}", "{\"namespaceSelector\": {\"matchLabels\": {\"team\": \"many\"}}}" };
	char name[8];

	snprintf(name, sizeof(name), "r%u", i);
	put_many(p, (const char *[]){ "x", "yy", "many" }[i % 3], name, i % 3 == 2 ? apps[2 + i / 3 % 2] : apps[i % 3], formats[i / 3 % 4], 7 * i, 7 * i + 3 + i % 40);
}

enum { RANDOMS = 24 };

static void any_history_leaves_out_the_same_for_want_of_rules(void)
{
	_cleanup_free_ char *first = NULL;

	for (seed = 1; seed <= 20; seed++) {
		_cleanup_(policy_freep) struct policy *p = victims_of_many();
		_cleanup_free_ char *text = NULL;
		unsigned order[RANDOMS];

		put_pod(p, "many", "a", "10.0.4.1");
		put_pod(p, "many", "b", "10.0.4.2");
		policy_set_rule_room(p, 900);
		for (unsigned i = 0; i < RANDOMS; i++)
			order[i] = i;
		shuffle(order, RANDOMS);
		for (unsigned i = 0; i < RANDOMS; i++) {
			put_a_random(p, order[i]);
			if (pick(2) == 0)
				policy_maps_put(policy_compile(p));
			if (pick(3) == 0)
				put_a_random(p, pick(RANDOMS));
		}
		text = dump(p);
		CHECK(p->n_left_out && p->maps->n[POLICY_MAP_RULES] <= 900);
		if (!first)
			first = take_ptr(text);
		else
			CHECK_STR(text, first);
	}
}

int main(void)
{
	RUN(who_names_too_many_blocks_is_alone_without);
	RUN(to_cut_it_up_is_no_way_around);
	RUN(what_fits_beside_the_others_stays);
	RUN(any_order_leaves_out_the_same);
	RUN(who_names_too_many_prefixes_is_alone_without);
	RUN(who_splits_what_others_name_is_alone_without);
	RUN(who_splits_others_by_selectors_is_alone_without);
	RUN(to_share_what_splits_others_is_no_way_around);
	RUN(who_names_more_but_splits_nothing_stays);
	RUN(who_splits_one_policy_too_much_is_alone_without);
	RUN(what_is_too_large_by_itself_is_nobody_elses_fault);
	RUN(a_change_does_not_ask_anew);
	RUN(any_history_leaves_out_the_same_for_want_of_rules);
	RUN(the_count_is_exact);
	RUN(what_only_observes_takes_nothing);
	RUN(the_node_without_room_keeps_its_failsafe_ports_alone);
	return test_end();
}
