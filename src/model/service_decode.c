/* SPDX-License-Identifier: Apache-2.0 */
/* What Services and EndpointSlices say, checked. EndpointSlices come as v1 and, from Kubernetes before 1.21, as v1beta1: there an
 * endpoint's node is topology["kubernetes.io/hostname"], its zone topology["topology.kubernetes.io/zone"], and lists may be null. */
#include "model/model_internal.h"

#define LABEL_PROXY "service.kubernetes.io/service-proxy-name"
#define ANNOTATION_ALGORITHM "weft.dev/service.algorithm"
#define ANNOTATION_FORWARDING "weft.dev/service.forwarding"
#define ANNOTATION_REMOVED "weft.dev/service.removed-endpoints"
#define CONDITION_POOL "weft.dev/LoadBalancerAddresses"
#define REASON_NO_POOL "NoPool"

enum { AFFINITY_DEFAULT_S = 10800, AFFINITY_MAX_S = 86400 };

/* A list that may be absent or null. Return: how many, -EINVAL. */
static int list_size(const json_t *list, const char *what, size_t max, char **ret_error)
{
	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return decode_refuse(ret_error, "%s: expected a list", what);
	if (json_array_size(list) > max)
		return decode_refuse(ret_error, "%s: more than %zu", what, max);
	return json_array_size(list);
}

static int decode_proto(const json_t *port, uint8_t *ret)
{
	const char *name = json_str_or(json_object_get(port, "protocol"), "TCP");

	if (streq(name, "TCP"))
		*ret = IPPROTO_TCP;
	else if (streq(name, "UDP"))
		*ret = IPPROTO_UDP;
	else if (streq(name, "SCTP"))
		*ret = IPPROTO_SCTP;
	else
		return -EINVAL;
	return 0;
}

/* 0 when it is not said; -EINVAL. */
static int decode_port(const json_t *j, uint16_t *ret)
{
	json_int_t n = json_integer_value(j);

	*ret = 0;
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_integer(j) || n < 0 || n > 65535)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* ---- Services ---- */

static int decode_service_ports(const json_t *spec, struct decoded_service *d, char **ret_error)
{
	const json_t *list = json_object_get(spec, "ports"), *item;
	int n = list_size(list, "spec.ports", SERVICE_PORTS_MAX, ret_error);
	size_t i;

	if (n < 0)
		return n;
	d->ports = xnew0_array(struct model_service_port, n + 1);
	json_array_foreach(list, i, item) {
		struct model_service_port *p = &d->ports[i];

		p->name = json_str_or(json_object_get(item, "name"), "");
		if (decode_proto(item, &p->proto) < 0)
			return decode_refuse(ret_error, "spec.ports[%zu].protocol: expected TCP, UDP or SCTP", i);
		if (decode_port(json_object_get(item, "port"), &p->port) < 0 || p->port == 0)
			return decode_refuse(ret_error, "spec.ports[%zu].port: expected 1 to 65535", i);
		if (decode_port(json_object_get(item, "nodePort"), &p->node_port) < 0)
			return decode_refuse(ret_error, "spec.ports[%zu].nodePort: expected 0 to 65535", i);
		d->n_ports = i + 1;
	}
	return 0;
}

static void add_addr(struct decoded_service *d, const struct addr *a, enum model_service_address_kind kind)
{
	for (unsigned i = 0; i < d->n_addrs; i++)
		if (addr_eq(&d->addrs[i].addr, a) && d->addrs[i].kind == kind)
			return;
	GROW(d->addrs, d->n_addrs, d->cap_addrs);
	d->addrs[d->n_addrs++] = (struct model_service_addr){.addr = *a, .kind = kind};
}

static int decode_addr_list(const json_t *list, const char *what, enum model_service_address_kind kind, struct decoded_service *d,
			    char **ret_error)
{
	int n = list_size(list, what, SERVICE_ADDRESSES_MAX, ret_error);
	const json_t *item;
	struct addr a;
	size_t i;

	if (n < 0)
		return n;
	json_array_foreach(list, i, item) {
		if (addr_parse(json_str_or(item, ""), &a) < 0)
			return decode_refuse(ret_error, "%s[%zu]: expected an IP address", what, i);
		add_addr(d, &a, kind);
	}
	return 0;
}

/* clusterIPs, or, from Kubernetes before 1.20, clusterIP. "None" is headless, "" is not allocated yet. */
static int decode_cluster_ips(const json_t *spec, struct decoded_service *d, char **ret_error)
{
	const json_t *list = json_object_get(spec, "clusterIPs");
	const char *one = json_str_or(json_object_get(spec, "clusterIP"), "");
	struct addr a;

	if (streq(one, "None") || streq(json_string_value(json_array_get(list, 0)), "None")) {
		d->proxied = false;
		return 0;
	}
	if (json_array_size(list) > 0)
		return decode_addr_list(list, "spec.clusterIPs", SERVICE_ADDR_CLUSTER, d, ret_error);
	if (!*one)
		return 0;
	if (addr_parse(one, &a) < 0)
		return decode_refuse(ret_error, "spec.clusterIP: expected an IP address or None");
	add_addr(d, &a, SERVICE_ADDR_CLUSTER);
	return 0;
}

/* Host names are for clients, and with ipMode Proxy the balancer wants to see the packets itself (KEP-1860). */
static int decode_load_balancer(const json_t *object, struct decoded_service *d, char **ret_error)
{
	const json_t *list = json_at(object, "status", "loadBalancer", "ingress"), *item;
	int n = list_size(list, "status.loadBalancer.ingress", SERVICE_ADDRESSES_MAX, ret_error);
	struct addr a;
	size_t i;

	if (n < 0)
		return n;
	json_array_foreach(list, i, item) {
		const char *ip = json_str_or(json_object_get(item, "ip"), "");

		if (!*ip || streq(json_str_at(item, "ipMode"), "Proxy"))
			continue;
		if (addr_parse(ip, &a) < 0)
			return decode_refuse(ret_error, "status.loadBalancer.ingress[%zu].ip: expected an IP address", i);
		add_addr(d, &a, SERVICE_ADDR_LOAD_BALANCER);
	}
	return 0;
}

static int add_source(struct decoded_service *d, const char *text)
{
	struct prefix p;
	struct addr host;
	int r = prefix_parse(text, &p, &host);

	if (r < 0)
		return r;
	GROW(d->sources, d->n_sources, d->cap_sources);
	d->sources[d->n_sources++] = p;
	return 0;
}

/* The field, or the annotation from before it. */
static int decode_sources(const json_t *object, struct decoded_service *d, char **ret_error)
{
	const json_t *list = json_at(object, "spec", "loadBalancerSourceRanges"), *item;
	const char *text = json_str_at(object, "metadata", "annotations", "service.beta.kubernetes.io/load-balancer-source-ranges");
	int n = list_size(list, "spec.loadBalancerSourceRanges", SERVICE_SOURCE_PREFIXES_MAX, ret_error);
	_cleanup_free_ char *copy = xstrdup(n <= 0 && text ? text : "");
	char *save = NULL, *part;
	size_t i;

	if (n < 0)
		return n;
	json_array_foreach(list, i, item) {
		_cleanup_free_ char *s = xstrdup(json_str_or(item, ""));

		part = strtok_r(s, " ", &save); /* the API server lets spaces stand around it */
		if (!part || add_source(d, part) < 0)
			return decode_refuse(ret_error, "spec.loadBalancerSourceRanges[%zu]: expected a network such as 10.0.0.0/8", i);
	}
	for (part = strtok_r(copy, ", ", &save); part; part = strtok_r(NULL, ", ", &save))
		if (d->n_sources == SERVICE_SOURCE_PREFIXES_MAX || add_source(d, part) < 0)
			return decode_refuse(ret_error, "the annotation load-balancer-source-ranges: expected networks, joined by commas");
	return 0;
}

static int decode_affinity(const json_t *spec, struct decoded_service *d, char **ret_error)
{
	const json_t *j = json_at(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds");
	json_int_t s = json_is_integer(j) ? json_integer_value(j) : AFFINITY_DEFAULT_S;

	if (!streq(json_str_at(spec, "sessionAffinity"), "ClientIP"))
		return 0;
	if (s < 1 || s > AFFINITY_MAX_S)
		return decode_refuse(ret_error, "spec.sessionAffinityConfig.clientIP.timeoutSeconds: expected 1 to %d", AFFINITY_MAX_S);
	d->affinity_s = s;
	return 0;
}

static bool is_local(const json_t *spec, const char *policy)
{
	return streq(json_string_value(json_object_get(spec, policy)), "Local");
}

static uint64_t digest_of(const json_t *object)
{
	_cleanup_json_ json_t *what = json_pack("[O?O?O?O?O?]", json_object_get(object, "spec"),
						json_at(object, "status", "loadBalancer"), json_at(object, "status", "conditions"), json_at(object, "metadata", "labels"),
						json_at(object, "metadata", "annotations"));
	_cleanup_free_ char *text = json_dumps(what, JSON_COMPACT | JSON_SORT_KEYS);

	return text ? hash_str(text) : 0;
}

/* Whose the addresses are that it has, not whether it has all that it wants: who waits for a second one is served at the first. The pools' controller
 * writes condition and addresses together, and owns them all; by one reason alone it says that they are none of its own (hub/lb_plan.h). */
static bool is_pooled(const json_t *object)
{
	const json_t *c = json_condition(object, CONDITION_POOL);

	return c && !streq(json_str_at(c, "reason"), REASON_NO_POOL);
}

int decode_service(const json_t *object, struct decoded_service *d, char **ret_error)
{
	const json_t *spec = json_object_get(object, "spec"), *annotations = json_at(object, "metadata", "annotations");
	const char *type = json_str_or(json_object_get(spec, "type"), "ClusterIP");
	int r;

	*d = (struct decoded_service){.proxied = true, .digest = digest_of(object)};
	r = decode_service_ports(spec, d, ret_error);
	if (r == 0)
		r = decode_cluster_ips(spec, d, ret_error);
	if (r == 0)
		r = decode_addr_list(json_object_get(spec, "externalIPs"), "spec.externalIPs", SERVICE_ADDR_EXTERNAL, d, ret_error);
	if (r == 0 && streq(type, "LoadBalancer"))
		r = decode_load_balancer(object, d, ret_error);
	if (r == 0)
		r = decode_sources(object, d, ret_error);
	if (r == 0)
		r = decode_affinity(spec, d, ret_error);
	if (r == 0 && decode_port(json_object_get(spec, "healthCheckNodePort"), &d->health_port) < 0)
		r = decode_refuse(ret_error, "spec.healthCheckNodePort: expected 0 to 65535");
	if (streq(type, "ExternalName") || json_str_at(object, "metadata", "labels", LABEL_PROXY))
		d->proxied = false;
	d->internal_local = is_local(spec, "internalTrafficPolicy");
	d->external_local = is_local(spec, "externalTrafficPolicy");
	if (!d->external_local || !streq(type, "LoadBalancer"))
		d->health_port = 0; /* left over from what the Service was */
	d->maglev = streq(json_string_value(json_object_get(annotations, ANNOTATION_ALGORITHM)), "maglev");
	d->pooled = is_pooled(object);
	d->dsr = streq(json_string_value(json_object_get(annotations, ANNOTATION_FORWARDING)), "dsr");
	d->reset = streq(json_string_value(json_object_get(annotations, ANNOTATION_REMOVED)), "reset");
	return r;
}

void decoded_service_done(struct decoded_service *d)
{
	free(d->ports);
	free(d->addrs);
	free(d->sources);
}

/* ---- EndpointSlices ---- */

static int decode_slice_ports(const json_t *object, struct decoded_slice *d, char **ret_error)
{
	const json_t *list = json_object_get(object, "ports"), *item;
	int n = list_size(list, "ports", SLICE_PORTS_MAX, ret_error);
	size_t i;

	if (n < 0)
		return n;
	d->ports = xnew0_array(struct model_slice_port, n + 1);
	json_array_foreach(list, i, item) {
		struct model_slice_port *p = &d->ports[i];

		p->name = json_str_or(json_object_get(item, "name"), "");
		if (decode_proto(item, &p->proto) < 0)
			return decode_refuse(ret_error, "ports[%zu].protocol: expected TCP, UDP or SCTP", i);
		if (decode_port(json_object_get(item, "port"), &p->port) < 0)
			return decode_refuse(ret_error, "ports[%zu].port: expected 1 to 65535", i);
		d->n_ports = i + 1;
	}
	return 0;
}

/* nil: ready is true, serving is what ready is, terminating is false. */
static uint8_t decode_conditions(const json_t *c)
{
	const json_t *ready = json_object_get(c, "ready"), *serving = json_object_get(c, "serving");
	uint8_t flags = 0;

	if (!json_is_false(ready))
		flags |= ENDPOINT_READY;
	if (json_is_boolean(serving) ? json_is_true(serving) : flags & ENDPOINT_READY)
		flags |= ENDPOINT_SERVING;
	if (json_is_true(json_object_get(c, "terminating")))
		flags |= ENDPOINT_TERMINATING;
	return flags;
}

/* Names in a list of {"name": …}; @ret has room for SLICE_HINTS_MAX, more are left out. */
static uint8_t decode_hint_names(const json_t *list, const char **ret)
{
	const json_t *item;
	uint8_t n = 0;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && n < SLICE_HINTS_MAX)
			ret[n++] = name;
	}
	return n;
}

static void decode_hints(const json_t *hints, struct model_endpoint *e)
{
	const char *names[2 * SLICE_HINTS_MAX];

	e->n_nodes = decode_hint_names(json_object_get(hints, "forNodes"), names);
	e->n_zones = decode_hint_names(json_object_get(hints, "forZones"), names + e->n_nodes);
	if (e->n_nodes + e->n_zones == 0)
		return;
	e->hints = xnew0_array(const char *, e->n_nodes + e->n_zones);
	memcpy(e->hints, names, (e->n_nodes + e->n_zones) * sizeof(*names));
}

static int decode_endpoint(const json_t *item, size_t i, bool v6, struct model_endpoint *e, char **ret_error)
{
	const json_t *topology = json_object_get(item, "topology");
	const char *text = json_string_value(json_array_get(json_object_get(item, "addresses"), 0));

	if (!text || addr_parse(text, &e->addr) < 0 || addr_is_v4(&e->addr) == v6)
		return decode_refuse(ret_error, "endpoints[%zu].addresses[0]: expected an IPv%d address", i, v6 ? 6 : 4);
	e->node = json_str_or(json_object_get(item, "nodeName"),
			      json_str_or(json_object_get(topology, "kubernetes.io/hostname"), ""));
	e->zone = json_str_or(json_object_get(item, "zone"),
			      json_str_or(json_object_get(topology, "topology.kubernetes.io/zone"), ""));
	e->flags = decode_conditions(json_object_get(item, "conditions"));
	decode_hints(json_object_get(item, "hints"), e);
	return 0;
}

static int decode_endpoints(const json_t *object, struct decoded_slice *d, char **ret_error)
{
	const json_t *list = json_object_get(object, "endpoints"), *item;
	int n = list_size(list, "endpoints", SLICE_ENDPOINTS_MAX, ret_error), r;
	size_t i;

	if (n < 0)
		return n;
	d->endpoints = xnew0_array(struct model_endpoint, n + 1);
	json_array_foreach(list, i, item) {
		d->n_endpoints = i + 1;
		r = decode_endpoint(item, i, d->v6, &d->endpoints[i], ret_error);
		if (r < 0)
			return r;
	}
	return 0;
}

int decode_slice(const json_t *object, struct decoded_slice *d, char **ret_error)
{
	const json_t *labels = json_at(object, "metadata", "labels");
	const char *type = json_str_or(json_object_get(object, "addressType"), "IPv4");
	int r;

	*d = (struct decoded_slice){.v6 = streq(type, "IPv6"),
				    .service = json_str_or(json_object_get(labels, "kubernetes.io/service-name"), "")};
	if (json_object_get(labels, "service.kubernetes.io/headless") || !name_is_dns_subdomain(d->service))
		d->service = "";
	if (streq(type, "FQDN"))
		return 0;
	if (!d->v6 && !streq(type, "IPv4") && !streq(type, "IP")) /* IP: Kubernetes 1.16 */
		return decode_refuse(ret_error, "addressType: expected IPv4, IPv6 or FQDN");
	r = decode_slice_ports(object, d, ret_error);
	return r < 0 ? r : decode_endpoints(object, d, ret_error);
}

void decoded_slice_done(struct decoded_slice *d)
{
	for (unsigned i = 0; d->endpoints && i < d->n_endpoints; i++)
		free(d->endpoints[i].hints);
	free(d->endpoints);
	free(d->ports);
}
