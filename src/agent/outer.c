/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/outer.h"
#include "agent/agent.h"
#include "agent/transport.h"
#include "base/log.h"
#include "net/xfrm.h"

enum { FORGET_AFTER = 65536 }; /* peers come and go */
/* The kernel forgets what routers told it after 10 minutes, and learns it again by packets that are lost: they go on being lost until the next audit. */
#define BELIEVE_US (3600 * 1000000ull)

static bool is_uplink(const struct agent *a, uint32_t ifindex)
{
	for (size_t i = 0; i < a->facts.n_uplinks; i++)
		if (a->facts.uplinks[i] == ifindex)
			return true;
	return false;
}

/* A link of Ethernet frames, whose headers the kernel writes when it knows the next hop. */
static bool is_ethernet(struct agent *a, uint32_t ifindex, uint32_t *ret_mtu)
{
	static const uint8_t none[6];
	struct link l;

	if (rtnl_get_link(a->nl, ifindex, &l) < 0 || memcmp(l.mac, none, 6) == 0)
		return false;
	*ret_mtu = l.mtu;
	return true;
}

/* One path, and nothing on it but the link. */
static bool is_plain(const struct route *r)
{
	return r->type == RTN_UNICAST && r->nexthops == 1 && !r->lwt;
}

/* The entry says whether there are several ways; the answer for this very packet, what has been learned of the path. */
static void ask(struct agent *a, struct outer_way *way)
{
	struct addr own = a->state.underlay[!addr_is_v4(&way->remote)];
	struct rtnl_way q = {.src = own, .dst = way->remote, .udp_port = transport_port(&a->opt)};
	struct route entry, route;
	uint32_t mtu;

	if (addr_is_zero(&own))
		return;
	q.entry = true;
	if (rtnl_find_way(a->nl, &q, &entry) < 0 || !is_plain(&entry))
		return;
	q.entry = false;
	if (rtnl_find_way(a->nl, &q, &route) < 0 || !is_plain(&route) || !is_uplink(a, route.oif) || !is_ethernet(a, route.oif, &mtu))
		return;
	way->next_hop = addr_is_zero(&route.via) ? way->remote : route.via;
	way->mtu = route.mtu ? MIN(route.mtu, mtu) : mtu;
	way->link_mtu = mtu;
	way->entry_mtu = entry.mtu;
	way->uplink = route.oif;
}

static struct outer_way *get(struct agent *a, const struct addr *remote)
{
	struct outer *o = &a->outer;
	uint64_t hash = hash_bytes(remote, sizeof(*remote), 0); /* addresses of nodes, which the API knows: no seed */
	struct outer_way *way;

	HTAB_FIND(&o->by_remote, hash, way, node, addr_eq(&way->remote, remote));
	if (way)
		return way;
	GROW(o->ways, o->n, o->cap);
	way = o->ways[o->n++] = xnew0(struct outer_way);
	way->remote = *remote;
	htab_insert(&o->by_remote, hash, &way->node);
	ask(a, way);
	return way;
}

/* Who cannot be asked may have policies. */
static void look_for_ipsec(struct outer *o)
{
	int r = xfrm_has_policy(&o->ipsec);

	o->ipsec |= r < 0;
	if (r < 0)
		log_warn("cannot list IPsec policies; the tunnel's device makes outer packets", L_ERRNO(r));
	o->known = true;
}

bool outer_may_unwrap(struct agent *a)
{
	if (a->opt.encap != ENCAP_AUTO)
		return false;
	if (!a->outer.known)
		look_for_ipsec(&a->outer);
	return !a->outer.ipsec;
}

const struct outer_way *outer_find(struct agent *a, const struct addr *remote, uint32_t largest)
{
	const struct outer_way *way;

	if (a->outer.n >= FORGET_AFTER)
		outer_forget(a);
	if (!outer_may_unwrap(a))
		return NULL;
	way = get(a, remote);
	return way->uplink && way->mtu >= largest ? way : NULL;
}

static int cmp_path(const void *x, const void *y)
{
	return addr_cmp(&((const struct outer_path *)x)->remote, &((const struct outer_path *)y)->remote);
}

static struct outer_path *known_path(const struct outer *o, const struct outer_way *way, uint64_t now)
{
	struct outer_path want = {.remote = way->remote}, *path;

	path = o->n_paths ? bsearch(&want, o->paths, o->n_paths, sizeof(want), cmp_path) : NULL;
	return path && now < path->until_us && path->uplink == way->uplink && path->link_mtu == way->link_mtu &&
			       addr_eq(&path->next_hop, &way->next_hop)
		       ? path
		       : NULL;
}

/* A place for the peer's, in order; what there was of another way goes. */
static struct outer_path *add_path(struct outer *o, const struct addr *remote)
{
	size_t at = 0;

	while (at < o->n_paths && addr_cmp(&o->paths[at].remote, remote) < 0)
		at++;
	if (at < o->n_paths && addr_eq(&o->paths[at].remote, remote))
		return &o->paths[at];
	o->paths = xrealloc(o->paths, o->n_paths + 1, sizeof(*o->paths));
	memmove(&o->paths[at + 1], &o->paths[at], (o->n_paths++ - at) * sizeof(*o->paths));
	return &o->paths[at];
}

/* Return: whether it is narrower than its link. */
static bool look_at_path(const struct outer *o, const struct outer_way *way, uint64_t now, struct outer_path *ret)
{
	uint32_t said = way->entry_mtu ? MIN(way->entry_mtu, way->link_mtu) : way->link_mtu;
	const struct outer_path *known = known_path(o, way, now);

	*ret = (struct outer_path){.remote = way->remote, .next_hop = way->next_hop, .uplink = way->uplink, .link_mtu = way->link_mtu, .mtu = way->mtu};
	if (way->mtu < said) {
		ret->until_us = now + BELIEVE_US;
	} else if (known && known->mtu < way->mtu) {
		ret->mtu = known->mtu;
		ret->until_us = known->until_us;
	}
	return way->uplink && ret->mtu < way->link_mtu;
}

static bool is_uncut(const struct route_peer *p)
{
	return p->state == ROUTE_PEER_OK && (p->transport == ROUTE_VXLAN || p->transport == ROUTE_GENEVE) && !addr_is_v4(&p->underlay);
}

struct route_path *outer_paths(struct agent *a, const struct route_plan *last, size_t *ret_n)
{
	struct outer_path *paths = xnew0_array(struct outer_path, last->n_peers + 1);
	struct route_path *ret = xnew0_array(struct route_path, last->n_peers + 1);
	struct outer *o = &a->outer;
	uint64_t now = 0;
	size_t n = 0;

	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	for (size_t i = 0; i < last->n_peers; i++)
		n += is_uncut(&last->peers[i]) && look_at_path(o, get(a, &last->peers[i].underlay), now, &paths[n]);
	qsort(paths, n, sizeof(*paths), cmp_path);
	for (size_t i = 0; i < n; i++)
		ret[i] = (struct route_path){.remote = paths[i].remote, .mtu = paths[i].mtu};
	free(o->paths);
	o->paths = paths;
	o->n_paths = *ret_n = n;
	return ret;
}

static bool is_uncut_peer(const struct agent *a, const struct addr *remote)
{
	for (size_t i = 0; i < a->plan.n_peers; i++)
		if (is_uncut(&a->plan.peers[i]) && addr_eq(&a->plan.peers[i].underlay, remote))
			return true;
	return false;
}

/* As long believed as what the kernel has learned. */
bool outer_learn(struct agent *a, const struct addr *remote, uint32_t mtu)
{
	struct outer *o = &a->outer;
	const struct outer_way *way;
	struct outer_path *path;
	uint64_t now = 0;

	if (!is_uncut_peer(a, remote))
		return false;
	way = get(a, remote);
	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	path = known_path(o, way, now);
	if (!way->uplink || mtu >= way->mtu || (path && mtu >= path->mtu))
		return false;
	if (!path)
		path = add_path(o, remote);
	*path = (struct outer_path){ .remote = *remote, .next_hop = way->next_hop, .uplink = way->uplink, .link_mtu = way->link_mtu, .mtu = mtu,
				     .until_us = now + BELIEVE_US };
	return true;
}

void outer_forget(struct agent *a)
{
	struct outer *o = &a->outer;

	for (size_t i = 0; i < o->n; i++)
		free(o->ways[i]);
	o->n = 0;
	htab_done(&o->by_remote);
	o->by_remote = (struct htab){0};
	o->known = false;
}

static int on_ipsec(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *ctx)
{
	xfrm_monitor_drain(fd);
	outer_forget(ctx);
	agent_mark_dirty(ctx, 0);
	return 0;
}

int outer_start(struct agent *a)
{
	int r = outer_listen(a);

	if (r < 0) /* the audit looks at what the kernel has learned */
		log_warn("cannot hear what routers say of outer packets", L_ERRNO(r));
	a->outer.ipsec_fd = xfrm_monitor_open();
	if (a->outer.ipsec_fd == -EPROTONOSUPPORT) /* a kernel without IPsec */
		return 0;
	if (a->outer.ipsec_fd < 0)
		return a->outer.ipsec_fd;
	r = sd_event_add_io(a->event, &a->outer.ipsec_events, a->outer.ipsec_fd, EPOLLIN, on_ipsec, a);
	return r < 0 ? r : 0;
}

void outer_stop(struct agent *a)
{
	a->outer.ipsec_events = sd_event_source_disable_unref(a->outer.ipsec_events);
	a->outer.ipsec_fd = close_fd(a->outer.ipsec_fd);
	a->outer.told_events = sd_event_source_disable_unref(a->outer.told_events);
	outer_forget(a);
	free(a->outer.ways);
	free(a->outer.paths);
}
