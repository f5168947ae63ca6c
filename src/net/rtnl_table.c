/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, routes, rules, neighbours. */
#include "net/rtnl_internal.h"

#include <linux/fib_rules.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>

void rtnl_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct addr *a)
{
	mnl_attr_put(nlh, type, addr_raw_len(a), addr_raw(a));
}

/* What a list leaves out; 0 takes all. */
struct filter {
	int family;
	uint32_t ifindex, table;
	uint8_t proto;
};

/* Both families in turn: the kernel's "any family" dumps would bring bridge, MPLS and multicast tables too. */
typedef int list_one_fn(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n);

static int list_families(struct rtnl *nl, list_one_fn *one, struct filter f, size_t size, void *ret_items,
			 size_t *ret_n)
{
	char *a = NULL, *b = NULL;
	size_t n = 0, m = 0;
	int r;

	if (f.family != AF_UNSPEC)
		return one(nl, &f, ret_items, ret_n);
	f.family = AF_INET;
	r = one(nl, &f, &a, &n);
	if (r < 0)
		return r;
	f.family = AF_INET6;
	r = one(nl, &f, &b, &m);
	if (r < 0) {
		free(a);
		return r;
	}
	a = xrealloc(a, n + m, size);
	memcpy(a + n * size, b, m * size);
	free(b);
	*(void **)ret_items = a;
	*ret_n = n + m;
	return 0;
}

static int change_addr(struct rtnl *nl, uint16_t type, uint16_t flags, const struct link_addr *a)
{
	bool v4 = addr_is_v4(&a->addr);
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh;

	if (a->len > 128 || (v4 && a->len < V4_BITS_BEFORE) || a->ifindex == 0)
		return -EINVAL;
	nlh = rtnl_msg(nl, type, flags, sizeof(*ifa), &ifa);
	ifa->ifa_family = addr_family(&a->addr);
	ifa->ifa_prefixlen = v4 ? a->len - V4_BITS_BEFORE : a->len;
	ifa->ifa_scope = a->scope;
	ifa->ifa_index = a->ifindex;
	rtnl_put_addr(nlh, IFA_LOCAL, &a->addr);
	rtnl_put_addr(nlh, IFA_ADDRESS, &a->addr);
	if (a->flags)
		mnl_attr_put_u32(nlh, IFA_FLAGS, a->flags);
	return rtnl_change(nl);
}

int rtnl_replace_addr(struct rtnl *nl, const struct link_addr *a)
{
	return change_addr(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, a);
}

int rtnl_del_addr(struct rtnl *nl, const struct link_addr *a)
{
	return change_addr(nl, RTM_DELADDR, 0, a);
}

static int take_addr(const struct nlmsghdr *nlh, void *ret, const void *filter)
{
	const struct filter *f = filter;
	struct link_addr *a = ret;
	int r = rtnl_decode_addr(nlh, a);

	if (r < 0)
		return r;
	return addr_family(&a->addr) == f->family && (!f->ifindex || a->ifindex == f->ifindex);
}

static int list_addrs(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n)
{
	struct ifaddrmsg *ifa;

	rtnl_msg(nl, RTM_GETADDR, 0, sizeof(*ifa), &ifa);
	ifa->ifa_family = f->family;
	ifa->ifa_index = f->ifindex;
	return rtnl_dump(nl, take_addr, f, sizeof(struct link_addr), ret_items, ret_n);
}

int rtnl_list_addrs(struct rtnl *nl, int family, uint32_t ifindex, struct link_addr **ret, size_t *ret_n)
{
	struct filter f = {.family = family, .ifindex = ifindex};

	return list_families(nl, list_addrs, f, sizeof(**ret), ret, ret_n);
}

static void put_encap(struct nlmsghdr *nlh, const struct route_encap *e)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, RTA_ENCAP);

	/* LWTUNNEL_IP6_* have the same numbers */
	mnl_attr_put_u64(nlh, LWTUNNEL_IP_ID, __builtin_bswap64(e->id));
	rtnl_put_addr(nlh, LWTUNNEL_IP_DST, &e->dst);
	if (!addr_is_zero(&e->src))
		rtnl_put_addr(nlh, LWTUNNEL_IP_SRC, &e->src);
	mnl_attr_put_u8(nlh, LWTUNNEL_IP_TTL, e->ttl);
	mnl_attr_put_u8(nlh, LWTUNNEL_IP_TOS, e->tos);
	mnl_attr_put_u16(nlh, LWTUNNEL_IP_FLAGS, htons(e->flags));
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_put_u16(nlh, RTA_ENCAP_TYPE, addr_is_v4(&e->dst) ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6);
}

/* What names a route: family, prefix, table, metric. */
static struct nlmsghdr *begin_route(struct rtnl *nl, uint16_t type, uint16_t flags, const struct route *r)
{
	int family = prefix_family(&r->dst);
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = rtnl_msg(nl, type, flags, sizeof(*rtm), &rtm);

	rtm->rtm_family = family;
	rtm->rtm_dst_len = family == AF_INET ? r->dst.len - V4_BITS_BEFORE : r->dst.len;
	rtm->rtm_table = RT_TABLE_UNSPEC;
	rtm->rtm_protocol = r->proto ? r->proto : NET_PROTO_WEFT;
	if (rtm->rtm_dst_len)
		rtnl_put_addr(nlh, RTA_DST, &r->dst.addr);
	mnl_attr_put_u32(nlh, RTA_TABLE, r->table ? r->table : RT_TABLE_MAIN);
	if (r->metric)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, r->metric);
	return nlh;
}

static bool route_ok(const struct route *r)
{
	int family = prefix_family(&r->dst);

	return r->dst.len <= 128 && (addr_is_zero(&r->via) || addr_family(&r->via) == family) &&
	       (addr_is_zero(&r->src) || addr_family(&r->src) == family) && r->nexthops <= 1;
}

static void put_mtu(struct nlmsghdr *nlh, uint32_t mtu)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, RTA_METRICS);

	mnl_attr_put_u32(nlh, RTAX_MTU, mtu);
	mnl_attr_nest_end(nlh, nest);
}

static int put_route(struct rtnl *nl, uint16_t flags, const struct route *r)
{
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;

	if (!route_ok(r))
		return -EINVAL;
	nlh = begin_route(nl, RTM_NEWROUTE, flags, r);
	rtm = mnl_nlmsg_get_payload(nlh);
	rtm->rtm_type = r->type ? r->type : RTN_UNICAST;
	rtm->rtm_scope = r->scope;
	if (!r->scope && rtm->rtm_type == RTN_UNICAST && addr_is_zero(&r->via))
		rtm->rtm_scope = RT_SCOPE_LINK;
	if (r->onlink)
		rtm->rtm_flags = RTNH_F_ONLINK;
	if (r->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, r->oif);
	if (!addr_is_zero(&r->via))
		rtnl_put_addr(nlh, RTA_GATEWAY, &r->via);
	if (!addr_is_zero(&r->src))
		rtnl_put_addr(nlh, RTA_PREFSRC, &r->src);
	if (r->mtu)
		put_mtu(nlh, r->mtu);
	if (!addr_is_zero(&r->encap.dst))
		put_encap(nlh, &r->encap);
	return rtnl_change(nl);
}

int rtnl_add_route(struct rtnl *nl, const struct route *r)
{
	return put_route(nl, NLM_F_CREATE | NLM_F_EXCL, r);
}

int rtnl_replace_route(struct rtnl *nl, const struct route *r)
{
	return put_route(nl, NLM_F_CREATE | NLM_F_REPLACE, r);
}

int rtnl_del_route(struct rtnl *nl, const struct route *r)
{
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;

	if (!route_ok(r))
		return -EINVAL;
	nlh = begin_route(nl, RTM_DELROUTE, 0, r);
	rtm = mnl_nlmsg_get_payload(nlh);
	rtm->rtm_type = r->type;
	rtm->rtm_scope = RT_SCOPE_NOWHERE; /* of any scope */
	if (r->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, r->oif);
	if (!addr_is_zero(&r->via))
		rtnl_put_addr(nlh, RTA_GATEWAY, &r->via);
	return rtnl_change(nl);
}

static int take_route(const struct nlmsghdr *nlh, void *ret, const void *filter)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct filter *f = filter;
	struct route *route = ret;
	int r;

	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*rtm))
		return -EBADMSG;
	if (rtm->rtm_family != f->family || rtm->rtm_flags & RTM_F_CLONED)
		return 0;
	r = rtnl_decode_route(nlh, route);
	if (r < 0)
		return r;
	return (!f->table || route->table == f->table) && (!f->proto || route->proto == f->proto);
}

/* Begins the request for a list of routes. */
static void ask_for_routes(struct rtnl *nl, const struct filter *f)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_GETROUTE, 0, sizeof(*rtm), &rtm);

	rtm->rtm_family = f->family;
	rtm->rtm_protocol = f->proto;
	if (f->table)
		mnl_attr_put_u32(nlh, RTA_TABLE, f->table);
}

static int list_routes(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n)
{
	int r;

	ask_for_routes(nl, f);
	r = rtnl_dump(nl, take_route, f, sizeof(struct route), ret_items, ret_n);
	if (r != -ENOENT)
		return r;
	/* the table does not exist: no routes in it */
	*(void **)ret_items = xmalloc(sizeof(struct route));
	*ret_n = 0;
	return 0;
}

int rtnl_list_routes(struct rtnl *nl, int family, uint32_t table, uint8_t proto, struct route **ret, size_t *ret_n)
{
	struct filter f = {.family = family, .table = table, .proto = proto};

	return list_families(nl, list_routes, f, sizeof(**ret), ret, ret_n);
}

static int take_default(const struct nlmsghdr *nlh, void *ret, const void *filter)
{
	struct route_hops *hops = ret;
	struct route route;
	struct prefix any;
	int r = take_route(nlh, &route, filter);

	if (r <= 0)
		return r;
	any = prefix_any(prefix_family(&route.dst));
	if (!prefix_eq(&route.dst, &any) || route.type != RTN_UNICAST || route.proto == NET_PROTO_WEFT)
		return 0;
	r = rtnl_decode_hops(nlh, hops);
	return r < 0 ? r : 1;
}

static int list_defaults(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n)
{
	int r;

	ask_for_routes(nl, f);
	r = rtnl_dump(nl, take_default, f, sizeof(struct route_hops), ret_items, ret_n);
	if (r != -ENOENT)
		return r;
	*(void **)ret_items = xmalloc(sizeof(struct route_hops)); /* a rule names a table that has nothing yet */
	*ret_n = 0;
	return 0;
}

/* The links of one table. */
static int add_default_links(struct rtnl *nl, int family, uint32_t table, uint32_t **links, size_t *n_links, size_t *cap)
{
	struct filter f = {.family = family, .table = table};
	_cleanup_free_ struct route_hops *routes = NULL;
	size_t n;
	int r = list_defaults(nl, &f, &routes, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t j = 0; j < routes[i].n; j++) {
			GROW(*links, *n_links, *cap);
			(*links)[(*n_links)++] = routes[i].oifs[j];
		}
	return r;
}

static int cmp_table(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The tables of others' rules, each once, and in front the main one. The local one has what is for this node. */
static uint32_t *tables_of(const struct rule *rules, size_t n_rules, size_t *ret_n)
{
	uint32_t *tables = xnew0_array(uint32_t, n_rules + 1);
	size_t n = 1, kept = 1;

	for (size_t i = 0; i < n_rules; i++)
		if (rules[i].action == FR_ACT_TO_TBL && rules[i].proto != NET_PROTO_WEFT && rules[i].table != RT_TABLE_LOCAL &&
		    rules[i].table != RT_TABLE_UNSPEC) /* of all VRFs: whichever the packet is in */
			tables[n++] = rules[i].table;
	tables[0] = RT_TABLE_MAIN;
	qsort(tables + 1, n - 1, sizeof(*tables), cmp_table);
	for (size_t i = 1; i < n; i++)
		if (tables[i] != RT_TABLE_MAIN && (kept == 1 || tables[i] != tables[kept - 1]))
			tables[kept++] = tables[i];
	*ret_n = kept;
	return tables;
}

int rtnl_list_default_links(struct rtnl *nl, uint32_t **ret, size_t *ret_n)
{
	_cleanup_free_ uint32_t *links = xnew0_array(uint32_t, 1);
	size_t n = 0, cap = 1;

	for (int f = 0; f < 2; f++) {
		_cleanup_free_ struct rule *rules = NULL;
		_cleanup_free_ uint32_t *tables = NULL;
		size_t n_rules, n_tables;
		int r = rtnl_list_rules(nl, f ? AF_INET6 : AF_INET, 0, &rules, &n_rules);

		if (r < 0)
			return r;
		tables = tables_of(rules, n_rules, &n_tables);
		for (size_t i = 0; i < n_tables && r == 0; i++)
			r = add_default_links(nl, f ? AF_INET6 : AF_INET, tables[i], &links, &n, &cap);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(links);
	*ret_n = n;
	return 0;
}

static int take_way(const struct nlmsghdr *nlh, void *ret, _unused_ const void *filter)
{
	int r = rtnl_decode_route(nlh, ret);

	return r < 0 ? r : 1;
}

int rtnl_find_way(struct rtnl *nl, const struct rtnl_way *packet, struct route *ret)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh;

	if (addr_family(&packet->src) != addr_family(&packet->dst))
		return -EINVAL;
	nlh = rtnl_msg(nl, RTM_GETROUTE, 0, sizeof(*rtm), &rtm);
	rtm->rtm_family = addr_family(&packet->dst);
	rtm->rtm_dst_len = rtm->rtm_src_len = addr_raw_len(&packet->dst) * 8;
	rtm->rtm_flags = packet->entry ? RTM_F_FIB_MATCH : 0;
	rtnl_put_addr(nlh, RTA_DST, &packet->dst);
	rtnl_put_addr(nlh, RTA_SRC, &packet->src);
	if (packet->iif)
		mnl_attr_put_u32(nlh, RTA_IIF, packet->iif);
	if (packet->udp_port) {
		mnl_attr_put_u8(nlh, RTA_IP_PROTO, IPPROTO_UDP);
		mnl_attr_put_u16(nlh, RTA_DPORT, htons(packet->udp_port));
	}
	return rtnl_query(nl, take_way, ret);
}

/* Length as the kernel wants it; "any" (len 0 or the family's own zero) is 0. */
static int selector_len(const struct prefix *p, int family)
{
	int len = family == AF_INET && p->len ? (int)p->len - V4_BITS_BEFORE : p->len;

	return len < 0 || (len && addr_family(&p->addr) != family) ? -EINVAL : len;
}

static int change_rule(struct rtnl *nl, uint16_t type, uint16_t flags, const struct rule *r)
{
	int from = selector_len(&r->from, r->family), to = selector_len(&r->to, r->family);
	struct fib_rule_port_range ports = {r->dport, r->dport};
	struct fib_rule_hdr *h;
	struct nlmsghdr *nlh;

	if (from < 0 || to < 0)
		return -EINVAL;
	nlh = rtnl_msg(nl, type, flags, sizeof(*h), &h);
	h->family = r->family;
	h->src_len = from;
	h->dst_len = to;
	h->action = r->action ? r->action : FR_ACT_TO_TBL;
	mnl_attr_put_u32(nlh, FRA_PRIORITY, r->priority);
	mnl_attr_put_u32(nlh, FRA_TABLE, r->table);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, r->proto ? r->proto : NET_PROTO_WEFT);
	if (from)
		rtnl_put_addr(nlh, FRA_SRC, &r->from.addr);
	if (to)
		rtnl_put_addr(nlh, FRA_DST, &r->to.addr);
	if (r->ip_proto)
		mnl_attr_put_u8(nlh, FRA_IP_PROTO, r->ip_proto);
	if (r->dport)
		mnl_attr_put(nlh, FRA_DPORT_RANGE, sizeof(ports), &ports);
	return rtnl_change(nl);
}

int rtnl_add_rule(struct rtnl *nl, const struct rule *r)
{
	return change_rule(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, r);
}

int rtnl_del_rule(struct rtnl *nl, const struct rule *r)
{
	return change_rule(nl, RTM_DELRULE, 0, r);
}

static int take_rule(const struct nlmsghdr *nlh, void *ret, const void *filter)
{
	const struct filter *f = filter;
	struct rule *rule = ret;
	int r;

	if (nlh->nlmsg_len > MNL_NLMSG_HDRLEN && *(const uint8_t *)mnl_nlmsg_get_payload(nlh) != f->family)
		return 0;
	r = rtnl_decode_rule(nlh, rule);
	if (r < 0)
		return r;
	return !f->proto || rule->proto == f->proto;
}

static int list_rules(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n)
{
	struct fib_rule_hdr *h;

	rtnl_msg(nl, RTM_GETRULE, 0, sizeof(*h), &h);
	h->family = f->family;
	return rtnl_dump(nl, take_rule, f, sizeof(struct rule), ret_items, ret_n);
}

int rtnl_list_rules(struct rtnl *nl, int family, uint8_t proto, struct rule **ret, size_t *ret_n)
{
	struct filter f = {.family = family, .proto = proto};

	return list_families(nl, list_rules, f, sizeof(**ret), ret, ret_n);
}

static struct nlmsghdr *begin_neigh(struct rtnl *nl, uint16_t type, uint16_t flags, const struct neigh *n)
{
	struct ndmsg *ndm;
	struct nlmsghdr *nlh = rtnl_msg(nl, type, flags, sizeof(*ndm), &ndm);

	ndm->ndm_family = addr_family(&n->addr);
	ndm->ndm_ifindex = n->ifindex;
	ndm->ndm_state = n->state ? n->state : NUD_PERMANENT;
	ndm->ndm_flags = n->flags;
	rtnl_put_addr(nlh, NDA_DST, &n->addr);
	return nlh;
}

int rtnl_replace_neigh(struct rtnl *nl, const struct neigh *n)
{
	struct nlmsghdr *nlh = begin_neigh(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, n);

	mnl_attr_put(nlh, NDA_LLADDR, sizeof(n->mac), n->mac);
	mnl_attr_put_u8(nlh, NDA_PROTOCOL, n->proto ? n->proto : NET_PROTO_WEFT);
	return rtnl_change(nl);
}

int rtnl_del_neigh(struct rtnl *nl, const struct neigh *n)
{
	begin_neigh(nl, RTM_DELNEIGH, 0, n);
	return rtnl_change(nl);
}

static int take_neigh(const struct nlmsghdr *nlh, void *ret, const void *filter)
{
	const struct filter *f = filter;
	struct neigh *n = ret;
	int r = rtnl_decode_neigh(nlh, n);

	if (r < 0)
		return r;
	return addr_family(&n->addr) == f->family && (!f->ifindex || n->ifindex == f->ifindex) &&
	       (!f->proto || n->proto == f->proto);
}

static int list_neighs(struct rtnl *nl, const struct filter *f, void *ret_items, size_t *ret_n)
{
	struct ndmsg *ndm;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_GETNEIGH, 0, sizeof(*ndm), &ndm);

	ndm->ndm_family = f->family;
	if (f->ifindex)
		mnl_attr_put_u32(nlh, NDA_IFINDEX, f->ifindex);
	return rtnl_dump(nl, take_neigh, f, sizeof(struct neigh), ret_items, ret_n);
}

int rtnl_list_neighs(struct rtnl *nl, int family, uint32_t ifindex, uint8_t proto, struct neigh **ret, size_t *ret_n)
{
	struct filter f = {.family = family, .ifindex = ifindex, .proto = proto};

	return list_families(nl, list_neighs, f, sizeof(**ret), ret, ret_n);
}
