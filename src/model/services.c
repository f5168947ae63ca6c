/* SPDX-License-Identifier: Apache-2.0 */
/* Services and EndpointSlices. They come in any order and name each other by name only, so a small object of its own stands for
 * each name of a Service that something mentions: struct service_ref. It holds the slices, and it is what gets dirty.
 *
 * An address is used or claimed by several Services now and then: when one of them comes, goes or changes, the others are dirty
 * too, because the rules say who of them has it. */
#include "model/model_internal.h"

#include <netinet/in.h>

struct service_ref {
	struct htab_node node;
	const char *namespace_, *name; /* interned */
	struct model_service *service; /* or NULL */
	struct list slices;	       /* struct model_slice, by name */
	struct list dirty;	       /* in model.dirty_services, or by itself */
};

static struct service_ref *find_ref(const struct model *m, const char *namespace_, const char *name)
{
	struct service_ref *ref;

	HTAB_FIND(&m->service_refs, model_hash_name(namespace_, name), ref, node,
		  streq(ref->namespace_, namespace_) && streq(ref->name, name));
	return ref;
}

static struct service_ref *get_ref(struct model *m, const char *namespace_, const char *name)
{
	struct service_ref *ref = find_ref(m, namespace_, name);

	if (ref)
		return ref;
	ref = xnew0(struct service_ref);
	ref->namespace_ = model_intern(m, namespace_);
	ref->name = model_intern(m, name);
	list_init(&ref->slices);
	list_init(&ref->dirty);
	htab_insert(&m->service_refs, model_hash_name(namespace_, name), &ref->node);
	return ref;
}

static void ref_free(struct model *m, struct service_ref *ref)
{
	list_remove(&ref->dirty);
	htab_remove(&m->service_refs, &ref->node);
	model_unintern(m, ref->namespace_);
	model_unintern(m, ref->name);
	free(ref);
}

static void put_ref(struct model *m, struct service_ref *ref)
{
	if (!ref->service && list_empty(&ref->slices) && list_empty(&ref->dirty))
		ref_free(m, ref);
}

static void mark_dirty(struct model *m, struct service_ref *ref)
{
	if (list_empty(&ref->dirty))
		list_push_back(&m->dirty_services, &ref->dirty);
}

void services_mark_pod(struct model *m, const struct model_pod *p)
{
	_cleanup_free_ char *name = xasprintf(MODEL_HOST_POD "%s", p->name);

	mark_dirty(m, get_ref(m, p->namespace_, name));
}

void model_mark_services_dirty(struct model *m)
{
	host_ports_mark_all(m); /* first: it may add to the table */
	for (struct htab_node *i = htab_begin(&m->service_refs); i; i = htab_next(&m->service_refs, i))
		mark_dirty(m, container_of(i, struct service_ref, node));
}

bool model_services_are_dirty(const struct model *m)
{
	return !list_empty(&m->dirty_services);
}

bool model_take_dirty_service(struct model *m, struct model_service_name *ret)
{
	struct service_ref *ref;

	if (list_empty(&m->dirty_services))
		return false;
	ref = list_entry(m->dirty_services.next, struct service_ref, dirty);
	list_remove(&ref->dirty);
	snprintf(ret->namespace_, sizeof(ret->namespace_), "%s", ref->namespace_);
	snprintf(ret->name, sizeof(ret->name), "%s", ref->name);
	put_ref(m, ref);
	return true;
}

void services_done(struct model *m)
{
	while (!list_empty(&m->dirty_services))
		ref_free(m, list_entry(m->dirty_services.next, struct service_ref, dirty));
	htab_done(&m->service_refs);
	htab_done(&m->service_addrs);
	free(m->node_ports);
}

/* ---- Services ---- */

struct model_service *model_find_service(const struct model *m, const char *namespace_, const char *name)
{
	struct service_ref *ref = find_ref(m, namespace_, name);

	return ref ? ref->service : NULL;
}

void model_each_service(const struct model *m, model_service_fn *fn, void *ctx)
{
	const struct htab *t = &m->tables[MODEL_SERVICES];

	for (struct htab_node *i = htab_begin(t); i; i = htab_next(t, i))
		if (!fn(container_of(i, struct model_service, by_name), ctx))
			return;
}

void model_each_service_at(const struct model *m, const struct addr *addr, model_service_addr_fn *fn, void *ctx)
{
	uint64_t h = hash_mem(addr, sizeof(*addr));

	for (struct htab_node *i = htab_first(&m->service_addrs, h); i; i = i->next) {
		struct model_service_addr *a = container_of(i, struct model_service_addr, node);

		if (i->hash == h && addr_eq(&a->addr, addr) && !fn(a, ctx))
			return;
	}
}

static bool mark_rival(const struct model_service_addr *a, void *ctx)
{
	mark_dirty(ctx, get_ref(ctx, a->of->namespace_, a->of->name));
	return true;
}

/* Pods with host ports: an address that a Service claims may be one of their nodes'. */
static void mark_host_ports(struct model *m, const struct model_service *s)
{
	bool claims = false;

	for (unsigned i = 0; i < s->n_addrs; i++)
		claims |= s->addrs[i].kind != SERVICE_ADDR_CLUSTER;
	for (unsigned i = 0; claims && i < s->n_ports; i++)
		host_ports_mark(m, NULL, s->ports[i].proto, s->ports[i].port);
}

static bool mark_sharers(struct model_service *s, void *ctx)
{
	mark_host_ports(ctx, s);
	for (unsigned i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].kind != SERVICE_ADDR_CLUSTER)
			model_each_service_at(ctx, &s->addrs[i].addr, mark_rival, ctx);
	return true;
}

/* Its endpoints are others. They may say whether it may have what it claims, and so who else may: where the API server is, or leads to it. */
static void mark_endpoints(struct model *m, struct service_ref *ref)
{
	mark_dirty(m, ref);
	if (ref->service)
		mark_sharers(ref->service, m);
	if (streq(ref->namespace_, MODEL_API_NAMESPACE) && streq(ref->name, MODEL_API_SERVICE))
		model_each_service(m, mark_sharers, m);
}

static void index_addrs(struct model *m, struct model_service *s)
{
	for (unsigned i = 0; i < s->n_addrs; i++) {
		s->addrs[i].of = s;
		model_each_service_at(m, &s->addrs[i].addr, mark_rival, m);
		htab_insert(&m->service_addrs, hash_mem(&s->addrs[i].addr, sizeof(struct addr)), &s->addrs[i].node);
	}
}

static void unindex_addrs(struct model *m, struct model_service *s)
{
	for (unsigned i = 0; i < s->n_addrs; i++) {
		htab_remove(&m->service_addrs, &s->addrs[i].node);
		model_each_service_at(m, &s->addrs[i].addr, mark_rival, m);
	}
}

enum { PORTS = 65536, NODE_PORTS = 3 * PORTS };

/* One number for a protocol's port. */
static size_t node_port_index(uint8_t proto, uint16_t port)
{
	return (proto == IPPROTO_TCP ? 0 : proto == IPPROTO_UDP ? PORTS : 2 * PORTS) + port;
}

bool model_node_port_is_used(const struct model *m, uint8_t proto, uint16_t port)
{
	return m->node_ports && m->node_ports[node_port_index(proto, port)];
}

/* Pods with the same host port have to know. @by: 1 or -1. */
static void count_node_port(struct model *m, uint8_t proto, uint16_t port, int by)
{
	if (!port)
		return;
	if (!m->node_ports)
		m->node_ports = xnew0_array(uint16_t, NODE_PORTS);
	m->node_ports[node_port_index(proto, port)] += by;
	host_ports_mark(m, NULL, proto, port);
}

/* The health check's too: who asks it must not be answered by a pod. */
static void count_node_ports(struct model *m, const struct model_service *s, int by)
{
	if (!s->proxied)
		return;
	for (unsigned i = 0; i < s->n_ports; i++)
		count_node_port(m, s->ports[i].proto, s->ports[i].node_port, by);
	count_node_port(m, IPPROTO_TCP, s->health_port, by);
}

/* What was decoded goes, names stay. */
static void service_clear(struct model *m, struct model_service *s)
{
	unindex_addrs(m, s);
	mark_host_ports(m, s);
	count_node_ports(m, s, -1);
	for (unsigned i = 0; i < s->n_ports; i++)
		model_unintern(m, s->ports[i].name);
	free(s->ports);
	free(s->addrs);
	free(s->sources);
	free((char *)s->uid);
}

static void service_take(struct model *m, struct model_service *s, const struct decoded_meta *meta, struct decoded_service *d)
{
	s->uid = xstrdup(meta->uid);
	s->created = meta->created;
	s->digest = d->digest;
	s->ports = take_ptr(d->ports);
	s->n_ports = d->n_ports;
	for (unsigned i = 0; i < s->n_ports; i++)
		s->ports[i].name = model_intern(m, s->ports[i].name);
	s->addrs = xrealloc(take_ptr(d->addrs), MAX(d->n_addrs, 1u), sizeof(*s->addrs));
	s->n_addrs = d->n_addrs;
	s->sources = xrealloc(take_ptr(d->sources), MAX(d->n_sources, 1u), sizeof(*s->sources));
	s->n_sources = d->n_sources;
	s->affinity_s = d->affinity_s;
	s->health_port = d->health_port;
	s->proxied = d->proxied;
	s->internal_local = d->internal_local;
	s->external_local = d->external_local;
	s->maglev = d->maglev;
	s->dsr = d->dsr;
	s->reset = d->reset;
	s->pooled = d->pooled;
	index_addrs(m, s);
	mark_host_ports(m, s);
	count_node_ports(m, s, 1);
}

static struct model_service *service_new(struct model *m, const struct decoded_meta *meta)
{
	struct service_ref *ref = get_ref(m, meta->namespace_, meta->name);
	struct model_service *s = xnew0(struct model_service);

	s->namespace_ = model_intern(m, meta->namespace_);
	s->name = model_intern(m, meta->name);
	htab_insert(&m->tables[MODEL_SERVICES], model_hash_name(meta->namespace_, meta->name), &s->by_name);
	ref->service = s;
	mark_endpoints(m, ref);
	return s;
}

int service_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	struct model_service *s = model_find_service(m, meta->namespace_, meta->name);
	struct decoded_service d;
	int r = decode_service(object, &d, ret_error);

	if (r < 0) {
		decoded_service_done(&d);
		return r;
	}
	if (!s)
		s = service_new(m, meta);
	s->generation = m->generation[MODEL_SERVICES];
	r = 0;
	if (!s->uid || s->digest != d.digest || !streq(s->uid, meta->uid)) {
		service_clear(m, s);
		service_take(m, s, meta, &d);
		mark_dirty(m, get_ref(m, s->namespace_, s->name));
		r = model_touched(m, MODEL_SERVICES);
	}
	decoded_service_done(&d);
	return r;
}

void service_remove(struct model *m, void *object)
{
	struct model_service *s = object;
	struct service_ref *ref = get_ref(m, s->namespace_, s->name);

	service_clear(m, s);
	htab_remove(&m->tables[MODEL_SERVICES], &s->by_name);
	ref->service = NULL;
	mark_endpoints(m, ref);
	model_unintern(m, s->namespace_);
	model_unintern(m, s->name);
	free(s);
}

/* ---- EndpointSlices ---- */

struct model_slice *model_find_slice(const struct model *m, const char *namespace_, const char *name)
{
	struct model_slice *s;

	HTAB_FIND(&m->tables[MODEL_SLICES], model_hash_name(namespace_, name), s, by_name,
		  streq(s->namespace_, namespace_) && streq(s->name, name));
	return s;
}

void model_each_slice_of(const struct model *m, const struct model_service *svc, model_slice_fn *fn, void *ctx)
{
	struct service_ref *ref = find_ref(m, svc->namespace_, svc->name);
	struct model_slice *s;

	if (!ref)
		return;
	list_for_each(s, &ref->slices, by_service)
		if (!fn(s, ctx))
			return;
}

/* By name, so that what is compiled does not depend on history. */
static void join_service(struct model *m, struct model_slice *s)
{
	struct service_ref *ref;
	struct model_slice *other;

	if (!*s->service)
		return;
	ref = get_ref(m, s->namespace_, s->service);
	list_for_each(other, &ref->slices, by_service)
		if (strcmp(other->name, s->name) > 0)
			break;
	list_insert(&s->by_service, other->by_service.prev, &other->by_service);
	mark_endpoints(m, ref);
}

static void leave_service(struct model *m, struct model_slice *s)
{
	list_remove(&s->by_service);
	if (*s->service)
		mark_endpoints(m, get_ref(m, s->namespace_, s->service));
}

static void slice_clear(struct model *m, struct model_slice *s)
{
	for (unsigned i = 0; i < s->n_ports; i++)
		model_unintern(m, s->ports[i].name);
	for (unsigned i = 0; i < s->n_endpoints; i++) {
		struct model_endpoint *e = &s->endpoints[i];

		model_unintern(m, e->node);
		model_unintern(m, e->zone);
		for (unsigned k = 0; k < e->n_nodes + e->n_zones; k++)
			model_unintern(m, e->hints[k]);
		free(e->hints);
	}
	free(s->ports);
	free(s->endpoints);
}

static void slice_take(struct model *m, struct model_slice *s, struct decoded_slice *d)
{
	s->v6 = d->v6;
	s->n_ports = d->n_ports;
	s->n_endpoints = d->n_endpoints;
	s->ports = take_ptr(d->ports);
	s->endpoints = take_ptr(d->endpoints);
	for (unsigned i = 0; i < s->n_ports; i++)
		s->ports[i].name = model_intern(m, s->ports[i].name);
	for (unsigned i = 0; i < s->n_endpoints; i++) {
		struct model_endpoint *e = &s->endpoints[i];

		e->node = model_intern(m, e->node);
		e->zone = model_intern(m, e->zone);
		for (unsigned k = 0; k < e->n_nodes + e->n_zones; k++)
			e->hints[k] = model_intern(m, e->hints[k]);
	}
}

static bool endpoint_has(const struct model_endpoint *e, const struct model_endpoint *d)
{
	if (!addr_eq(&e->addr, &d->addr) || e->flags != d->flags || e->n_nodes != d->n_nodes || e->n_zones != d->n_zones ||
	    !streq(e->node, d->node) || !streq(e->zone, d->zone))
		return false;
	for (unsigned k = 0; k < e->n_nodes + e->n_zones; k++)
		if (!streq(e->hints[k], d->hints[k]))
			return false;
	return true;
}

static bool slice_has(const struct model_slice *s, const struct decoded_slice *d)
{
	if (s->v6 != d->v6 || !streq(s->service, d->service) || s->n_ports != d->n_ports || s->n_endpoints != d->n_endpoints)
		return false;
	for (unsigned i = 0; i < s->n_ports; i++)
		if (s->ports[i].port != d->ports[i].port || s->ports[i].proto != d->ports[i].proto ||
		    !streq(s->ports[i].name, d->ports[i].name))
			return false;
	for (unsigned i = 0; i < s->n_endpoints; i++)
		if (!endpoint_has(&s->endpoints[i], &d->endpoints[i]))
			return false;
	return true;
}

static struct model_slice *slice_new(struct model *m, const struct decoded_meta *meta)
{
	struct model_slice *s = xnew0(struct model_slice);

	s->namespace_ = model_intern(m, meta->namespace_);
	s->name = model_intern(m, meta->name);
	s->service = model_intern(m, "");
	list_init(&s->by_service);
	htab_insert(&m->tables[MODEL_SLICES], model_hash_name(meta->namespace_, meta->name), &s->by_name);
	return s;
}

int slice_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	struct model_slice *s = model_find_slice(m, meta->namespace_, meta->name);
	struct decoded_slice d;
	bool fresh = !s;
	int r = decode_slice(object, &d, ret_error);

	if (r < 0) {
		decoded_slice_done(&d);
		return r;
	}
	if (!s)
		s = slice_new(m, meta);
	s->generation = m->generation[MODEL_SLICES];
	if (fresh || !slice_has(s, &d)) {
		const char *old = s->service;

		leave_service(m, s);
		slice_clear(m, s);
		s->service = model_intern(m, d.service);
		model_unintern(m, old);
		slice_take(m, s, &d);
		join_service(m, s);
		r = model_touched(m, MODEL_SLICES);
	}
	decoded_slice_done(&d);
	return r;
}

void slice_remove(struct model *m, void *object)
{
	struct model_slice *s = object;

	leave_service(m, s);
	slice_clear(m, s);
	htab_remove(&m->tables[MODEL_SLICES], &s->by_name);
	model_unintern(m, s->namespace_);
	model_unintern(m, s->name);
	model_unintern(m, s->service);
	free(s);
}
