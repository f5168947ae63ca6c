/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, and the pass: facts of the kernel and the model go in, the plan comes out, the difference is applied. A
 * pass is idempotent and cheap when nothing differs; sources only ask for one. A pass that fails is repeated with
 * backoff, and says so under its part's health.
 *
 * Before the first whole list of nodes nothing is taken away: after a restart the datapath, the routes and the
 * addresses of the former agent go on, and pods can come and go with what node.json remembers.
 *
 * At the end of the process nothing is undone: packets flow on. */
#include "agent/agent.h"
#include "agent/announcer.h"
#include "agent/lists.h"
#include "agent/inbound.h"
#include "agent/masquerade.h"
#include "agent/transport.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum {
	TICK_US = 1000000, /* things that are looked at now and then */
	CONNECT_TICKS = 5, /* a kubeconfig that was missing or bad */
	BACKOFF_MIN_MS = 500,
	BACKOFF_MAX_MS = 30000,
	LIMIT_LOG_US = 60000000, /* a limit that goes on being reached */
};

static uint64_t now_us(struct agent *a)
{
	uint64_t now = 0;

	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	return now;
}

void agent_mark_dirty(struct agent *a, uint64_t delay_ms)
{
	uint64_t at = now_us(a) + delay_ms * 1000;

	if (a->next_pass_us && a->next_pass_us <= at)
		return;
	a->next_pass_us = at;
	sd_event_source_set_time(a->pass_timer, at);
	sd_event_source_set_enabled(a->pass_timer, SD_EVENT_ONESHOT);
}

static char *state_path(const struct agent *a, const char *name)
{
	return xasprintf("%s/state/%s", a->opt.run_dir, name);
}

/* ---- applying ---- */

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

static int apply_node_addrs(struct agent *a)
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
static int take_back_routes(struct agent *a)
{
	_cleanup_free_ struct route *have = NULL;
	size_t n;
	int r = rtnl_list_routes(a->nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &have, &n);

	for (size_t i = 0; r == 0 && i < a->plan.n_routes; i++) {
		char text[PREFIX_TEXT_MAX];
		bool there = false;

		for (size_t k = 0; k < n && !there; k++)
			there = route_eq(&a->plan.routes[i], &have[k]);
		if (there)
			continue;
		r = rtnl_replace_route(a->nl, &a->plan.routes[i]);
		if (r == 0)
			repairs_note(&a->repairs, REPAIR_ROUTE, 1, prefix_format(&a->plan.routes[i].dst, text));
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

static int apply_tables(struct agent *a, char **ret_error)
{
	size_t n_links, changed;
	_cleanup_free_ uint32_t *links = endpoints_links(a->endpoints, &n_links);
	int r;

	r = rtnl_apply_neighs(a->nl, a->plan.neighs, a->plan.n_neighs, links, n_links, &changed);
	if (r == 0) {
		note_changes(a, REPAIR_NEIGHBOUR, changed);
		r = rtnl_apply_routes(a->nl, a->plan.routes, a->plan.n_routes, links, n_links, &changed);
		if (r == 0)
			note_changes(a, REPAIR_ROUTE, changed);
		else if (r == -EEXIST && a->applied)
			r = take_back_routes(a);
	}
	if (r == 0)
		r = rtnl_apply_rules(a->nl, a->plan.rules, a->plan.n_rules, &changed);
	if (r == 0)
		note_changes(a, REPAIR_RULE, changed);
	else
		*ret_error = xasprintf("routes: %s", rtnl_error_text(a->nl));
	a->applied |= r == 0;
	return r;
}

static bool is_nat_limit(uint32_t reason)
{
	return (reason >= DROP_NAT_EXHAUSTED && reason <= DROP_NAT_ADDRESS) || reason == DROP_NAT_UNANSWERED;
}

/* Limits that hold up pods are worth a line, at most one of a kind a minute. */
static void log_limit(struct agent *a, const struct dp_event *ev)
{
	uint64_t now = now_us(a), *last = &a->limit_logged_us[ev->reason];
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

static void close_datapath(struct agent *a)
{
	agent_unwatch_pins(a);
	a->dp_events = sd_event_source_disable_unref(a->dp_events);
	if (a->policies) /* none yet when the start fails early */
		policies_forget_datapath(a->policies);
	a->dp = datapath_close(a->dp);
}

static bool dp_config_eq(const struct dp_config *x, const struct dp_config *y)
{
	return x->attach == y->attach && x->fast_path == y->fast_path && x->mss_clamp == y->mss_clamp && x->flow_events == y->flow_events && x->foreign_nat == y->foreign_nat && x->inbound == y->inbound &&
	       x->vni == y->vni && x->tunnel_port == y->tunnel_port && x->geneve == y->geneve && x->guard == y->guard && x->flow_max == y->flow_max && x->masquerade[0] == y->masquerade[0] &&
	       x->masquerade[1] == y->masquerade[1] && addr_eq(&x->node_addrs[0], &y->node_addrs[0]) &&
	       addr_eq(&x->node_addrs[1], &y->node_addrs[1]) && addr_eq(&x->underlay[0], &y->underlay[0]) &&
	       addr_eq(&x->underlay[1], &y->underlay[1]);
}

/* The UDP port of what is between nodes; 0 without. */
static uint16_t tunnel_port(const struct options *o)
{
	return mesh_is_on(o) ? o->mesh_port : transport_port(o);
}

/* Opens the datapath for the node as `state` says; a changed node opens it anew. What it carries goes on meanwhile. */
static int ensure_datapath(struct agent *a, char **ret_error)
{
	const struct node_state *s = &a->state;
	struct dp_config c = {.pin_dir = a->opt.bpf_dir,
			      .attach = (enum dp_attach)a->opt.attach,
			      .fast_path = a->opt.fast_path,
			      .mss_clamp = a->opt.mss_clamp,
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
	inbound_ports(c.nat_port_min, c.nat_port_max, &c.inbound_port_min, &c.inbound_port_max);

	memcpy(c.node_addrs, s->node_addrs, sizeof(c.node_addrs));
	memcpy(c.underlay, s->underlay, sizeof(c.underlay));
	if (a->dp && dp_config_eq(&c, &a->dp_config)) {
		datapath_set_tunnel(a->dp, c.tunnel_ifindex);
		return 0;
	}
	close_datapath(a);
	r = datapath_open(&c, &a->dp, ret_error);
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
	if (a->state.tunnel_ifindex)
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
						   .transport = datapath_transport(from->transport),
						   .mtu = from->mtu};
		memcpy(routes[i].vtep_mac, from->vtep_mac, 6);
		if (routes[i].transport == DP_TUNNEL)
			find_outer_way(a, &routes[i]);
	}
	return datapath_apply_node_routes(a->dp, routes, a->plan.n_node_routes);
}

/* The first address of each family that an uplink has is the one that it is known by. */
static size_t list_nat_uplinks(const struct agent *a, struct dp_nat_uplink ret[UPLINKS_MAX])
{
	for (size_t i = 0; i < a->facts.n_uplinks; i++) {
		ret[i] = (struct dp_nat_uplink){ .ifindex = a->facts.uplinks[i] };
		for (size_t k = a->facts.n_underlays; k-- > 0;) {
			const struct route_underlay *u = &a->facts.underlays[k];

			if (u->ifindex == ret[i].ifindex)
				ret[i].addrs[!addr_is_v4(&u->addr)] = u->addr;
		}
	}
	return a->facts.n_uplinks;
}

static int apply_masquerade(struct agent *a)
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
	return datapath_apply_masquerade(a->dp, &m);
}

static int apply_datapath(struct agent *a, char **ret_error)
{
	int r = ensure_datapath(a, ret_error);

	if (r < 0)
		return r;
	r = datapath_apply_pins(a->dp);
	if (r == 0)
		r = agent_mesh_guard(a);
	if (r == 0)
		r = apply_masquerade(a);
	if (r == 0)
		r = apply_datapath_links(a);
	if (r == 0)
		r = apply_datapath_routes(a); /* what guards stands before there is a way */
	if (r < 0)
		*ret_error = xasprintf("cannot pin maps, write node routes or attach to links: %s", strerror(-r));
	agent_watch_pins(a);
	return r;
}

static int before_publish(void *ctx)
{
	return agent_update_policies(ctx);
}

static void give_endpoints_the_node(struct agent *a)
{
	const struct node_state *s = &a->state;
	struct endpoints_node node = {
	    .dp = a->dp,
	    .before_publish = before_publish,
	    .ctx = a,
	    .device_mtu = s->device_mtu,
	    .env = {.route_mtu = s->route_mtu, .node_addrs = {s->node_addrs[0], s->node_addrs[1]}}};

	memcpy(node.ranges, s->ranges, sizeof(node.ranges));
	endpoints_set_node(a->endpoints, &node);
}

/* ---- the pass ---- */

static int compile(struct agent *a, uint32_t tunnel_ifindex)
{
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);
	struct route_config c = {.node = a->opt.node_name,
				 .underlays = a->facts.underlays,
				 .n_underlays = a->facts.n_underlays,
				 .tunnel_ifindex = tunnel_ifindex,
				 .vni = a->opt.vxlan_vni,
				 .lo_ifindex = 1};
	struct route_plan plan;

	for (unsigned i = 0; node && i < node->n_cidrs; i++) {
		c.ipv4 |= addr_is_v4(&node->cidrs[i].addr);
		c.ipv6 |= !addr_is_v4(&node->cidrs[i].addr);
	}
	c.service_ranges = services_ranges(a, &c.n_service_ranges);
	transport_fill(a, &c);
	route_compile(&c, a->model, &plan);
	a->applied = a->applied && route_plan_eq(&plan, &a->plan);
	route_plan_done(&a->plan);
	a->plan = plan;
	a->planned = true;
	return a->plan.ranges[0].len || a->plan.ranges[1].len ? 0 : -EAGAIN;
}

static int ensure_tunnel(struct agent *a, uint32_t *ret_ifindex, char **ret_error)
{
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);
	const char *mended = NULL;
	uint32_t mtu = 0;
	uint8_t mac[6];
	int r = node ? route_vtep_mac(node->cidrs, node->n_cidrs, mac) : -ENOENT;

	*ret_ifindex = 0;
	if (r < 0)
		return 0; /* no range yet: compile() says so */
	if (mesh_is_on(&a->opt) || !transport_has_tunnel(&a->opt))
		r = node_remove_vxlan(a->nl);
	if (r == 0 && !mesh_is_on(&a->opt))
		r = mesh_remove_device(a->nl, MESH_DEVICE);
	if (r < 0 || !transport_has_tunnel(&a->opt))
		return r;
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		mtu = mtu ? MIN(mtu, a->facts.underlays[i].mtu) : a->facts.underlays[i].mtu;
	mtu = mtu ? mtu : 1500;
	r = mesh_is_on(&a->opt) ? agent_mesh_ensure(a, mtu, ret_ifindex, &mended, ret_error)
				: node_ensure_vxlan(a->nl, &a->opt, mac, mtu, ret_ifindex, &mended, ret_error);
	if (r == 0 && mended && a->applied)
		repairs_note(&a->repairs, REPAIR_DEVICE, 1, mended);
	return r;
}

/* What of the plan must be known at the next start. */
static void remember(struct agent *a, uint32_t tunnel_ifindex)
{
	_cleanup_free_ char *path = state_path(a, "node.json");
	struct node_state s = {
	    .device_mtu = a->plan.device_mtu, .route_mtu = a->plan.pod_mtu, .tunnel_ifindex = tunnel_ifindex};
	int r;

	memcpy(s.ranges, a->plan.ranges, sizeof(s.ranges));
	memcpy(s.node_addrs, a->plan.node_addrs, sizeof(s.node_addrs));
	for (size_t i = a->facts.n_underlays; i-- > 0;)
		s.underlay[!addr_is_v4(&a->facts.underlays[i].addr)] = a->facts.underlays[i].addr;
	if (node_state_eq(&s, &a->state))
		return;
	r = node_state_save(path, &s);
	if (r < 0)
		log_warn("cannot remember the node's state", L_STR("file", path), L_ERRNO(r));
	a->state = s;
}

static int read_facts(struct agent *a, char **ret_error)
{
	struct node_facts f = {0};
	int r = node_read_facts(a->nl, &a->opt, model_find_node(a->model, a->opt.node_name), &f, ret_error);

	if (r < 0)
		return r;
	node_facts_done(&a->facts);
	a->facts = f;
	return 0;
}

static int prepare(struct agent *a, char **ret_error)
{
	_cleanup_free_ char *changed = NULL;
	uint32_t tunnel = 0;
	int r = read_facts(a, ret_error);

	if (r == 0)
		r = ensure_tunnel(a, &tunnel, ret_error);
	if (r < 0)
		return r;
	r = compile(a, tunnel);
	if (r < 0) {
		*ret_error = xstrdup(a->plan.error ? a->plan.error : "this node has no address range yet");
		return r;
	}
	r = node_set_sysctls(&a->facts, a->plan.ranges[0].len > 0, a->plan.ranges[1].len > 0,
			     a->opt.transport == TRANSPORT_AUTO, &changed, ret_error);
	if (changed && a->applied)
		repairs_note(&a->repairs, REPAIR_SYSCTL, 1, changed);
	if (r < 0)
		return r;
	r = apply_node_addrs(a);
	if (r == 0)
		remember(a, tunnel);
	else
		*ret_error = xasprintf("addresses: %s", rtnl_error_text(a->nl));
	return r;
}

static void set_health(struct agent *a, enum part part, int r, const char *error)
{
	health_set(&a->health, part, r < 0 ? (error ? error : strerror(-r)) : NULL);
}

static void set_ipam_health(struct agent *a)
{
	_cleanup_free_ char *why = NULL;

	for (int f = 0; f < IPAM_FAMILIES && !why; f++) {
		struct ipam_use u = endpoints_ipam_use(a->endpoints, f);

		if (u.present && u.used >= u.size)
			why = xasprintf("the IPv%d range is exhausted: all %llu addresses are in use", f ? 6 : 4,
					(unsigned long long)u.size);
	}
	if (!why && endpoints_warning(a->endpoints))
		why = xasprintf("the journal was damaged (%s); endpoints were adopted from the kernel",
				endpoints_warning(a->endpoints));
	health_set(&a->health, PART_IPAM, why ? why : endpoints_not_ready(a->endpoints));
}

static void say_ready(struct agent *a)
{
	char v4[PREFIX_TEXT_MAX], v6[PREFIX_TEXT_MAX];

	if (a->ready_said || endpoints_not_ready(a->endpoints))
		return;
	a->ready_said = true;
	log_info("ready: pods can be added", L_STR("node", a->opt.node_name),
		 L_STR("ipv4", a->state.ranges[0].len ? prefix_format(&a->state.ranges[0], v4) : ""),
		 L_STR("ipv6", a->state.ranges[1].len ? prefix_format(&a->state.ranges[1], v6) : ""),
		 L_UINT("endpoints", endpoints_count(a->endpoints)));
	sd_notify(0, "READY=1");
}

static int finish(struct agent *a)
{
	int r = 0;

	give_endpoints_the_node(a);
	agent_update_policies(a);
	if (a->pass_full && a->dp) {
		r = endpoints_apply(a->endpoints);
		a->pass_full = r < 0;
	}
	if (endpoints_not_ready(a->endpoints)) {
		health_set(&a->health, PART_CNI, endpoints_not_ready(a->endpoints));
	} else {
		int w = node_write_conflist(&a->opt);

		set_health(a, PART_CNI, w, NULL);
		say_ready(a);
		agent_tell_node_condition(a);
	}
	set_ipam_health(a);
	return r;
}

/* Without probes there is a network all the same, by the tunnel. */
static void look_for_plain_ways(struct agent *a)
{
	_cleanup_free_ char *why = NULL;
	int r = transport_probe(a);

	if (r < 0)
		why = xasprintf("cannot probe the plain way to peers by UDP port %llu (option probe.port): %s",
				(unsigned long long)a->opt.probe_port, strerror(-r));
	if (why && !streq(why, a->probe_warning))
		log_warn("every peer is reached by tunnel", L_STR("why", why));
	free(a->probe_warning);
	a->probe_warning = take_ptr(why);
}

static int run_pass(struct agent *a)
{
	_cleanup_free_ char *why = NULL, *dp_why = NULL;
	int r, d = 0, f;

	if (!a->synced[MODEL_NODES]) { /* after a restart, until the API answers: what node.json says */
		f = finish(a);
		return f < 0 && a->dp ? f : 0;
	}
	r = prepare(a, &why);
	if (r == 0) {
		d = apply_datapath(a, &dp_why);
		set_health(a, PART_DATAPATH, d, dp_why);
		if (d == 0 || !mesh_is_on(&a->opt)) /* no route without its guard */
			r = apply_tables(a, &why);
		if (d == 0 && mesh_is_on(&a->opt))
			agent_mesh_apply(a);
		look_for_plain_ways(a);
	}
	set_health(a, PART_ROUTES, r, why);
	agent_apply_meter(a);
	f = finish(a);
	if (f < 0 && d == 0 && r == 0)
		health_set(&a->health, PART_DATAPATH, "endpoints could not all be applied");
	return r < 0 ? r : d < 0 ? d : f;
}

static int on_pass(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	uint64_t delay;
	int r;

	a->next_pass_us = 0;
	a->resync_said = false;
	model_take_dirty(a->model);
	r = run_pass(a);
	agent_services_check(a);
	agent_services_changed(a);
	agent_announce_changed(a);
	a->failures = r < 0 ? a->failures + 1 : 0;
	if (r < 0) {
		delay = (uint64_t)BACKOFF_MIN_MS << MIN(a->failures - 1, 6u);
		agent_mark_dirty(a, MIN(delay, (uint64_t)BACKOFF_MAX_MS));
	}
	return 0;
}

static void look_at_firewall(struct agent *a)
{
	char *now = firewall_warning();

	if (now && !streq(now, a->firewall_warning))
		log_warn("a foreign packet filter is in the way", L_STR("why", now));
	free(a->firewall_warning);
	a->firewall_warning = now;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *ctx)
{
	static unsigned tick;
	struct agent *a = ctx;

	tick++;
	if (!a->client && tick % CONNECT_TICKS == 0)
		agent_start_watches(a);
	agent_drain_del_queue(a);
	agent_services_tick(a);
	agent_retry_adds(a);
	agent_audit_policies(a);
	agent_tell_policy_status(a);
	if (usec >= a->next_audit_us) {
		a->next_audit_us = usec + a->opt.audit_seconds * 1000000;
		a->pass_full = true;
		outer_forget(a);
		look_at_firewall(a);
		agent_services_settle(a);
		agent_mark_dirty(a, 0);
	}
	if (usec >= a->next_reconcile_us) {
		a->next_reconcile_us = usec + a->opt.reconcile_seconds * 1000000;
		endpoints_reconcile(a->endpoints, agent_pod_is_gone, a);
	}
	if (!endpoints_not_ready(a->endpoints))
		agent_tell_node_condition(a);
	sd_event_source_set_time(s, usec + TICK_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- start and end ---- */

static void on_status(struct ipc_request *req, _unused_ json_t *params, void *ctx)
{
	ipc_reply(req, agent_status(ctx));
}

static void on_services(struct ipc_request *req, json_t *params, void *ctx)
{
	json_t *answer = agent_services_json(ctx, params);

	if (answer)
		ipc_reply(req, answer);
	else
		ipc_reply_error(req, ENOENT, "this node knows no Service of that name", NULL);
}

static const struct ipc_method methods[] = {
    {"cni", agent_on_cni}, {"observe", agent_on_observe}, {"policy", agent_on_policy}, {"services", on_services},
    {"status", on_status}, {"rotateKey", agent_on_rotate_key}, {"why", agent_on_why},	      {NULL, NULL}};

int agent_lock(const struct options *o)
{
	_cleanup_free_ char *path = xasprintf("%s/weftd.lock", o->run_dir);
	int r = mkdir_parents(o->run_dir, 0755), fd;

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd; /* held until the process ends */
	r = -errno;
	close(fd);
	log_error(r == -EWOULDBLOCK ? "another weftd runs with this directory" : "cannot lock the run directory",
		  L_STR("directory", o->run_dir), L_ERRNO(r));
	return r;
}

/* What an earlier agent has left goes on before the API answers. */
static void resume(struct agent *a)
{
	_cleanup_free_ char *path = state_path(a, "node.json"), *why = NULL;
	struct link l;
	int r = node_state_load(path, &a->state);

	if (r < 0) {
		if (r != -ENOENT)
			log_warn("cannot read the remembered state of the node; waiting for the API",
				 L_STR("file", path), L_ERRNO(r));
		return;
	}
	if (a->state.tunnel_ifindex &&
	    (rtnl_find_link(a->nl, mesh_is_on(&a->opt) ? MESH_DEVICE : NODE_VXLAN_NAME, &l) < 0 || l.ifindex != a->state.tunnel_ifindex))
		return; /* the node was rebuilt: the first pass makes everything */
	r = ensure_datapath(a, &why);
	set_health(a, PART_DATAPATH, r, why);
	if (r == 0)
		give_endpoints_the_node(a);
}

/* A node without metrics still has a network: what is wrong is said, and that is all. */
static void start_metrics(struct agent *a)
{
	int fd = *a->opt.metrics_listen ? scrape_listen(a->opt.metrics_listen) : -ENOENT, r;

	if (fd == -ENOENT)
		return;
	r = fd < 0 ? fd : scrape_new(a->event, fd, agent_metrics, a, &a->scrape);
	if (r < 0)
		log_error("cannot serve metrics", L_STR("address", a->opt.metrics_listen), L_ERRNO(r));
}

static int start_sources(struct agent *a)
{
	_cleanup_free_ char *socket = xasprintf("%s/weftd.sock", a->opt.run_dir);
	struct ipc_server_config config = {
	    .path = socket, .mode = 0600, .max_clients = 256, .idle_ms = 65000, .methods = methods, .ctx = a};
	uint64_t now = now_us(a);
	int r = agent_start_monitor(a);

	if (r >= 0)
		r = sd_event_add_time(a->event, &a->pass_timer, CLOCK_MONOTONIC, now, 1000, on_pass, a);
	if (r >= 0)
		r = sd_event_add_time(a->event, &a->tick_timer, CLOCK_MONOTONIC, now + TICK_US, 100000, on_tick, a);
	if (r < 0)
		return r;
	a->pass_full = true;
	agent_drain_del_queue(a);
	r = ipc_server_new(a->event, &config, &a->server);
	if (r < 0)
		log_error("cannot listen", L_STR("socket", socket), L_ERRNO(r));
	else
		agent_start_watches(a);
	start_metrics(a);
	agent_services_start(a);
	agent_start_meter(a);
	return r;
}

static int start(struct agent *a)
{
	_cleanup_free_ char *dir = state_path(a, ""), *why = NULL;
	sigset_t stop;
	int r = agent_lock(&a->opt);

	if (r < 0)
		return r;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_default(&a->event);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = rtnl_open(&a->nl);
	if (r < 0) {
		log_error("cannot start", L_ERRNO(r));
		return r;
	}
	r = endpoints_open(a->event, dir, a->nl, a->opt.rest_seconds * 1000, &a->endpoints, &why);
	if (r < 0) {
		log_error("cannot open the state of endpoints", L_STR("why", why));
		return r;
	}
	endpoints_set_repairs(a->endpoints, &a->repairs);
	look_at_firewall(a);
	agent_services_settle(a);
	r = node_install_plugin(&a->opt);
	if (r < 0)
		log_warn("cannot install the CNI plugin", L_STR("directory", a->opt.cni_bin_dir), L_ERRNO(r));
	r = agent_start_policies(a);
	if (r < 0)
		return r;
	r = agent_mesh_start(a);
	if (r < 0)
		return r;
	r = outer_start(a);
	if (r < 0) {
		log_error("cannot follow IPsec policies", L_ERRNO(r));
		return r;
	}
	resume(a);
	return start_sources(a);
}

static void stop(struct agent *a)
{
	agent_refuse_adds(a);
	a->server = ipc_server_free(a->server);
	a->stream = stream_free(a->stream);
	a->scrape = scrape_free(a->scrape);
	a->meter = meter_free(a->meter);
	agent_stop_watches(a);
	a->monitor = rtnl_monitor_free(a->monitor);
	a->prober = prober_free(a->prober);
	free(a->prober_file);
	free(a->probe_warning);
	a->endpoints = endpoints_close(a->endpoints);
	agent_announce_stop(a);
	agent_services_stop(a);
	agent_mesh_stop(a);
	outer_stop(a);
	close_datapath(a);
	agent_stop_policies(a);
	sd_event_source_disable_unref(a->pass_timer);
	sd_event_source_disable_unref(a->tick_timer);
	route_plan_done(&a->plan);
	node_facts_done(&a->facts);
	a->model = model_free(a->model);
	a->nl = rtnl_close(a->nl);
	health_done(&a->health);
	free(a->firewall_warning);
	options_done(&a->opt);
	sd_event_unref(a->event);
}

int agent_run(struct options *opt)
{
	struct agent a = {.opt = *opt, .started_s = time(NULL), .model = model_new(), .outer.ipsec_fd = -1};
	int r;

	list_init(&a.waiting_adds);

	*opt = (struct options){0};
	health_init(&a.health, "starting");
	a.stream = stream_new(a.opt.observe_keep, a.opt.node_name);
	log_info("weftd starts", L_STR("version", WEFT_VERSION), L_STR("node", a.opt.node_name));
	r = start(&a);
	if (r >= 0)
		r = sd_event_loop(a.event);
	if (r >= 0)
		log_info("weftd ends; the datapath goes on");
	stop(&a);
	return r < 0 ? 1 : 0;
}
