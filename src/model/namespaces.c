/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces: their labels. */
#include "model/model_internal.h"

struct model_namespace *model_find_namespace(const struct model *m, const char *name)
{
	struct model_namespace *n;

	HTAB_FIND(&m->tables[MODEL_NAMESPACES], model_hash_name("", name), n, by_name, streq(n->name, name));
	return n;
}

void namespace_remove(struct model *m, void *object)
{
	struct model_namespace *n = object;

	htab_remove(&m->tables[MODEL_NAMESPACES], &n->by_name);
	model_labels_put(m, n->labels);
	free((char *)n->name);
	free(n);
}

int namespace_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object,
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
	changed |= model_replace_labels(m, &n->labels, model_labels_get(m, json_at(object, "metadata", "labels"), NULL));
	return changed ? model_touched(m, MODEL_NAMESPACES) : 0;
}
