/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of objects, each in a hash by name and in the indexes that its users ask for.
 *
 * An upsert decodes first and touches nothing until the whole object is known to be good; then it compares with what is
 * there, so that the many updates which change nothing we look at (heartbeats, conditions) cost a comparison and mark
 * nothing dirty.
 *
 * A list is reconciled by generations: begin starts a new one, each object that comes gets it, end removes what has an
 * older one. A refused object marks its last good form as having come. */
#include "model/model_internal.h"

enum { REFUSED_MAX = 1000 };

struct pods_of {
	struct htab_node link;
	const char *node; /* interned */
	struct list pods;
};

uint64_t model_hash_name(const char *namespace_, const char *name)
{
	return hash_str(namespace_) * 31 + hash_str(name);
}

const char *model_table_name(enum model_table table)
{
	static const char *const names[] = {"nodes", "pods", "namespaces", "networkpolicies", "meshnodes", "services", "endpointslices", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"};

	return names[table];
}

static const char *kind_name(enum model_table table)
{
	static const char *const names[] = {"Node", "Pod", "Namespace", "NetworkPolicy", "MeshNode", "Service", "EndpointSlice",
					    "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"};

	return names[table];
}

/* An object is new, has changed, or goes. */
static void tell(struct model *m, enum model_table table, void *object, bool gone)
{
	if (m->on_object)
		m->on_object(table, object, gone, m->object_ctx);
}

int model_touched(struct model *m, enum model_table table)
{
	m->dirty |= 1u << table;
	if (m->changed)
		m->changed(table, m->changed_ctx);
	return 1;
}

/* --- nodes --- */

struct model_node *model_find_node(const struct model *m, const char *name)
{
	struct model_node *n;

	HTAB_FIND(&m->tables[MODEL_NODES], model_hash_name("", name), n, by_name, streq(n->name, name));
	return n;
}

static void node_unindex(struct model *m, struct model_node *n)
{
	for (unsigned i = 0; i < n->n_addrs; i++)
		htab_remove(&m->node_addrs, &n->by_addr[i].node);
	free(n->by_addr);
	n->by_addr = NULL;
}

static void node_index(struct model *m, struct model_node *n)
{
	n->by_addr = xnew0_array(struct model_node_addr, n->n_addrs);
	for (unsigned i = 0; i < n->n_addrs; i++) {
		n->by_addr[i].addr = n->addrs[i];
		n->by_addr[i].of = n;
		htab_insert(&m->node_addrs, hash_mem(&n->addrs[i], sizeof(struct addr)), &n->by_addr[i].node);
	}
}

static void node_remove(struct model *m, void *object)
{
	struct model_node *n = object;

	node_unindex(m, n);
	htab_remove(&m->tables[MODEL_NODES], &n->by_name);
	model_labels_put(m, n->labels);
	model_labels_put(m, n->annotations);
	model_unintern(m, n->zone);
	model_unintern(m, n->region);
	free((char *)n->name);
	free((char *)n->uid);
	free(n);
}

static struct model_node *node_new(struct model *m, const struct decoded_meta *meta)
{
	struct model_node *n = xnew0(struct model_node);

	n->name = xstrdup(meta->name);
	n->uid = xstrdup(meta->uid);
	n->zone = model_intern(m, "");
	n->region = model_intern(m, "");
	htab_insert(&m->tables[MODEL_NODES], model_hash_name("", meta->name), &n->by_name);
	return n;
}

static bool node_has(const struct model_node *n, const struct decoded_meta *meta, const struct decoded_node *d)
{
	return streq(n->uid, meta->uid) && n->created == meta->created && n->n_cidrs == d->n_cidrs &&
	       n->leaving == (meta->deleting || d->leaving) && n->ready == d->ready && n->cordoned == d->cordoned &&
	       n->n_addrs == d->n_addrs && memcmp(n->cidrs, d->cidrs, sizeof(n->cidrs)) == 0 &&
	       memcmp(n->addrs, d->addrs, sizeof(n->addrs)) == 0;
}

static void replace_string(struct model *m, const char **at, const char *s)
{
	const char *old = *at;

	*at = model_intern(m, s ? s : "");
	model_unintern(m, old);
}

/* Takes the reference to @labels. Return: has it changed? */
static bool replace_labels(struct model *m, struct model_labels **at, struct model_labels *labels)
{
	bool changed = *at != labels;

	model_labels_put(m, *at);
	*at = labels;
	return changed;
}

static int node_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	struct model_node *n = model_find_node(m, meta->name);
	struct decoded_node d;
	bool changed = !n;

	if (decode_node(object, &d, ret_error) < 0)
		return -EINVAL;
	if (!n)
		n = node_new(m, meta);
	n->generation = m->generation[MODEL_NODES];
	changed |= !node_has(n, meta, &d);
	if (changed) {
		node_unindex(m, n);
		free((char *)n->uid);
		n->uid = xstrdup(meta->uid);
		n->created = meta->created;
		memcpy(n->cidrs, d.cidrs, sizeof(n->cidrs));
		memcpy(n->addrs, d.addrs, sizeof(n->addrs));
		n->n_cidrs = d.n_cidrs;
		n->n_addrs = d.n_addrs;
		n->leaving = meta->deleting || d.leaving;
		n->ready = d.ready;
		n->cordoned = d.cordoned;
		node_index(m, n);
	}
	changed |= replace_labels(m, &n->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
	changed |= replace_labels(m, &n->annotations,
				  model_labels_get(m, json_at(object, "metadata", "annotations"), "weft.dev/"));
	replace_string(m, &n->zone, model_label(n->labels, "topology.kubernetes.io/zone"));
	replace_string(m, &n->region, model_label(n->labels, "topology.kubernetes.io/region"));
	return changed ? model_touched(m, MODEL_NODES) : 0;
}

struct model_node *model_find_node_by_addr(const struct model *m, const struct addr *a)
{
	uint64_t h = hash_mem(a, sizeof(*a));
	struct model_node *best = NULL;

	for (struct htab_node *i = htab_first(&m->node_addrs, h); i; i = i->next) {
		struct model_node_addr *entry = container_of(i, struct model_node_addr, node);

		if (i->hash == h && addr_eq(&entry->addr, a) && (!best || strcmp(entry->of->name, best->name) < 0))
			best = entry->of;
	}
	return best;
}

static int cmp_node_name(const void *a, const void *b)
{
	return strcmp((*(struct model_node *const *)a)->name, (*(struct model_node *const *)b)->name);
}

struct model_node **model_nodes_sorted(const struct model *m, size_t *ret_n)
{
	const struct htab *t = &m->tables[MODEL_NODES];
	struct model_node **list = xnew0_array(struct model_node *, t->count);
	size_t n = 0;

	for (struct htab_node *i = htab_begin(t); i; i = htab_next(t, i))
		list[n++] = container_of(i, struct model_node, by_name);
	qsort(list, n, sizeof(*list), cmp_node_name);
	*ret_n = n;
	return list;
}

/* --- pods --- */

struct model_pod *model_find_pod(const struct model *m, const char *namespace_, const char *name)
{
	struct model_pod *p;

	HTAB_FIND(&m->tables[MODEL_PODS], model_hash_name(namespace_, name), p, by_name,
		  streq(p->namespace_, namespace_) && streq(p->name, name));
	return p;
}

static struct pods_of *find_pods_of(const struct model *m, const char *node)
{
	struct pods_of *of;

	HTAB_FIND(&m->pods_by_node, hash_str(node), of, link, streq(of->node, node));
	return of;
}

static void pod_leave_node(struct model *m, struct model_pod *p)
{
	struct pods_of *of = find_pods_of(m, p->node);

	list_remove(&p->by_node);
	if (!list_empty(&of->pods))
		return;
	htab_remove(&m->pods_by_node, &of->link);
	model_unintern(m, of->node);
	free(of);
}

static void pod_join_node(struct model *m, struct model_pod *p)
{
	struct pods_of *of = find_pods_of(m, p->node);

	if (!of) {
		of = xnew0(struct pods_of);
		of->node = model_intern(m, p->node);
		list_init(&of->pods);
		htab_insert(&m->pods_by_node, hash_str(of->node), &of->link);
	}
	list_push_back(&of->pods, &p->by_node);
}

static void pod_unindex(struct model *m, struct model_pod *p)
{
	for (int i = 0; i < POD_ADDRS_MAX; i++)
		if (p->has_addrs && !addr_is_zero(&p->addrs[i].addr))
			htab_remove(&m->pod_addrs, &p->addrs[i].node);
	p->has_addrs = false;
}

static void pod_index(struct model *m, struct model_pod *p, bool owns)
{
	p->has_addrs = owns;
	p->serial = ++m->serial;
	for (int i = 0; i < POD_ADDRS_MAX; i++)
		if (owns && !addr_is_zero(&p->addrs[i].addr))
			htab_insert(&m->pod_addrs, hash_mem(&p->addrs[i].addr, sizeof(struct addr)), &p->addrs[i].node);
}

static void pod_remove(struct model *m, void *object)
{
	struct model_pod *p = object;

	pod_unindex(m, p);
	host_ports_drop(m, p);
	pod_leave_node(m, p);
	htab_remove(&m->tables[MODEL_PODS], &p->by_name);
	model_unintern(m, p->namespace_);
	model_unintern(m, p->node);
	model_labels_put(m, p->labels);
	pod_ports_replace(m, p, NULL, 0);
	free(p);
}

static struct model_pod *pod_new(struct model *m, const struct decoded_meta *meta, const char *node)
{
	size_t name = strlen(meta->name) + 1, uid = strlen(meta->uid) + 1;
	struct model_pod *p = xcalloc(1, sizeof(*p) + name + uid);

	memcpy(p->name, meta->name, name);
	p->uid = memcpy(p->name + name, meta->uid, uid);
	p->namespace_ = model_intern(m, meta->namespace_);
	p->node = model_intern(m, node);
	htab_insert(&m->tables[MODEL_PODS], model_hash_name(meta->namespace_, meta->name), &p->by_name);
	pod_join_node(m, p);
	return p;
}

static bool pod_update(struct model *m, struct model_pod *p, const struct decoded_meta *meta,
		       const struct decoded_pod *d)
{
	bool owns = !d->host_network && d->phase != POD_SUCCEEDED && d->phase != POD_FAILED;
	bool moved = p->has_addrs != owns, changed = false;

	for (int i = 0; i < POD_ADDRS_MAX; i++)
		moved |= !addr_eq(&p->addrs[i].addr, &d->addrs[i]);
	if (moved) {
		pod_unindex(m, p);
		for (int i = 0; i < POD_ADDRS_MAX; i++)
			p->addrs[i].addr = d->addrs[i];
		pod_index(m, p, owns);
		changed = true;
	}
	if (!streq(p->node, d->node)) {
		pod_leave_node(m, p);
		replace_string(m, &p->node, d->node);
		pod_join_node(m, p);
		changed = true;
	}
	changed |= p->phase != d->phase || p->host_network != d->host_network || p->deleting != meta->deleting;
	p->phase = d->phase;
	p->host_network = d->host_network;
	p->deleting = meta->deleting;
	return changed;
}

/* A static pod's mirror in the API has a uid of its own; the runtime, and so CNI, knows the one that the kubelet gave. */
static const char *runtime_uid(const struct decoded_meta *meta, const json_t *object)
{
	const char *mirror = json_string_value(json_object_get(json_at(object, "metadata", "annotations"), "kubernetes.io/config.mirror"));

	return mirror && *mirror && strlen(mirror) <= 128 ? mirror : meta->uid;
}

static int pod_upsert(struct model *m, const struct decoded_meta *of, const json_t *object, char **ret_error)
{
	struct decoded_meta own = *of, *meta = &own;
	struct model_pod *p = model_find_pod(m, meta->namespace_, meta->name);
	struct decoded_pod d;
	bool changed;

	if (decode_pod(object, &d, ret_error) < 0)
		return -EINVAL;
	own.uid = runtime_uid(of, object);
	if (p && !streq(p->uid, meta->uid)) { /* another pod of the same name: its deletion has been missed */
		tell(m, MODEL_PODS, p, true);
		pod_remove(m, p);
		p = NULL;
	}
	changed = !p;
	if (!p)
		p = pod_new(m, meta, d.node);
	p->generation = m->generation[MODEL_PODS];
	changed |= pod_update(m, p, meta, &d);
	changed |= host_ports_replace(m, p, meta->created, &d, changed);
	changed |= replace_labels(m, &p->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
	changed |= pod_ports_replace(m, p, d.ports, d.n_ports);
	return changed ? model_touched(m, MODEL_PODS) : 0;
}

struct model_pod *model_find_pod_by_addr(const struct model *m, const struct addr *a)
{
	int slot = addr_is_v4(a) ? 0 : 1;
	uint64_t h = hash_mem(a, sizeof(*a));
	struct model_pod *best = NULL;

	for (struct htab_node *i = htab_first(&m->pod_addrs, h); i; i = i->next) {
		struct model_pod_addr *entry = container_of(i, struct model_pod_addr, node);
		struct model_pod *p = container_of(entry - slot, struct model_pod, addrs[0]);

		/* of the other family the slot, and with it the pod, would be wrong: compare first */
		if (i->hash == h && addr_eq(&entry->addr, a) && (!best || p->serial > best->serial))
			best = p;
	}
	return best;
}

void model_each_pod(const struct model *m, model_pod_fn *fn, void *ctx)
{
	const struct htab *t = &m->tables[MODEL_PODS];

	for (struct htab_node *i = htab_begin(t); i; i = htab_next(t, i))
		if (!fn(container_of(i, struct model_pod, by_name), ctx))
			return;
}

void model_each_pod_on(const struct model *m, const char *node, model_pod_fn *fn, void *ctx)
{
	struct pods_of *of = find_pods_of(m, node);
	struct model_pod *p;

	if (!of)
		return;
	list_for_each(p, &of->pods, by_node)
		if (!fn(p, ctx))
			return;
}

/* --- namespaces --- */

struct model_namespace *model_find_namespace(const struct model *m, const char *name)
{
	struct model_namespace *n;

	HTAB_FIND(&m->tables[MODEL_NAMESPACES], model_hash_name("", name), n, by_name, streq(n->name, name));
	return n;
}

static void namespace_remove(struct model *m, void *object)
{
	struct model_namespace *n = object;

	htab_remove(&m->tables[MODEL_NAMESPACES], &n->by_name);
	model_labels_put(m, n->labels);
	free((char *)n->name);
	free(n);
}

static int namespace_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object,
			    char **ret_error _unused_)
{
	struct model_namespace *n = model_find_namespace(m, meta->name);
	bool changed = !n;

	if (!n) {
		n = xnew0(struct model_namespace);
		n->name = xstrdup(meta->name);
		htab_insert(&m->tables[MODEL_NAMESPACES], model_hash_name("", meta->name), &n->by_name);
	}
	n->generation = m->generation[MODEL_NAMESPACES];
	changed |= replace_labels(m, &n->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
	return changed ? model_touched(m, MODEL_NAMESPACES) : 0;
}

/* --- network policies --- */

static struct model_policy *find_policy(const struct model *m, enum model_table table, const char *namespace_, const char *name)
{
	struct model_policy *p;

	HTAB_FIND(&m->tables[table], model_hash_name(namespace_, name), p, by_name,
		  streq(p->namespace_, namespace_) && streq(p->name, name));
	return p;
}

struct model_policy *model_find_policy(const struct model *m, const char *namespace_, const char *name)
{
	return find_policy(m, MODEL_POLICIES, namespace_, name);
}

struct model_policy *model_find_policy_of(const struct model *m, enum model_table table, const char *namespace_, const char *name)
{
	return find_policy(m, table, namespace_, name);
}

static void policy_remove(struct model *m, void *object)
{
	struct model_policy *p = object;

	htab_remove(&m->tables[p->table], &p->by_name);
	model_unintern(m, p->namespace_);
	json_decref(p->spec);
	json_decref(p->condition);
	free((char *)p->name);
	free((char *)p->uid);
	free((char *)p->mode);
	free((char *)p->subject);
	free(p);
}

static void note_status(struct model_policy *p, const json_t *object)
{
	const json_t *conditions = json_at(object, "status", "conditions"), *c;
	size_t i;

	p->object_generation = json_integer_value(json_at(object, "metadata", "generation"));
	json_decref(p->condition);
	p->condition = NULL;
	json_array_foreach(conditions, i, c)
		if (streq(json_str_at(c, "type"), "Accepted"))
			p->condition = json_incref((json_t *)c);
}

/* NULL is the same as NULL only. */
static bool same_text(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static int upsert_policy(struct model *m, enum model_table table, const struct decoded_meta *meta, const json_t *object,
			 char **ret_error)
{
	struct model_policy *p = find_policy(m, table, meta->namespace_, meta->name);
	json_t *spec = json_object_get(object, "spec");
	const char *mode = json_str_at(object, "metadata", "annotations", "weft.dev/mode");
	const char *subject = json_str_at(object, "metadata", "annotations", "weft.dev/subject");

	if (!json_is_object(spec)) {
		if (ret_error)
			*ret_error = xstrdup("spec: expected an object");
		return -EINVAL;
	}
	if (!p) {
		p = xnew0(struct model_policy);
		p->table = table;
		p->namespace_ = model_intern(m, meta->namespace_);
		p->name = xstrdup(meta->name);
		htab_insert(&m->tables[table], model_hash_name(meta->namespace_, meta->name), &p->by_name);
	}
	p->generation = m->generation[table];
	if (table != MODEL_POLICIES)
		note_status(p, object);
	if (p->spec && json_equal(p->spec, spec) && streq(p->uid, meta->uid) && same_text(p->mode, mode) && same_text(p->subject, subject))
		return 0;
	json_decref(p->spec);
	p->spec = json_incref(spec);
	free((char *)p->uid);
	p->uid = xstrdup(meta->uid);
	free((char *)p->mode);
	p->mode = mode ? xstrdup(mode) : NULL;
	free((char *)p->subject);
	p->subject = subject ? xstrdup(subject) : NULL;
	return model_touched(m, table);
}

static int policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_POLICIES, meta, object, ret_error);
}

static int cluster_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_CLUSTER_POLICIES, meta, object, ret_error);
}

static int admin_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_ADMIN_POLICIES, meta, object, ret_error);
}

static int baseline_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_BASELINE_POLICIES, meta, object, ret_error);
}

void model_each_policy(const struct model *m, enum model_table table, model_policy_fn *fn, void *ctx)
{
	const struct htab *t = &m->tables[table];

	for (struct htab_node *i = htab_begin(t); i; i = htab_next(t, i))
		if (!fn(container_of(i, struct model_policy, by_name), ctx))
			return;
}

/* --- all kinds alike --- */

static const struct kind {
	bool namespaced;
	size_t generation; /* where it is in an object; by_name is first in each */
	int (*upsert)(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error);
	void (*remove)(struct model *m, void *object);
} kinds[MODEL_TABLES] = {
    [MODEL_NODES] = {false, offsetof(struct model_node, generation), node_upsert, node_remove},
    [MODEL_PODS] = {true, offsetof(struct model_pod, generation), pod_upsert, pod_remove},
    [MODEL_NAMESPACES] = {false, offsetof(struct model_namespace, generation), namespace_upsert, namespace_remove},
    [MODEL_POLICIES] = {true, offsetof(struct model_policy, generation), policy_upsert, policy_remove},
    [MODEL_MESH_NODES] = {false, offsetof(struct model_mesh_node, generation), model_mesh_node_upsert, model_mesh_node_remove},
    [MODEL_SERVICES] = {true, offsetof(struct model_service, generation), service_upsert, service_remove},
    [MODEL_SLICES] = {true, offsetof(struct model_slice, generation), slice_upsert, slice_remove},
    [MODEL_CLUSTER_POLICIES] = {false, offsetof(struct model_policy, generation), cluster_policy_upsert, policy_remove},
    [MODEL_ADMIN_POLICIES] = {false, offsetof(struct model_policy, generation), admin_policy_upsert, policy_remove},
    [MODEL_BASELINE_POLICIES] = {false, offsetof(struct model_policy, generation), baseline_policy_upsert, policy_remove},
};

static void *find_object(const struct model *m, enum model_table table, const char *namespace_, const char *name)
{
	switch (table) {
	case MODEL_NODES:
		return model_find_node(m, name);
	case MODEL_PODS:
		return model_find_pod(m, namespace_, name);
	case MODEL_NAMESPACES:
		return model_find_namespace(m, name);
	case MODEL_POLICIES:
		return model_find_policy(m, namespace_, name);
	case MODEL_MESH_NODES:
		return model_find_mesh_node(m, name);
	case MODEL_SERVICES:
		return model_find_service(m, namespace_, name);
	case MODEL_SLICES:
		return model_find_slice(m, namespace_, name);
	case MODEL_CLUSTER_POLICIES:
	case MODEL_ADMIN_POLICIES:
	case MODEL_BASELINE_POLICIES:
		return find_policy(m, table, "", name);
	case MODEL_TABLES:
		break;
	}
	return NULL;
}

static unsigned *generation_of(enum model_table table, void *object)
{
	return (unsigned *)((char *)object + kinds[table].generation);
}

/* --- what is refused --- */

static uint64_t hash_refused(enum model_table table, const char *name)
{
	return hash_str(name) * 31 + table;
}

static struct model_refused *find_refused(const struct model *m, enum model_table table, const char *name)
{
	struct model_refused *r;

	HTAB_FIND(&m->refused, hash_refused(table, name), r, node, r->table == table && streq(r->name, name));
	return r;
}

static void forget_refused(struct model *m, struct model_refused *r)
{
	if (!r)
		return;
	htab_remove(&m->refused, &r->node);
	free(r->name);
	free(r->reason);
	free(r);
}

/* "default/a", made printable: it may be refused for its name. */
static char *refused_name(const struct decoded_meta *meta)
{
	_cleanup_free_ char *raw = NULL;
	char *clean;

	if (meta->namespace_ && *meta->namespace_)
		raw = xasprintf("%.253s/%.253s", meta->namespace_, meta->name ? meta->name : "");
	else
		raw = xasprintf("%.253s", meta->name ? meta->name : "");
	clean = xmalloc(1024);
	str_escape(clean, 1024, raw);
	return clean;
}

static int remember_refused(struct model *m, enum model_table table, const struct decoded_meta *meta,
			    const char *reason, char **ret_error)
{
	_cleanup_free_ char *name = refused_name(meta);
	struct model_refused *r = find_refused(m, table, name);
	char clean[512];

	str_escape(clean, sizeof(clean), reason ? reason : "bad object");
	if (ret_error)
		*ret_error = xasprintf("%s %s: %s", kind_name(table), name, clean);
	if (!r && m->refused.count < REFUSED_MAX) {
		r = xnew0(struct model_refused);
		r->table = table;
		r->name = xstrdup(name);
		htab_insert(&m->refused, hash_refused(table, name), &r->node);
	}
	if (r) {
		free(r->reason);
		r->reason = xstrdup(clean);
		r->generation = m->generation[table];
	}
	return -EINVAL;
}

size_t model_refused_count(const struct model *m)
{
	return m->refused.count;
}

void model_each_refused(const struct model *m, model_refused_fn *fn, void *ctx)
{
	for (struct htab_node *i = htab_begin(&m->refused); i; i = htab_next(&m->refused, i))
		if (!fn(container_of(i, struct model_refused, node), ctx))
			return;
}

static void forget_refused_name(struct model *m, enum model_table table, const struct decoded_meta *meta)
{
	_cleanup_free_ char *name = m->refused.count ? refused_name(meta) : NULL;

	if (name)
		forget_refused(m, find_refused(m, table, name));
}

/* --- in and out --- */

int model_upsert(struct model *m, enum model_table table, const json_t *object, char **ret_error)
{
	_cleanup_free_ char *reason = NULL;
	struct decoded_meta meta;
	void *known;
	int r;

	r = decode_meta(object, kinds[table].namespaced, &meta, &reason);
	if (r == 0)
		r = kinds[table].upsert(m, &meta, object, &reason);
	if (r >= 0) {
		forget_refused_name(m, table, &meta);
		if (r > 0)
			tell(m, table, find_object(m, table, meta.namespace_, meta.name), false);
		return r;
	}
	known = meta.name && meta.namespace_ ? find_object(m, table, meta.namespace_, meta.name) : NULL;
	if (known)
		*generation_of(table, known) = m->generation[table];
	return remember_refused(m, table, &meta, reason, ret_error);
}

int model_delete(struct model *m, enum model_table table, const json_t *object)
{
	struct decoded_meta meta = {.name = json_str_at(object, "metadata", "name"),
				    .namespace_ =
					kinds[table].namespaced ? json_str_at(object, "metadata", "namespace") : ""};
	void *known;

	if (!meta.name || !meta.namespace_)
		return -EINVAL;
	forget_refused_name(m, table, &meta);
	known = find_object(m, table, meta.namespace_, meta.name);
	if (!known)
		return 0;
	tell(m, table, known, true);
	kinds[table].remove(m, known);
	return model_touched(m, table);
}

void model_replace_begin(struct model *m, enum model_table table)
{
	m->generation[table]++;
	m->replacing[table] = true;
}

static void sweep_refused(struct model *m, enum model_table table)
{
	struct htab_node *i, *next;

	for (i = htab_begin(&m->refused); i; i = next) {
		struct model_refused *r = container_of(i, struct model_refused, node);

		next = htab_next(&m->refused, i);
		if (r->table == table && r->generation != m->generation[table])
			forget_refused(m, r);
	}
}

size_t model_replace_end(struct model *m, enum model_table table)
{
	struct htab *t = &m->tables[table];
	struct htab_node *i, *next;
	size_t removed = 0;

	if (!m->replacing[table])
		return 0;
	m->replacing[table] = false;
	for (i = htab_begin(t); i; i = next) {
		next = htab_next(t, i);
		if (*generation_of(table, i) != m->generation[table]) {
			tell(m, table, i, true);
			kinds[table].remove(m, i);
			removed++;
		}
	}
	sweep_refused(m, table);
	if (removed)
		model_touched(m, table);
	return removed;
}

struct model *model_new(void)
{
	struct model *m = xnew0(struct model);

	list_init(&m->dirty_services);
	list_init(&m->host_pods);
	return m;
}

struct model *model_free(struct model *m)
{
	struct htab_node *i;

	if (!m)
		return NULL;
	for (int table = 0; table < MODEL_TABLES; table++) {
		while ((i = htab_begin(&m->tables[table])))
			kinds[table].remove(m, i);
		htab_done(&m->tables[table]);
	}
	while ((i = htab_begin(&m->refused)))
		forget_refused(m, container_of(i, struct model_refused, node));
	htab_done(&m->refused);
	htab_done(&m->pod_addrs);
	htab_done(&m->node_addrs);
	htab_done(&m->pods_by_node);
	services_done(m);
	assert(m->strings.count == 0 && m->labels.count == 0); /* every get had its put */
	htab_done(&m->strings);
	htab_done(&m->labels);
	free(m);
	return NULL;
}

void model_on_change(struct model *m, model_changed_fn *fn, void *ctx)
{
	m->changed = fn;
	m->changed_ctx = ctx;
}

void model_on_object(struct model *m, model_object_fn *fn, void *ctx)
{
	m->on_object = fn;
	m->object_ctx = ctx;
}

unsigned model_take_dirty(struct model *m)
{
	unsigned dirty = m->dirty;

	m->dirty = 0;
	return dirty;
}

size_t model_count(const struct model *m, enum model_table table)
{
	return m->tables[table].count;
}
