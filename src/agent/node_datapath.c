/* SPDX-License-Identifier: Apache-2.0 */
/* The node in the datapath: opened for the node as the plan has it, given its links, routes and masquerade; and what it tells, events
 * and repairs. */
#include "agent/agent.h"
#include "agent/inbound.h"
#include "agent/lists.h"
#include "agent/masquerade.h"
#include "agent/transport.h"
#include "base/log.h"
#include "base/str.h"

enum { LIMIT_LOG_US = 60000000 }; /* a limit that goes on being reached */

static bool is_nat_limit(uint32_t reason)
{
	return (reason >= DROP_NAT_EXHAUSTED && reason <= DROP_NAT_ADDRESS) || reason == DROP_NAT_UNANSWERED;
}

/* Limits that hold up pods are worth a line, at most one of a kind a minute. */
static void log_limit(struct agent *a, const struct dp_event *ev)
{
	uint64_t now = agent_now_us(a), *last = &a->limit_logged_us[ev->reason];
	char src[ADDR_TEXT_MAX], dst[ENDPOINT_TEXT_MAX];

	if (!is_nat_limit(ev->reason) || (*last && now - *last < LIMIT_LOG_US))
		return;
	*last = now;
	log_warn("connections of pods to the world are refused", L_STR("reason", drop_reason_label(ev->reason)),
		 L_STR("text", drop_reason_text(ev->reason)), L_STR("pod", addr_format(&ev->src, src)),
		 L_STR("destination", addr_port_format(&ev->dst, ev->dport, dst)));
}

static void on_dp_event(const struct dp_event *ev, void *ctx)
{
	if (ev->reason < DROP_REASON_COUNT)
		log_limit(ctx, ev);
	seeing_on_event(ev, ctx);
}

static int on_dp_events(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *ctx)
{
	struct agent *a = ctx;

	if (a->dp)
		datapath_read_events(a->dp, 1000, on_dp_event, a); /* the next turn of the loop goes on */
	return 0;
}

static void on_dp_repair(enum dp_repair what, const char *text, void *ctx)
{
	static const enum repair kinds[] = {[DP_REPAIR_PROGRAM] = REPAIR_PROGRAM,
					    [DP_REPAIR_ENTRY] = REPAIR_MAP_ENTRY,
					    [DP_REPAIR_PIN] = REPAIR_PIN};
	struct agent *a = ctx;

	repairs_note(&a->repairs, kinds[what], 1, text);
}

void agent_close_datapath(struct agent *a)
{
	agent_unwatch_pins(a);
	a->dp_events = sd_event_source_disable_unref(a->dp_events);
	if (a->policies) /* none yet when the start fails early */
		policies_forget_datapath(a->policies);
	a->dp = datapath_close(a->dp);
}

static bool dp_config_eq(const struct dp_config *x, const struct dp_config *y)
{
	return x->attach == y->attach && x->fast_path == y->fast_path && x->mss_clamp == y->mss_clamp && x->pod_tunnels == y->pod_tunnels && x->flow_events == y->flow_events && x->foreign_nat == y->foreign_nat && x->inbound == y->inbound && x->xdp == y->xdp &&
	       x->vni == y->vni && x->tunnel_port == y->tunnel_port && x->geneve == y->geneve && x->guard == y->guard && x->flow_max == y->flow_max && x->masquerade[0] == y->masquerade[0] &&
	       x->masquerade[1] == y->masquerade[1] && prefix_eq(&x->ranges[0], &y->ranges[0]) && prefix_eq(&x->ranges[1], &y->ranges[1]) && addr_eq(&x->node_addrs[0], &y->node_addrs[0]) &&
	       addr_eq(&x->node_addrs[1], &y->node_addrs[1]) && addr_eq(&x->underlay[0], &y->underlay[0]) &&
	       addr_eq(&x->underlay[1], &y->underlay[1]);
}

/* The UDP port of what is between nodes; 0 without. */
static uint16_t tunnel_port(const struct options *o)
{
	return mesh_is_on(o) ? o->mesh_port : transport_port(o);
}

struct pod_list {
	struct addr *addrs;
	size_t n, cap;
};

static void add_pod(const struct endpoint_record *r, void *ctx)
{
	struct pod_list *to = ctx;

	if (r->state != ENDPOINT_UP || endpoint_is_open(r))
		return;
	for (int f = 0; f < 2; f++) {
		if (addr_is_zero(&r->addrs[f]))
			continue;
		GROW(to->addrs, to->n, to->cap);
		to->addrs[to->n++] = r->addrs[f];
	}
}

/* Those of an earlier agent, as far as policies deny anything to them. */
static struct pod_list pods_from_before(const struct agent *a)
{
	struct pod_list pods = { 0 };

	if (!a->policy_applied && a->opt.policy_mode != POLICY_MODE_OBSERVE)
		endpoints_each(a->endpoints, add_pod, &pods);
	return pods;
}

static void note_locked(struct agent *a, const struct pod_list *pods)
{
	_cleanup_free_ char *why = NULL;

	a->pods_locked = datapath_policy_count_locked(a->dp, pods->addrs, pods->n);
	if (!a->pods_locked)
		return;
	why = xasprintf("%zu addresses of pods are locked down until the API has told their policies", a->pods_locked);
	health_set(&a->health, PART_POLICY, why);
}

static int open_datapath(struct agent *a, struct dp_config *c, char **ret_error)
{
	struct pod_list pods = pods_from_before(a);
	int r;

	c->pods = pods.addrs;
	c->n_pods = pods.n;
	r = datapath_open(c, &a->dp, ret_error);
	if (r == 0)
		note_locked(a, &pods);
	free(pods.addrs);
	c->pods = NULL;
	c->n_pods = 0;
	return r;
}

/* Opens the datapath for the node as `state` says; a changed node opens it anew. What it carries goes on meanwhile. */
int agent_ensure_datapath(struct agent *a, char **ret_error)
{
	const struct node_state *s = &a->state;
	struct dp_config c = {.pin_dir = a->opt.bpf_dir,
			      .attach = (enum dp_attach)a->opt.attach,
			      .fast_path = a->opt.fast_path,
			      .mss_clamp = a->opt.mss_clamp,
			      .pod_tunnels = a->opt.pod_tunnels,
			      .flow_events = a->opt.observe_flows,
			      .foreign_nat = a->opt.foreign_nat,
			      .tunnel_ifindex = s->tunnel_ifindex,
			      .vni = a->opt.vxlan_vni,
			      .flow_max = a->opt.flow_table_size,
			      .nat_max = a->opt.nat_table_size,
			      .policy_addr_max = a->opt.policy_address_table_size,
			      .policy_rule_max = a->opt.policy_rule_table_size,
			      .tunnel_port = tunnel_port(&a->opt),
			      .geneve = transport_of(&a->opt) == ROUTE_GENEVE,
			      .guard = mesh_is_on(&a->opt)};
	_cleanup_free_ char *cgroup = services_cgroup(a);
	int r, fd;

	c.service_max = a->opt.service_table_size;
	c.cgroup = cgroup;
	for (int f = 0; f < 2; f++)
		c.masquerade[f] = masquerade_is_on(&a->opt, f, &s->ranges[f]);
	port_range_parse(a->opt.masquerade_ports, &c.nat_port_min, &c.nat_port_max); /* checked when it was read */
	c.inbound = a->services.inbound;
	c.xdp = c.inbound ? (enum dp_xdp)a->opt.service_xdp : DP_XDP_OFF;
	c.host = a->opt.policy_host;
	inbound_ports(c.nat_port_min, c.nat_port_max, &c.inbound_port_min, &c.inbound_port_max);

	memcpy(c.node_addrs, s->node_addrs, sizeof(c.node_addrs));
	memcpy(c.ranges, s->ranges, sizeof(c.ranges));
	memcpy(c.underlay, s->underlay, sizeof(c.underlay));
	if (a->dp && dp_config_eq(&c, &a->dp_config)) {
		datapath_set_tunnel(a->dp, c.tunnel_ifindex);
		return 0;
	}
	agent_close_datapath(a);
	r = open_datapath(a, &c, ret_error);
	if (r < 0)
		return r;
	a->dp_config = c;
	a->dp_config.cgroup = NULL; /* options do not change while the agent runs */
	a->dp_generation++;
	datapath_on_repair(a->dp, on_dp_repair, a);
	fd = datapath_events_fd(a->dp);
	if (fd >= 0)
		r = sd_event_add_io(a->event, &a->dp_events, fd, EPOLLIN, on_dp_events, a);
	if (r >= 0 && a->dp_events)
		sd_event_source_set_priority(a->dp_events, SD_EVENT_PRIORITY_IDLE);
	a->pass_full = true; /* its endpoints are to be looked at */
	return r < 0 ? r : 0;
}

static int apply_datapath_links(struct agent *a)
{
	struct dp_link links[UPLINKS_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < a->facts.n_uplinks; i++)
		links[n++] = (struct dp_link){a->facts.uplinks[i], DP_LINK_UPLINK};
	if (a->state.tunnel_ifindex && !a->tunnel_lost)
		links[n++] = (struct dp_link){a->state.tunnel_ifindex, mesh_is_on(&a->opt) ? DP_LINK_MESH : DP_LINK_TUNNEL};
	return datapath_apply_links(a->dp, links, n);
}

static enum dp_transport datapath_transport(enum route_transport t)
{
	return t == ROUTE_WIREGUARD ? DP_MESH : route_transport_is_tunnel(t) ? DP_TUNNEL : DP_DIRECT;
}

static void find_outer_way(struct agent *a, struct dp_node_route *r)
{
	uint32_t largest = r->mtu + route_overhead(transport_of(&a->opt), !addr_is_v4(&r->underlay));
	const struct outer_way *way = outer_find(a, &r->underlay, largest);

	r->unwrap = outer_may_unwrap(a);
	if (!way)
		return;
	r->uplink = way->uplink;
	r->next_hop = way->next_hop;
}

static int apply_datapath_routes(struct agent *a)
{
	_cleanup_free_ struct dp_node_route *routes = xnew0_array(struct dp_node_route, a->plan.n_node_routes + 1);

	for (size_t i = 0; i < a->plan.n_node_routes; i++) {
		const struct route_node_route *from = &a->plan.node_routes[i];

		routes[i] = (struct dp_node_route){.prefix = from->prefix,
						   .underlay = from->underlay,
						   .ifindex = from->ifindex,
						   .outer = from->outer,
						   .plain = from->plain,
						   .node = from->is_node,
						   .transport = from->only_source ? DP_NONE : datapath_transport(from->transport),
						   .mtu = from->mtu};
		memcpy(routes[i].vtep_mac, from->vtep_mac, 6);
		if (from->n_plain_by <= DP_PLAIN_LINKS_MAX) /* else by any */
			memcpy(routes[i].plain_by, from->plain_by, from->n_plain_by * sizeof(*from->plain_by));
		if (routes[i].transport == DP_TUNNEL)
			find_outer_way(a, &routes[i]);
	}
	return datapath_apply_node_routes(a->dp, routes, a->plan.n_node_routes);
}

/* The first address of each family that an uplink has is the one that it is known by; without one, the node's, as the kernel has it for the
 * node's own packets by a link without addresses. */
static size_t list_nat_uplinks(const struct agent *a, struct dp_nat_uplink ret[UPLINKS_MAX])
{
	for (size_t i = 0; i < a->facts.n_uplinks; i++) {
		ret[i] = (struct dp_nat_uplink){ .ifindex = a->facts.uplinks[i] };
		agent_find_underlays(a, ret[i].addrs);
		for (size_t k = a->facts.n_underlays; k-- > 0;) {
			const struct route_underlay *u = &a->facts.underlays[k];

			if (u->ifindex == ret[i].ifindex)
				ret[i].addrs[!addr_is_v4(&u->addr)] = u->addr;
		}
	}
	return a->facts.n_uplinks;
}

int agent_apply_masquerade(struct agent *a)
{
	_cleanup_free_ struct dp_exempt *exempt = NULL;
	_cleanup_free_ bool *reserved = xnew0_array(bool, PORTS);
	struct dp_nat_uplink uplinks[UPLINKS_MAX];
	struct dp_masquerade m = { .uplinks = uplinks, .n_uplinks = list_nat_uplinks(a, uplinks), .reserved = reserved };

	m.n_exempt = masquerade_exempt(&a->opt, a->model, &exempt);
	m.exempt = exempt;
	list_ports(a->opt.masquerade_reserved, reserved); /* checked when it was read */
	reserved[transport_port(&a->opt)] = true;
	reserved[a->opt.mesh_port] = true;
	for (uint32_t port = 0; a->services.taken && port < PORTS; port++)
		reserved[port] |= a->services.taken[port] > 0;
	return datapath_apply_masquerade(a->dp, &m);
}

int agent_apply_links(struct agent *a)
{
	int r = datapath_apply_pins(a->dp);

	if (r == 0)
		r = agent_mesh_guard(a);
	if (r == 0)
		r = agent_apply_masquerade(a);
	return r ? r : apply_datapath_links(a);
}

int agent_apply_datapath(struct agent *a, char **ret_error)
{
	int r = agent_ensure_datapath(a, ret_error);

	if (r < 0)
		return r;
	r = agent_apply_links(a);
	if (r == 0)
		r = apply_datapath_routes(a); /* what guards stands before there is a way */
	if (r < 0)
		*ret_error = xasprintf("cannot pin maps, write node routes or attach to links: %s", strerror(-r));
	agent_watch_pins(a);
	return r;
}
