/* SPDX-License-Identifier: Apache-2.0 */
/* Policies (JSON of any of the four kinds, joined by form feeds) for a small cluster. Errors are lines of text, a
 * NetworkPolicy only ever allows, and what is compiled does not depend on the order in which things came. */
#include "fuzz.h"
#include "base/json.h"
#include "policy/policy.h"

enum { OBJECTS_MAX = 6 };

static void put_pod(struct policy *p, const char *ns, const char *name, const char *app, const char *addr, bool local)
{
	struct label_in labels[] = { { "app", app }, { "tier", "x" } };
	struct policy_port_in port = { "http", IPPROTO_TCP, 8080 };
	struct policy_pod_in pod = { ns, name, labels, 2, .n_addrs = 1, .ports = &port, .n_ports = 1, .serial = 1, .local = local };

	REQUIRE(addr_parse(addr, &pod.addrs[0]) == 0);
	policy_put_pod(p, &pod);
}

static struct policy *new_cluster(void)
{
	struct policy *p = policy_new();
	struct label_in label = { "team", "a" };
	struct prefix ranges[2];
	struct addr node;

	prefix_parse("10.244.0.0/16", &ranges[0], NULL);
	prefix_parse("fd00:244::/48", &ranges[1], NULL);
	policy_set_ranges(p, ranges, 2);
	policy_put_namespace(p, "default", NULL, 0);
	policy_put_namespace(p, "other", &label, 1);
	addr_parse("172.30.0.11", &node);
	policy_put_node(p, "n1", &label, 1, &node, 1, NULL, 0);
	put_pod(p, "default", "a", "web", "10.244.0.2", true);
	put_pod(p, "default", "b", "db", "10.244.1.2", false);
	put_pod(p, "other", "c", "web", "fd00:244::2", true);
	return p;
}

static void check_spec(const struct policy_spec *s)
{
	REQUIRE(s->kind < KIND_COUNT && name_is_dns_subdomain(s->name) && s->errors.n <= POLICY_ERRORS_MAX);
	REQUIRE((s->kind == KIND_NETWORK_POLICY) == (*s->namespace_ != 0));
	for (unsigned i = 0; i < s->errors.n; i++)
		fuzz_require_line(s->errors.text[i]);
	for (unsigned i = 0; i < s->n_rules; i++) {
		const struct rule_spec *r = &s->rules[i];

		REQUIRE(s->kind != KIND_NETWORK_POLICY || r->verdict == POLICY_ALLOW);
		for (unsigned k = 0; k < r->n_ports; k++)
			REQUIRE(r->ports[k].name || r->ports[k].lo <= r->ports[k].hi);
	}
}

/* Return: NULL when it is no policy. */
static struct policy_spec *parse(const json_t *j)
{
	struct policy_spec *s = NULL;
	char *error = NULL;
	int r = policy_spec_parse(j, NULL, &s, &error);

	REQUIRE((r < 0) == (error != NULL) && (r < 0) == (s == NULL));
	if (error)
		fuzz_require_line(error);
	free(error);
	return s;
}

static bool same_object(const struct policy_spec *a, const struct policy_spec *b)
{
	return a->kind == b->kind && streq(a->namespace_, b->namespace_) && streq(a->name, b->name);
}

static char *compile(struct policy *p, bool final)
{
	char *text = NULL;
	size_t n;
	FILE *to;

	policy_maps_put(policy_compile(p));
	while (final && policy_settle(p, UINT64_MAX)) /* what is kept for packets on their way */
		policy_maps_put(policy_compile(p));
	to = open_memstream(&text, &n);
	REQUIRE(to);
	policy_dump(p, to);
	fclose(to);
	return text;
}

/* Each comes, is compiled, and replaces the one of its name. */
static char *compile_in_order(json_t *const *objects, size_t n)
{
	_cleanup_(policy_freep) struct policy *p = new_cluster();

	for (size_t i = 0; i < n; i++) {
		struct policy_spec *s = parse(objects[i]);
		_cleanup_free_ char *step = NULL;

		if (!s)
			continue;
		check_spec(s);
		policy_put_object(p, s);
		step = compile(p, false);
		if (i % 2)
			policy_settle(p, UINT64_MAX);
	}
	return compile(p, true);
}

/* The last of each name, from behind, all at once. */
static char *compile_from_behind(json_t *const *objects, size_t n)
{
	_cleanup_(policy_freep) struct policy *p = new_cluster();

	for (size_t i = n; i-- > 0;) {
		struct policy_spec *s = parse(objects[i]);
		bool replaced = false;

		for (size_t k = i + 1; s && k < n; k++) {
			struct policy_spec *later = parse(objects[k]);

			replaced |= later && same_object(s, later);
			policy_spec_free(later);
		}
		if (s && !replaced)
			policy_put_object(p, s);
		else
			policy_spec_free(s);
	}
	return compile(p, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	json_t *objects[OBJECTS_MAX];
	size_t n = 0;

	while (in.size && n < OBJECTS_MAX) {
		size_t len;
		_cleanup_free_ char *text = fuzz_text(&in, &len);
		json_t *j = json_parse("object", text, len, NULL);

		if (j)
			objects[n++] = j;
	}
	_cleanup_free_ char *a = compile_in_order(objects, n), *b = compile_from_behind(objects, n);
	if (!streq(a, b))
		fprintf(stderr, "in order:\n%s\nfrom behind:\n%s\n", a, b);
	REQUIRE(streq(a, b));
	for (size_t i = 0; i < n; i++)
		json_decref(objects[i]);
	return 0;
}
