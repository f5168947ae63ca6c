/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/spec.h"
#include "base/str.h"

static const struct {
	const char *name, *group;
} kinds[KIND_COUNT] = {
	[KIND_NETWORK_POLICY] = { "NetworkPolicy", "networking.k8s.io/v1" },
	[KIND_CLUSTER] = { "ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2" },
	[KIND_ADMIN] = { "AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1" },
	[KIND_BASELINE] = { "BaselineAdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1" },
};

const char *policy_kind_name(enum policy_kind kind)
{
	return kinds[kind].name;
}

const char *policy_kind_api_version(enum policy_kind kind)
{
	return kinds[kind].group;
}

int policy_kind_parse(const char *name, enum policy_kind *ret)
{
	for (unsigned i = 0; i < KIND_COUNT; i++)
		if (streq(kinds[i].name, name)) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

static void peer_done(struct peer_spec *p)
{
	free(p->namespace_);
	selector_free(p->namespaces);
	selector_free(p->selector);
	free(p->except);
}

void rule_clear(struct rule_spec *r)
{
	for (unsigned i = 0; i < r->n_peers; i++)
		peer_done(&r->peers[i]);
	for (unsigned i = 0; i < r->n_ports; i++)
		free(r->ports[i].name);
	r->n_peers = r->n_ports = 0;
}

static void rule_done(struct rule_spec *r)
{
	rule_clear(r);
	free(r->peers);
	free(r->ports);
	free(r->name);
}

struct policy_spec *policy_spec_free(struct policy_spec *s)
{
	if (!s)
		return NULL;
	for (unsigned i = 0; i < s->n_rules; i++)
		rule_done(&s->rules[i]);
	free(s->rules);
	peer_done(&s->subject);
	policy_errors_done(&s->errors);
	free(s->namespace_);
	free(s->name);
	free(s);
	return NULL;
}

struct rule_spec *policy_spec_add_rule(struct policy_spec *s, enum policy_direction d, unsigned index)
{
	GROW(s->rules, s->n_rules, s->cap_rules);
	s->rules[s->n_rules] = (struct rule_spec){ .direction = d, .verdict = POLICY_ALLOW, .index = index };
	return &s->rules[s->n_rules++];
}

struct peer_spec *rule_add_peer(struct rule_spec *r, enum peer_type type)
{
	GROW(r->peers, r->n_peers, r->cap_peers);
	r->peers[r->n_peers] = (struct peer_spec){ .type = type };
	return &r->peers[r->n_peers++];
}

struct port_spec *rule_add_port(struct rule_spec *r, uint8_t protocol, uint16_t lo, uint16_t hi, const char *name)
{
	GROW(r->ports, r->n_ports, r->cap_ports);
	r->ports[r->n_ports] =
		(struct port_spec){ .protocol = protocol, .lo = lo, .hi = hi, .name = name ? xstrdup(name) : NULL };
	return &r->ports[r->n_ports++];
}

int peer_parse_cidr(const json_t *j, const struct at *at, struct policy_errors *e, struct prefix *ret)
{
	const char *text = json_string_value(j);
	struct addr host;

	if (text && prefix_parse(text, ret, &host) == 0)
		return 0;
	policy_error_value(e, at, text ? text : "", "expected a CIDR such as \"10.0.0.0/8\" or \"fd00::/8\"");
	return -EINVAL;
}

int port_parse_number(const json_t *j, const struct at *at, struct policy_errors *e, uint16_t *ret)
{
	json_int_t n = json_integer_value(j);

	if (!json_is_integer(j) || n < 1 || n > UINT16_MAX) {
		policy_error(e, at, "expected a port number, 1 to 65535");
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

int port_parse_name(const char *name, const struct at *at, struct policy_errors *e)
{
	size_t n = strlen(name);
	bool letter = false, ok = n >= 1 && n <= 15;

	for (size_t i = 0; ok && i < n; i++) {
		letter |= name[i] >= 'a' && name[i] <= 'z';
		ok = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
		     (name[i] == '-' && i > 0 && i < n - 1 && name[i - 1] != '-');
	}
	if (ok && letter)
		return 0;
	policy_error_value(e, at, name, "expected a port's name (at most 15 of a-z, 0-9, '-')");
	return -EINVAL;
}

int port_parse_protocol(const json_t *j, const struct at *at, struct policy_errors *e, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t number;
	} protocols[] = { { "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP }, { "SCTP", IPPROTO_SCTP } };
	const char *text = json_string_value(j);

	if (!j || json_is_null(j)) {
		*ret = IPPROTO_TCP;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (streq(protocols[i].name, text)) {
			*ret = protocols[i].number;
			return 0;
		}
	policy_error_value(e, at, text ? text : "", "expected TCP, UDP or SCTP");
	return -EINVAL;
}

static int find_kind(const json_t *object, const char *fallback_kind, enum policy_kind *ret)
{
	const char *kind = json_str_or(json_object_get(object, "kind"), fallback_kind);
	const char *version = json_str_at(object, "apiVersion");

	if (policy_kind_parse(kind, ret) < 0)
		return -EINVAL;
	return !version || streq(version, kinds[*ret].group) ? 0 : -EINVAL;
}

static int refuse(char **ret_error, const char *what, const char *value)
{
	char shown[300];

	str_escape(shown, sizeof(shown), value ? value : "");
	if (ret_error)
		*ret_error = xasprintf("%s \"%s\"", what, shown);
	return -EINVAL;
}

static void parse_mode(struct policy_spec *s, const json_t *object)
{
	const json_t *mode = json_at(object, "metadata", "annotations", POLICY_MODE_ANNOTATION);
	const char *text = json_string_value(mode);

	s->observes = streq(text, "observe");
	if (mode && !s->observes && !streq(text, "enforce"))
		policy_error_value(&s->errors, AT_KEY(AT_KEY(AT_KEY(NULL, "metadata"), "annotations"), POLICY_MODE_ANNOTATION),
				   text ? text : "", "expected observe or enforce: enforced");
}

/* What the API's ingress rules cannot say: who sends, by address. The rules come after those that stand under ingress. */
static void turn_egress_round(struct policy_spec *s)
{
	unsigned first = 0;

	for (unsigned i = 0; i < s->n_rules; i++)
		first += s->rules[i].direction == POLICY_INGRESS;
	for (unsigned i = 0; i < s->n_rules; i++) {
		if (s->rules[i].direction != POLICY_EGRESS)
			continue;
		s->rules[i].direction = POLICY_INGRESS;
		s->rules[i].index += first;
	}
}

bool policy_subject_is_nodes(const char *text)
{
	return streq(text, "nodes") || streq(text, "nodes-from");
}

static void parse_subject_kind(struct policy_spec *s, const json_t *object)
{
	const json_t *kind = json_at(object, "metadata", "annotations", POLICY_SUBJECT_ANNOTATION);
	const char *text = json_string_value(kind);

	if (!kind)
		return;
	s->of_nodes = s->kind == KIND_CLUSTER && policy_subject_is_nodes(text);
	if (s->of_nodes && streq(text, "nodes-from"))
		turn_egress_round(s);
	if (!s->of_nodes) /* its rules hold for the pods that it selects: whoever mistypes the word opens nothing */
		policy_error_value(&s->errors, AT_KEY(AT_KEY(AT_KEY(NULL, "metadata"), "annotations"), POLICY_SUBJECT_ANNOTATION),
				   text ? text : "", "expected nodes or nodes-from, of a ClusterNetworkPolicy: in force for pods");
}

void policy_spec_set_after(struct policy_spec *s)
{
	s->after = true;
	free(s->namespace_);
	s->namespace_ = xstrdup(POLICY_AFTER_NAMESPACE);
}

/* Many policies with few rules, peers and ports each: there is room for what is there. */
static void fit(struct policy_spec *s)
{
	for (unsigned i = 0; i < s->n_rules; i++) {
		struct rule_spec *r = &s->rules[i];

		if (r->peers)
			r->peers = xrealloc(r->peers, r->cap_peers = r->n_peers, sizeof(*r->peers));
		if (r->ports)
			r->ports = xrealloc(r->ports, r->cap_ports = r->n_ports, sizeof(*r->ports));
	}
	if (s->rules)
		s->rules = xrealloc(s->rules, s->cap_rules = s->n_rules, sizeof(*s->rules));
}

int policy_spec_parse(const json_t *object, const char *fallback_kind, struct policy_spec **ret, char **ret_error)
{
	_cleanup_(policy_spec_freep) struct policy_spec *s = NULL;
	const char *name = json_str_at(object, "metadata", "name");
	const char *ns = json_str_or(json_at(object, "metadata", "namespace"), "");
	const json_t *spec = json_object_get(object, "spec");
	const struct at *at = AT_KEY(NULL, "spec");
	enum policy_kind kind;

	if (find_kind(object, fallback_kind, &kind) < 0)
		return refuse(ret_error, "kind and apiVersion: expected a policy this program knows, not",
			      json_str_or(json_object_get(object, "kind"), fallback_kind));
	if (!name || !name_is_dns_subdomain(name))
		return refuse(ret_error, "metadata.name: expected an object's name, not", name);
	if (kind == KIND_NETWORK_POLICY && !name_is_dns_label(ns))
		return refuse(ret_error, "metadata.namespace: expected a namespace's name, not", ns);
	s = xnew0(struct policy_spec);
	s->kind = kind;
	s->name = xstrdup(name);
	s->namespace_ = xstrdup(kind == KIND_NETWORK_POLICY ? ns : "");
	parse_mode(s, object);
	if (spec && !json_is_object(spec) && !json_is_null(spec))
		policy_error(&s->errors, at, "expected an object");
	if (kind == KIND_NETWORK_POLICY)
		network_policy_parse(s, spec, at);
	else
		cluster_policy_parse(s, spec, at);
	parse_subject_kind(s, object);
	fit(s);
	*ret = take_ptr(s);
	return 0;
}
