/* SPDX-License-Identifier: Apache-2.0 */
/* The pass: facts of the kernel and the model go in, the plan comes out, the difference is applied. A pass is idempotent and cheap
 * when nothing differs; sources only ask for one. One that fails says so under its part's health, and is repeated.
 *
 * Before the first whole list of nodes nothing is taken away: after a restart the datapath, the routes and the
 * addresses of the former agent go on, and pods can come and go with what node.json remembers. */
#include "agent/agent.h"
#include "agent/transport.h"
#include "base/log.h"
#include "base/str.h"

#include <net/if.h>
#include <systemd/sd-daemon.h>

enum {
	LOOK_PAUSE_US = 1000, /* between the turns of a look at all endpoints: what has come meanwhile is first */
	LOOK_AGAIN_MS = 1000,
};

static char *state_path(const struct agent *a, const char *name)
{
	return xasprintf("%s/state/%s", a->opt.run_dir, name);
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

static int compile(struct agent *a, uint32_t tunnel_ifindex)
{
	_cleanup_free_ struct route_path *paths = NULL;
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);
	struct route_config c = {.node = a->opt.node_name,
				 .underlays = a->facts.underlays,
				 .n_underlays = a->facts.n_between,
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
	c.paths = paths = outer_paths(a, &a->plan, &c.n_paths);
	route_compile(&c, a->model, &plan);
	if (!route_plan_eq(&plan, &a->plan))
		memset(a->applied, 0, sizeof(a->applied));
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
	for (size_t i = 0; i < a->facts.n_between; i++)
		mtu = mtu ? MIN(mtu, a->facts.underlays[i].mtu) : a->facts.underlays[i].mtu;
	mtu = mtu ? mtu : 1500;
	r = mesh_is_on(&a->opt) ? agent_mesh_ensure(a, mtu, mtu != a->tunnel_mtu, ret_ifindex, &mended, ret_error)
				: node_ensure_vxlan(a->nl, &a->opt, mac, mtu, mtu != a->tunnel_mtu, ret_ifindex, &mended, ret_error);
	if (r == 0)
		a->tunnel_mtu = mtu;
	if (r == 0 && mended && a->applied[TROUBLE_TUNNEL])
		repairs_note(&a->repairs, REPAIR_DEVICE, 1, mended);
	return r;
}

void agent_find_underlays(const struct agent *a, struct addr ret[2])
{
	for (size_t i = a->facts.n_between; i-- > 0;)
		ret[!addr_is_v4(&a->facts.underlays[i].addr)] = a->facts.underlays[i].addr;
}

void agent_keep_state(struct agent *a)
{
	_cleanup_free_ char *path = state_path(a, "node.json");
	int r = node_state_save(path, &a->state);

	if (r < 0)
		log_warn("cannot remember the node's state", L_STR("file", path), L_ERRNO(r));
}

/* What of the plan must be known at the next start. */
static void remember(struct agent *a, uint32_t tunnel_ifindex)
{
	struct node_state s = {
	    .device_mtu = a->plan.device_mtu, .route_mtu = a->plan.pod_mtu, .tunnel_ifindex = tunnel_ifindex};

	memcpy(s.ranges, a->plan.ranges, sizeof(s.ranges));
	memcpy(s.node_addrs, a->plan.node_addrs, sizeof(s.node_addrs));
	agent_find_underlays(a, s.underlay);
	if (node_state_eq(&s, &a->state))
		return;
	a->state = s;
	agent_keep_state(a);
}

int agent_read_facts(struct agent *a, const struct model_node *node, char **ret_error)
{
	struct node_facts f = {0};
	int r = node_read_facts(a->nl, &a->opt, node, &f, ret_error);

	if (r < 0)
		return r;
	if (f.uplinks_problem && !streq(f.uplinks_problem, a->facts.uplinks_problem))
		log_warn("not all uplinks are served", L_STR("why", f.uplinks_problem));
	node_facts_done(&a->facts);
	a->facts = f;
	policies_set_links(a->policies, &(struct policy_links){ f.underlays, f.n_underlays, f.own, f.n_own });
	return 0;
}

/* The device between nodes, or where there is none, and none can be made as somebody else has its name or port, the one that there was:
 * all that does not need it is done without. Return: 0 also then, with @t saying why. */
static int find_tunnel(struct agent *a, uint32_t *ret_ifindex, struct trouble *t, char **ret_error)
{
	_cleanup_free_ char *why = NULL;
	char name[IF_NAMESIZE];
	int r = ensure_tunnel(a, ret_ifindex, &why);

	a->tunnel_lost = false;
	if (r < 0 && a->state.tunnel_ifindex) {
		*ret_ifindex = a->state.tunnel_ifindex;
		a->tunnel_lost = !if_indextoname(*ret_ifindex, name);
		trouble_note(t, TROUBLE_TUNNEL, r, why);
		return 0;
	}
	if (r < 0)
		*ret_error = take_ptr(why);
	return r;
}

static void set_sysctls(struct agent *a, uint32_t tunnel, struct trouble *t)
{
	_cleanup_free_ char *changed = NULL;
	char device[IF_NAMESIZE] = "";
	struct node_wants wants = {.ipv4 = a->plan.ranges[0].len > 0,
				   .ipv6 = a->plan.ranges[1].len > 0,
				   .either_way = a->opt.transport == TRANSPORT_AUTO,
				   .tunnel = tunnel && if_indextoname(tunnel, device) ? device : NULL};

	node_set_sysctls(&a->facts, &wants, t, &changed);
	if (changed && a->applied[TROUBLE_SYSCTLS])
		repairs_note(&a->repairs, REPAIR_SYSCTL, 1, changed);
	a->applied[TROUBLE_SYSCTLS] = true; /* as far as the kernel lets: what it refuses is not changed */
}

/* Pods that the node cannot forward for, or not speak to, are not begun with; those that it has lose nothing by its going on. */
static bool has_obstacle(const struct agent *a, const struct trouble *t)
{
	return !a->state.ranges[0].len && !a->state.ranges[1].len &&
	       (trouble_has(t, TROUBLE_FORWARDING) || trouble_has(t, TROUBLE_ADDRESSES));
}

/* @t: what could not be made so; what comes after does not wait for it. */
static int prepare(struct agent *a, struct trouble *t, char **ret_error)
{
	uint32_t tunnel = 0;
	int r = agent_read_facts(a, model_find_node(a->model, a->opt.node_name), ret_error);

	if (r == 0)
		r = find_tunnel(a, &tunnel, t, ret_error);
	if (r < 0)
		return r;
	r = compile(a, tunnel);
	if (r < 0) {
		*ret_error = xstrdup(a->plan.error ? a->plan.error : "this node has no address range yet");
		return r;
	}
	set_sysctls(a, tunnel, t);
	r = agent_apply_node_addrs(a, t);
	if (has_obstacle(a, t))
		return trouble_sum(t, ret_error);
	if (r == 0)
		remember(a, tunnel);
	return 0;
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

/* Pods that have lost their network, or else their interface's name, one of them by name. */
static char *pods_with_problem(const struct agent *a)
{
	const struct endpoint_record *r = NULL;
	size_t lost = endpoints_without_link(a->endpoints, &r), n = lost ? lost : endpoints_misnamed(a->endpoints, &r);

	return n ? xasprintf("%zu of this node's pods have %s; %s/%s: %s", n, lost ? "no network" : "an interface of another name", r->pod_namespace,
			     r->pod_name, endpoints_problem(a->endpoints, r))
		 : NULL;
}

static const char endpoints_fail[] = "endpoints could not all be applied";

static void look_on_later(struct agent *a);

static int on_look(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	int r;

	a->looking = false;
	if (!a->dp) { /* it is looked at all of them when there is one again */
		a->pass_full = true;
		return 0;
	}
	r = endpoints_apply_more(a->endpoints);
	a->look_turns++;
	if (r > 0) {
		look_on_later(a);
		return 0;
	}
	if (r < 0) {
		health_set(&a->health, PART_DATAPATH, endpoints_fail);
		a->pass_full = true;
	}
	if (a->pass_full)
		agent_mark_dirty(a, r < 0 ? LOOK_AGAIN_MS : 0);
	return 0;
}

static void look_on_later(struct agent *a)
{
	int r = a->look_timer ? sd_event_source_set_time_relative(a->look_timer, LOOK_PAUSE_US)
			      : sd_event_add_time_relative(a->event, &a->look_timer, CLOCK_MONOTONIC, LOOK_PAUSE_US, 1000, on_look, a);

	if (r >= 0)
		r = sd_event_source_set_enabled(a->look_timer, SD_EVENT_ONESHOT);
	a->looking = r >= 0;
	a->pass_full |= r < 0;
}

/* The endpoints' part of a full pass; of many endpoints only the first turn, the others when the agent has seen to what else there is. */
static int look_at_endpoints(struct agent *a)
{
	int r;

	if (!a->pass_full || !a->dp || a->looking || (!a->state.ranges[0].len && !a->state.ranges[1].len))
		return 0;
	r = endpoints_apply(a->endpoints);
	a->pass_full = r < 0;
	a->looks++;
	a->look_turns++;
	if (r > 0)
		look_on_later(a);
	return MIN(r, 0);
}

static int finish(struct agent *a)
{
	int r, b = agent_boot_host_policy(a);

	give_endpoints_the_node(a);
	agent_update_policies(a);
	r = look_at_endpoints(a);
	r = r < 0 ? r : b;
	if (endpoints_not_ready(a->endpoints)) {
		health_set(&a->health, PART_CNI, endpoints_not_ready(a->endpoints));
	} else {
		_cleanup_free_ char *problem = pods_with_problem(a);
		int w = node_write_conflist(&a->opt);

		if (w > 0 && a->conflist_written)
			repairs_note(&a->repairs, REPAIR_FILE, 1, a->opt.cni_conf_dir);
		a->conflist_written |= w >= 0;
		set_health(a, PART_CNI, w < 0 ? w : problem ? -ENODEV : 0, w < 0 ? NULL : problem);
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

int agent_pass(struct agent *a)
{
	_cleanup_free_ char *why = NULL, *dp_why = NULL;
	_cleanup_(trouble_done) struct trouble trouble = {0};
	int r, d = 0, f;

	if (!a->synced[MODEL_NODES]) { /* after a restart, until the API answers: what node.json says */
		f = finish(a);
		return MIN(f, 0);
	}
	r = prepare(a, &trouble, &why);
	endpoints_set_obstacle(a->endpoints, why);
	if (r == 0) {
		d = agent_apply_datapath(a, &dp_why);
		set_health(a, PART_DATAPATH, d, dp_why);
		if (d == 0 || !mesh_is_on(&a->opt)) /* no route without its guard */
			agent_apply_tables(a, &trouble);
		if (d == 0 && mesh_is_on(&a->opt) && !trouble_has(&trouble, TROUBLE_TUNNEL))
			agent_mesh_apply(a);
		look_for_plain_ways(a);
	}
	if (r == 0)
		r = trouble_sum(&trouble, &why);
	set_health(a, PART_ROUTES, r, why);
	agent_apply_meter(a);
	f = finish(a);
	if (f < 0 && d == 0 && r == 0)
		health_set(&a->health, PART_DATAPATH, endpoints_fail);
	return r < 0 ? r : d < 0 ? d : f;
}

/* What an earlier agent has left goes on before the API answers. */
void agent_resume(struct agent *a)
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
	r = agent_ensure_datapath(a, &why);
	set_health(a, PART_DATAPATH, r, why);
	if (r == 0)
		give_endpoints_the_node(a);
}
