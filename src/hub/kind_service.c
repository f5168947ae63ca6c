/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults, rules and columns of Service. What addresses it gets is decided in service_ip.c. */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"
#include "net/addr.h"

static const char *type_of(const json_t *obj)
{
	return json_str_or(json_at(obj, "spec", "type"), "ClusterIP");
}

static bool has_node_ports(const json_t *obj)
{
	return streq(type_of(obj), "NodePort") || streq(type_of(obj), "LoadBalancer");
}

static bool is_headless(const json_t *obj)
{
	return streq(json_str_at(obj, "spec", "clusterIP"), "None");
}

static void default_ports(json_t *spec)
{
	json_t *p;
	size_t i;

	json_array_foreach(json_object_get(spec, "ports"), i, p) {
		default_str(p, "protocol", "TCP");
		if (!json_object_get(p, "targetPort") && json_object_get(p, "port"))
			json_object_set(p, "targetPort", json_object_get(p, "port"));
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

void service_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec");

	(void)old;
	default_str(spec, "type", "ClusterIP");
	default_str(spec, "sessionAffinity", "None");
	default_affinity(spec);
	default_ports(spec);
	default_object(default_object(obj, "status"), "loadBalancer");
	if (!streq(type_of(obj), "ExternalName"))
		default_str(spec, "internalTrafficPolicy", "Cluster");
	if (has_node_ports(obj) || json_array_size(json_object_get(spec, "externalIPs")) > 0)
		default_str(spec, "externalTrafficPolicy", "Cluster");
	if (streq(type_of(obj), "LoadBalancer") && !json_object_get(spec, "allocateLoadBalancerNodePorts"))
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
	if (json_integer_value(node_port) && !has_node_ports(obj))
		err_forbidden(e, PATH(at, "nodePort"), "may not be used when `type` is '%s'", type_of(obj));
	if (is_headless(obj) && json_is_integer(json_object_get(p, "targetPort")) && json_object_get(p, "port") &&
	    !json_equal(json_object_get(p, "targetPort"), json_object_get(p, "port")))
		return; /* accepted upstream: the slice carries targetPort */
}

static void validate_ports(const json_t *obj, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), "ports");
	const json_t *ports = json_at(obj, "spec", "ports"), *p;
	_cleanup_json_ json_t *seen = json_object();
	size_t n = json_array_size(ports), i;

	if (n == 0 && !is_headless(obj) && !streq(type_of(obj), "ExternalName"))
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
}

static void validate_addresses(const json_t *spec, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(spec, "externalIPs"), i, v)
		validate_ip(v, PATH_AT(PATH(at, "externalIPs"), i), e);
	json_array_foreach(json_object_get(spec, "loadBalancerSourceRanges"), i, v)
		validate_cidr(v, PATH_AT(PATH(at, "loadBalancerSourceRanges"), i), e);
}

static void validate_external_name(const json_t *obj, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	const json_t *spec = json_object_get(obj, "spec"), *name = json_object_get(spec, "externalName");

	if (!streq(type_of(obj), "ExternalName"))
		return;
	if (!json_string_length(name))
		err_required(e, PATH(at, "externalName"), NULL);
	else
		validate_subdomain(name, PATH(at, "externalName"), e);
	if (*json_str_or(json_object_get(spec, "clusterIP"), ""))
		err_forbidden(e, PATH(at, "clusterIP"), "may not be set when `type` is 'ExternalName'");
}

static void validate_policies(const json_t *obj, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec");
	const struct path *at = PATH(NULL, "spec");
	bool local = streq(json_str_at(spec, "externalTrafficPolicy"), "Local");

	if (json_object_get(spec, "externalTrafficPolicy") && !has_node_ports(obj) &&
	    json_array_size(json_object_get(spec, "externalIPs")) == 0)
		err_invalid(e, PATH(at, "externalTrafficPolicy"), json_object_get(spec, "externalTrafficPolicy"),
			    "may only be set for externally-accessible services");
	if (json_integer_value(json_object_get(spec, "healthCheckNodePort")) &&
	    !(streq(type_of(obj), "LoadBalancer") && local))
		err_invalid(e, PATH(at, "healthCheckNodePort"), json_object_get(spec, "healthCheckNodePort"),
			    "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
	if (json_object_get(spec, "loadBalancerClass") && !streq(type_of(obj), "LoadBalancer"))
		err_forbidden(e, PATH(at, "loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
	if (is_headless(obj) && has_node_ports(obj))
		err_invalid(e, PATH(at, "clusterIPs"), json_object_get(spec, "clusterIPs"),
			    "may not be set to 'None' for LoadBalancer or NodePort services");
}

void service_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec");

	(void)old;
	validate_labels(json_object_get(spec, "selector"), PATH(PATH(NULL, "spec"), "selector"), e);
	validate_ports(obj, e);
	validate_addresses(spec, e);
	validate_external_name(obj, e);
	validate_policies(obj, e);
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

	if (streq(type_of(obj), "ExternalName")) {
		buf_adds(out, json_str_or(json_at(obj, "spec", "externalName"), ""));
		return;
	}
	if (streq(type_of(obj), "LoadBalancer"))
		json_array_foreach(ingress, i, v)
			buf_addf(out, "%s%s", out->len > before ? "," : "",
				 json_str_at(v, "ip") ? json_str_at(v, "ip") :
							json_str_or(json_object_get(v, "hostname"), ""));
	json_array_foreach(json_at(obj, "spec", "externalIPs"), i, v)
		buf_addf(out, "%s%s", out->len > before ? "," : "", json_str_or(v, ""));
	if (out->len == before)
		buf_adds(out, streq(type_of(obj), "LoadBalancer") ? "<pending>" : "<none>");
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
