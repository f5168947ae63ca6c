/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding: errors name the field, and what is wrong fails closed (NP-21, CNP-9). */
#include "base/str.h"
#include "base/test.h"
#include "policy/spec.h"

static struct policy_spec *parse(const char *kind, const char *spec_text)
{
	_cleanup_free_ char *text = xasprintf("{\"kind\": \"%s\", \"metadata\": {\"name\": \"p\", \"namespace\": \"ns\"}, \"spec\": %s}",
					      kind, spec_text);
	char *error = NULL;
	_cleanup_json_ json_t *j = json_parse("test", text, strlen(text), &error);
	struct policy_spec *s = NULL;

	if (!j)
		printf("# %s\n", error);
	CHECK(j);
	CHECK_INT(policy_spec_parse(j, NULL, &s, NULL), 0);
	return s;
}

static void check_error(const char *kind, const char *spec, const char *path)
{
	_cleanup_(policy_spec_freep) struct policy_spec *s = parse(kind, spec);
	bool found = false;

	for (unsigned i = 0; i < s->errors.n; i++)
		found |= str_has_prefix(s->errors.text[i], path);
	if (!found)
		printf("# %s %s: no error at %s, first: %s\n", kind, spec, path, s->errors.n ? s->errors.text[0] : "none");
	CHECK(found);
}

#define NP_RULE(rule) "{\"podSelector\": {}, \"ingress\": [" rule "]}"
#define CNP(rule)                                                                                                      \
	"{\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"namespaces\": {}}, \"egress\": [" rule "]}"

static const struct {
	const char *kind, *spec, *path;
} bad[] = {
	{ "NetworkPolicy", "{\"podSelector\": {\"matchLabels\": {\"a b\": \"\"}}}", "spec.podSelector.matchLabels.a b: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchLabels\": {\"a\": \"-\"}}}", "spec.podSelector.matchLabels.a: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchLabels\": {\"a\": 3}}}", "spec.podSelector.matchLabels.a: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchLabel\": {}}}", "spec.podSelector.matchLabel: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchExpressions\": [{\"key\": \"a\", \"operator\": \"in\", \"values\": [\"b\"]}]}}",
	  "spec.podSelector.matchExpressions[0].operator: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchExpressions\": [{\"key\": \"a\", \"operator\": \"In\", \"values\": []}]}}",
	  "spec.podSelector.matchExpressions[0].values: " },
	{ "NetworkPolicy", "{\"podSelector\": {\"matchExpressions\": [{\"key\": \"a\", \"operator\": \"Exists\", \"values\": [\"b\"]}]}}",
	  "spec.podSelector.matchExpressions[0].values: " },
	{ "NetworkPolicy", "{\"podSelector\": {}, \"policyTypes\": [\"ingress\"]}", "spec.policyTypes[0]: " },
	{ "NetworkPolicy", "{\"podSelector\": {}, \"ingresss\": []}", "spec.ingresss: " },
	{ "NetworkPolicy", "[]", "spec: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": [{}]}"), "spec.ingress[0].from[0]: " },
	{ "NetworkPolicy", NP_RULE("{\"form\": []}"), "spec.ingress[0].form: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": {}}"), "spec.ingress[0].from: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": [{\"podSelector\": {}, \"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}]}"), "spec.ingress[0].from[0]: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": [{\"ipBlock\": {\"cidr\": \"10.0.0.0/8\", \"except\": [\"11.0.0.0/8\"]}}]}"),
	  "spec.ingress[0].from[0].ipBlock.except[0]: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": [{\"ipBlock\": {\"cidr\": \"::/0\", \"except\": [\"10.0.0.0/8\"]}}]}"),
	  "spec.ingress[0].from[0].ipBlock.except[0]: " },
	{ "NetworkPolicy", NP_RULE("{\"from\": [{\"ipBlock\": {\"cidr\": \"::ffff:10.0.0.0/104\"}}]}"), "spec.ingress[0].from[0].ipBlock.cidr: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": 0}]}"), "spec.ingress[0].ports[0].port: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": 65536}]}"), "spec.ingress[0].ports[0].port: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": \"Web\"}]}"), "spec.ingress[0].ports[0].port: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": 1.5}]}"), "spec.ingress[0].ports[0].port: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": 81, \"endPort\": 80}]}"), "spec.ingress[0].ports[0].endPort: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"endPort\": 80}]}"), "spec.ingress[0].ports[0].endPort: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"port\": \"web\", \"endPort\": 80}]}"), "spec.ingress[0].ports[0].endPort: " },
	{ "NetworkPolicy", NP_RULE("{\"ports\": [{\"protocol\": \"ICMP\"}]}"), "spec.ingress[0].ports[0].protocol: " },
	{ "ClusterNetworkPolicy", "{}", "spec.tier: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"admin\"}", "spec.tier: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"Admin\", \"priority\": 1001}", "spec.priority: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"Admin\", \"priority\": -1}", "spec.priority: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"Admin\", \"priority\": 4294967297}", "spec.priority: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"Admin\", \"priority\": 1, \"subject\": {}}", "spec.subject: " },
	{ "ClusterNetworkPolicy", "{\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"machines\": {}}}", "spec.subject: \"machines\"" },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Allow\", \"to\": [{\"namespaces\": {}}]}"), "spec.egress[0].action: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": []}"), "spec.egress[0].to: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\"}"), "spec.egress[0].to: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"namespaces\": {}, \"nodes\": {}}]}"), "spec.egress[0].to[0]: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"galaxies\": {}}]}"), "spec.egress[0].to[0]: \"galaxies\"" },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"networks\": [\"10.0.0.0\"]}]}"), "spec.egress[0].to[0].networks[0]: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"domainNames\": [\"example.com\"]}]}"), "spec.egress[0].to[0].domainNames: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Accept\", \"to\": [{\"namespaces\": {}}, {\"domainNames\": [\"example.com\"]}]}"), "spec.egress[0].to[1].domainNames: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Accept\", \"to\": [{\"domainNames\": [\"a.*.com\"]}]}"), "spec.egress[0].to[0].domainNames[0]: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"namespaces\": {}}], \"protocols\": [{\"tcp\": {}}]}"),
	  "spec.egress[0].protocols[0].tcp: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"namespaces\": {}}], \"protocols\": [{\"tcp\": {\"destinationPort\": {\"range\": {\"start\": 5, \"end\": 5}}}}]}"),
	  "spec.egress[0].protocols[0].tcp.destinationPort.range: " },
	{ "ClusterNetworkPolicy", CNP("{\"action\": \"Deny\", \"to\": [{\"networks\": [\"10.0.0.0/8\"]}], \"protocols\": [{\"destinationNamedPort\": \"web\"}]}"),
	  "spec.egress[0]: named ports" },
	{ "BaselineAdminNetworkPolicy", "{\"subject\": {\"namespaces\": {}}, \"ingress\": [{\"action\": \"Pass\", \"from\": [{\"namespaces\": {}}]}]}",
	  "spec.ingress[0].action: " },
	{ "BaselineAdminNetworkPolicy", "{\"subject\": {\"namespaces\": {}}}", "metadata.name: " },
};

static void errors_name_the_field(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_error(bad[i].kind, bad[i].spec, bad[i].path);
}

/* Return: is it one of nodes? */
static bool is_of_nodes(const char *subject, unsigned errors)
{
	_cleanup_json_ json_t *object = json_pack("{ss, s{ss, s{ss}}, s{ss, si, s{s{}}, s[{ss, s[{s{}}]}]}}", "kind", "ClusterNetworkPolicy", "metadata", "name",
						  "x", "annotations", POLICY_SUBJECT_ANNOTATION, subject, "spec", "tier", "Admin", "priority", 1,
						  "subject", "namespaces", "ingress", "action", "Deny", "from", "namespaces");
	_cleanup_(policy_spec_freep) struct policy_spec *s = NULL;

	CHECK_INT(policy_spec_parse(object, NULL, &s, NULL), 0);
	CHECK_INT(s->errors.total, errors);
	CHECK_INT(s->n_rules, 1);
	return s->of_nodes;
}

static void a_mistyped_subject_takes_no_policy_away_from_pods(void)
{
	CHECK(is_of_nodes("nodes", 0));
	CHECK(is_of_nodes("nodes-from", 0));
	CHECK(!is_of_nodes("node", 1));
	CHECK(!is_of_nodes("", 1));
}

/* The rule that is left of one cluster-wide rule: "deny all", "nothing", or neither. */
static const char *outcome(const char *rule)
{
	_cleanup_free_ char *spec = xasprintf("{\"tier\": \"Admin\", \"priority\": 1, \"subject\": {\"namespaces\": {}}, \"egress\": [%s]}", rule);
	_cleanup_(policy_spec_freep) struct policy_spec *s = parse("ClusterNetworkPolicy", spec);
	const struct rule_spec *r = s->rules;

	CHECK_INT(s->n_rules, 1);
	if (r->any_peer && r->any_port && r->verdict == POLICY_DENY)
		return "deny all";
	return !r->any_peer && !r->n_peers && r->verdict == POLICY_ALLOW ? "nothing" : "other";
}

static void CNP_9_unknown_peers_fail_closed(void)
{
	CHECK_STR(outcome("{\"action\": \"Accept\", \"to\": [{\"namespaces\": {}}, {\"galaxies\": {}}]}"), "nothing");
	CHECK_STR(outcome("{\"action\": \"Deny\", \"to\": [{\"galaxies\": {}}]}"), "deny all");
	CHECK_STR(outcome("{\"action\": \"Pass\", \"to\": [{}]}"), "deny all");
	CHECK_STR(outcome("{\"action\": \"Shrug\", \"to\": [{\"namespaces\": {}}]}"), "deny all");
	CHECK_STR(outcome("{\"action\": \"Accept\", \"to\": [{\"namespaces\": {}}], \"protocols\": [{\"quic\": {}}]}"), "nothing");
	CHECK_STR(outcome("{\"action\": \"Accept\", \"to\": [{\"domainNames\": [\"*.example.com.\"]}]}"), "nothing");
	CHECK_STR(outcome("{\"action\": \"Accept\", \"to\": [{\"namespaces\": {}}, {\"domainNames\": [\"example.com\"]}]}"), "other");
	CHECK_STR(outcome("{\"action\": \"Deny\", \"to\": [{\"domainNames\": [\"example.com\"]}]}"), "deny all");
	CHECK_STR(outcome("{\"action\": \"Accept\", \"to\": [{\"namespaces\": {}}]}"), "other");
}

static void the_predecessors_name_domains_and_need_no_protocol(void)
{
	_cleanup_(policy_spec_freep) struct policy_spec *s =
		parse("AdminNetworkPolicy", "{\"priority\": 1, \"subject\": {\"namespaces\": {}}, \"egress\": [{\"action\": \"Allow\", \"to\": [{\"networks\": [\"10.0.0.0/8\"]},"
					    " {\"domainNames\": [\"*.example.com\"]}], \"ports\": [{\"portNumber\": {\"port\": 80}}, {\"portRange\": {\"start\": 1, \"end\": 2}}]},"
					    " {\"action\": \"Deny\", \"to\": [{\"domainNames\": [\"example.com\"]}]}]}");

	CHECK_INT(s->n_rules, 2);
	CHECK_INT(s->rules[0].n_peers, 1);
	CHECK(!s->rules[0].any_peer && s->rules[0].peers[0].type == PEER_BLOCK);
	CHECK_INT(s->rules[0].n_ports, 2);
	CHECK_INT(s->rules[0].ports[0].protocol, IPPROTO_TCP);
	CHECK_INT(s->rules[0].ports[1].protocol, IPPROTO_TCP);
	CHECK(s->rules[1].any_peer && s->rules[1].verdict == POLICY_DENY);
	CHECK_INT(s->errors.total, 2);
	CHECK(str_has_prefix(s->errors.text[0], "spec.egress[0].to[1].domainNames: nothing resolves names"));
}

static void NP_2_policy_types(void)
{
	static const struct {
		const char *spec;
		bool ingress, egress;
	} cases[] = {
		{ "{\"podSelector\": {}}", true, false },
		{ "{\"podSelector\": {}, \"egress\": []}", true, false },
		{ "{\"podSelector\": {}, \"egress\": [{}]}", true, true },
		{ "{\"podSelector\": {}, \"policyTypes\": [\"Egress\"], \"ingress\": [{}]}", false, true },
		{ "{\"podSelector\": {}, \"policyTypes\": [\"Ingress\"], \"egress\": [{}]}", true, false },
		{ "{\"podSelector\": {}, \"policyTypes\": [\"Egress\", \"Magic\"]}", true, true },
		{ "null", true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(policy_spec_freep) struct policy_spec *s = parse("NetworkPolicy", cases[i].spec);

		CHECK_INT(s->isolates[POLICY_INGRESS], cases[i].ingress);
		CHECK_INT(s->isolates[POLICY_EGRESS], cases[i].egress);
	}
}

static void objects_without_a_name_are_refused(void)
{
	static const char *const texts[] = {
		"{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"../x\", \"namespace\": \"a\"}}",
		"{\"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"x\"}}",
		"{\"kind\": \"NetworkPolicy\", \"apiVersion\": \"networking.k8s.io/v2\", \"metadata\": {\"name\": \"x\", \"namespace\": \"a\"}}",
		"{\"kind\": \"Secret\", \"metadata\": {\"name\": \"x\", \"namespace\": \"a\"}}", "{}", "3",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_json_ json_t *j = json_parse("test", texts[i], strlen(texts[i]), NULL);
		_cleanup_free_ char *error = NULL;
		struct policy_spec *s;

		CHECK_INT(policy_spec_parse(j, NULL, &s, &error), -EINVAL);
		CHECK(error);
	}
}

static char *selector_text(const char *text)
{
	_cleanup_json_ json_t *j = json_parse("test", text, strlen(text), NULL);
	_cleanup_(selector_freep) struct selector *s = NULL;

	CHECK_INT(selector_parse(j, NULL, NULL, &s), 0);
	return xstrdup(s->text);
}

static void equal_selectors_have_one_form(void)
{
	_cleanup_free_ char *a = selector_text("{\"matchLabels\": {\"b\": \"2\", \"a\": \"1\"}}");
	_cleanup_free_ char *b = selector_text(
		"{\"matchExpressions\": [{\"key\": \"b\", \"operator\": \"In\", \"values\": [\"2\", \"2\"]}, {\"key\": \"a\", \"operator\": \"In\", \"values\": [\"1\"]}],"
		" \"matchLabels\": {\"a\": \"1\"}}");
	_cleanup_free_ char *c = selector_text("{\"matchExpressions\": [{\"key\": \"b\", \"operator\": \"NotIn\", \"values\": [\"y\", \"x\"]},"
					       "{\"key\": \"a\", \"operator\": \"DoesNotExist\"}]}");

	CHECK_STR(a, "a in (1),b in (2)");
	CHECK_STR(b, a);
	CHECK_STR(c, "!a,b notin (x,y)");
}

int main(void)
{
	RUN(errors_name_the_field);
	RUN(a_mistyped_subject_takes_no_policy_away_from_pods);
	RUN(CNP_9_unknown_peers_fail_closed);
	RUN(the_predecessors_name_domains_and_need_no_protocol);
	RUN(NP_2_policy_types);
	RUN(objects_without_a_name_are_refused);
	RUN(equal_selectors_have_one_form);
	return test_end();
}
