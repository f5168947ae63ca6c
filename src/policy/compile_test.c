/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of the whole compiler, on random histories: incremental equals full, any order of events gives the same, a
 * half-made update gives no verdict that is neither old nor new; and the bounds. Verdicts themselves are held against other
 * evaluators in tests/policy. */
#include "base/buf.h"
#include "base/str.h"
#include "base/test.h"
#include "policy/lookup.h"
#include "policy/policy.h"

static unsigned seed;

static unsigned pick(unsigned n)
{
	return rand_r(&seed) % n;
}

/* A small world: what can be put and deleted, by number. */

enum { NAMESPACES = 3, PODS = 8, POLICIES = 6, CLUSTER_POLICIES = 3, THINGS = NAMESPACES + PODS + POLICIES + CLUSTER_POLICIES + 1 };

struct world {
	char *text[THINGS]; /* how each thing is now; NULL: it is not there */
};

static char *random_selector(void)
{
	static const char *const some[] = { "{}", "{\"matchLabels\": {\"app\": \"a\"}}", "{\"matchLabels\": {\"app\": \"b\"}}",
					    "{\"matchExpressions\": [{\"key\": \"app\", \"operator\": \"NotIn\", \"values\": [\"a\", \"c\"]}]}",
					    "{\"matchExpressions\": [{\"key\": \"tier\", \"operator\": \"Exists\"}]}",
					    "{\"matchExpressions\": [{\"key\": \"tier\", \"operator\": \"DoesNotExist\"}]}" };

	return xstrdup(some[pick(ARRAY_SIZE(some))]);
}

static char *random_peer(bool cluster, bool egress)
{
	static const char *const blocks[] = { "0.0.0.0/0", "10.0.0.0/24", "10.0.0.2/31", "fd00::/64", "::/0", "192.0.2.0/24" };
	_cleanup_free_ char *a = random_selector(), *b = random_selector();
	const char *block = blocks[pick(ARRAY_SIZE(blocks))];

	if (cluster) {
		if (egress && pick(4) == 0)
			return xasprintf("{\"networks\": [\"%s\"]}", block);
		if (egress && pick(6) == 0)
			return xasprintf("{\"nodes\": %s}", a);
		return pick(2) ? xasprintf("{\"namespaces\": %s}", a) : xasprintf("{\"pods\": {\"namespaceSelector\": %s, \"podSelector\": %s}}", a, b);
	}
	switch (pick(5)) {
	case 0:
		return xasprintf("{\"ipBlock\": {\"cidr\": \"%s\"}}", block);
	case 1:
		return xstrdup("{\"ipBlock\": {\"cidr\": \"10.0.0.0/24\", \"except\": [\"10.0.0.4/30\"]}}");
	case 2:
		return xasprintf("{\"podSelector\": %s}", a);
	case 3:
		return xasprintf("{\"namespaceSelector\": %s}", a);
	default:
		return xasprintf("{\"namespaceSelector\": %s, \"podSelector\": %s}", a, b);
	}
}

static char *random_ports(bool cluster, bool named)
{
	static const char *const np[] = { "", ", \"ports\": [{\"port\": 80}]", ", \"ports\": [{\"port\": 80, \"endPort\": 90}, {\"protocol\": \"UDP\"}]",
					  ", \"ports\": [{\"port\": \"web\"}]" };
	static const char *const cnp[] = { "", ", \"protocols\": [{\"tcp\": {\"destinationPort\": {\"number\": 80}}}]",
					   ", \"protocols\": [{\"tcp\": {\"destinationPort\": {\"range\": {\"start\": 70, \"end\": 85}}}}]",
					   ", \"protocols\": [{\"destinationNamedPort\": \"web\"}]" };

	return xstrdup((cluster ? cnp : np)[pick(named ? 4 : 3)]);
}

static char *random_rule(bool cluster, bool egress)
{
	static const char *const actions[] = { "Accept", "Deny", "Pass" };
	_cleanup_free_ char *one = random_peer(cluster, egress), *two = random_peer(cluster, egress);
	bool pods_only = !strstr(one, "networks") && !strstr(two, "networks") && !strstr(one, "nodes") && !strstr(two, "nodes");
	_cleanup_free_ char *ports = random_ports(cluster, !cluster || pods_only);
	const char *key = egress ? "to" : "from";

	if (cluster)
		return xasprintf("{\"action\": \"%s\", \"%s\": [%s, %s]%s}", actions[pick(3)], key, one, two, ports);
	return pick(5) ? xasprintf("{\"%s\": [%s, %s]%s}", key, one, two, ports) : xasprintf("{\"%s\": []%s}", key, ports);
}

static char *random_policy(unsigned i, bool cluster)
{
	_cleanup_free_ char *in = random_rule(cluster, false), *out1 = random_rule(cluster, true), *out2 = random_rule(cluster, true);
	_cleanup_free_ char *subject = random_selector();

	if (cluster)
		return xasprintf("{\"kind\": \"ClusterNetworkPolicy\", \"metadata\": {\"name\": \"c%u\"}, \"spec\": {\"tier\": \"%s\", \"priority\": %u, "
				 "\"subject\": {\"namespaces\": %s}, \"ingress\": [%s], \"egress\": [%s, %s]}}",
				 i, pick(2) ? "Admin" : "Baseline", pick(2), subject, in, out1, out2);
	return xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"p%u\", \"namespace\": \"n%u\"}, \"spec\": {\"podSelector\": %s, "
			 "\"policyTypes\": [\"Ingress\", \"Egress\"], \"ingress\": [%s], \"egress\": [%s, %s]}}",
			 i, i % NAMESPACES, subject, in, out1, out2);
}

static char *random_thing(unsigned i)
{
	if (i < NAMESPACES + PODS) /* labels, by bits */
		return xasprintf("%u", pick(12));
	i -= NAMESPACES + PODS;
	if (i < POLICIES + CLUSTER_POLICIES)
		return random_policy(i, i >= POLICIES);
	return xasprintf("%u", pick(12)); /* the node */
}

static size_t labels_of(unsigned bits, struct label_in ret[static 2])
{
	static const char *const apps[] = { "a", "b", "c", NULL };
	size_t n = 0;

	if (apps[bits & 3])
		ret[n++] = (struct label_in){ "app", apps[bits & 3] };
	if (bits / 4)
		ret[n++] = (struct label_in){ "tier", bits / 4 == 1 ? "x" : "y" };
	return n;
}

static struct addr address(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

static struct addr pod_address(unsigned pod, bool v6)
{
	char text[ADDR_TEXT_MAX];

	snprintf(text, sizeof(text), v6 ? "fd00::%x" : "10.0.0.%u", pod + 1);
	return address(text);
}

static void put_pod(struct policy *p, unsigned i, unsigned bits)
{
	const struct policy_port_in port = { "web", pick(2) ? IPPROTO_TCP : IPPROTO_TCP, bits & 1 ? 80 : 8080 };
	struct label_in labels[2];
	char ns[8], name[8];
	struct policy_pod_in in = { .namespace_ = ns, .name = name, .labels = labels, .n_labels = labels_of(bits, labels), .n_addrs = 2,
				    .addrs = { pod_address(i, false), pod_address(i, true) }, .ports = &port, .n_ports = 1,
				    .local = i % 4 != 3 };

	snprintf(ns, sizeof(ns), "n%u", i % NAMESPACES);
	snprintf(name, sizeof(name), "pod%u", i);
	policy_put_pod(p, &in);
}

static void put_text(struct policy *p, const char *text)
{
	_cleanup_json_ json_t *j = json_parse("test", text, strlen(text), NULL);
	struct policy_spec *s;

	CHECK(j);
	CHECK_INT(policy_spec_parse(j, NULL, &s, NULL), 0);
	if (s->errors.n)
		printf("# %.2000s: %s\n", text, s->errors.text[0]);
	CHECK_INT(s->errors.n, 0);
	policy_put_object(p, s);
}

static void del_thing(struct policy *p, unsigned i)
{
	char ns[8], name[8];

	if (i < NAMESPACES) {
		snprintf(name, sizeof(name), "n%u", i);
		policy_del_namespace(p, name);
	} else if (i < NAMESPACES + PODS) {
		snprintf(ns, sizeof(ns), "n%u", (i - NAMESPACES) % NAMESPACES);
		snprintf(name, sizeof(name), "pod%u", i - NAMESPACES);
		policy_del_pod(p, ns, name);
	} else if (i < THINGS - 1) {
		bool cluster = i >= NAMESPACES + PODS + POLICIES;
		unsigned k = i - NAMESPACES - PODS;

		snprintf(ns, sizeof(ns), "n%u", k % NAMESPACES);
		snprintf(name, sizeof(name), cluster ? "c%u" : "p%u", k);
		policy_del_object(p, cluster ? KIND_CLUSTER : KIND_NETWORK_POLICY, cluster ? "" : ns, name);
	} else {
		policy_del_node(p, "node");
	}
}

static void put_thing(struct policy *p, unsigned i, const char *text)
{
	struct label_in labels[2];
	char name[8];

	if (i < NAMESPACES) {
		snprintf(name, sizeof(name), "n%u", i);
		policy_put_namespace(p, name, labels, labels_of(atoi(text), labels));
	} else if (i < NAMESPACES + PODS) {
		put_pod(p, i - NAMESPACES, atoi(text));
	} else if (i < THINGS - 1) {
		put_text(p, text);
	} else {
		struct addr a = address("172.16.0.1");

		policy_put_node(p, "node", labels, labels_of(atoi(text), labels), &a, 1, NULL, 0);
	}
}

static void set_ranges(struct policy *p)
{
	struct prefix ranges[2];

	CHECK_INT(prefix_parse("10.0.0.0/25", &ranges[0], NULL), 0);
	CHECK_INT(prefix_parse("fd00::/64", &ranges[1], NULL), 0);
	policy_set_ranges(p, ranges, 2);
}

/* Return: what it happened to. */
static unsigned random_event(struct world *w, struct policy *p)
{
	unsigned i = pick(THINGS);

	free(w->text[i]);
	w->text[i] = pick(4) ? random_thing(i) : NULL;
	if (w->text[i])
		put_thing(p, i, w->text[i]);
	else
		del_thing(p, i);
	return i;
}

static void world_done(struct world *w)
{
	for (unsigned i = 0; i < THINGS; i++)
		free(w->text[i]);
}

static struct policy *from_scratch(const struct world *w)
{
	struct policy *p = policy_new();
	unsigned order[THINGS];

	set_ranges(p);
	for (unsigned i = 0; i < THINGS; i++) {
		unsigned j = pick(i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	for (unsigned i = 0; i < THINGS; i++)
		if (w->text[order[i]])
			put_thing(p, order[i], w->text[order[i]]);
	return p;
}

static char *settled_dump(struct policy *p)
{
	char *text = NULL;
	size_t n;
	FILE *f;

	policy_maps_put(policy_compile(p));
	policy_settle(p, UINT64_MAX);
	policy_maps_put(policy_compile(p));
	f = open_memstream(&text, &n);
	policy_dump(p, f);
	fclose(f);
	return text;
}

static void incremental_equals_full_in_any_order(void)
{
	for (unsigned round = 0; round < 400; round++) {
		struct world w = { 0 };
		_cleanup_(policy_freep) struct policy *p = policy_new();

		seed = round + 1;
		set_ranges(p);
		for (unsigned events = 10 + pick(60); events; events--) {
			random_event(&w, p);
			if (pick(3) == 0)
				policy_maps_put(policy_compile(p));
			if (pick(6) == 0)
				policy_settle(p, UINT64_MAX);
		}
		_cleanup_(policy_freep) struct policy *full = from_scratch(&w);
		_cleanup_free_ char *a = settled_dump(p), *b = settled_dump(full);

		world_done(&w);
		if (!streq(a, b))
			printf("# round %u differs\n", round);
		CHECK(streq(a, b));
		CHECK(strstr(a, "prefix "));
	}
}

/* Maps that are changed one entry at a time, as the datapath's are. */

static struct policy_maps *maps_copy(const struct policy_maps *m)
{
	struct policy_maps *c = xnew0(struct policy_maps);

	c->refs = 1;
	for (unsigned i = 0; i < POLICY_MAP_COUNT; i++) {
		size_t size = m->n[i] * policy_map_shapes[i].entry_size;

		c->n[i] = m->n[i];
		c->entries[i] = xmalloc(size);
		memcpy(c->entries[i], m->entries[i], size);
	}
	return c;
}

static void maps_change(struct policy_maps *m, const struct policy_change *ch)
{
	const struct policy_map_shape *s = &policy_map_shapes[ch->map];
	char *e = m->entries[ch->map];
	size_t i = 0, n = m->n[ch->map];

	while (i < n && policy_map_cmp(ch->map, e + i * s->entry_size, ch->key) < 0)
		i++;
	if (i < n && policy_map_cmp(ch->map, e + i * s->entry_size, ch->key) == 0) {
		if (ch->value) {
			memcpy(e + i * s->entry_size + s->value_offset, ch->value, s->value_size);
			return;
		}
		memmove(e + i * s->entry_size, e + (i + 1) * s->entry_size, (n - i - 1) * s->entry_size);
		m->n[ch->map]--;
		return;
	}
	CHECK(ch->value); /* only what is there is deleted */
	m->entries[ch->map] = e = xrealloc(e, n + 1, s->entry_size);
	memmove(e + (i + 1) * s->entry_size, e + i * s->entry_size, (n - i) * s->entry_size);
	memset(e + i * s->entry_size, 0, s->entry_size);
	memcpy(e + i * s->entry_size, ch->key, s->key_size);
	memcpy(e + i * s->entry_size + s->value_offset, ch->value, s->value_size);
	m->n[ch->map]++;
}

struct update {
	const struct policy_maps *old, *new_;
	struct policy_maps *live;
	enum policy_step step;
	unsigned changes;
	struct policy_change *turns; /* that wait for it */
	size_t n_turns, cap_turns;
};

static void check_side(const struct update *u, const struct addr *ep, const struct addr *peer, enum policy_direction d)
{
	static const struct {
		uint8_t protocol;
		uint16_t port;
	} probes[] = { { IPPROTO_TCP, 80 }, { IPPROTO_TCP, 8080 }, { IPPROTO_UDP, 53 }, { IPPROTO_ICMP, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		struct policy_side was, is, now;

		policy_lookup_side(u->old, ep, peer, d, probes[i].protocol, probes[i].port, &was);
		policy_lookup_side(u->new_, ep, peer, d, probes[i].protocol, probes[i].port, &is);
		policy_lookup_side(u->live, ep, peer, d, probes[i].protocol, probes[i].port, &now);
		CHECK(now.allowed == was.allowed || now.allowed == is.allowed);
	}
}

/* A packet between two pods of this node is judged at both ends. */
static void check_pair(const struct update *u, const struct addr *ep, const struct addr *peer)
{
	struct policy_query q = { .src = *ep, .dst = *peer, .protocol = IPPROTO_TCP, .port = pick(2) ? 80 : 8080 };
	struct policy_answer was, is, now;

	policy_lookup(u->old, &q, &was);
	policy_lookup(u->new_, &q, &is);
	policy_lookup(u->live, &q, &now);
	CHECK(now.allowed == was.allowed || now.allowed == is.allowed);
}

static void check_between(const struct update *u)
{
	unsigned a = pick(PODS);
	bool v6 = pick(2);
	struct addr ep = pod_address(a, v6);

	for (unsigned b = 0; b < PODS + 2; b++) {
		struct addr peer = b < PODS ? pod_address(b, v6) : address(v6 ? "2001:db8::1" : b == PODS ? "192.0.2.9" : "172.16.0.1");

		if (a != b) { /* a pod reaches itself, whatever its policy says */
			check_side(u, &ep, &peer, POLICY_INGRESS);
			check_side(u, &ep, &peer, POLICY_EGRESS);
		}
		check_pair(u, &ep, &peer);
	}
}

/* All that turns, at one instant. */
static void turn(struct update *u)
{
	for (size_t i = 0; i < u->n_turns; i++)
		maps_change(u->live, &u->turns[i]);
	u->n_turns = 0;
	check_between(u);
}

static int on_change(const struct policy_change *ch, void *ctx)
{
	struct update *u = ctx;

	CHECK(ch->step >= u->step); /* the steps come in order */
	u->step = ch->step;
	u->changes++;
	if (ch->turns) {
		GROW(u->turns, u->n_turns, u->cap_turns);
		u->turns[u->n_turns++] = *ch;
		return 0;
	}
	if (ch->step == POLICY_STEP_REMOVE)
		turn(u);
	if (ch->map != POLICY_MAP_ENDPOINTS) /* what has turned to nothing stands there a while, and says it */
		maps_change(u->live, ch);
	check_between(u);
	return 0;
}

static void check_same(const struct policy_maps *a, const struct policy_maps *b)
{
	for (unsigned i = 0; i < POLICY_MAP_COUNT; i++) {
		CHECK_INT(a->n[i], b->n[i]);
		CHECK(!a->n[i] || memcmp(a->entries[i], b->entries[i], a->n[i] * policy_map_shapes[i].entry_size) == 0);
	}
}

/* P7: one event at a time, each change of each update looked at from both sides. */
static void half_made_updates_are_old_or_new(void)
{
	unsigned changes = 0;

	for (unsigned round = 0; round < 60; round++) {
		struct world w = { 0 };
		_cleanup_(policy_freep) struct policy *p = NULL;
		struct policy_maps *old;

		seed = 7000 + round;
		for (unsigned i = 0; i < THINGS; i++)
			w.text[i] = i < NAMESPACES + PODS || pick(3) ? random_thing(i) : NULL;
		p = from_scratch(&w);
		old = policy_compile(p);
		for (unsigned events = 0; events < 12; events++) {
			struct update u = { .old = old, .live = maps_copy(old) };
			struct policy_maps *new_;

			if (events % 3 == 2)
				policy_settle(p, UINT64_MAX);
			else
				random_event(&w, p);
			new_ = policy_compile(p);
			u.new_ = new_;
			CHECK_INT(policy_maps_diff(old, new_, on_change, &u, NULL), 0);
			turn(&u);
			check_same(u.live, new_);
			changes += u.changes;
			free(u.turns);
			policy_maps_put(u.live);
			policy_maps_put(old);
			old = new_;
		}
		policy_maps_put(old);
		world_done(&w);
	}
	CHECK(changes > 10000);
}

static int count_change(_unused_ const struct policy_change *ch, void *ctx)
{
	++*(size_t *)ctx;
	return 0;
}

static void put_unique_pods(struct policy *p, unsigned n)
{
	struct label_in labels[3];

	for (unsigned i = 0; i < n; i++) {
		char name[16], uid[16], app[8];
		uint32_t v4 = htonl(0x0a000000 + i);
		struct policy_pod_in in = { .namespace_ = "ns", .name = name, .labels = labels, .n_labels = 3, .n_addrs = 1,
					    .addrs = { addr_from_v4((struct in_addr){ v4 }) }, .local = i < 10 };

		snprintf(name, sizeof(name), "pod%u", i);
		snprintf(uid, sizeof(uid), "u%u", i);
		snprintf(app, sizeof(app), "a%u", i % 200);
		labels[0] = (struct label_in){ "uid", uid };
		labels[1] = (struct label_in){ "app", app };
		labels[2] = (struct label_in){ "tier", i & 1 ? "x" : "y" };
		policy_put_pod(p, &in);
	}
}

static void put_selectors(struct policy *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		_cleanup_free_ char *text = xasprintf("{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"p%u\", \"namespace\": \"ns\"}, \"spec\": "
						      "{\"podSelector\": {}, \"ingress\": [{\"from\": [{\"podSelector\": {\"matchLabels\": {\"app\": \"a%u\"}}}]}]}}",
						      i, i);

		put_text(p, text);
	}
}

static void labels_that_nothing_selects_cost_nothing(void)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	_cleanup_(policy_maps_putp) struct policy_maps *before = NULL, *after = NULL;
	size_t changes = 0;
	bool classes_changed;

	policy_put_namespace(p, "ns", NULL, 0);
	put_unique_pods(p, 20000);
	put_selectors(p, 100);
	before = policy_compile(p);
	CHECK_INT(policy_stats(p).classes, 100);
	CHECK(policy_stats(p).profiles <= 101);
	put_unique_pods(p, 20000); /* the same again */
	struct label_in labels[] = { { "uid", "changed" }, { "app", "a3" } };
	struct policy_pod_in in = { .namespace_ = "ns", .name = "pod3", .labels = labels, .n_labels = 2, .n_addrs = 1, .local = true,
				    .addrs = { addr_from_v4((struct in_addr){ htonl(0x0a000003) }) } };

	policy_put_pod(p, &in);
	after = policy_compile(p);
	CHECK_INT(policy_maps_diff(before, after, count_change, &changes, &classes_changed), 0);
	CHECK_INT(changes, 0);
	CHECK(!classes_changed);
}

/* Selectors of what a pod must not have match nearly all: classes of many peers each, which come and go together. They hang on nothing, on a namespace, or
 * on a label that is asked for beside. */
static void put_refusals(struct policy *p, unsigned n)
{
	static const char *const peers[] = {
		"{\"podSelector\": {\"matchExpressions\": [{\"key\": \"k%u\", \"operator\": \"DoesNotExist\"}]}}",
		"{\"namespaceSelector\": {}, \"podSelector\": {\"matchExpressions\": [{\"key\": \"uid\", \"operator\": \"NotIn\", \"values\": [\"u%u\"]}]}}",
		"{\"podSelector\": {\"matchExpressions\": [{\"key\": \"k%u\", \"operator\": \"DoesNotExist\"}, {\"key\": \"tier\", \"operator\": \"In\", \"values\": [\"x\"]}]}}",
	};
	struct buf b = { 0 };

	(void)buf_adds(&b, "{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"n\", \"namespace\": \"ns\"}, \"spec\": {\"podSelector\": {}, \"ingress\": [");
	for (unsigned i = 0; i < n; i++) {
		(void)buf_adds(&b, i ? ",{\"from\": [" : "{\"from\": [");
		(void)buf_addf(&b, peers[i % ARRAY_SIZE(peers)], i);
		(void)buf_addf(&b, "], \"ports\": [{\"port\": %u}]}", i + 1);
	}
	(void)buf_adds(&b, "]}}");
	put_text(p, b.data);
	free(b.data);
}

static void put_refused(struct policy *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[16], key[16], uid[16];
		struct label_in labels[] = { { key, "v" }, { "uid", uid }, { "tier", i & 1 ? "x" : "y" } };
		struct policy_pod_in in = { .namespace_ = i % 3 ? "ns" : "other", .name = name, .labels = labels, .n_labels = 3, .n_addrs = 1,
					    .addrs = { addr_from_v4((struct in_addr){ htonl(0x0a000000 + i) }) }, .local = i < 2 };

		snprintf(name, sizeof(name), "pod%u", i);
		snprintf(key, sizeof(key), "k%u", i);
		snprintf(uid, sizeof(uid), "u%u", i);
		policy_put_pod(p, &in);
	}
}

static void what_pods_must_not_have_comes_and_goes(void)
{
	enum { PODS_NOW = 120, RULES = 90 };
	_cleanup_(policy_freep) struct policy *p = policy_new(), *full = policy_new();
	_cleanup_free_ char *a = NULL, *b = NULL;

	for (int i = 0; i < 2; i++) {
		policy_put_namespace(i ? full : p, "ns", NULL, 0);
		policy_put_namespace(i ? full : p, "other", NULL, 0);
	}
	put_refused(p, 10);
	put_refusals(p, RULES);
	policy_maps_put(policy_compile(p));
	put_refused(p, PODS_NOW);
	policy_maps_put(policy_compile(p));
	CHECK(policy_stats(p).classes > RULES / 2);
	put_refusals(p, RULES / 3); /* merges what those apart told apart */
	policy_maps_put(policy_compile(p));
	put_refusals(p, RULES);
	put_refusals(full, RULES);
	put_refused(full, PODS_NOW);
	a = settled_dump(p);
	b = settled_dump(full);
	CHECK(streq(a, b));
	CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "ns", "n"));
	free(a);
	a = settled_dump(p);
	CHECK_INT(policy_stats(p).classes, 0);
	CHECK_INT(policy_stats(p).peers_in_use, 0);
}

static bool problem_seen;

static void on_problem(enum policy_problem what, const char *subject, _unused_ const char *detail, void *ctx)
{
	problem_seen |= what == *(enum policy_problem *)ctx && streq(subject, "ns/pod1");
}

/* P9: what would not fit locks its endpoints down, says so, touches no other, and recovers. */
static void too_large_a_policy_locks_down(void)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	enum policy_problem wanted = PROBLEM_TOO_LARGE;
	struct addr one = address("10.0.0.1"), other = address("10.1.0.1"), peer = address("192.0.2.1");
	struct policy_pod_in elsewhere = { .namespace_ = "other", .name = "pod", .n_addrs = 1, .addrs = { other }, .local = true };
	struct policy_maps *m;
	struct policy_side side;

	policy_put_namespace(p, "ns", NULL, 0);
	policy_put_namespace(p, "other", NULL, 0);
	policy_put_pod(p, &elsewhere);
	put_unique_pods(p, 1000);
	put_selectors(p, 100);
	policy_set_limits(p, 50, 0, 0);
	m = policy_compile(p);
	policy_lookup_side(m, &one, &peer, POLICY_EGRESS, IPPROTO_TCP, 80, &side);
	CHECK(!side.allowed && side.why == POLICY_BY_LOCK && side.policy == POLICY_LOCKED);
	policy_lookup_side(m, &other, &peer, POLICY_EGRESS, IPPROTO_TCP, 80, &side);
	CHECK(side.judged && side.allowed);
	problem_seen = false;
	policy_each_problem(p, on_problem, &wanted);
	CHECK(problem_seen);
	policy_maps_put(m);
	for (unsigned i = 10; i < 100; i++) {
		char name[8];

		snprintf(name, sizeof(name), "p%u", i);
		CHECK(policy_del_object(p, KIND_NETWORK_POLICY, "ns", name));
	}
	m = policy_compile(p);
	policy_lookup_side(m, &one, &peer, POLICY_EGRESS, IPPROTO_TCP, 80, &side);
	CHECK(side.allowed);
	policy_maps_put(m);
}

/* A wildcard costs one entry a family, whatever there is in the cluster. */
static bool judges(struct policy_maps *m, const struct addr *node, const char *peer, enum policy_direction d, uint16_t port, bool *ret_allowed)
{
	struct policy_side side;
	struct addr a;

	CHECK_INT(addr_parse(peer, &a), 0);
	policy_lookup_side(m, node, &a, d, IPPROTO_TCP, port, &side);
	*ret_allowed = side.allowed;
	return side.judged;
}

/* Only a policy of nodes makes this node an endpoint; it selects no pod, and the default for pods is none of the node's. */
static const char node_cnp[] = "{\"kind\": \"ClusterNetworkPolicy\", \"metadata\": {\"name\": \"n\", \"annotations\": {\"weft.dev/subject\": \"nodes-from\"}},"
				     "\"spec\": {\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"namespaces\": {\"matchLabels\": {\"zone\": \"a\"}}},"
				     "\"egress\": [{\"action\": \"Deny\", \"to\": [{\"networks\": [\"192.0.2.0/24\"]}],"
				     "\"protocols\": [{\"tcp\": {\"destinationPort\": {\"number\": 80}}}]}]}}";

static uint32_t host_policy_of(struct policy *p)
{
	struct policy_maps *m = policy_compile(p);
	uint32_t id = m->host_policy;

	policy_maps_put(m);
	return id;
}

/* A number is somebody else's no sooner than what it meant has been out of the maps for a grace period, whatever is compiled meanwhile. */
static void a_number_rests_until_nobody_works_with_it(void)
{
	struct label_in label = { "zone", "a" };
	struct policy *p = policy_new();
	struct addr node = address("10.0.0.1");
	uint64_t had, dropped;
	uint32_t id;

	policy_set_host(p, &label, 1, &node, 1);
	put_text(p, node_cnp);
	id = host_policy_of(p);
	had = policy_compiled(p);
	CHECK(policy_del_object(p, KIND_CLUSTER, "", "n"));
	CHECK_INT(host_policy_of(p), POLICY_OPEN);
	CHECK(!policy_settle(p, had) && policy_rests(p));
	CHECK(policy_settle(p, policy_compiled(p))); /* its rules go with the next maps */
	dropped = policy_compiled(p);
	put_text(p, node_cnp);
	CHECK(host_policy_of(p) != id);
	policy_settle(p, dropped);
	put_text(p, node_cnp); /* another object, and so another policy */
	CHECK(host_policy_of(p) != id);
	while (policy_rests(p)) {
		policy_settle(p, UINT64_MAX);
		policy_maps_put(policy_compile(p));
	}
	policy_free(p);
}

static void the_node_is_an_endpoint_while_policies_speak_of_it(void)
{
	struct label_in label = { "zone", "a" };
	struct policy *p = policy_new();
	struct policy_maps *m;
	struct addr node, twice[2];
	bool allowed;

	CHECK_INT(addr_parse("10.0.0.1", &node), 0);
	twice[0] = twice[1] = node; /* a diff would delete the one that is left when the other goes */
	policy_set_modes(p, false, true);
	policy_set_host(p, &label, 1, twice, 2);
	m = policy_compile(p);
	CHECK_INT(m->n[POLICY_MAP_ENDPOINTS], 0);
	policy_maps_put(m);
	put_text(p, node_cnp);
	m = policy_compile(p);
	CHECK_INT(m->n[POLICY_MAP_ENDPOINTS], 1);
	CHECK(m->host_policy >= POLICY_ID_FIRST);
	CHECK(judges(m, &node, "192.0.2.1", POLICY_INGRESS, 80, &allowed) && !allowed);
	CHECK(judges(m, &node, "192.0.2.1", POLICY_INGRESS, 81, &allowed) && allowed);
	CHECK(judges(m, &node, "198.51.100.1", POLICY_INGRESS, 80, &allowed) && allowed);
	CHECK(judges(m, &node, "192.0.2.1", POLICY_EGRESS, 80, &allowed) && allowed);
	policy_maps_put(m);
	label.value = "b"; /* the node is another now */
	policy_set_host(p, &label, 1, &node, 1);
	m = policy_compile(p);
	CHECK_INT(m->n[POLICY_MAP_ENDPOINTS], 0);
	policy_maps_put(m);
	policy_free(p);
}

static void any_pod_and_everything_cost_one_entry(void)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	struct policy_maps *m;

	policy_put_namespace(p, "ns", NULL, 0);
	put_unique_pods(p, 2000);
	put_text(p, "{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"x\", \"namespace\": \"ns\"}, \"spec\": {\"podSelector\": {\"matchLabels\": "
		    "{\"uid\": \"u1\"}}, \"ingress\": [{\"from\": [{\"namespaceSelector\": {}}, {\"ipBlock\": {\"cidr\": \"0.0.0.0/0\"}}]}]}}");
	m = policy_compile(p);
	CHECK_INT(policy_stats(p).classes, 0);
	CHECK_INT(m->n[POLICY_MAP_RULES], 5); /* in: any4, any6, pod; out: any4, any6 */
	policy_maps_put(m);
}

/* One line on the agent's socket (src/ipc), beside what else it says. */
static void check_fits(const json_t *shown)
{
	_cleanup_free_ char *text = json_text(shown);

	CHECK(strlen(text) < 900 << 10);
}

static void check_is_shown(const struct policy *p, json_int_t peers)
{
	_cleanup_json_ json_t *shown = policy_pod_json(p, "ns", "pod1");
	const json_t *rule = json_array_get(json_object_get(json_array_get(json_object_get(shown, "policies"), 0), "rules"), 0);

	CHECK_INT(json_array_size(json_object_get(rule, "peers")), 1000);
	CHECK_INT(json_integer_value(json_object_get(rule, "morePeers")), peers - 1000);
	check_fits(shown);
}

/* 3 MiB of JSON, which is what an API takes: each block counts, the last one too. */
static void a_rule_may_list_what_an_object_can_hold(void)
{
	enum { BLOCKS = 70000 };
	_cleanup_(policy_freep) struct policy *p = policy_new();
	struct addr pod = address("10.0.0.1"), last = addr_from_v4((struct in_addr){ htonl(0xc6120000 + 2 * (BLOCKS - 1)) }), beside = address("198.18.0.1");
	struct policy_maps *m;
	struct policy_side side;
	struct buf text = { 0 };

	policy_put_namespace(p, "ns", NULL, 0);
	put_unique_pods(p, 2);
	buf_adds(&text, "{\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"x\",\"namespace\":\"ns\"},\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[");
	for (unsigned i = 0; i < BLOCKS; i++) {
		char block[ADDR_TEXT_MAX];
		struct addr a = addr_from_v4((struct in_addr){ htonl(0xc6120000 + 2 * i) });

		buf_addf(&text, "%s{\"ipBlock\":{\"cidr\":\"%s/32\"}}", i ? "," : "", addr_format(&a, block));
	}
	buf_adds(&text, "]}]}}");
	CHECK(text.len < (3u << 20));
	put_text(p, text.data);
	buf_done(&text);
	m = policy_compile(p);
	policy_lookup_side(m, &pod, &last, POLICY_INGRESS, IPPROTO_TCP, 80, &side);
	CHECK(side.judged && side.allowed);
	policy_lookup_side(m, &pod, &beside, POLICY_INGRESS, IPPROTO_TCP, 80, &side);
	CHECK(side.judged && !side.allowed && side.why != POLICY_BY_LOCK);
	policy_maps_put(m);
	check_is_shown(p, BLOCKS);
}

/* Many rules, few of which there is room to show. */
static void what_is_shown_of_a_pod_is_bounded(void)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	_cleanup_json_ json_t *shown = NULL;
	const json_t *object;
	struct buf text = { 0 };

	policy_put_namespace(p, "ns", NULL, 0);
	put_unique_pods(p, 2);
	buf_adds(&text, "{\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"x\",\"namespace\":\"ns\"},\"spec\":{\"podSelector\":{},\"ingress\":[");
	for (unsigned i = 0; i < 20000; i++)
		buf_addf(&text, "%s{\"ports\":[{\"port\":%u}]}", i ? "," : "", i + 1);
	buf_adds(&text, "]}}");
	put_text(p, text.data);
	buf_done(&text);
	policy_maps_put(policy_compile(p));
	shown = policy_pod_json(p, "ns", "pod1");
	object = json_array_get(json_object_get(shown, "policies"), 0);
	CHECK(json_array_size(json_object_get(object, "rules")) >= 1000);
	CHECK_INT(json_array_size(json_object_get(object, "rules")) + json_integer_value(json_object_get(object, "moreRules")), 20000);
	check_fits(shown);
}

int main(void)
{
	RUN(incremental_equals_full_in_any_order);
	RUN(half_made_updates_are_old_or_new);
	RUN(labels_that_nothing_selects_cost_nothing);
	RUN(what_pods_must_not_have_comes_and_goes);
	RUN(too_large_a_policy_locks_down);
	RUN(a_number_rests_until_nobody_works_with_it);
	RUN(the_node_is_an_endpoint_while_policies_speak_of_it);
	RUN(any_pod_and_everything_cost_one_entry);
	RUN(a_rule_may_list_what_an_object_can_hold);
	RUN(what_is_shown_of_a_pod_is_bounded);
	return test_end();
}
