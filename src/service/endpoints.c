/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints a node uses. The rules are kube-proxy's (pkg/proxy/topology.go tells them in code): readiness, then hints, and where
 * nobody is ready those that still serve while they end. Beyond them, if asked for, tiers: near endpoints take what they can bear. */
#include "service/compile_internal.h"

enum {
	WEIGHT_MAX = 32, /* slots of one endpoint beside another's one */
};

/* A candidate: what the slices say of one (address, port). */
struct candidate {
	struct service_endpoint e;
	uint8_t flags; /* enum model_endpoint_flag */
	bool for_node, for_zone;      /* hints: for us */
	bool any_nodes, any_zones;    /* hints: for somebody */
	const char *node, *zone, *region;
};

struct candidates {
	struct candidate *list;
	size_t n, cap;
	const struct service_env *env;
	const struct model_node *here; /* or NULL */
	struct service_view *view; /* who hears of what is refused, or NULL */
	const struct service_port *port;
};

static bool list_has(const char *const *list, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (streq(list[i], name))
			return true;
	return false;
}

static enum service_tier tier_of(const struct candidates *c, const struct candidate *x)
{
	if (x->e.local)
		return SERVICE_TIER_NODE;
	if (c->here && *c->here->zone && streq(c->here->zone, x->zone))
		return SERVICE_TIER_ZONE;
	if (c->here && *c->here->region && streq(c->here->region, x->region))
		return SERVICE_TIER_REGION;
	return SERVICE_TIER_FAR;
}

static void add_candidate(struct candidates *c, const struct model_endpoint *e, uint16_t port)
{
	const struct model_node *node = *e->node ? model_find_node(c->env->model, e->node) : NULL;
	const char *fault = service_addr_fault(&e->addr), *here = c->here ? c->here->zone : "";
	char text[ADDR_TEXT_MAX];
	struct candidate *x;

	if (fault) {
		if (c->view)
			service_note_refused(c->view, "endpoint %s: %s", addr_format(&e->addr, text), fault);
		return;
	}
	GROW(c->list, c->n, c->cap);
	x = &c->list[c->n++];
	*x = (struct candidate){.e = {.addr = e->addr, .port = port, .weight = 1, .local = streq(e->node, c->env->node)},
				.flags = e->flags,
				.any_nodes = e->n_nodes > 0,
				.any_zones = e->n_zones > 0,
				.for_node = list_has(e->hints, e->n_nodes, c->env->node),
				.for_zone = *here && list_has(e->hints + e->n_nodes, e->n_zones, here),
				.node = e->node,
				.zone = *e->zone ? e->zone : node ? node->zone : "",
				.region = node ? node->region : ""};
	x->e.terminating = e->flags & ENDPOINT_TERMINATING;
	x->e.host = model_find_node_by_addr(c->env->model, &e->addr);
	x->e.tier = tier_of(c, x);
}

/* Ports are matched by name and protocol; a slice port without a number is the Service's own. A slice without ports serves none: so the
 * controller writes pods that lack the named port which the Service asks for. */
static bool add_slice(struct model_slice *slice, void *ctx)
{
	struct candidates *c = ctx;

	if (slice->v6 != c->port->v6)
		return true;
	for (unsigned p = 0; p < slice->n_ports; p++) {
		const struct model_slice_port *sp = &slice->ports[p];

		if (sp->proto != c->port->proto || !streq(sp->name, c->port->name))
			continue;
		for (unsigned i = 0; i < slice->n_endpoints; i++)
			add_candidate(c, &slice->endpoints[i], sp->port ? sp->port : c->port->port);
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int d = addr_cmp(&x->e.addr, &y->e.addr);

	return d ? d : (int)x->e.port - (int)y->e.port;
}

/* While an endpoint moves from one slice to another it is in both: the better word counts. */
static void merge(struct candidate *into, const struct candidate *other)
{
	bool terminating = into->flags & other->flags & ENDPOINT_TERMINATING;

	into->flags = ((into->flags | other->flags) & ~ENDPOINT_TERMINATING) | (terminating ? ENDPOINT_TERMINATING : 0);
	into->e.terminating = terminating;
	into->e.local |= other->e.local;
	into->node = *into->node ? into->node : other->node;
	into->e.tier = MIN(into->e.tier, other->e.tier);
	into->for_node |= other->for_node;
	into->for_zone |= other->for_zone;
	into->any_nodes |= other->any_nodes;
	into->any_zones |= other->any_zones;
}

static void sort_and_merge(struct candidates *c)
{
	size_t n = 0;

	if (c->n)
		qsort(c->list, c->n, sizeof(*c->list), compare);
	for (size_t i = 0; i < c->n; i++)
		if (n && compare(&c->list[n - 1], &c->list[i]) == 0)
			merge(&c->list[n - 1], &c->list[i]);
		else
			c->list[n++] = c->list[i];
	c->n = n;
}

static bool is_ready(const struct candidate *x)
{
	return x->flags & ENDPOINT_READY;
}

/* Of a pod that ends, and still answers. */
static bool is_last_resort(const struct candidate *x)
{
	return !is_ready(x) && (x->flags & ENDPOINT_SERVING) && (x->flags & ENDPOINT_TERMINATING);
}

/* By some node, at least. */
static bool is_served(const struct candidate *x)
{
	return is_ready(x) || is_last_resort(x);
}

enum hint_mode { HINTS_NONE, HINTS_NODE, HINTS_ZONE };

/* Hints count when every ready endpoint has one and somebody is there for us. */
static enum hint_mode hint_mode(const struct candidates *c)
{
	bool all_nodes = true, all_zones = true, node = false, zone = false;

	for (size_t i = 0; i < c->n; i++) {
		if (!is_ready(&c->list[i]))
			continue;
		all_nodes &= c->list[i].any_nodes;
		all_zones &= c->list[i].any_zones;
		node |= c->list[i].for_node;
		zone |= c->list[i].for_zone;
	}
	if (all_nodes && node)
		return HINTS_NODE;
	return all_zones && zone ? HINTS_ZONE : HINTS_NONE;
}

static bool is_hinted(const struct candidate *x, enum hint_mode mode)
{
	return mode == HINTS_NONE || (mode == HINTS_NODE ? x->for_node : x->for_zone);
}

/* @only_local: of this node's endpoints only. Return: how many were chosen. */
static size_t choose(struct candidates *c, enum service_role role, bool only_local, bool (*which)(const struct candidate *x),
		     enum hint_mode mode)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct candidate *x = &c->list[i];

		if ((only_local && !x->e.local) || !which(x) || !is_hinted(x, mode))
			continue;
		x->e.roles |= 1 << role;
		n++;
	}
	return n;
}

static size_t count_tiers(const struct candidates *c, enum service_tier to)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += (c->list[i].e.roles & 1 << SERVICE_CLUSTER) && c->list[i].e.tier <= to;
	return n;
}

/* Takes @to and nearer alone, or, if they are too few, lets the rest have what is beyond their share.
 *
 * With E endpoints of which e are near, and N nodes of which n are near, each endpoint would carry 1/E of the traffic of all; the near
 * nodes make n/N of it, the near endpoints should bear e/E. So they get the fraction f = (e/E)/(n/N) of what this node sends, and
 * the far ones 1 - f. Up to a quarter above the share counts as bearable. */
static bool settle_tier(struct candidates *c, enum service_tier to)
{
	size_t all = count_tiers(c, SERVICE_TIER_FAR), near = count_tiers(c, to);
	unsigned n = c->env->nodes[to], total = c->env->nodes[SERVICE_TIER_FAR];
	double f, each_near, each_far, scale;

	if (near == 0 || near == all || n == 0 || total == 0)
		return near > 0;
	f = ((double)near / all) / ((double)n / total);
	if (f >= 0.8) {
		for (size_t i = 0; i < c->n; i++)
			if (c->list[i].e.tier > to)
				c->list[i].e.roles &= ~(1 << SERVICE_CLUSTER);
		return true;
	}
	each_near = f / near;
	each_far = (1 - f) / (all - near);
	scale = WEIGHT_MAX / MAX(each_near, each_far);
	for (size_t i = 0; i < c->n; i++) {
		double w = (c->list[i].e.tier <= to ? each_near : each_far) * scale + 0.5;

		c->list[i].e.weight = MAX(1, (int)w);
	}
	return true;
}

static void settle_tiers(struct candidates *c)
{
	if (!settle_tier(c, SERVICE_TIER_ZONE))
		settle_tier(c, SERVICE_TIER_REGION);
}

static void choose_all(struct candidates *c)
{
	enum hint_mode mode = hint_mode(c);

	if (choose(c, SERVICE_CLUSTER, false, is_ready, mode) == 0)
		choose(c, SERVICE_CLUSTER, false, is_last_resort, HINTS_NONE); /* better far than nowhere */
	else if (mode == HINTS_NONE && c->env->tiers)
		settle_tiers(c);
	if (choose(c, SERVICE_LOCAL, true, is_ready, HINTS_NONE) == 0)
		choose(c, SERVICE_LOCAL, true, is_last_resort, HINTS_NONE);
}

static void collect(struct candidates *c, const struct model_service *svc)
{
	model_each_slice_of(c->env->model, svc, add_slice, c);
	sort_and_merge(c);
}

void service_collect_endpoints(const struct service_env *env, const struct model_service *svc, struct service_view *v,
			       struct service_port *p)
{
	struct candidates c = {.env = env, .here = model_find_node(env->model, env->node), .view = v, .port = p};

	collect(&c, svc);
	choose_all(&c);
	p->endpoints = xnew0_array(struct service_endpoint, c.n + 1);
	for (size_t i = 0; i < c.n; i++) {
		const struct candidate *x = &c.list[i];

		p->any_endpoint |= is_served(x);
		if (x->e.roles || (svc->reset && p->proto == IPPROTO_TCP))
			p->endpoints[p->n_endpoints++] = x->e;
	}
	free(c.list);
}

void service_each_served(const struct service_env *env, const struct model_service *svc, const struct model_service_port *sp, bool v6,
			 service_served_fn *fn, void *ctx)
{
	_cleanup_free_ char *name = xstrdup(sp->name);
	const struct service_port p = {.name = name, .port = sp->port, .proto = sp->proto, .v6 = v6};
	struct candidates c = {.env = env, .port = &p};

	collect(&c, svc);
	for (size_t i = 0; i < c.n; i++)
		if (is_served(&c.list[i]))
			fn(c.list[i].node, is_ready(&c.list[i]) && !c.list[i].e.terminating, ctx);
	free(c.list);
}
