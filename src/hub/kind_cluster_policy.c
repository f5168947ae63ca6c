/* SPDX-License-Identifier: Apache-2.0 */
/* ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2): schema, rules, columns. What it means is src/policy's. */
#include "base/str.h"
#include "hub/kind_hooks.h"
#include "hub/schema_meta.h"
#include "hub/validate.h"

#include <ctype.h>

enum { LIST_MAX = 25, PRIORITY_MAX = 1000, NAME_MAX_LEN = 100 };

#define API "io.networking.policy.v1alpha2."

static const struct schema range = {
	API "PortRange", "Ports from start to end.",
	FIELDS(INT("start", "The first.", .required = true, .min = 1, .max = 65535),
	       INT("end", "The last.", .required = true, .min = 1, .max = 65535))
};

static const struct schema port = {
	API "Port", "A port or a range: one of the two.",
	FIELDS(INT("number", "The port.", .min = 1, .max = 65535), OBJ("range", &range, "Several ports."))
};

static const struct schema transport = { API "ClusterNetworkPolicyPort", "What is said of a protocol.",
					 FIELDS(OBJ("destinationPort", &port, "Ports at the destination; must be there. All of a protocol: the range 1 to 65535.")) };

static const struct schema protocol = {
	API "ClusterNetworkPolicyProtocol", "A protocol, or a port by name: exactly one.",
	FIELDS(OBJ("tcp", &transport, "TCP."), OBJ("udp", &transport, "UDP."), OBJ("sctp", &transport, "SCTP."),
	       STR("destinationNamedPort", "A port of the destination pod, by the name that its container gives it."))
};

static const struct schema namespaced_pod = {
	API "NamespacedPod", "Pods by their labels and their namespaces' labels.",
	FIELDS(OBJ("namespaceSelector", &schema_label_selector, "Namespaces; empty: all.", .required = true),
	       OBJ("podSelector", &schema_label_selector, "Pods in them; empty: all.", .required = true))
};

static const struct schema subject = {
	API "ClusterNetworkPolicySubject", "For which pods: exactly one field.",
	FIELDS(OBJ("namespaces", &schema_label_selector, "All pods of these namespaces."), OBJ("pods", &namespaced_pod, "These pods."))
};

static const struct schema ingress_peer = {
	API "ClusterNetworkPolicyIngressPeer", "Who may be at the other end: exactly one field.",
	FIELDS(OBJ("namespaces", &schema_label_selector, "All pods of these namespaces."), OBJ("pods", &namespaced_pod, "These pods."))
};

static const struct schema egress_peer = {
	API "ClusterNetworkPolicyEgressPeer", "Who may be at the other end: exactly one field.",
	FIELDS(OBJ("namespaces", &schema_label_selector, "All pods of these namespaces."), OBJ("pods", &namespaced_pod, "These pods."),
	       OBJ("nodes", &schema_label_selector, "These nodes."), STR_LIST("networks", "CIDRs, pods in them included."),
	       STR_LIST("domainNames", "DNS names of at least two labels, the first of which may be *; only in rules that accept."))
};

#define ACTIONS VALUES("Accept", "Deny", "Pass")

static const struct schema ingress_rule = {
	API "ClusterNetworkPolicyIngressRule", "What happens to what comes in.",
	FIELDS(STR("name", "For people."), STR("action", "Accept, Deny or Pass.", .required = true, .values = ACTIONS),
	       OBJ_LIST("from", &ingress_peer, "Sources.", .required = true),
	       OBJ_LIST("protocols", &protocol, "Protocols and ports; unset: everything."))
};

static const struct schema egress_rule = {
	API "ClusterNetworkPolicyEgressRule", "What happens to what goes out.",
	FIELDS(STR("name", "For people."), STR("action", "Accept, Deny or Pass.", .required = true, .values = ACTIONS),
	       OBJ_LIST("to", &egress_peer, "Destinations.", .required = true),
	       OBJ_LIST("protocols", &protocol, "Protocols and ports; unset: everything."))
};

const struct schema schema_cluster_policy = {
	API "ClusterNetworkPolicy", "Policy of the cluster's administrator, before or behind the namespaces' NetworkPolicies.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){
			   API "ClusterNetworkPolicySpec", "For whom, when, what.",
			   FIELDS(STR("tier", "Admin (before NetworkPolicies) or Baseline (where none applies).", .required = true,
				      .values = VALUES("Admin", "Baseline")),
				  INT("priority", "0 to 1000; the lower is asked first.", .required = true, .min = 0, .max = PRIORITY_MAX),
				  OBJ("subject", &subject, "The pods that it is for.", .required = true),
				  OBJ_LIST("ingress", &ingress_rule, "In this order; at most 25."),
				  OBJ_LIST("egress", &egress_rule, "In this order; at most 25.")) }),
		   "For whom, when, what.", .required = true),
	       OBJ("status",
		   (&(const struct schema){ API "ClusterNetworkPolicyStatus", "State of the policy.",
					    FIELDS(OBJ_KEYED("conditions", &schema_condition, "type", "Aspects of its state.")) }),
		   "State of the policy."))
};

void policy_one_of(const json_t *j, const struct path *at, struct errors *e)
{
	if (json_object_size(j) != 1)
		err_invalid(e, at, j, "must have exactly one field");
}

void policy_validate_list(const json_t *list, size_t min, size_t max, const struct path *at, struct errors *e)
{
	if (list && (json_array_size(list) < min || json_array_size(list) > max))
		err_invalid(e, at, NULL, "must have %zu to %zu items", min, max);
}

static void validate_list(const json_t *list, size_t min, const struct path *at, struct errors *e)
{
	policy_validate_list(list, min, LIST_MAX, at, e);
}

void policy_validate_pods(const json_t *peer, const struct path *at, struct errors *e)
{
	const json_t *namespaces = json_object_get(peer, "namespaces"), *pods = json_object_get(peer, "pods");

	if (namespaces)
		validate_label_selector(namespaces, PATH(at, "namespaces"), e);
	if (!pods)
		return;
	validate_label_selector(json_object_get(pods, "namespaceSelector"), PATH(PATH(at, "pods"), "namespaceSelector"), e);
	validate_label_selector(json_object_get(pods, "podSelector"), PATH(PATH(at, "pods"), "podSelector"), e);
}

static bool is_label(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_' && s[i] != '-')
			return false;
	return len > 0 && s[0] != '-' && isalnum((unsigned char)s[len - 1]);
}

/* As upstream's pattern has it: two labels or more after "*.", a dot at the end if one likes. */
static void validate_domain(const json_t *v, const struct path *at, struct errors *e)
{
	const char *name = json_str_or(v, ""), *s = str_has_prefix(name, "*.") ? name + 2 : name;
	bool valid = true;
	size_t n = 0;

	while (valid && *s) {
		size_t len = strcspn(s, ".");

		valid = is_label(s, len);
		s += len + (s[len] == '.');
		n++;
	}
	if (!valid || n < 2)
		err_invalid(e, at, v, "must be a DNS name of at least two labels, the first of which may be \"*\"");
}

void policy_validate_domains(const json_t *names, size_t max, bool accepts, const struct path *at, struct errors *e)
{
	const json_t *v;
	size_t i;

	policy_validate_list(names, 1, max, at, e);
	json_array_foreach(names, i, v)
		validate_domain(v, PATH_AT(at, i), e);
	if (names && !accepts)
		err_forbidden(e, at, "may only stand in rules that accept");
}

static void validate_peer(const json_t *peer, bool accepts, const struct path *at, struct errors *e)
{
	const json_t *networks = json_object_get(peer, "networks"), *v;
	size_t i;

	policy_one_of(peer, at, e);
	policy_validate_pods(peer, at, e);
	if (json_object_get(peer, "nodes"))
		validate_label_selector(json_object_get(peer, "nodes"), PATH(at, "nodes"), e);
	validate_list(networks, 1, PATH(at, "networks"), e);
	json_array_foreach(networks, i, v)
		validate_cidr(v, PATH_AT(PATH(at, "networks"), i), e);
	policy_validate_domains(json_object_get(peer, "domainNames"), LIST_MAX, accepts, PATH(at, "domainNames"), e);
}

static void validate_ports(const json_t *transport_, const struct path *at, struct errors *e)
{
	const json_t *p = json_object_get(transport_, "destinationPort"), *r = json_object_get(p, "range");
	const struct path *here = PATH(at, "destinationPort");

	if (!p) { /* upstream: at least one property, and there is no other */
		err_required(e, here, NULL);
		return;
	}
	policy_one_of(p, here, e);
	if (r && json_integer_value(json_object_get(r, "start")) >= json_integer_value(json_object_get(r, "end")))
		err_invalid(e, PATH(here, "range"), r, "`start` must be less than `end`");
}

/* A port's name is a pod's; other peers have none. */
static bool has_pods_only(const json_t *peers)
{
	const json_t *v;
	size_t i;

	json_array_foreach(peers, i, v)
		if (json_object_get(v, "networks") || json_object_get(v, "nodes") || json_object_get(v, "domainNames"))
			return false;
	return true;
}

static void validate_protocol(const json_t *p, const json_t *peers, const struct path *at, struct errors *e)
{
	const char *key;
	json_t *v;

	policy_one_of(p, at, e);
	json_object_foreach((json_t *)p, key, v) {
		if (!streq(key, "destinationNamedPort"))
			validate_ports(v, PATH(at, key), e);
		else if (!has_pods_only(peers))
			err_forbidden(e, PATH(at, key), "may not stand beside networks, nodes or domainNames");
		else
			validate_port_name(v, PATH(at, key), e);
	}
}

static void validate_rule(const json_t *rule, const char *side, const struct path *at, struct errors *e)
{
	const json_t *peers = json_object_get(rule, side), *protocols = json_object_get(rule, "protocols"), *v;
	const json_t *name = json_object_get(rule, "name");
	size_t i;

	if (json_string_length(name) > NAME_MAX_LEN)
		err_invalid(e, PATH(at, "name"), name, "must have at most %d characters", NAME_MAX_LEN);
	validate_list(peers, 1, PATH(at, side), e);
	json_array_foreach(peers, i, v)
		validate_peer(v, streq(json_str_at(rule, "action"), "Accept"), PATH_AT(PATH(at, side), i), e);
	validate_list(protocols, 1, PATH(at, "protocols"), e);
	json_array_foreach(protocols, i, v)
		validate_protocol(v, peers, PATH_AT(PATH(at, "protocols"), i), e);
}

static void validate_rules(const json_t *rules, const char *side, const struct path *at, struct errors *e)
{
	const json_t *rule;
	size_t i;

	validate_list(rules, 0, at, e);
	json_array_foreach(rules, i, rule)
		validate_rule(rule, side, PATH_AT(at, i), e);
}

void policy_validate_spec(const json_t *obj, void (*rules)(const json_t *list, const char *side, const struct path *at, struct errors *e), struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	const json_t *spec = json_object_get(obj, "spec"), *who = json_object_get(spec, "subject");

	if (who) {
		policy_one_of(who, PATH(at, "subject"), e);
		policy_validate_pods(who, PATH(at, "subject"), e);
	}
	rules(json_object_get(spec, "ingress"), "from", PATH(at, "ingress"), e);
	rules(json_object_get(spec, "egress"), "to", PATH(at, "egress"), e);
}

void cluster_policy_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	(void)old;
	policy_validate_spec(obj, validate_rules, e);
}

const struct column cluster_policy_columns[] = {
	COLUMN_NAME,
	{ "Tier", "string", 0, .path = "spec.tier", .doc = "Before or behind NetworkPolicies." },
	{ "Priority", "integer", 0, .path = "spec.priority", .doc = "The lower is asked first." },
	COLUMN_AGE,
	{ 0 },
};
