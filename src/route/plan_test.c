/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/test.h"
#include "route/plan.h"

static struct addr A(const char *s) {
	struct addr a;

	if (addr_parse(s, &a) < 0)
		abort();
	return a;
}

static struct prefix
P(const char *s) {
	struct prefix p;

	if (prefix_parse(s, &p, NULL) < 0)
		abort();
	return p;
}

/* A list such as "10.0.0.1,fd00::1" as a JSON array; with a type, of address objects. */
static json_t *
array_of(const char *list, const char *type)
{
	_cleanup_free_ char *copy = xstrdup(list);
	json_t *j = json_array();

	for (char *save = NULL, *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save))
		json_array_append_new(j, type ? json_pack("{s:s,s:s}", "type", type, "address", s) : json_string(s));
	return j;
}

static void node(struct model *m, const char *name, int age, const char *cidrs, const char *addrs)
{
	_cleanup_json_ json_t *j = NULL;
	char created[32];

	snprintf(created, sizeof(created), "2026-01-01T00:%02d:%02dZ", age / 60, age % 60);
	j = json_pack("{s:{s:s,s:s,s:s},s:{s:o},s:{s:o}}", "metadata", "name", name, "uid", name, "creationTimestamp",
		      created, "spec", "podCIDRs", array_of(cidrs, NULL), "status", "addresses",
		      array_of(addrs, "InternalIP"));
	if (model_upsert(m, MODEL_NODES, j, NULL) < 0)
		abort();
}

static struct route_underlay underlays[2];

static struct route_config config_of(enum route_transport t)
{
	underlays[0] = (struct route_underlay){A("172.30.0.11"), P("172.30.0.0/24"), 2, 1500};
	underlays[1] = (struct route_underlay){A("fd30::11"), P("fd30::/64"), 2, 1500};
	return (struct route_config){.node = "n1",
				     .transport = t,
				     .ipv4 = true,
				     .ipv6 = true,
				     .underlays = underlays,
				     .n_underlays = 2,
				     .tunnel_ifindex = 7,
				     .vni = 1};
}

static struct model *three_nodes(void)
{
	struct model *m = model_new();

	node(m, "n3", 3, "10.244.3.0/24,fd00:244:0:3::/64", "172.31.0.13,fd31::13");
	node(m, "n1", 1, "10.244.1.0/24,fd00:244:0:1::/64", "172.30.0.11,fd30::11");
	node(m, "n2", 2, "10.244.2.0/24,fd00:244:0:2::/64", "172.30.0.12,fd30::12");
	return m;
}

/* Nodes that speak IPv6 before IPv4. */
static void six_first(struct model *m)
{
	node(m, "n3", 3, "10.244.3.0/24,fd00:244:0:3::/64", "fd31::13,172.31.0.13");
	node(m, "n1", 1, "10.244.1.0/24,fd00:244:0:1::/64", "fd30::11,172.30.0.11");
	node(m, "n2", 2, "10.244.2.0/24,fd00:244:0:2::/64", "fd30::12,172.30.0.12");
}

static const struct route *find_route(const struct route_plan *p, const char *dst, uint32_t table)
{
	struct prefix want = P(dst);
	const struct route *found = NULL;

	for (size_t i = 0; i < p->n_routes; i++)
		if (prefix_eq(&p->routes[i].dst, &want) && p->routes[i].table == table) {
			if (found)
				return NULL; /* one slot, one route */
			found = &p->routes[i];
		}
	return found;
}

static const struct route_peer *find_peer(const struct route_plan *p, const char *name)
{
	for (size_t i = 0; i < p->n_peers; i++)
		if (streq(p->peers[i].name, name))
			return &p->peers[i];
	return NULL;
}

#define ADDR_IS(a, text) CHECK(addr_eq(&(a), &(struct addr[]){A(text)}[0]))

/* A path over IPv6 that is narrower than the link, and one that has no room for IPv6 inside. */
static void narrow_paths(void)
{
	static const struct {
		uint32_t path, peer, pod;
	} cases[] = { { 1400, 1330, 1330 }, { 1300, 1280, 1280 }, { 1600, 1430, 1430 } };
	_cleanup_(model_freep) struct model *m = three_nodes();
	struct route_config config = config_of(ROUTE_VXLAN);

	six_first(m);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct route_path paths[] = {{A("fd30::12"), cases[i].path}, {A("fd39::1"), 1290}};
		_cleanup_(route_plan_done) struct route_plan p;
		const struct route *r;

		config.paths = paths;
		config.n_paths = ARRAY_SIZE(paths);
		route_compile(&config, m, &p);
		CHECK_INT(find_peer(&p, "n2")->mtu, cases[i].peer);
		CHECK_INT(find_peer(&p, "n2")->state, ROUTE_PEER_OK);
		CHECK_INT(find_peer(&p, "n3")->mtu, 1430);
		CHECK_INT(p.pod_mtu, cases[i].pod);
		r = find_route(&p, "fd00:244:0:2::/64", 0);
		CHECK(r && r->mtu == cases[i].peer);
	}
}

static void own_range(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);
	struct prefix services;
	static const uint8_t mac[6] = {2, 0x57, 10, 244, 1, 1};

	CHECK_INT(prefix_parse("10.96.0.0/12", &services, NULL), 0);
	config.service_ranges = &services;
	config.n_service_ranges = 1;
	route_compile(&config, m, &p);
	CHECK(!p.error);
	CHECK_INT(find_route(&p, "10.96.0.0/12", 0)->type, RTN_UNREACHABLE);
	ADDR_IS(p.node_addrs[0], "10.244.1.1");
	ADDR_IS(p.node_addrs[1], "fd00:244:0:1::1");
	CHECK_INT(p.n_addrs, 2);
	CHECK(p.addrs[0].ifindex == 1 && p.addrs[0].len == 128 && p.addrs[1].len == 128);
	CHECK_INT(find_route(&p, "10.244.1.0/24", 0)->type, RTN_UNREACHABLE);
	CHECK_INT(find_route(&p, "fd00:244:0:1::/64", 0)->type, RTN_UNREACHABLE);
	CHECK(memcmp(p.vtep_mac, mac, 6) == 0);
	CHECK_INT(p.n_rules, 2);
	CHECK(p.rules[0].table == 5757 && prefix_eq(&p.rules[0].from, &p.ranges[0]));
	CHECK_INT(p.pod_mtu, 1450);
	CHECK_INT(p.device_mtu, 1500);
}

/* A node may have gone while the plan that names it is still looked into. */
static void the_plan_outlives_the_model(void)
{
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);
	struct model *m = three_nodes();

	route_compile(&config, m, &p);
	model_freep(&m);
	CHECK_STR(p.peers[0].name, "n2");
	CHECK(p.n_node_routes > 0 && *p.node_routes[0].node == 'n');
}

static void vxlan(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p, p6;
	struct route_config config = config_of(ROUTE_VXLAN);
	static const uint8_t mac[6] = {2, 0x57, 10, 244, 3, 1};
	const struct route *r;

	route_compile(&config, m, &p);
	CHECK_INT(p.n_peers, 2);
	CHECK_STR(p.peers[0].name, "n2");
	CHECK_INT(p.peers[1].state, ROUTE_PEER_OK);
	CHECK(!p.peers[1].why);
	CHECK_INT(p.peers[1].mtu, 1450);
	r = find_route(&p, "10.244.3.0/24", 0);
	CHECK(r && r->onlink && r->oif == 7 && r->mtu == 1450 && r->encap.id == 1 && r->proto == NET_PROTO_WEFT);
	ADDR_IS(r->via, "10.244.3.1");
	ADDR_IS(r->src, "10.244.1.1");
	ADDR_IS(r->encap.dst, "172.31.0.13");
	ADDR_IS(r->encap.src, "172.30.0.11");
	r = find_route(&p, "fd00:244:0:3::/64", 0);
	CHECK(r && r->onlink);
	ADDR_IS(r->encap.dst, "172.31.0.13");
	ADDR_IS(r->src, "fd00:244:0:1::1");
	/* its own addresses, for pods only */
	r = find_route(&p, "fd31::13/128", NET_TABLE_PEERS);
	CHECK(r && addr_is_zero(&r->src));
	ADDR_IS(r->via, "fe80::257:af4:301"); /* the VTEP MAC */
	CHECK(find_route(&p, "172.31.0.13/32", NET_TABLE_PEERS) && !find_route(&p, "172.31.0.13/32", 0));
	CHECK_INT(p.n_neighs, 4);
	for (size_t i = 0; i < p.n_neighs; i++)
		if (addr_eq(&p.neighs[i].addr, &r->via))
			CHECK(memcmp(p.neighs[i].mac, mac, 6) == 0 && p.neighs[i].ifindex == 7);
	CHECK_INT(p.n_node_routes, 8); /* two ranges, two addresses each */
	CHECK_INT(p.n_routes, 2 + 8);
	six_first(m);
	route_compile(&config, m, &p6);
	CHECK_INT(p6.peers[0].mtu, 1430);
	CHECK_INT(p6.pod_mtu, 1430);
	ADDR_IS(find_route(&p6, "10.244.3.0/24", 0)->encap.dst, "fd31::13");
}

/* Both ends must choose the same, or neither takes what the other sends. */
static void nodes_that_name_another_family_first(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	struct route_config config = config_of(ROUTE_VXLAN);

	six_first(m);
	node(m, "n2", 2, "10.244.2.0/24,fd00:244:0:2::/64", "172.30.0.12,fd30::12");
	for (int i = 0; i < 2; i++) {
		_cleanup_(route_plan_done) struct route_plan p;

		config.node = i ? "n2" : "n1";
		if (i) {
			underlays[0].addr = A("172.30.0.12");
			underlays[1].addr = A("fd30::12");
		}
		route_compile(&config, m, &p);
		CHECK_INT(find_peer(&p, i ? "n1" : "n2")->mtu, 1450);
		ADDR_IS(find_peer(&p, i ? "n1" : "n2")->underlay, i ? "172.30.0.11" : "172.30.0.12");
		ADDR_IS(find_peer(&p, "n3")->underlay, i ? "172.31.0.13" : "fd31::13");
		CHECK_INT(p.pod_mtu, i ? 1450 : 1430);
	}
}

/* It takes nothing out of the tunnel that is for another than the first of a family; by the world's way its others are reached. */
static void a_peers_second_addresses_are_the_worlds(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);

	node(m, "n3", 3, "10.244.3.0/24,fd00:244:0:3::/64", "172.31.0.13,172.31.0.113,fd31::13,fd31::113");
	route_compile(&config, m, &p);
	CHECK(find_route(&p, "172.31.0.13/32", NET_TABLE_PEERS) && find_route(&p, "fd31::13/128", NET_TABLE_PEERS));
	CHECK(!find_route(&p, "172.31.0.113/32", NET_TABLE_PEERS) && !find_route(&p, "fd31::113/128", NET_TABLE_PEERS));
	CHECK_INT(p.n_node_routes, 8);
}

static void direct(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_DIRECT);
	const struct route *r;

	route_compile(&config, m, &p);
	r = find_route(&p, "10.244.2.0/24", 0);
	CHECK(r && r->oif == 2 && !r->onlink && addr_is_zero(&r->encap.dst));
	ADDR_IS(r->via, "172.30.0.12");
	ADDR_IS(r->src, "10.244.1.1");
	ADDR_IS(find_route(&p, "fd00:244:0:2::/64", 0)->via, "fd30::12");
	CHECK_INT(find_peer(&p, "n2")->state, ROUTE_PEER_OK);
	CHECK_INT(find_peer(&p, "n2")->mtu, 1500);
	CHECK_INT(find_peer(&p, "n3")->state, ROUTE_PEER_NOT_ON_LINK);
	CHECK(strstr(find_peer(&p, "n3")->why, "direct transport cannot reach it"));
	CHECK(!find_route(&p, "10.244.3.0/24", 0));
	CHECK(p.n_rules == 0 && p.n_neighs == 0 && p.n_node_routes == 4);
	CHECK_INT(p.pod_mtu, 1500);
}

static const struct route_node_route *find_node_route(const struct route_plan *p, const char *prefix)
{
	struct prefix want = P(prefix);

	for (size_t i = 0; i < p->n_node_routes; i++)
		if (prefix_eq(&p->node_routes[i].prefix, &want))
			return &p->node_routes[i];
	return NULL;
}

/* n2 shares our networks, n3 does not; nothing is proven, then both are said to be. */
static void automatic(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan before, after;
	struct route_config config = config_of(ROUTE_VXLAN);
	static const char *const proven[] = {"n2", "n3"};
	const struct route_node_route *n;
	const struct route *r;

	config.auto_direct = true;
	config.probe_port = 5757;
	route_compile(&config, m, &before);
	CHECK(before.peers[0].probe && !before.peers[1].probe);
	CHECK(before.peers[0].transport == ROUTE_VXLAN && before.peers[1].transport == ROUTE_VXLAN);
	ADDR_IS(before.peers[0].probe_addrs[1], "fd00:244:0:2::1");
	r = find_route(&before, "10.244.2.1/32", NET_TABLE_PROBES);
	CHECK(r && r->oif == 2 && !r->onlink);
	ADDR_IS(r->via, "172.30.0.12");
	CHECK(find_route(&before, "fd00:244:0:2::1/128", NET_TABLE_PROBES));
	CHECK(!find_route(&before, "10.244.3.1/32", NET_TABLE_PROBES));
	CHECK_INT(before.n_rules, 4);
	CHECK(before.rules[1].dport == 5757 && before.rules[1].ip_proto == IPPROTO_UDP && before.rules[1].priority < 5757);
	n = find_node_route(&before, "10.244.2.0/24"); /* it may have made up its mind before us */
	CHECK(n && n->plain && n->transport == ROUTE_VXLAN);
	ADDR_IS(n->outer, "172.30.0.12");
	CHECK(n->n_plain_by == 1 && n->plain_by[0] == 2 && !n->is_node);
	CHECK(!find_node_route(&before, "10.244.3.0/24")->plain);
	n = find_node_route(&before, "172.31.0.13/32");
	CHECK(n && n->is_node && !n->plain);
	n = find_node_route(&before, "172.30.0.12/32");
	CHECK(n && n->is_node && n->plain && n->plain_by[0] == 2);
	config.proven = proven;
	config.n_proven = 2;
	route_compile(&config, m, &after);
	CHECK(after.peers[0].transport == ROUTE_DIRECT && after.peers[1].transport == ROUTE_VXLAN);
	n = find_node_route(&after, "10.244.2.0/24");
	CHECK(n && n->plain && n->transport == ROUTE_DIRECT && n->ifindex == 2);
	ADDR_IS(n->outer, "172.30.0.12"); /* what is still in the tunnel is let in */
	n = find_node_route(&after, "172.30.0.12/32");
	CHECK(n && n->plain && n->is_node && !n->only_source && n->transport == ROUTE_DIRECT);
	CHECK_INT(find_route(&after, "10.244.2.0/24", 0)->oif, 2);
	CHECK_INT(after.n_neighs, before.n_neighs); /* packets that are on their way into the tunnel still find it */
	for (size_t i = 0; i < MIN(after.n_neighs, before.n_neighs); i++)
		CHECK(neigh_eq(&after.neighs[i], &before.neighs[i]));
	CHECK_INT(after.pod_mtu, 1450); /* so that the way back into the tunnel is open at any time */
	CHECK_INT(after.peers[0].mtu, 1500);
}

/* Several links may lead to a network that both nodes are on: each end takes one, and not the same. Another network's is none of them, and of more
 * than an entry can name none is named. */
static void links_of_plain_packets(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	struct route_config config = config_of(ROUTE_DIRECT);
	struct route_underlay many[16] = { underlays[0], underlays[1] };
	const struct route_node_route *n;

	config.underlays = many;
	config.n_underlays = 5;
	many[2] = (struct route_underlay){ .addr = A("172.30.0.111"), .net = P("172.30.0.0/24"), .ifindex = 7, .mtu = 1500 };
	many[3] = (struct route_underlay){ .addr = A("203.0.113.5"), .net = P("203.0.113.0/24"), .ifindex = 8, .mtu = 1500 };
	many[4] = (struct route_underlay){ .addr = A("172.30.0.112"), .net = P("172.30.0.0/24"), .ifindex = 7, .mtu = 1500 };
	for (int more = 0; more < 2; more++) {
		_cleanup_(route_plan_done) struct route_plan p;

		route_compile(&config, m, &p);
		n = find_node_route(&p, "10.244.2.0/24");
		CHECK(n && n->plain && !n->is_node && !n->only_source && n->plain_by[0] == 2 && n->plain_by[1] == 7);
		CHECK_INT(n->n_plain_by, more ? 6 : 2);
		n = find_node_route(&p, "172.30.0.12/32");
		CHECK(n && n->plain && n->is_node && n->only_source && n->plain_by[1] == 7);
		n = find_node_route(&p, "fd00:244:0:2::/64");
		CHECK(n && n->n_plain_by == 1 && n->plain_by[0] == 2 && n->plain_by[1] == 0);
		CHECK(!find_node_route(&p, "172.31.0.13/32")); /* it shares no network with us */
		for (unsigned i = 5; i < 9; i++)
			many[i] = (struct route_underlay){ .addr = A("172.30.0.120"), .net = P("172.30.0.0/24"), .ifindex = 20 + i, .mtu = 1500 };
		config.n_underlays = 9;
	}
}

/* RFC 8200 5: IPv6 is owed 1280 bytes. */
static void small_underlay(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan v4, v6;
	struct route_config config = config_of(ROUTE_GENEVE);

	underlays[0].mtu = underlays[1].mtu = 1280;
	route_compile(&config, m, &v4);
	CHECK_INT(v4.peers[0].mtu, 1230);
	CHECK_INT(find_node_route(&v4, "10.244.2.0/24")->mtu, 1230);
	CHECK_INT(find_node_route(&v4, "fd00:244:0:2::/64")->mtu, 1280);
	CHECK_INT(find_route(&v4, "fd00:244:0:2::/64", 0)->mtu, 1280);
	CHECK(v4.peers[0].why && strstr(v4.peers[0].why, "two fragments"));
	six_first(m);
	route_compile(&config, m, &v6);
	CHECK(v6.peers[0].state == ROUTE_PEER_OK && find_node_route(&v6, "10.244.2.0/24"));
	CHECK(!find_node_route(&v6, "fd00:244:0:2::/64") && strstr(v6.peers[0].why, "1350"));
	config.ipv4 = false;
	route_plan_done(&v6);
	route_compile(&config, m, &v6);
	CHECK_INT(v6.peers[0].state, ROUTE_PEER_NO_ROOM);
}

/* Where no tunnel cuts packets, IPv6 has no way; `auto` takes the tunnel. */
static void underlay_below_what_ipv6_is_owed(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan direct, chosen;
	struct route_config config = config_of(ROUTE_DIRECT);
	const char *proven[] = {"n2"};

	underlays[0].mtu = underlays[1].mtu = 1279;
	route_compile(&config, m, &direct);
	CHECK_INT(direct.device_mtu, 1280);
	CHECK_INT(direct.pod_mtu, 1279);
	CHECK_INT(direct.peers[0].state, ROUTE_PEER_OK);
	CHECK(find_node_route(&direct, "10.244.2.0/24") && !find_node_route(&direct, "fd00:244:0:2::/64"));
	CHECK(direct.peers[0].why && strstr(direct.peers[0].why, "needs an underlay of 1280 bytes, this one has 1279"));
	config.ipv4 = false;
	route_plan_done(&direct);
	route_compile(&config, m, &direct);
	CHECK_INT(direct.peers[0].state, ROUTE_PEER_NO_ROOM);

	config = config_of(ROUTE_VXLAN);
	underlays[0].mtu = underlays[1].mtu = 1279;
	config.auto_direct = true;
	config.proven = proven;
	config.n_proven = 1;
	route_compile(&config, m, &chosen);
	CHECK(!chosen.peers[0].probe && chosen.peers[0].transport == ROUTE_VXLAN);
	CHECK_INT(find_node_route(&chosen, "fd00:244:0:2::/64")->mtu, 1280);
}

static void overlapping_ranges(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);

	node(m, "a-late", 9, "10.244.2.128/25", "172.30.0.14"); /* within n2's */
	node(m, "b-late", 8, "10.244.0.0/16", "172.30.0.15");	/* around everybody's, ours included */
	node(m, "c-free", 10, "10.245.0.0/24", "172.30.0.16");
	route_compile(&config, m, &p);
	CHECK(!p.error);
	CHECK_INT(find_peer(&p, "n2")->state, ROUTE_PEER_OK);
	CHECK_INT(find_peer(&p, "a-late")->state, ROUTE_PEER_CONFLICT);
	CHECK_STR(find_peer(&p, "a-late")->why, "range 10.244.2.128/25 overlaps 10.244.2.0/24 of the older node n2");
	CHECK_INT(find_peer(&p, "b-late")->state, ROUTE_PEER_CONFLICT);
	CHECK(!find_route(&p, "10.244.0.0/16", 0) && !find_route(&p, "10.244.2.128/25", 0));
	CHECK_INT(find_peer(&p, "c-free")->state, ROUTE_PEER_OK);
	CHECK(strstr(find_peer(&p, "c-free")->why, "no usable IPv6 range"));
}

static void we_are_the_younger_one(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);

	node(m, "n0", 0, "10.244.1.0/24,fd00:244:0:9::/64", "172.30.0.14");
	route_compile(&config, m, &p);
	CHECK_STR(p.error, "this node's range 10.244.1.0/24 overlaps 10.244.1.0/24 of the older node n0");
	ADDR_IS(p.node_addrs[0], "10.244.1.1"); /* pods that run keep their addresses */
	CHECK_INT(find_route(&p, "10.244.1.0/24", 0)->type, RTN_UNREACHABLE);
	CHECK_INT(find_peer(&p, "n0")->state, ROUTE_PEER_OK); /* by its other family */
	CHECK(strstr(find_peer(&p, "n0")->why, "overlaps this node's own"));
	CHECK(find_route(&p, "fd00:244:0:9::/64", 0));
}

static void nodes_that_lack_something(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p, q;
	struct route_config config = config_of(ROUTE_VXLAN);

	node(m, "no-range", 5, "", "172.30.0.20");
	node(m, "no-addr", 5, "10.244.20.0/24", "");
	node(m, "silly-addr", 5, "10.244.21.0/24", "127.0.0.1,172.30.0.11,fe80::5,224.0.0.1");
	node(m, "tiny", 5, "10.244.22.0/31", "172.30.0.21");
	node(m, "thief", 5, "10.244.23.0/24", "172.30.0.22,10.244.2.9,10.244.1.9,172.30.0.12"); /* others' addresses */
	route_compile(&config, m, &p);
	CHECK_INT(find_peer(&p, "no-range")->state, ROUTE_PEER_NO_RANGE);
	CHECK_INT(find_peer(&p, "no-addr")->state, ROUTE_PEER_NO_ADDRESS);
	CHECK(strstr(find_peer(&p, "no-addr")->why, "no InternalIP"));
	CHECK_INT(find_peer(&p, "silly-addr")->state, ROUTE_PEER_NO_ADDRESS);
	CHECK_INT(find_peer(&p, "tiny")->state, ROUTE_PEER_CONFLICT);
	CHECK_INT(find_peer(&p, "thief")->state, ROUTE_PEER_OK);
	CHECK(find_route(&p, "172.30.0.22/32", NET_TABLE_PEERS));
	CHECK(!find_route(&p, "10.244.2.9/32", NET_TABLE_PEERS) && !find_route(&p, "10.244.1.9/32", NET_TABLE_PEERS));
	ADDR_IS(find_route(&p, "172.30.0.12/32", NET_TABLE_PEERS)->encap.dst,
		"172.30.0.12"); /* n2's, whose name comes first */
	ADDR_IS(find_route(&p, "172.30.0.12/32", NET_TABLE_PEERS)->via, "10.244.2.1");
	config.node = "nobody";
	route_compile(&config, m, &q);
	CHECK_STR(q.error, "the API knows no node nobody (yet)");
	CHECK(q.n_routes == 0 && q.n_addrs == 0);
}

static void one_family_only(void)
{
	_cleanup_(model_freep) struct model *m = three_nodes();
	_cleanup_(route_plan_done) struct route_plan p;
	struct route_config config = config_of(ROUTE_VXLAN);
	uint8_t mac[6];

	config.ipv4 = false;
	config.underlays++; /* IPv6 outside as well */
	config.n_underlays = 1;
	route_compile(&config, m, &p);
	CHECK(p.n_addrs == 1 && p.n_rules == 1 && !p.peers[0].why);
	CHECK(addr_is_zero(&p.node_addrs[0]) && !find_route(&p, "10.244.2.0/24", 0));
	CHECK_INT(p.pod_mtu, 1430);
	CHECK_INT(route_vtep_mac(&p.ranges[1], 1, mac), 0);
	CHECK(mac[0] == 2 && mac[1] == 0x57 && memcmp(mac, p.vtep_mac, 6) == 0);
	CHECK_INT(route_vtep_mac(NULL, 0, mac), -ENOENT);
}

/* --- random clusters against a naive search --- */

static const struct route *lookup(const struct route_plan *p, const struct addr *a)
{
	const struct route *best = NULL;

	for (size_t i = 0; i < p->n_routes; i++) {
		const struct route *r = &p->routes[i];

		if (!r->table && prefix_contains(&r->dst, a) && (!best || r->dst.len > best->dst.len))
			best = r;
	}
	return best;
}

static const struct route_node_route *lookup_node(const struct route_plan *p, const struct addr *a)
{
	const struct route_node_route *best = NULL;

	for (size_t i = 0; i < p->n_node_routes; i++)
		if (prefix_contains(&p->node_routes[i].prefix, a) &&
		    (!best || p->node_routes[i].prefix.len > best->prefix.len))
			best = &p->node_routes[i];
	return best;
}

enum { NODES = 30 };
struct naive_node {
	struct prefix range;
	struct addr addr;
	int age;
	bool lost;
};

static bool naive_overlap(const struct naive_node *a, const struct naive_node *b)
{
	uint8_t len = MIN(a->range.len, b->range.len);
	struct prefix x = prefix_of(&a->range.addr, len), y = prefix_of(&b->range.addr, len);

	return prefix_eq(&x, &y);
}

/* By age, each takes its range when nobody before it has any of it; node 0 is this one and keeps its own. */
static void naive_claims(struct naive_node n[NODES])
{
	for (int age = 0; age < NODES; age++)
		for (int i = 0; i < NODES; i++) {
			if (n[i].age != age)
				continue;
			n[i].lost = false;
			for (int j = 0; j < NODES; j++)
				if (n[j].age < age && !n[j].lost && naive_overlap(&n[i], &n[j]))
					n[i].lost = true;
		}
	n[0].lost = false;
	for (int i = 1; i < NODES; i++)
		n[i].lost |= naive_overlap(&n[i], &n[0]);
}

static void random_clusters(void)
{
	for (unsigned seed = 0; seed < 200; seed++) {
		_cleanup_(model_freep) struct model *m = model_new();
		_cleanup_(route_plan_done) struct route_plan p;
		struct route_config config = config_of(ROUTE_VXLAN);
		struct naive_node n[NODES];
		int ages[NODES];

		srand(seed);
		for (int i = 0; i < NODES; i++)
			ages[i] = i;
		for (int i = NODES - 1; i > 0; i--) {
			int j = rand() % (i + 1), t = ages[i];

			ages[i] = ages[j];
			ages[j] = t;
		}
		for (int i = 0; i < NODES; i++) {
			char name[16], range[PREFIX_TEXT_MAX], addr[ADDR_TEXT_MAX];
			struct addr a = A("10.244.0.0"), b = A("172.30.0.11");

			a = addr_add(&a, rand() % 4096 * 16);
			n[i] = (struct naive_node){.range = prefix_of(&a, V4_BITS_BEFORE + 20 + rand() % 9),
						   .age = ages[i]};
			n[i].addr = addr_add(&b, i);
			snprintf(name, sizeof(name), i == 0 ? "n1" : "x%d", i);
			node(m, name, ages[i], prefix_format(&n[i].range, range), addr_format(&n[i].addr, addr));
		}
		naive_claims(n);
		route_compile(&config, m, &p);
		for (int k = 0; k < 2000; k++) {
			struct addr base = A("10.244.0.0"), a = addr_add(&base, rand() % 65536);
			const struct route *r = lookup(&p, &a);
			const struct route_node_route *nr = lookup_node(&p, &a);
			int owner = -1;

			for (int i = 0; i < NODES; i++)
				if (!n[i].lost && prefix_contains(&n[i].range, &a))
					owner = i;
			if (owner < 0) {
				CHECK(!r && !nr);
			} else if (owner == 0) {
				CHECK(r && r->type == RTN_UNREACHABLE && !nr);
			} else {
				CHECK(r && addr_eq(&r->encap.dst, &n[owner].addr));
				CHECK(nr && addr_eq(&nr->underlay, &n[owner].addr));
			}
		}
	}
}

int main(void)
{
	RUN(own_range);
	RUN(narrow_paths);
	RUN(the_plan_outlives_the_model);
	RUN(vxlan);
	RUN(nodes_that_name_another_family_first);
	RUN(a_peers_second_addresses_are_the_worlds);
	RUN(direct);
	RUN(automatic);
	RUN(links_of_plain_packets);
	RUN(small_underlay);
	RUN(underlay_below_what_ipv6_is_owed);
	RUN(overlapping_ranges);
	RUN(we_are_the_younger_one);
	RUN(nodes_that_lack_something);
	RUN(one_family_only);
	RUN(random_clusters);
	return test_end();
}
