/* SPDX-License-Identifier: Apache-2.0 */
/* policy.networking.k8s.io: ClusterNetworkPolicy v1alpha2, and AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1,
 * which say the same in other words (Allow for Accept, `ports` for `protocols`).
 *
 * These rules deny as well, so there is no part of a rule that could safely be left out: one thing in it that we do not
 * know decides about the whole rule. An accepting rule then matches nothing, any other denies everything. */
#include "policy/spec.h"
#include "base/str.h"

struct reader {
	struct policy_spec *s;
	struct policy_errors *e;
	bool alpha1;	   /* AdminNetworkPolicy and BaselineAdminNetworkPolicy */
	unsigned max_list; /* rules, peers, protocols */
};

static bool present(const json_t *j)
{
	return j && !json_is_null(j);
}

/* The one field of an object that has exactly one; NULL (with an error) otherwise. */
static const char *only_field(const json_t *j, const struct at *at, struct policy_errors *e, json_t **ret_value)
{
	const char *key, *found = NULL;
	unsigned n = 0;
	json_t *v;

	json_object_foreach((json_t *)j, key, v) {
		if (!present(v))
			continue;
		n++;
		found = key;
		*ret_value = v;
	}
	if (n == 1)
		return found;
	policy_error(e, at, "expected exactly one field");
	return NULL;
}

static int unknown(const char *field, const struct at *at, struct policy_errors *e)
{
	policy_error_value(e, at, field, "unknown field");
	return -EINVAL;
}

/* { namespaceSelector, podSelector } */
static int parse_namespaced_pod(struct peer_spec *p, const json_t *j, const struct at *at, struct policy_errors *e)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)j, key, v)
		if (!streq(key, "namespaceSelector") && !streq(key, "podSelector") && present(v))
			return unknown(key, AT_KEY(at, key), e);
	if (!json_is_object(j)) {
		policy_error(e, at, "expected an object");
		return -EINVAL;
	}
	if (selector_parse(json_object_get(j, "namespaceSelector"), AT_KEY(at, "namespaceSelector"), e, &p->namespaces) < 0)
		return -EINVAL;
	return selector_parse(json_object_get(j, "podSelector"), AT_KEY(at, "podSelector"), e, &p->selector);
}

/* namespaces or pods: what subjects and peers share. Return: 1 done, 0 another field, -EINVAL. */
static int parse_pod_fields(struct peer_spec *p, const char *field, const json_t *v, const struct at *at,
			    struct policy_errors *e)
{
	int r;

	p->type = PEER_PODS;
	if (streq(field, "namespaces")) {
		p->selector = selector_new_any();
		r = selector_parse(v, AT_KEY(at, field), e, &p->namespaces);
		return r < 0 ? r : 1;
	}
	if (streq(field, "pods")) {
		r = parse_namespaced_pod(p, v, AT_KEY(at, field), e);
		return r < 0 ? r : 1;
	}
	return 0;
}

static int check_list(const struct reader *rd, const json_t *j, const struct at *at)
{
	if (json_is_array(j) && json_array_size(j) >= 1 && json_array_size(j) <= rd->max_list)
		return 0;
	policy_error(rd->e, at, "expected an array of 1 to %u elements", rd->max_list);
	return -EINVAL;
}

static int parse_networks(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	if (check_list(rd, j, at) < 0)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(j); i++) {
		struct peer_spec *p = rule_add_peer(r, PEER_BLOCK);

		if (peer_parse_cidr(json_array_get(j, i), AT_INDEX(at, i), rd->e, &p->cidr) < 0)
			return -EINVAL;
	}
	return 0;
}

/* (*.)label.label…, at least two labels, an optional dot at the end */
static bool is_domain_name(const char *s)
{
	char text[256], *label, *rest;
	unsigned labels = 0;
	size_t n = strlen(s);

	if (n == 0 || n >= sizeof(text))
		return false;
	memcpy(text, s, n + 1);
	if (text[n - 1] == '.')
		text[n - 1] = '\0';
	rest = text;
	if (str_has_prefix(rest, "*."))
		rest += 2;
	while ((label = strsep(&rest, "."))) {
		size_t len = strlen(label);

		if (len == 0 || len > 63 || !strchr("-_", label[0]) != !strchr("-_", label[len - 1]) ||
		    strchr("-_", label[0]) || strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != len)
			return false;
		labels++;
	}
	return labels >= 2;
}

/* Names match nothing while nothing resolves them: the accepting rule has no such peer, what else it names holds, and whoever wrote it is told. */
static int parse_domain_names(const struct reader *rd, const struct rule_spec *r, const json_t *j, const struct at *at)
{
	if (check_list(rd, j, at) < 0)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *name = json_string_value(json_array_get(j, i));

		if (!name || !is_domain_name(name)) {
			policy_error_value(rd->e, AT_INDEX(at, i), name ? name : "", "expected a domain name, \"*.\" in front at most");
			return -EINVAL;
		}
	}
	if (r->verdict != POLICY_ALLOW) {
		policy_error(rd->e, at, "only rules that accept can name domains");
		return -EINVAL;
	}
	policy_error(rd->e, at, "nothing resolves names here: they match nothing");
	return 0;
}

static int parse_peer(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	json_t *v = NULL;
	const char *field = only_field(j, at, rd->e, &v);
	const struct at *at_field = AT_KEY(at, field);
	struct peer_spec *p;
	int ret;

	if (!field)
		return -EINVAL;
	if (r->direction == POLICY_EGRESS && streq(field, "networks"))
		return parse_networks(rd, r, v, at_field);
	if (r->direction == POLICY_EGRESS && streq(field, "domainNames"))
		return parse_domain_names(rd, r, v, at_field);
	p = rule_add_peer(r, PEER_PODS);
	if (r->direction == POLICY_EGRESS && streq(field, "nodes")) {
		p->type = PEER_NODES;
		return selector_parse(v, at_field, rd->e, &p->selector);
	}
	ret = parse_pod_fields(p, field, v, at, rd->e);
	return ret == 0 ? unknown(field, at, rd->e) : ret;
}

static int parse_peers(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	int ret = check_list(rd, j, at);

	/* All of them, also after the first bad one: each error is worth saying. */
	for (size_t i = 0; i < json_array_size(j); i++)
		if (parse_peer(rd, r, json_array_get(j, i), AT_INDEX(at, i)) < 0)
			ret = -EINVAL;
	return ret;
}

static int parse_range(const struct reader *rd, struct rule_spec *r, uint8_t protocol, const json_t *j, const struct at *at)
{
	uint16_t lo, hi;

	if (port_parse_number(json_object_get(j, "start"), AT_KEY(at, "start"), rd->e, &lo) < 0 ||
	    port_parse_number(json_object_get(j, "end"), AT_KEY(at, "end"), rd->e, &hi) < 0)
		return -EINVAL;
	if (lo >= hi) {
		policy_error(rd->e, at, "start must be below end");
		return -EINVAL;
	}
	rule_add_port(r, protocol, lo, hi, NULL);
	return 0;
}

/* { destinationPort: { number | range } } */
static int parse_protocol_ports(const struct reader *rd, struct rule_spec *r, uint8_t protocol, const json_t *j,
				const struct at *at)
{
	json_t *v = NULL;
	const char *field = only_field(j, at, rd->e, &v);
	uint16_t number;

	if (!field)
		return -EINVAL;
	if (!streq(field, "destinationPort"))
		return unknown(field, at, rd->e);
	at = AT_KEY(at, "destinationPort");
	field = only_field(v, at, rd->e, &v);
	if (!field)
		return -EINVAL;
	if (streq(field, "range"))
		return parse_range(rd, r, protocol, v, AT_KEY(at, "range"));
	if (!streq(field, "number"))
		return unknown(field, at, rd->e);
	if (port_parse_number(v, AT_KEY(at, "number"), rd->e, &number) < 0)
		return -EINVAL;
	rule_add_port(r, protocol, number, number, NULL);
	return 0;
}

static int parse_named_port(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	const char *name = json_string_value(j);

	if (!name) {
		policy_error(rd->e, at, "expected a string");
		return -EINVAL;
	}
	if (port_parse_name(name, at, rd->e) < 0)
		return -EINVAL;
	rule_add_port(r, 0, 0, 0, name);
	return 0;
}

/* v1alpha2: tcp, udp, sctp or destinationNamedPort */
static int parse_protocol(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	static const struct {
		const char *name;
		uint8_t number;
	} protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "sctp", IPPROTO_SCTP } };
	json_t *v = NULL;
	const char *field = only_field(j, at, rd->e, &v);

	if (!field)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (streq(protocols[i].name, field))
			return parse_protocol_ports(rd, r, protocols[i].number, v, AT_KEY(at, field));
	if (streq(field, "destinationNamedPort"))
		return parse_named_port(rd, r, v, AT_KEY(at, field));
	return unknown(field, at, rd->e);
}

/* v1alpha1: portNumber, portRange or namedPort */
static int parse_port_alpha1(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	json_t *v = NULL;
	const char *field = only_field(j, at, rd->e, &v);
	const struct at *at_field = AT_KEY(at, field);
	uint8_t protocol;
	uint16_t number;

	if (!field)
		return -EINVAL;
	if (streq(field, "namedPort"))
		return parse_named_port(rd, r, v, at_field);
	if (!streq(field, "portNumber") && !streq(field, "portRange"))
		return unknown(field, at, rd->e);
	if (port_parse_protocol(json_object_get(v, "protocol"), AT_KEY(at_field, "protocol"), rd->e, &protocol) < 0)
		return -EINVAL;
	if (streq(field, "portRange"))
		return parse_range(rd, r, protocol, v, at_field);
	if (port_parse_number(json_object_get(v, "port"), AT_KEY(at_field, "port"), rd->e, &number) < 0)
		return -EINVAL;
	rule_add_port(r, protocol, number, number, NULL);
	return 0;
}

/* A named port belongs to a pod: beside networks, nodes or domain names it means nothing. */
static int check_named_ports(const struct reader *rd, const struct rule_spec *r, const struct at *at)
{
	bool named = false, pods = r->n_peers > 0;

	for (unsigned i = 0; i < r->n_ports; i++)
		named |= r->ports[i].name != NULL;
	for (unsigned i = 0; i < r->n_peers; i++)
		pods &= r->peers[i].type == PEER_PODS;
	if (!named || pods)
		return 0;
	policy_error(rd->e, at, "named ports need peers that are pods");
	return -EINVAL;
}

static int parse_ports(const struct reader *rd, struct rule_spec *r, const json_t *j, const struct at *at)
{
	int ret = 0;

	r->any_port = !present(j);
	if (r->any_port)
		return 0;
	ret = check_list(rd, j, at);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const json_t *p = json_array_get(j, i);

		if ((rd->alpha1 ? parse_port_alpha1(rd, r, p, AT_INDEX(at, i)) : parse_protocol(rd, r, p, AT_INDEX(at, i))) < 0)
			ret = -EINVAL;
	}
	return ret;
}

static int parse_action(const struct reader *rd, const json_t *j, const struct at *at, enum policy_verdict *ret)
{
	const char *text = json_string_value(j);

	if (streq(text, rd->alpha1 ? "Allow" : "Accept"))
		*ret = POLICY_ALLOW;
	else if (streq(text, "Deny"))
		*ret = POLICY_DENY;
	else if (streq(text, "Pass") && rd->s->kind != KIND_BASELINE)
		*ret = POLICY_PASS;
	else {
		policy_error_value(rd->e, at, text ? text : "", "not an action of this kind");
		*ret = POLICY_DENY;
		return -EINVAL;
	}
	return 0;
}

static int check_rule_fields(const struct reader *rd, const json_t *j, const char *peers, const char *ports,
			     const struct at *at)
{
	const char *key;
	json_t *v;

	if (!json_is_object(j)) {
		policy_error(rd->e, at, "expected an object");
		return -EINVAL;
	}
	json_object_foreach((json_t *)j, key, v)
		if (!streq(key, "name") && !streq(key, "action") && !streq(key, peers) && !streq(key, ports) && present(v))
			return unknown(key, at, rd->e);
	return 0;
}

static void fail_closed(struct rule_spec *r)
{
	rule_clear(r);
	r->any_peer = r->any_port = r->verdict != POLICY_ALLOW;
	if (r->verdict == POLICY_PASS)
		r->verdict = POLICY_DENY;
}

static void parse_rule(const struct reader *rd, enum policy_direction d, unsigned index, const json_t *j,
		       const struct at *at)
{
	const char *peers = d == POLICY_INGRESS ? "from" : "to", *ports = rd->alpha1 ? "ports" : "protocols";
	const char *name = json_str_or(json_object_get(j, "name"), "");
	struct rule_spec *r = policy_spec_add_rule(rd->s, d, index);
	char shown[400];
	int bad = 0;

	str_escape(shown, sizeof(shown), name);
	r->name = xstrdup(shown);
	if (strlen(name) > 100)
		policy_error(rd->e, AT_KEY(at, "name"), "longer than 100 bytes"); /* does no harm */
	bad |= parse_action(rd, json_object_get(j, "action"), AT_KEY(at, "action"), &r->verdict);
	bad |= check_rule_fields(rd, j, peers, ports, at);
	bad |= parse_peers(rd, r, json_object_get(j, peers), AT_KEY(at, peers));
	bad |= parse_ports(rd, r, json_object_get(j, ports), AT_KEY(at, ports));
	bad |= check_named_ports(rd, r, at);
	if (bad)
		fail_closed(r);
}

static void parse_rules(const struct reader *rd, enum policy_direction d, const json_t *j, const struct at *at)
{
	if (!present(j))
		return;
	if (!json_is_array(j)) {
		policy_error(rd->e, at, "expected an array");
		parse_rule(rd, d, 0, NULL, at); /* a rule that nobody can read: denies everything */
		return;
	}
	if (json_array_size(j) > rd->max_list)
		policy_error(rd->e, at, "more than %u rules", rd->max_list); /* all of them are heeded */
	for (size_t i = 0; i < json_array_size(j); i++)
		parse_rule(rd, d, i, json_array_get(j, i), AT_INDEX(at, i));
}

static int parse_subject(struct reader *rd, const json_t *j, const struct at *at)
{
	struct peer_spec *p = &rd->s->subject;
	json_t *v = NULL;
	const char *field = only_field(j, at, rd->e, &v);
	int r;

	if (!field)
		return -EINVAL;
	r = parse_pod_fields(p, field, v, at, rd->e);
	return r == 0 ? unknown(field, at, rd->e) : r;
}

static int parse_tier(struct reader *rd, const json_t *j, const struct at *at)
{
	const char *text = json_string_value(j);

	if (rd->alpha1) {
		rd->s->tier = rd->s->kind == KIND_ADMIN ? TIER_ADMIN : TIER_BASELINE;
		return 0;
	}
	rd->s->tier = streq(text, "Baseline") ? TIER_BASELINE : TIER_ADMIN;
	if (streq(text, "Baseline") || streq(text, "Admin"))
		return 0;
	policy_error_value(rd->e, at, text ? text : "", "expected Admin or Baseline");
	return -EINVAL;
}

static int parse_priority(struct reader *rd, const json_t *j, const struct at *at)
{
	json_int_t n = json_integer_value(j);

	if (rd->s->kind == KIND_BASELINE) {
		rd->s->priority = PRIORITY_LAST;
		return 0;
	}
	if (!json_is_integer(j) || n < 0 || n > PRIORITY_MAX) {
		policy_error(rd->e, at, "expected a number, 0 to %d", PRIORITY_MAX);
		return -EINVAL;
	}
	rd->s->priority = n;
	return 0;
}

static void select_every_pod(struct peer_spec *p)
{
	selector_free(p->namespaces);
	selector_free(p->selector);
	*p = (struct peer_spec){ .type = PEER_PODS, .namespaces = selector_new_any(), .selector = selector_new_any() };
}

/* An object whose head is bad: who is meant, or what goes before it, cannot be known. It denies whatever goes in the
 * directions that it has rules for, before everything else. */
static void deny_directions(struct policy_spec *s)
{
	bool has[POLICY_DIRECTIONS] = { false };

	s->tier = TIER_ADMIN;
	s->priority = PRIORITY_FIRST;
	for (unsigned i = 0; i < s->n_rules; i++) {
		struct rule_spec *r = &s->rules[i];

		rule_clear(r);
		r->verdict = POLICY_DENY;
		r->any_peer = r->any_port = !has[r->direction];
		has[r->direction] = true;
	}
}

void cluster_policy_parse(struct policy_spec *s, const json_t *spec, const struct at *at)
{
	struct reader rd = { .s = s, .e = &s->errors, .alpha1 = s->kind != KIND_CLUSTER, .max_list = 25 };
	bool bad = false;

	if (rd.alpha1)
		rd.max_list = 100;
	bad |= parse_tier(&rd, json_object_get(spec, "tier"), AT_KEY(at, "tier")) < 0;
	bad |= parse_priority(&rd, json_object_get(spec, "priority"), AT_KEY(at, "priority")) < 0;
	if (parse_subject(&rd, json_object_get(spec, "subject"), AT_KEY(at, "subject")) < 0) {
		bad = true;
		select_every_pod(&s->subject);
	}
	if (s->kind == KIND_BASELINE && !streq(s->name, "default"))
		policy_error(rd.e, AT_KEY(NULL, "metadata.name"), "the only BaselineAdminNetworkPolicy is named \"default\"");
	parse_rules(&rd, POLICY_INGRESS, json_object_get(spec, "ingress"), AT_KEY(at, "ingress"));
	parse_rules(&rd, POLICY_EGRESS, json_object_get(spec, "egress"), AT_KEY(at, "egress"));
	if (bad)
		deny_directions(s);
}
