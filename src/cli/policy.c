/* SPDX-License-Identifier: Apache-2.0 */
/* weft policy test -f CASE.yaml: policies judged without a cluster.
 *
 * A case is a YAML text of API objects (documents with a kind, or a list under `objects`) and expectations (a list under
 * `expect`). What a manifest leaves to the cluster is made up here: a pod without an address gets one of each family, a
 * namespace without an object has no labels but its name. */
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "base/yaml.h"
#include "cli/verbs.h"
#include "policy/offline.h"

enum { FILE_MAX = 32 << 20, EXIT_MISMATCH = 1, EXIT_USAGE = 2, MADE_UP_MAX = 1 << 16 };

static const char usage[] = "usage: weft policy list [-o json] [--socket PATH]\n"
			    "       weft policy show NAMESPACE/POD [-o json] [--socket PATH]\n"
			    "       weft policy confirm [REVISION] [--socket PATH]\n"
			    "       weft policy test -f CASE.yaml [-f MORE.yaml]...\n"
			    "\n"
			    "list: the policies that this node knows, in the order in which they are asked, and how many of its pods each\n"
			    "selects. show: what applies to a pod of this node, or to the node itself (show node), rule by rule. confirm: keeps\n"
			    "the policies of the node itself that are on trial (annotation weft.dev/subject: nodes); with the REVISION that list\n"
			    "names only if it is still that one. test:\n"
			    "\n"
			    "Judges connections by the policies of the case, without a cluster. A case holds API objects (Namespace, Pod,\n"
			    "Node, NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy) as documents or\n"
			    "under `objects`, and what is expected:\n"
			    "\n"
			    "  expect:\n"
			    "  - {from: default/client, to: default/web, port: 80, protocol: TCP, expect: allow}\n"
			    "  - {from: 192.0.2.1, to: default/web, port: 80, expect: deny}\n"
			    "  - {from: default/web, to: 192.0.2.1, port: 80, expect: audit}\n"
			    "\n"
			    "audit is allowed, but would be denied if what only observes (annotation weft.dev/mode: observe) were in force.\n"
			    "`mode: observe` and `default: deny` beside it are the agent's policy.mode and policy.default.\n"
			    "`from` and `to` are NAMESPACE/POD or an address; protocol is TCP unless said (TCP, UDP, SCTP, ICMP, ICMPv6);\n"
			    "family: 6 picks the pods' IPv6 addresses. Prints each verdict with the rule that decides.\n"
			    "Exit code: 0 all as expected, 1 a verdict differs, 2 the case cannot be read.\n";

struct case_ {
	struct offline *cluster;
	json_t *expect; /* array */
	bool observe, deny; /* policy_set_modes() */
	unsigned made_up;
};

static int complain(const char *what, const char *detail)
{
	char shown[600];

	str_show(shown, sizeof(shown), detail ? detail : "");
	fprintf(stderr, "weft policy test: %s%s%s\n", what, *shown ? ": " : "", shown);
	return -EINVAL;
}

static int put(struct case_ *c, const json_t *object)
{
	_cleanup_free_ char *error = NULL;

	return offline_put(c->cluster, object, NULL, &error) < 0 ? complain("object", error) : 0;
}

/* Addresses of the blocks for documentation and benchmarks, so that they meet no CIDR that a policy means. */
static json_t *made_up_addresses(struct case_ *c)
{
	unsigned i = ++c->made_up;

	return json_pack("[{so}, {so}]", "ip", json_sprintf("198.18.%u.%u", i >> 8 & 255, i & 255), "ip",
			 json_sprintf("2001:db8:57ef::%x", i));
}

static json_t *with_namespace(const json_t *object)
{
	json_t *whole = json_deep_copy(object), *metadata = json_object_get(whole, "metadata");

	if (json_is_object(metadata) && !json_object_get(metadata, "namespace"))
		json_object_set_new(metadata, "namespace", json_string("default"));
	return whole;
}

static int put_pod(struct case_ *c, const json_t *pod)
{
	_cleanup_json_ json_t *whole = with_namespace(pod);
	json_t *status = json_object_get(whole, "status");

	if (json_at(whole, "status", "podIPs") || json_at(whole, "status", "podIP"))
		return put(c, whole);
	if (c->made_up >= MADE_UP_MAX - 1)
		return complain("too many pods without an address", NULL);
	if (!json_is_object(status)) {
		status = json_object();
		json_object_set_new(whole, "status", status);
	}
	json_object_set_new(status, "podIPs", made_up_addresses(c));
	return put(c, whole);
}

static int take_object(struct case_ *c, const json_t *object)
{
	const json_t *items = json_object_get(object, "items");
	const char *kind = json_str_at(object, "kind");

	if (streq(kind, "Pod"))
		return put_pod(c, object);
	if (streq(kind, "NetworkPolicy")) {
		_cleanup_json_ json_t *whole = with_namespace(object);

		return put(c, whole);
	}
	if (!streq(kind, "List"))
		return put(c, object);
	for (size_t i = 0; i < json_array_size(items); i++)
		if (take_object(c, json_array_get(items, i)) < 0)
			return -EINVAL;
	return 0;
}

/* What the agent is told by options. */
static int take_option(struct case_ *c, const char *key, const json_t *v)
{
	const char *text = json_string_value(v);
	bool *on = streq(key, "mode") ? &c->observe : &c->deny;

	*on = streq(text, on == &c->observe ? "observe" : "deny");
	if (*on || streq(text, on == &c->observe ? "enforce" : "allow"))
		return 0;
	return complain(on == &c->observe ? "mode: expected enforce or observe" : "default: expected allow or deny", text);
}

static int take_document(struct case_ *c, const char *path, const json_t *doc)
{
	const json_t *objects = json_object_get(doc, "objects"), *expect = json_object_get(doc, "expect");
	const char *key;
	json_t *v;

	if (json_object_get(doc, "kind"))
		return take_object(c, doc);
	if (!json_is_object(doc))
		return complain(path, "expected an API object, or objects and expect");
	json_object_foreach((json_t *)doc, key, v) {
		if (streq(key, "mode") || streq(key, "default")) {
			if (take_option(c, key, v) < 0)
				return -EINVAL;
		} else if ((!streq(key, "objects") && !streq(key, "expect")) || !json_is_array(v)) {
			return complain("expected lists under objects and expect, not", key);
		}
	}
	for (size_t i = 0; i < json_array_size(objects); i++)
		if (take_object(c, json_array_get(objects, i)) < 0)
			return -EINVAL;
	for (size_t i = 0; i < json_array_size(expect); i++)
		json_array_append(c->expect, json_array_get(expect, i));
	return 0;
}

static int read_case(struct case_ *c, const char *path)
{
	_cleanup_free_ char *text = NULL, *error = NULL;
	_cleanup_json_ json_t *docs = NULL;
	size_t len;
	int r = file_read(path, FILE_MAX, &text, &len);

	if (r < 0)
		return complain(path, strerror(-r));
	if (yaml_parse(path, text, len, &docs, &error) < 0)
		return complain("cannot read the case", error);
	for (size_t i = 0; i < json_array_size(docs); i++)
		if (take_document(c, path, json_array_get(docs, i)) < 0)
			return -EINVAL;
	return 0;
}

static int add_namespaces(struct case_ *c)
{
	const char *key;
	json_t *pod;

	json_object_foreach(json_object_get(c->cluster->objects, "Pod"), key, pod) {
		const char *ns = json_str_at(pod, "metadata", "namespace");
		_cleanup_json_ json_t *made = NULL;

		if (offline_find(c->cluster, "Namespace", "", ns))
			continue;
		fprintf(stderr, "weft policy test: no Namespace %s in the case: taken as one without labels\n", ns);
		made = json_pack("{ss, s{ss}}", "kind", "Namespace", "metadata", "name", ns);
		if (put(c, made) < 0)
			return -EINVAL;
	}
	return 0;
}

struct expectation {
	struct offline_end from, to;
	const char *from_text, *to_text, *protocol_text;
	uint8_t protocol;
	uint16_t port;
	const char *expect; /* of words below */
};

static const char *word_of(const struct policy_answer *a)
{
	return !a->allowed ? "deny" : a->would_deny ? "audit" : "allow";
}

/* What would be denied is allowed all the same. */
static bool is_expected(const struct policy_answer *a, const char *expect)
{
	return streq(expect, "allow") ? a->allowed : streq(expect, word_of(a));
}

static int protocol_parse(const char *text, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t number;
	} known[] = { { "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP }, { "SCTP", IPPROTO_SCTP }, { "ICMP", IPPROTO_ICMP },
		      { "ICMPv6", IPPROTO_ICMPV6 } };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (streq(known[i].name, text)) {
			*ret = known[i].number;
			return 0;
		}
	return -EINVAL;
}

static bool has_port(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static int check_keys(const json_t *j)
{
	static const char *const known[] = { "from", "to", "port", "protocol", "family", "expect" };
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)j, key, v) {
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && !streq(known[i], key))
			i++;
		if (i == ARRAY_SIZE(known))
			return complain("expect: unknown key", key);
	}
	return json_is_object(j) ? 0 : complain("expect: expected a list of objects", NULL);
}

/* Ends of one connection are of one family; an address decides which. */
static int find_ends(const struct offline *o, const json_t *j, struct expectation *e)
{
	json_int_t family = json_integer_value(json_object_get(j, "family"));
	int af = family == 6 ? AF_INET6 : family == 4 ? AF_INET : AF_UNSPEC;
	struct addr a;

	if (json_object_get(j, "family") && af == AF_UNSPEC)
		return complain("expect: family: expected 4 or 6", NULL);
	if (!e->from_text || !e->to_text)
		return complain("expect: from and to: expected NAMESPACE/POD or an address", NULL);
	if (af == AF_UNSPEC && (addr_parse(e->from_text, &a) == 0 || addr_parse(e->to_text, &a) == 0))
		af = addr_family(&a);
	if (offline_find_end(o, e->from_text, af, &e->from) < 0)
		return complain("expect: from: no such pod, or none of its addresses is of this family", e->from_text);
	if (offline_find_end(o, e->to_text, af, &e->to) < 0)
		return complain("expect: to: no such pod, or none of its addresses is of this family", e->to_text);
	if (addr_family(&e->from.addr) != addr_family(&e->to.addr))
		return complain("expect: from and to are of different families", e->to_text);
	return 0;
}

static int expectation_parse(const struct offline *o, const json_t *j, struct expectation *e)
{
	const json_t *port = json_object_get(j, "port");
	const char *expect = json_str_at(j, "expect");
	json_int_t n = json_integer_value(port);

	if (check_keys(j) < 0)
		return -EINVAL;
	*e = (struct expectation){ .from_text = json_str_at(j, "from"), .to_text = json_str_at(j, "to"),
				   .protocol_text = json_str_or(json_object_get(j, "protocol"), "TCP") };
	if (protocol_parse(e->protocol_text, &e->protocol) < 0)
		return complain("expect: protocol: expected TCP, UDP, SCTP, ICMP or ICMPv6, not", e->protocol_text);
	if (has_port(e->protocol) ? !json_is_integer(port) || n < 1 || n > UINT16_MAX : port != NULL)
		return complain("expect: port: expected a number, 1 to 65535, and none with ICMP", NULL);
	e->port = n;
	e->expect = expect;
	if (!streq(expect, "allow") && !streq(expect, "deny") && !streq(expect, "audit"))
		return complain("expect: expect: expected allow, deny or audit, not", expect);
	return find_ends(o, j, e);
}

static void side_text(const struct offline *o, const struct policy_side *s, const char *direction, struct buf *b)
{
	char rule[400];

	switch (s->why) {
	case POLICY_BY_RULE:
		policy_rule_format(o->policy, s->rule, rule, sizeof(rule));
		break;
	case POLICY_BY_DEFAULT:
		snprintf(rule, sizeof(rule), "%s", !s->judged ? "outside" : !s->allowed ? "default" : s->policy == POLICY_OPEN ? "no policy" : "no rule");
		break;
	case POLICY_BY_SELF:
		snprintf(rule, sizeof(rule), "a pod to itself");
		break;
	case POLICY_BY_OWN_NODE:
		snprintf(rule, sizeof(rule), "from its own node");
		break;
	case POLICY_BY_LOCK:
		snprintf(rule, sizeof(rule), "locked down");
		break;
	}
	(void)buf_addf(b, "%s%s %s by %s", b->len ? "; " : "", direction, s->allowed ? "allowed" : "denied", rule);
	if (!s->would_deny)
		return;
	policy_rule_format(o->policy, s->trial_rule, rule, sizeof(rule));
	(void)buf_addf(b, ", would be denied by %s", rule);
}

static bool judge(const struct offline *o, const struct expectation *e)
{
	char from[300], to[300], port[16] = "";
	struct policy_answer a;
	struct buf why = { 0 };

	offline_judge(o, &e->from, &e->to, e->protocol, e->port, &a);
	if (a.allowed || !a.side[POLICY_EGRESS].allowed)
		side_text(o, &a.side[POLICY_EGRESS], "egress", &why);
	if (a.allowed || !a.side[POLICY_INGRESS].allowed)
		side_text(o, &a.side[POLICY_INGRESS], "ingress", &why);
	str_escape(from, sizeof(from), e->from_text);
	str_escape(to, sizeof(to), e->to_text);
	if (has_port(e->protocol))
		snprintf(port, sizeof(port), "/%u", e->port);
	printf("%s %s -> %s %s%s: %s (%s)\n", is_expected(&a, e->expect) ? "ok  " : "FAIL", from, to, e->protocol_text, port,
	       word_of(&a), why.data);
	buf_done(&why);
	return is_expected(&a, e->expect);
}

static void print_problem(enum policy_problem what, const char *subject, const char *detail, _unused_ void *ctx)
{
	if (what == PROBLEM_INVALID_OBJECT)
		fprintf(stderr, "weft policy test: %s is invalid and fails closed: %s\n", subject, detail);
	else
		fprintf(stderr, "weft policy test: %s: %s\n", subject, detail);
}

static int run_case(struct case_ *c)
{
	size_t n = json_array_size(c->expect), wrong = 0;

	if (add_namespaces(c) < 0)
		return EXIT_USAGE;
	policy_set_modes(c->cluster->policy, c->observe, c->deny);
	offline_compile(c->cluster, true);
	policy_each_problem(c->cluster->policy, print_problem, NULL);
	if (n == 0) {
		complain("nothing is expected: the case has no expect", NULL);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < n; i++) {
		struct expectation e;

		if (expectation_parse(c->cluster, json_array_get(c->expect, i), &e) < 0)
			return EXIT_USAGE;
		wrong += !judge(c->cluster, &e);
	}
	printf("%zu as expected, %zu not\n", n - wrong, wrong);
	return wrong ? EXIT_MISMATCH : 0;
}

static int read_cases(struct case_ *c, int argc, char **argv)
{
	bool any = false;

	for (int i = 0; i < argc; i += 2) {
		if (!streq(argv[i], "-f") || i + 1 == argc) {
			fputs(usage, stderr);
			return -EINVAL;
		}
		if (read_case(c, argv[i + 1]) < 0)
			return -EINVAL;
		any = true;
	}
	if (!any)
		fputs(usage, stderr);
	return any ? 0 : -EINVAL;
}

int verb_policy(int argc, char **argv)
{
	struct case_ c = { 0 };
	int code = EXIT_USAGE;

	if (argc > 1 && (streq(argv[argc - 1], "--help") || streq(argv[argc - 1], "-h"))) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc > 1 && (streq(argv[1], "list") || streq(argv[1], "show") || streq(argv[1], "confirm"))) {
		code = policy_live(argc, argv);
		if (code >= 0)
			return code;
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (argc < 2 || !streq(argv[1], "test")) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	c.cluster = offline_new();
	c.expect = json_array();
	if (read_cases(&c, argc - 2, argv + 2) == 0)
		code = run_case(&c);
	json_decref(c.expect);
	offline_free(c.cluster);
	return code;
}
