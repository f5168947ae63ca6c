/* SPDX-License-Identifier: Apache-2.0 */
/* rtnl and netns against a real kernel, in a network namespace of the test's own. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "net/rtnl_internal.h"

#include <linux/neighbour.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct rtnl *nl;

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

/* Checks a result and prints the kernel's words when it is not what it should be. */
#define OK(call)                                               \
	do {                                                   \
		int _r = (call);                               \
		if (_r < 0)                                    \
			printf("# %s\n", rtnl_error_text(nl)); \
		CHECK_INT(_r, 0);                              \
	} while (0)

static uint32_t
index_of(const char *name)
{
	struct link l = {0};

	return rtnl_find_link(nl, name, &l) < 0 ? 0 : l.ifindex;
}

/* A pair of links, up, to hang things on; made by the first who asks. */
static uint32_t test_link(void)
{
	struct link_spec a = {.name = "t0", .mac = (uint8_t[]){2, 0x57, 0, 0, 0, 1}, .up = true};
	struct link_spec b = {.name = "t1", .mac = (uint8_t[]){2, 0x57, 0, 0, 0, 2}, .up = true};
	uint32_t ifindex = index_of("t0");

	if (!ifindex)
		OK(rtnl_add_veth(nl, &a, &b, &ifindex));
	return ifindex;
}

static void veth_into_another_namespace(void)
{
	_cleanup_close_ int ns = netns_create(NULL);
	_cleanup_(rtnl_closep) struct rtnl *inside = NULL;
	uint8_t mac[6] = {2, 0x57, 1, 2, 3, 4}, peer_mac[6] = {2, 0x57, 1, 2, 3, 5};
	struct link_spec here = {.name = "weft0", .mac = mac, .mtu = 1400, .up = true};
	struct link_spec peer = {.name = "eth0", .mac = peer_mac, .mtu = 1380, .netns_fd = ns};
	struct link l, p;
	uint32_t ifindex;

	CHECK(ns >= 0);
	OK(rtnl_add_veth(nl, &here, &peer, &ifindex));
	CHECK_INT(rtnl_add_veth(nl, &here, &peer, NULL), -EEXIST);
	CHECK(strstr(rtnl_error_text(nl), "weft0: File exists"));
	OK(rtnl_get_link(nl, ifindex, &l));
	CHECK_STR(l.name, "weft0");
	CHECK_STR(l.kind, "veth");
	CHECK(memcmp(l.mac, mac, 6) == 0);
	CHECK_INT(l.mtu, 1400);
	CHECK(l.flags & IFF_UP);
	CHECK(l.peer_netnsid >= 0);

	OK(rtnl_open_in(ns, &inside));
	CHECK_INT(rtnl_find_link(inside, "eth0", &p), 0);
	CHECK_INT(p.ifindex, l.peer_ifindex);
	CHECK_INT(p.peer_ifindex, ifindex);
	CHECK_INT(p.mtu, 1380);
	CHECK(memcmp(p.mac, peer_mac, 6) == 0);
	CHECK_INT(rtnl_find_link(inside, "weft0", &p), -ENODEV);

	OK(rtnl_del_link(nl, ifindex));
	OK(rtnl_del_link(nl, ifindex)); /* gone is gone */
	CHECK_INT(rtnl_get_link(nl, ifindex, &l), -ENODEV);
	CHECK_INT(rtnl_find_link(inside, "eth0", &p), -ENODEV);
}

static void link_settings(void)
{
	_cleanup_close_ int ns = netns_create(NULL);
	struct link_spec a = {.name = "s0", .mac = (uint8_t[]){2, 0, 0, 0, 1, 1}};
	struct link_spec b = {.name = "s1", .mac = (uint8_t[]){2, 0, 0, 0, 1, 2}};
	struct link_spec br = {.name = "br0", .mac = (uint8_t[]){2, 0, 0, 0, 1, 3}};
	uint8_t mac[6] = {2, 0, 0, 0, 1, 9};
	char alias[LINK_ALIAS_MAX + 1];
	uint32_t s0, s1, bridge;
	struct link l;

	OK(rtnl_add_veth(nl, &a, &b, &s0));
	s1 = index_of("s1");
	OK(rtnl_add_bridge(nl, &br, &bridge));
	OK(rtnl_set_link_master(nl, s0, bridge));
	OK(rtnl_set_link_mtu(nl, s0, 1300));
	OK(rtnl_set_link_alias(nl, s0, "weft: a \"quoted\" alias"));
	OK(rtnl_set_link_mac(nl, s0, mac));
	OK(rtnl_set_link_flags(nl, s0, IFF_NOARP, IFF_NOARP));
	OK(rtnl_set_link_addrgen(nl, s0, false));
	OK(rtnl_set_link_up(nl, s0, true));
	OK(rtnl_get_link(nl, s0, &l));
	CHECK_INT(l.master, bridge);
	CHECK_INT(l.mtu, 1300);
	CHECK_INT(l.peer_netnsid, -1);
	CHECK_INT(l.peer_ifindex, s1);
	CHECK_STR(l.alias, "weft: a \"quoted\" alias");
	CHECK(memcmp(l.mac, mac, 6) == 0);
	CHECK((l.flags & (IFF_NOARP | IFF_UP)) == (IFF_NOARP | IFF_UP));
	OK(rtnl_set_link_up(nl, s0, false));
	OK(rtnl_set_link_master(nl, s0, 0));
	OK(rtnl_get_link(nl, s0, &l));
	CHECK(!(l.flags & IFF_UP) && l.master == 0);
	memset(alias, 'x', sizeof(alias) - 1);
	alias[sizeof(alias) - 1] = 0;
	CHECK_INT(rtnl_set_link_alias(nl, s0, alias), -EINVAL);
	CHECK_INT(rtnl_set_link_mtu(nl, 99999, 1300), -ENODEV);

	OK(rtnl_set_link_name(nl, s1, "s2"));
	CHECK_INT(index_of("s2"), s1);
	OK(rtnl_move_link(nl, s1, ns, "eth7"));
	CHECK_INT(index_of("s2"), 0);
	{
		_cleanup_(rtnl_closep) struct rtnl *inside = NULL;

		OK(rtnl_open_in(ns, &inside));
		CHECK_INT(rtnl_find_link(inside, "eth7", &l), 0);
	}
	OK(rtnl_del_link(nl, s0));
	OK(rtnl_del_link(nl, bridge));
}

static void bad_link_names(void)
{
	static const char *const bad[] = {"", "a/b", "a b", "a%d", ".", "..", "x:y", "sixteen-bytes-ab"};
	struct link_spec ok = {.name = "fine"};
	struct link l;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_INT(rtnl_add_veth(nl, &(struct link_spec){.name = bad[i]}, &ok, NULL), -EINVAL);
		CHECK_INT(rtnl_add_bridge(nl, &(struct link_spec){.name = bad[i]}, NULL), -EINVAL);
		CHECK_INT(rtnl_find_link(nl, bad[i], &l), -ENODEV);
	}
}

static void vxlan_device(void)
{
	struct link_spec spec = {
	    .name = "weft-vxlan", .mac = (uint8_t[]){2, 0x57, 10, 1, 0, 1}, .mtu = 1450, .up = true};
	struct link_spec second = {.name = "vx2", .mac = (uint8_t[]){2, 0x57, 10, 1, 0, 2}};
	uint32_t ifindex;
	struct link l;

	OK(rtnl_add_vxlan(nl, &spec, 4789, &ifindex));
	OK(rtnl_get_link(nl, ifindex, &l));
	CHECK_STR(l.kind, "vxlan");
	CHECK(l.vxlan.external && l.vxlan.udp_zero_csum6_rx && l.vxlan.udp_zero_csum6_tx);
	CHECK_INT(l.vxlan.port, 4789);
	CHECK_INT(l.mtu, 1450);
	CHECK_INT(rtnl_add_vxlan(nl, &second, 4789, NULL), -EEXIST);
	OK(rtnl_del_link(nl, ifindex));
}

static void many_links_go_at_once(void)
{
	uint32_t ifindexes[41];
	struct link *links;
	size_t n;

	for (int i = 0; i < 40; i++) {
		char a[IF_NAMESIZE], b[IF_NAMESIZE];

		snprintf(a, sizeof(a), "m%d", i);
		snprintf(b, sizeof(b), "p%d", i);
		OK(rtnl_add_veth(nl, &(struct link_spec){.name = a}, &(struct link_spec){.name = b}, &ifindexes[i]));
	}
	ifindexes[40] = 54321; /* not there: no reason to fail */
	OK(rtnl_list_links(nl, &links, &n));
	free(links);
	CHECK(n >= 81);
	CHECK_INT(rtnl_del_links(nl, ifindexes, 41, 0), -EINVAL);
	OK(rtnl_del_links(nl, ifindexes, 41, 5757));
	CHECK_INT(index_of("m0") | index_of("m39") | index_of("p20"), 0);
	CHECK(index_of("lo") == 1);
}

static void addresses(void)
{
	uint32_t t0 = test_link();
	struct link_addr v4 = {.ifindex = t0, .addr = A("172.30.0.11"), .len = 120};
	struct link_addr v6 = {.ifindex = t0, .addr = A("fd30::11"), .len = 64, .flags = IFA_F_NODAD};
	struct link_addr lo = {.ifindex = 1, .addr = A("10.244.1.1"), .len = 128};
	_cleanup_free_ struct link_addr *list = NULL, *again = NULL;
	int seen = 0;
	size_t n;

	OK(rtnl_replace_addr(nl, &v4));
	OK(rtnl_replace_addr(nl, &v4));
	OK(rtnl_replace_addr(nl, &v6));
	OK(rtnl_replace_addr(nl, &lo));
	OK(rtnl_list_addrs(nl, AF_UNSPEC, 0, &list, &n));
	for (size_t i = 0; i < n; i++) {
		seen |= list[i].ifindex == t0 && addr_eq(&list[i].addr, &v4.addr) && list[i].len == 120 ? 1 : 0;
		if (addr_eq(&list[i].addr, &v6.addr)) {
			CHECK(list[i].flags & IFA_F_NODAD && !(list[i].flags & IFA_F_TENTATIVE));
			seen |= 2;
		}
		seen |= list[i].ifindex == 1 && addr_eq(&list[i].addr, &lo.addr) && list[i].len == 128 ? 4 : 0;
	}
	CHECK_INT(seen, 7);
	OK(rtnl_del_addr(nl, &lo));
	OK(rtnl_del_addr(nl, &lo));
	OK(rtnl_list_addrs(nl, AF_INET, 1, &again, &n));
	for (size_t i = 0; i < n; i++)
		CHECK(again[i].ifindex == 1 && !addr_eq(&again[i].addr, &lo.addr));
	CHECK_INT(rtnl_replace_addr(nl, &(struct link_addr){.ifindex = t0, .addr = A("10.0.0.1"), .len = 24}), -EINVAL);
}

/* The one route to @p in @table, or fails. */
static struct route route_to(struct prefix p, uint32_t table)
{
	_cleanup_free_ struct route *list = NULL;
	struct route found = {0};
	int count = 0;
	size_t n;

	if (rtnl_list_routes(nl, prefix_family(&p), table, 0, &list, &n) == 0)
		for (size_t i = 0; i < n; i++)
			if (prefix_eq(&list[i].dst, &p) && list[i].table == table)
				found = list[i], count++;
	found.nexthops = count == 1 ? found.nexthops : 0;
	return found;
}

static void route_kinds(void)
{
	uint32_t t0 = test_link();
	struct route cases[] = {
	    {.dst = P("10.1.0.0/24"), .via = A("172.30.0.12"), .oif = t0, .mtu = 1400},
	    {.dst = P("10.1.1.0/24"), .via = A("10.1.1.1"), .oif = t0, .onlink = true, .src = A("172.30.0.11")},
	    {.dst = P("10.1.2.5/32"), .oif = t0, .metric = 7},
	    {.dst = P("10.1.3.0/24"), .type = RTN_UNREACHABLE, .metric = 9999},
	    {.dst = P("10.1.4.0/24"), .type = RTN_BLACKHOLE, .table = 5757, .proto = 88},
	    {.dst = P("fd01::/64"), .via = A("fd30::12"), .oif = t0, .mtu = 1400, .src = A("fd30::11")},
	    {.dst = P("fd01:0:0:1::/64"), .via = A("fd01::1"), .oif = t0, .onlink = true},
	    {.dst = P("fd01::5/128"), .oif = t0, .metric = 5, .table = 5757},
	    {.dst = P("fd01:0:0:2::/64"), .type = RTN_UNREACHABLE, .metric = 9999},
	    {.dst = P("0.0.0.0/0"), .via = A("172.30.0.1"), .oif = t0},
	    {.dst = P("::/0"), .via = A("fd30::1"), .oif = t0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct route *r = &cases[i], got, other = *r;
		uint32_t table = r->table ? r->table : RT_TABLE_MAIN;

		OK(rtnl_add_route(nl, r));
		CHECK_INT(rtnl_add_route(nl, r), -EEXIST);
		got = route_to(r->dst, table);
		CHECK_INT(got.nexthops, 1);
		CHECK(route_eq(r, &got) && route_eq(&got, r));
		other.mtu = r->mtu + 1;
		CHECK(!route_eq(&other, &got));
		OK(rtnl_replace_route(nl, r));
		OK(rtnl_del_route(nl, r));
		OK(rtnl_del_route(nl, r));
		CHECK_INT(route_to(r->dst, table).nexthops, 0);
	}
	CHECK_INT(rtnl_add_route(nl, &(struct route){.dst = P("10.0.0.0/8"), .via = A("fd30::1"), .oif = t0}), -EINVAL);
	CHECK(rtnl_add_route(nl, &(struct route){.dst = P("10.0.0.0/8"), .via = A("192.0.2.1"), .oif = t0}) < 0);
	CHECK(strstr(rtnl_error_text(nl), "route 10.0.0.0/8") && strstr(rtnl_error_text(nl), "gateway"));
}

static void encapsulated_routes(void)
{
	struct link_spec spec = {.name = "vx", .mac = (uint8_t[]){2, 0x57, 10, 1, 0, 1}, .mtu = 1450, .up = true};
	struct route v4 = {.dst = P("10.2.0.0/24"),
			   .via = A("10.2.0.1"),
			   .onlink = true,
			   .mtu = 1450,
			   .encap = {.id = 0x123456, .dst = A("172.30.0.12"), .src = A("172.30.0.11"), .ttl = 64}};
	struct route v6 = {.dst = P("fd02::/64"),
			   .via = A("fd02::1"),
			   .onlink = true,
			   .mtu = 1430,
			   .encap = {.id = 1, .dst = A("fd30::12"), .src = A("fd30::11"), .ttl = 64, .flags = 4}};
	struct route mixed = {.dst = P("fd02:0:0:1::/64"),
			      .via = A("fd02::1"),
			      .onlink = true,
			      .encap = {.id = 1, .dst = A("172.30.0.12")}};
	struct route *cases[] = {&v4, &v6, &mixed}, got, other;
	uint32_t vx;

	OK(rtnl_add_vxlan(nl, &spec, 4790, &vx));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cases[i]->oif = vx;
		OK(rtnl_replace_route(nl, cases[i]));
		got = route_to(cases[i]->dst, RT_TABLE_MAIN);
		CHECK_INT(got.nexthops, 1);
		CHECK_INT(got.encap.id, cases[i]->encap.id);
		CHECK(route_eq(cases[i], &got));
		other = *cases[i];
		other.encap.id++;
		CHECK(!route_eq(&other, &got));
	}
	OK(rtnl_del_link(nl, vx));
}

static uint32_t add_test_link(const char *name, const char *peer)
{
	struct link_spec here = {.name = name, .mac = (uint8_t[]){2, 0, 0, 0, 7, 1}, .up = true}, there = {.name = peer, .mac = (uint8_t[]){2, 0, 0, 0, 7, 2}, .up = true};
	uint32_t ifindex = 0;

	OK(rtnl_add_veth(nl, &here, &there, &ifindex));
	return ifindex;
}

/* What rtnl_add_route() does not write: several next hops, on-link by the links alone. */
static int add_multipath(const struct addr *via, const uint32_t *oifs, size_t n)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*rtm), &rtm);
	_Alignas(struct rtnexthop) char hops[256];
	size_t len = 0;

	rtm->rtm_family = addr_family(via);
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_type = RTN_UNICAST;
	for (size_t i = 0; i < n; i++) {
		struct rtnexthop *hop = (struct rtnexthop *)(hops + len);
		struct rtattr *gateway = RTNH_DATA(hop);

		*hop = (struct rtnexthop){.rtnh_len = RTNH_LENGTH(RTA_LENGTH(addr_raw_len(via))), .rtnh_flags = RTNH_F_ONLINK, .rtnh_ifindex = oifs[i]};
		*gateway = (struct rtattr){.rta_len = RTA_LENGTH(addr_raw_len(via)), .rta_type = RTA_GATEWAY};
		memcpy(RTA_DATA(gateway), addr_raw(via), addr_raw_len(via));
		len += RTNH_ALIGN(hop->rtnh_len);
	}
	mnl_attr_put(nlh, RTA_MULTIPATH, len, hops);
	return rtnl_change(nl);
}

static size_t default_links(const uint32_t *want, size_t n_want)
{
	_cleanup_free_ uint32_t *links = NULL;
	size_t n = 0;

	OK(rtnl_list_default_links(nl, &links, &n));
	for (size_t i = 0; i < n_want; i++) {
		bool there = false;

		for (size_t k = 0; k < n; k++)
			there |= links[k] == want[i];
		CHECK(there);
	}
	return n;
}

/* Of both families, all next hops; not of tables that no rule of others leads to, not those that lead nowhere, not ours. */
static void links_of_default_routes(void)
{
	uint32_t t0 = test_link(), oifs[2] = {add_test_link("d1", "d1p"), add_test_link("d2", "d2p")};
	struct addr via4 = A("192.0.2.1"), via6 = A("fe80::1");
	struct route single = {.dst = P("0.0.0.0/0"), .via = via4, .oif = t0, .onlink = true, .metric = 5, .proto = RTPROT_STATIC};
	struct route others[] = {
	    {.dst = P("0.0.0.0/0"), .oif = t0, .table = 99, .proto = RTPROT_STATIC},
	    {.dst = P("0.0.0.0/0"), .oif = t0, .metric = 7},
	    {.dst = P("0.0.0.0/0"), .type = RTN_UNREACHABLE, .metric = 8, .proto = RTPROT_STATIC},
	    {.dst = P("0.0.0.0/1"), .oif = t0, .proto = RTPROT_STATIC},
	};
	struct rule ours = {.family = AF_INET, .priority = 99, .to = prefix_any(AF_INET), .table = 99};
	struct rule policies[] = { /* two to one table, one to a table that is not there */
	    {.family = AF_INET, .priority = 100, .from = P("10.1.0.0/24"), .table = 99, .proto = RTPROT_STATIC},
	    {.family = AF_INET, .priority = 101, .from = P("10.2.0.0/24"), .table = 99, .proto = RTPROT_STATIC},
	    {.family = AF_INET, .priority = 102, .from = P("10.3.0.0/24"), .table = 98, .proto = RTPROT_STATIC},
	    {.family = AF_INET6, .priority = 103, .from = P("fd01::/64"), .table = 98, .proto = RTPROT_STATIC},
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		OK(rtnl_add_route(nl, &others[i]));
	CHECK_INT(default_links(NULL, 0), 0);
	OK(rtnl_add_rule(nl, &ours));
	CHECK_INT(default_links(NULL, 0), 0);
	OK(rtnl_del_rule(nl, &ours));
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		OK(rtnl_add_rule(nl, &policies[i]));
	CHECK_INT(default_links(&t0, 1), 1);
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		OK(rtnl_del_rule(nl, &policies[i]));
	CHECK_INT(default_links(NULL, 0), 0);
	OK(rtnl_add_route(nl, &single));
	CHECK_INT(default_links(&t0, 1), 1);
	OK(add_multipath(&via4, oifs, 2));
	CHECK_INT(default_links(oifs, 2), 3);
	OK(add_multipath(&via6, oifs, 2));
	CHECK_INT(default_links((uint32_t[]){oifs[0], oifs[1], t0}, 3), 5);
	OK(rtnl_del_route(nl, &single));
	CHECK_INT(default_links(oifs, 2), 4);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		OK(rtnl_del_route(nl, &others[i]));
	OK(rtnl_del_link(nl, oifs[0]));
	CHECK(default_links(&oifs[1], 1) <= 2); /* the kernel takes IPv4's next hop along, or leaves it as dead */
	OK(rtnl_del_link(nl, oifs[1]));
	CHECK_INT(default_links(NULL, 0), 0);
}

/* The entry tells of all next hops, the answer for one packet of one; what has a port of its own in the rules is asked for with it. */
static void ways_of_packets(void)
{
	struct rtnl_way q = {.src = A("192.0.2.1"), .dst = A("198.51.100.1"), .udp_port = 4789};
	struct link_addr own = {.ifindex = test_link(), .addr = q.src, .len = 96 + 24};
	struct route way, narrow = {.dst = P("198.51.100.0/24"), .via = A("192.0.2.9"), .oif = test_link(), .mtu = 1400};
	struct route other = {.dst = P("198.51.100.0/24"), .via = A("192.0.2.8"), .oif = test_link(), .table = 99};
	struct rule rule = {.family = AF_INET, .priority = 9, .to = prefix_any(AF_INET), .table = 99, .ip_proto = IPPROTO_UDP, .dport = 4789};

	OK(rtnl_replace_addr(nl, &own));
	OK(rtnl_replace_route(nl, &narrow));
	for (int entry = 0; entry < 2; entry++) {
		q.entry = entry;
		OK(rtnl_find_way(nl, &q, &way));
		CHECK(way.type == RTN_UNICAST && way.oif == test_link() && addr_eq(&way.via, &narrow.via) && way.mtu == 1400);
		CHECK(way.nexthops == 1 && way.lwt == 0);
	}
	OK(rtnl_add_route(nl, &other));
	OK(rtnl_add_rule(nl, &rule));
	OK(rtnl_find_way(nl, &q, &way));
	CHECK(addr_eq(&way.via, &other.via));
	q.udp_port = 4790;
	OK(rtnl_find_way(nl, &q, &way));
	CHECK(addr_eq(&way.via, &narrow.via));
	q.dst = A("fd00::1");
	CHECK_INT(rtnl_find_way(nl, &q, &way), -EINVAL);
	OK(rtnl_del_rule(nl, &rule));
	OK(rtnl_del_route(nl, &other));
	OK(rtnl_del_route(nl, &narrow));
	OK(rtnl_del_addr(nl, &own));
}

static void rules(void)
{
	struct rule from = {.family = AF_INET, .priority = 100, .from = P("10.1.0.0/24"), .table = 5757};
	struct rule to = {.family = AF_INET6, .priority = 101, .to = P("fd01::/64"), .table = 5757};
	struct rule any = {.family = AF_INET, .priority = 102, .table = 5757, .ip_proto = IPPROTO_UDP, .dport = 5757};
	struct rule *all[] = {&from, &to, &any};
	_cleanup_free_ struct rule *list = NULL, *empty = NULL;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		OK(rtnl_add_rule(nl, all[i]));
		OK(rtnl_add_rule(nl, all[i])); /* no second copy */
	}
	OK(rtnl_list_rules(nl, AF_UNSPEC, NET_PROTO_WEFT, &list, &n));
	CHECK_INT(n, 3);
	CHECK(rule_eq(&list[0], &from) && rule_eq(&list[1], &any) && rule_eq(&list[2], &to));
	CHECK(!rule_eq(&list[0], &any));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		OK(rtnl_del_rule(nl, all[i]));
		OK(rtnl_del_rule(nl, all[i]));
	}
	OK(rtnl_list_rules(nl, AF_UNSPEC, NET_PROTO_WEFT, &empty, &n));
	CHECK_INT(n, 0);
}

static void neighbours(void)
{
	uint32_t t0 = test_link();
	struct neigh v4 = {.ifindex = t0, .addr = A("10.1.0.5"), .mac = {2, 0x57, 1, 1, 1, 1}};
	struct neigh v6 = {.ifindex = t0, .addr = A("fe80::1"), .mac = {2, 0x57, 1, 1, 1, 2}};
	_cleanup_free_ struct neigh *list = NULL, *empty = NULL;
	size_t n;

	OK(rtnl_replace_neigh(nl, &v4));
	v4.mac[5] = 9;
	OK(rtnl_replace_neigh(nl, &v4));
	OK(rtnl_replace_neigh(nl, &v6));
	OK(rtnl_list_neighs(nl, AF_UNSPEC, t0, NET_PROTO_WEFT, &list, &n));
	CHECK_INT(n, 2);
	CHECK(neigh_eq(&list[0], &v4) && neigh_eq(&list[1], &v6));
	CHECK_INT(list[0].state, NUD_PERMANENT);
	OK(rtnl_del_neigh(nl, &v4));
	OK(rtnl_del_neigh(nl, &v4));
	OK(rtnl_del_neigh(nl, &v6));
	OK(rtnl_list_neighs(nl, AF_UNSPEC, 0, NET_PROTO_WEFT, &empty, &n));
	CHECK_INT(n, 0);
}

struct failures {
	size_t count, last;
	int error;
};

static void on_failed(size_t number, int error, const char *text _unused_, void *ctx)
{
	struct failures *f = ctx;

	f->count++;
	f->last = number;
	f->error = error;
}

static void batch_of_many_routes(void)
{
	enum { N = 1000, BAD = 437 };
	uint32_t t0 = test_link();
	_cleanup_free_ struct route *list = NULL, *empty = NULL;
	struct failures f = {0};
	struct route r = {.oif = t0, .table = 77};
	struct addr base = A("10.9.0.0");
	size_t n;

	for (int pass = 0; pass < 2; pass++) {
		rtnl_batch(nl);
		for (int i = 0; i < N; i++) {
			struct addr a = addr_add(&base, i);

			r.dst = prefix_host(&a);
			r.oif = i == BAD ? 999999 : t0;
			CHECK_INT(pass ? rtnl_del_route(nl, &r) : rtnl_add_route(nl, &r), 0);
		}
		if (pass == 0) {
			CHECK_INT(rtnl_commit(nl, on_failed, &f), -ENODEV);
			CHECK_INT(f.count, 1);
			CHECK_INT(f.last, BAD);
			CHECK_INT(f.error, -ENODEV);
			CHECK(strstr(rtnl_error_text(nl), "route 10.9.1.181/32"));
			OK(rtnl_list_routes(nl, AF_UNSPEC, 77, 0, &list, &n));
			CHECK_INT(n, N - 1);
		} else {
			OK(rtnl_commit(nl, NULL, NULL));
		}
	}
	OK(rtnl_list_routes(nl, AF_UNSPEC, 77, 0, &empty, &n));
	CHECK_INT(n, 0);
}

static size_t count_routes(uint8_t proto)
{
	struct route *list = NULL;
	size_t n = 0;

	if (rtnl_list_routes(nl, AF_UNSPEC, 0, proto, &list, &n) < 0)
		abort();
	free(list);
	return n;
}

static void apply_changes_only_the_difference(void)
{
	uint32_t t0 = test_link();
	struct route want[] = {
	    {.dst = P("10.3.0.0/24"), .oif = t0},
	    {.dst = P("10.3.1.0/24"), .oif = t0, .mtu = 1400},
	    {.dst = P("fd03::/64"), .oif = t0},
	    {.dst = P("fd03::/64"), .oif = t0, .table = 5757},
	    {.dst = P("10.3.0.0/16"), .type = RTN_UNREACHABLE, .metric = 9999},
	    {.dst = P("fd03::/48"), .type = RTN_UNREACHABLE, .metric = 9999},
	};
	struct route foreign = {.dst = P("10.3.9.0/24"), .oif = t0, .proto = RTPROT_STATIC};
	struct route pods = {.dst = P("10.3.0.7/32"), .oif = index_of("t1")};
	struct route got;
	uint32_t pod_links[] = {pods.oif};
	size_t changed;

	OK(rtnl_add_route(nl, &foreign));
	OK(rtnl_add_route(nl, &pods));
	OK(rtnl_apply_routes(nl, want, ARRAY_SIZE(want), pod_links, 1, &changed));
	CHECK_INT(changed, 6);
	OK(rtnl_apply_routes(nl, want, ARRAY_SIZE(want), pod_links, 1, &changed));
	CHECK_INT(changed, 0);
	CHECK_INT(count_routes(NET_PROTO_WEFT), 7);
	want[1].mtu = 1300;
	OK(rtnl_apply_routes(nl, want + 1, ARRAY_SIZE(want) - 1, pod_links, 1, &changed));
	CHECK_INT(changed, 2); /* one replaced, one gone */
	got = route_to(want[1].dst, RT_TABLE_MAIN);
	CHECK(got.nexthops == 1 && got.mtu == 1300);
	CHECK_INT(route_to(want[0].dst, RT_TABLE_MAIN).nexthops, 0);
	CHECK_INT(route_to(foreign.dst, RT_TABLE_MAIN).nexthops, 1);
	want[0] = want[1];
	CHECK_INT(rtnl_apply_routes(nl, want, ARRAY_SIZE(want), pod_links, 1, NULL), -ENOTUNIQ);
	CHECK(strstr(rtnl_error_text(nl), "same place"));
	OK(rtnl_apply_routes(nl, NULL, 0, NULL, 0, &changed));
	CHECK_INT(changed, 6);
	CHECK_INT(count_routes(NET_PROTO_WEFT), 0);
	OK(rtnl_del_route(nl, &foreign));
}

static void apply_takes_no_foreign_slot(void)
{
	uint32_t t0 = test_link();
	struct route foreign = {.dst = P("10.4.0.0/24"), .oif = t0, .proto = RTPROT_STATIC};
	struct route want[] = {{.dst = P("10.4.0.0/24"), .oif = t0, .mtu = 1000}, {.dst = P("10.4.1.0/24"), .oif = t0}};

	OK(rtnl_add_route(nl, &foreign));
	CHECK_INT(rtnl_apply_routes(nl, want, 2, NULL, 0, NULL), -EEXIST);
	CHECK_INT(route_to(foreign.dst, RT_TABLE_MAIN).proto, RTPROT_STATIC);
	CHECK_INT(route_to(want[1].dst, RT_TABLE_MAIN).nexthops, 1); /* the others are there all the same */
	OK(rtnl_del_route(nl, &foreign));
	OK(rtnl_apply_routes(nl, NULL, 0, NULL, 0, NULL));
}

/* The kernel's word for a source that is not the node's is another one than that for two of ours in one place. */
static void apply_tells_twins_from_refusals(void)
{
	struct route want[] = {{.dst = P("10.4.0.0/24"), .oif = test_link(), .src = A("203.0.113.77")}};

	CHECK_INT(rtnl_apply_routes(nl, want, 1, NULL, 0, NULL), -EINVAL);
}

/* What is refused holds up nothing else, is not counted, and is what the text is about though others fail after it. */
static void apply_goes_on_after_refusals(void)
{
	uint32_t t0 = test_link();
	struct route want[] = {{.dst = P("10.4.0.0/24"), .oif = t0}, {.dst = P("fd04::/64"), .oif = t0}, {.dst = P("fd04:1::/64"), .oif = t0}};
	struct neigh neighs[] = {{.ifindex = t0, .addr = A("10.4.0.1"), .mac = {2, 1}}, {.ifindex = t0, .addr = A("fd04::1"), .mac = {2, 2}}};
	size_t changed = 99;

	CHECK_INT(file_write("/proc/sys/net/ipv6/conf/t0/disable_ipv6", "1"), 0);
	CHECK_INT(rtnl_apply_routes(nl, want, ARRAY_SIZE(want), NULL, 0, &changed), -EACCES);
	CHECK_INT(changed, 1);
	CHECK(strstr(rtnl_batch_first(nl), "10.4.0.0/24"));
	CHECK(strstr(rtnl_error_text(nl), "fd04::/64") && strstr(rtnl_error_text(nl), "disabled"));
	CHECK(rtnl_apply_neighs(nl, neighs, ARRAY_SIZE(neighs), NULL, 0, &changed) < 0);
	CHECK_INT(changed, 1);
	CHECK_INT(file_write("/proc/sys/net/ipv6/conf/t0/disable_ipv6", "0"), 0);
	OK(rtnl_apply_routes(nl, want, ARRAY_SIZE(want), NULL, 0, &changed));
	CHECK_INT(changed, 2);
	CHECK(strstr(rtnl_batch_first(nl), "fd04::/64"));
	OK(rtnl_apply_neighs(nl, neighs, ARRAY_SIZE(neighs), NULL, 0, &changed));
	CHECK_INT(changed, 1);
	OK(rtnl_apply_neighs(nl, NULL, 0, NULL, 0, &changed));
	OK(rtnl_apply_routes(nl, NULL, 0, NULL, 0, &changed));
	CHECK_INT(changed, 3);
}

static void apply_rules_and_neighbours(void)
{
	uint32_t t0 = test_link();
	struct rule rules[] = {{.family = AF_INET, .priority = 10, .from = P("10.1.0.0/24"), .table = 5757},
			       {.family = AF_INET6, .priority = 10, .from = P("fd01::/64"), .table = 5757},
			       {.family = AF_INET, .priority = 10, .from = P("10.2.0.0/24"), .table = 5757}};
	struct neigh neighs[] = {{.ifindex = t0, .addr = A("10.1.0.1"), .mac = {2, 1}},
				 {.ifindex = t0, .addr = A("fd01::1"), .mac = {2, 2}}};
	size_t changed;

	OK(rtnl_apply_rules(nl, rules, 3, &changed));
	CHECK_INT(changed, 3);
	OK(rtnl_apply_rules(nl, rules, 3, &changed));
	CHECK_INT(changed, 0);
	OK(rtnl_apply_rules(nl, rules, 1, &changed));
	CHECK_INT(changed, 2);
	OK(rtnl_apply_rules(nl, NULL, 0, &changed));
	CHECK_INT(changed, 1);

	OK(rtnl_apply_neighs(nl, neighs, 2, NULL, 0, &changed));
	CHECK_INT(changed, 2);
	neighs[1].mac[1] = 7;
	OK(rtnl_apply_neighs(nl, neighs, 2, NULL, 0, &changed));
	CHECK_INT(changed, 1);
	OK(rtnl_put_neighs(nl, neighs, 1, NULL, 0, &changed)); /* takes none away */
	CHECK_INT(changed, 0);
	OK(rtnl_apply_neighs(nl, NULL, 0, NULL, 0, &changed));
	CHECK_INT(changed, 2);
}

struct seen {
	int link, addr, route, rule, neigh, gone, resync;
};

static bool is_addr(const struct addr *a, const char *text)
{
	struct addr b = A(text);

	return addr_eq(a, &b);
}

static void on_event(const struct rtnl_event *ev, void *ctx)
{
	struct seen *s = ctx;

	s->gone += ev->gone;
	switch (ev->type) {
	case RTNL_EVENT_RESYNC:
		s->resync++;
		break;
	case RTNL_EVENT_LINK:
		s->link += streq(ev->link.name, "ev0");
		break;
	case RTNL_EVENT_ADDR:
		s->addr += is_addr(&ev->addr.addr, "10.5.0.1");
		break;
	case RTNL_EVENT_ROUTE:
		s->route += is_addr(&ev->route.dst.addr, "10.6.0.0");
		break;
	case RTNL_EVENT_RULE:
		s->rule += ev->rule.priority == 55;
		break;
	case RTNL_EVENT_NEIGH:
		s->neigh += is_addr(&ev->neigh.addr, "10.5.0.9");
		break;
	case RTNL_EVENT_TC:
	case RTNL_EVENT_NETCONF: /* the lab's tests of repairs */
		break;
	}
}

static void drain(sd_event *event)
{
	while (sd_event_run(event, 0) > 0)
		;
}

static void monitor_reports_changes(void)
{
	sd_event *event = NULL;
	struct rtnl_monitor *m = NULL;
	struct seen s = {0};
	uint32_t ev0;

	CHECK_INT(sd_event_new(&event), 0);
	CHECK_INT(rtnl_monitor_new(event, ~0u, 0, on_event, &s, &m), 0);
	OK(rtnl_add_veth(nl, &(struct link_spec){.name = "ev0", .up = true},
			 &(struct link_spec){.name = "ev1", .up = true}, &ev0));
	OK(rtnl_replace_addr(nl, &(struct link_addr){.ifindex = ev0, .addr = A("10.5.0.1"), .len = 120}));
	OK(rtnl_add_route(nl, &(struct route){.dst = P("10.6.0.0/24"), .oif = ev0}));
	OK(rtnl_add_rule(nl, &(struct rule){.family = AF_INET6, .priority = 55, .table = 77}));
	OK(rtnl_replace_neigh(nl, &(struct neigh){.ifindex = ev0, .addr = A("10.5.0.9"), .mac = {2}}));
	drain(event);
	CHECK(s.link > 0 && s.addr == 1 && s.route == 1 && s.rule == 1 && s.neigh == 1);
	CHECK_INT(s.resync, 0);
	CHECK_INT(s.gone, 0);
	OK(rtnl_del_rule(nl, &(struct rule){.family = AF_INET6, .priority = 55, .table = 77}));
	drain(event);
	CHECK(s.gone == 1 && s.rule == 2);
	OK(rtnl_del_link(nl, ev0));
	rtnl_monitor_free(m);
	sd_event_unref(event);
}

static void monitor_says_resync_when_overrun(void)
{
	uint32_t t0 = test_link();
	sd_event *event = NULL;
	struct rtnl_monitor *m = NULL;
	struct seen s = {0};
	struct addr base = A("10.7.0.0");

	CHECK_INT(sd_event_new(&event), 0);
	CHECK_INT(rtnl_monitor_new(event, 1u << RTNL_EVENT_ROUTE, 4096, on_event, &s, &m), 0);
	rtnl_batch(nl);
	for (int i = 0; i < 500; i++) {
		struct addr a = addr_add(&base, i);

		rtnl_add_route(nl, &(struct route){.dst = prefix_host(&a), .oif = t0});
	}
	OK(rtnl_commit(nl, NULL, NULL));
	drain(event);
	CHECK(s.resync > 0);
	OK(rtnl_apply_routes(nl, NULL, 0, NULL, 0, NULL));
	rtnl_monitor_free(m);
	sd_event_unref(event);
}

/* Every message of real dumps, cut at every length and with every byte spoilt: decoded or refused, nothing else (the
 * sanitizers watch the bounds: each cut copy is an allocation of exactly its size). */
static int spoil(const struct nlmsghdr *nlh, void *ret _unused_, const void *filter _unused_)
{
	struct rtnl_event ev;

	for (size_t len = MNL_NLMSG_HDRLEN; len <= nlh->nlmsg_len; len++) {
		struct nlmsghdr *cut = xmalloc(len);

		memcpy(cut, nlh, len);
		cut->nlmsg_len = len;
		rtnl_event_decode(cut, &ev);
		free(cut);
	}
	for (size_t i = MNL_NLMSG_HDRLEN; i < nlh->nlmsg_len; i++) {
		static const uint8_t bytes[] = {0, 1, 3, 0x7f, 0xff};
		char *bad = xmalloc(nlh->nlmsg_len);

		for (size_t j = 0; j < ARRAY_SIZE(bytes); j++) {
			memcpy(bad, nlh, nlh->nlmsg_len);
			bad[i] = bytes[j];
			rtnl_event_decode((struct nlmsghdr *)bad, &ev);
		}
		free(bad);
	}
	return 0;
}

static void decoder_survives_spoilt_messages(void)
{
	static const uint16_t types[] = {RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE, RTM_GETNEIGH};
	static const size_t sizes[] = {sizeof(struct ifinfomsg), sizeof(struct ifaddrmsg), sizeof(struct rtmsg), 12,
				       sizeof(struct ndmsg)};
	struct link_spec spec = {.name = "vx", .up = true};
	struct nlmsghdr tiny = {.nlmsg_len = sizeof(tiny), .nlmsg_type = RTM_NEWLINK};
	struct rtnl_event ev;
	void *items, *header;
	uint32_t vx;
	size_t n;

	OK(rtnl_add_vxlan(nl, &spec, 4790, &vx));
	OK(rtnl_replace_route(nl, &(struct route){.dst = P("10.2.0.0/24"),
						  .via = A("10.2.0.1"),
						  .oif = vx,
						  .onlink = true,
						  .mtu = 9,
						  .encap = {.id = 1, .dst = A("172.30.0.12")}}));
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		rtnl_msg(nl, types[i], 0, sizes[i], &header);
		OK(rtnl_dump(nl, spoil, NULL, 1, &items, &n));
		free(items);
	}
	CHECK_INT(rtnl_event_decode(&tiny, &ev), -EBADMSG);
	OK(rtnl_del_link(nl, vx));
}

static void namespaces(void)
{
	char dir[] = "/tmp/weft-netns-XXXXXX";
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1, again = -1, self = netns_open_self();
	struct netns_id a, b, own, own_after;

	CHECK(mkdtemp(dir));
	path = xasprintf("%s/ns", dir);
	CHECK_INT(netns_id_of(self, &own), 0);
	fd = netns_create(path);
	CHECK(fd >= 0);
	CHECK_INT(netns_create(path), -EEXIST);
	again = netns_open(path);
	CHECK(again >= 0);
	CHECK_INT(netns_id_of(fd, &a), 0);
	CHECK_INT(netns_id_of(again, &b), 0);
	CHECK(netns_id_eq(a, b) && !netns_id_eq(a, own));
	CHECK_INT(netns_sysctl(fd, "ipv4/ip_forward", "1"), 0);
	CHECK_INT(netns_sysctl(fd, "../kernel/hostname", "x"), -EINVAL);
	CHECK_INT(netns_sysctl(fd, "ipv4/no_such", "1"), -ENOENT);
	close_fd(self);
	self = netns_open_self();
	CHECK_INT(netns_id_of(self, &own_after), 0);
	CHECK(netns_id_eq(own, own_after));
	CHECK_INT(netns_remove(path), 0);
	CHECK_INT(netns_remove(path), 0);
	CHECK_INT(netns_open(path), -ENOENT);
	CHECK_INT(netns_open("/proc/self/ns/mnt"), -EINVAL);
	CHECK_INT(netns_open("/dev/null"), -EINVAL);
	CHECK_INT(rmdir(dir), 0);
}

/* What iproute2 prints for our objects: an eye that is not ours. */
static void iproute2_agrees(void)
{
	uint32_t t0 = test_link();
	struct route r = {.dst = P("10.8.0.0/24"),
			  .via = A("172.30.0.12"),
			  .oif = t0,
			  .src = A("172.30.0.11"),
			  .mtu = 1400,
			  .metric = 5};
	char line[512] = "";
	FILE *p;

	OK(rtnl_replace_addr(nl, &(struct link_addr){.ifindex = t0, .addr = A("172.30.0.11"), .len = 120}));
	OK(rtnl_replace_route(nl, &r));
	p = popen("ip route show proto 87", "r");
	CHECK(p && fgets(line, sizeof(line), p));
	pclose(p);
	CHECK_STR(line, "10.8.0.0/24 via 172.30.0.12 dev t0 src 172.30.0.11 metric 5 mtu 1400 \n");
	OK(rtnl_del_route(nl, &r));
}

static int own_namespace(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
		return -errno;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return rtnl_open(&nl);
}

int main(void)
{
	int r = own_namespace();

	if (r == 0)
		r = rtnl_set_link_up(nl, 1, true);
	if (r < 0) {
		printf("Bail out! no network namespace of my own: %s\n", strerror(-r));
		return 1;
	}
	RUN(namespaces);
	RUN(veth_into_another_namespace);
	RUN(link_settings);
	RUN(bad_link_names);
	RUN(vxlan_device);
	RUN(many_links_go_at_once);
	RUN(addresses);
	RUN(route_kinds);
	RUN(encapsulated_routes);
	RUN(links_of_default_routes);
	RUN(ways_of_packets);
	RUN(rules);
	RUN(neighbours);
	RUN(batch_of_many_routes);
	RUN(apply_changes_only_the_difference);
	RUN(apply_takes_no_foreign_slot);
	RUN(apply_tells_twins_from_refusals);
	RUN(apply_goes_on_after_refusals);
	RUN(apply_rules_and_neighbours);
	RUN(monitor_reports_changes);
	RUN(monitor_says_resync_when_overrun);
	RUN(decoder_survives_spoilt_messages);
	RUN(iproute2_agrees);
	rtnl_close(nl);
	return test_end();
}
