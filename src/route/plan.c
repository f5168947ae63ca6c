/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling runs in three steps: which nodes own their ranges (claims), by which addresses each peer is reached, and
 * what that means for each table of the kernel.
 *
 * Claims. Two nodes whose ranges overlap would make every packet's way depend on the order of events, so one of them
 * must lose, and all nodes must agree which, each by itself: the one created later (then by uid, by name), a fact that
 * the API gives to all alike. Ranges are sorted by address, so that an overlap is always with a neighbour in that order
 * (prefixes nest or are apart). */
#include "route/plan.h"
#include "base/str.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>

enum {
	OWN_RANGE_METRIC = 4278198272u, /* below everything that anybody writes, above nothing */
	RULE_PRIORITY = 5757,
	VXLAN_OVERHEAD_V4 = 50, /* Ethernet 14, IPv4 20, UDP 8, VXLAN 8 */
	VXLAN_OVERHEAD_V6 = 70,
	ENCAP_TTL = 64,
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

const char *route_transport_name(enum route_transport t)
{
	return t == ROUTE_DIRECT ? "direct" : "vxlan";
}

const char *route_peer_state_name(enum route_peer_state s)
{
	static const char *const names[] = {"ok", "no-range", "no-address", "not-on-link", "conflict"};

	return names[s];
}

/* A node in the compiler's eyes. */
struct member {
	const struct model_node *node;
	struct prefix ranges[2]; /* IPv4, IPv6; len 0: none */
	bool claims[2];		 /* it owns that range */
	char *why;		 /* what is wrong, first finding */
	bool conflict;
	struct route_peer *peer;
};

struct claim {
	struct member *member;
	int family; /* 0, 1 */
};

struct compiling {
	const struct route_config *config;
	struct member *members;
	size_t n;
	struct member *own;
	const struct model *model;
	struct prefix *owned; /* all ranges that have an owner: disjoint, in order */
	size_t n_owned;
	struct route_plan *plan;
	size_t cap_routes, cap_rules, cap_neighs, cap_addrs, cap_node_routes;
};

static void _printf_(2, 3) complain(struct member *m, const char *fmt, ...)
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
			complain(m, "range %s leaves no room for a node address and a pod", prefix_format(p, text));
			m->conflict = true;
		} else if (m->ranges[f].len) {
			complain(m, "range %s is a second one of its family and is not used", prefix_format(p, text));
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
	complain(loser->member, "range %s overlaps %s of the older node %s", prefix_format(claimed(loser), own),
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
static bool in_pod_range(const struct compiling *c, const struct addr *a)
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

static void add_route(struct compiling *c, struct route r)
{
	struct route_plan *p = c->plan;

	r.proto = NET_PROTO_WEFT;
	GROW(p->routes, p->n_routes, c->cap_routes);
	p->routes[p->n_routes++] = r;
}

static void add_node_route(struct compiling *c, const struct prefix *prefix, const struct route_peer *peer,
			   uint32_t ifindex, const uint8_t mac[6])
{
	struct route_plan *p = c->plan;
	struct route_node_route r = {.prefix = *prefix,
				     .transport = peer->transport,
				     .underlay = peer->underlay,
				     .ifindex = ifindex,
				     .mtu = MIN(peer->mtu, (uint32_t)UINT16_MAX)};

	memcpy(r.vtep_mac, mac, 6);
	GROW(p->node_routes, p->n_node_routes, c->cap_node_routes);
	p->node_routes[p->n_node_routes++] = r;
}

static const struct route_underlay *own_underlay(const struct route_config *c, int family)
{
	for (size_t i = 0; i < c->n_underlays; i++)
		if (addr_family(&c->underlays[i].addr) == family)
			return &c->underlays[i];
	return NULL;
}

/* A peer may not lead us to ourselves, to this machine's inside, or to one link only. */
static bool is_usable(const struct route_config *c, const struct addr *a)
{
	static const uint8_t link_local6[2] = {0xfe, 0x80};

	for (size_t i = 0; i < c->n_underlays; i++)
		if (addr_eq(&c->underlays[i].addr, a))
			return false;
	if (addr_is_v4(a))
		return a->b[12] != 0 && a->b[12] != 127 && a->b[12] < 224 && !(a->b[12] == 169 && a->b[13] == 254);
	return a->b[0] != 0 && a->b[0] != 0xff && !(a->b[0] == link_local6[0] && (a->b[1] & 0xc0) == link_local6[1]);
}

static const struct addr *peer_address(const struct route_config *c, const struct model_node *n, int family)
{
	for (unsigned i = 0; i < n->n_addrs; i++)
		if (addr_family(&n->addrs[i]) == family && is_usable(c, &n->addrs[i]))
			return &n->addrs[i];
	return NULL;
}

/* --- direct --- */

/* The first pair of addresses of one family that are on one link. */
static const struct route_underlay *on_link(const struct route_config *c, const struct model_node *n, int family,
					    const struct addr **ret_addr)
{
	for (unsigned i = 0; i < n->n_addrs; i++)
		for (size_t j = 0; j < c->n_underlays; j++)
			if (addr_family(&n->addrs[i]) == family && addr_family(&c->underlays[j].addr) == family &&
			    is_usable(c, &n->addrs[i]) && prefix_contains(&c->underlays[j].net, &n->addrs[i])) {
				*ret_addr = &n->addrs[i];
				return &c->underlays[j];
			}
	return NULL;
}

static void plan_direct_family(struct compiling *c, struct member *m, int f)
{
	static const uint8_t no_mac[6];
	int family = f == 0 ? AF_INET : AF_INET6;
	const struct addr *via;
	const struct route_underlay *u = on_link(c->config, m->node, family, &via);
	struct route_peer path = {.transport = ROUTE_DIRECT};

	if (!u) {
		complain(m, "no %s address of it is on a network of ours: the direct transport cannot reach it",
			 f == 0 ? "IPv4" : "IPv6");
		return;
	}
	path.underlay = *via;
	path.mtu = u->mtu;
	add_route(c,
		  (struct route){.dst = m->ranges[f], .via = *via, .oif = u->ifindex, .src = c->plan->node_addrs[f]});
	add_node_route(c, &m->ranges[f], &path, u->ifindex, no_mac);
	if (m->peer->state == ROUTE_PEER_OK) { /* a second family does not change what is shown */
		m->peer->mtu = MIN(m->peer->mtu, u->mtu);
		return;
	}
	m->peer->state = ROUTE_PEER_OK;
	m->peer->underlay = *via;
	m->peer->own_underlay = u->addr;
	m->peer->mtu = u->mtu;
}

static void plan_direct(struct compiling *c, struct member *m)
{
	m->peer->state = m->node->n_addrs ? ROUTE_PEER_NOT_ON_LINK : ROUTE_PEER_NO_ADDRESS;
	for (int f = 0; f < 2; f++)
		if (m->claims[f] && c->own->claims[f])
			plan_direct_family(c, m, f);
}

/* --- vxlan --- */

static const struct route_underlay *choose_outer(const struct route_config *c, const struct model_node *n,
						 const struct addr **ret_addr)
{
	int order[2] = {c->underlay6 ? AF_INET6 : AF_INET, c->underlay6 ? AF_INET : AF_INET6};

	for (int i = 0; i < 2; i++) {
		const struct route_underlay *u = own_underlay(c, order[i]);

		*ret_addr = peer_address(c, n, order[i]);
		if (u && *ret_addr)
			return u;
	}
	return NULL;
}

static struct route encap_route(const struct compiling *c, const struct prefix *dst, const struct addr *via, int f,
				const struct route_peer *peer)
{
	return (struct route){
	    .dst = *dst,
	    .via = *via,
	    .oif = c->config->vxlan_ifindex,
	    .onlink = true,
	    .src = c->plan->node_addrs[f],
	    .mtu = peer->mtu,
	    .encap = {.id = c->config->vni, .dst = peer->underlay, .src = peer->own_underlay, .ttl = ENCAP_TTL}};
}

static void add_neigh(struct compiling *c, const struct addr *a, const uint8_t mac[6])
{
	struct route_plan *p = c->plan;
	struct neigh n = {
	    .ifindex = c->config->vxlan_ifindex, .addr = *a, .state = NUD_PERMANENT, .proto = NET_PROTO_WEFT};

	memcpy(n.mac, mac, 6);
	GROW(p->neighs, p->n_neighs, c->cap_neighs);
	p->neighs[p->n_neighs++] = n;
}

/* Said once, and by no node whose name sorts before (a copied virtual machine): one address, one way, the same
 * everywhere. */
static bool is_own_address(const struct compiling *c, const struct model_node *n, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (addr_eq(&n->addrs[j], &n->addrs[i]))
			return false;
	return model_find_node_by_addr(c->model, &n->addrs[i]) == n;
}

/* Pods reach a peer's own addresses through the tunnel too: a table of its own, so that the node itself does not. */
static void plan_peer_addresses(struct compiling *c, struct member *m, const uint8_t mac[6])
{
	for (unsigned i = 0; i < m->node->n_addrs; i++) {
		const struct addr *a = &m->node->addrs[i];
		int f = addr_is_v4(a) ? 0 : 1;
		struct prefix host = prefix_host(a);
		struct addr via;
		struct route r;

		if (!is_usable(c->config, a) || !m->claims[f] || !c->own->claims[f] || in_pod_range(c, a) ||
		    !is_own_address(c, m->node, i))
			continue;
		via = route_node_addr(&m->ranges[f]);
		r = encap_route(c, &host, &via, f, m->peer);
		r.table = NET_TABLE_PEERS;
		r.src = (struct addr){0}; /* forwarded packets have their source */
		add_route(c, r);
		add_node_route(c, &host, m->peer, c->config->vxlan_ifindex, mac);
	}
}

static void plan_vxlan(struct compiling *c, struct member *m)
{
	const struct addr *outer;
	const struct route_underlay *u = choose_outer(c->config, m->node, &outer);
	struct prefix ranges[2];
	size_t n_ranges = 0;
	uint8_t mac[6];

	if (!u) {
		m->peer->state = ROUTE_PEER_NO_ADDRESS;
		complain(m, m->node->n_addrs ? "none of its addresses is of a family that we have outside"
					     : "it has no InternalIP in status.addresses");
		return;
	}
	for (int f = 0; f < 2; f++)
		if (m->ranges[f].len)
			ranges[n_ranges++] = m->ranges[f];
	route_vtep_mac(ranges, n_ranges, mac);
	m->peer->state = ROUTE_PEER_OK;
	m->peer->underlay = *outer;
	m->peer->own_underlay = u->addr;
	m->peer->mtu = u->mtu - MIN(u->mtu, (uint32_t)(addr_is_v4(outer) ? VXLAN_OVERHEAD_V4 : VXLAN_OVERHEAD_V6));
	for (int f = 0; f < 2; f++) {
		struct addr via;
		struct route r;

		if (!m->claims[f] || !c->own->claims[f])
			continue;
		via = route_node_addr(&m->ranges[f]);
		r = encap_route(c, &m->ranges[f], &via, f, m->peer);
		add_route(c, r);
		add_neigh(c, &via, mac);
		add_node_route(c, &m->ranges[f], m->peer, c->config->vxlan_ifindex, mac);
	}
	plan_peer_addresses(c, m, mac);
}

/* --- one peer, this node, everything --- */

static void plan_peer(struct compiling *c, struct member *m)
{
	struct route_peer *peer = m->peer;
	bool common = (m->claims[0] && c->own && c->own->claims[0]) || (m->claims[1] && c->own && c->own->claims[1]);

	peer->name = m->node->name;
	peer->transport = c->config->transport;
	if (!m->claims[0] && !m->claims[1]) {
		peer->state = m->conflict ? ROUTE_PEER_CONFLICT : ROUTE_PEER_NO_RANGE;
		complain(m, "it has no range for pods in spec.podCIDRs");
	} else if (!common) {
		peer->state = ROUTE_PEER_NO_RANGE;
		complain(m, "it has no range of a family that this node has");
	} else if (c->config->transport == ROUTE_DIRECT) {
		plan_direct(c, m);
	} else {
		plan_vxlan(c, m);
	}
	for (int f = 0; f < 2 && peer->state == ROUTE_PEER_OK; f++)
		if (c->own->claims[f] && !m->claims[f])
			complain(m, "it has no usable %s range: only the other family reaches it",
				 f == 0 ? "IPv4" : "IPv6");
	peer->why = take_ptr(m->why);
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
	add_route(c, (struct route){.dst = *range, .type = RTN_UNREACHABLE, .metric = OWN_RANGE_METRIC});
	if (c->config->transport != ROUTE_VXLAN)
		return;
	GROW(p->rules, p->n_rules, c->cap_rules);
	p->rules[p->n_rules++] = (struct rule){.family = f == 0 ? AF_INET : AF_INET6,
					       .priority = RULE_PRIORITY,
					       .from = *range,
					       .to = prefix_any(f == 0 ? AF_INET : AF_INET6),
					       .table = NET_TABLE_PEERS,
					       .proto = NET_PROTO_WEFT,
					       .action = FR_ACT_TO_TBL};
}

static uint32_t smallest_underlay_mtu(const struct route_config *c)
{
	uint32_t mtu = 0;

	for (size_t i = 0; i < c->n_underlays; i++)
		mtu = mtu ? MIN(mtu, c->underlays[i].mtu) : c->underlays[i].mtu;
	return mtu;
}

/* What a path to a peer that we do not know yet would have: pods that start before it comes keep their route's MTU. */
static uint32_t expected_mtu(const struct route_config *c, uint32_t underlay)
{
	bool v6 = c->underlay6 || !own_underlay(c, AF_INET);

	if (c->transport == ROUTE_DIRECT)
		return underlay;
	return underlay - MIN(underlay, (uint32_t)(v6 ? VXLAN_OVERHEAD_V6 : VXLAN_OVERHEAD_V4));
}

static void plan_mtu(struct compiling *c)
{
	struct route_plan *p = c->plan;

	p->device_mtu = smallest_underlay_mtu(c->config);
	p->pod_mtu = expected_mtu(c->config, p->device_mtu);
	for (size_t i = 0; i < p->n_peers; i++)
		if (p->peers[i].state == ROUTE_PEER_OK)
			p->pod_mtu = MIN(p->pod_mtu, p->peers[i].mtu);
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
			complain(peer.member, "its range overlaps this node's own, which has pods in it");
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
	       a->ifindex == b->ifindex && a->mtu == b->mtu && memcmp(a->vtep_mac, b->vtep_mac, 6) == 0;
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
	for (size_t i = 0; i < p->n_peers; i++)
		free(p->peers[i].why);
	free(p->routes);
	free(p->rules);
	free(p->neighs);
	free(p->addrs);
	free(p->node_routes);
	free(p->peers);
	free(p->error);
	*p = (struct route_plan){0};
}
