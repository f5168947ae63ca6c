/* SPDX-License-Identifier: Apache-2.0 */
/* networking.k8s.io/v1 NetworkPolicy. It only ever allows, so whatever is not understood must match nothing, and must
 * never shrink to an empty list: an empty list of peers or ports means all of them. */
#include "policy/spec.h"
#include "base/str.h"

/* Of any list: no API server takes an object of more than 3 MiB, and a list that says something different in each element has 12 bytes for each at least. */
enum { LIST_MAX = 1 << 18 };

static bool present(const json_t *j)
{
	return j && !json_is_null(j);
}

/* The elements of a list that may be missing. Return: how many, -EINVAL when it is no list or too long. */
static ssize_t list_size(const json_t *j, const struct at *at, struct policy_errors *e)
{
	if (!present(j))
		return 0;
	if (json_is_array(j) && json_array_size(j) <= LIST_MAX)
		return json_array_size(j);
	policy_error(e, at, "expected an array of at most %d elements", LIST_MAX);
	return -EINVAL;
}

/* An object with no other fields than these (a list that ends with NULL): what we do not know might narrow it. */
static int check_fields(const json_t *j, const char *const *known, const struct at *at, struct policy_errors *e)
{
	const char *key;
	json_t *v;

	if (!json_is_object(j)) {
		policy_error(e, at, "expected an object");
		return -EINVAL;
	}
	json_object_foreach((json_t *)j, key, v) {
		const char *const *k = known;

		while (*k && !streq(*k, key))
			k++;
		if (!*k && present(v)) {
			policy_error(e, AT_KEY(at, key), "unknown field");
			return -EINVAL;
		}
	}
	return 0;
}
#define FIELDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static int cmp_prefix(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int c = addr_cmp(&x->addr, &y->addr);

	return c ? c : (int)x->len - (int)y->len;
}

static void sort_excepts(struct peer_spec *p)
{
	unsigned out = 0;

	if (p->n_except)
		qsort(p->except, p->n_except, sizeof(*p->except), cmp_prefix);
	for (unsigned i = 0; i < p->n_except; i++)
		if (!out || !prefix_eq(&p->except[out - 1], &p->except[i]))
			p->except[out++] = p->except[i];
	p->n_except = out;
}

static int parse_block(struct peer_spec *p, const json_t *j, const struct at *at, struct policy_errors *e)
{
	const json_t *except = json_object_get(j, "except");
	const struct at *at_except = AT_KEY(at, "except");
	ssize_t n;

	if (check_fields(j, FIELDS("cidr", "except"), at, e) < 0 ||
	    peer_parse_cidr(json_object_get(j, "cidr"), AT_KEY(at, "cidr"), e, &p->cidr) < 0)
		return -EINVAL;
	n = list_size(except, at_except, e);
	if (n < 0)
		return -EINVAL;
	p->except = n ? xnew0_array(struct prefix, n) : NULL;
	for (; p->n_except < n; p->n_except++) {
		struct prefix *x = &p->except[p->n_except];
		const struct at *at_x = AT_INDEX(at_except, p->n_except);

		if (peer_parse_cidr(json_array_get(except, p->n_except), at_x, e, x) < 0)
			return -EINVAL;
		if (!prefix_covers(&p->cidr, x) || addr_is_v4(&x->addr) != addr_is_v4(&p->cidr.addr)) {
			policy_error(e, at_x, "must lie inside of cidr");
			return -EINVAL;
		}
	}
	sort_excepts(p);
	return 0;
}

static int parse_pods(struct policy_spec *s, struct peer_spec *p, const json_t *j, const struct at *at)
{
	const json_t *ns = json_object_get(j, "namespaceSelector");

	if (!present(ns))
		p->namespace_ = xstrdup(s->namespace_);
	else if (selector_parse(ns, AT_KEY(at, "namespaceSelector"), &s->errors, &p->namespaces) < 0)
		return -EINVAL;
	return selector_parse(json_object_get(j, "podSelector"), AT_KEY(at, "podSelector"), &s->errors, &p->selector);
}

static int parse_peer(struct policy_spec *s, struct peer_spec *p, const json_t *j, const struct at *at)
{
	const json_t *block = json_object_get(j, "ipBlock");
	bool pods = present(json_object_get(j, "podSelector")) || present(json_object_get(j, "namespaceSelector"));

	if (check_fields(j, FIELDS("podSelector", "namespaceSelector", "ipBlock"), at, &s->errors) < 0)
		return -EINVAL;
	if (pods == present(block)) {
		policy_error(&s->errors, at, "expected either selectors or ipBlock");
		return -EINVAL;
	}
	if (pods)
		return parse_pods(s, p, j, at);
	p->type = PEER_BLOCK;
	return parse_block(p, block, AT_KEY(at, "ipBlock"), &s->errors);
}

static void parse_peers(struct policy_spec *s, struct rule_spec *r, const json_t *j, const struct at *at)
{
	ssize_t n = list_size(j, at, &s->errors);

	r->any_peer = n == 0;
	for (ssize_t i = 0; i < n; i++) {
		struct peer_spec *p = rule_add_peer(r, PEER_PODS);

		if (parse_peer(s, p, json_array_get(j, i), AT_INDEX(at, i)) < 0) {
			selector_free(p->namespaces);
			free(p->namespace_);
			free(p->except);
			r->n_peers--;
		}
	}
}

static int parse_port_value(struct rule_spec *r, uint8_t protocol, const json_t *port, const json_t *end,
			    const struct at *at, struct policy_errors *e)
{
	uint16_t lo = 0, hi = UINT16_MAX;

	if (json_is_string(port)) {
		if (present(end)) {
			policy_error(e, AT_KEY(at, "endPort"), "needs a port that is a number");
			return -EINVAL;
		}
		if (port_parse_name(json_string_value(port), AT_KEY(at, "port"), e) < 0)
			return -EINVAL;
		rule_add_port(r, protocol, 0, 0, json_string_value(port));
		return 0;
	}
	if (present(port)) {
		if (port_parse_number(port, AT_KEY(at, "port"), e, &lo) < 0)
			return -EINVAL;
		hi = lo;
	}
	if (present(end)) {
		if (!present(port) || port_parse_number(end, AT_KEY(at, "endPort"), e, &hi) < 0 || hi < lo) {
			policy_error(e, AT_KEY(at, "endPort"), "expected a number that is not below port");
			return -EINVAL;
		}
	}
	rule_add_port(r, protocol, lo, hi, NULL);
	return 0;
}

static void parse_ports(struct policy_spec *s, struct rule_spec *r, const json_t *j, const struct at *at)
{
	ssize_t n = list_size(j, at, &s->errors);

	r->any_port = n == 0;
	for (ssize_t i = 0; i < n; i++) {
		const json_t *p = json_array_get(j, i);
		const struct at *at_p = AT_INDEX(at, i);
		uint8_t protocol;

		if (check_fields(p, FIELDS("protocol", "port", "endPort"), at_p, &s->errors) < 0 ||
		    port_parse_protocol(json_object_get(p, "protocol"), AT_KEY(at_p, "protocol"), &s->errors, &protocol) < 0)
			continue; /* one way in less */
		(void)parse_port_value(r, protocol, json_object_get(p, "port"), json_object_get(p, "endPort"), at_p, &s->errors);
	}
}

static void parse_rules(struct policy_spec *s, enum policy_direction d, const json_t *j, const struct at *at)
{
	const char *peers = d == POLICY_INGRESS ? "from" : "to";
	ssize_t n = list_size(j, at, &s->errors);

	for (ssize_t i = 0; i < n; i++) {
		const json_t *rule = json_array_get(j, i);
		const struct at *at_rule = AT_INDEX(at, i);
		struct rule_spec *r;

		if (check_fields(rule, FIELDS(peers, "ports"), at_rule, &s->errors) < 0)
			continue;
		r = policy_spec_add_rule(s, d, i);
		r->name = xstrdup("");
		parse_peers(s, r, json_object_get(rule, peers), AT_KEY(at_rule, peers));
		parse_ports(s, r, json_object_get(rule, "ports"), AT_KEY(at_rule, "ports"));
	}
}

static void isolate_both(struct policy_spec *s)
{
	s->isolates[POLICY_INGRESS] = s->isolates[POLICY_EGRESS] = true;
}

static void parse_types(struct policy_spec *s, const json_t *types, const json_t *egress, const struct at *at)
{
	if (!present(types) || json_array_size(types) == 0) {
		s->isolates[POLICY_INGRESS] = true;
		s->isolates[POLICY_EGRESS] = present(egress) && (!json_is_array(egress) || json_array_size(egress) > 0);
		if (present(types) && !json_is_array(types)) {
			policy_error(&s->errors, at, "expected an array");
			isolate_both(s);
		}
		return;
	}
	for (size_t i = 0; i < json_array_size(types); i++) {
		const char *t = json_string_value(json_array_get(types, i));

		if (streq(t, "Ingress"))
			s->isolates[POLICY_INGRESS] = true;
		else if (streq(t, "Egress"))
			s->isolates[POLICY_EGRESS] = true;
		else {
			policy_error_value(&s->errors, AT_INDEX(at, i), t ? t : "", "expected Ingress or Egress");
			isolate_both(s);
		}
	}
}

void network_policy_parse(struct policy_spec *s, const json_t *spec, const struct at *at)
{
	const json_t *egress = json_object_get(spec, "egress");
	bool lost = false;

	s->tier = TIER_NETWORK;
	s->subject = (struct peer_spec){ .type = PEER_PODS, .namespace_ = xstrdup(s->namespace_) };
	if (selector_parse(json_object_get(spec, "podSelector"), AT_KEY(at, "podSelector"), &s->errors, &s->subject.selector) < 0) {
		s->subject.selector = selector_new_any();
		lost = true;
	}
	if (present(spec) &&
	    check_fields(spec, FIELDS("podSelector", "ingress", "egress", "policyTypes"), at, &s->errors) < 0) {
		isolate_both(s); /* a field that we do not know may narrow every rule */
		return;
	}
	parse_types(s, json_object_get(spec, "policyTypes"), egress, AT_KEY(at, "policyTypes"));
	if (lost) /* it isolates the whole namespace; its rules would open pods that it does not mean */
		return;
	/* The API ignores the rules of a direction that policyTypes leaves out. */
	if (s->isolates[POLICY_INGRESS])
		parse_rules(s, POLICY_INGRESS, json_object_get(spec, "ingress"), AT_KEY(at, "ingress"));
	if (s->isolates[POLICY_EGRESS])
		parse_rules(s, POLICY_EGRESS, egress, AT_KEY(at, "egress"));
}
