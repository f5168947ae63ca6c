/* SPDX-License-Identifier: Apache-2.0 */
/* How packets get to a peer: the table of transports, and what each wants of the kernel and of the datapath.
 *
 * direct needs a network that both nodes are on: the peer's address is the next hop, and packets travel as they are. A tunnel
 * (vxlan, geneve) needs any way to any address of the peer. Its node routes say by which outer source packets of a peer's
 * ranges may come; those of `direct`, that they may come as they are, and by which links: all that lead to a network which both nodes are on,
 * as the other end chooses among them by its own list. With `auto`, where each node chooses for itself, a peer
 * that could be direct may send either way: nobody loses what is on its way when the other end changes its mind.
 *
 * IPv6 wants 1280 bytes of every link (RFC 8200 5). A tunnel over a small underlay gives it that by fragments of the outer
 * packet, which only IPv4 outside can be cut into on its way out of the kernel's device; over IPv6 the family is refused, and so
 * it is where packets travel as they are. */
#include "base/str.h"
#include "route/compile.h"

#include <linux/neighbour.h>

enum { ENCAP_TTL = 64 };

void route_add_route(struct compiling *c, struct route r)
{
	struct route_plan *p = c->plan;

	r.proto = NET_PROTO_WEFT;
	GROW(p->routes, p->n_routes, c->cap_routes);
	p->routes[p->n_routes++] = r;
}

/* What the datapath is told of a prefix of a peer. */
static void add_node_route(struct compiling *c, const struct member *m, const struct prefix *prefix, const struct route_node_route *way)
{
	struct route_plan *p = c->plan;
	struct route_node_route r = *way;

	r.prefix = *prefix;
	r.node = xstrdup(m->node->name);
	GROW(p->node_routes, p->n_node_routes, c->cap_node_routes);
	p->node_routes[p->n_node_routes++] = r;
}

const struct route_underlay *route_own_underlay(const struct route_config *c, int family)
{
	for (size_t i = 0; i < c->n_underlays; i++)
		if (addr_family(&c->underlays[i].addr) == family)
			return &c->underlays[i];
	return NULL;
}

/* A peer may not lead us to ourselves, to this machine's inside, or to one link only. */
static bool is_usable(const struct route_config *c, const struct addr *a)
{
	for (size_t i = 0; i < c->n_underlays; i++)
		if (addr_eq(&c->underlays[i].addr, a))
			return false;
	return addr_is_routable(a);
}

static const struct addr *peer_address(const struct route_config *c, const struct model_node *n, int family)
{
	for (unsigned i = 0; i < n->n_addrs; i++)
		if (addr_family(&n->addrs[i]) == family && is_usable(c, &n->addrs[i]))
			return &n->addrs[i];
	return NULL;
}

const struct route_underlay *route_on_link(const struct route_config *c, const struct model_node *n, int family,
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

static int family_of(int f)
{
	return f == 0 ? AF_INET : AF_INET6;
}

bool route_is_common(const struct compiling *c, const struct member *m, int f)
{
	return m->claims[f] && c->own && c->own->claims[f];
}

/* Nobody on the way may cut an IPv6 packet, and each may have 1280 bytes (RFC 8200 5). */
static bool link_has_room(const struct route_underlay *u, int f)
{
	return f == 0 || u->mtu >= IPV6_LEAST_MTU;
}

bool route_is_on_link(const struct compiling *c, const struct member *m)
{
	const struct addr *via;

	for (int f = 0; f < 2; f++) {
		const struct route_underlay *u = route_on_link(c->config, m->node, family_of(f), &via);

		if (route_is_common(c, m, f) && (!u || !link_has_room(u, f)))
			return false;
	}
	return true;
}

uint32_t route_inner_mtu(const struct transport_ops *t, uint32_t mtu, bool outer_v6)
{
	return mtu - MIN(mtu, t->overhead[outer_v6]);
}

bool route_names6_first(const struct member *m)
{
	return m && m->node->n_addrs && !addr_is_v4(&m->node->addrs[0]);
}

/* By which of its addresses, from which of ours, a tunnel to the peer goes. By IPv6 where both Nodes name such an address first: what two nodes know of each other
 * is the same at both, so each takes what the other sends. */
static const struct route_underlay *choose_outer(const struct compiling *c, const struct member *m, const struct addr **ret_addr)
{
	bool six = route_names6_first(c->own) && route_names6_first(m);
	int order[2] = {six ? AF_INET6 : AF_INET, six ? AF_INET : AF_INET6};

	for (int i = 0; i < 2; i++) {
		const struct route_underlay *u = route_own_underlay(c->config, order[i]);

		*ret_addr = peer_address(c->config, m->node, order[i]);
		if (u && *ret_addr)
			return u;
	}
	return NULL;
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

/* Which links are on a network with the peer: by any of them it may send. */
static void plan_plain(const struct compiling *c, const struct member *m, struct route_node_route *way, int f)
{
	way->plain = true;
	for (size_t j = 0; j < c->config->n_underlays; j++) {
		const struct route_underlay *u = &c->config->underlays[j];
		bool known = addr_family(&u->addr) != family_of(f), shared = false;

		for (unsigned i = 0; i < m->node->n_addrs && !shared; i++)
			shared = is_usable(c->config, &m->node->addrs[i]) && prefix_contains(&u->net, &m->node->addrs[i]);
		for (size_t i = 0; i < MIN(way->n_plain_by, (size_t)ROUTE_PLAIN_LINKS_MAX); i++)
			known |= way->plain_by[i] == u->ifindex;
		if (known || !shared)
			continue;
		if (way->n_plain_by < ROUTE_PLAIN_LINKS_MAX)
			way->plain_by[way->n_plain_by] = u->ifindex;
		way->n_plain_by++;
	}
}

/* The one by which the node itself is known: its programs take a packet out of a tunnel for one address of each family. */
static bool is_first_of_family(const struct compiling *c, const struct model_node *n, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (addr_family(&n->addrs[j]) == addr_family(&n->addrs[i]) && is_usable(c->config, &n->addrs[j]))
			return false;
	return true;
}

/* May pods reach the peer's own address number @i as they reach its pods? Others of its addresses are the world's. */
static bool is_peer_address(const struct compiling *c, const struct member *m, unsigned i)
{
	const struct addr *a = &m->node->addrs[i];

	return is_usable(c->config, a) && is_first_of_family(c, m->node, i) && route_is_common(c, m, addr_is_v4(a) ? 0 : 1) && !route_in_pod_range(c, a) &&
	       is_own_address(c, m->node, i);
}

/* --- direct --- */

/* The peer's own addresses. What pods have for them is the stack's, but where the peer may send by tunnel as well. */
static void plan_direct_addresses(struct compiling *c, struct member *m, const struct route_node_route *way, int f)
{
	struct route_node_route node = *way;

	node.is_node = true;
	node.only_source = !c->config->auto_direct;
	for (unsigned i = 0; i < m->node->n_addrs; i++) {
		struct prefix host = prefix_host(&m->node->addrs[i]);

		if (addr_family(&m->node->addrs[i]) == family_of(f) && is_peer_address(c, m, i))
			add_node_route(c, m, &host, &node);
	}
}

static void add_neigh(struct compiling *c, const struct addr *a, const uint8_t mac[6])
{
	struct route_plan *p = c->plan;
	struct neigh n = {
	    .ifindex = c->config->tunnel_ifindex, .addr = *a, .state = NUD_PERMANENT, .proto = NET_PROTO_WEFT};

	memcpy(n.mac, mac, 6);
	GROW(p->neighs, p->n_neighs, c->cap_neighs);
	p->neighs[p->n_neighs++] = n;
}

/* The next hop in the tunnel, which has the peer's VTEP MAC. For IPv6 it is link-local, made of that MAC: a global one would be
 * looked up, and refused while its range still has a route by another device (net/ipv6/route.c, ip6_route_check_nh_onlink). */
static struct addr tunnel_hop(const struct member *m, const uint8_t mac[6], int f)
{
	struct addr a = {{0xfe, 0x80}};

	if (f == 0)
		return route_node_addr(&m->ranges[f]);
	memcpy(a.b + 10, mac, 6);
	return a;
}

static void peer_vtep_mac(const struct member *m, uint8_t ret[6])
{
	struct prefix ranges[2];
	size_t n = 0;

	for (int f = 0; f < 2; f++)
		if (m->ranges[f].len)
			ranges[n++] = m->ranges[f];
	route_vtep_mac(ranges, n, ret);
}

/* A peer that is direct for the time being is still known in the tunnel: packets that the stack has routed into it, and not yet sent, would find
 * no neighbour when the transport changes, and be lost. */
static void plan_tunnel_neigh(struct compiling *c, const struct member *m, int f)
{
	uint8_t mac[6];
	struct addr via;

	peer_vtep_mac(m, mac);
	via = tunnel_hop(m, mac, f);
	add_neigh(c, &via, mac);
}

static void plan_direct_family(struct compiling *c, struct member *m, int f)
{
	const struct addr *via, *outer;
	const struct route_underlay *u = route_on_link(c->config, m->node, family_of(f), &via);
	struct route_node_route way = {.transport = ROUTE_DIRECT};

	if (!u) {
		route_complain(m, "no %s address of it is on a network of ours: the direct transport cannot reach it",
			       f == 0 ? "IPv4" : "IPv6");
		return;
	}
	if (!link_has_room(u, f)) {
		if (m->peer->state != ROUTE_PEER_OK)
			m->peer->state = ROUTE_PEER_NO_ROOM;
		route_complain(m, "IPv6 cannot be carried: it needs an underlay of %u bytes, this one has %u", IPV6_LEAST_MTU, u->mtu);
		return;
	}
	way.underlay = *via;
	way.ifindex = u->ifindex;
	way.mtu = MIN(u->mtu, (uint32_t)UINT16_MAX);
	if (c->config->auto_direct && choose_outer(c, m, &outer)) {
		way.outer = *outer;
		plan_tunnel_neigh(c, m, f);
	}
	plan_plain(c, m, &way, f);
	plan_direct_addresses(c, m, &way, f);
	route_add_route(c, (struct route){.dst = m->ranges[f], .via = *via, .oif = u->ifindex, .src = c->plan->node_addrs[f]});
	add_node_route(c, m, &m->ranges[f], &way);
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
		if (route_is_common(c, m, f))
			plan_direct_family(c, m, f);
}

/* --- tunnels --- */

/* Can family @f travel in this tunnel? IPv6 needs 1280 bytes, if need be in two outer fragments. */
static bool has_room(struct member *m, int f)
{
	uint32_t underlay = m->peer->mtu + route_transports[m->peer->transport].overhead[!addr_is_v4(&m->peer->underlay)];

	if (f == 0 || m->peer->mtu >= IPV6_LEAST_MTU)
		return true;
	if (addr_is_v4(&m->peer->underlay)) {
		route_complain(m, "IPv6 packets of more than %u bytes travel in two fragments: an underlay of %u bytes is too small for them",
			       m->peer->mtu, underlay);
		return true;
	}
	route_complain(m, "IPv6 cannot be carried: a tunnel over IPv6 needs an underlay of %u bytes, this one has %u",
		       IPV6_LEAST_MTU + route_transports[m->peer->transport].overhead[1], underlay);
	return false;
}

static uint32_t mtu_of_family(const struct route_peer *peer, int f)
{
	return f == 0 ? peer->mtu : MAX(peer->mtu, (uint32_t)IPV6_LEAST_MTU);
}

static struct route encap_route(const struct compiling *c, const struct prefix *dst, const struct addr *via, int f,
				const struct route_peer *peer)
{
	return (struct route){
	    .dst = *dst,
	    .via = *via,
	    .oif = c->config->tunnel_ifindex,
	    .onlink = true,
	    .src = c->plan->node_addrs[f],
	    .mtu = mtu_of_family(peer, f),
	    .encap = {.id = c->config->vni, .dst = peer->underlay, .src = peer->own_underlay, .ttl = ENCAP_TTL}};
}

static void plan_tunnel_family(struct compiling *c, struct member *m, struct route_node_route way, int f)
{
	struct addr via = tunnel_hop(m, way.vtep_mac, f);

	if (c->config->auto_direct && route_is_on_link(c, m))
		plan_plain(c, m, &way, f);
	way.mtu = MIN(mtu_of_family(m->peer, f), (uint32_t)UINT16_MAX);
	route_add_route(c, encap_route(c, &m->ranges[f], &via, f, m->peer));
	add_neigh(c, &via, way.vtep_mac);
	add_node_route(c, m, &m->ranges[f], &way);
	/* Pods reach the peer's own addresses through the tunnel too: a table of its own, so that the node itself does not. */
	for (unsigned i = 0; i < m->node->n_addrs; i++) {
		struct prefix host = prefix_host(&m->node->addrs[i]);
		struct route_node_route node = way;
		struct route r;

		if (addr_family(&m->node->addrs[i]) != family_of(f) || !is_peer_address(c, m, i))
			continue;
		r = encap_route(c, &host, &via, f, m->peer);
		r.table = NET_TABLE_PEERS;
		r.src = (struct addr){0}; /* forwarded packets have their source */
		route_add_route(c, r);
		node.is_node = true; /* the outer packets themselves come as they are, and all that is between nodes */
		add_node_route(c, m, &host, &node);
	}
}

static int cmp_path(const void *x, const void *y)
{
	return addr_cmp(&((const struct route_path *)x)->remote, &((const struct route_path *)y)->remote);
}

/* Of outer packets. IPv6 inside needs its 1280 bytes: on a path that has not so many, smaller packets go on. */
static uint32_t outer_mtu(const struct route_config *c, const struct transport_ops *t, const struct route_underlay *u, const struct addr *outer)
{
	const uint32_t least = IPV6_LEAST_MTU + t->overhead[!addr_is_v4(outer)];
	const struct route_path want = {.remote = *outer}, *path;
	uint32_t mtu;

	path = c->n_paths ? bsearch(&want, c->paths, c->n_paths, sizeof(want), cmp_path) : NULL;
	mtu = path ? MAX(path->mtu, least) : u->mtu;
	return MIN(mtu, u->mtu);
}

static void plan_tunnel(struct compiling *c, struct member *m)
{
	const struct transport_ops *t = &route_transports[m->peer->transport];
	struct route_node_route way = {.transport = m->peer->transport, .ifindex = c->config->tunnel_ifindex};
	const struct addr *outer;
	const struct route_underlay *u = choose_outer(c, m, &outer);

	if (!u) {
		m->peer->state = ROUTE_PEER_NO_ADDRESS;
		route_complain(m, m->node->n_addrs ? "none of its addresses is of a family that we have outside"
						   : "it has no InternalIP in status.addresses");
		return;
	}
	peer_vtep_mac(m, way.vtep_mac);
	m->peer->underlay = *outer;
	m->peer->own_underlay = u->addr;
	m->peer->mtu = route_inner_mtu(t, outer_mtu(c->config, t, u, outer), !addr_is_v4(outer));
	way.underlay = way.outer = *outer;
	m->peer->state = ROUTE_PEER_NO_ROOM;
	for (int f = 0; f < 2; f++)
		if (route_is_common(c, m, f) && has_room(m, f)) {
			m->peer->state = ROUTE_PEER_OK;
			plan_tunnel_family(c, m, way, f);
		}
}

/* --- wireguard --- */

/* The interface carries IP packets to whom WireGuard says that an address belongs: no next hop, no outer address here. Where the
 * packets go outside is the mesh's affair, and may change family with every packet; so the room is that of the larger header. */
static void plan_mesh_family(struct compiling *c, struct member *m, struct route_node_route *way, int f)
{
	struct route r = {.dst = m->ranges[f], .oif = c->config->tunnel_ifindex, .src = c->plan->node_addrs[f], .mtu = mtu_of_family(m->peer, f)};

	way->mtu = MIN(r.mtu, (uint32_t)UINT16_MAX);
	route_add_route(c, r);
	add_node_route(c, m, &m->ranges[f], way);
	for (unsigned i = 0; i < m->node->n_addrs; i++) {
		struct route_node_route node = *way;

		if (addr_family(&m->node->addrs[i]) != family_of(f) || !is_peer_address(c, m, i))
			continue;
		r.dst = prefix_host(&m->node->addrs[i]);
		r.table = NET_TABLE_PEERS;
		r.src = (struct addr){0}; /* forwarded packets have their source */
		route_add_route(c, r);
		node.is_node = true; /* encrypted packets themselves come as they are, and all that is between nodes */
		add_node_route(c, m, &r.dst, &node);
	}
}

static void plan_mesh(struct compiling *c, struct member *m)
{
	struct route_node_route way = {.transport = ROUTE_WIREGUARD, .ifindex = c->config->tunnel_ifindex};
	const struct addr *outer;
	const struct route_underlay *u = choose_outer(c, m, &outer);

	if (!u && c->config->n_underlays)
		u = &c->config->underlays[0];
	if (!u) {
		m->peer->state = ROUTE_PEER_NO_ADDRESS;
		route_complain(m, "this node has no address outside of the pod ranges");
		return;
	}
	m->peer->state = ROUTE_PEER_OK;
	m->peer->own_underlay = u->addr;
	if (outer)
		m->peer->underlay = *outer;
	m->peer->mtu = route_transport_mtu(ROUTE_WIREGUARD, u->mtu);
	for (int f = 0; f < 2; f++)
		if (route_is_common(c, m, f))
			plan_mesh_family(c, m, &way, f);
}

/* clang-format off */
const struct transport_ops route_transports[ROUTE_TRANSPORTS] = {
	[ROUTE_DIRECT] = { "direct", .plan = plan_direct },
	/* Ethernet 14, UDP 8, VXLAN 8, IPv4 20 or IPv6 40 */
	[ROUTE_VXLAN] = { "vxlan", .overhead = { 50, 70 }, .is_tunnel = true, .plan = plan_tunnel },
	/* the same without options, of which we send none */
	[ROUTE_GENEVE] = { "geneve", .overhead = { 50, 70 }, .is_tunnel = true, .plan = plan_tunnel },
	/* IPv4 20 or IPv6 40, UDP 8, WireGuard's header 16 and tag 16; padding stays below the MTU */
	[ROUTE_WIREGUARD] = { "wireguard", .overhead = { 80, 80 }, .is_tunnel = true, .plan = plan_mesh },
};
/* clang-format on */

const char *route_transport_name(enum route_transport t)
{
	return route_transports[t].name;
}

bool route_transport_is_tunnel(enum route_transport t)
{
	return route_transports[t].is_tunnel;
}

uint32_t route_overhead(enum route_transport t, bool outer_v6)
{
	return route_transports[t].overhead[outer_v6];
}

uint32_t route_transport_mtu(enum route_transport t, uint32_t underlay)
{
	return route_inner_mtu(&route_transports[t], underlay, true);
}
