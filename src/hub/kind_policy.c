/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "net/addr.h"

static void default_ports(json_t *rules)
{
	json_t *rule, *port;
	size_t i, j;

	json_array_foreach(rules, i, rule)
		json_array_foreach(json_object_get(rule, "ports"), j, port)
			default_str(port, "protocol", "TCP");
}

void networkpolicy_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec"), *types;

	(void)old;
	default_object(spec, "podSelector");
	default_ports(json_object_get(spec, "ingress"));
	default_ports(json_object_get(spec, "egress"));
	if (json_array_size(json_object_get(spec, "policyTypes")) > 0)
		return;
	types = json_pack("[s]", "Ingress");
	if (json_array_size(json_object_get(spec, "egress")) > 0)
		json_array_append_new(types, json_string("Egress"));
	json_object_set_new(spec, "policyTypes", types);
}

static void validate_port(const json_t *p, const struct path *at, struct errors *e)
{
	const json_t *port = json_object_get(p, "port"), *end = json_object_get(p, "endPort");

	validate_port_or_name(port, PATH(at, "port"), e);
	if (!end)
		return;
	if (!port)
		err_required(e, PATH(at, "port"), "must be specified with `endPort`");
	else if (json_is_string(port))
		err_invalid(e, PATH(at, "endPort"), end, "may not be specified when `port` is non-numeric");
	else if (json_integer_value(end) < json_integer_value(port))
		err_invalid(e, PATH(at, "endPort"), end, "must be greater than or equal to `port`");
	if (json_integer_value(end) < 1 || json_integer_value(end) > 65535)
		err_invalid(e, PATH(at, "endPort"), end, "must be between 1 and 65535, inclusive");
}

static void validate_ip_block(const json_t *b, const struct path *at, struct errors *e)
{
	const json_t *except, *cidr = json_object_get(b, "cidr");
	struct prefix outer, inner;
	struct addr host;
	size_t i;

	if (!cidr || !json_string_length(cidr))
		return; /* the schema has said it */
	validate_cidr(cidr, PATH(at, "cidr"), e);
	if (prefix_parse(json_str_or(cidr, ""), &outer, &host) < 0)
		return;
	json_array_foreach(json_object_get(b, "except"), i, except) {
		const struct path *here = PATH_AT(PATH(at, "except"), i);

		validate_cidr(except, here, e);
		if (prefix_parse(json_str_or(except, ""), &inner, &host) == 0 &&
		    (!prefix_covers(&outer, &inner) || prefix_eq(&outer, &inner) ||
		     addr_is_v4(&outer.addr) != addr_is_v4(&inner.addr)))
			err_invalid(e, here, except, "must be a strict subset of `cidr`");
	}
}

static void validate_peer(const json_t *p, const struct path *at, struct errors *e)
{
	const json_t *pods = json_object_get(p, "podSelector"), *namespaces = json_object_get(p, "namespaceSelector");
	const json_t *block = json_object_get(p, "ipBlock");

	if (!pods && !namespaces && !block)
		err_required(e, at, "must specify a peer");
	if (block && (pods || namespaces))
		err_forbidden(e, at, "may not specify both ipBlock and another peer");
	if (pods)
		validate_label_selector(pods, PATH(at, "podSelector"), e);
	if (namespaces)
		validate_label_selector(namespaces, PATH(at, "namespaceSelector"), e);
	if (block)
		validate_ip_block(block, PATH(at, "ipBlock"), e);
}

static void validate_rules(const json_t *rules, const struct path *at, const char *peers, struct errors *e)
{
	json_t *rule, *v;
	size_t i, j;

	json_array_foreach(rules, i, rule) {
		json_array_foreach(json_object_get(rule, "ports"), j, v)
			validate_port(v, PATH_AT(PATH(PATH_AT(at, i), "ports"), j), e);
		json_array_foreach(json_object_get(rule, peers), j, v)
			validate_peer(v, PATH_AT(PATH(PATH_AT(at, i), peers), j), e);
	}
}

void networkpolicy_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	const json_t *spec = json_object_get(obj, "spec"), *types = json_object_get(spec, "policyTypes");

	(void)old;
	validate_label_selector(json_object_get(spec, "podSelector"), PATH(at, "podSelector"), e);
	validate_rules(json_object_get(spec, "ingress"), PATH(at, "ingress"), "from", e);
	validate_rules(json_object_get(spec, "egress"), PATH(at, "egress"), "to", e);
	if (json_array_size(types) > 2)
		err_invalid(e, PATH(at, "policyTypes"), types, "may not specify more than two policyTypes");
}

/* The selector in the form that kubectl prints: a=b,c in (d,e) */
static void cell_pod_selector(const json_t *obj, struct buf *out)
{
	const json_t *s = json_at(obj, "spec", "podSelector"), *list = json_object_get(s, "matchExpressions"), *labels;
	json_t *r, *v;
	size_t i, j;

	labels = json_object_get(s, "matchLabels");
	if (json_object_size(labels) || !json_array_size(list))
		cell_selector(labels, out);
	json_array_foreach(list, i, r) {
		const char *op = json_str_or(json_object_get(r, "operator"), ""), *key = json_str_at(r, "key");

		if (i || json_object_size(labels))
			buf_adds(out, ",");
		if (op[0] == 'D')
			buf_adds(out, "!");
		buf_adds(out, key ? key : "");
		if (op[0] == 'D' || op[0] == 'E')
			continue;
		buf_adds(out, op[0] == 'I' ? " in (" : " notin (");
		json_array_foreach(json_object_get(r, "values"), j, v)
			buf_addf(out, "%s%s", j ? "," : "", json_str_or(v, ""));
		buf_adds(out, ")");
	}
}

const struct column networkpolicy_columns[] = {
	COLUMN_NAME,
	{ "Pod-Selector", "string", 0, .cell = cell_pod_selector, .doc = "The pods that it is for." },
	COLUMN_AGE,
	{ 0 },
};
