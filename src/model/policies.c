/* SPDX-License-Identifier: Apache-2.0 */
/* Policies of all four kinds: what they say is left as the text that it is, for the compiler of policies to read. */
#include "model/model_internal.h"

struct model_policy *model_find_policy_of(const struct model *m, enum model_table table, const char *namespace_, const char *name)
{
	struct model_policy *p;

	HTAB_FIND(&m->tables[table], model_hash_name(namespace_, name), p, by_name,
		  streq(p->namespace_, namespace_) && streq(p->name, name));
	return p;
}

struct model_policy *model_find_policy(const struct model *m, const char *namespace_, const char *name)
{
	return model_find_policy_of(m, MODEL_POLICIES, namespace_, name);
}

void policy_remove(struct model *m, void *object)
{
	struct model_policy *p = object;

	htab_remove(&m->tables[p->table], &p->by_name);
	model_unintern(m, p->namespace_);
	free(p->spec);
	json_decref(p->condition);
	free((char *)p->name);
	free((char *)p->uid);
	free((char *)p->mode);
	free((char *)p->subject);
	free(p);
}

static void note_status(struct model_policy *p, const json_t *object)
{
	p->object_generation = json_integer_value(json_at(object, "metadata", "generation"));
	json_decref(p->condition);
	p->condition = json_incref(json_condition(object, "Accepted"));
}

/* NULL is the same as NULL only. */
static bool same_text(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static int upsert_policy(struct model *m, enum model_table table, const struct decoded_meta *meta, const json_t *object,
			 char **ret_error)
{
	struct model_policy *p = model_find_policy_of(m, table, meta->namespace_, meta->name);
	const json_t *spec = json_object_get(object, "spec");
	_cleanup_free_ char *text = NULL;
	const char *mode = json_str_at(object, "metadata", "annotations", "weft.dev/mode");
	const char *subject = json_str_at(object, "metadata", "annotations", "weft.dev/subject");

	if (!json_is_object(spec))
		return decode_refuse(ret_error, "spec: expected an object");
	text = json_text(spec);
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
	if (streq(p->spec, text) && streq(p->uid, meta->uid) && same_text(p->mode, mode) && same_text(p->subject, subject))
		return 0;
	free(p->spec);
	p->spec = take_ptr(text);
	free((char *)p->uid);
	p->uid = xstrdup(meta->uid);
	free((char *)p->mode);
	p->mode = mode ? xstrdup(mode) : NULL;
	free((char *)p->subject);
	p->subject = subject ? xstrdup(subject) : NULL;
	return model_touched(m, table);
}

int policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_POLICIES, meta, object, ret_error);
}

int cluster_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_CLUSTER_POLICIES, meta, object, ret_error);
}

int admin_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
{
	return upsert_policy(m, MODEL_ADMIN_POLICIES, meta, object, ret_error);
}

int baseline_policy_upsert(struct model *m, const struct decoded_meta *meta, const json_t *object, char **ret_error)
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
