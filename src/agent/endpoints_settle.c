/* SPDX-License-Identifier: Apache-2.0 */
/* Journal, kernel and table brought to agree: at the start and every minute. The kernel decides what lives: an address
 * whose interface exists is never freed because some list does not mention it. */
#include "agent/endpoints_internal.h"
#include "base/log.h"

static const struct link *find_by_name(const struct link *links, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (streq(links[i].name, name))
			return &links[i];
	return NULL;
}

/* The endpoint's link as the kernel has it now, or NULL. */
static const struct link *live_link(const struct endpoint_record *r, const struct link *links, size_t n)
{
	const struct link *l = find_by_name(links, n, r->host_ifname);

	if (l && memcmp(l->mac, r->host_mac, 6) == 0)
		return l;
	for (size_t i = 0; r->ifindex && i < n; i++) /* somebody may have renamed it: the MAC is its own */
		if (links[i].ifindex == r->ifindex && streq(links[i].kind, "veth") && memcmp(links[i].mac, r->host_mac, 6) == 0)
			return &links[i];
	return NULL;
}

static void adopt_addresses(struct endpoints *e, const struct endpoint_record *r)
{
	char text[ADDR_TEXT_MAX];

	for (int f = 0; f < IPAM_FAMILIES; f++)
		if (!addr_is_zero(&r->addrs[f]) && ipam_adopt(e->ipam, &r->addrs[f]) < 0)
			log_error("two endpoints have one address", L_STR("address", addr_format(&r->addrs[f], text)),
				  L_STR("container", r->container));
}

static int drop_record(struct endpoints *e, struct endpoint *ep, const struct link *l, const char *why)
{
	log_info("removing an endpoint", L_STR("container", ep->record->container),
		 L_STR("interface", ep->record->ifname), L_STR("why", why));
	if (l && !ep->record->ifindex)
		ep->record->ifindex = l->ifindex; /* died between making the link and writing that down */
	if (!l)
		ep->record->ifindex = 0; /* not somebody else's who got the number since */
	return endpoint_retire(e, ep);
}

/* One record of the journal. The table takes it. */
static int settle_record(struct endpoints *e, struct endpoint_record *r, const struct link *links, size_t n)
{
	const struct link *l = live_link(r, links, n);
	struct endpoint *ep = endpoint_insert(e, r);

	adopt_addresses(e, r);
	if (r->state != ENDPOINT_UP)
		return drop_record(e, ep, l, "its ADD was not answered");
	if (!streq(r->boot_id, e->boot_id))
		return drop_record(e, ep, l, "the node was started anew since");
	if (l && !r->ifindex) { /* died between making it again and writing that down (endpoints_remake.c) */
		rtnl_del_link(e->nl, l->ifindex);
		l = NULL;
	}
	if (l) {
		r->ifindex = l->ifindex;
		return 0;
	}
	if (!endpoint_netns_is_there(r))
		return drop_record(e, ep, NULL, "its interface and its namespace are gone");
	log_warn("an endpoint has lost its interface; its address stays taken, and the interface is made again",
		 L_STR("container", r->container));
	return 0;
}

/* Rebuilds a record from what the kernel has: names and MACs from the link, addresses from our routes over it. */
static struct endpoint_record *record_from_kernel(struct endpoints *e, const struct link *l, const struct route *routes,
						  size_t n_routes)
{
	_cleanup_(endpoint_record_freep) struct endpoint_record *r = xnew0(struct endpoint_record);
	bool any = false;

	if (pod_link_key(l, &r->container, &r->ifname) < 0)
		return NULL;
	pod_link_names(r);
	for (size_t i = 0; i < n_routes; i++) {
		if (routes[i].oif == l->ifindex && routes[i].dst.len == 128) {
			r->addrs[ipam_family(&routes[i].dst.addr)] = routes[i].dst.addr;
			any = true;
		}
	}
	if (!any || !streq(r->host_ifname, l->name))
		return NULL;
	r->state = ENDPOINT_UP;
	r->netns = xstrdup("");
	r->boot_id = xstrdup(e->boot_id);
	r->network = xstrdup("");
	r->pod_namespace = xstrdup("");
	r->pod_name = xstrdup("");
	r->pod_uid = xstrdup("");
	r->ifindex = l->ifindex;
	r->mtu = l->mtu;
	r->id = endpoints_next_id(e);
	return take_ptr(r);
}

static int adopt_link(struct endpoints *e, const struct link *l)
{
	_cleanup_free_ struct route *routes = NULL;
	struct endpoint_record *r;
	size_t n;
	int code = rtnl_list_routes(e->nl, AF_UNSPEC, RT_TABLE_MAIN, NET_PROTO_WEFT, &routes, &n);

	if (code < 0)
		return code;
	r = record_from_kernel(e, l, routes, n);
	if (!r) {
		endpoints_doom(e, l->ifindex, l->name);
		return 0;
	}
	log_info("adopted an endpoint from the kernel", L_STR("container", r->container),
		 L_STR("link", r->host_ifname));
	adopt_addresses(e, r);
	endpoint_insert(e, r);
	return journal_put(e->journal, r);
}

/* Links of ours that no record has. */
static int settle_links(struct endpoints *e, const struct link *links, size_t n, bool adopt)
{
	for (size_t i = 0; i < n; i++) {
		const struct link *l = &links[i];
		int code = 0;

		if (!pod_link_is_ours(l) || endpoints_find_link(e, l->ifindex))
			continue;
		if (adopt)
			code = adopt_link(e, l);
		else
			endpoints_doom(e, l->ifindex, l->name);
		if (code < 0)
			return code;
	}
	return 0;
}

static void restore_freed(struct endpoints *e, const struct journal_state *state)
{
	bool same_boot = streq(state->boot_id, e->boot_id);
	uint64_t now = endpoints_now_ms();

	for (size_t i = 0; i < state->n_freed; i++) /* another boot's clock says nothing: they rest from now on */
		ipam_release(e->ipam, &state->freed[i].addr, same_boot ? MIN(state->freed[i].freed_ms, now) : now);
}

int endpoints_settle(struct endpoints *e, struct journal_state *state, bool journal_lost)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n;
	int code = rtnl_list_links(e->nl, &links, &n);

	if (code < 0)
		return code;
	restore_freed(e, state);
	for (size_t i = 0; i < state->n_records && code == 0; i++)
		code = settle_record(e, take_ptr(state->records[i]), links, n);
	return code < 0 ? code : settle_links(e, links, n, journal_lost);
}

/* Why an endpoint's time is over, or NULL. */
static const char *verdict(const struct endpoint_record *r, const struct link *l, pod_gone_fn *gone, void *ctx)
{
	bool netns = endpoint_netns_is_there(r);

	if (r->state != ENDPOINT_UP)
		return "left of a failed ADD";
	if (!l && (!netns || !*r->netns))
		return "its interface and its namespace are gone";
	if (l && *r->netns && !netns && gone && *r->pod_name && gone(r->pod_namespace, r->pod_name, r->pod_uid, ctx))
		return "its namespace's path and its pod are gone";
	return NULL;
}

void endpoints_reconcile(struct endpoints *e, pod_gone_fn *gone, void *ctx)
{
	_cleanup_free_ struct link *links = NULL;
	size_t n;
	int code = rtnl_list_links(e->nl, &links, &n);

	for (struct htab_node *h = htab_begin(&e->by_key), *next; code == 0 && h; h = next) {
		struct endpoint *ep = container_of(h, struct endpoint, by_key);
		const struct link *l = live_link(ep->record, links, n);
		const char *why = verdict(ep->record, l, gone, ctx);

		next = htab_next(&e->by_key, h);
		if (why)
			code = drop_record(e, ep, l, why);
	}
	if (code == 0)
		code = settle_links(e, links, n, false);
	if (code < 0)
		log_warn("cannot reconcile endpoints, again in a minute", L_ERRNO(code));
}
