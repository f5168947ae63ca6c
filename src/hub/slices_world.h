/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the EndpointSlice controller: it runs over a store in memory. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "hub/admit.h"
#include "hub/endpoints.h"
#include "hub/slice_plan.h"
#include "hub/slices.h"

enum { EVERYTHING = 1 << 20 };

struct world {
	struct hub hub;
	struct slices *slices;
	unsigned seed;
	size_t hinted; /* endpoints by topology mode Auto, so far */
};

static inline json_t *js(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	if (!j)
		printf("# no JSON: %s\n", text);
	CHECK(j);
	return j;
}

static inline struct pool *range(const char *text)
{
	struct prefix p;
	struct pool *pool;

	CHECK_INT(prefix_parse(text, &p, NULL), 0);
	CHECK_INT(pool_new(&p, 128, &pool), 0);
	return pool;
}

static inline void put(struct world *w, const char *kind, json_t *j)
{
	const struct kind *k = kind_of(kind);
	json_t *no =
	    admit_own(&w->hub, k, store_get(w->hub.store, k, meta_str(j, "namespace"), meta_str(j, "name")), j, NULL);

	if (no)
		printf("# %s\n", json_str_at(no, "message"));
	CHECK(!no);
}

static inline void removes(struct world *w, const char *kind, const char *ns, const char *name)
{
	CHECK_INT(store_delete(w->hub.store, kind_of(kind), ns, name, NULL), 0);
}

static inline void world_init(struct world *w, unsigned seed)
{
	_cleanup_free_ char *error = NULL;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	list_init(&w->hub.watches);
	node_ports_init(&w->hub.node_ports, 30000, 32767);
	CHECK_INT(store_open(":memory:", &w->hub.store, &error), 0);
	w->hub.services = (struct ranges){{range("10.96.0.0/16"), range("fd00:96::/112")}, 2};
	services_claim(&w->hub);
	for (const char *const *ns = VALUES("default", "other"); *ns; ns++)
		put(w, "Namespace", json_pack("{s{ss}}", "metadata", "name", *ns));
	CHECK_INT(slices_new(&w->hub, &w->slices), 0);
}

static inline void world_done(struct world *w)
{
	slices_free(w->slices);
	for (size_t i = 0; i < w->hub.services.n; i++)
		pool_free(w->hub.services.pools[i]);
	store_free(w->hub.store);
}

static inline void settle(struct world *w)
{
	while (slices_run(w->slices, EVERYTHING) > 0)
		;
}

static inline uint64_t writes(const struct world *w)
{
	const struct slices_stats *s = slices_stats(w->slices);

	return s->created + s->updated + s->removed;
}

static inline void put_node(struct world *w, const char *name, const char *zone)
{
	put(w, "Node",
	    json_pack("{s{ss s{ss}}}", "metadata", "name", name, "labels", "topology.kubernetes.io/zone", zone));
}

/* Ready, and with CPUs that pods may use; the status as the API's second write would have it. */
static inline void put_ready_node(struct world *w, const char *name, const char *zone, const char *cpu)
{
	const struct object *old = store_get(w->hub.store, kind_of("Node"), "", name);
	json_t *j = json_pack("{ss s{ss ss s{ss}} s{s{ss} s[{ss ss}]}}", "kind", "Node", "metadata", "name", name, "uid", old ? meta_str(old->json, "uid") : name,
			      "labels", "topology.kubernetes.io/zone", zone, "status", "allocatable", "cpu", cpu, "conditions", "type", "Ready", "status", "True");

	CHECK_INT(store_put(w->hub.store, kind_of("Node"), j, NULL), 0);
}

static inline json_t *service(const char *name, const char *app, const char *policy)
{
	return json_pack("{s{ss ss} s{s{ss} ss s[{ss si}]}}", "metadata", "name", name, "namespace", "default", "spec",
			 "selector", "app", app, "ipFamilyPolicy", policy, "ports", "name", "web", "port", 80);
}

static inline json_t *pod(const char *name, const char *app, const char *node, int host, bool ready)
{
	_cleanup_free_ char *v4 = xasprintf("10.244.%d.%d", host / 250, host % 250 + 1),
			    *v6 = xasprintf("fd00:244::%x", host + 1);

	return json_pack("{s{ss ss s{ss}} s{ss s[{ss ss s[{ss si}]}]} s{ss ss s[{ss}{ss}] s[{ss ss}]}}", "metadata",
			 "name", name, "namespace", "default", "labels", "app", app, "spec", "nodeName", node,
			 "containers", "name", "c", "image", "i", "ports", "name", "web", "containerPort", 8080,
			 "status", "phase", "Running", "podIP", v4, "podIPs", "ip", v4, "ip", v6, "conditions", "type",
			 "Ready", "status", ready ? "True" : "False");
}

/* A pod with its status: what the API's two writes (object, status) come to. */
static inline void put_pod(struct world *w, json_t *j)
{
	const struct object *old =
	    store_get(w->hub.store, kind_of("Pod"), meta_str(j, "namespace"), meta_str(j, "name"));

	json_object_set_new(meta_of(j), "uid", json_string(old ? meta_str(old->json, "uid") : meta_str(j, "name")));
	json_object_set_new(j, "kind", json_string("Pod"));
	CHECK_INT(store_put(w->hub.store, kind_of("Pod"), j, NULL), 0);
}

/* The slices of a service in one family. Borrowed objects in a new array. */
static inline json_t *slices_of(struct world *w, const char *service_name, const char *family)
{
	size_t n;
	struct object *const *all = store_namespace(w->hub.store, kind_of("EndpointSlice"), "default", &n);
	json_t *out = json_array();

	for (size_t i = 0; i < n; i++)
		if (streq(json_str_at(all[i]->json, "metadata", "labels", LABEL_SERVICE_NAME), service_name) &&
		    (!family || streq(json_str_at(all[i]->json, "addressType"), family)))
			json_array_append(out, all[i]->json);
	return out;
}

static inline json_t *first_endpoint(json_t *slices)
{
	return json_array_get(json_object_get(json_array_get(slices, 0), "endpoints"), 0);
}
