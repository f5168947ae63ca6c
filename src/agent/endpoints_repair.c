/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that run, held against the kernel and the datapath: links, routes, neighbours, programs, entries. */
#include "agent/endpoints_internal.h"
#include "base/log.h"

static int apply_datapath(struct endpoints *e)
{
	_cleanup_free_ struct dp_endpoint *want = xnew0_array(struct dp_endpoint, e->by_key.count + 1);
	size_t n = 0;

	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *r = container_of(h, struct endpoint, by_key)->record;
		struct link l;

		if (r->state == ENDPOINT_UP && r->ifindex && rtnl_get_link(e->nl, r->ifindex, &l) == 0)
			want[n++] = endpoint_dp(r);
	}
	return datapath_apply_endpoints(e->node.dp, want, n);
}

static bool has_route(const struct route *have, size_t n, const struct route *want)
{
	for (size_t i = 0; i < n; i++)
		if (route_eq(&have[i], want))
			return true;
	return false;
}

static bool has_neigh(const struct neigh *have, size_t n, const struct neigh *want)
{
	for (size_t i = 0; i < n; i++)
		if (neigh_eq(&have[i], want))
			return true;
	return false;
}

/* Queues what is missing of one endpoint. Return: how many changes. */
static size_t queue_missing(struct endpoints *e, const struct endpoint_record *r, const struct route *routes,
			    size_t n_routes, const struct neigh *neighs, size_t n_neighs)
{
	struct route want_routes[IPAM_FAMILIES];
	struct neigh want_neighs[IPAM_FAMILIES];
	size_t wr = pod_link_routes(r, &e->node.env, want_routes), wn = pod_link_neighs(r, want_neighs), queued = 0;

	for (size_t i = 0; i < wn; i++) {
		if (!has_neigh(neighs, n_neighs, &want_neighs[i])) {
			rtnl_replace_neigh(e->nl, &want_neighs[i]);
			queued++;
		}
	}
	for (size_t i = 0; i < wr; i++) {
		if (!has_route(routes, n_routes, &want_routes[i])) {
			rtnl_replace_route(e->nl, &want_routes[i]);
			queued++;
		}
	}
	return queued;
}

static int apply_routes(struct endpoints *e)
{
	_cleanup_free_ struct route *routes = NULL;
	_cleanup_free_ struct neigh *neighs = NULL;
	size_t n_routes, n_neighs, queued = 0;
	int code = rtnl_list_routes(e->nl, AF_UNSPEC, RT_TABLE_MAIN, NET_PROTO_WEFT, &routes, &n_routes);

	if (code == 0)
		code = rtnl_list_neighs(e->nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &neighs, &n_neighs);
	if (code < 0)
		return code;
	rtnl_batch(e->nl);
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *r = container_of(h, struct endpoint, by_key)->record;

		if (r->state == ENDPOINT_UP && r->ifindex)
			queued += queue_missing(e, r, routes, n_routes, neighs, n_neighs);
	}
	code = rtnl_commit(e->nl, NULL, NULL);
	if (queued && code == 0 && e->settled)
		repairs_note(e->repairs, REPAIR_ROUTE, queued, rtnl_batch_first(e->nl));
	else if (queued && code == 0)
		log_info("put routes and neighbours of pods back", L_UINT("count", queued));
	return code == -ENODEV || code == -ENETDOWN ? 0 : code; /* a link that is gone: reconciliation's business */
}

static const struct link *link_of(const struct endpoint_record *r, const struct link *links, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == r->ifindex &&
		    (streq(links[i].name, r->host_ifname) || memcmp(links[i].mac, r->host_mac, 6) == 0))
			return &links[i];
	return NULL;
}

static int mend_link(struct endpoints *e, struct endpoint *ep, const struct link *l)
{
	const struct endpoint_record *r = ep->record;
	const char *what = NULL;
	char text[128];
	int code = streq(l->name, r->host_ifname) ? pod_link_mend_host(e->nl, r, l, &what) : 0;

	endpoint_has_its_link(ep);
	if (what && e->settled) {
		snprintf(text, sizeof(text), "%s %s", r->host_ifname, what);
		repairs_note(e->repairs, REPAIR_LINK, 1, text);
	}
	return code == -ENODEV ? 0 : code;
}

static int mend_links(struct endpoints *e)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n = 0;
	int first = rtnl_list_links(e->nl, &links, &n);

	if (first < 0)
		return first;
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		struct endpoint *ep = container_of(h, struct endpoint, by_key);
		const struct link *l = link_of(ep->record, links, n);
		int code = 0;

		if (ep->record->state != ENDPOINT_UP)
			continue;
		if (l)
			code = mend_link(e, ep, l);
		else if (e->node.dp && e->node_known)
			endpoint_lost_its_link(e, ep);
		first = first < 0 ? first : code;
	}
	return first;
}

int endpoints_apply(struct endpoints *e)
{
	int l = mend_links(e), a = apply_routes(e), b = e->node.dp ? apply_datapath(e) : 0;

	e->settled |= l == 0 && a == 0;
	return l < 0 ? l : a < 0 ? a : b;
}

void endpoints_set_repairs(struct endpoints *e, struct repairs *repairs)
{
	e->repairs = repairs;
}
