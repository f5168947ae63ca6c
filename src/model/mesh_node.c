/* SPDX-License-Identifier: Apache-2.0 */
/* MeshNodes: the keys by which nodes know each other, and where they may be reached. */
#include "base/base64.h"
#include "model/model_internal.h"

struct decoded_mesh_node {
	uint8_t key[MESH_KEY_LEN], next_key[MESH_KEY_LEN];
	bool has_next;
	struct model_mesh_endpoint endpoints[MESH_ENDPOINTS_MAX];
	unsigned n_endpoints;
};

static int decode_endpoints(const json_t *list, struct decoded_mesh_node *ret, char **ret_error)
{
	const json_t *v;
	size_t i;

	if (list && !json_is_array(list) && !json_is_null(list))
		return decode_refuse(ret_error, "spec.endpoints: expected a list");
	if (json_array_size(list) > MESH_ENDPOINTS_MAX)
		return decode_refuse(ret_error, "spec.endpoints: more than 32");
	json_array_foreach(list, i, v) {
		struct model_mesh_endpoint *e = &ret->endpoints[i];

		if (addr_port_parse(json_str_or(v, ""), &e->addr, &e->port) < 0 || e->port == 0)
			return decode_refuse(ret_error, "spec.endpoints: expected ADDRESS:PORT or [ADDRESS]:PORT");
	}
	ret->n_endpoints = json_array_size(list);
	return 0;
}

static int decode(const json_t *object, struct decoded_mesh_node *ret, char **ret_error)
{
	const json_t *spec = json_object_get(object, "spec"), *next = json_object_get(spec, "nextKey");

	memset(ret, 0, sizeof(*ret)); /* compared as bytes */
	if (base64_decode(json_str_or(json_object_get(spec, "publicKey"), ""), ret->key, MESH_KEY_LEN) < 0)
		return decode_refuse(ret_error, "spec.publicKey: expected 32 bytes in base64");
	ret->has_next = next && !json_is_null(next);
	if (ret->has_next && base64_decode(json_str_or(next, ""), ret->next_key, MESH_KEY_LEN) < 0)
		return decode_refuse(ret_error, "spec.nextKey: expected 32 bytes in base64");
	return decode_endpoints(json_object_get(spec, "endpoints"), ret, ret_error);
}

struct model_mesh_node *model_find_mesh_node(const struct model *m, const char *name)
{
	struct model_mesh_node *n;

	HTAB_FIND(&m->tables[MODEL_MESH_NODES], hash_str(name), n, by_name, streq(n->name, name));
	return n;
}

void model_mesh_node_remove(struct model *m, void *object)
{
	struct model_mesh_node *n = object;

	htab_remove(&m->tables[MODEL_MESH_NODES], &n->by_name);
	free((char *)n->name);
	free((char *)n->uid);
	free(n);
}

static bool same(const struct model_mesh_node *n, const struct decoded_meta *meta, const struct decoded_mesh_node *d)
{
	return streq(n->uid, meta->uid) && n->created == meta->created && n->has_next == d->has_next &&
	       n->n_endpoints == d->n_endpoints && memcmp(n->key, d->key, MESH_KEY_LEN) == 0 &&
	       memcmp(n->next_key, d->next_key, MESH_KEY_LEN) == 0 &&
	       memcmp(n->endpoints, d->endpoints, sizeof(n->endpoints)) == 0;
}

int model_mesh_node_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	struct model_mesh_node *n = model_find_mesh_node(m, meta->name);
	struct decoded_mesh_node d;
	bool is_new = !n;

	if (decode(object, &d, ret_error) < 0)
		return -EINVAL;
	if (is_new) {
		n = xnew0(struct model_mesh_node);
		n->name = xstrdup(meta->name);
		htab_insert(&m->tables[MODEL_MESH_NODES], hash_str(meta->name), &n->by_name);
	}
	n->generation = m->generation[MODEL_MESH_NODES];
	if (!is_new && same(n, meta, &d))
		return 0;
	free((char *)n->uid);
	n->uid = xstrdup(meta->uid);
	n->created = meta->created;
	n->has_next = d.has_next;
	n->n_endpoints = d.n_endpoints;
	memcpy(n->key, d.key, MESH_KEY_LEN);
	memcpy(n->next_key, d.next_key, MESH_KEY_LEN);
	memcpy(n->endpoints, d.endpoints, sizeof(n->endpoints));
	return model_touched(m, MODEL_MESH_NODES);
}

static int cmp_name(const void *a, const void *b)
{
	return strcmp((*(struct model_mesh_node *const *)a)->name, (*(struct model_mesh_node *const *)b)->name);
}

struct model_mesh_node **model_mesh_nodes_sorted(const struct model *m, size_t *ret_n)
{
	const struct htab *t = &m->tables[MODEL_MESH_NODES];
	struct model_mesh_node **list = xnew0_array(struct model_mesh_node *, t->count + 1);
	size_t n = 0;

	for (struct htab_node *i = htab_begin(t); i; i = htab_next(t, i))
		list[n++] = container_of(i, struct model_mesh_node, by_name);
	qsort(list, n, sizeof(*list), cmp_name);
	*ret_n = n;
	return list;
}
