/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, by name and by address. */
#include "model/model_internal.h"

struct model_node *model_find_node(const struct model *m, const char *name)
{
	struct model_node *n;

	HTAB_FIND(&m->tables[MODEL_NODES], model_hash_name("", name), n, by_name, streq(n->name, name));
	return n;
}

static void node_unindex(struct model *m, struct model_node *n)
{
	for (unsigned i = 0; n->by_addr && i < n->n_addrs + n->n_external; i++)
		htab_remove(&m->node_addrs, &n->by_addr[i].node);
	free(n->by_addr);
	n->by_addr = NULL;
}

static void node_index(struct model *m, struct model_node *n)
{
	n->by_addr = xnew0_array(struct model_node_addr, n->n_addrs + n->n_external);
	for (unsigned i = 0; i < n->n_addrs + n->n_external; i++) {
		n->by_addr[i].addr = n->addrs[i];
		n->by_addr[i].of = n;
		n->by_addr[i].external = i >= n->n_addrs;
		htab_insert(&m->node_addrs, hash_mem(&n->addrs[i], sizeof(struct addr)), &n->by_addr[i].node);
	}
}

void node_remove(struct model *m, void *object)
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
	       n->n_addrs == d->n_addrs && n->n_external == d->n_external && memcmp(n->cidrs, d->cidrs, sizeof(n->cidrs)) == 0 &&
	       memcmp(n->addrs, d->addrs, sizeof(n->addrs)) == 0;
}

int node_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
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
		n->n_external = d.n_external;
		n->leaving = meta->deleting || d.leaving;
		n->ready = d.ready;
		n->cordoned = d.cordoned;
		node_index(m, n);
	}
	changed |= model_replace_labels(m, &n->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
	changed |= model_replace_labels(m, &n->annotations,
				  model_labels_get(m, json_at(object, "metadata", "annotations"), "weft.dev/"));
	model_replace_string(m, &n->zone, model_label(n->labels, "topology.kubernetes.io/zone"));
	model_replace_string(m, &n->region, model_label(n->labels, "topology.kubernetes.io/region"));
	return changed ? model_touched(m, MODEL_NODES) : 0;
}

struct model_node *model_find_node_by_addr(const struct model *m, const struct addr *a)
{
	uint64_t h = hash_mem(a, sizeof(*a));
	struct model_node *best = NULL;

	for (struct htab_node *i = htab_first(&m->node_addrs, h); i; i = i->next) {
		struct model_node_addr *entry = container_of(i, struct model_node_addr, node);

		if (i->hash == h && !entry->external && addr_eq(&entry->addr, a) && (!best || strcmp(entry->of->name, best->name) < 0))
			best = entry->of;
	}
	return best;
}

bool model_is_node_addr(const struct model *m, const struct addr *a)
{
	struct model_node_addr *entry;

	HTAB_FIND(&m->node_addrs, hash_mem(a, sizeof(*a)), entry, node, addr_eq(&entry->addr, a));
	return entry;
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
