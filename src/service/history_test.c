/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories: what is compiled from what was marked dirty equals what is compiled anew from everything, and both equal a naive
 * reading of the objects. Services share slices' names, addresses and ports on purpose; objects come in any order. */
#include "service/test_world.h"

enum { SERVICES = 6, SLICES = 12, STEPS = 4000, ENDPOINTS = 5 };

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
	json_t *o = json_pack("{s{ss, ss, so}, so}", "metadata", "name", ((const char *const[]){"s0", "s1", "s2", "s3", "s4", "s5"})[i],
			      "namespace", "default", "creationTimestamp", json_sprintf("2026-01-0%uT00:00:00Z", 1 + draw(3)), "spec", spec);

	json_object_set_new(spec, "clusterIP", draw(8) ? json_sprintf("10.96.0.%u", i + 1) : json_string("None"));
	if (draw(3) == 0)
		json_object_set_new(spec, "internalTrafficPolicy", json_string("Local"));
	if (draw(2))
		json_object_set_new(o, "status", json_pack("{s{s[{so}]}}", "loadBalancer", "ingress", "ip",
							   json_sprintf("198.51.100.%u", 1 + draw(2))));
	world_put(w, MODEL_SERVICES, o);
}

static void put_random_slice(struct world *w, unsigned i)
{
	static const char *const nodes[] = {"a", "b", "c", "d"};
	_cleanup_free_ char *name = xasprintf("slice%u", i), *service = xasprintf("s%u", draw(SERVICES));
	char lines[ENDPOINTS][128];
	const char *list[ENDPOINTS + 1] = {NULL};
	unsigned n = draw(ENDPOINTS + 1), hints = draw(3);

	for (unsigned k = 0; k < n; k++) {
		unsigned node = draw(4);

		snprintf(lines[k], sizeof(lines[k]), "10.0.%u.%u node=%s%s%s%s%s", draw(2), 1 + draw(6), nodes[node], draw(3) ? " ready" : "",
			 draw(3) ? " serving" : "", draw(3) ? "" : " terminating", hints ? (node < 2 ? " zones=z1" : " zones=z2") : "");
		list[k] = lines[k];
	}
	world_slice(w, name, service, "IPv4", draw(2) ? "[{'name':'a','port':8080},{'name':'b','port':8081}]" : "[{'name':'a','port':8080}]", list);
}

static void delete_random(struct world *w)
{
	bool slice = draw(2);
	json_t *o = json_pack("{s{so, ss}}", "metadata", "name", slice ? json_sprintf("slice%u", draw(SLICES)) : json_sprintf("s%u", draw(SERVICES)),
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
	return name[1] - '0';
}

static void incremental_equals_full_equals_naive(void)
{
	struct service_view *kept[SERVICES] = {NULL};
	struct world w = world_new();
	struct model_service_name dirty;
	unsigned long compiled = 0;

	for (unsigned step = 0; step < STEPS; step++) {
		unsigned what = draw(10);

		if (what < 3)
			put_random_service(&w, draw(SERVICES));
		else if (what < 8)
			put_random_slice(&w, draw(SLICES));
		else
			delete_random(&w);
		if (draw(3) == 0)
			continue; /* several changes at once */
		while (model_take_dirty_service(w.model, &dirty)) {
			struct model_service *svc = model_find_service(w.model, dirty.namespace_, dirty.name);
			struct service_view **at = &kept[index_of(dirty.name)];

			service_view_free(*at);
			*at = svc ? service_compile(&w.env, svc) : NULL;
			compiled++;
		}
		for (unsigned i = 0; i < SERVICES; i++) {
			char name[8];
			struct model_service *svc;
			_cleanup_(service_view_freep) struct service_view *full = NULL;

			snprintf(name, sizeof(name), "s%u", i);
			svc = model_find_service(w.model, "default", name);
			CHECK((svc != NULL) == (kept[i] != NULL));
			if (!svc)
				continue;
			full = service_compile(&w.env, svc);
			CHECK(service_view_eq(full, kept[i]));
			check_naive(&w, svc, full);
		}
	}
	printf("# %d steps, %lu Services compiled\n", STEPS, compiled);
	for (unsigned i = 0; i < SERVICES; i++)
		service_view_free(kept[i]);
	world_done(&w);
}

int main(void)
{
	RUN(incremental_equals_full_equals_naive);
	return test_end();
}
