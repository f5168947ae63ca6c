/* SPDX-License-Identifier: Apache-2.0 */
/* Reconciling what is ours in the kernel's tables with what is wanted.
 *
 * Both sides are sorted by slot and walked together: what is equal stays untouched (no packet meets a gap), what
 * differs is replaced in place, what is missing is added, and only then what is no longer wanted is deleted. A slot
 * that a foreign route holds is not visible here; the add then takes it over by replace only if it is ours, else the
 * kernel's -EEXIST is the answer. */
#include "net/rtnl_internal.h"

static int cmp_u32(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int cmp_prefix(const struct prefix *a, const struct prefix *b)
{
	int r = addr_cmp(&a->addr, &b->addr);

	return r ? r : cmp_u32(a->len, b->len);
}

static int cmp_link(const void *a, const void *b)
{
	return cmp_u32(*(const uint32_t *)a, *(const uint32_t *)b);
}

static bool in_links(uint32_t ifindex, const uint32_t *links, size_t n)
{
	return n && bsearch(&ifindex, links, n, sizeof(*links), cmp_link);
}

static uint32_t slot_metric(const struct route *r)
{
	return r->metric || prefix_family(&r->dst) == AF_INET ? r->metric : 1024;
}

static int cmp_route(const void *x, const void *y)
{
	const struct route *a = *(const struct route *const *)x, *b = *(const struct route *const *)y;
	int r = cmp_u32(a->table ? a->table : RT_TABLE_MAIN, b->table ? b->table : RT_TABLE_MAIN);

	if (r == 0)
		r = cmp_prefix(&a->dst, &b->dst);
	return r ? r : cmp_u32(slot_metric(a), slot_metric(b));
}

static int cmp_rule(const void *x, const void *y)
{
	const struct rule *a = *(const struct rule *const *)x, *b = *(const struct rule *const *)y;
	int r = cmp_u32(a->family, b->family);

	if (r == 0)
		r = cmp_u32(a->priority, b->priority);
	if (r == 0)
		r = cmp_u32(a->table, b->table);
	if (r == 0)
		r = cmp_u32(a->dport, b->dport);
	if (r == 0 && (a->from.len || b->from.len))
		r = cmp_prefix(&a->from, &b->from);
	return r ? r : cmp_prefix(&a->to, &b->to);
}

static int cmp_neigh(const void *x, const void *y)
{
	const struct neigh *a = *(const struct neigh *const *)x, *b = *(const struct neigh *const *)y;
	int r = cmp_u32(a->ifindex, b->ifindex);

	return r ? r : addr_cmp(&a->addr, &b->addr);
}

static void none_changed(size_t *ret_changed)
{
	if (ret_changed)
		*ret_changed = 0;
}

/* One kind of object: how to order, compare, put and delete it. */
struct kind {
	size_t size;
	int (*cmp)(const void *, const void *);
	bool (*eq)(const void *, const void *);
	int (*put)(struct rtnl *, const void *);
	int (*replace)(struct rtnl *, const void *);
	int (*del)(struct rtnl *, const void *);
};

static const void **sorted(const struct kind *k, const void *items, size_t n)
{
	const void **p = xnew0_array(const void *, n);

	for (size_t i = 0; i < n; i++)
		p[i] = (const char *)items + i * k->size;
	qsort(p, n, sizeof(*p), k->cmp);
	return p;
}

static bool has_twins(const struct kind *k, const void **p, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (k->cmp(&p[i - 1], &p[i]) == 0)
			return true;
	return false;
}

/* Queues the difference; deletions are collected in @gone for later. */
static void queue_puts(struct rtnl *nl, const struct kind *k, const void **want, size_t n, const void **have,
			 size_t m, const void **gone, size_t *ret_gone)
{
	size_t i = 0, j = 0;

	*ret_gone = 0;
	while (i < n || j < m) {
		int c = i == n ? 1 : j == m ? -1 : k->cmp(&want[i], &have[j]);

		if (c < 0) {
			k->put(nl, want[i++]);
		} else if (c > 0) {
			gone[(*ret_gone)++] = have[j++];
		} else {
			if (!k->eq(want[i], have[j]))
				k->replace(nl, want[i]);
			i++, j++;
			/* the kernel may hold more than one in a slot (IPv6 siblings): the others go */
			while (j < m && k->cmp(&want[i - 1], &have[j]) == 0)
				gone[(*ret_gone)++] = have[j++];
		}
	}
}

/* What of the difference is made: all of it, or nothing taken away. */
enum extent { ALL, PUTS_ONLY };

static int apply(struct rtnl *nl, const struct kind *k, const void *want, size_t n, const void *have, size_t m,
		 enum extent extent, size_t *ret_changed)
{
	_cleanup_free_ const void **w = sorted(k, want, n), **h = sorted(k, have, m);
	_cleanup_free_ const void **gone = xnew0_array(const void *, m);
	size_t n_gone;
	int r;

	if (has_twins(k, w, n))
		return rtnl_fail(nl, -ENOTUNIQ, "two of what is wanted have the same place");
	rtnl_batch(nl);
	queue_puts(nl, k, w, n, h, m, gone, &n_gone);
	if (extent == PUTS_ONLY)
		n_gone = 0;
	for (size_t i = 0; i < n_gone; i++)
		k->del(nl, gone[i]);
	r = rtnl_commit(nl, NULL, NULL);
	if (ret_changed)
		*ret_changed = rtnl_batch_made(nl);
	return r;
}

static bool eq_route(const void *a, const void *b)
{
	return route_eq(a, b);
}
static int add_route(struct rtnl *nl, const void *r)
{
	return rtnl_add_route(nl, r);
}
static int replace_route(struct rtnl *nl, const void *r)
{
	return rtnl_replace_route(nl, r);
}
static int del_route(struct rtnl *nl, const void *r)
{
	return rtnl_del_route(nl, r);
}

int rtnl_apply_routes(struct rtnl *nl, const struct route *want, size_t n, const uint32_t *pod_links, size_t n_links,
		      size_t *ret_changed)
{
	static const struct kind kind = {sizeof(*want), cmp_route, eq_route, add_route, replace_route, del_route};
	_cleanup_free_ struct route *have = NULL;
	size_t m, kept = 0;
	int r;

	none_changed(ret_changed);
	r = rtnl_list_routes(nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &have, &m);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m; i++)
		if (!in_links(have[i].oif, pod_links, n_links))
			have[kept++] = have[i];
	return apply(nl, &kind, want, n, have, kept, ALL, ret_changed);
}

static bool eq_rule(const void *a, const void *b)
{
	return rule_eq(a, b);
}
static int add_rule(struct rtnl *nl, const void *r)
{
	return rtnl_add_rule(nl, r);
}
static int del_rule(struct rtnl *nl, const void *r)
{
	return rtnl_del_rule(nl, r);
}

/* In the same form, so that "any" orders and compares alike, written or read. */
static void normalize_rules(struct rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned none = rules[i].family == AF_INET ? V4_BITS_BEFORE : 0;

		if (rules[i].from.len <= none)
			rules[i].from = prefix_any(rules[i].family);
		if (rules[i].to.len <= none)
			rules[i].to = prefix_any(rules[i].family);
	}
}

int rtnl_apply_rules(struct rtnl *nl, const struct rule *want, size_t n, size_t *ret_changed)
{
	/* a rule is its own slot: what differs is another rule */
	static const struct kind kind = {sizeof(*want), cmp_rule, eq_rule, add_rule, add_rule, del_rule};
	_cleanup_free_ struct rule *have = NULL, *wanted = xnew0_array(struct rule, n);
	size_t m;
	int r;

	none_changed(ret_changed);
	r = rtnl_list_rules(nl, AF_UNSPEC, NET_PROTO_WEFT, &have, &m);
	if (r < 0)
		return r;
	if (n)
		memcpy(wanted, want, n * sizeof(*want));
	normalize_rules(wanted, n);
	normalize_rules(have, m);
	return apply(nl, &kind, wanted, n, have, m, ALL, ret_changed);
}

static bool eq_neigh(const void *a, const void *b)
{
	return neigh_eq(a, b);
}
static int replace_neigh(struct rtnl *nl, const void *n)
{
	return rtnl_replace_neigh(nl, n);
}
static int del_neigh(struct rtnl *nl, const void *n)
{
	return rtnl_del_neigh(nl, n);
}

static int apply_neighs(struct rtnl *nl, const struct neigh *want, size_t n, const uint32_t *pod_links, size_t n_links,
			enum extent extent, size_t *ret_changed)
{
	static const struct kind kind = {sizeof(*want), cmp_neigh, eq_neigh, replace_neigh, replace_neigh, del_neigh};
	_cleanup_free_ struct neigh *have = NULL;
	size_t m, kept = 0;
	int r;

	none_changed(ret_changed);
	r = rtnl_list_neighs(nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &have, &m);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m; i++)
		if (!in_links(have[i].ifindex, pod_links, n_links))
			have[kept++] = have[i];
	return apply(nl, &kind, want, n, have, kept, extent, ret_changed);
}

int rtnl_put_neighs(struct rtnl *nl, const struct neigh *want, size_t n, const uint32_t *pod_links, size_t n_links,
		    size_t *ret_changed)
{
	return apply_neighs(nl, want, n, pod_links, n_links, PUTS_ONLY, ret_changed);
}

int rtnl_apply_neighs(struct rtnl *nl, const struct neigh *want, size_t n, const uint32_t *pod_links, size_t n_links,
		      size_t *ret_changed)
{
	return apply_neighs(nl, want, n, pod_links, n_links, ALL, ret_changed);
}
