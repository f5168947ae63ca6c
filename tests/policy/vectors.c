/* SPDX-License-Identifier: Apache-2.0 */
/* Truth tables that are not ours, through compiler and look-up. They lie beside the tree (WEFT_VECTORS names the
 * directory): netpol/cases.jsonl (verdicts of cyclonus' matcher) and cnp/ (the network-policy-api conformance suite as
 * data). Where they are missing: an error under CI=true, else a skip that is counted.
 *
 * Each case also runs event by event on one living compiler, which is compiled between the steps. */
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "policy/vectors.h"

enum { FILE_MAX = 64 << 20 };
static const char *dir;
static size_t verdicts, wrong;

static json_t *load(const char *name, const char *text, size_t len)
{
	char *error = NULL;
	json_t *j = json_parse(name, text, len, &error);

	if (!j)
		printf("# %s\n", error);
	CHECK(j);
	return j;
}

static char *read_vectors(const char *name, size_t *ret_len)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	char *text = NULL;

	CHECK_INT(file_read(path, FILE_MAX, &text, ret_len), 0);
	return text;
}

static void put(struct offline *o, json_t *object, const char *kind)
{
	char *error = NULL;
	int r = offline_put(o, object, kind, &error);

	if (r < 0)
		printf("# %s\n", error);
	CHECK_INT(r, 0);
	json_decref(object);
}

static void report(const char *what, const char *probe, bool expected)
{
	if (wrong++ < 20)
		printf("# %s: %s: expected %s\n", what, probe, expected ? "allowed" : "denied");
}

/* netpol: namespaces x, y, z with pods a, b, c. */

static const char *const cells[] = { "x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c" };

static void put_cell(struct offline *o, const char *ns, const char *name, const char *ip)
{
	static const char *const protocols[] = { "TCP", "UDP", "SCTP" };
	json_t *ports = json_array();

	for (int port = 80; port <= 81; port++)
		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
			char port_name[32];

			snprintf(port_name, sizeof(port_name), "serve-%d-%s", port, protocols[i]);
			for (char *c = port_name; *c; c++)
				*c |= 0x20 * (*c >= 'A' && *c <= 'Z');
			json_array_append_new(ports, json_pack("{ss, si, ss}", "name", port_name, "containerPort", port, "protocol",
							       protocols[i]));
		}
	put(o, json_pack("{ss, s{ss, ss, s{ss}}, s{s[{so}]}, s{s[{ss}]}}", "kind", "Pod", "metadata", "namespace", ns, "name", name,
			 "labels", "pod", name, "spec", "containers", "ports", ports, "status", "podIPs", "ip", ip),
	    NULL);
}

static void put_table(struct offline *o)
{
	static const char *const namespaces[] = { "x", "y", "z" };
	char ip[32];

	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		put(o, json_pack("{ss, s{ss, s{ss}}}", "kind", "Namespace", "metadata", "name", namespaces[i], "labels", "ns",
				 namespaces[i]),
		    NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		char ns[2] = { cells[i][0] };

		snprintf(ip, sizeof(ip), "192.168.7.%zu", i + 1);
		put_cell(o, ns, cells[i] + 2, ip);
	}
}

/* Labels replaced, the rest of the object stays. */
static void set_labels(struct offline *o, const char *kind, const char *ns, const char *name, const json_t *labels)
{
	json_t *object = json_deep_copy(offline_find(o, kind, ns, name));

	CHECK(object);
	json_object_set(json_object_get(object, "metadata"), "labels", (json_t *)labels);
	put(o, object, NULL);
}

static const char *text_at(const json_t *j, const char *key)
{
	const char *s = json_str_at(j, key);

	CHECK(s);
	return s;
}

static void run_action(struct offline *o, const json_t *action)
{
	const char *verb = json_object_iter_key(json_object_iter((json_t *)action));
	const json_t *arg = json_object_iter_value(json_object_iter((json_t *)action));

	CHECK(verb);
	if (streq(verb, "CreatePolicy") || streq(verb, "UpdatePolicy"))
		put(o, json_incref(json_object_get(arg, "Policy")), "NetworkPolicy");
	else if (streq(verb, "DeletePolicy"))
		CHECK(offline_del(o, "NetworkPolicy", text_at(arg, "Namespace"), text_at(arg, "Name")));
	else if (streq(verb, "SetNamespaceLabels"))
		set_labels(o, "Namespace", "", text_at(arg, "Namespace"), json_object_get(arg, "Labels"));
	else if (streq(verb, "SetPodLabels"))
		set_labels(o, "Pod", text_at(arg, "Namespace"), text_at(arg, "Pod"), json_object_get(arg, "Labels"));
	else if (streq(verb, "CreateNamespace"))
		put(o, json_pack("{ss, s{ss, sO}}", "kind", "Namespace", "metadata", "name", text_at(arg, "Namespace"), "labels",
				 json_object_get(arg, "Labels")),
		    NULL);
	else if (streq(verb, "CreatePod"))
		put(o, json_pack("{ss, s{ss, ss, sO}}", "kind", "Pod", "metadata", "namespace", text_at(arg, "Namespace"), "name",
				 text_at(arg, "Pod"), "labels", json_object_get(arg, "Labels")),
		    NULL);
	else if (streq(verb, "DeletePod"))
		CHECK(offline_del(o, "Pod", text_at(arg, "Namespace"), text_at(arg, "Pod")));
	else if (streq(verb, "DeleteNamespace"))
		CHECK(offline_del(o, "Namespace", "", text_at(arg, "Namespace")));
	else {
		printf("# action %s\n", verb);
		CHECK(!"known action");
	}
}

static uint8_t protocol_of(const char *name)
{
	switch (name[0] | 0x20) {
	case 't':
		return IPPROTO_TCP;
	case 'u':
		return IPPROTO_UDP;
	default:
		CHECK((name[0] | 0x20) == 's');
		return IPPROTO_SCTP;
	}
}

static void compile(struct offline *o, bool settle)
{
	offline_compile(o, settle);
	vectors_compiled(o);
}

static bool allowed(const struct offline *o, const char *from, const char *to, uint8_t protocol, uint16_t port)
{
	struct offline_end src, dst;

	CHECK_INT(offline_find_end(o, from, AF_UNSPEC, &src), 0);
	CHECK_INT(offline_find_end(o, to, AF_UNSPEC, &dst), 0);
	return vectors_judge(o, &src, &dst, protocol, port);
}

static void check_table(const struct offline *o, const char *what, const char *probe, const char *table)
{
	const char *slash = strchr(probe, '/');
	uint64_t port;

	CHECK(slash && parse_u64(slash + 1, 65535, &port) == 0);
	CHECK_INT(strlen(table), ARRAY_SIZE(cells) * ARRAY_SIZE(cells));
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
		for (size_t j = 0; j < ARRAY_SIZE(cells); j++) {
			char expected = table[i * ARRAY_SIZE(cells) + j], shown[64];

			if (expected == '#')
				continue;
			verdicts++;
			snprintf(shown, sizeof(shown), "%s -> %s %s", cells[i], cells[j], probe);
			if (allowed(o, cells[i], cells[j], protocol_of(probe), port) != (expected == '.'))
				report(what, shown, expected == '.');
		}
}

static void run_netpol_case(const json_t *c)
{
	_cleanup_(offline_freep) struct offline *o = offline_new();
	const json_t *steps = json_object_get(c, "steps");
	const char *probe;
	json_t *table;

	put_table(o);
	compile(o, false);
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *step = json_array_get(steps, i), *actions = json_object_get(step, "actions");

		for (size_t j = 0; j < json_array_size(actions); j++)
			run_action(o, json_array_get(actions, j));
		compile(o, i % 2);
		json_object_foreach(json_object_get(step, "expect"), probe, table)
			check_table(o, json_str_or(json_object_get(c, "description"), "?"), probe, json_string_value(table));
	}
}

static void network_policy_tables(void)
{
	size_t len, cases = 0;
	_cleanup_free_ char *text = read_vectors("netpol/cases.jsonl", &len);
	char *rest = text, *line;

	verdicts = wrong = 0;
	while ((line = strsep(&rest, "\n"))) {
		_cleanup_json_ json_t *c = NULL;

		if (!*line)
			continue;
		c = load("netpol/cases.jsonl", line, strlen(line));
		run_netpol_case(c);
		cases++;
	}
	printf("# netpol: %zu cases, %zu verdicts, %zu wrong\n", cases, verdicts, wrong);
	CHECK_INT(wrong, 0);
	CHECK_INT(cases, 230);
	CHECK_INT(verdicts, 110592);
}

/* cnp */

static const char *pod_ip(const json_t *base, const char *ref, int family, char *out, size_t size)
{
	const json_t *pods = json_object_get(base, "pods");

	for (size_t i = 0; i < json_array_size(pods); i++) {
		const json_t *p = json_array_get(pods, i);
		char name[300];

		snprintf(name, sizeof(name), "%s/%s", text_at(p, "namespace"), text_at(p, "name"));
		if (!streq(name, ref))
			continue;
		if (json_is_true(json_object_get(p, "hostNetwork")))
			snprintf(out, size, family == 6 ? "fd30::%zu" : "172.30.0.%zu", i + 10);
		else
			snprintf(out, size, family == 6 ? "fd00:244::%zu" : "10.244.0.%zu", i + 10);
		return out;
	}
	CHECK(!"known pod");
	return NULL;
}

static void put_base(struct offline *o, const json_t *base, int family)
{
	const json_t *namespaces = json_object_get(base, "namespaces"), *pods = json_object_get(base, "pods");
	char ip[64], ref[300];

	for (size_t i = 0; i < json_array_size(namespaces); i++)
		put(o, json_pack("{ss, sO}", "kind", "Namespace", "metadata", json_array_get(namespaces, i)), NULL);
	for (size_t i = 0; i < json_array_size(pods); i++) {
		const json_t *p = json_array_get(pods, i);
		bool host = json_is_true(json_object_get(p, "hostNetwork"));
		char node[32];

		snprintf(ref, sizeof(ref), "%s/%s", text_at(p, "namespace"), text_at(p, "name"));
		snprintf(node, sizeof(node), "node%zu", host ? i : (size_t)0);
		pod_ip(base, ref, family, ip, sizeof(ip));
		put(o, json_pack("{ss, s{ss, ss, sO}, s{sb, ss, s[{sO}]}, s{s[{ss}]}}", "kind", "Pod", "metadata", "namespace",
				 text_at(p, "namespace"), "name", text_at(p, "name"), "labels", json_object_get(p, "labels"), "spec",
				 "hostNetwork", host, "nodeName", node, "containers", "ports", json_object_get(p, "ports"), "status",
				 "podIPs", "ip", ip),
		    NULL);
		if (host)
			put(o, json_pack("{ss, s{ss, sO}, s{s[{ss, ss}]}}", "kind", "Node", "metadata", "name", node, "labels",
					 json_at(base, "nodes", "labels"), "status", "addresses", "type", "InternalIP", "address", ip),
			    NULL);
	}
}

/* ${ip:NAMESPACE/POD} in strings. */
static json_t *fill_in(const json_t *j, const json_t *base, int family)
{
	const char *s = json_string_value(j), *end, *key;
	json_t *out, *v;

	if (json_is_array(j)) {
		out = json_array();
		for (size_t i = 0; i < json_array_size(j); i++)
			json_array_append_new(out, fill_in(json_array_get(j, i), base, family));
		return out;
	}
	if (json_is_object(j)) {
		out = json_object();
		json_object_foreach((json_t *)j, key, v)
			json_object_set_new(out, key, fill_in(v, base, family));
		return out;
	}
	if (s && str_has_prefix(s, "${ip:") && (end = strchr(s, '}'))) {
		_cleanup_free_ char *ref = xstrndup(s + 5, end - s - 5);
		char ip[64];

		return json_sprintf("%s%s", pod_ip(base, ref, family, ip, sizeof(ip)), end + 1);
	}
	return json_incref((json_t *)j);
}

static void poke(const struct offline *o, const char *what, const json_t *p)
{
	const char *from = text_at(p, "from"), *to = text_at(p, "to"), *protocol = text_at(p, "protocol");
	int port = json_integer_value(json_object_get(p, "port"));
	bool expect = json_is_true(json_object_get(p, "expect"));
	_cleanup_free_ char *shown = xasprintf("%s -> %s %s/%d", from, to, protocol, port);

	verdicts++;
	if (allowed(o, from, to, protocol_of(protocol), port) != expect)
		report(what, shown, expect);
}

static void run_cnp_case(const json_t *base, const json_t *c, int family)
{
	_cleanup_(offline_freep) struct offline *o = offline_new();
	const json_t *policies = json_object_get(c, "policies"), *steps = json_object_get(c, "steps");

	put_base(o, base, family);
	for (size_t i = 0; i < json_array_size(policies); i++)
		put(o, fill_in(json_array_get(policies, i), base, family), NULL);
	compile(o, false);
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *step = json_array_get(steps, i);
		const json_t *update = json_object_get(step, "update"), *del = json_object_get(step, "delete");

		if (json_object_get(step, "poke"))
			poke(o, text_at(c, "name"), json_object_get(step, "poke"));
		for (size_t j = 0; j < json_array_size(update); j++)
			put(o, fill_in(json_array_get(update, j), base, family), NULL);
		for (size_t j = 0; j < json_array_size(del); j++) {
			const json_t *d = json_array_get(del, j);

			CHECK(offline_del(o, text_at(d, "kind"), json_str_or(json_at(d, "metadata", "namespace"), ""),
					  text_at(json_object_get(d, "metadata"), "name")));
		}
		if (update || del)
			compile(o, false);
	}
}

static void run_cnp(int family, size_t *ret_cases)
{
	size_t len, cases_len;
	_cleanup_free_ char *text = read_vectors("cnp/base.json", &len), *cases_text = read_vectors("cnp/cases.json", &cases_len);
	_cleanup_json_ json_t *base = load("cnp/base.json", text, len), *cases = load("cnp/cases.json", cases_text, cases_len);

	*ret_cases = 0;
	for (size_t i = 0; i < json_array_size(cases); i++) {
		const json_t *c = json_array_get(cases, i), *only = json_object_get(c, "ipFamily");
		const char *name = json_string_value(only);
		int of_case = !only ? family : name ? (strstr(name, "6") ? 6 : 4) : (int)json_integer_value(only);

		if (of_case != family)
			continue;
		(*ret_cases)++;
		run_cnp_case(base, c, family);
	}
}

static void cluster_network_policy_tables(void)
{
	size_t v4, v6;

	verdicts = wrong = 0;
	run_cnp(4, &v4);
	run_cnp(6, &v6);
	printf("# cnp: %zu cases IPv4, %zu IPv6, %zu probes, %zu wrong\n", v4, v6, verdicts, wrong);
	CHECK_INT(wrong, 0);
	CHECK_INT(v4, 92);
	CHECK_INT(v6, 92);
	CHECK_INT(verdicts, 2 * 301);
}

int main(int argc, char **argv)
{
	bool ci = streq(getenv("CI"), "true");

	dir = getenv("WEFT_VECTORS");
	if (!dir)
		dir = argc > 1 ? argv[1] : "../shared/vectors";
	if (access(dir, R_OK) < 0 && !ci) {
		printf("1..0 # SKIP no vectors in %s\n", dir);
		return 0;
	}
	vectors_start();
	RUN(network_policy_tables);
	RUN(cluster_network_policy_tables);
	vectors_end();
	return test_end();
}
