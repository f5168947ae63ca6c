/* SPDX-License-Identifier: Apache-2.0 */
/* What compiling Services depends on beside them: this node, the others, and at which of their addresses node ports are. */
#include "agent/agent.h"
#include "agent/lists.h"
#include "agent/other_proxy.h"
#include "agent/services_internal.h"
#include "base/log.h"
#include "base/str.h"

uint64_t services_digest_nodes(const struct agent *a)
{
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(a->model, &n);
	const struct kube_place *places;
	size_t n_places = a->client ? kube_client_places(a->client, &places) : 0;
	uint64_t h = n;

	for (size_t i = 0; i < n; i++) {
		const struct model_node *node = nodes[i];

		h = h * 31 + hash_str(node->name);
		h = h * 31 + hash_str(node->zone);
		h = h * 31 + hash_str(node->region);
		h = h * 31 + hash_mem(node->addrs, (node->n_addrs + node->n_external) * sizeof(*node->addrs)) + node->n_addrs;
		h = h * 31 + hash_mem(node->cidrs, node->n_cidrs * sizeof(*node->cidrs));
	}
	for (size_t i = 0; i < n_places; i++)
		h = h * 31 + hash_str(places[i].ip) + places[i].port;
	h = h * 31 + hash_str(a->api_host ? a->api_host : "") + a->api_port;
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		h = h * 31 + hash_mem(&a->facts.underlays[i].addr, sizeof(struct addr)) + a->facts.underlays[i].net.len;
	return h;
}

static void count_tiers(struct service_env *env, struct model_node *const *nodes, size_t n)
{
	const struct model_node *here = model_find_node(env->model, env->node);

	memset(env->nodes, 0, sizeof(env->nodes));
	env->nodes[SERVICE_TIER_NODE] = 1;
	env->nodes[SERVICE_TIER_FAR] = n;
	for (size_t i = 0; here && i < n; i++) {
		env->nodes[SERVICE_TIER_ZONE] += *here->zone && streq(nodes[i]->zone, here->zone);
		env->nodes[SERVICE_TIER_REGION] += *here->region && streq(nodes[i]->region, here->region);
	}
}

static void add_own(struct services_view *s, const struct addr *addr)
{
	for (size_t i = 0; i < s->env.n_own; i++)
		if (addr_eq(&s->own[i], addr))
			return;
	s->own[s->env.n_own++] = *addr;
}

/* Those of its Node object, and those of its uplinks. */
static void take_own(struct agent *a)
{
	struct services_view *s = &a->services;
	const struct model_node *here = model_find_node(a->model, a->opt.node_name);
	unsigned named = here ? here->n_addrs : 0;

	free(s->own);
	s->own = xnew0_array(struct addr, named + a->facts.n_underlays + 1);
	for (unsigned i = 0; i < named; i++)
		add_own(s, &here->addrs[i]);
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		add_own(s, &a->facts.underlays[i].addr);
	s->env.own = s->own;
}

static void take_held(struct agent *a)
{
	struct services_view *s = &a->services;

	free(s->held);
	s->held = xnew0_array(struct addr, a->facts.n_underlays + 1);
	for (size_t i = 0; i < a->facts.n_underlays; i++)
		if (a->facts.underlays[i].net.len < 128)
			s->held[s->env.n_held++] = a->facts.underlays[i].addr;
	s->env.held = s->held;
}

static void add_api(struct services_view *s, const char *ip, uint16_t port)
{
	struct service_api *api = &s->api[s->env.n_api];

	api->port = port;
	s->env.n_api += addr_parse(ip, &api->addr) == 0; /* a name is none */
}

/* As the kubeconfig says, and where that has led. */
static void take_api(struct agent *a)
{
	struct services_view *s = &a->services;
	const struct kube_place *places;
	size_t n = a->client ? kube_client_places(a->client, &places) : 0;

	s->env.api = s->api;
	if (a->api_host)
		add_api(s, a->api_host, a->api_port);
	for (size_t i = 0; i < n; i++)
		add_api(s, places[i].ip, places[i].port);
}

/* ---- where node ports are: option service.nodePortAddresses ---- */

struct node_list {
	struct dp_service_node *list;
	size_t n, cap;
	bool primary; /* else: */
	struct prefix in[LIST_PREFIXES_MAX];
	size_t n_in;
};

static void add_node_addr(struct node_list *l, const struct addr *addr, bool this_node)
{
	bool wanted = l->primary;

	for (size_t i = 0; i < l->n_in && !wanted; i++)
		wanted = prefix_family(&l->in[i]) == (addr_is_v4(addr) ? AF_INET : AF_INET6) && prefix_contains(&l->in[i], addr);
	if (!wanted)
		return;
	GROW(l->list, l->n, l->cap);
	l->list[l->n++] = (struct dp_service_node){*addr, this_node};
}

static int tell_nodes(struct agent *a, struct model_node *const *nodes, size_t n)
{
	struct services_view *s = &a->services;
	struct node_list l = {.primary = streq(a->opt.service_node_port_addresses, NODE_PORTS_PRIMARY)};
	int r = 0;

	if (!l.primary)
		r = list_prefixes(a->opt.service_node_port_addresses, l.in, &l.n_in); /* checked when it was read */
	for (size_t i = 0; i < n && r == 0; i++) {
		bool here = streq(nodes[i]->name, a->opt.node_name);

		for (unsigned k = 0; k < nodes[i]->n_addrs; k++)
			if (l.primary || !here)
				add_node_addr(&l, &nodes[i]->addrs[k], here);
	}
	for (size_t i = 0; i < s->env.n_own && !l.primary; i++)
		add_node_addr(&l, &s->own[i], true);
	if (r == 0)
		r = datapath_apply_service_nodes(a->dp, l.list, l.n);
	free(l.list);
	return r;
}

const struct prefix *services_ranges(struct agent *a, size_t *ret_n)
{
	struct services_view *s = &a->services;

	if (!s->ranges) {
		s->ranges = xnew0_array(struct prefix, LIST_PREFIXES_MAX);
		if (list_prefixes(a->opt.service_ranges, s->ranges, &s->n_ranges) < 0)
			s->n_ranges = 0; /* the option was checked when it was read */
	}
	*ret_n = s->inbound ? s->n_ranges : 0;
	return s->ranges;
}

/* ---- who serves what sockets leave alone: option service.inbound ---- */

void agent_services_settle(struct agent *a)
{
	struct services_view *s = &a->services;
	bool enabled = a->opt.service_enabled != SWITCH_OFF, was = s->inbound;
	const char *other = NULL;

	if (enabled && a->opt.service_inbound == SWITCH_AUTO && other_proxy_find(&other) < 0)
		other = s->other_proxy; /* for all that is known it is as it was */
	s->inbound = a->opt.service_inbound == SWITCH_ON || (a->opt.service_inbound == SWITCH_AUTO && enabled && !other);
	s->other_proxy = other;
	if (other && (was || !s->settled))
		log_info("another proxy serves Services on this node: clients outside are left to it", L_STR("found", other));
	else if (s->inbound && !was && s->settled)
		log_info("no other proxy serves Services on this node any more: clients outside are served");
	s->settled = true;
}

/* ---- everything ---- */

static bool host_ports_are_served(const struct agent *a)
{
	const struct options *o = &a->opt;

	if (o->service_host_ports != SWITCH_AUTO)
		return o->service_host_ports == SWITCH_ON;
	return a->services.inbound && (!*o->cni_conf_dir || !node_portmap_is_wanted(o));
}

int services_take_nodes(struct agent *a)
{
	struct services_view *s = &a->services;
	size_t n, ranges = 0;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(a->model, &n);

	free(s->pod_ranges);
	s->pod_ranges = xnew0_array(struct prefix, n * NODE_CIDRS_MAX + 1);
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < nodes[i]->n_cidrs; k++)
			s->pod_ranges[ranges++] = nodes[i]->cidrs[k];
	s->env = (struct service_env){.model = a->model,
				      .node = a->opt.node_name,
				      .pod_ranges = s->pod_ranges,
				      .n_pod_ranges = ranges,
				      .host_ports = host_ports_are_served(a),
				      .external_ips = a->opt.service_external_ips,
				      .dsr = a->opt.service_dsr,
				      .tiers = a->opt.service_tiers};
	take_own(a);
	take_held(a);
	take_api(a);
	count_tiers(&s->env, nodes, n);
	return tell_nodes(a, nodes, n);
}
