/* SPDX-License-Identifier: Apache-2.0 */
/* Interned strings and label sets. The replicas of a workload have the same labels (but for a hash or two), and names
 * of nodes, namespaces and label keys repeat by the thousand: each is kept once, with a count. */
#include "model/model_internal.h"

struct interned {
	struct htab_node node;
	unsigned refs;
	char text[];
};

const char *model_intern(struct model *m, const char *s)
{
	uint64_t h = hash_str(s);
	struct interned *i;

	HTAB_FIND(&m->strings, h, i, node, streq(i->text, s));
	if (!i) {
		size_t n = strlen(s) + 1;

		i = xmalloc(sizeof(*i) + n);
		i->refs = 0;
		memcpy(i->text, s, n);
		htab_insert(&m->strings, h, &i->node);
	}
	i->refs++;
	return i->text;
}

void model_unintern(struct model *m, const char *s)
{
	struct interned *i;

	if (!s)
		return;
	i = container_of(s, struct interned, text);
	if (--i->refs)
		return;
	htab_remove(&m->strings, &i->node);
	free(i);
}

static int cmp_pair(const void *a, const void *b)
{
	const struct model_pair *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static uint64_t hash_pairs(const struct model_pair *kv, unsigned n)
{
	uint64_t h = n;

	/* the strings are interned already: their addresses are their identities */
	for (unsigned i = 0; i < n; i++)
		h = h * 31 + hash_mem(&kv[i], sizeof(kv[i]));
	return h;
}

static bool same_pairs(const struct model_labels *l, const struct model_pair *kv, unsigned n)
{
	return l->n == n && memcmp(l->kv, kv, n * sizeof(*kv)) == 0;
}

struct model_labels *model_labels_get(struct model *m, const json_t *object, const char *prefix)
{
	unsigned n = 0;
	_cleanup_free_ struct model_pair *kv = xnew0_array(struct model_pair, json_object_size(object));
	struct model_labels *l;
	const char *key;
	json_t *value;
	uint64_t h;

	json_object_foreach((json_t *)object, key, value)
		if (json_is_string(value) && (!prefix || str_has_prefix(key, prefix)))
			kv[n++] = (struct model_pair){model_intern(m, key), model_intern(m, json_string_value(value))};
	qsort(kv, n, sizeof(*kv), cmp_pair);
	h = hash_pairs(kv, n);
	HTAB_FIND(&m->labels, h, l, node, same_pairs(l, kv, n));
	if (l) {
		for (unsigned i = 0; i < n; i++) {
			model_unintern(m, kv[i].key);
			model_unintern(m, kv[i].value);
		}
		l->refs++;
		return l;
	}
	l = xmalloc(sizeof(*l) + n * sizeof(*kv));
	l->refs = 1;
	l->n = n;
	memcpy(l->kv, kv, n * sizeof(*kv));
	htab_insert(&m->labels, h, &l->node);
	return l;
}

void model_labels_put(struct model *m, struct model_labels *l)
{
	if (!l || --l->refs)
		return;
	for (unsigned i = 0; i < l->n; i++) {
		model_unintern(m, l->kv[i].key);
		model_unintern(m, l->kv[i].value);
	}
	htab_remove(&m->labels, &l->node);
	free(l);
}

const char *model_label(const struct model_labels *l, const char *key)
{
	struct model_pair want = {.key = key};
	const struct model_pair *found;

	if (!l)
		return NULL;
	found = bsearch(&want, l->kv, l->n, sizeof(l->kv[0]), cmp_pair);
	return found ? found->value : NULL;
}

void model_replace_string(struct model *m, const char **at, const char *s)
{
	const char *old = *at;

	*at = model_intern(m, s ? s : "");
	model_unintern(m, old);
}

bool model_replace_labels(struct model *m, struct model_labels **at, struct model_labels *labels)
{
	bool changed = *at != labels;

	model_labels_put(m, *at);
	*at = labels;
	return changed;
}
