/* SPDX-License-Identifier: Apache-2.0 */
/* Pods, by name, by address and by node. Of two pods that claim one address the one that came later has it. */
#include "model/model_internal.h"

struct pods_of {
	struct htab_node link;
	const char *node; /* interned */
	struct list pods;
};

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

void pod_remove(struct model *m, void *object)
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
		model_replace_string(m, &p->node, d->node);
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

int pod_upsert(struct model *m, const struct decoded_meta *of, const json_t *object, char **ret_error)
{
	struct decoded_meta own = *of, *meta = &own;
	struct model_pod *p = model_find_pod(m, meta->namespace_, meta->name);
	struct decoded_pod d;
	bool changed;

	if (decode_pod(object, &d, ret_error) < 0)
		return -EINVAL;
	own.uid = runtime_uid(of, object);
	if (p && !streq(p->uid, meta->uid)) { /* another pod of the same name: its deletion has been missed */
		model_tell(m, MODEL_PODS, p, true);
		pod_remove(m, p);
		p = NULL;
	}
	changed = !p;
	if (!p)
		p = pod_new(m, meta, d.node);
	p->generation = m->generation[MODEL_PODS];
	changed |= pod_update(m, p, meta, &d);
	changed |= host_ports_replace(m, p, meta->created, &d, changed);
	changed |= model_replace_labels(m, &p->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
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
