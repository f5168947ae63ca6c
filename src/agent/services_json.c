/* SPDX-License-Identifier: Apache-2.0 */
/* What `weft service` and `weft status` are told. One Service is read back from the kernel, and held against what was compiled. */
#include "agent/agent.h"
#include "agent/announcer.h"
#include "agent/services_internal.h"
#include "base/str.h"

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = {[SERVICE_CLUSTER_IP] = "ClusterIP",
					    [SERVICE_NODE_PORT] = "NodePort",
					    [SERVICE_LOAD_BALANCER] = "LoadBalancer",
					    [SERVICE_EXTERNAL_IP] = "ExternalIP",
					    [SERVICE_HOST_PORT] = "HostPort"};

	return names[kind];
}

static const char *scope_name(uint8_t scope)
{
	return scope == SERVICE_INTERNAL ? "inside" : scope == SERVICE_EXTERNAL ? "outside" : "nodes";
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

static json_t *endpoint_json(const struct service_endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	return json_pack("{ss, ss, sb, sb, sb, sb, si}", "address", addr_port_format(&e->addr, e->port, text), "tier",
			 service_tier_name(e->tier), "local", e->local, "terminating", e->terminating, "inCluster",
			 (e->roles & 1 << SERVICE_CLUSTER) != 0, "inLocal", (e->roles & 1 << SERVICE_LOCAL) != 0, "weight", e->weight);
}

/* ---- what differs ---- */

/* Of one port: what is told of its frontends, in their order, and of the rest. */
struct differences {
	struct services_want want;
	json_t *of_frontends; /* an array of arrays */
	json_t *others;
};

static void on_difference(void *ctx, const struct dp_service *want, const struct dp_service_frontend *f, const char *text)
{
	struct differences *d = container_of(want, struct differences, want.service);

	(void)ctx;
	json_array_append_new(f ? json_array_get(d->of_frontends, f - want->frontends) : d->others, json_string(text));
}

static void differences_init(struct differences *d, const struct service_view *v, size_t port)
{
	*d = (struct differences){.of_frontends = json_array(), .others = json_array()};
	services_want_init(&d->want, v, port);
	for (size_t i = 0; i < d->want.service.n_frontends; i++)
		json_array_append_new(d->of_frontends, json_array());
}

static void differences_done(struct differences *d)
{
	services_want_done(&d->want);
	json_decref(d->of_frontends);
	json_decref(d->others);
}

/* Of all ports, and of the Service's addresses for other ports: @v->n_ports + 1, the caller's. */
static struct differences *find_differences(struct agent *a, const struct service_view *v)
{
	struct differences *d = xnew0_array(struct differences, v->n_ports + 1);
	_cleanup_free_ const struct dp_service **wants = xnew0_array(const struct dp_service *, v->n_ports + 1);
	int r = -ENODEV;

	for (size_t i = 0; i <= v->n_ports; i++) {
		differences_init(&d[i], v, i);
		wants[i] = &d[i].want.service;
	}
	if (a->dp)
		r = datapath_compare_services(a->dp, wants, v->n_ports + 1, on_difference, NULL);
	if (r < 0)
		json_array_append_new(d[v->n_ports].others, json_sprintf("the maps cannot be read: %s", strerror(-r)));
	return d;
}

/* ---- what there is ---- */

static json_t *slots_json(const struct dp_service_set *set)
{
	json_t *list = json_array();
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < set->n_backends; i++)
		json_array_append_new(list, json_pack("{sI, ss, sI}", "id", (json_int_t)set->backends[i].id, "address",
						      addr_port_format(&set->backends[i].addr, set->backends[i].port, text), "slots",
						      (json_int_t)set->backends[i].slots));
	return list;
}

static json_t *frontend_json(struct agent *a, const struct service_port *p, const struct service_address *at, json_t *differences)
{
	struct dp_service_frontend f = {at->addr, at->port, at->scope, at->role, at->flags};
	struct dp_service_set set = {};
	char text[ENDPOINT_TEXT_MAX];
	json_t *o;

	if (a->dp && datapath_read_service(a->dp, &f, p->proto, &set) < 0)
		json_array_append_new(differences, json_string("the kernel does not say what it has"));
	o = json_pack("{ss, ss, ss, ss, sI, sI, sI, so, sO}", "address", addr_port_format(&at->addr, at->port, text), "kind",
		      kind_name(at->kind), "from", scope_name(at->scope), "endpoints",
		      at->role == SERVICE_LOCAL ? "local" : "cluster", "set", (json_int_t)set.set, "slots", (json_int_t)set.slots,
		      "affinitySeconds", (json_int_t)p->affinity_s, "kernel", slots_json(&set), "differences", differences);
	free(set.backends);
	return o;
}

/* @d: NULL in short. */
static json_t *port_json(struct agent *a, const struct service_port *p, const struct differences *d)
{
	json_t *o, *endpoints = json_array(), *frontends = json_array();
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < p->n_endpoints; i++)
		json_array_append_new(endpoints, endpoint_json(&p->endpoints[i]));
	for (size_t i = 0; i < p->n_addresses; i++)
		json_array_append_new(frontends, d ? frontend_json(a, p, &p->addresses[i], json_array_get(d->of_frontends, i)) :
						     json_string(addr_port_format(&p->addresses[i].addr, p->addresses[i].port, text)));
	o = json_pack("{ss, si, ss, ss, ss, so, so}", "name", p->name, "port", p->port, "protocol", proto_name(p->proto), "family",
		      p->v6 ? "IPv6" : "IPv4", "algorithm", p->maglev ? "maglev" : "random", "frontends", frontends, "endpoints",
		      endpoints);
	if (d)
		json_object_set(o, "differences", d->others);
	return o;
}

/* The Service's addresses for all ports that it has not: told with the Service. */
static json_t *address_differences(const struct service_view *v, const struct differences *d)
{
	json_t *out = json_incref(d->others), *list, *item;
	char text[ADDR_TEXT_MAX];
	size_t i, k;

	json_array_foreach(d->of_frontends, i, list)
		json_array_foreach(list, k, item)
			json_array_append_new(out, json_sprintf("%s, any other port: %s", addr_format(&v->vips[i], text), json_string_value(item)));
	return out;
}

static json_t *service_json(struct agent *a, const struct service_view *v, bool whole)
{
	struct differences *d = whole ? find_differences(a, v) : NULL;
	json_t *ports = json_array(), *refused = json_array(), *o;

	for (size_t i = 0; i < v->n_ports; i++)
		json_array_append_new(ports, port_json(a, &v->ports[i], d ? &d[i] : NULL));
	for (size_t i = 0; i < v->n_refused; i++)
		json_array_append_new(refused, json_string(v->refused[i]));
	o = json_pack("{ss, ss, so, so, so}", "namespace", v->namespace_, "name", v->name, "ports", ports, "refused", refused, "announced",
		      agent_announce_who(a, v));
	if (d)
		json_object_set_new(o, "differences", address_differences(v, &d[v->n_ports]));
	for (size_t i = 0; d && i <= v->n_ports; i++)
		differences_done(&d[i]);
	free(d);
	return o;
}

json_t *agent_services_json(struct agent *a, const json_t *params)
{
	const char *name = json_str_at(params, "name");
	const struct services_view *s = &a->services;
	struct service_entry *e;
	json_t *list;

	if (name) {
		e = services_find(s, json_str_or(json_object_get(params, "namespace"), "default"), name);
		return e ? service_json(a, e->view, true) : NULL;
	}
	list = json_array();
	for (struct htab_node *i = htab_begin(&s->by_name); i; i = htab_next(&s->by_name, i))
		json_array_append_new(list, service_json(a, container_of(i, struct service_entry, node)->view, false));
	return json_pack("{so}", "services", list);
}

json_t *agent_services_status(const struct agent *a)
{
	struct dp_service_stats s = {};
	json_t *counts = json_object();

	if (a->dp)
		datapath_read_service_stats(a->dp, &s);
	for (unsigned i = 0; i < SERVICE_COUNTS; i++)
		json_object_set_new(counts, service_count_label(i), json_integer(s.counts[i]));
	return json_pack("{sb, sb, ss*, sb, sI, sI, sI, sI, sI, sb, sI, sI, so, so}", "enabled", a->opt.service_enabled != SWITCH_OFF, "inbound", a->services.inbound, "otherProxy", a->services.other_proxy, "sockets", s.sockets,
			 "services", (json_int_t)a->services.by_name.count, "frontends", (json_int_t)s.frontends, "backends",
			 (json_int_t)s.backends, "slots", (json_int_t)s.slots, "writes", (json_int_t)s.writes, "abortsSockets", s.aborts, "aborted", (json_int_t)s.aborted, "compiled",
			 (json_int_t)a->services.compiled, "counts", counts, "announced", agent_announce_status(a));
}
