/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/masquerade.h"
#include "agent/lists.h"

bool masquerade_is_on(const struct options *o, int family, const struct prefix *range)
{
	uint64_t set = family ? o->masquerade_ipv6 : o->masquerade_ipv4;

	if (range->len == 0 || set == SWITCH_OFF)
		return false;
	return set == SWITCH_ON || family == 0 || (range->addr.b[0] & 0xfe) == 0xfc; /* RFC 4193 */
}

struct exempts {
	struct dp_exempt *list;
	size_t n, cap;
};

static void add(struct exempts *e, const struct prefix *p, bool source)
{
	GROW(e->list, e->n, e->cap);
	e->list[e->n++] = (struct dp_exempt){ .prefix = *p, .source = source };
}

static void add_text(struct exempts *e, const char *text, bool source)
{
	struct prefix prefixes[LIST_PREFIXES_MAX];
	size_t n;
	int r = list_prefixes(text, prefixes, &n);

	assert(r == 0); /* options were checked when they were read */
	(void)r;
	for (size_t i = 0; i < n; i++)
		add(e, &prefixes[i], source);
}

static void add_nodes(struct exempts *e, const struct model *m)
{
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(m, &n);

	for (size_t i = 0; i < n; i++) {
		for (unsigned k = 0; k < nodes[i]->n_cidrs; k++)
			add(e, &nodes[i]->cidrs[k], false);
		for (unsigned k = 0; k < nodes[i]->n_addrs; k++) {
			struct prefix host = prefix_host(&nodes[i]->addrs[k]);

			add(e, &host, false);
		}
	}
}

static int compare(const void *a, const void *b)
{
	const struct dp_exempt *x = a, *y = b;
	int c = addr_cmp(&x->prefix.addr, &y->prefix.addr);

	if (c == 0)
		c = x->prefix.len - y->prefix.len;
	return c ? c : x->source - y->source;
}

size_t masquerade_exempt(const struct options *o, const struct model *m, struct dp_exempt **ret)
{
	struct exempts e = {};
	size_t n = 0;

	add_text(&e, "169.254.0.0/16, 224.0.0.0/4, 255.255.255.255, fe80::/10, ff00::/8", false);
	add_text(&e, o->masquerade_exclude, false);
	add_text(&e, o->masquerade_exclude_pools, true);
	add_nodes(&e, m);
	qsort(e.list, e.n, sizeof(*e.list), compare);
	for (size_t i = 0; i < e.n; i++)
		if (n == 0 || compare(&e.list[n - 1], &e.list[i]) != 0)
			e.list[n++] = e.list[i];
	*ret = e.list;
	return n;
}
