/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories of the EndpointSlice controller, whose result is held against a naive list of what should be there. */
#include "slices_world.h"

enum { PODS = 260, APPS = 3 };

/* Hints of topology mode Auto are not a matter of one endpoint: they are looked at apart. */
static json_t *without_hints(const json_t *ep)
{
	json_t *j = json_copy((json_t *)ep);

	json_object_del(j, "hints");
	return j;
}

static char *describe(const char *family, const json_t *ep, const json_t *ports)
{
	_cleanup_free_ char *e = json_dumps(ep, JSON_SORT_KEYS), *key = endpoint_ports_key(ports);

	return xasprintf("%s %s %s", family, key, e);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct lines {
	char **list;
	size_t n, cap;
};

/* Takes @line. */
static void line_add(struct lines *l, char *line)
{
	GROW(l->list, l->n, l->cap);
	l->list[l->n++] = line;
}

static void lines_done(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i]);
	free(l->list);
}

/* Every pod that the service selects, in each of its families. */
static void naive_lines(struct world *w, const json_t *svc, struct lines *out)
{
	size_t n, f;
	struct object *const *pods = store_all(w->hub.store, kind_of("Pod"), &n);
	json_t *family;

	json_array_foreach(json_at(svc, "spec", "ipFamilies"), f, family)
		for (size_t i = 0; i < n; i++) {
			const char *node_name = json_str_or(json_at(pods[i]->json, "spec", "nodeName"), "");
			const struct object *node = store_get(w->hub.store, kind_of("Node"), "", node_name);
			_cleanup_json_ json_t *ep = NULL, *ports = endpoint_ports(svc, pods[i]->json);

			if (!streq(pods[i]->ns, "default") || !service_selects(svc, pods[i]->json))
				continue;
			ep = endpoint_new(svc, pods[i]->json, node ? node->json : NULL, json_string_value(family));
			if (ep)
				line_add(out, describe(json_string_value(family), ep, ports));
		}
}

static void slice_lines(json_t *slices, bool hints, struct lines *out)
{
	json_t *s, *ep;
	size_t i, j;

	json_array_foreach(slices, i, s) {
		CHECK(json_array_size(json_object_get(s, "endpoints")) <= SLICE_ENDPOINTS);
		json_array_foreach(json_object_get(s, "endpoints"), j, ep) {
			_cleanup_json_ json_t *bare = hints ? json_incref(ep) : without_hints(ep);

			line_add(out, describe(json_str_at(s, "addressType"), bare, json_object_get(s, "ports")));
		}
	}
}

/* A service that went and came again under its name has slices of its own. */
static void check_owners(const json_t *slices, const json_t *svc)
{
	json_t *s;
	size_t i;

	json_array_foreach(slices, i, s)
		CHECK_STR(json_str_at(json_array_get(json_at(s, "metadata", "ownerReferences"), 0), "uid"),
			  meta_str(svc, "uid"));
}

/* Topology mode Auto: of one family all ready endpoints are hinted for zones that the nodes are in, or none is; others never are. */
static void check_topology(struct world *w, const char *name, const char *family)
{
	_cleanup_json_ json_t *slices = slices_of(w, name, family);
	size_t ready = 0, hinted = 0, i, k;
	json_t *s, *ep;

	json_array_foreach(slices, i, s)
		json_array_foreach(json_object_get(s, "endpoints"), k, ep) {
			const char *zone = json_str_at(json_array_get(json_at(ep, "hints", "forZones"), 0), "name");
			bool is_ready = json_is_true(json_at(ep, "conditions", "ready"));

			ready += is_ready;
			hinted += zone != NULL;
			CHECK(!zone || (is_ready && *zone == 'z'));
		}
	CHECK(hinted == 0 || hinted == ready);
	w->hinted += hinted;
}

static void compare_service(struct world *w, const char *name)
{
	const struct object *svc = store_get(w->hub.store, kind_of("Service"), "default", name);
	_cleanup_json_ json_t *slices = slices_of(w, name, NULL);
	_cleanup_(lines_done) struct lines want = {0}, got = {0};

	if (!svc) {
		CHECK_INT(json_array_size(slices), 0);
		return;
	}
	naive_lines(w, svc->json, &want);
	slice_lines(slices, !service_asks_topology(svc->json), &got);
	if (service_asks_topology(svc->json))
		for (const char *const *f = VALUES("IPv4", "IPv6"); *f; f++)
			check_topology(w, name, *f);
	CHECK_INT(got.n, want.n); /* each in exactly one slice */
	if (want.n) {
		qsort(want.list, want.n, sizeof(char *), by_text);
		qsort(got.list, got.n, sizeof(char *), by_text);
	}
	for (size_t i = 0; i < want.n; i++)
		CHECK_STR(got.list[i], want.list[i]);
	CHECK(json_array_size(slices) >= json_array_size(json_at(svc->json, "spec", "ipFamilies")));
	check_owners(slices, svc->json);
}

static int random_below(struct world *w, int n)
{
	return rand_r(&w->seed) % n;
}

static void random_pod(struct world *w)
{
	char name[16], app[8], node[8];
	int i = random_below(w, PODS);
	const struct object *old;
	json_t *p;

	snprintf(name, sizeof(name), "p%d", i);
	old = store_get(w->hub.store, kind_of("Pod"), "default", name);
	if (old && random_below(w, 4) == 0) {
		removes(w, "Pod", "default", name);
		return;
	}
	snprintf(app, sizeof(app), "a%d", random_below(w, 20) ? 0 : random_below(w, APPS));
	snprintf(node, sizeof(node), "n%d", random_below(w, 3));
	p = pod(name, app, node, i, random_below(w, 3));
	if (random_below(w, 8) == 0)
		json_object_set_new(
		    json_array_get(json_object_get(json_array_get(json_at(p, "spec", "containers"), 0), "ports"), 0),
		    "containerPort", json_integer(8081));
	if (random_below(w, 10) == 0)
		json_object_set_new(meta_of(p), "deletionTimestamp", json_string("2026-01-01T00:00:00Z"));
	if (random_below(w, 15) == 0)
		json_object_set_new(json_object_get(p, "status"), "phase", json_string("Succeeded"));
	put_pod(w, p);
}

static void random_service(struct world *w)
{
	static const char *const policies[] = {"SingleStack", "PreferDualStack"};
	static const char *const distributions[] = {"PreferClose", "PreferSameNode"};
	const struct object *old;
	char name[8], app[8];
	json_t *s, *spec;
	int i = random_below(w, APPS);

	snprintf(name, sizeof(name), "s%d", i);
	old = store_get(w->hub.store, kind_of("Service"), "default", name);
	if (old && random_below(w, 3) == 0) {
		removes(w, "Service", "default", name);
		return;
	}
	snprintf(app, sizeof(app), "a%d", random_below(w, 3) ? i : 0);
	s = service(name, app, policies[random_below(w, 2)]);
	spec = json_object_get(s, "spec");
	json_object_set_new(json_array_get(json_object_get(spec, "ports"), 0), "targetPort", json_string("web"));
	if (random_below(w, 3) == 0)
		json_object_set_new(spec, "publishNotReadyAddresses", json_true());
	if (random_below(w, 2) == 0)
		json_object_set_new(spec, "trafficDistribution", json_string(distributions[random_below(w, 2)]));
	if (random_below(w, 3) == 0)
		json_object_set_new(meta_of(s), "annotations", json_pack("{ss}", "service.kubernetes.io/topology-mode", "Auto"));
	if (random_below(w, 3) == 0)
		json_object_set_new(meta_of(s), "labels", json_pack("{ss}", "l", app));
	put(w, "Service", s);
}

static void random_node(struct world *w)
{
	char name[8], zone[8];

	snprintf(name, sizeof(name), "n%d", random_below(w, 3));
	snprintf(zone, sizeof(zone), "z%d", random_below(w, 2));
	if (store_get(w->hub.store, kind_of("Node"), "", name) && random_below(w, 5) == 0)
		removes(w, "Node", "", name);
	else
		put_ready_node(w, name, zone, VALUES("2", "4", "4500m")[random_below(w, 3)]);
}

static void vandalise(struct world *w)
{
	size_t n;
	struct object *const *all = store_namespace(w->hub.store, kind_of("EndpointSlice"), "default", &n);
	_cleanup_free_ char *name = NULL;
	json_t *j;

	if (n == 0)
		return;
	all += random_below(w, n);
	if (random_below(w, 2)) {
		name = xstrdup((*all)->name);
		removes(w, "EndpointSlice", "default", name);
		return;
	}
	j = json_deep_copy((*all)->json);
	json_array_remove(json_object_get(j, "endpoints"), 0);
	put(w, "EndpointSlice", j);
}

/* Another controller over what is stored has nothing to write. */
static void check_restart(struct world *w)
{
	struct hub again = w->hub;
	struct slices *s = NULL;
	uint64_t before = store_rev(w->hub.store);

	CHECK_INT(slices_new(&again, &s), 0);
	while (slices_run(s, EVERYTHING) > 0)
		;
	CHECK_INT(store_rev(w->hub.store), before); /* nor an Event that was told */
	slices_free(s);
}

static void random_history(void)
{
	static const unsigned seeds[] = {1, 2, 3, 4};

	for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
		struct world w;
		uint64_t before;
		char name[8];

		printf("# seed %u\n", seeds[i]);
		world_init(&w, seeds[i]);
		for (int step = 0; step < 150; step++) {
			for (int n = random_below(&w, 12); n >= 0; n--) {
				int what = random_below(&w, 40);

				if (what < 33)
					random_pod(&w);
				else if (what < 36)
					random_service(&w);
				else if (what < 38)
					random_node(&w);
				else
					vandalise(&w);
			}
			settle(&w);
			for (int s = 0; s < APPS; s++) {
				snprintf(name, sizeof(name), "s%d", s);
				compare_service(&w, name);
			}
			before = store_rev(w.hub.store);
			settle(&w);
			CHECK_INT(store_rev(w.hub.store), before);
			if (step % 50 == 49)
				check_restart(&w);
		}
		printf("# %zu hints by topology mode\n", w.hinted);
		CHECK(w.hinted > 100);
		world_done(&w);
	}
}

int main(void)
{
	RUN(random_history);
	return test_end();
}
