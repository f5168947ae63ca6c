/* SPDX-License-Identifier: Apache-2.0 */
/* A change marks the services that it concerns; each marked service is then compared as a whole with its pods
 * (slice_plan.c). What a pod's change costs must not grow with the number of services, so each service with a selector
 * is filed under one of its labels, the one that the fewest other services of the namespace are filed under, and a pod
 * looks only under the labels that it has. Each service knows the names of its pods and of its slices.
 *
 * An entry outlives its Service as long as slices of ours bear its name: so they are found and removed. Slices that
 * others manage are not looked at. */
#include "hub/slices.h"
#include "base/htab.h"
#include "base/log.h"
#include "hub/admit.h"
#include "hub/endpoints.h"
#include "hub/names.h"
#include "hub/slice_plan.h"
#include "hub/status.h"

enum { RUN_AT_ONCE = 16, CROWD_MAX = 16 };

struct svc {
	struct htab_node by_name, by_label;
	struct list dirty; /* in slices.dirty, slices.failed, or alone */
	char *ns, *name;
	struct object *obj;	 /* the Service, or NULL: only slices are left of it */
	const char *key, *value; /* the label of its selector that it is filed under, borrowed from obj; or NULL */
	struct names pods, slices;
	int topology[SLICE_FAMILIES]; /* enum topology_why that was told last, or: */
};

enum { NOT_ASKED = -1, NOT_LOOKED = -2 }; /* for topology mode; since this hub began */

struct slices {
	struct hub *hub;
	const struct kind *service, *pod, *node, *slice;
	struct htab names, labels; /* struct svc by_name, by_label */
	struct list dirty, failed;
	size_t n_dirty;
	const struct svc *writing; /* whose slices' changes are our own doing */
	struct topology topology;
	bool topology_stale;
	sd_event_source *deferred;
	struct slices_stats stats;
};

static uint64_t hash_key(const char *ns, const char *a, const char *b)
{
	return hash_str(ns) * 31 * 31 + hash_str(a) * 31 + hash_str(b);
}

static struct svc *find(struct slices *s, const char *ns, const char *name)
{
	struct svc *v = NULL;

	HTAB_FIND(&s->names, hash_key(ns, name, ""), v, by_name, streq(v->ns, ns) && streq(v->name, name));
	return v;
}

static struct svc *find_or_new(struct slices *s, const char *ns, const char *name)
{
	struct svc *v = find(s, ns, name);

	if (v)
		return v;
	v = xnew0(struct svc);
	v->ns = xstrdup(ns);
	v->name = xstrdup(name);
	list_init(&v->dirty);
	for (int f = 0; f < SLICE_FAMILIES; f++)
		v->topology[f] = NOT_ASKED;
	htab_insert(&s->names, hash_key(ns, name, ""), &v->by_name);
	return v;
}

static void mark(struct slices *s, struct svc *v)
{
	if (list_empty(&v->dirty))
		s->n_dirty++;
	list_remove(&v->dirty);
	list_push_back(&s->dirty, &v->dirty);
	if (s->deferred)
		sd_event_source_set_enabled(s->deferred, SD_EVENT_ONESHOT);
}

/* How many services are filed under a label; not counted beyond CROWD_MAX. */
static size_t crowd(const struct slices *s, uint64_t hash)
{
	size_t n = 0;

	for (const struct htab_node *i = htab_first(&s->labels, hash); i && n < CROWD_MAX; i = i->next)
		n += i->hash == hash;
	return n;
}

static void unfile(struct slices *s, struct svc *v)
{
	if (v->key)
		htab_remove(&s->labels, &v->by_label);
	v->key = v->value = NULL;
}

static void file(struct slices *s, struct svc *v)
{
	json_t *selector = json_at(v->obj->json, "spec", "selector"), *value;
	size_t best = SIZE_MAX;
	const char *key;

	if (!service_has_endpoints(v->obj->json))
		return;
	json_object_foreach(selector, key, value) {
		size_t n = crowd(s, hash_key(v->ns, key, json_string_value(value)));

		if (n < best) {
			best = n;
			v->key = key;
			v->value = json_string_value(value);
		}
	}
	htab_insert(&s->labels, hash_key(v->ns, v->key, v->value), &v->by_label);
}

/* Calls @fn for each service that selects the pod. */
static void each_selecting(struct slices *s, const struct object *pod,
			   void (*fn)(struct slices *, struct svc *, const struct object *))
{
	json_t *labels = json_at(pod->json, "metadata", "labels"), *value;
	const char *key;

	json_object_foreach(labels, key, value) {
		uint64_t hash = hash_key(pod->ns, key, json_string_value(value));

		for (struct htab_node *i = htab_first(&s->labels, hash); i; i = i->next) {
			struct svc *v = container_of(i, struct svc, by_label);

			if (i->hash != hash || !streq(v->ns, pod->ns) || !streq(v->key, key) ||
			    !streq(v->value, json_string_value(value)))
				continue;
			s->stats.looked++;
			if (service_selects(v->obj->json, pod->json))
				fn(s, v, pod);
		}
	}
}

static void add_pod(struct slices *s, struct svc *v, const struct object *pod)
{
	names_add(&v->pods, pod->name);
	mark(s, v);
}

static void remove_pod(struct slices *s, struct svc *v, const struct object *pod)
{
	names_remove(&v->pods, pod->name);
	mark(s, v);
}

static void mark_for(struct slices *s, struct svc *v, const struct object *pod)
{
	(void)pod;
	mark(s, v);
}

static void on_pod(struct slices *s, const struct change *c)
{
	if (c->type == CHANGE_MODIFIED && !endpoint_differs(c->prev->json, c->obj->json))
		return;
	if (c->prev)
		each_selecting(s, c->prev, remove_pod);
	if (c->type != CHANGE_DELETED)
		each_selecting(s, c->obj, add_pod);
}

/* The pods of a service whose selector is new. */
static void scan_pods(struct slices *s, struct svc *v)
{
	size_t n;
	struct object *const *pods = store_namespace(s->hub->store, s->pod, v->ns, &n);

	names_done(&v->pods);
	for (size_t i = 0; v->key && i < n; i++)
		if (service_selects(v->obj->json, pods[i]->json))
			names_add(&v->pods, pods[i]->name);
}

static void take_service(struct slices *s, struct svc *v, struct object *obj)
{
	struct object *old = v->obj;

	unfile(s, v);
	v->obj = object_ref(obj);
	if (v->obj)
		file(s, v);
	object_unref(old);
}

static void on_service(struct slices *s, const struct change *c)
{
	struct svc *v = find_or_new(s, c->obj->ns, c->obj->name);

	take_service(s, v, c->type == CHANGE_DELETED ? NULL : c->obj);
	if (!v->obj || !c->prev || service_has_endpoints(c->prev->json) != service_has_endpoints(c->obj->json) ||
	    !json_equal(json_at(c->prev->json, "spec", "selector"), json_at(c->obj->json, "spec", "selector")))
		scan_pods(s, v);
	mark(s, v);
}

/* The service that a slice of ours belongs to, or "". */
static const char *slice_service(const struct object *slice)
{
	const json_t *labels = slice ? json_at(slice->json, "metadata", "labels") : NULL;

	return streq(json_str_at(labels, LABEL_MANAGED_BY), SLICES_MANAGER)
		   ? json_str_or(json_object_get(labels, LABEL_SERVICE_NAME), "")
		   : "";
}

static void on_slice(struct slices *s, const struct change *c)
{
	const char *was = slice_service(c->prev), *is = c->type == CHANGE_DELETED ? "" : slice_service(c->obj);
	struct svc *v;

	if (*was && !streq(was, is)) {
		v = find_or_new(s, c->obj->ns, was);
		names_remove(&v->slices, c->obj->name);
		if (v != s->writing)
			mark(s, v);
	}
	if (*is) {
		v = find_or_new(s, c->obj->ns, is);
		names_add(&v->slices, c->obj->name);
		if (v != s->writing)
			mark(s, v);
	}
}

static const char *zone_of(const struct object *node)
{
	return node ? json_str_or(json_at(node->json, "metadata", "labels", "topology.kubernetes.io/zone"), "") : "";
}

/* The nodes are looked at with the next work: many may change at once. */
static void mark_topology(struct slices *s)
{
	s->topology_stale = true;
	if (s->deferred)
		sd_event_source_set_enabled(s->deferred, SD_EVENT_ONESHOT);
}

static void take_topology(struct slices *s)
{
	size_t n;
	struct object *const *nodes = store_all(s->hub->store, s->node, &n);
	_cleanup_free_ const json_t **all = xnew0_array(const json_t *, n + 1);
	struct topology now;

	for (size_t i = 0; i < n; i++)
		all[i] = nodes[i]->json;
	topology_read(all, n, &now);
	s->topology_stale = false;
	if (topology_eq(&now, &s->topology)) {
		topology_done(&now);
		return;
	}
	topology_done(&s->topology);
	s->topology = now;
	for (struct htab_node *i = htab_begin(&s->names); i; i = htab_next(&s->names, i)) {
		struct svc *v = container_of(i, struct svc, by_name);

		if (v->obj && service_asks_topology(v->obj->json))
			mark(s, v);
	}
}

/* A node that comes, goes or moves to another zone concerns the services of its pods. */
static void on_node(struct slices *s, const struct change *c)
{
	struct object *const *pods;
	size_t n;

	if (topology_node_differs(c->prev ? c->prev->json : NULL, c->type == CHANGE_DELETED ? NULL : c->obj->json))
		mark_topology(s);
	if (c->type == CHANGE_MODIFIED && streq(zone_of(c->prev), zone_of(c->obj)))
		return;
	pods = store_all(s->hub->store, s->pod, &n);
	for (size_t i = 0; i < n; i++)
		if (streq(json_str_at(pods[i]->json, "spec", "nodeName"), c->obj->name))
			each_selecting(s, pods[i], mark_for);
}

static void on_change(void *ctx, const struct change *c)
{
	struct slices *s = ctx;

	if (c->obj->kind == s->pod)
		on_pod(s, c);
	else if (c->obj->kind == s->service)
		on_service(s, c);
	else if (c->obj->kind == s->slice)
		on_slice(s, c);
	else if (c->obj->kind == s->node)
		on_node(s, c);
}

/* Objects held while a service is worked on: its writes move the store's own. */
struct held {
	struct object **objects;
	const json_t **json;
	size_t n;
};

static void held_done(struct held *h)
{
	for (size_t i = 0; i < h->n; i++)
		object_unref(h->objects[i]);
	free(h->objects);
	free(h->json);
}

static void hold(struct slices *s, const struct kind *k, const struct svc *v, const struct names *names, struct held *h)
{
	*h = (struct held){xnew0_array(struct object *, names->n + 1), xnew0_array(const json_t *, names->n + 1), 0};
	for (size_t i = 0; i < names->n; i++) {
		struct object *o = store_get(s->hub->store, k, v->ns, names->list[i]);

		if (!o)
			continue;
		h->objects[h->n] = object_ref(o);
		h->json[h->n++] = o->json;
	}
}

/* The pods' nodes, in their order, NULL where there is none. */
static const json_t **nodes_of(struct slices *s, const struct held *pods)
{
	const json_t **out = xnew0_array(const json_t *, pods->n + 1);

	for (size_t i = 0; i < pods->n; i++) {
		const char *name = json_str_or(json_at(pods->json[i], "spec", "nodeName"), "");
		const struct object *node = *name ? store_get(s->hub->store, s->node, "", name) : NULL;

		out[i] = node ? node->json : NULL;
	}
	return out;
}

/* Return: false when the write should be tried again. */
static bool note(const struct svc *v, json_t *no, uint64_t *count)
{
	bool retry = no && status_code(no) >= 500;

	if (no)
		log_warn("an endpoint slice cannot be written", L_STR("namespace", v->ns), L_STR("service", v->name),
			 L_STR("why", json_str_at(no, "message")));
	else
		(*count)++;
	json_decref(no);
	return !retry;
}

static bool remove_slice(struct slices *s, const struct svc *v, const char *name)
{
	int r = store_delete(s->hub->store, s->slice, v->ns, name, NULL);

	if (r < 0 && r != -ENOENT)
		return false;
	s->stats.removed += r == 0;
	return true;
}

/* First what adds endpoints, then what takes them away: one that moves is in two slices rather than in none. */
static bool carry_out(struct slices *s, const struct svc *v, const struct slice_plan *plan)
{
	bool ok = true;
	json_t *j;
	size_t i;

	json_array_foreach(plan->create, i, j)
		ok &= note(v, admit_own(s->hub, s->slice, NULL, json_deep_copy(j), NULL), &s->stats.created);
	json_array_foreach(plan->update, i, j) {
		struct object *old = store_get(s->hub->store, s->slice, v->ns, meta_str(j, "name"));

		if (old)
			ok &= note(v, admit_own(s->hub, s->slice, old, json_deep_copy(j), NULL), &s->stats.updated);
	}
	json_array_foreach(plan->remove, i, j)
		ok &= remove_slice(s, v, json_string_value(j));
	return ok;
}

static void tell_topology(const struct slices *s, const struct object *obj, const char *family, int was, int is)
{
	_cleanup_free_ char *text = NULL;

	if (is == NOT_ASKED)
		text = xasprintf("%s endpoints: topology mode Auto is no longer asked for", family);
	else
		text = xasprintf("%s endpoints: %s", family, topology_why_text(is));
	if (is == TOPOLOGY_OK)
		emit_event(s->hub, obj, false, "TopologyAwareHintsEnabled", text);
	else if (is != NOT_ASKED || was == TOPOLOGY_OK)
		emit_event(s->hub, obj, true, "TopologyAwareHintsDisabled", text);
}

/* What is not as it was is told by an Event; what an earlier hub told is not told again. */
static void note_topology(const struct slices *s, struct svc *v, const struct object *obj, const struct slice_plan *plan)
{
	static const char *const families[SLICE_FAMILIES] = {[SLICE_IPV4] = "IPv4", [SLICE_IPV6] = "IPv6"};

	for (int f = 0; f < SLICE_FAMILIES; f++) {
		int was = v->topology[f], is = plan->topology[f].asked ? (int)plan->topology[f].why : NOT_ASKED;

		v->topology[f] = is;
		if (was != NOT_LOOKED && was != is)
			tell_topology(s, obj, families[f], was, is);
	}
}

static bool sync_pods(struct slices *s, struct svc *v)
{
	_cleanup_(object_unrefp) struct object *obj = object_ref(v->obj);
	_cleanup_(held_done) struct held pods = {0}, slices = {0};
	_cleanup_free_ const json_t **nodes = NULL;
	struct slice_plan plan;
	bool ok;

	hold(s, s->pod, v, &v->pods, &pods);
	hold(s, s->slice, v, &v->slices, &slices);
	nodes = nodes_of(s, &pods);
	slice_plan_make(&(struct slice_input){obj->json, pods.json, nodes, pods.n, slices.json, slices.n, &s->topology}, &plan);
	ok = carry_out(s, v, &plan);
	note_topology(s, v, obj, &plan);
	slice_plan_done(&plan);
	return ok;
}

static bool remove_all(struct slices *s, struct svc *v)
{
	_cleanup_(held_done) struct held slices = {0};
	bool ok = true;

	hold(s, s->slice, v, &v->slices, &slices);
	for (size_t i = 0; i < slices.n; i++)
		ok &= remove_slice(s, v, slices.objects[i]->name);
	return ok;
}

/* A service that is being deleted, or that has lost its selector, keeps its slices as they are: in the first case they
 * go with it, in the second they are the user's (as upstream). */
static bool sync_service(struct slices *s, struct svc *v)
{
	bool ok = true;

	s->stats.synced++;
	s->writing = v;
	if (!v->obj || streq(json_str_at(v->obj->json, "spec", "type"), "ExternalName"))
		ok = remove_all(s, v);
	else if (v->key && !json_at(v->obj->json, "metadata", "deletionTimestamp"))
		ok = sync_pods(s, v);
	s->writing = NULL;
	return ok;
}

static void svc_free(struct slices *s, struct svc *v)
{
	unfile(s, v);
	htab_remove(&s->names, &v->by_name);
	list_remove(&v->dirty);
	object_unref(v->obj);
	names_done(&v->pods);
	names_done(&v->slices);
	free(v->ns);
	free(v->name);
	free(v);
}

size_t slices_run(struct slices *s, size_t max)
{
	if (s->topology_stale)
		take_topology(s);
	for (; max > 0 && !list_empty(&s->dirty); max--) {
		struct svc *v = list_entry(s->dirty.next, struct svc, dirty);

		list_remove(&v->dirty);
		s->n_dirty--;
		if (!sync_service(s, v)) {
			if (list_empty(&v->dirty))
				s->n_dirty++;
			list_remove(&v->dirty);
			list_push_back(&s->failed, &v->dirty);
		} else if (!v->obj && v->slices.n == 0 && list_empty(&v->dirty)) {
			svc_free(s, v);
		}
	}
	return s->n_dirty;
}

void slices_retry(struct slices *s)
{
	struct svc *v, *tmp;

	list_for_each_safe(v, tmp, &s->failed, dirty)
		mark(s, v);
}

static int on_deferred(sd_event_source *source, void *ctx)
{
	struct slices *s = ctx;

	slices_run(s, RUN_AT_ONCE);
	return sd_event_source_set_enabled(source, list_empty(&s->dirty) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

/* Services first, then the pods find them: no service looks through all pods. */
static void index_store(struct slices *s)
{
	struct store *store = s->hub->store;
	struct object *const *all;
	size_t n;

	all = store_all(store, s->service, &n);
	for (size_t i = 0; i < n; i++) {
		struct svc *v = find_or_new(s, all[i]->ns, all[i]->name);

		take_service(s, v, all[i]);
		for (int f = 0; f < SLICE_FAMILIES; f++)
			v->topology[f] = NOT_LOOKED;
		mark(s, v);
	}
	all = store_all(store, s->pod, &n);
	for (size_t i = 0; i < n; i++)
		each_selecting(s, all[i], add_pod);
	all = store_all(store, s->slice, &n);
	for (size_t i = 0; i < n; i++)
		on_slice(s, &(const struct change){.type = CHANGE_ADDED, .obj = all[i]});
}

int slices_new(struct hub *hub, struct slices **ret)
{
	_cleanup_(slices_freep) struct slices *s = xnew0(struct slices);
	int r;

	*s = (struct slices){.hub = hub,
			     .service = kind_of("Service"),
			     .pod = kind_of("Pod"),
			     .node = kind_of("Node"),
			     .slice = kind_of("EndpointSlice")};
	list_init(&s->dirty);
	list_init(&s->failed);
	if (hub->event) {
		r = sd_event_add_defer(hub->event, &s->deferred, on_deferred, s);
		if (r < 0)
			return r;
	}
	index_store(s);
	take_topology(s);
	store_listen(hub->store, on_change, s);
	*ret = take_ptr(s);
	return 0;
}

struct slices *slices_free(struct slices *s)
{
	if (!s)
		return NULL;
	store_unlisten(s->hub->store, s);
	sd_event_source_disable_unref(s->deferred);
	for (struct htab_node *i = htab_begin(&s->names); i; i = htab_begin(&s->names))
		svc_free(s, container_of(i, struct svc, by_name));
	htab_done(&s->names);
	htab_done(&s->labels);
	topology_done(&s->topology);
	free(s);
	return NULL;
}

const struct slices_stats *slices_stats(const struct slices *s)
{
	return &s->stats;
}
