/* SPDX-License-Identifier: Apache-2.0 */
/* What could not be read, and why: until the object is good, or gone. */
#include "model/model_internal.h"

enum { REFUSED_MAX = 1000 };

static const char *kind_name(enum model_table table)
{
	static const char *const names[] = {"Node", "Pod", "Namespace", "NetworkPolicy", "MeshNode", "Service", "EndpointSlice",
					    "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"};

	return names[table];
}

static uint64_t hash(enum model_table table, const char *name)
{
	return hash_str(name) * 31 + table;
}

static struct model_refused *find(const struct model *m, enum model_table table, const char *name)
{
	struct model_refused *r;

	HTAB_FIND(&m->refused, hash(table, name), r, node, r->table == table && streq(r->name, name));
	return r;
}

static void forget(struct model *m, struct model_refused *r)
{
	if (!r)
		return;
	htab_remove(&m->refused, &r->node);
	free(r->name);
	free(r->reason);
	free(r);
}

/* "default/a", made printable: it may be refused for its name. */
static char *name_of(const struct decoded_meta *meta)
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

int refused_remember(struct model *m, enum model_table table, const struct decoded_meta *meta,
			    const char *reason, char **ret_error)
{
	_cleanup_free_ char *name = name_of(meta);
	struct model_refused *r = find(m, table, name);
	char clean[512];

	str_escape(clean, sizeof(clean), reason ? reason : "bad object");
	if (ret_error)
		*ret_error = xasprintf("%s %s: %s", kind_name(table), name, clean);
	if (!r && m->refused.count < REFUSED_MAX) {
		r = xnew0(struct model_refused);
		r->table = table;
		r->name = xstrdup(name);
		htab_insert(&m->refused, hash(table, name), &r->node);
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

void refused_forget(struct model *m, enum model_table table, const struct decoded_meta *meta)
{
	_cleanup_free_ char *name = m->refused.count ? name_of(meta) : NULL;

	if (name)
		forget(m, find(m, table, name));
}

void refused_sweep(struct model *m, enum model_table table)
{
	struct htab_node *i, *next;

	for (i = htab_begin(&m->refused); i; i = next) {
		struct model_refused *r = container_of(i, struct model_refused, node);

		next = htab_next(&m->refused, i);
		if (r->table == table && r->generation != m->generation[table])
			forget(m, r);
	}
}

void refused_done(struct model *m)
{
	struct htab_node *i;

	while ((i = htab_any(&m->refused)))
		forget(m, container_of(i, struct model_refused, node));
	htab_done(&m->refused);
}
