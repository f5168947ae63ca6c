/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/outer.h"
#include "agent/agent.h"
#include "agent/transport.h"
#include "base/log.h"
#include "net/xfrm.h"

enum { FORGET_AFTER = 65536 }; /* peers come and go */

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
	int r;

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
	outer_forget(a);
	free(a->outer.ways);
}
