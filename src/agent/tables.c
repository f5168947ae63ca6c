/* SPDX-License-Identifier: Apache-2.0 */
/* The plan in the kernel's tables: the node's own addresses, neighbours, routes, rules. What differs is changed; what differs though it
 * stood there before is somebody else's doing, and counted as a repair. */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

static int put_missing_addrs(struct agent *a)
{
	_cleanup_free_ struct link_addr *have = NULL;
	size_t n;
	int r = rtnl_list_addrs(a->nl, AF_UNSPEC, 1, &have, &n);

	for (size_t i = 0; r == 0 && i < a->plan.n_addrs; i++) {
		const struct link_addr *want = &a->plan.addrs[i];
		char text[ADDR_TEXT_MAX];
		bool there = false;

		for (size_t k = 0; k < n && !there; k++)
			there = addr_eq(&have[k].addr, &want->addr) && have[k].len == want->len;
		if (there)
			continue;
		r = rtnl_replace_addr(a->nl, want);
		if (r == 0 && a->applied)
			repairs_note(&a->repairs, REPAIR_ADDRESS, 1, addr_format(&want->addr, text));
	}
	return r;
}

int agent_apply_node_addrs(struct agent *a)
{
	int r;

	for (int f = 0; f < 2; f++) {
		struct link_addr old = {.ifindex = 1, .addr = a->state.node_addrs[f], .len = 128};

		if (!addr_is_zero(&old.addr) && !addr_eq(&old.addr, &a->plan.node_addrs[f])) {
			r = rtnl_del_addr(a->nl, &old);
			if (r < 0)
				return r;
		}
	}
	return put_missing_addrs(a);
}

/* Somebody's route took the place of one that stood there: ours comes back. */
static int take_back_routes(struct agent *a, const struct route *want, size_t n_want)
{
	_cleanup_free_ struct route *have = NULL;
	size_t n;
	int r = rtnl_list_routes(a->nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &have, &n);

	for (size_t i = 0; r == 0 && i < n_want; i++) {
		char text[PREFIX_TEXT_MAX];
		bool there = false;

		for (size_t k = 0; k < n && !there; k++)
			there = route_eq(&want[i], &have[k]);
		if (there)
			continue;
		r = rtnl_replace_route(a->nl, &want[i]);
		if (r == 0)
			repairs_note(&a->repairs, REPAIR_ROUTE, 1, prefix_format(&want[i].dst, text));
	}
	return r;
}

/* What a call of rtnl_apply_*() has changed: a repair, when the same was wanted before and stood. */
static void note_changes(struct agent *a, enum repair what, size_t n)
{
	if (n && a->applied)
		repairs_note(&a->repairs, what, n, rtnl_batch_first(a->nl));
	else if (n)
		log_info("changed the kernel's tables", L_STR("what", repair_label(what)), L_UINT("count", n));
}

/* Entries over a device that is not there. */
static bool is_lost(const struct agent *a, uint32_t ifindex)
{
	return a->tunnel_lost && ifindex == a->state.tunnel_ifindex;
}

static struct neigh *list_neighs(const struct agent *a, size_t *ret_n)
{
	struct neigh *list = xnew0_array(struct neigh, a->plan.n_neighs + 1);

	*ret_n = 0;
	for (size_t i = 0; i < a->plan.n_neighs; i++)
		if (!is_lost(a, a->plan.neighs[i].ifindex))
			list[(*ret_n)++] = a->plan.neighs[i];
	return list;
}

static struct route *list_routes(const struct agent *a, size_t *ret_n)
{
	struct route *list = xnew0_array(struct route, a->plan.n_routes + 1);

	*ret_n = 0;
	for (size_t i = 0; i < a->plan.n_routes; i++)
		if (!is_lost(a, a->plan.routes[i].oif))
			list[(*ret_n)++] = a->plan.routes[i];
	return list;
}

static int apply_routes(struct agent *a, const uint32_t *links, size_t n_links)
{
	size_t n, changed;
	_cleanup_free_ struct route *routes = list_routes(a, &n);
	int r = rtnl_apply_routes(a->nl, routes, n, links, n_links, &changed);

	if (r == 0)
		note_changes(a, REPAIR_ROUTE, changed);
	return r == -EEXIST && a->applied ? take_back_routes(a, routes, n) : r;
}

/* What the stack has routed to a neighbour needs it until it is sent: neighbours are there before the routes to them, and go after them. */
static int apply_ways(struct agent *a)
{
	size_t n_links, n_neighs, changed;
	_cleanup_free_ uint32_t *links = endpoints_links(a->endpoints, &n_links);
	_cleanup_free_ struct neigh *neighs = list_neighs(a, &n_neighs);
	int r = rtnl_put_neighs(a->nl, neighs, n_neighs, links, n_links, &changed);

	if (r == 0) {
		note_changes(a, REPAIR_NEIGHBOUR, changed);
		r = apply_routes(a, links, n_links);
	}
	if (r == 0)
		r = rtnl_apply_neighs(a->nl, neighs, n_neighs, links, n_links, &changed);
	if (r == 0)
		note_changes(a, REPAIR_NEIGHBOUR, changed);
	return r;
}

int agent_apply_tables(struct agent *a, char **ret_error)
{
	size_t changed;
	int r = apply_ways(a);

	if (r == 0)
		r = rtnl_apply_rules(a->nl, a->plan.rules, a->plan.n_rules, &changed);
	if (r == 0)
		note_changes(a, REPAIR_RULE, changed);
	else
		*ret_error = xasprintf("routes: %s", rtnl_error_text(a->nl));
	a->applied |= r == 0 && !a->tunnel_lost;
	return r;
}
