/* SPDX-License-Identifier: Apache-2.0 */
/* The plan in the kernel's tables: the node's own addresses, neighbours, routes, rules. What differs is changed; what differs though it
 * stood there before is somebody else's doing, and counted as a repair. What the kernel refuses is told, and holds up nothing else. */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

static void note_refusal(struct agent *a, struct trouble *t, enum trouble_kind kind, int r)
{
	trouble_note(t, kind, r, rtnl_error_text(a->nl));
}

static void put_missing_addrs(struct agent *a, struct trouble *t)
{
	_cleanup_free_ struct link_addr *have = NULL;
	size_t n;
	int r = rtnl_list_addrs(a->nl, AF_UNSPEC, 1, &have, &n);

	note_refusal(a, t, TROUBLE_ADDRESSES, r);
	for (size_t i = 0; r == 0 && i < a->plan.n_addrs; i++) {
		const struct link_addr *want = &a->plan.addrs[i];
		char text[ADDR_TEXT_MAX];
		bool there = false;
		int put;

		for (size_t k = 0; k < n && !there; k++)
			there = addr_eq(&have[k].addr, &want->addr) && have[k].len == want->len;
		if (there)
			continue;
		put = rtnl_replace_addr(a->nl, want);
		note_refusal(a, t, TROUBLE_ADDRESSES, put);
		if (put == 0 && a->applied[TROUBLE_ADDRESSES])
			repairs_note(&a->repairs, REPAIR_ADDRESS, 1, addr_format(&want->addr, text));
	}
}

int agent_apply_node_addrs(struct agent *a, struct trouble *t)
{
	int first = 0;

	for (int f = 0; f < 2; f++) {
		struct link_addr old = {.ifindex = 1, .addr = a->state.node_addrs[f], .len = 128};

		if (!addr_is_zero(&old.addr) && !addr_eq(&old.addr, &a->plan.node_addrs[f])) {
			int r = rtnl_del_addr(a->nl, &old);

			note_refusal(a, t, TROUBLE_ADDRESSES, r);
			first = first ? first : r;
		}
	}
	put_missing_addrs(a, t);
	a->applied[TROUBLE_ADDRESSES] |= !trouble_has(t, TROUBLE_ADDRESSES);
	return first;
}

/* Somebody's route took the place of one that stood there: ours comes back. */
static void take_back_routes(struct agent *a, const struct route *want, size_t n_want, struct trouble *t)
{
	_cleanup_free_ struct route *have = NULL;
	size_t n;
	int r = rtnl_list_routes(a->nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &have, &n);

	note_refusal(a, t, TROUBLE_ROUTES, r);
	for (size_t i = 0; r == 0 && i < n_want; i++) {
		char text[PREFIX_TEXT_MAX];
		bool there = false;
		int put;

		for (size_t k = 0; k < n && !there; k++)
			there = route_eq(&want[i], &have[k]);
		if (there)
			continue;
		put = rtnl_replace_route(a->nl, &want[i]);
		note_refusal(a, t, TROUBLE_ROUTES, put);
		if (put == 0)
			repairs_note(&a->repairs, REPAIR_ROUTE, 1, prefix_format(&want[i].dst, text));
	}
}

/* What a call of rtnl_apply_*() has changed: a repair, when the same was wanted before and stood. */
static void note_changes(struct agent *a, enum trouble_kind kind, enum repair what, size_t n)
{
	if (n && a->applied[kind])
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

static void apply_routes(struct agent *a, const uint32_t *links, size_t n_links, struct trouble *t)
{
	size_t n, changed;
	_cleanup_free_ struct route *routes = list_routes(a, &n);
	int r = rtnl_apply_routes(a->nl, routes, n, links, n_links, &changed);

	note_changes(a, TROUBLE_ROUTES, REPAIR_ROUTE, changed);
	if (r < 0 && r != -ENOTUNIQ && a->applied[TROUBLE_ROUTES]) /* one refusal, and not the first, may be for a place that is taken; others come again */
		take_back_routes(a, routes, n, t);
	else
		note_refusal(a, t, TROUBLE_ROUTES, r);
}

/* What is refused from the start keeps nothing of another kind from being somebody's doing when it goes. */
static void note_applied(struct agent *a, const struct trouble *t)
{
	static const enum trouble_kind of_tables[] = {TROUBLE_NEIGHBOURS, TROUBLE_ROUTES, TROUBLE_RULES};

	for (size_t i = 0; i < ARRAY_SIZE(of_tables); i++)
		a->applied[of_tables[i]] |= !trouble_has(t, of_tables[i]) && !a->tunnel_lost;
	a->applied[TROUBLE_TUNNEL] |= !a->tunnel_lost;
}

/* What the stack has routed to a neighbour needs it until it is sent: neighbours are there before the routes to them, and go after them. */
void agent_apply_tables(struct agent *a, struct trouble *t)
{
	size_t n_links, n_neighs, changed;
	_cleanup_free_ uint32_t *links = endpoints_links(a->endpoints, &n_links);
	_cleanup_free_ struct neigh *neighs = list_neighs(a, &n_neighs);

	note_refusal(a, t, TROUBLE_NEIGHBOURS, rtnl_put_neighs(a->nl, neighs, n_neighs, links, n_links, &changed));
	note_changes(a, TROUBLE_NEIGHBOURS, REPAIR_NEIGHBOUR, changed);
	apply_routes(a, links, n_links, t);
	note_refusal(a, t, TROUBLE_NEIGHBOURS, rtnl_apply_neighs(a->nl, neighs, n_neighs, links, n_links, &changed));
	note_changes(a, TROUBLE_NEIGHBOURS, REPAIR_NEIGHBOUR, changed);
	note_refusal(a, t, TROUBLE_RULES, rtnl_apply_rules(a->nl, a->plan.rules, a->plan.n_rules, &changed));
	note_changes(a, TROUBLE_RULES, REPAIR_RULE, changed);
	note_applied(a, t);
}
