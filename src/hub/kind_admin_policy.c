/* SPDX-License-Identifier: Apache-2.0 */
/* AdminNetworkPolicy and BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1), which ClusterNetworkPolicy has replaced: schemas, rules, columns. What
 * they mean is src/policy's. */
#include "base/str.h"
#include "hub/kind_hooks.h"
#include "hub/schema_meta.h"
#include "hub/validate.h"

enum { LIST_MAX = 100, NAMES_MAX = 25, PRIORITY_MAX = 1000, NAME_MAX_LEN = 100 };

#define API "io.networking.policy.v1alpha1."
#define PROTOCOL STR("protocol", "TCP (the default), UDP or SCTP.", .values = VALUES("TCP", "UDP", "SCTP"))

static const struct schema port_number = { API "Port", "A port.", FIELDS(PROTOCOL, INT("port", "The port.", .required = true, .min = 1, .max = 65535)) };

static const struct schema port_range = {
	API "PortRange", "Ports from start to end.",
	FIELDS(PROTOCOL, INT("start", "The first.", .required = true, .min = 1, .max = 65535),
	       INT("end", "The last.", .required = true, .min = 1, .max = 65535))
};

static const struct schema port = {
	API "AdminNetworkPolicyPort", "A port, by its number or its name, or several: exactly one field.",
	FIELDS(OBJ("portNumber", &port_number, "A port."), OBJ("portRange", &port_range, "Several ports."),
	       STR("namedPort", "A port of the destination pod, by the name that its container gives it."))
};

static const struct schema namespaced_pod = {
	API "NamespacedPod", "Pods by their labels and their namespaces' labels.",
	FIELDS(OBJ("namespaceSelector", &schema_label_selector, "Namespaces; empty: all.", .required = true),
	       OBJ("podSelector", &schema_label_selector, "Pods in them; empty: all.", .required = true))
};

#define PODS OBJ("namespaces", &schema_label_selector, "All pods of these namespaces."), OBJ("pods", &namespaced_pod, "These pods.")

static const struct schema subject = { API "AdminNetworkPolicySubject", "For which pods: exactly one field.", FIELDS(PODS) };

static const struct schema ingress_peer = { API "AdminNetworkPolicyIngressPeer", "Who may be at the other end: exactly one field.", FIELDS(PODS) };

#define ANYWHERE PODS, OBJ("nodes", &schema_label_selector, "These nodes."), STR_LIST("networks", "CIDRs, pods in them included.")

static const struct schema admin_egress_peer = {
	API "AdminNetworkPolicyEgressPeer", "Who may be at the other end: exactly one field.",
	FIELDS(ANYWHERE, STR_LIST("domainNames", "DNS names of at least two labels, the first of which may be *; only in rules that allow."))
};

static const struct schema baseline_egress_peer = {
	API "BaselineAdminNetworkPolicyEgressPeer", "Who may be at the other end: exactly one field.", FIELDS(ANYWHERE)
};

#define RULE(name_, action_doc, actions, side, peer)                                                                                                 \
	{                                                                                                                                            \
		API name_, "What happens to the traffic of one direction.",                                                                          \
			FIELDS(STR("name", "For people."), STR("action", action_doc, .required = true, .values = actions),                           \
			       OBJ_LIST(side, peer, "Who is at the other end.", .required = true),                                                   \
			       OBJ_LIST("ports", &port, "Ports at the destination; unset: everything."))                                             \
	}

#define ADMIN_ACTIONS VALUES("Allow", "Deny", "Pass")
#define BASELINE_ACTIONS VALUES("Allow", "Deny")

static const struct schema admin_ingress = RULE("AdminNetworkPolicyIngressRule", "Allow, Deny or Pass.", ADMIN_ACTIONS, "from", &ingress_peer);
static const struct schema admin_egress = RULE("AdminNetworkPolicyEgressRule", "Allow, Deny or Pass.", ADMIN_ACTIONS, "to", &admin_egress_peer);
static const struct schema baseline_ingress = RULE("BaselineAdminNetworkPolicyIngressRule", "Allow or Deny.", BASELINE_ACTIONS, "from", &ingress_peer);
static const struct schema baseline_egress = RULE("BaselineAdminNetworkPolicyEgressRule", "Allow or Deny.", BASELINE_ACTIONS, "to", &baseline_egress_peer);

static const struct schema status = { API "AdminNetworkPolicyStatus", "State of the policy.",
				      FIELDS(OBJ_KEYED("conditions", &schema_condition, "type", "Aspects of its state.", .required = true)) };

const struct schema schema_admin_policy = {
	API "AdminNetworkPolicy", "Policy of the cluster's administrator, before the namespaces' NetworkPolicies.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){
			   API "AdminNetworkPolicySpec", "For whom, when, what.",
			   FIELDS(INT("priority", "0 to 1000; the lower is asked first.", .required = true, .min = 0, .max = PRIORITY_MAX),
				  OBJ("subject", &subject, "The pods that it is for.", .required = true),
				  OBJ_LIST("ingress", &admin_ingress, "In this order; at most 100."),
				  OBJ_LIST("egress", &admin_egress, "In this order; at most 100.")) }),
		   "For whom, when, what.", .required = true),
	       OBJ("status", &status, "State of the policy."))
};

const struct schema schema_baseline_policy = {
	API "BaselineAdminNetworkPolicy", "Policy of the cluster's administrator for pods without NetworkPolicies.",
	FIELDS(META,
	       OBJ("spec",
		   (&(const struct schema){
			   API "BaselineAdminNetworkPolicySpec", "For whom, what.",
			   FIELDS(OBJ("subject", &subject, "The pods that it is for.", .required = true),
				  OBJ_LIST("ingress", &baseline_ingress, "In this order; at most 100."),
				  OBJ_LIST("egress", &baseline_egress, "In this order; at most 100.")) }),
		   "For whom, what.", .required = true),
	       OBJ("status", &status, "State of the policy."))
};

static void default_ports(json_t *rules)
{
	static const char *const forms[] = { "portNumber", "portRange" };
	json_t *rule, *port, *form;
	size_t i, j;

	json_array_foreach(rules, i, rule)
		json_array_foreach(json_object_get(rule, "ports"), j, port)
			for (size_t k = 0; k < ARRAY_SIZE(forms); k++)
				if ((form = json_object_get(port, forms[k])))
					default_str(form, "protocol", "TCP");
}

void admin_policy_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = json_object_get(obj, "spec");

	(void)old;
	default_ports(json_object_get(spec, "ingress"));
	default_ports(json_object_get(spec, "egress"));
}

static void validate_list(const json_t *list, size_t min, const struct path *at, struct errors *e)
{
	policy_validate_list(list, min, LIST_MAX, at, e);
}

static void validate_peer(const json_t *peer, bool allows, const struct path *at, struct errors *e)
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
	policy_validate_domains(json_object_get(peer, "domainNames"), NAMES_MAX, allows, PATH(at, "domainNames"), e);
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

static void validate_port(const json_t *p, const json_t *peers, const struct path *at, struct errors *e)
{
	const json_t *range = json_object_get(p, "portRange"), *name = json_object_get(p, "namedPort");

	policy_one_of(p, at, e);
	if (range && json_integer_value(json_object_get(range, "start")) >= json_integer_value(json_object_get(range, "end")))
		err_invalid(e, PATH(at, "portRange"), range, "`start` must be less than `end`");
	if (name && !has_pods_only(peers))
		err_forbidden(e, PATH(at, "namedPort"), "may not stand beside networks, nodes or domainNames");
	else if (name)
		validate_port_name(name, PATH(at, "namedPort"), e);
}

static void validate_rules(const json_t *rules, const char *side, const struct path *list, struct errors *e)
{
	const json_t *rule, *v;
	size_t i, k;

	validate_list(rules, 0, list, e);
	json_array_foreach(rules, i, rule) {
		const json_t *peers = json_object_get(rule, side), *ports = json_object_get(rule, "ports"), *name = json_object_get(rule, "name");
		const struct path *at = PATH_AT(list, i);

		if (json_string_length(name) > NAME_MAX_LEN)
			err_invalid(e, PATH(at, "name"), name, "must have at most %d characters", NAME_MAX_LEN);
		validate_list(peers, 1, PATH(at, side), e);
		json_array_foreach(peers, k, v)
			validate_peer(v, streq(json_str_at(rule, "action"), "Allow"), PATH_AT(PATH(at, side), k), e);
		validate_list(ports, 1, PATH(at, "ports"), e);
		json_array_foreach(ports, k, v)
			validate_port(v, peers, PATH_AT(PATH(at, "ports"), k), e);
	}
}

void admin_policy_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	(void)old;
	policy_validate_spec(obj, validate_rules, e);
}

void baseline_policy_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *name = json_at(obj, "metadata", "name");

	if (!streq(json_string_value(name), "default"))
		err_invalid(e, PATH(PATH(NULL, "metadata"), "name"), name, "the only one is named `default`");
	admin_policy_validate(obj, old, e);
}

const struct column admin_policy_columns[] = {
	COLUMN_NAME,
	{ "Priority", "integer", 0, .path = "spec.priority", .doc = "The lower is asked first." },
	COLUMN_AGE,
	{ 0 },
};
