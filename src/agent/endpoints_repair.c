/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that run, held against the kernel and the datapath: links, routes, neighbours, programs, entries. In turns of a few: each lists the kernel's side
 * anew, so nothing is decided by what was so before the agent did something else. */
#include "agent/endpoints_internal.h"
#include "base/log.h"

enum {
	TURN = 16,
	RENAME_REST_MS = 10 * 1000,
};

/* The endpoints of one turn. */
struct turn {
	struct endpoint *eps[TURN];
	size_t n;
	bool last;
};

static struct turn next_turn(struct endpoints *e)
{
	struct turn t = { .last = true };

	for (struct htab_node *h = htab_begin(&e->by_key); h && t.last; h = htab_next(&e->by_key, h)) {
		struct endpoint *ep = container_of(h, struct endpoint, by_key);

		if (ep->looked == e->round || ep->record->state != ENDPOINT_UP)
			continue;
		t.last = t.n < TURN;
		if (t.last)
			t.eps[t.n++] = ep;
	}
	for (size_t i = 0; i < t.n; i++)
		t.eps[i]->looked = e->round;
	return t;
}

static int mend_datapath(struct endpoints *e, const struct turn *t)
{
	struct dp_endpoint want[TURN];
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct endpoint_record *r = t->eps[i]->record;
		struct link l;

		if (r->ifindex && rtnl_get_link(e->nl, r->ifindex, &l) == 0)
			want[n++] = endpoint_dp(r);
	}
	return datapath_mend_endpoints(e->node.dp, want, n);
}

static bool has_link(const struct link *links, size_t n, uint32_t ifindex)
{
	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == ifindex)
			return true;
	return false;
}

static int sweep_datapath(struct endpoints *e)
{
	_cleanup_free_ struct link *links = NULL;
	_cleanup_free_ uint32_t *want = xnew0_array(uint32_t, e->by_key.count + 1);
	size_t n_links = 0, n = 0;
	int r = rtnl_list_links(e->nl, &links, &n_links);

	if (r < 0)
		return r;
	for (struct htab_node *h = htab_begin(&e->by_key); h; h = htab_next(&e->by_key, h)) {
		const struct endpoint_record *record = container_of(h, struct endpoint, by_key)->record;

		if (record->state == ENDPOINT_UP && record->ifindex && has_link(links, n_links, record->ifindex))
			want[n++] = record->ifindex;
	}
	return datapath_sweep_endpoints(e->node.dp, want, n);
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

/* Queues what is missing of one endpoint. */
static void queue_missing(struct endpoints *e, const struct endpoint_record *r, const struct route *routes,
			    size_t n_routes, const struct neigh *neighs, size_t n_neighs)
{
	struct route want_routes[IPAM_FAMILIES];
	struct neigh want_neighs[IPAM_FAMILIES];
	size_t wr = pod_link_routes(r, &e->node.env, want_routes), wn = pod_link_neighs(r, want_neighs);

	for (size_t i = 0; i < wn; i++) {
		if (!has_neigh(neighs, n_neighs, &want_neighs[i]))
			rtnl_replace_neigh(e->nl, &want_neighs[i]);
	}
	for (size_t i = 0; i < wr; i++) {
		if (!has_route(routes, n_routes, &want_routes[i]))
			rtnl_replace_route(e->nl, &want_routes[i]);
	}
}

static int apply_routes(struct endpoints *e, const struct turn *t)
{
	_cleanup_free_ struct route *routes = NULL;
	_cleanup_free_ struct neigh *neighs = NULL;
	size_t n_routes, n_neighs, made;
	int code = rtnl_list_routes(e->nl, AF_UNSPEC, RT_TABLE_MAIN, NET_PROTO_WEFT, &routes, &n_routes);

	if (code == 0)
		code = rtnl_list_neighs(e->nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &neighs, &n_neighs);
	if (code < 0)
		return code;
	rtnl_batch(e->nl);
	for (size_t i = 0; i < t->n; i++)
		if (t->eps[i]->record->ifindex)
			queue_missing(e, t->eps[i]->record, routes, n_routes, neighs, n_neighs);
	code = rtnl_commit(e->nl, NULL, NULL);
	made = rtnl_batch_made(e->nl);
	if (made && e->settled)
		repairs_note(e->repairs, REPAIR_ROUTE, made, rtnl_batch_first(e->nl));
	else if (made)
		log_info("put routes and neighbours of pods back", L_UINT("count", made));
	return code == -ENODEV || code == -ENETDOWN ? 0 : code; /* a link that is gone: reconciliation's business */
}

static struct link *link_of(const struct endpoint_record *r, struct link *links, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == r->ifindex &&
		    (streq(links[i].name, r->host_ifname) || memcmp(links[i].mac, r->host_mac, 6) == 0))
			return &links[i];
	return NULL;
}

/* On Linux before 6.2 a try sets the link down and up again, which is an event that asks for the next one: what fails rests. That another interface has the name
 * is seen before, is no error, and is over with an event about that one.
 * Return: 0 or -EEXIST with the link's name then in @l, -errno. */
static int mend_name(struct endpoints *e, struct endpoint *ep, struct link *l, const char **ret_what)
{
	const struct endpoint_record *r = ep->record;

	if (streq(l->name, r->host_ifname)) {
		ep->rename_error = 0;
		return 0;
	}
	if (ep->rename_error && ep->rename_error != -EEXIST && endpoints_now_ms() - ep->renamed_ms < RENAME_REST_MS)
		return ep->rename_error;
	ep->rename_error = pod_link_rename_back(e->nl, r, l);
	ep->renamed_ms = endpoints_now_ms();
	if (ep->rename_error == 0) {
		*ret_what = "had another name";
		snprintf(l->name, sizeof(l->name), "%s", r->host_ifname);
	}
	return ep->rename_error;
}

static int mend_link(struct endpoints *e, struct endpoint *ep, struct link *l)
{
	const struct endpoint_record *r = ep->record;
	const char *what = NULL, *renamed = NULL;
	char text[128];
	int name = mend_name(e, ep, l, &renamed), code = pod_link_mend_host(e->nl, r, l, &what);

	if (name == -EEXIST) {
		endpoint_has_another_name(ep, l->name);
		name = 0;
	} else {
		endpoint_has_its_link(ep);
	}
	code = code < 0 ? code : name;
	what = what ? what : renamed;
	if (what && e->settled) {
		snprintf(text, sizeof(text), "%s %s", r->host_ifname, what);
		repairs_note(e->repairs, REPAIR_LINK, 1, text);
	} else if (what) {
		log_info("put a pod's interface right", L_STR("interface", r->host_ifname), L_STR("what", what));
	}
	return code == -ENODEV ? 0 : code;
}

static int mend_links(struct endpoints *e, const struct turn *t)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n = 0;
	int first = rtnl_list_links(e->nl, &links, &n);

	if (first < 0)
		return first;
	for (size_t i = 0; i < t->n; i++) {
		struct endpoint *ep = t->eps[i];
		struct link *l = link_of(ep->record, links, n);
		int code = 0;

		if (l)
			code = mend_link(e, ep, l);
		else if (e->node.dp && e->node_known)
			endpoint_lost_its_link(e, ep);
		first = first < 0 ? first : code;
	}
	return first;
}

static void note_error(struct endpoints *e, int r)
{
	e->round_error = e->round_error < 0 ? e->round_error : r;
}

int endpoints_apply_more(struct endpoints *e)
{
	struct turn t = next_turn(e);

	note_error(e, mend_links(e, &t));
	note_error(e, apply_routes(e, &t));
	if (t.last)
		e->settled |= e->round_error == 0;
	if (e->node.dp)
		note_error(e, mend_datapath(e, &t));
	if (e->node.dp && t.last)
		note_error(e, sweep_datapath(e));
	return t.last ? e->round_error : 1;
}

int endpoints_apply(struct endpoints *e)
{
	e->round++;
	e->round_error = 0;
	return endpoints_apply_more(e);
}

void endpoints_set_repairs(struct endpoints *e, struct repairs *repairs)
{
	e->repairs = repairs;
}
