/* SPDX-License-Identifier: Apache-2.0 */
/* Pod ranges of nodes: one block of each cluster range, written to spec.podCIDRs when the node is created, claimed when
 * the node brings its own, given back when it is deleted. A node for which a range has no block left is stored without
 * ranges; controllers.c tells so by an Event and tries again when a node goes. */
#include "hub/hub.h"
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"

static void each_range(struct hub *hub, const json_t *node, void (*fn)(struct pool *, const struct prefix *))
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(node, "spec", "podCIDRs"), i, v) {
		struct prefix p;
		struct pool *pool;

		if (prefix_parse(json_str_or(v, ""), &p, NULL) < 0)
			continue;
		pool = ranges_find(&hub->nodes, addr_is_v4(&p.addr));
		if (pool)
			fn(pool, &p);
	}
}

static void claim(struct pool *pool, const struct prefix *p)
{
	pool_claim(pool, p);
}

void nodes_claim(struct hub *hub)
{
	struct object *const *all;
	size_t n;

	all = store_all(hub->store, kind_of("Node"), &n);
	for (size_t i = 0; i < n; i++)
		each_range(hub, all[i]->json, claim);
}

void node_release(struct hub *hub, const json_t *old, const json_t *now)
{
	each_range(hub, old, pool_return);
	if (now)
		each_range(hub, now, claim);
}

/* Two nodes with one range would take each other's packets: refused loudly. A range outside of the cluster's is the
 * user's own affair, as long as no other node has it. */
static void claim_given(struct hub *hub, const json_t *cidrs, bool dry_run, struct errors *e)
{
	struct prefix mine[FAMILIES_MAX];
	struct pool *pools[FAMILIES_MAX];
	size_t n = 0;
	const struct path *at = PATH(PATH(NULL, "spec"), "podCIDRs");
	json_t *v;
	size_t i;

	json_array_foreach(cidrs, i, v) {
		struct prefix p;
		struct pool *pool;
		int r;

		if (prefix_parse(json_str_or(v, ""), &p, NULL) < 0)
			continue;
		pool = ranges_find(&hub->nodes, addr_is_v4(&p.addr));
		r = pool ? pool_claim(pool, &p) : 0;
		if (r == -EEXIST)
			err_invalid(e, PATH_AT(at, i), v, "belongs to another node");
		if (pool && r == 0 && n < FAMILIES_MAX) {
			mine[n] = p;
			pools[n++] = pool;
		}
	}
	while ((errors_any(e) || dry_run) && n-- > 0)
		pool_return(pools[n], &mine[n]);
}

static void take_all(struct hub *hub, json_t *spec, bool dry_run)
{
	struct prefix got[FAMILIES_MAX];
	_cleanup_json_ json_t *cidrs = json_array();
	char text[PREFIX_TEXT_MAX];
	size_t n = 0;

	while (n < hub->nodes.n && pool_take_lowest(hub->nodes.pools[n], &got[n]) == 0) {
		json_array_append_new(cidrs, json_string(prefix_format(&got[n], text)));
		n++;
	}
	if (n == hub->nodes.n && n > 0) {
		json_object_set(spec, "podCIDR", json_array_get(cidrs, 0));
		json_object_set(spec, "podCIDRs", cidrs);
	}
	if (n < hub->nodes.n || dry_run)
		while (n > 0) {
			n--;
			pool_return(hub->nodes.pools[n], &got[n]);
		}
}

void node_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec"), *cidrs = json_object_get(spec, "podCIDRs");

	if (json_array_size(json_at(old, "spec", "podCIDRs")) > 0)
		return; /* cannot be changed: node_validate() */
	if (json_array_size(cidrs) > 0)
		claim_given(hub, cidrs, dry_run, e);
	else
		take_all(hub, spec, dry_run);
}
