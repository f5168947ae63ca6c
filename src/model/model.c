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

uint64_t model_hash_name(const char *namespace_, const char *name)
{
	return hash_str(namespace_) * 31 + hash_str(name);
}

const char *model_table_name(enum model_table table)
{
	static const char *const names[] = {"nodes", "pods", "namespaces", "networkpolicies", "meshnodes", "services", "endpointslices", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"};

	return names[table];
}

void model_tell(struct model *m, enum model_table table, void *object, bool gone)
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
		return model_find_policy_of(m, table, "", name);
	case MODEL_TABLES:
		break;
	}
	return NULL;
}

static unsigned *generation_of(enum model_table table, void *object)
{
	return (unsigned *)((char *)object + kinds[table].generation);
}

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
		refused_forget(m, table, &meta);
		if (r > 0)
			model_tell(m, table, find_object(m, table, meta.namespace_, meta.name), false);
		return r;
	}
	known = meta.name && meta.namespace_ ? find_object(m, table, meta.namespace_, meta.name) : NULL;
	if (known)
		*generation_of(table, known) = m->generation[table];
	return refused_remember(m, table, &meta, reason, ret_error);
}

int model_delete(struct model *m, enum model_table table, const json_t *object)
{
	struct decoded_meta meta = {.name = json_str_at(object, "metadata", "name"),
				    .namespace_ =
					kinds[table].namespaced ? json_str_at(object, "metadata", "namespace") : ""};
	void *known;

	if (!meta.name || !meta.namespace_)
		return -EINVAL;
	refused_forget(m, table, &meta);
	known = find_object(m, table, meta.namespace_, meta.name);
	if (!known)
		return 0;
	model_tell(m, table, known, true);
	kinds[table].remove(m, known);
	return model_touched(m, table);
}

void model_replace_begin(struct model *m, enum model_table table)
{
	m->generation[table]++;
	m->replacing[table] = true;
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
			model_tell(m, table, i, true);
			kinds[table].remove(m, i);
			removed++;
		}
	}
	refused_sweep(m, table);
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
		while ((i = htab_any(&m->tables[table])))
			kinds[table].remove(m, i);
		htab_done(&m->tables[table]);
	}
	refused_done(m);
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
