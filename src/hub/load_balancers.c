/* SPDX-License-Identifier: Apache-2.0 */
/* Every run compares everything: what a run costs is small beside the writes that it leads to, and a state that is compared as
 * a whole repairs itself. Changes that have no say (a node's heartbeat, a Service of another type) start none. */
#include "hub/load_balancers.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/admit.h"
#include "hub/lb_plan.h"

struct load_balancers {
	struct hub *hub;
	const struct kind *service, *pool, *node, *namespace, *slice;
	sd_event_source *deferred;
	bool dirty;
};

static bool is_balanced(const struct object *o)
{
	return o && (streq(json_str_or(json_at(o->json, "spec", "type"), ""), "LoadBalancer") ||
		     json_array_size(json_at(o->json, "spec", "externalIPs")) > 0);
}

static bool differs(const struct change *c, const char *half, const char *field)
{
	const json_t *was = c->prev ? json_at(c->prev->json, half, field) : NULL, *is = json_at(c->obj->json, half, field);

	return c->type != CHANGE_MODIFIED || !(was == is || (was && is && json_equal(was, is)));
}

/* The slices that say where this hub is (controllers.c). */
static const char *const api_slices[] = { "kubernetes", "kubernetes-ipv6" };

static bool is_of_api(const char *name)
{
	return streq(name, api_slices[0]) || streq(name, api_slices[1]);
}

static bool has_a_say(const struct load_balancers *l, const struct change *c)
{
	if (c->obj->kind == l->service)
		return is_balanced(c->obj) || is_balanced(c->prev);
	if (c->obj->kind == l->node)
		return differs(c, "status", "addresses");
	if (c->obj->kind == l->slice)
		return streq(c->obj->ns, "default") && is_of_api(c->obj->name);
	if (c->obj->kind == l->namespace)
		return differs(c, "metadata", "labels");
	return c->obj->kind == l->pool;
}

static void on_change(void *ctx, const struct change *c)
{
	struct load_balancers *l = ctx;

	if (!has_a_say(l, c))
		return;
	l->dirty = true;
	if (l->deferred)
		sd_event_source_set_enabled(l->deferred, SD_EVENT_ONESHOT);
}

/* Objects of a kind, held: the plan's writes move the store's own. */
struct held {
	struct object **objects;
	const json_t **json;
	size_t n;
};

static void held_done(struct held *h)
{
	store_snapshot_free(h->objects, h->n);
	free(h->json);
}

static int older_first(const void *a, const void *b)
{
	const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
	int c = strcmp(meta_str(x->json, "creationTimestamp"), meta_str(y->json, "creationTimestamp"));

	return c ? c : object_key_cmp(x->ns, x->name, y->ns, y->name);
}

static void hold(const struct load_balancers *l, const struct kind *k, bool by_age, struct held *h)
{
	store_snapshot(l->hub->store, k, store_rev(l->hub->store), &h->objects, &h->n);
	if (by_age)
		qsort(h->objects, h->n, sizeof(*h->objects), older_first);
	h->json = xnew0_array(const json_t *, h->n + 1);
	for (size_t i = 0; i < h->n; i++)
		h->json[i] = h->objects[i]->json;
}

static void hold_api(const struct load_balancers *l, struct held *h)
{
	h->objects = xnew0_array(struct object *, ARRAY_SIZE(api_slices));
	h->json = xnew0_array(const json_t *, ARRAY_SIZE(api_slices));
	for (size_t i = 0; i < ARRAY_SIZE(api_slices); i++) {
		struct object *o = store_get(l->hub->store, l->slice, "default", api_slices[i]);

		if (!o)
			continue;
		h->objects[h->n] = object_ref(o);
		h->json[h->n++] = o->json;
	}
}

/* Return: was it written? */
static bool write_status(struct load_balancers *l, const struct kind *k, const json_t *item, struct object **ret)
{
	const char *ns = json_str_or(json_object_get(item, "namespace"), ""), *name = json_str_at(item, "name");
	struct object *old = store_get(l->hub->store, k, ns, name);
	json_t *no;

	*ret = old;
	if (!old)
		return false;
	no = admit_own_status(l->hub, k, old, json_pack("{sO sO}", "metadata", json_object_get(old->json, "metadata"), "status",
							json_object_get(item, "status")));
	if (no)
		log_warn("the status of a load balancer cannot be written", L_STR("kind", k->kind), L_STR("namespace", ns),
			 L_STR("name", name), L_STR("why", json_str_at(no, "message")));
	json_decref(no);
	*ret = store_get(l->hub->store, k, ns, name);
	return !no;
}

static void tell(struct load_balancers *l, const struct object *svc, const json_t *item)
{
	_cleanup_free_ char *ips = xstrdup("");
	json_t *v;
	size_t i;

	if (json_is_true(json_object_get(item, "warning"))) {
		emit_event(l->hub, svc, true, json_str_at(item, "reason"), json_str_at(item, "message"));
		return;
	}
	json_array_foreach(json_at(svc->json, "status", "loadBalancer", "ingress"), i, v) {
		char *more = xasprintf("%s%s%s", ips, i ? ", " : "", json_str_or(json_object_get(v, "ip"), ""));

		free(ips);
		ips = more;
	}
	emit_event(l->hub, svc, false, "Assigned", ips);
}

static size_t carry_out(struct load_balancers *l, const struct lb_plan *plan)
{
	struct object *obj;
	size_t n = 0, i;
	json_t *item;

	json_array_foreach(plan->services, i, item)
		if (write_status(l, l->service, item, &obj)) {
			_cleanup_(object_unrefp) struct object *svc = object_ref(obj);

			tell(l, svc, item);
			n++;
		}
	json_array_foreach(plan->pools, i, item)
		n += write_status(l, l->pool, item, &obj);
	return n;
}

static size_t cluster_ranges(const struct hub *hub, struct prefix out[static 2 * FAMILIES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < hub->nodes.n; i++)
		out[n++] = *pool_prefix(hub->nodes.pools[i]);
	for (size_t i = 0; i < hub->services.n; i++)
		out[n++] = *pool_prefix(hub->services.pools[i]);
	return n;
}

size_t load_balancers_run(struct load_balancers *l)
{
	_cleanup_(held_done) struct held pools = { 0 }, services = { 0 }, namespaces = { 0 }, nodes = { 0 }, api = { 0 };
	struct prefix cluster[2 * FAMILIES_MAX];
	char now[TIME_TEXT_MAX];
	struct lb_plan plan;
	size_t n;

	if (!l->dirty)
		return 0;
	l->dirty = false;
	hold(l, l->pool, true, &pools);
	hold(l, l->service, true, &services);
	hold(l, l->namespace, false, &namespaces);
	hold(l, l->node, false, &nodes);
	hold_api(l, &api);
	n = cluster_ranges(l->hub, cluster);
	lb_plan_make(&(const struct lb_input){ pools.json, pools.n, services.json, services.n, namespaces.json, namespaces.n, nodes.json,
					       nodes.n, api.json, api.n, cluster, n, time_now(now) },
		     &plan);
	n = carry_out(l, &plan);
	lb_plan_done(&plan);
	return n;
}

static int on_deferred(sd_event_source *source, void *ctx)
{
	(void)source; /* one shot: on_change() has armed it again where our writes are a change */
	load_balancers_run(ctx);
	return 0;
}

int load_balancers_new(struct hub *hub, struct load_balancers **ret)
{
	_cleanup_(load_balancers_freep) struct load_balancers *l = xnew0(struct load_balancers);
	int r;

	*l = (struct load_balancers){ .hub = hub,
				      .service = kind_of("Service"),
				      .pool = kind_of("LoadBalancerPool"),
				      .node = kind_of("Node"),
				      .namespace = kind_of("Namespace"),
				      .slice = kind_of("EndpointSlice"),
				      .dirty = true };
	if (hub->event) {
		r = sd_event_add_defer(hub->event, &l->deferred, on_deferred, l);
		if (r < 0)
			return r;
	}
	store_listen(hub->store, on_change, l);
	*ret = take_ptr(l);
	return 0;
}

struct load_balancers *load_balancers_free(struct load_balancers *l)
{
	if (!l)
		return NULL;
	store_unlisten(l->hub->store, l);
	sd_event_source_disable_unref(l->deferred);
	free(l);
	return NULL;
}
