/* SPDX-License-Identifier: Apache-2.0 */
/* Pods are grouped by the ports that they have (a named port may have another number in each pod); a group fills slices
 * of its own. Packing writes as few objects as it can rather than fill them well: an endpoint that stays keeps its
 * slice; new ones go first into slices that are written anyway, the fullest first; what is then left goes into the
 * unchanged slice that it fills best, if it fits into one, else into new slices. A slice that empties is taken for a
 * new one before it is deleted. An endpoint is the same as long as its pod and its addresses are. */
#include "hub/slice_plan.h"
#include "base/buf.h"
#include "base/htab.h"
#include "hub/endpoints.h"
#include "hub/object.h"
#include "hub/schema.h"

enum { GENERATE_PREFIX_MAX = 253 };

/* An endpoint that should be. */
struct want {
	struct htab_node by_id;
	char *id;
	json_t *endpoint;
	const char *was; /* the zone that it is hinted for so far, borrowed from its slice; or NULL */
	bool placed;
};

/* A slice that is. */
struct have {
	const json_t *slice;
	json_t *endpoints; /* those that it keeps, as they should be */
	bool changed;
};

struct group {
	char *key;
	json_t *ports;
	struct want *wants;
	size_t n_wants, wants_cap, next; /* wants before next are placed */
	struct have *haves;
	size_t n_haves, haves_cap;
};

struct planner {
	const struct slice_input *in;
	const char *family;
	json_t *labels;
	struct group *groups;
	size_t n, cap;
	size_t kept;			 /* slices of this family that stay */
	json_t *create, *update, *spare; /* spare: slices of ours that may be taken for a new one */
	struct slice_plan *out;
};

static char *endpoint_id(const json_t *ep)
{
	const json_t *addresses = json_object_get(ep, "addresses"), *v;
	struct buf b = {0};
	char *id;
	size_t i;

	buf_addf(&b, "%s", json_str_or(json_at(ep, "targetRef", "name"), ""));
	json_array_foreach(addresses, i, v)
		buf_addf(&b, " %s", json_str_or(v, ""));
	id = xstrndup(b.data, b.len);
	buf_done(&b);
	return id;
}

static struct group *find_group(struct planner *p, const char *key)
{
	for (size_t i = 0; i < p->n; i++)
		if (streq(p->groups[i].key, key))
			return &p->groups[i];
	return NULL;
}

/* Takes @ports and @ep. */
static void add_want(struct planner *p, json_t *ports, json_t *ep)
{
	_cleanup_free_ char *key = endpoint_ports_key(ports);
	struct group *g = find_group(p, key);

	if (!g) {
		GROW(p->groups, p->n, p->cap);
		g = &p->groups[p->n++];
		*g = (struct group){.key = take_ptr(key), .ports = json_incref(ports)};
	}
	json_decref(ports);
	GROW(g->wants, g->n_wants, g->wants_cap);
	g->wants[g->n_wants++] = (struct want){.id = endpoint_id(ep), .endpoint = ep};
}

static void collect_wants(struct planner *p)
{
	for (size_t i = 0; i < p->in->n_pods; i++) {
		json_t *ep = endpoint_new(p->in->svc, p->in->pods[i], p->in->nodes[i], p->family);

		if (ep)
			add_want(p, endpoint_ports(p->in->svc, p->in->pods[i]), ep);
	}
}

static struct want *find_want(const struct htab *t, const char *id)
{
	struct want *w = NULL;

	HTAB_FIND(t, hash_str(id), w, by_id, streq(w->id, id));
	return w;
}

/* ---- topology mode Auto ---- */

static bool is_ready(const struct want *w)
{
	return json_is_true(json_at(w->endpoint, "conditions", "ready"));
}

/* The ready endpoints of all groups. Return: how many; the array is the caller's. */
static size_t collect_ready(const struct planner *p, struct want ***ret)
{
	size_t n = 0, cap = 0;

	*ret = NULL;
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->groups[i].n_wants; k++)
			if (is_ready(&p->groups[i].wants[k])) {
				GROW(*ret, n, cap);
				(*ret)[n++] = &p->groups[i].wants[k];
			}
	return n;
}

static void find_former_hints(const struct planner *p, struct want **ready, size_t n)
{
	struct htab by_id = {0};
	json_t *ep;
	size_t k;

	for (size_t i = 0; i < n; i++)
		if (!find_want(&by_id, ready[i]->id))
			htab_insert(&by_id, hash_str(ready[i]->id), &ready[i]->by_id);
	for (size_t i = 0; i < p->in->n_slices; i++)
		json_array_foreach(json_object_get(p->in->slices[i], "endpoints"), k, ep) {
			_cleanup_free_ char *id = endpoint_id(ep);
			struct want *w = find_want(&by_id, id);

			if (w)
				w->was = json_str_at(json_array_get(json_at(ep, "hints", "forZones"), 0), "name");
		}
	htab_done(&by_id);
}

static enum topology_why add_hints(const struct planner *p)
{
	_cleanup_free_ struct topology_endpoint *e = NULL;
	_cleanup_free_ struct want **ready = NULL;
	size_t n = collect_ready(p, &ready);
	enum topology_why why;

	find_former_hints(p, ready, n);
	e = xnew0_array(struct topology_endpoint, n + 1);
	for (size_t i = 0; i < n; i++)
		e[i] = (struct topology_endpoint){json_str_or(json_object_get(ready[i]->endpoint, "zone"), ""), ready[i]->was, NULL};
	why = topology_allocate(p->in->topology, e, n);
	for (size_t i = 0; i < n && why == TOPOLOGY_OK; i++)
		json_object_set_new(ready[i]->endpoint, "hints", json_pack("{s[{ss}]}", "forZones", "name", e[i].hint));
	return why;
}

/* ---- what there is ---- */

static bool is_owned(const json_t *slice, const json_t *svc)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_at(slice, "metadata", "ownerReferences"), i, o)
		if (streq(json_str_at(o, "kind"), "Service") && streq(json_str_at(o, "apiVersion"), "v1") &&
		    streq(json_str_at(o, "uid"), meta_str(svc, "uid")))
			return true;
	return false;
}

static void drop(struct planner *p, const json_t *slice)
{
	json_array_append_new(p->out->remove, json_string(meta_str(slice, "name")));
}

/* Sorts the slices of the family into groups; what fits into none is spare, or another service's of the same name. */
static void collect_haves(struct planner *p)
{
	for (size_t i = 0; i < p->in->n_slices; i++) {
		const json_t *slice = p->in->slices[i];
		_cleanup_free_ char *key = endpoint_ports_key(json_object_get(slice, "ports"));
		struct group *g = find_group(p, key);

		if (!streq(json_str_at(slice, "addressType"), p->family))
			continue;
		if (!is_owned(slice, p->in->svc)) {
			drop(p, slice);
		} else if (!g) {
			json_array_append(p->spare, (json_t *)slice);
		} else {
			GROW(g->haves, g->n_haves, g->haves_cap);
			g->haves[g->n_haves++] = (struct have){.slice = slice, .endpoints = json_array()};
		}
	}
}

static json_t *labels_of(const json_t *slice)
{
	return json_at(slice, "metadata", "labels");
}

static void keep_endpoints(struct planner *p, struct have *h, const struct htab *wants)
{
	json_t *was = json_object_get(h->slice, "endpoints"), *ep;
	size_t i;

	h->changed = !json_equal(labels_of(h->slice), p->labels);
	json_array_foreach(was, i, ep) {
		_cleanup_free_ char *id = endpoint_id(ep);
		struct want *w = find_want(wants, id);

		if (!w || w->placed || json_array_size(h->endpoints) == SLICE_ENDPOINTS) {
			h->changed = true;
			continue;
		}
		w->placed = true;
		h->changed |= !json_equal(w->endpoint, ep);
		json_array_append(h->endpoints, w->endpoint);
	}
}

static struct want *next_want(struct group *g)
{
	while (g->next < g->n_wants && g->wants[g->next].placed)
		g->next++;
	return g->next < g->n_wants ? &g->wants[g->next] : NULL;
}

static size_t count_left(const struct group *g)
{
	size_t n = 0;

	for (size_t i = g->next; i < g->n_wants; i++)
		n += !g->wants[i].placed;
	return n;
}

static void fill(struct group *g, json_t *endpoints)
{
	struct want *w;

	while (json_array_size(endpoints) < SLICE_ENDPOINTS && (w = next_want(g))) {
		json_array_append(endpoints, w->endpoint);
		w->placed = true;
	}
}

static int fullest_first(const void *a, const void *b)
{
	size_t x = json_array_size(((const struct have *)a)->endpoints),
	       y = json_array_size(((const struct have *)b)->endpoints);

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The unchanged slice that is fullest with @n more, or NULL when none has the room. */
static struct have *best_unchanged(struct group *g, size_t n)
{
	struct have *best = NULL;

	for (size_t i = 0; i < g->n_haves; i++) {
		struct have *h = &g->haves[i];

		if (!h->changed && json_array_size(h->endpoints) + n <= SLICE_ENDPOINTS &&
		    (!best || json_array_size(h->endpoints) > json_array_size(best->endpoints)))
			best = h;
	}
	return best;
}

static json_t *new_slice(const struct planner *p, json_t *ports, json_t *endpoints)
{
	const json_t *svc = p->in->svc;
	_cleanup_free_ char *prefix = xasprintf("%.*s-", GENERATE_PREFIX_MAX - 1, meta_str(svc, "name"));

	return json_pack("{s{ss ss sO s[{ss ss ss ss sb sb}]} ss sO so}", "metadata", "generateName", prefix,
			 "namespace", meta_str(svc, "namespace"), "labels", p->labels, "ownerReferences", "apiVersion",
			 "v1", "kind", "Service", "name", meta_str(svc, "name"), "uid", meta_str(svc, "uid"),
			 "controller", true, "blockOwnerDeletion", true, "addressType", p->family, "ports", ports,
			 "endpoints", endpoints);
}

static void place_rest(struct planner *p, struct group *g)
{
	struct have *h;
	size_t left;

	if (g->n_haves > 1)
		qsort(g->haves, g->n_haves, sizeof(*g->haves), fullest_first);
	for (size_t i = 0; i < g->n_haves; i++)
		if (g->haves[i].changed && json_array_size(g->haves[i].endpoints) > 0)
			fill(g, g->haves[i].endpoints);
	while ((left = count_left(g)) > 0) {
		h = left < SLICE_ENDPOINTS ? best_unchanged(g, left) : NULL;
		if (h) {
			fill(g, h->endpoints);
			h->changed = true;
		} else {
			json_t *endpoints = json_array();

			fill(g, endpoints);
			json_array_append_new(p->create, new_slice(p, g->ports, endpoints));
		}
	}
}

/* @slice with other content: its name, annotations and the rest of its metadata stay. */
static json_t *changed_slice(const struct planner *p, const json_t *slice, json_t *ports, json_t *endpoints)
{
	json_t *j = json_deep_copy(slice);

	json_object_set(meta_of(j), "labels", p->labels);
	json_object_set(j, "ports", ports);
	json_object_set(j, "endpoints", endpoints);
	return j;
}

static void settle_haves(struct planner *p, struct group *g)
{
	for (size_t i = 0; i < g->n_haves; i++) {
		struct have *h = &g->haves[i];

		if (json_array_size(h->endpoints) == 0) {
			json_array_append(p->spare, (json_t *)h->slice);
			continue;
		}
		p->kept++;
		if (h->changed)
			json_array_append_new(p->update, changed_slice(p, h->slice, g->ports, h->endpoints));
	}
}

static void plan_group(struct planner *p, struct group *g)
{
	struct htab wants = {0};

	for (size_t i = 0; i < g->n_wants; i++)
		if (!find_want(&wants, g->wants[i].id))
			htab_insert(&wants, hash_str(g->wants[i].id), &g->wants[i].by_id);
	for (size_t i = 0; i < g->n_haves; i++)
		keep_endpoints(p, &g->haves[i], &wants);
	place_rest(p, g);
	settle_haves(p, g);
	htab_done(&wants);
}

/* A service without endpoints has one empty slice a family, which says that the controller has looked. */
static void add_placeholder(struct planner *p)
{
	if (p->kept == 0 && json_array_size(p->create) == 0) {
		_cleanup_json_ json_t *ports = json_array();

		json_array_append_new(p->create, new_slice(p, ports, json_array()));
	}
}

static bool is_as(const json_t *slice, const json_t *wanted)
{
	return json_equal(json_object_get(slice, "endpoints"), json_object_get(wanted, "endpoints")) &&
	       json_array_size(json_object_get(slice, "ports")) == 0 &&
	       json_array_size(json_object_get(wanted, "ports")) == 0 &&
	       json_equal(labels_of(slice), labels_of(wanted));
}

/* New slices take over those that have become free; the rest of either is created or removed. */
static void use_spare(struct planner *p)
{
	json_t *slice, *wanted;
	size_t i;

	json_array_foreach(p->create, i, wanted) {
		slice = json_array_get(p->spare, i);
		if (!slice)
			json_array_append(p->out->create, wanted);
		else if (!is_as(slice, wanted))
			json_array_append_new(p->update, changed_slice(p, slice, json_object_get(wanted, "ports"),
								       json_object_get(wanted, "endpoints")));
	}
	for (i = json_array_size(p->create); i < json_array_size(p->spare); i++)
		drop(p, json_array_get(p->spare, i));
	json_array_extend(p->out->update, p->update);
}

static void group_done(struct group *g)
{
	for (size_t i = 0; i < g->n_wants; i++) {
		free(g->wants[i].id);
		json_decref(g->wants[i].endpoint);
	}
	for (size_t i = 0; i < g->n_haves; i++)
		json_decref(g->haves[i].endpoints);
	free(g->wants);
	free(g->haves);
	free(g->key);
	json_decref(g->ports);
}

static void plan_family(const struct slice_input *in, const char *family, json_t *labels, struct slice_topology *topology, struct slice_plan *out)
{
	_cleanup_json_ json_t *create = json_array(), *update = json_array(), *spare = json_array();
	struct planner p = {.in = in,
			    .family = family,
			    .labels = labels,
			    .create = create,
			    .update = update,
			    .spare = spare,
			    .out = out};

	collect_wants(&p);
	if (topology->asked)
		topology->why = add_hints(&p);
	collect_haves(&p);
	for (size_t i = 0; i < p.n; i++)
		plan_group(&p, &p.groups[i]);
	add_placeholder(&p);
	use_spare(&p);
	for (size_t i = 0; i < p.n; i++)
		group_done(&p.groups[i]);
	free(p.groups);
}

static bool has_family(const json_t *svc, const char *family)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "ipFamilies"), i, v)
		if (streq(json_string_value(v), family))
			return true;
	return false;
}

/* The service's labels, and those that say whose slice it is. */
static json_t *make_labels(const json_t *svc)
{
	json_t *labels = json_at(svc, "metadata", "labels"), *out = labels ? json_copy(labels) : json_object();
	const char *ip = json_str_or(json_at(svc, "spec", "clusterIP"), "");

	json_object_del(out, LABEL_HEADLESS);
	if (streq(ip, "None") || !*ip)
		json_object_set_new(out, LABEL_HEADLESS, json_string(""));
	json_object_set_new(out, LABEL_SERVICE_NAME, json_string(meta_str(svc, "name")));
	json_object_set_new(out, LABEL_MANAGED_BY, json_string(SLICES_MANAGER));
	return out;
}

void slice_plan_make(const struct slice_input *in, struct slice_plan *ret)
{
	static const char *const families[SLICE_FAMILIES] = {[SLICE_IPV4] = "IPv4", [SLICE_IPV6] = "IPv6"};
	_cleanup_json_ json_t *labels = make_labels(in->svc);

	*ret = (struct slice_plan){.create = json_array(), .update = json_array(), .remove = json_array()};
	for (int f = 0; f < SLICE_FAMILIES; f++)
		if (has_family(in->svc, families[f])) {
			ret->topology[f].asked = service_asks_topology(in->svc);
			plan_family(in, families[f], labels, &ret->topology[f], ret);
		}
	for (size_t i = 0; i < in->n_slices; i++)
		if (!has_family(in->svc, json_str_or(json_object_get(in->slices[i], "addressType"), "")))
			json_array_append_new(ret->remove, json_string(meta_str(in->slices[i], "name")));
}

void slice_plan_done(struct slice_plan *p)
{
	json_decref(p->create);
	json_decref(p->update);
	json_decref(p->remove);
}
