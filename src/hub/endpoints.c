/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions: serving is the pod's readiness; ready is serving and not terminating, or whatever
 * publishNotReadyAddresses says; terminating is a deletion that waits for the pod's grace period (KEP-1672). Hints: a
 * ready endpoint is for its own zone, with PreferSameNode for its own node too (KEP-4444, KEP-3015); endpoints that are
 * not ready carry none. Where topology mode Auto is asked for, hints depend on all endpoints: slice_plan.c. */
#include "hub/endpoints.h"
#include "base/buf.h"
#include "base/str.h"
#include "hub/object.h"
#include "hub/selector.h"
#include "hub/validate.h"

#define LABEL_ZONE "topology.kubernetes.io/zone"

bool service_has_endpoints(const json_t *svc)
{
	return json_object_size(json_at(svc, "spec", "selector")) > 0 &&
	       !streq(json_str_at(svc, "spec", "type"), "ExternalName");
}

/* The older annotation goes before the newer, as upstream. */
bool service_asks_topology(const json_t *svc)
{
	const json_t *annotations = json_at(svc, "metadata", "annotations");
	const json_t *mode = json_object_get(annotations, "service.kubernetes.io/topology-aware-hints");

	if (!mode)
		mode = json_object_get(annotations, "service.kubernetes.io/topology-mode");
	return streq(json_string_value(mode), "Auto") || streq(json_string_value(mode), "auto");
}

bool service_selects(const json_t *svc, const json_t *pod)
{
	json_t *selector = json_at(svc, "spec", "selector"), *labels = json_at(pod, "metadata", "labels"), *v;
	const char *key;

	json_object_foreach(selector, key, v)
		if (!streq(json_str_at(labels, key), json_string_value(v)))
			return false;
	return true;
}

static const char *ready_status(const json_t *pod)
{
	return json_str_or(json_object_get(json_condition(pod, "Ready"), "status"), "");
}

static bool has_ended(const json_t *pod)
{
	const char *phase = json_str_or(json_at(pod, "status", "phase"), "");

	return streq(phase, "Succeeded") || streq(phase, "Failed");
}

/* The pod's addresses of the family in canonical form. Those that no slice may hold are left out: what a node reports
 * wrongly must not keep the service's other endpoints from being written. */
static void add_address(json_t *out, const char *text, const char *family)
{
	char canonical[ADDR_TEXT_MAX];
	struct addr a;

	if (addr_parse(text, &a) == 0 && addr_is_v4(&a) == streq(family, "IPv4") && !endpoint_address_fault(&a))
		json_array_append_new(out, json_string(addr_format(&a, canonical)));
}

static json_t *addresses_of(const json_t *pod, const char *family)
{
	const json_t *ips = json_at(pod, "status", "podIPs");
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(ips, i, v)
		add_address(out, json_str_or(json_object_get(v, "ip"), ""), family);
	if (json_array_size(ips) == 0)
		add_address(out, json_str_or(json_at(pod, "status", "podIP"), ""), family);
	return out;
}

static bool prefers(const json_t *svc, const char *what)
{
	return streq(json_str_at(svc, "spec", "trafficDistribution"), what);
}

static void add_hints(json_t *ep, const json_t *svc)
{
	json_t *zone = json_object_get(ep, "zone"), *node = json_object_get(ep, "nodeName");
	bool same_node = prefers(svc, "PreferSameNode");
	json_t *hints;

	if (!json_is_true(json_at(ep, "conditions", "ready")) || service_asks_topology(svc) ||
	    !(same_node || prefers(svc, "PreferClose") || prefers(svc, "PreferSameZone")))
		return;
	hints = json_object();
	if (zone)
		json_object_set_new(hints, "forZones", json_pack("[{sO}]", "name", zone));
	if (node && same_node)
		json_object_set_new(hints, "forNodes", json_pack("[{sO}]", "name", node));
	if (json_object_size(hints) > 0)
		json_object_set(ep, "hints", hints);
	json_decref(hints);
}

static void add_place(json_t *ep, const json_t *svc, const json_t *pod, const json_t *node)
{
	const char *name = json_str_or(json_at(pod, "spec", "nodeName"), ""),
		   *host = json_str_or(json_at(pod, "spec", "hostname"), "");
	const char *zone = json_str_or(json_at(node, "metadata", "labels", LABEL_ZONE), "");

	if (*name)
		json_object_set_new(ep, "nodeName", json_string(name));
	if (*zone)
		json_object_set_new(ep, "zone", json_string(zone));
	if (*host && streq(json_str_at(pod, "spec", "subdomain"), meta_str(svc, "name")))
		json_object_set_new(ep, "hostname", json_string(host));
}

json_t *endpoint_new(const json_t *svc, const json_t *pod, const json_t *node, const char *family)
{
	bool publish = json_is_true(json_at(svc, "spec", "publishNotReadyAddresses"));
	bool serving = streq(ready_status(pod), "True"), terminating = json_at(pod, "metadata", "deletionTimestamp");
	json_t *addresses, *ep;

	if (has_ended(pod) || (!node && !publish))
		return NULL;
	addresses = addresses_of(pod, family);
	if (json_array_size(addresses) == 0) {
		json_decref(addresses);
		return NULL;
	}
	ep = json_pack("{so s{sb sb sb} s{ss ss ss ss}}", "addresses", addresses, "conditions", "ready",
		       publish || (serving && !terminating), "serving", serving, "terminating", terminating,
		       "targetRef", "kind", "Pod", "namespace", meta_str(pod, "namespace"), "name",
		       meta_str(pod, "name"), "uid", meta_str(pod, "uid"));
	add_place(ep, svc, pod, node);
	add_hints(ep, svc);
	return ep;
}

static json_int_t named_port(const json_t *containers, bool init, const char *name, const char *protocol)
{
	json_t *c, *p;
	size_t i, j;

	json_array_foreach(containers, i, c) {
		if (init && !streq(json_str_at(c, "restartPolicy"), "Always"))
			continue; /* only one that stays, a sidecar, serves */
		json_array_foreach(json_object_get(c, "ports"), j, p)
			if (streq(json_str_at(p, "name"), name) &&
			    streq(json_str_or(json_object_get(p, "protocol"), "TCP"), protocol))
				return json_integer_value(json_object_get(p, "containerPort"));
	}
	return 0;
}

static json_int_t target_port(const json_t *port, const json_t *pod)
{
	const json_t *target = json_object_get(port, "targetPort");
	const char *protocol = json_str_or(json_object_get(port, "protocol"), "TCP");
	json_int_t n;

	if (!json_is_string(target))
		return json_integer_value(target ? target : json_object_get(port, "port"));
	n = named_port(json_at(pod, "spec", "containers"), false, json_string_value(target), protocol);
	return n ? n : named_port(json_at(pod, "spec", "initContainers"), true, json_string_value(target), protocol);
}

json_t *endpoint_ports(const json_t *svc, const json_t *pod)
{
	json_t *out = json_array(), *p, *ep;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "ports"), i, p) {
		json_int_t n = target_port(p, pod);

		if (n == 0)
			continue;
		ep = json_pack("{ss ss sI}", "name", json_str_or(json_object_get(p, "name"), ""), "protocol",
			       json_str_or(json_object_get(p, "protocol"), "TCP"), "port", n);
		if (json_object_get(p, "appProtocol"))
			json_object_set(ep, "appProtocol", json_object_get(p, "appProtocol"));
		json_array_append_new(out, ep);
	}
	return out;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *endpoint_ports_key(const json_t *ports)
{
	size_t n = json_array_size(ports), i;
	char **each = xnew0_array(char *, n + 1), *out;
	struct buf b = {0};
	json_t *p;

	json_array_foreach(ports, i, p)
		each[i] = xasprintf("%s/%s/%lld/%s;", json_str_or(json_object_get(p, "name"), ""),
				    json_str_or(json_object_get(p, "protocol"), "TCP"),
				    (long long)json_integer_value(json_object_get(p, "port")),
				    json_str_or(json_object_get(p, "appProtocol"), ""));
	qsort(each, n, sizeof(*each), compare_text);
	buf_adds(&b, "");
	for (i = 0; i < n; i++) {
		buf_adds(&b, each[i]);
		free(each[i]);
	}
	free(each);
	out = xstrndup(b.data ? b.data : "", b.len);
	buf_done(&b);
	return out;
}

static bool same(const json_t *a, const json_t *b)
{
	return a == b || (a && b && json_equal(a, b));
}

bool endpoint_differs(const json_t *pod, const json_t *other)
{
	for (const char *const *f = VALUES("labels", "deletionTimestamp", "uid"); *f; f++)
		if (!same(json_at(pod, "metadata", *f), json_at(other, "metadata", *f)))
			return true;
	for (const char *const *f = VALUES("phase", "podIP", "podIPs"); *f; f++)
		if (!same(json_at(pod, "status", *f), json_at(other, "status", *f)))
			return true;
	return !streq(ready_status(pod), ready_status(other)) || !same(json_at(pod, "spec"), json_at(other, "spec"));
}
