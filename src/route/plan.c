/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling runs in three steps: which nodes own their ranges (claims), by which addresses each peer is reached, and
 * what that means for each table of the kernel.
 *
 * Claims. Two nodes whose ranges overlap would make every packet's way depend on the order of events, so one of them
 * must lose, and all nodes must agree which, each by itself: the one created later (then by uid, by name), a fact that
 * the API gives to all alike. Ranges are sorted by address, so that an overlap is always with a neighbour in that order
 * (prefixes nest or are apart). */
#include "base/str.h"
#include "route/compile.h"

#include <linux/fib_rules.h>

enum {
	OWN_RANGE_METRIC = 4278198272u, /* below everything that anybody writes, above nothing */
	RULE_PRIORITY = 5757,
	V4_RANGE_LONGEST = V4_BITS_BEFORE + 30, /* network, node, a pod, broadcast */
	V6_RANGE_LONGEST = 126,
};

struct addr route_node_addr(const struct prefix *range)
{
	return addr_add(&range->addr, 1);
}

int route_vtep_mac(const struct prefix *ranges, size_t n, uint8_t ret[6])
{
	const struct prefix *v4 = NULL, *v6 = NULL;
	struct addr a;
	uint32_t h;

	for (size_t i = 0; i < n; i++) {
		if (prefix_family(&ranges[i]) == AF_INET)
			v4 = v4 ? v4 : &ranges[i];
		else
			v6 = v6 ? v6 : &ranges[i];
	}
	if (!v4 && !v6)
		return -ENOENT;
	a = route_node_addr(v4 ? v4 : v6);
	ret[0] = 0x02;
	ret[1] = 0x57;
	if (v4) {
		memcpy(ret + 2, addr_raw(&a), 4);
		return 0;
	}
	h = hash_bytes(&a, sizeof(a), 0); /* unseeded: the same on every node */
	h = htonl(h);
	memcpy(ret + 2, &h, 4);
	return 0;
}

const char *route_peer_state_name(enum route_peer_state s)
{
	static const char *const names[] = {"ok", "no-range", "no-address", "not-on-link", "no-room", "conflict"};

	return names[s];
}

struct claim {
	struct member *member;
	int family; /* 0, 1 */
};

void route_complain(struct member *m, const char *fmt, ...)
{
	va_list ap;

	if (m->why)
		return;
	va_start(ap, fmt);
	m->why = xvasprintf(fmt, ap);
	va_end(ap);
}

static bool family_on(const struct route_config *c, int family)
{
	return family == 0 ? c->ipv4 : c->ipv6;
}

/* The first range of each family that is in use; a range without room is a conflict. */
static void take_ranges(struct member *m, const struct route_config *c)
{
	char text[PREFIX_TEXT_MAX];

	for (unsigned i = 0; i < m->node->n_cidrs; i++) {
		const struct prefix *p = &m->node->cidrs[i];
		int f = prefix_family(p) == AF_INET ? 0 : 1;

		if (!family_on(c, f))
			continue;
		if (p->len > (f == 0 ? V4_RANGE_LONGEST : V6_RANGE_LONGEST) ||
		    p->len <= (f == 0 ? V4_BITS_BEFORE : 0)) {
			route_complain(m, "range %s leaves no room for a node address and a pod", prefix_format(p, text));
			m->conflict = true;
		} else if (m->ranges[f].len) {
			route_complain(m, "range %s is a second one of its family and is not used", prefix_format(p, text));
		} else {
			m->ranges[f] = *p;
			m->claims[f] = true;
		}
	}
}

/* Who was there first? Everybody comes to the same answer. */
static int cmp_age(const struct model_node *a, const struct model_node *b)
{
	int r;

	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	r = strcmp(a->uid, b->uid);
	return r ? r : strcmp(a->name, b->name);
}

static const struct prefix *claimed(const struct claim *c)
{
	return &c->member->ranges[c->family];
}

/* Covering prefixes before what they cover. */
static int cmp_claim(const void *x, const void *y)
{
	const struct claim *a = x, *b = y;
	int r = addr_cmp(&claimed(a)->addr, &claimed(b)->addr);

	if (r == 0)
		r = (int)claimed(a)->len - claimed(b)->len;
	return r ? r : cmp_age(a->member->node, b->member->node);
}

static int cmp_claim_age(const void *x, const void *y)
{
	const struct claim *a = x, *b = y;
	int r = cmp_age(a->member->node, b->member->node);

	return r ? r : a->family - b->family;
}

static void lose(const struct claim *loser, const struct claim *winner)
{
	char own[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

	loser->member->claims[loser->family] = false;
	loser->member->conflict = true;
	route_complain(loser->member, "range %s overlaps %s of the older node %s", prefix_format(claimed(loser), own),
		 prefix_format(claimed(winner), other), winner->member->node->name);
}

static bool overlap(const struct claim *a, const struct claim *b)
{
	return prefix_covers(claimed(a), claimed(b)) || prefix_covers(claimed(b), claimed(a));
}

static int cmp_prefix(const void *x, const void *y)
{
	const struct prefix *a = x, *b = y;
	int r = addr_cmp(&a->addr, &b->addr);

	return r ? r : (int)a->len - b->len;
}

/* A run of claims that lie within the first one's range: the oldest takes its place, the next oldest if it is free, and
 * so on. */
static void settle(struct claim *run, size_t n)
{
	qsort(run, n, sizeof(*run), cmp_claim_age);
	for (size_t i = 1; i < n; i++)
		for (size_t j = 0; j < i; j++)
			if (run[j].member->claims[run[j].family] && overlap(&run[i], &run[j])) {
				lose(&run[i], &run[j]);
				break;
			}
}

static void settle_claims(struct compiling *c)
{
	_cleanup_free_ struct claim *claims = xnew0_array(struct claim, c->n * 2);
	size_t n = 0, end;

	for (size_t i = 0; i < c->n; i++)
		for (int f = 0; f < 2; f++)
			if (c->members[i].claims[f])
				claims[n++] = (struct claim){&c->members[i], f};
	qsort(claims, n, sizeof(*claims), cmp_claim);
	for (size_t i = 0; i < n; i = end) {
		const struct prefix outer = *claimed(&claims[i]);

		for (end = i + 1; end < n && prefix_covers(&outer, claimed(&claims[end])); end++)
			;
		if (end - i > 1)
			settle(claims + i, end - i);
	}
}

/* The ranges that are left, each with one owner. */
static void collect_owned(struct compiling *c)
{
	c->owned = xnew0_array(struct prefix, c->n * 2);
	for (size_t i = 0; i < c->n; i++)
		for (int f = 0; f < 2; f++)
			if (c->members[i].claims[f])
				c->owned[c->n_owned++] = c->members[i].ranges[f];
	qsort(c->owned, c->n_owned, sizeof(*c->owned), cmp_prefix);
}

/* Is it an address of some node's pods? A node that claims it would draw their packets to itself. */
bool route_in_pod_range(const struct compiling *c, const struct addr *a)
{
	size_t low = 0, high = c->n_owned;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (addr_cmp(&c->owned[mid].addr, a) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && prefix_contains(&c->owned[low - 1], a);
}

/* --- one peer, this node, everything --- */

static int cmp_name(const void *x, const void *y)
{
	return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* `auto`: direct where the link is shared and a probe has proven it, the tunnel elsewhere. */
static enum route_transport choose_transport(const struct compiling *c, struct member *m)
{
	const struct route_config *config = c->config;
	const char *name = m->node->name;

	if (!config->auto_direct)
		return config->transport;
	m->peer->probe = route_is_on_link(c, m);
	return m->peer->probe && config->n_proven &&
			       bsearch(&name, config->proven, config->n_proven, sizeof(name), cmp_name)
		       ? ROUTE_DIRECT
		       : config->transport;
}

static void plan_peer(struct compiling *c, struct member *m)
{
	struct route_peer *peer = m->peer;

	peer->name = xstrdup(m->node->name);
	peer->transport = c->config->transport;
	if (!m->claims[0] && !m->claims[1]) {
		peer->state = m->conflict ? ROUTE_PEER_CONFLICT : ROUTE_PEER_NO_RANGE;
		route_complain(m, "it has no range for pods in spec.podCIDRs");
	} else if (!route_is_common(c, m, 0) && !route_is_common(c, m, 1)) {
		peer->state = ROUTE_PEER_NO_RANGE;
		route_complain(m, "it has no range of a family that this node has");
	} else {
		peer->transport = choose_transport(c, m);
		route_transports[peer->transport].plan(c, m);
		if (peer->probe)
			route_plan_probe(c, m);
	}
	for (int f = 0; f < 2 && peer->state == ROUTE_PEER_OK; f++)
		if (c->own->claims[f] && !m->claims[f])
			route_complain(m, "it has no usable %s range: only the other family reaches it",
				       f == 0 ? "IPv4" : "IPv6");
	peer->why = take_ptr(m->why);
}

void route_add_rule(struct compiling *c, struct rule r)
{
	struct route_plan *p = c->plan;

	r.to = prefix_any(r.family);
	r.proto = NET_PROTO_WEFT;
	r.action = FR_ACT_TO_TBL;
	GROW(p->rules, p->n_rules, c->cap_rules);
	p->rules[p->n_rules++] = r;
}

static void plan_own_range(struct compiling *c, int f)
{
	struct route_plan *p = c->plan;
	const struct prefix *range = &c->own->ranges[f];

	p->ranges[f] = *range;
	p->node_addrs[f] = route_node_addr(range);
	GROW(p->addrs, p->n_addrs, c->cap_addrs);
	p->addrs[p->n_addrs++] = (struct link_addr){.ifindex = c->config->lo_ifindex ? c->config->lo_ifindex : 1,
						    .addr = p->node_addrs[f],
						    .len = 128,
						    .flags = f == 1 ? IFA_F_NODAD : 0};
	route_add_route(c, (struct route){.dst = *range, .type = RTN_UNREACHABLE, .metric = OWN_RANGE_METRIC});
	if (!route_transports[c->config->transport].is_tunnel)
		return;
	route_add_rule(c, (struct rule){.family = f == 0 ? AF_INET : AF_INET6,
					.priority = RULE_PRIORITY,
					.from = *range,
					.table = NET_TABLE_PEERS});
	if (c->config->auto_direct)
		route_plan_probe_rule(c, f);
}

static uint32_t smallest_underlay_mtu(const struct route_config *c)
{
	uint32_t mtu = 0;

	for (size_t i = 0; i < c->n_underlays; i++)
		mtu = mtu ? MIN(mtu, c->underlays[i].mtu) : c->underlays[i].mtu;
	return mtu;
}

/* What a path to a peer that we do not know yet would have: pods that start before it comes keep their route's MTU. */
static uint32_t expected_mtu(const struct compiling *all, uint32_t underlay)
{
	const struct route_config *c = all->config;

	return route_inner_mtu(&route_transports[c->transport], underlay, route_names6_first(all->own) || !route_own_underlay(c, AF_INET));
}

static void plan_mtu(struct compiling *c)
{
	struct route_plan *p = c->plan;

	p->device_mtu = smallest_underlay_mtu(c->config);
	p->pod_mtu = expected_mtu(c, p->device_mtu);
	if (c->own && c->own->claims[1] && p->device_mtu) /* on a smaller device there is no IPv6: the routes say what fits */
		p->device_mtu = MAX(p->device_mtu, (uint32_t)IPV6_LEAST_MTU);
	for (size_t i = 0; i < p->n_peers; i++)
		if (p->peers[i].state == ROUTE_PEER_OK)
			p->pod_mtu = MIN(p->pod_mtu, p->peers[i].mtu);
}

/* Who asks for an address that a Service has was given its endpoint's before any route is asked for. For the others the way out would be
 * the default route, and back again where a router leads the range here. */
static void plan_service_ranges(struct compiling *c, int f)
{
	for (size_t i = 0; i < c->config->n_service_ranges; i++) {
		const struct prefix *range = &c->config->service_ranges[i];

		if (prefix_family(range) == (f == 0 ? AF_INET : AF_INET6))
			route_add_route(c, (struct route){.dst = *range, .type = RTN_UNREACHABLE, .metric = OWN_RANGE_METRIC});
	}
}

static void plan_own(struct compiling *c)
{
	struct route_plan *p = c->plan;
	struct member *own = c->own;
	size_t n = 0;
	struct prefix ranges[2];

	if (!own) {
		p->error = xasprintf("the API knows no node %s (yet)", c->config->node);
		return;
	}
	if (own->conflict) {
		p->error = xasprintf("this node's %s", own->why);
		/* pods that run here keep their addresses: the plan for what is ours stays */
		for (int f = 0; f < 2; f++)
			own->claims[f] = own->ranges[f].len != 0;
	} else if (!own->claims[0] && !own->claims[1]) {
		p->error = xasprintf("node %s has no range for pods in spec.podCIDRs (yet)", c->config->node);
	} else if (c->config->n_underlays == 0) {
		p->error = xstrdup("this node has no address outside of the pod ranges");
	}
	for (int f = 0; f < 2; f++)
		if (own->claims[f]) {
			plan_own_range(c, f);
			plan_service_ranges(c, f);
			ranges[n++] = own->ranges[f];
		}
	if (n)
		route_vtep_mac(ranges, n, p->vtep_mac);
}

/* A range that overlaps ours is not routed here, whoever is older: pods of ours are in it. */
static void withdraw_overlaps(struct compiling *c)
{
	for (size_t i = 0; c->own && i < c->n; i++)
		for (int f = 0; f < 2; f++) {
			struct claim peer = {&c->members[i], f}, own = {c->own, f};

			if (peer.member == c->own || !peer.member->claims[f] || !c->own->claims[f] ||
			    !overlap(&peer, &own))
				continue;
			peer.member->claims[f] = false;
			peer.member->conflict = true;
			route_complain(peer.member, "its range overlaps this node's own, which has pods in it");
		}
}

static int cmp_node_route(const void *x, const void *y)
{
	return cmp_prefix(&((const struct route_node_route *)x)->prefix, &((const struct route_node_route *)y)->prefix);
}

void route_compile(const struct route_config *config, const struct model *m, struct route_plan *ret)
{
	struct compiling c = {.config = config, .model = m, .plan = ret};
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(m, &c.n);

	*ret = (struct route_plan){0};
	c.members = xnew0_array(struct member, c.n);
	for (size_t i = 0; i < c.n; i++) {
		c.members[i].node = nodes[i];
		take_ranges(&c.members[i], config);
		if (streq(nodes[i]->name, config->node))
			c.own = &c.members[i];
	}
	settle_claims(&c);
	plan_own(&c);
	withdraw_overlaps(&c);
	collect_owned(&c);
	ret->peers = xnew0_array(struct route_peer, c.n);
	for (size_t i = 0; i < c.n; i++) {
		if (&c.members[i] != c.own) {
			c.members[i].peer = &ret->peers[ret->n_peers++];
			plan_peer(&c, &c.members[i]);
		}
		free(c.members[i].why);
	}
	plan_mtu(&c);
	if (ret->n_node_routes)
		qsort(ret->node_routes, ret->n_node_routes, sizeof(*ret->node_routes), cmp_node_route);
	free(c.owned);
	free(c.members);
}

static bool node_route_eq(const struct route_node_route *a, const struct route_node_route *b)
{
	return prefix_eq(&a->prefix, &b->prefix) && a->transport == b->transport && addr_eq(&a->underlay, &b->underlay) &&
	       addr_eq(&a->outer, &b->outer) && a->plain == b->plain &&
	       a->n_plain_by == b->n_plain_by && memcmp(a->plain_by, b->plain_by, sizeof(a->plain_by)) == 0 && a->is_node == b->is_node &&
	       a->only_source == b->only_source && a->ifindex == b->ifindex && a->mtu == b->mtu && memcmp(a->vtep_mac, b->vtep_mac, 6) == 0;
}

#define LIST_EQ(a, b, list, count, eq) \
	({ \
		bool eq_ = (a)->count == (b)->count; \
		for (size_t i_ = 0; eq_ && i_ < (a)->count; i_++) \
			eq_ = eq(&(a)->list[i_], &(b)->list[i_]); \
		eq_; \
	})

bool route_plan_eq(const struct route_plan *a, const struct route_plan *b)
{
	return LIST_EQ(a, b, routes, n_routes, route_eq) && LIST_EQ(a, b, rules, n_rules, rule_eq) &&
	       LIST_EQ(a, b, neighs, n_neighs, neigh_eq) && LIST_EQ(a, b, node_routes, n_node_routes, node_route_eq) &&
	       addr_eq(&a->node_addrs[0], &b->node_addrs[0]) && addr_eq(&a->node_addrs[1], &b->node_addrs[1]);
}

void route_plan_done(struct route_plan *p)
{
	for (size_t i = 0; i < p->n_peers; i++) {
		free(p->peers[i].name);
		free(p->peers[i].why);
	}
	for (size_t i = 0; i < p->n_node_routes; i++)
		free(p->node_routes[i].node);
	free(p->routes);
	free(p->rules);
	free(p->neighs);
	free(p->addrs);
	free(p->node_routes);
	free(p->peers);
	free(p->error);
	*p = (struct route_plan){0};
}
