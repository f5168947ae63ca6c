/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's events: which of them can mean that something of ours is not as it should be. Most are our own doing, and
 * each that counts costs a pass, so an event about a pod's interface is held against what the kernel has by now. */
#include "agent/agent.h"
#include "base/log.h"

#include <linux/neighbour.h>
#include <linux/netconf.h>

static bool is_node_link(const struct agent *a, uint32_t ifindex)
{
	for (size_t i = 0; i < a->facts.n_uplinks; i++)
		if (a->facts.uplinks[i] == ifindex)
			return true;
	return ifindex && ifindex == a->state.tunnel_ifindex;
}

static bool link_is_news(struct agent *a, const struct rtnl_event *ev)
{
	const struct endpoint_record *r = endpoints_find_link(a->endpoints, ev->link.ifindex);
	struct link now;

	if (!r)
		return !pod_link_is_ours(&ev->link);
	if (ev->gone || !pod_link_needs_mending(r, &ev->link))
		return ev->gone;
	return rtnl_get_link(a->nl, ev->link.ifindex, &now) == 0 && pod_link_needs_mending(r, &now);
}

static bool neigh_is_news(struct agent *a, const struct rtnl_event *ev)
{
	const struct neigh *n = &ev->neigh;
	const struct endpoint_record *r;

	if (n->proto != NET_PROTO_WEFT)
		return false;
	if (ev->gone || !(n->state & NUD_PERMANENT))
		return true;
	r = endpoints_find_link(a->endpoints, n->ifindex);
	if (r)
		return memcmp(n->mac, r->pod_mac, 6) != 0;
	for (size_t i = 0; i < a->plan.n_neighs; i++)
		if (neigh_same_slot(&a->plan.neighs[i], n))
			return !neigh_eq(&a->plan.neighs[i], n);
	return false;
}

static bool is_reject(const struct route *r)
{
	return r->type == RTN_BLACKHOLE || r->type == RTN_UNREACHABLE || r->type == RTN_PROHIBIT || r->type == RTN_THROW;
}

/* What it leads to is an uplink, or was one; of several next hops only the first is told here. */
static bool is_default(const struct route *r)
{
	struct prefix any = prefix_any(prefix_family(&r->dst));

	return r->table != RT_TABLE_LOCAL && prefix_eq(&r->dst, &any);
}

/* Routes to pods are /32 and /128. One of them that is not ours stands in our place, or beside it, and does not count; nor do those of the
 * local table, which the kernel makes as each pod's interface comes up (ff00::/8). What was somebody's and is gone may have been the
 * way to a peer. */
static bool route_is_news(struct agent *a, const struct rtnl_event *ev)
{
	const struct route *r = &ev->route;

	if (r->proto == NET_PROTO_WEFT)
		return ev->gone;
	if (ev->gone)
		return is_node_link(a, r->oif) || is_reject(r) || is_default(r);
	if (endpoints_find_link(a->endpoints, r->oif))
		return r->dst.len != 128 && r->table != RT_TABLE_LOCAL;
	return true;
}

static bool netconf_is_news(const struct agent *a, const struct netconf *c)
{
	if (c->ifindex != NETCONFA_IFINDEX_ALL && !is_node_link(a, c->ifindex))
		return false;
	return c->forwarding == 0 || (c->ifindex == NETCONFA_IFINDEX_ALL && c->rp_filter > 0);
}

static bool is_news(struct agent *a, const struct rtnl_event *ev)
{
	switch (ev->type) {
	case RTNL_EVENT_RESYNC:
	case RTNL_EVENT_RULE:
	case RTNL_EVENT_ADDR:
		return true;
	case RTNL_EVENT_LINK:
		return link_is_news(a, ev);
	case RTNL_EVENT_NEIGH:
		return neigh_is_news(a, ev);
	case RTNL_EVENT_ROUTE:
		return route_is_news(a, ev);
	case RTNL_EVENT_TC:
		return ev->gone && (is_node_link(a, ev->tc.ifindex) || endpoints_find_link(a->endpoints, ev->tc.ifindex));
	case RTNL_EVENT_NETCONF:
		return netconf_is_news(a, &ev->netconf);
	}
	return false;
}

static void on_rtnl(const struct rtnl_event *ev, void *ctx)
{
	struct agent *a = ctx;

	if (!is_news(a, ev))
		return;
	if (ev->type == RTNL_EVENT_RESYNC) {
		if (!a->resync_said)
			log_warn("events of the kernel were lost; listing everything again");
		a->resync_said = true; /* until the next pass */
		a->repairs.resyncs++;
	}
	if (ev->type != RTNL_EVENT_NEIGH && ev->type != RTNL_EVENT_TC && ev->type != RTNL_EVENT_NETCONF)
		outer_forget(a);
	if (ev->type != RTNL_EVENT_ADDR)
		a->pass_full = true;
	agent_mark_dirty(a, 200);
}

int agent_start_monitor(struct agent *a)
{
	unsigned types = 1u << RTNL_EVENT_LINK | 1u << RTNL_EVENT_ADDR | 1u << RTNL_EVENT_ROUTE |
			 1u << RTNL_EVENT_RULE | 1u << RTNL_EVENT_NEIGH | 1u << RTNL_EVENT_TC |
			 1u << RTNL_EVENT_NETCONF;

	return rtnl_monitor_new(a->event, types, a->opt.netlink_buffer, on_rtnl, a, &a->monitor);
}

/* ---- pins ---- */

void agent_unwatch_pins(struct agent *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(a->pin_watches); i++)
		a->pin_watches[i] = sd_event_source_disable_unref(a->pin_watches[i]);
}

static int on_pin_gone(_unused_ sd_event_source *s, const struct inotify_event *ev, void *ctx)
{
	struct agent *a = ctx;

	if (ev->mask & (IN_IGNORED | IN_DELETE_SELF))
		agent_unwatch_pins(a); /* the directory itself: the pass makes it again, and watches that one */
	agent_mark_dirty(a, 200);
	return 0;
}

void agent_watch_pins(struct agent *a)
{
	for (unsigned i = 0; i < ARRAY_SIZE(a->pin_watches); i++) {
		_cleanup_free_ char *dir = datapath_pin_dir(a->dp, i);
		int r;

		if (a->pin_watches[i])
			continue;
		r = sd_event_add_inotify(a->event, &a->pin_watches[i], dir, IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF,
					 on_pin_gone, a);
		if (r < 0) /* the audit looks as well */
			log_warn("cannot watch pins", L_STR("directory", dir), L_ERRNO(r));
	}
}
