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

/* The endpoints of a set that the kernel does not have, and those that it has and should not. */
static void add_differences(json_t *list, const struct service_port *p, uint8_t role, const struct dp_service_set *set)
{
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < p->n_endpoints; i++) {
		const struct service_endpoint *e = &p->endpoints[i];
		bool there = !(e->roles & 1 << role);

		for (size_t k = 0; k < set->n_backends && !there; k++)
			there = addr_eq(&set->backends[k].addr, &e->addr) && set->backends[k].port == e->port;
		if (!there)
			json_array_append_new(list, json_sprintf("%s is not in the kernel", addr_port_format(&e->addr, e->port, text)));
	}
	for (size_t k = 0; k < set->n_backends; k++) {
		const struct dp_service_slot *b = &set->backends[k];
		bool wanted = false;

		for (size_t i = 0; i < p->n_endpoints && !wanted; i++)
			wanted = (p->endpoints[i].roles & 1 << role) && addr_eq(&b->addr, &p->endpoints[i].addr) &&
				 b->port == p->endpoints[i].port;
		if (!wanted)
			json_array_append_new(list, json_sprintf("%s is only in the kernel", addr_port_format(&b->addr, b->port, text)));
	}
}

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

static json_t *frontend_json(struct agent *a, const struct service_port *p, const struct service_address *at)
{
	struct dp_service_frontend f = {at->addr, at->port, at->scope, at->role, at->flags};
	struct dp_service_set set = {};
	json_t *differences = json_array(), *o;
	char text[ENDPOINT_TEXT_MAX];

	if (!a->dp || datapath_read_service(a->dp, &f, p->proto, &set) < 0 || !set.there)
		json_array_append_new(differences, json_string("the kernel has no such frontend"));
	else
		add_differences(differences, p, at->role, &set);
	if (set.there && set.frontend.flags != at->flags)
		json_array_append_new(differences, json_sprintf("flags are %u, not %u", set.frontend.flags, at->flags));
	o = json_pack("{ss, ss, ss, ss, sI, sI, sI, so, so}", "address", addr_port_format(&at->addr, at->port, text), "kind",
		      kind_name(at->kind), "from", scope_name(at->scope), "endpoints",
		      at->role == SERVICE_LOCAL ? "local" : "cluster", "set", (json_int_t)set.set, "slots", (json_int_t)set.slots,
		      "affinitySeconds", (json_int_t)p->affinity_s, "kernel", slots_json(&set), "differences", differences);
	free(set.backends);
	return o;
}

static json_t *port_json(struct agent *a, const struct service_port *p, bool whole)
{
	json_t *o, *endpoints = json_array(), *frontends = json_array();
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < p->n_endpoints; i++)
		json_array_append_new(endpoints, endpoint_json(&p->endpoints[i]));
	for (size_t i = 0; i < p->n_addresses; i++)
		json_array_append_new(frontends, whole ? frontend_json(a, p, &p->addresses[i]) :
							 json_string(addr_port_format(&p->addresses[i].addr, p->addresses[i].port, text)));
	o = json_pack("{ss, si, ss, ss, ss, so, so}", "name", p->name, "port", p->port, "protocol", proto_name(p->proto), "family",
		      p->v6 ? "IPv6" : "IPv4", "algorithm", p->maglev ? "maglev" : "random", "frontends", frontends, "endpoints",
		      endpoints);
	return o;
}

static json_t *service_json(struct agent *a, const struct service_view *v, bool whole)
{
	json_t *ports = json_array(), *refused = json_array();

	for (size_t i = 0; i < v->n_ports; i++)
		json_array_append_new(ports, port_json(a, &v->ports[i], whole));
	for (size_t i = 0; i < v->n_refused; i++)
		json_array_append_new(refused, json_string(v->refused[i]));
	return json_pack("{ss, ss, so, so, so}", "namespace", v->namespace_, "name", v->name, "ports", ports, "refused", refused, "announced",
			 agent_announce_who(a, v));
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
