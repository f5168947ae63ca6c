/* SPDX-License-Identifier: Apache-2.0 */
/* A small cluster for tests: this node is "a" (zone z1, region r1); "b" shares its zone, "c" its region, "d" is far. Endpoints are
 * written in one line each: "10.0.0.1 node=b zone=z1 ready serving terminating nodes=a,b zones=z1". Without any of
 * ready, serving, terminating all conditions are nil. */
#pragma once

#include "base/str.h"
#include "base/test.h"
#include "service/service.h"

struct world {
	struct model *model;
	struct service_env env;
};

static inline void world_put(struct world *w, enum model_table table, json_t *object)
{
	_cleanup_free_ char *why = NULL;
	int r = model_upsert(w->model, table, object, &why);

	if (r < 0)
		printf("# %s\n", why);
	json_decref(object);
	CHECK(r >= 0);
}

static inline void world_node(struct world *w, const char *name, const char *zone, const char *region, const char *ip)
{
	world_put(w, MODEL_NODES,
		  json_pack("{s{s:s, s{s:s, s:s}}, s{s[{ss, ss}]}}", "metadata", "name", name, "labels", "topology.kubernetes.io/zone", zone,
			    "topology.kubernetes.io/region", region, "status", "addresses", "type", "InternalIP", "address", ip));
}

static inline struct world world_new(void)
{
	struct world w = {.model = model_new()};

	w.env = (struct service_env){.model = w.model, .node = "a"};
	world_node(&w, "a", "z1", "r1", "172.16.0.1");
	world_node(&w, "b", "z1", "r1", "172.16.0.2");
	world_node(&w, "c", "z2", "r1", "172.16.0.3");
	world_node(&w, "d", "z3", "r2", "172.16.0.4");
	w.env.nodes[SERVICE_TIER_NODE] = 1;
	w.env.nodes[SERVICE_TIER_ZONE] = 2;
	w.env.nodes[SERVICE_TIER_REGION] = 3;
	w.env.nodes[SERVICE_TIER_FAR] = 4;
	return w;
}

static inline void world_done(struct world *w)
{
	model_free(w->model);
}

/* @spec: JSON of the spec, with ' for ". */
static inline json_t *world_json(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text), *why = NULL;
	json_t *j;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	j = json_parse("test", copy, strlen(copy), &why);
	if (!j)
		printf("# %s\n", why);
	CHECK(j);
	return j;
}

static inline void world_service(struct world *w, const char *name, const char *spec, const char *meta)
{
	json_t *m = world_json(meta ? meta : "{}");

	json_object_set_new(m, "name", json_string(name));
	json_object_set_new(m, "namespace", json_string("default"));
	world_put(w, MODEL_SERVICES, json_pack("{so, so}", "metadata", m, "spec", world_json(spec)));
}

static inline json_t *world_names(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);
	json_t *list = json_array();
	char *save = NULL;

	for (char *n = strtok_r(copy, ",", &save); n; n = strtok_r(NULL, ",", &save))
		json_array_append_new(list, json_pack("{ss}", "name", n));
	return list;
}

static inline json_t *world_endpoint(const char *line)
{
	_cleanup_free_ char *copy = xstrdup(line);
	json_t *e = json_object(), *hints = json_object(), *conditions = json_object();
	bool said = strstr(line, "ready") || strstr(line, "serving") || strstr(line, "terminating");
	char *save = NULL;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = 0;
		if (streq(word, "node"))
			json_object_set_new(e, "nodeName", json_string(value));
		else if (streq(word, "zone"))
			json_object_set_new(e, "zone", json_string(value));
		else if (streq(word, "nodes"))
			json_object_set_new(hints, "forNodes", world_names(value));
		else if (streq(word, "zones"))
			json_object_set_new(hints, "forZones", world_names(value));
		else if (streq(word, "ready") || streq(word, "serving") || streq(word, "terminating"))
			json_object_set_new(conditions, word, json_true());
		else
			json_object_set_new(e, "addresses", json_pack("[s]", word));
	}
	for (size_t i = 0; said && i < 3; i++) {
		const char *name = ((const char *const[]){"ready", "serving", "terminating"})[i];

		if (!json_object_get(conditions, name))
			json_object_set_new(conditions, name, json_false());
	}
	json_object_set_new(e, "conditions", conditions);
	json_object_set_new(e, "hints", hints);
	return e;
}

/* @ports: JSON; @endpoints: lines, NULL at the end. */
static inline void world_slice(struct world *w, const char *name, const char *service, const char *type, const char *ports,
			       const char *const *endpoints)
{
	json_t *list = json_array();

	for (; endpoints && *endpoints; endpoints++)
		json_array_append_new(list, world_endpoint(*endpoints));
	world_put(w, MODEL_SLICES,
		  json_pack("{s{ss, ss, s{ss}}, ss, so, so}", "metadata", "name", name, "namespace", "default", "labels",
			    "kubernetes.io/service-name", service, "addressType", type, "ports", world_json(ports), "endpoints", list));
}

/* The addresses of a role's set: "10.0.0.1:80 10.0.0.2:80". */
static inline const char *world_set(const struct service_port *p, enum service_role role)
{
	static char text[4096], one[ENDPOINT_TEXT_MAX];

	text[0] = 0;
	for (size_t i = 0; i < p->n_endpoints; i++)
		if (p->endpoints[i].roles & 1 << role)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", text[0] ? " " : "",
				 addr_port_format(&p->endpoints[i].addr, p->endpoints[i].port, one));
	return text;
}

static inline struct service_view *world_compile(struct world *w, const char *name)
{
	struct model_service *svc = model_find_service(w->model, "default", name);

	CHECK(svc);
	return service_compile(&w->env, svc);
}

/* A Service with an address of @kind: "external"; "pool"; "half": of a pool that has not all that is asked for; "given": of a load balancer, by another controller. */
static inline void claim_port(struct world *w, const char *name, const char *kind, const char *address, int port, const char *created)
{
	json_t *o = json_pack("{s{ss, ss, ss}, s{ss, ss, s[{ss, si}]}}", "metadata", "name", name, "namespace", "default", "creationTimestamp",
			      created, "spec", "type", "LoadBalancer", "clusterIP", "10.96.0.20", "ports", "name", "http", "port", port);

	json_t *condition = json_pack("{ss, ss, ss}", "type", "weft.dev/LoadBalancerAddresses", "status", streq(kind, "pool") ? "True" : "False", "reason",
				      streq(kind, "given") ? "NoPool" : streq(kind, "half") ? "NoPoolOfFamily" : "Assigned");

	if (streq(kind, "external"))
		json_object_set_new(json_object_get(o, "spec"), "externalIPs", json_pack("[s]", address));
	else
		json_object_set_new(o, "status", json_pack("{s{s[{ss}]}, s[O]}", "loadBalancer", "ingress", "ip", address, "conditions", condition));
	json_decref(condition);
	world_put(w, MODEL_SERVICES, o);
}

/* Nothing is due any more. */
static inline void take_all(struct world *w)
{
	struct model_service_name n;

	while (model_take_dirty_service(w->model, &n))
		;
}

/* Takes all that is due. Return: was it @name, too? */
static inline bool took(struct world *w, const char *name)
{
	struct model_service_name n;
	bool found = false;

	while (model_take_dirty_service(w->model, &n))
		found |= streq(n.name, name);
	return found;
}

/* A pod on @node: its ports in JSON. */
static inline void put_host_pod(struct world *w, const char *name, const char *node, int day, const char *ip, const char *ports)
{
	json_t *o = json_pack("{s{ss, ss, so}, s{ss, s[{so}]}, s{ss, s[{ss}]}}", "metadata", "namespace", "default", "name", name,
			      "creationTimestamp", json_sprintf("2026-01-%02dT00:00:00Z", day), "spec", "nodeName", node, "containers", "ports",
			      world_json(ports), "status", "phase", "Running", "podIPs", "ip", ip);

	world_put(w, MODEL_PODS, o);
}

/* "address:port>endpoint" for each, "!refusal". */
static inline const char *host_ports_of(struct world *w, const char *name)
{
	_cleanup_(service_view_freep) struct service_view *v = service_compile_host_ports(&w->env, model_find_pod(w->model, "default", name));
	static char text[1024];
	char at[ENDPOINT_TEXT_MAX], to[ENDPOINT_TEXT_MAX];

	text[0] = 0;
	for (size_t i = 0; i < v->n_ports; i++)
		for (size_t k = 0; k < v->ports[i].n_addresses; k++) {
			const struct service_address *a = &v->ports[i].addresses[k];

			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%s>%s", *text ? " " : "",
				 addr_port_format(&a->addr, a->port, at), a->scope == SERVICE_EXTERNAL ? "*" : "",
				 addr_port_format(&v->ports[i].endpoints[0].addr, v->ports[i].endpoints[0].port, to));
		}
	for (size_t i = 0; i < v->n_refused; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "!%s", v->refused[i]);
	return text;
}
