/* SPDX-License-Identifier: Apache-2.0 */
/* What `weft status -o json` prints. Fields may be added, never renamed. */
#include "agent/agent.h"
#include "agent/transport.h"
#include "base/str.h"
#include "datapath/walk.h"

#include <time.h>

enum { RECENT_DROPS = 20 };

static json_t *prefixes(const struct prefix p[2])
{
	json_t *a = json_array();
	char text[PREFIX_TEXT_MAX];

	for (int f = 0; f < 2; f++)
		if (p[f].len)
			json_array_append_new(a, json_string(prefix_format(&p[f], text)));
	return a;
}

static json_t *addresses(const struct addr *addrs, size_t n)
{
	json_t *a = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		if (!addr_is_zero(&addrs[i]))
			json_array_append_new(a, json_string(addr_format(&addrs[i], text)));
	return a;
}

struct meter_of {
	const char *name;
	json_t *list;
};

static void add_measured(const struct meter_result *r, void *ctx)
{
	struct meter_of *of = ctx;
	char text[ADDR_TEXT_MAX];

	if (streq(r->name, of->name))
		json_array_append_new(of->list, json_pack("{ss, sf, sf, sI, sI}", "address", addr_format(&r->addr, text), "rttMs",
							  r->rtt_s * 1000, "lossPercent", r->recent_loss * 100, "sent",
							  (json_int_t)r->sent, "lost", (json_int_t)r->lost));
}

static json_t *measured(const struct agent *a, const char *peer)
{
	struct meter_of of = {peer, json_array()};

	if (a->meter)
		meter_each(a->meter, add_measured, &of);
	return of.list;
}

/* Who makes the outer packets to the peer, as the datapath has it. */
static const char *encapsulator(const struct agent *a, const struct model_node *node)
{
	struct dp_node_route r;

	for (unsigned k = 0; a->dp && node && k < node->n_cidrs; k++)
		if (datapath_find_node_route(a->dp, &node->cidrs[k].addr, &r) == 0 && r.transport == DP_TUNNEL)
			return r.uplink ? "datapath" : "device";
	return NULL;
}

static json_t *peers(const struct agent *a)
{
	json_t *list = json_array();

	for (size_t i = 0; a->planned && i < a->plan.n_peers; i++) {
		const struct route_peer *p = &a->plan.peers[i];
		const struct model_node *node = model_find_node(a->model, p->name);
		char text[ADDR_TEXT_MAX];
		json_t *o =
		    json_pack("{ss, ss, ss, sI}", "name", p->name, "transport", route_transport_name(p->transport),
			      "state", route_peer_state_name(p->state), "mtu", (json_int_t)p->mtu);
		_cleanup_free_ char *reason = transport_reason(a, p);
		json_t *ranges = json_array();

		if (!addr_is_zero(&p->underlay))
			json_object_set_new(o, "address", json_string(addr_format(&p->underlay, text)));
		for (unsigned k = 0; node && k < node->n_cidrs; k++) {
			char range[PREFIX_TEXT_MAX];

			json_array_append_new(ranges, json_string(prefix_format(&node->cidrs[k], range)));
		}
		json_object_set_new(o, "ranges", ranges);
		if (encapsulator(a, node))
			json_object_set_new(o, "encap", json_string(encapsulator(a, node)));
		if (reason)
			json_object_set_new(o, "reason", json_string(reason));
		json_object_set_new(o, "measured", measured(a, p->name));
		if (p->why)
			json_object_set_new(o, "why", json_string(p->why));
		agent_mesh_peer_status(a, p->name, o);
		json_array_append_new(list, o);
	}
	return list;
}

struct endpoint_list {
	const struct agent *agent;
	json_t *list;
};

static void add_endpoint(const struct endpoint_record *r, void *ctx)
{
	const struct endpoint_list *to = ctx;
	json_t *o = json_pack("{ss, ss, ss, ss, ss, so, sI}", "namespace", r->pod_namespace, "pod", r->pod_name,
			      "container", r->container, "interface", r->ifname, "hostInterface", r->host_ifname,
			      "addresses", addresses(r->addrs, 2), "id", (json_int_t)r->id);

	if (endpoints_problem(to->agent->endpoints, r))
		json_object_set_new(o, "problem", json_string(endpoints_problem(to->agent->endpoints, r)));
	json_array_append_new(to->list, o);
}

static json_t *ipam(const struct agent *a)
{
	json_t *list = json_array();

	for (int f = 0; f < IPAM_FAMILIES; f++) {
		struct ipam_use u = endpoints_ipam_use(a->endpoints, f);
		char text[PREFIX_TEXT_MAX];

		if (u.present)
			json_array_append_new(list,
					      json_pack("{ss, sI, sI, sI}", "range", prefix_format(&u.range, text),
							"size", (json_int_t)u.size, "used", (json_int_t)u.used,
							"resting", (json_int_t)u.resting));
	}
	return list;
}

static json_t *drops(const struct agent *a)
{
	struct dp_counter counters[DROP_REASON_COUNT] = {0};
	json_t *list = json_array();

	if (a->dp)
		datapath_read_drops(a->dp, counters);
	for (int i = DROP_NONE + 1; i < DROP_REASON_COUNT; i++)
		json_array_append_new(list, json_pack("{ss, sI, sI, ss}", "reason", drop_reason_label(i), "packets",
						      (json_int_t)counters[i].packets, "bytes",
						      (json_int_t)counters[i].bytes, "text", drop_reason_text(i)));
	return list;
}

/* A port only where the protocol has one. */
static const char *format_end(const struct addr *a, uint16_t port, char out[static ENDPOINT_TEXT_MAX])
{
	return port ? addr_port_format(a, port, out) : addr_format(a, out);
}

static json_t *forwards(const struct agent *a)
{
	struct dp_counter counters[FORWARD_WAY_COUNT] = {0};
	json_t *list = json_array();

	if (a->dp)
		datapath_read_forwards(a->dp, counters);
	for (int i = 0; i < FORWARD_WAY_COUNT; i++)
		json_array_append_new(list, json_pack("{ss, sI, sI}", "way", forward_way_label(i), "packets",
						      (json_int_t)counters[i].packets, "bytes",
						      (json_int_t)counters[i].bytes));
	return list;
}

static bool add_recent_drop(const struct observe_event *e, void *ctx)
{
	char src[ENDPOINT_TEXT_MAX], dst[ENDPOINT_TEXT_MAX];
	json_t *list = ctx, *o;

	if (e->kind != OBSERVE_DROP)
		return true;
	o = json_pack("{sI, ss, sI}", "atMs", (json_int_t)e->at_ms, "reason", e->reason, "protocol", (json_int_t)e->proto);
	if (!addr_is_zero(&e->src.addr)) {
		json_object_set_new(o, "source", json_string(format_end(&e->src.addr, e->src.port, src)));
		json_object_set_new(o, "destination", json_string(format_end(&e->dst.addr, e->dst.port, dst)));
	}
	if (e->via)
		json_object_set_new(o, "pod", json_string(e->via));
	json_array_append_new(list, o);
	return json_array_size(list) < RECENT_DROPS;
}

static json_t *recent_drops(const struct agent *a)
{
	json_t *list = json_array();

	stream_each(a->stream, add_recent_drop, list);
	return list;
}

/* Of each uplink, by name. */
static json_t *xdp(const struct agent *a)
{
	json_t *modes = json_object();

	for (size_t i = 0; i < a->facts.n_uplinks; i++) {
		struct dp_xdp_uplink u;
		_cleanup_free_ char *text = NULL;

		if (datapath_read_xdp(a->dp, a->facts.uplinks[i], &u) < 0)
			continue;
		text = u.error ? xasprintf("%s: %s", dp_xdp_state_text(u.state), strerror(-u.error)) : xstrdup(dp_xdp_state_text(u.state));
		json_object_set_new(modes, a->facts.uplink_names[i], json_string(text));
	}
	return modes;
}

static json_t *datapath_json(const struct agent *a)
{
	struct dp_counter pushed_out = {0}, by_xdp = {0};
	struct dp_stats s = {0};

	if (!a->dp || datapath_read_stats(a->dp, &s) < 0)
		return json_object();
	datapath_read_fragments_pushed_out(a->dp, &pushed_out);
	datapath_read_xdp_packets(a->dp, &by_xdp);
	return json_pack("{ss, sb, sI, sI, sI, sI, sI, s[bb], sI, sI, sI, so, sI}", "attach", s.attach ? s.attach : "", "fastPath",
			 a->opt.fast_path, "flows", (json_int_t)s.flows, "flowsNew", (json_int_t)s.flows_new, "flowMax",
			 (json_int_t)s.flow_max, "endpoints", (json_int_t)s.endpoints, "nodeRoutes",
			 (json_int_t)s.node_routes, "masquerade",
			 a->dp_config.masquerade[0], a->dp_config.masquerade[1], "nat", (json_int_t)s.nat, "natMax",
			 (json_int_t)s.nat_max, "fragmentsPushedOut", (json_int_t)pushed_out.packets, "xdp", xdp(a), "xdpPackets", (json_int_t)by_xdp.packets);
}

static json_t *policies(const struct agent *a)
{
	size_t n = model_count(a->model, MODEL_POLICIES);
	struct policy_stats s = policy_stats(policies_compiler(a->policies));

	return json_pack("{sI, sI, sI, sI, sI, sI}", "stored", (json_int_t)n, "enforced", a->policy_applied ? (json_int_t)s.objects : 0,
			 "peers", (json_int_t)s.peers_in_use, "classes", (json_int_t)s.classes, "locked",
			 (json_int_t)policies_applied(a->policies)->locked, "updates",
			 (json_int_t)policies_applied(a->policies)->commits);
}

static bool add_refused(const struct model_refused *r, void *ctx)
{
	json_t *list = ctx;

	json_array_append_new(
	    list, json_sprintf("the API's %s: %s is refused: %s", model_table_name(r->table), r->name, r->reason));
	return json_array_size(list) < 20;
}

static json_t *warnings(const struct agent *a)
{
	json_t *list = json_array();

	if (a->probe_warning)
		json_array_append_new(list, json_string(a->probe_warning));
	if (a->facts.uplinks_problem)
		json_array_append_new(list, json_string(a->facts.uplinks_problem));
	if (a->firewall.warning)
		json_array_append_new(list, json_string(a->firewall.warning));
	if (a->planned && a->plan.error)
		json_array_append_new(list, json_string(a->plan.error));
	model_each_refused(a->model, add_refused, list);
	return list;
}

static json_t *uplinks(const struct agent *a)
{
	json_t *list = json_array();

	for (size_t i = 0; i < a->facts.n_uplinks; i++)
		json_array_append_new(list, json_string(a->facts.uplink_names[i]));
	return list;
}

json_t *agent_status(struct agent *a)
{
	json_t *eps = json_array(), *o;

	endpoints_each(a->endpoints, add_endpoint, &(struct endpoint_list){a, eps});
	o = json_pack("{ss, ss, ss, sI, sb, so, so, so, so, so, s{sI, sI}}", "node", a->opt.node_name, "version",
		      WEFT_VERSION, "transport", transport_name(&a->opt), "startedAt",
		      (json_int_t)a->started_s, "ready", endpoints_not_ready(a->endpoints) == NULL, "health",
		      health_to_json(&a->health), "ranges", prefixes(a->state.ranges), "nodeAddresses",
		      addresses(a->state.node_addrs, 2), "underlayAddresses", addresses(a->state.underlay, 2),
		      "uplinks", uplinks(a), "mtu", "device", (json_int_t)a->state.device_mtu, "route",
		      (json_int_t)a->state.route_mtu);
	json_object_set_new(o, "peers", peers(a));
	json_object_set_new(o, "mesh", agent_mesh_status(a));
	json_object_set_new(o, "endpoints", eps);
	json_object_set_new(o, "ipam", ipam(a));
	json_object_set_new(o, "datapath", datapath_json(a));
	json_object_set_new(o, "services", agent_services_status(a));
	json_object_set_new(o, "networkPolicies", policies(a));
	json_object_set_new(
	    o, "cni",
	    json_pack("{sI, sI}", "calls", (json_int_t)a->cni_calls, "failures", (json_int_t)a->cni_failures));
	json_object_set_new(o, "forwarded", forwards(a));
	json_object_set_new(o, "drops", drops(a));
	json_object_set_new(o, "recentDrops", recent_drops(a));
	json_object_set_new(o, "repairs", repairs_to_json(&a->repairs));
	json_object_set_new(o, "looks", json_pack("{sI, sI}", "rounds", (json_int_t)a->looks, "turns", (json_int_t)a->look_turns));
	json_object_set_new(o, "warnings", warnings(a));
	return o;
}
