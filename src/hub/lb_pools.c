/* SPDX-License-Identifier: Apache-2.0 */
/* A range that meets the cluster's own ranges, or one of an older pool, is left out as a whole and the pool says so: half a
 * range would be a surprise. A node's address is different: nodes come and go in the very networks whose free addresses pools
 * hold, so only that address is left out. */
#include "hub/lb_pools.h"
#include "base/str.h"

static bool has_value(const json_t *values, const char *s)
{
	json_t *v;
	size_t i;

	json_array_foreach(values, i, v)
		if (streq(json_string_value(v), s))
			return true;
	return false;
}

static bool expression_matches(const json_t *e, const json_t *labels)
{
	const char *op = json_str_or(json_object_get(e, "operator"), "");
	const char *value = json_string_value(json_object_get(labels, json_str_or(json_object_get(e, "key"), "")));
	bool listed = value && has_value(json_object_get(e, "values"), value);

	if (streq(op, "In"))
		return listed;
	if (streq(op, "NotIn"))
		return !listed;
	if (streq(op, "Exists"))
		return value;
	return streq(op, "DoesNotExist") && !value;
}

bool label_selector_matches(const json_t *selector, const json_t *labels)
{
	json_t *want, *e;
	const char *key;
	size_t i;

	json_object_foreach(json_object_get(selector, "matchLabels"), key, want)
		if (!streq(json_string_value(json_object_get(labels, key)), json_str_or(want, "")))
			return false;
	json_array_foreach(json_object_get(selector, "matchExpressions"), i, e)
		if (!expression_matches(e, labels))
			return false;
	return true;
}

static const char *name_of(const json_t *obj)
{
	return json_str_or(json_at(obj, "metadata", "name"), "");
}

/* ---- what is taken ---- */

static struct lb_use *find_use(const struct lb_pools *p, const struct addr *a)
{
	struct lb_use *u = NULL;

	HTAB_FIND(&p->used, hash_mem(a, sizeof(*a)), u, node, addr_eq(&u->addr, a));
	return u;
}

const struct lb_use *lb_pools_use(const struct lb_pools *p, const struct addr *a)
{
	const struct lb_use *u = find_use(p, a);

	return u && !u->is_claim ? u : NULL;
}

/* Return: what is noted; whoever was first stays, but a claim yields. */
static struct lb_use *use(struct lb_pools *p, const struct addr *a, const json_t *by)
{
	struct lb_use *u = find_use(p, a);

	if (u && u->is_claim) {
		u->is_claim = false;
		u->by = by;
	}
	if (u)
		return u;
	u = xnew0(struct lb_use);
	u->addr = *a;
	u->by = by;
	htab_insert(&p->used, hash_mem(a, sizeof(*a)), &u->node);
	return u;
}

void lb_pools_take(struct lb_pools *p, struct lb_pool *pool, const struct addr *a, const json_t *by)
{
	if (pool && !lb_pools_use(p, a))
		pool->assigned++;
	use(p, a, by);
}

void lb_pools_claim(struct lb_pools *p, const struct addr *a, const json_t *by)
{
	struct lb_use *u;

	if (find_use(p, a))
		return;
	u = use(p, a, by);
	u->is_claim = true;
	GROW(p->claims, p->n_claims, p->cap_claims);
	p->claims[p->n_claims++] = u;
}

static void use_nodes(struct lb_pools *p)
{
	for (size_t i = 0; i < p->in->n_nodes; i++) {
		json_t *v;
		size_t k;

		json_array_foreach(json_at(p->in->nodes[i], "status", "addresses"), k, v) {
			struct addr a;

			if (addr_parse(json_str_or(json_object_get(v, "address"), ""), &a) == 0) /* not a host name */
				use(p, &a, p->in->nodes[i])->is_node = true;
		}
	}
}

static void use_api(struct lb_pools *p)
{
	for (size_t i = 0; i < p->in->n_api; i++) {
		json_t *v;
		size_t k;

		json_array_foreach(json_object_get(p->in->api[i], "endpoints"), k, v) {
			struct addr a;

			if (addr_parse(json_str_or(json_array_get(json_object_get(v, "addresses"), 0), ""), &a) == 0)
				use(p, &a, p->in->api[i])->is_api = true;
		}
	}
}

/* ---- ranges ---- */

static void complain(struct lb_pool *pool, char *text)
{
	if (pool->conflict)
		free(text);
	else
		pool->conflict = text;
}

static bool meets_cluster(const struct lb_input *in, const struct lb_range *r, struct prefix *ret)
{
	for (size_t i = 0; i < in->n_cluster; i++) {
		struct lb_range c = lb_range_of_prefix(&in->cluster[i]);

		*ret = in->cluster[i];
		if (lb_range_meets(r, &c))
			return true;
	}
	return false;
}

static const struct lb_pool *meets_pool(const struct lb_pools *p, const struct lb_range *r)
{
	for (size_t i = 0; i < p->n; i++) /* p->n grows: those before this one */
		for (size_t k = 0; k < p->pools[i].n_ranges; k++)
			if (lb_range_meets(r, &p->pools[i].ranges[k].range))
				return &p->pools[i];
	return NULL;
}

static void add_range(struct lb_pools *p, struct lb_pool *pool, const char *text)
{
	char what[PREFIX_TEXT_MAX];
	const struct lb_pool *other;
	struct prefix cluster;
	struct lb_range r;

	if (lb_range_parse(text, &r) < 0) {
		complain(pool, xasprintf("%.100s is no range of addresses", text));
	} else if (lb_range_fault(&r)) {
		complain(pool, xasprintf("%.100s: %s", text, lb_range_fault(&r)));
	} else if (meets_cluster(p->in, &r, &cluster)) {
		complain(pool, xasprintf("%.100s overlaps the cluster's range %s", text, prefix_format(&cluster, what)));
	} else if ((other = meets_pool(p, &r))) {
		complain(pool, xasprintf("%.100s overlaps pool %s", text, name_of(other->json)));
	} else {
		uint64_t n = lb_range_count(&r);

		pool->ranges[pool->n_ranges++] = (struct lb_range_state){ .range = r, .next = r.first };
		pool->total = MIN(pool->total + n, LB_RANGE_MANY);
	}
}

static void add_pool(struct lb_pools *p, const json_t *json)
{
	json_t *list = json_at(json, "spec", "addresses"), *v;
	struct lb_pool pool = { .json = json, .ranges = xnew0_array(struct lb_range_state, json_array_size(list) + 1) };
	size_t i;

	json_array_foreach(list, i, v)
		add_range(p, &pool, json_str_or(v, ""));
	p->pools[p->n++] = pool;
}

void lb_pools_init(struct lb_pools *p, const struct lb_input *in)
{
	*p = (struct lb_pools){ .in = in, .pools = xnew0_array(struct lb_pool, in->n_pools + 1) };
	use_nodes(p);
	use_api(p);
	for (size_t i = 0; i < in->n_pools; i++)
		add_pool(p, in->pools[i]);
}

void lb_pools_done(struct lb_pools *p)
{
	for (struct htab_node *n = htab_begin(&p->used), *next; n; n = next) {
		next = htab_next(&p->used, n);
		free(container_of(n, struct lb_use, node));
	}
	htab_done(&p->used);
	free(p->claims);
	for (size_t i = 0; i < p->n; i++) {
		free(p->pools[i].ranges);
		free(p->pools[i].conflict);
	}
	free(p->pools);
}

/* ---- who is served ---- */

static int by_name(const void *name, const void *ns)
{
	return strcmp(name, name_of(*(const json_t *const *)ns));
}

static const json_t *namespace_labels(const struct lb_pools *p, const char *name)
{
	const json_t *const *ns =
		p->in->n_namespaces ? bsearch(name, p->in->namespaces, p->in->n_namespaces, sizeof(*p->in->namespaces), by_name) : NULL;

	return ns ? json_at(*ns, "metadata", "labels") : NULL;
}

bool lb_pool_serves(const struct lb_pools *p, const struct lb_pool *pool, const json_t *svc)
{
	const json_t *spec = json_object_get(pool->json, "spec"), *meta = json_object_get(svc, "metadata");
	const json_t *in_namespaces = json_object_get(spec, "namespaceSelector");
	const char *class = json_str_or(json_at(svc, "spec", "loadBalancerClass"), "");
	const char *named = json_str_at(meta, "annotations", LB_ANNOTATION_POOL);

	if (!streq(class, json_str_or(json_object_get(spec, "loadBalancerClass"), "")) || (named && !streq(named, name_of(pool->json))))
		return false;
	if (!label_selector_matches(json_object_get(spec, "serviceSelector"), json_object_get(meta, "labels")))
		return false;
	return !in_namespaces ||
	       label_selector_matches(in_namespaces, namespace_labels(p, json_str_or(json_object_get(meta, "namespace"), "")));
}

static bool pool_holds(const struct lb_pool *pool, const struct addr *a)
{
	for (size_t i = 0; i < pool->n_ranges; i++)
		if (lb_range_contains(&pool->ranges[i].range, a))
			return true;
	return false;
}

struct lb_pool *lb_pools_find(struct lb_pools *p, const json_t *svc, const struct addr *a)
{
	for (size_t i = 0; i < p->n; i++)
		if (pool_holds(&p->pools[i], a) && lb_pool_serves(p, &p->pools[i], svc))
			return &p->pools[i];
	return NULL;
}

static int take_from_range(struct lb_pools *p, struct lb_range_state *s, struct addr *ret)
{
	while (!s->full) {
		struct addr a = s->next;

		s->full = addr_eq(&a, &s->range.last);
		s->next = addr_add(&a, 1);
		if (!find_use(p, &a)) {
			*ret = a;
			return 0;
		}
	}
	return -ENOSPC;
}

int lb_pool_take_free(struct lb_pools *p, struct lb_pool *pool, bool v4, const json_t *by, struct addr *ret)
{
	int r = -ENOENT;

	for (size_t i = 0; i < pool->n_ranges; i++) {
		if (addr_is_v4(&pool->ranges[i].range.first) != v4)
			continue;
		r = take_from_range(p, &pool->ranges[i], ret);
		if (r == 0) {
			lb_pools_take(p, pool, ret, by);
			return 0;
		}
	}
	return r;
}

int lb_pool_take_claimed(struct lb_pools *p, struct lb_pool *pool, bool v4, const json_t *by, struct addr *ret)
{
	for (size_t *i = &pool->next_claim[v4]; *i < p->n_claims; ++*i) {
		const struct lb_use *u = p->claims[*i];

		if (!u->is_claim || addr_is_v4(&u->addr) != v4 || !pool_holds(pool, &u->addr))
			continue;
		*ret = u->addr;
		lb_pools_take(p, pool, ret, by);
		return 0;
	}
	return -ENOSPC;
}
