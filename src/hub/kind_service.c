/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults, rules and columns of Service. What addresses it gets is decided in service_ip.c. */
#include "hub/kind_hooks.h"
#include "hub/service.h"
#include "hub/validate.h"
#include "base/str.h"
#include "net/addr.h"

/* A node port of 0 is none, and is not kept. */
static void default_ports(json_t *spec)
{
	json_t *p;
	size_t i;

	json_array_foreach(json_object_get(spec, "ports"), i, p) {
		default_str(p, "protocol", "TCP");
		if (!json_object_get(p, "targetPort") && json_object_get(p, "port"))
			json_object_set(p, "targetPort", json_object_get(p, "port"));
		if (json_is_integer(json_object_get(p, "nodePort")) && json_integer_value(json_object_get(p, "nodePort")) == 0)
			json_object_del(p, "nodePort");
	}
}

static void default_affinity(json_t *spec)
{
	json_t *client;

	if (!streq(json_str_at(spec, "sessionAffinity"), "ClientIP")) {
		json_object_del(spec, "sessionAffinityConfig");
		return;
	}
	client = default_object(default_object(spec, "sessionAffinityConfig"), "clientIP");
	default_int(client, "timeoutSeconds", 10800);
}

/* An address of a load balancer is captured by the nodes unless it says "Proxy" (KEP-1860). */
static void default_ingress(json_t *status)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(status, "ingress"), i, v)
		if (json_object_get(v, "ip"))
			default_str(v, "ipMode", "VIP");
}

void service_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec");

	default_str(spec, "type", "ClusterIP");
	if (old)
		service_carry_over(obj, old);
	default_str(spec, "sessionAffinity", "None");
	default_affinity(spec);
	default_ports(spec);
	default_ingress(default_object(default_object(obj, "status"), "loadBalancer"));
	if (!streq(service_type(obj), "ExternalName"))
		default_str(spec, "internalTrafficPolicy", "Cluster");
	if (service_is_external(obj) || json_array_size(json_object_get(spec, "externalIPs")) > 0)
		default_str(spec, "externalTrafficPolicy", "Cluster");
	if (streq(service_type(obj), "LoadBalancer") && !json_object_get(spec, "allocateLoadBalancerNodePorts"))
		json_object_set_new(spec, "allocateLoadBalancerNodePorts", json_true());
}

static void validate_port(const json_t *obj, const json_t *p, bool needs_name, const struct path *at, struct errors *e)
{
	const json_t *name = json_object_get(p, "name"), *node_port = json_object_get(p, "nodePort");

	if (json_string_length(name))
		validate_label(name, PATH(at, "name"), e);
	else if (needs_name)
		err_required(e, PATH(at, "name"), NULL);
	validate_port_or_name(json_object_get(p, "targetPort"), PATH(at, "targetPort"), e);
	validate_qualified_name(json_object_get(p, "appProtocol"), PATH(at, "appProtocol"), e);
	if (json_integer_value(node_port) && !service_is_external(obj))
		err_forbidden(e, PATH(at, "nodePort"), "may not be used when `type` is '%s'", service_type(obj));
}

/* Names, and node ports within a protocol, are unique in a service. */
static void validate_distinct(const json_t *ports, const struct path *at, struct errors *e)
{
	_cleanup_json_ json_t *names = json_object(), *node_ports = json_object();
	json_t *p;
	size_t i;

	json_array_foreach(ports, i, p) {
		json_t *name = json_object_get(p, "name"), *node_port = json_object_get(p, "nodePort");
		_cleanup_free_ char *key = xasprintf("%s/%lld", json_str_or(json_object_get(p, "protocol"), ""),
						     (long long)json_integer_value(node_port));

		if (json_string_length(name) && json_object_get(names, json_string_value(name)))
			err_duplicate(e, PATH(PATH_AT(at, i), "name"), name);
		if (json_integer_value(node_port) && json_object_get(node_ports, key))
			err_duplicate(e, PATH(PATH_AT(at, i), "nodePort"), node_port);
		if (json_string_length(name))
			json_object_set_new(names, json_string_value(name), json_true());
		json_object_set_new(node_ports, key, json_true());
	}
}

static void validate_ports(const json_t *obj, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), "ports");
	const json_t *ports = json_at(obj, "spec", "ports"), *p;
	_cleanup_json_ json_t *seen = json_object();
	size_t n = json_array_size(ports), i;

	if (n == 0 && !service_is_headless(obj) && !streq(service_type(obj), "ExternalName"))
		err_required(e, at, NULL);
	json_array_foreach(ports, i, p) {
		_cleanup_free_ char *key =
			xasprintf("%s/%lld", json_str_or(json_object_get(p, "protocol"), ""),
				  (long long)json_integer_value(json_object_get(p, "port")));

		validate_port(obj, p, n > 1, PATH_AT(at, i), e);
		if (json_object_get(seen, key))
			err_duplicate(e, PATH_AT(at, i), p);
		json_object_set_new(seen, key, json_true());
	}
	validate_distinct(ports, at, e);
}

static void validate_external_ip(const json_t *v, const struct path *at, struct errors *e)
{
	struct addr a;

	if (addr_parse(json_str_or(v, ""), &a) < 0)
		validate_ip(v, at, e);
	else if (endpoint_address_fault(&a))
		err_invalid(e, at, v, "%s", endpoint_address_fault(&a));
}

/* With spaces around it, as upstream lets them stand. */
static void validate_source_range(const json_t *v, const struct path *at, struct errors *e)
{
	const char *text = json_str_or(v, "");
	size_t before = strspn(text, " "), n = strlen(text + before);
	_cleanup_json_ json_t *bare = NULL;

	while (n && text[before + n - 1] == ' ')
		n--;
	bare = json_stringn(text + before, n);
	validate_cidr(json_is_string(v) ? bare : v, at, e);
}

static void validate_addresses(const json_t *spec, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(spec, "externalIPs"), i, v)
		validate_external_ip(v, PATH_AT(PATH(at, "externalIPs"), i), e);
	json_array_foreach(json_object_get(spec, "loadBalancerSourceRanges"), i, v)
		validate_source_range(v, PATH_AT(PATH(at, "loadBalancerSourceRanges"), i), e);
	validate_qualified_name(json_object_get(spec, "loadBalancerClass"), PATH(at, "loadBalancerClass"), e);
}

/* The annotation from before the field. */
static void validate_source_annotation(const json_t *obj, struct errors *e)
{
	static const char name[] = "service.beta.kubernetes.io/load-balancer-source-ranges";
	const json_t *v = json_object_get(json_at(obj, "metadata", "annotations"), name);
	const struct path *at = PATH_KEY(PATH(PATH(NULL, "metadata"), "annotations"), name);
	_cleanup_free_ char *text = xstrdup(json_str_or(v, ""));
	char *save = NULL;

	if (!v)
		return;
	if (!streq(service_type(obj), "LoadBalancer"))
		err_forbidden(e, at, "may only be used when `type` is 'LoadBalancer'");
	for (char *part = strtok_r(text, ", ", &save); part; part = strtok_r(NULL, ", ", &save)) {
		struct addr host;
		struct prefix p;

		if (prefix_parse(part, &p, &host) < 0) {
			err_invalid(e, at, v, "must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24");
			return;
		}
	}
}

static void validate_external_name(const json_t *obj, struct errors *e)
{
	static const char *const forbidden[] = { "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy" };
	const struct path *at = PATH(NULL, "spec");
	const json_t *spec = json_object_get(obj, "spec"), *name = json_object_get(spec, "externalName");
	const char *text = json_str_or(name, "");
	_cleanup_json_ json_t *bare = json_stringn(text, strlen(text) - str_has_suffix(text, "."));

	if (!streq(service_type(obj), "ExternalName"))
		return;
	if (!*text)
		err_required(e, PATH(at, "externalName"), NULL);
	else
		validate_subdomain(bare, PATH(at, "externalName"), e);
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		const json_t *v = json_object_get(spec, forbidden[i]);

		if (json_string_length(v) || json_array_size(v) > 0)
			err_forbidden(e, PATH(at, forbidden[i]), "may not be set for ExternalName services");
	}
}

static void validate_external_policy(const json_t *obj, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec"), *policy = json_object_get(spec, "externalTrafficPolicy");
	const json_t *health = json_object_get(spec, "healthCheckNodePort");
	const struct path *at = PATH(NULL, "spec");

	if (policy && !service_is_external(obj) && json_array_size(json_object_get(spec, "externalIPs")) == 0)
		err_invalid(e, PATH(at, "externalTrafficPolicy"), policy, "may only be set for externally-accessible services");
	if (json_integer_value(health) && !service_needs_health_port(obj))
		err_invalid(e, PATH(at, "healthCheckNodePort"), health,
			    "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
}

static bool is_set(const json_t *v)
{
	return v && !(json_is_array(v) && json_array_size(v) == 0);
}

static void validate_policies(const json_t *obj, struct errors *e)
{
	static const char *const balancer[] = { "loadBalancerClass", "allocateLoadBalancerNodePorts", "loadBalancerSourceRanges" };
	const json_t *spec = json_object_get(obj, "spec");
	const struct path *at = PATH(NULL, "spec");

	validate_external_policy(obj, e);
	for (size_t i = 0; i < ARRAY_SIZE(balancer) && !streq(service_type(obj), "LoadBalancer"); i++)
		if (is_set(json_object_get(spec, balancer[i])))
			err_forbidden(e, PATH(at, balancer[i]), "may only be used when `type` is 'LoadBalancer'");
	if (service_is_headless(obj) && service_is_external(obj))
		err_invalid(e, PATH(at, "clusterIPs"), json_object_get(spec, "clusterIPs"),
			    "may not be set to 'None' for %s services", service_type(obj));
}

static void validate_ingress(const json_t *obj, struct errors *e)
{
	const struct path *at = PATH(PATH(PATH(NULL, "status"), "loadBalancer"), "ingress");
	json_t *v;
	size_t i;

	json_array_foreach(json_at(obj, "status", "loadBalancer", "ingress"), i, v) {
		const json_t *mode = json_object_get(v, "ipMode");

		validate_ip(json_object_get(v, "ip"), PATH(PATH_AT(at, i), "ip"), e);
		validate_subdomain(json_object_get(v, "hostname"), PATH(PATH_AT(at, i), "hostname"), e);
		if (mode && !json_object_get(v, "ip"))
			err_forbidden(e, PATH(PATH_AT(at, i), "ipMode"), "may not be specified when `ip` is not set");
		else if (mode && !streq(json_string_value(mode), "VIP") && !streq(json_string_value(mode), "Proxy"))
			err_unsupported(e, PATH(PATH_AT(at, i), "ipMode"), json_string_value(mode), VALUES("Proxy", "VIP"));
	}
}

void service_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec");

	(void)old;
	validate_labels(json_object_get(spec, "selector"), PATH(PATH(NULL, "spec"), "selector"), e);
	validate_ports(obj, e);
	validate_addresses(spec, e);
	validate_source_annotation(obj, e);
	validate_external_name(obj, e);
	validate_policies(obj, e);
	validate_ingress(obj, e);
}

static void cell_cluster_ip(const json_t *obj, struct buf *out)
{
	const char *ip = json_str_at(obj, "spec", "clusterIP");

	buf_adds(out, ip && *ip ? ip : "<none>");
}

static void cell_external_ip(const json_t *obj, struct buf *out)
{
	const json_t *ingress = json_at(obj, "status", "loadBalancer", "ingress"), *v;
	size_t before = out->len, i;

	if (streq(service_type(obj), "ExternalName")) {
		buf_adds(out, json_str_or(json_at(obj, "spec", "externalName"), ""));
		return;
	}
	if (streq(service_type(obj), "LoadBalancer"))
		json_array_foreach(ingress, i, v)
			buf_addf(out, "%s%s", out->len > before ? "," : "",
				 json_str_at(v, "ip") ? json_str_at(v, "ip") :
							json_str_or(json_object_get(v, "hostname"), ""));
	json_array_foreach(json_at(obj, "spec", "externalIPs"), i, v)
		buf_addf(out, "%s%s", out->len > before ? "," : "", json_str_or(v, ""));
	if (out->len == before)
		buf_adds(out, streq(service_type(obj), "LoadBalancer") ? "<pending>" : "<none>");
}

static void cell_ports(const json_t *obj, struct buf *out)
{
	const json_t *ports = json_at(obj, "spec", "ports"), *p;
	size_t i;

	if (json_array_size(ports) == 0)
		buf_adds(out, "<none>");
	json_array_foreach(ports, i, p) {
		json_int_t node = json_integer_value(json_object_get(p, "nodePort"));

		buf_addf(out, "%s%lld", i ? "," : "", (long long)json_integer_value(json_object_get(p, "port")));
		if (node)
			buf_addf(out, ":%lld", (long long)node);
		buf_addf(out, "/%s", json_str_or(json_object_get(p, "protocol"), "TCP"));
	}
}

static void cell_service_selector(const json_t *obj, struct buf *out)
{
	cell_selector(json_at(obj, "spec", "selector"), out);
}

const struct column service_columns[] = {
	COLUMN_NAME,
	{ "Type", "string", 0, "spec.type", .doc = "Type of the service." },
	{ "Cluster-IP", "string", 0, .cell = cell_cluster_ip, .doc = "Its address in the cluster." },
	{ "External-IP", "string", 0, .cell = cell_external_ip, .doc = "Its addresses outside." },
	{ "Port(s)", "string", 0, .cell = cell_ports, .doc = "Its ports." },
	COLUMN_AGE,
	{ "Selector", "string", 1, .cell = cell_service_selector, .doc = "Labels of its pods." },
	{ 0 },
};
