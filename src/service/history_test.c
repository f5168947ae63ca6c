/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories: what is compiled from what was marked dirty equals what is compiled anew from everything, and both equal a naive
 * reading of the objects. Services share slices' names, addresses and ports on purpose, with the API servers and with host ports too; objects come in
 * any order. */
#include "service/test_world.h"

enum { SERVICES = 6, PODS = 2, SLICES = 12, STEPS = 4000, ENDPOINTS = 5 };

/* Of the last one the endpoints are the API servers; some have an address that others claim. */
static const char *const names[SERVICES] = {"s0", "s1", "s2", "s3", "s4", "kubernetes"};

static uint64_t seed = 42;

static unsigned draw(unsigned below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

static void put_random_service(struct world *w, unsigned i)
{
	json_t *spec = json_pack("{ss, s[{ss, si}]}", "type", draw(4) ? "LoadBalancer" : "ClusterIP", "ports", "name", draw(4) ? "a" : "b",
				 "port", (int)(80 + draw(2)));
	json_t *o = json_pack("{s{ss, ss, so}, so}", "metadata", "name", names[i],
			      "namespace", "default", "creationTimestamp", json_sprintf("2026-01-0%uT00:00:00Z", 1 + draw(3)), "spec", spec);

	json_object_set_new(spec, "clusterIP", draw(8) ? json_sprintf("10.96.0.%u", i + 1) : json_string("None"));
	if (draw(3) == 0)
		json_object_set_new(spec, "internalTrafficPolicy", json_string("Local"));
	if (draw(2))
		json_object_set_new(o, "status", json_pack("{s{s[{so}]}}", "loadBalancer", "ingress", "ip",
							   json_sprintf("198.51.100.%u", 1 + draw(3))));
	world_put(w, MODEL_SERVICES, o);
}

static void put_random_slice(struct world *w, unsigned i)
{
	static const char *const nodes[] = {"a", "b", "c", "d"};
	_cleanup_free_ char *name = xasprintf("slice%u", i), *service = xstrdup(names[draw(SERVICES)]);
	char lines[ENDPOINTS][128];
	const char *list[ENDPOINTS + 1] = {NULL};
	unsigned n = draw(ENDPOINTS + 1), hints = draw(3);
	_cleanup_free_ char *ports = xasprintf(draw(2) ? "[{'name':'a','port':%u},{'name':'b','port':8081}]" : "[{'name':'a','port':%u}]",
						draw(2) ? 8080 : 80 + draw(2));

	for (unsigned k = 0; k < n; k++) {
		unsigned node = draw(4);

		snprintf(lines[k], sizeof(lines[k]), "%s.%u node=%s%s%s%s%s", ((const char *const[]){"10.0.0", "10.0.1", "198.51.100"})[draw(3)], 1 + draw(6), nodes[node], draw(3) ? " ready" : "",
			 draw(3) ? " serving" : "", draw(3) ? "" : " terminating", hints ? (node < 2 ? " zones=z1" : " zones=z2") : "");
		list[k] = lines[k];
	}
	world_slice(w, name, service, "IPv4", ports, list);
}

static void delete_random(struct world *w)
{
	bool slice = draw(2);
	json_t *o = json_pack("{s{so, ss}}", "metadata", "name", slice ? json_sprintf("slice%u", draw(SLICES)) : json_string(names[draw(SERVICES)]),
			      "namespace", "default");

	model_delete(w->model, slice ? MODEL_SLICES : MODEL_SERVICES, o);
	json_decref(o);
}

/* ---- the naive reading ---- */

struct naive {
	const struct service_port *port;
	unsigned found;
	struct {
		struct addr addr;
		uint16_t port;
		bool local, ready, serving, terminating, for_us, hinted;
	} e[SLICES * ENDPOINTS];
};

static bool read_slice(struct model_slice *s, void *ctx)
{
	struct naive *n = ctx;

	for (unsigned p = 0; p < s->n_ports; p++)
		for (unsigned i = 0; streq(s->ports[p].name, n->port->name) && i < s->n_endpoints; i++) {
			const struct model_endpoint *e = &s->endpoints[i];
			unsigned k = 0;

			while (k < n->found && !(addr_eq(&n->e[k].addr, &e->addr) && n->e[k].port == s->ports[p].port))
				k++;
			if (k == n->found) {
				n->e[n->found++].terminating = true;
				n->e[k].addr = e->addr;
				n->e[k].port = s->ports[p].port;
			}
			n->e[k].local |= streq(e->node, "a");
			n->e[k].ready |= (e->flags & ENDPOINT_READY) != 0;
			n->e[k].serving |= (e->flags & ENDPOINT_SERVING) != 0;
			n->e[k].terminating &= (e->flags & ENDPOINT_TERMINATING) != 0;
			n->e[k].hinted |= e->n_zones > 0;
			n->e[k].for_us |= e->n_zones && streq(e->hints[0], "z1");
		}
	return true;
}

/* Is the endpoint in the set, by the rules as the documentation has them? */
static bool is_used(const struct naive *n, unsigned k, enum service_role role)
{
	unsigned ready = 0, hinted = 0, for_us = 0, local_ready = 0;
	bool resort = !n->e[k].ready && n->e[k].serving && n->e[k].terminating;

	for (unsigned i = 0; i < n->found; i++) {
		ready += n->e[i].ready;
		hinted += n->e[i].ready && n->e[i].hinted;
		for_us += n->e[i].ready && n->e[i].for_us;
		local_ready += n->e[i].ready && n->e[i].local;
	}
	if (role == SERVICE_LOCAL)
		return n->e[k].local && (local_ready ? n->e[k].ready : resort);
	if (!ready)
		return resort;
	return n->e[k].ready && (hinted < ready || !for_us || n->e[k].for_us);
}

static void check_naive(struct world *w, const struct model_service *svc, const struct service_view *v)
{
	for (size_t i = 0; i < v->n_ports; i++) {
		static struct naive n;
		size_t counts[SERVICE_ROLES] = {0};

		n = (struct naive){.port = &v->ports[i]};
		model_each_slice_of(w->model, svc, read_slice, &n);
		for (unsigned k = 0; k < n.found; k++)
			for (int role = 0; role < SERVICE_ROLES; role++) {
				bool there = false;

				for (size_t e = 0; e < v->ports[i].n_endpoints; e++)
					there |= addr_eq(&v->ports[i].endpoints[e].addr, &n.e[k].addr) &&
						 v->ports[i].endpoints[e].port == n.e[k].port && (v->ports[i].endpoints[e].roles & 1 << role);
				CHECK_INT(there, is_used(&n, k, role));
				counts[role] += there;
			}
		for (size_t e = 0; e < v->ports[i].n_endpoints; e++)
			for (int role = 0; role < SERVICE_ROLES; role++)
				counts[role] -= (v->ports[i].endpoints[e].roles & 1 << role) != 0;
		CHECK(counts[SERVICE_CLUSTER] == 0 && counts[SERVICE_LOCAL] == 0); /* and nobody else is in a set */
	}
}

static unsigned index_of(const char *name)
{
	if (str_has_prefix(name, MODEL_HOST_POD))
		return SERVICES + name[strlen(MODEL_HOST_POD)] - '0';
	return name[0] == 'k' ? SERVICES - 1 : name[1] - '0';
}

/* A pod of this node with the ports of Services as host ports, which it has where no Service has them. */
static void put_random_pod(struct world *w, unsigned i)
{
	json_t *o = json_pack("{s{ss, so}, s{ss, s[{s[{si, si}]}]}, s{ss, s[{so}]}}", "metadata", "namespace", "default", "name",
			      json_sprintf("%u", i), "spec", "nodeName", "a", "containers", "ports", "containerPort", 8080, "hostPort",
			      (int)(80 + draw(2)), "status", "phase", "Running", "podIPs", "ip", json_sprintf("10.0.2.%u", i + 1));

	world_put(w, MODEL_PODS, o);
}

/* NULL when there is none (any more). */
static struct service_view *compile(const struct world *w, const char *name)
{
	const struct model_service *svc = model_find_service(w->model, "default", name);

	if (str_has_prefix(name, MODEL_HOST_POD))
		return service_compile_host_ports(&w->env, model_find_pod(w->model, "default", name + strlen(MODEL_HOST_POD)));
	return svc ? service_compile(&w->env, svc) : NULL;
}

static void check_pods(const struct world *w, struct service_view *const *kept)
{
	for (unsigned i = 0; i < PODS; i++) {
		_cleanup_free_ char *name = xasprintf(MODEL_HOST_POD "%u", i);
		_cleanup_(service_view_freep) struct service_view *full = compile(w, name);

		CHECK(service_view_eq(full, kept[i]));
	}
}

static void incremental_equals_full_equals_naive(void)
{
	struct service_view *kept[SERVICES + PODS] = {NULL};
	struct service_api asked = {.port = 80};
	struct world w = world_new();
	struct addr own[2];
	struct model_service_name dirty;
	unsigned long compiled = 0;

	CHECK(addr_parse("198.51.100.3", &asked.addr) == 0 && addr_parse("198.51.100.1", &own[0]) == 0 && addr_parse("198.51.100.2", &own[1]) == 0);
	w.env.api = &asked;
	w.env.own = own;
	w.env.host_ports = true;
	w.env.n_api = 1;
	w.env.n_own = 2;
	for (unsigned i = 0; i < PODS; i++)
		put_random_pod(&w, i);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned what = draw(11);

		if (what < 3)
			put_random_service(&w, draw(SERVICES));
		else if (what < 8)
			put_random_slice(&w, draw(SLICES));
		else if (what < 9)
			put_random_pod(&w, draw(PODS));
		else
			delete_random(&w);
		if (draw(3) == 0)
			continue; /* several changes at once */
		while (model_take_dirty_service(w.model, &dirty)) {
			struct service_view **at = &kept[index_of(dirty.name)];

			service_view_free(*at);
			*at = compile(&w, dirty.name);
			compiled++;
		}
		for (unsigned i = 0; i < SERVICES; i++) {
			struct model_service *svc = model_find_service(w.model, "default", names[i]);
			_cleanup_(service_view_freep) struct service_view *full = NULL;

			CHECK((svc != NULL) == (kept[i] != NULL));
			if (!svc)
				continue;
			full = service_compile(&w.env, svc);
			CHECK(service_view_eq(full, kept[i]));
			check_naive(&w, svc, full);
		}
		check_pods(&w, kept + SERVICES);
	}
	printf("# %d steps, %lu Services compiled\n", STEPS, compiled);
	for (unsigned i = 0; i < SERVICES + PODS; i++)
		service_view_free(kept[i]);
	world_done(&w);
}

int main(void)
{
	RUN(incremental_equals_full_equals_naive);
	return test_end();
}
