/* SPDX-License-Identifier: Apache-2.0 */
/* What a change of a Service means for the fields that depend on its type, and what may not change. */
#include "hub/kind_hooks.h"
#include "hub/lb_plan.h"
#include "hub/service.h"
#include "hub/validate.h"

const char *service_type(const json_t *svc)
{
	return json_str_or(json_at(svc, "spec", "type"), "ClusterIP");
}

bool service_is_external(const json_t *svc)
{
	return streq(service_type(svc), "NodePort") || streq(service_type(svc), "LoadBalancer");
}

bool service_is_headless(const json_t *svc)
{
	const char *ip = json_str_at(json_object_get(svc, "spec"), "clusterIP");

	return streq(ip ? ip : json_string_value(json_array_get(json_at(svc, "spec", "clusterIPs"), 0)), "None");
}

bool service_needs_cluster_ip(const json_t *svc)
{
	return !streq(service_type(svc), "ExternalName");
}

bool service_needs_node_ports(const json_t *svc)
{
	return streq(service_type(svc), "NodePort") ||
	       (streq(service_type(svc), "LoadBalancer") &&
		!json_is_false(json_at(svc, "spec", "allocateLoadBalancerNodePorts")));
}

bool service_needs_health_port(const json_t *svc)
{
	return streq(service_type(svc), "LoadBalancer") &&
	       streq(json_str_at(svc, "spec", "externalTrafficPolicy"), "Local");
}

static bool is_load_balancer(const json_t *svc)
{
	return streq(service_type(svc), "LoadBalancer");
}

static bool may_have_external_policy(const json_t *svc)
{
	return service_is_external(svc) || json_array_size(json_at(svc, "spec", "externalIPs")) > 0;
}

static bool same(const json_t *a, const json_t *b)
{
	return a == b || (a && b && json_equal(a, b));
}

/* What was said of the addresses of a load balancer goes with them. The condition is also how the pools know whom they have given to:
 * left behind it would have them take the addresses that another class's controller gives one day. */
static void drop_load_balancer(json_t *obj)
{
	json_t *status = default_object(obj, "status"), *list = json_object_get(status, "conditions"), *c;
	size_t i = 0;

	json_object_set_new(status, "loadBalancer", json_object());
	while ((c = json_array_get(list, i)))
		if (streq(json_str_at(c, "type"), LB_CONDITION))
			json_array_remove(list, i);
		else
			i++;
	if (list && json_array_size(list) == 0)
		json_object_del(status, "conditions");
}

/* Takes out a field that only the old type needed, unless the user has changed it: then validation has its say. */
static void drop_unneeded(json_t *obj, const json_t *old)
{
	static const struct {
		const char *field;
		bool (*needed)(const json_t *svc);
	} table[] = {
	    {"clusterIP", service_needs_cluster_ip},
	    {"clusterIPs", service_needs_cluster_ip},
	    {"ipFamilies", service_needs_cluster_ip},
	    {"ipFamilyPolicy", service_needs_cluster_ip},
	    {"internalTrafficPolicy", service_needs_cluster_ip},
	    {"healthCheckNodePort", service_needs_health_port},
	    {"loadBalancerClass", is_load_balancer},
	    {"allocateLoadBalancerNodePorts", is_load_balancer},
	    {"externalTrafficPolicy", may_have_external_policy},
	};
	json_t *spec = json_object_get(obj, "spec");
	const json_t *was = json_object_get(old, "spec");

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].needed(old) && !table[i].needed(obj) &&
		    same(json_object_get(spec, table[i].field), json_object_get(was, table[i].field)))
			json_object_del(spec, table[i].field);
	if (is_load_balancer(old) && !is_load_balancer(obj))
		drop_load_balancer(obj);
}

static bool lists_node_port(const json_t *svc, json_int_t port)
{
	json_t *p;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "ports"), i, p)
		if (json_integer_value(json_object_get(p, "nodePort")) == port)
			return true;
	return false;
}

static bool same_node_ports(const json_t *a, const json_t *b)
{
	json_t *p;
	size_t i;

	json_array_foreach(json_at(a, "spec", "ports"), i, p)
		if (!lists_node_port(b, json_integer_value(json_object_get(p, "nodePort"))))
			return false;
	return true;
}

/* What the old one had, not what it needed: a load balancer may have ports left from before it was told to take none. */
static void drop_node_ports(json_t *obj, const json_t *old)
{
	json_t *p;
	size_t i;

	if (!service_is_external(old) || service_is_external(obj) || !same_node_ports(obj, old))
		return;
	json_array_foreach(json_at(obj, "spec", "ports"), i, p)
		json_object_del(p, "nodePort");
}

static json_int_t node_port_named(const json_t *svc, const char *name)
{
	json_t *p;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "ports"), i, p)
		if (streq(json_str_or(json_object_get(p, "name"), ""), name))
			return json_integer_value(json_object_get(p, "nodePort"));
	return 0;
}

/* A port that is left without a node port keeps the one that the port of its name had. */
static void keep_node_ports(json_t *obj, const json_t *old)
{
	json_t *p;
	size_t i;

	if (!service_needs_node_ports(old) || !service_needs_node_ports(obj))
		return;
	json_array_foreach(json_at(obj, "spec", "ports"), i, p) {
		json_int_t was = node_port_named(old, json_str_or(json_object_get(p, "name"), ""));

		if (!json_integer_value(json_object_get(p, "nodePort")) && was && !lists_node_port(obj, was))
			json_object_set_new(p, "nodePort", json_integer(was));
	}
}

void service_carry_over(json_t *obj, const json_t *old)
{
	json_t *spec = json_object_get(obj, "spec"), *health = json_at(old, "spec", "healthCheckNodePort");

	drop_unneeded(obj, old);
	drop_node_ports(obj, old);
	keep_node_ports(obj, old);
	if (service_needs_health_port(old) && service_needs_health_port(obj) &&
	    !json_integer_value(json_object_get(spec, "healthCheckNodePort")) && health)
		json_object_set(spec, "healthCheckNodePort", health);
}

/* What is set stays, item by item; a list may lose or win its second item. */
static void validate_item(const json_t *obj, const json_t *old, const char *field, size_t i, struct errors *e)
{
	const json_t *is = json_array_get(json_at(obj, "spec", field), i),
		     *was = json_array_get(json_at(old, "spec", field), i);

	if (was && is && !json_equal(is, was))
		err_invalid(e, PATH_AT(PATH(PATH(NULL, "spec"), field), i), is, "may not change once set");
}

static void validate_release(const json_t *obj, const json_t *old, const char *field, const char *what,
			     struct errors *e)
{
	const json_t *policy = json_at(obj, "spec", "ipFamilyPolicy");

	if (json_array_size(json_at(old, "spec", field)) == 2 && json_array_size(json_at(obj, "spec", field)) == 1 &&
	    !streq(json_string_value(policy), "SingleStack"))
		err_invalid(e, PATH(PATH(NULL, "spec"), "ipFamilyPolicy"), policy,
			    "must be set to 'SingleStack' when releasing the secondary %s", what);
}

void service_validate_update(const json_t *obj, const json_t *old, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	const json_t *is = json_object_get(obj, "spec"), *was = json_object_get(old, "spec");

	if (service_needs_cluster_ip(obj) && service_needs_cluster_ip(old)) {
		for (size_t i = 0; i < FAMILIES_MAX; i++) {
			validate_item(obj, old, "clusterIPs", i, e);
			validate_item(obj, old, "ipFamilies", i, e);
		}
		validate_release(obj, old, "clusterIPs", "clusterIP", e);
		validate_release(obj, old, "ipFamilies", "ipFamily", e);
	}
	if (is_load_balancer(obj) && is_load_balancer(old) &&
	    !same(json_object_get(is, "loadBalancerClass"), json_object_get(was, "loadBalancerClass")))
		err_invalid(e, PATH(at, "loadBalancerClass"), json_object_get(is, "loadBalancerClass"),
			    "may not change once set");
	if (service_needs_health_port(obj) && service_needs_health_port(old))
		validate_immutable(json_object_get(is, "healthCheckNodePort"),
				   json_object_get(was, "healthCheckNodePort"), PATH(at, "healthCheckNodePort"), e);
}
