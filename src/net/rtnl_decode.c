/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink messages to plain structs. Pure, and total: any bytes give a struct or -EBADMSG, and nothing outside of the
 * message's own length is read. The kernel is trusted to say the truth, not to say it in the length we expect: older
 * and newer kernels differ in attributes. */
#include "base/str.h"
#include "net/rtnl_internal.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/veth.h>

int rtnl_attrs(const void *data, size_t len, const struct nlattr **ret_tb, unsigned max)
{
	const char *p = data;

	memset(ret_tb, 0, (max + 1) * sizeof(*ret_tb));
	while (len >= sizeof(struct nlattr)) {
		const struct nlattr *a = (const struct nlattr *)p;
		unsigned type = a->nla_type & NLA_TYPE_MASK;
		size_t step = MNL_ALIGN(a->nla_len);

		if (a->nla_len < sizeof(*a) || a->nla_len > len)
			return -EBADMSG;
		if (type <= max)
			ret_tb[type] = a;
		if (step >= len)
			return 0;
		p += step;
		len -= step;
	}
	return len == 0 ? 0 : -EBADMSG;
}

static int nested(const struct nlattr *a, const struct nlattr **ret_tb, unsigned max)
{
	return rtnl_attrs(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a), ret_tb, max);
}

/* The family header, or NULL when the message is too short for it; attributes follow into @tb. */
static const void *open_message(const struct nlmsghdr *nlh, size_t size, const struct nlattr **tb, unsigned max)
{
	const char *payload = mnl_nlmsg_get_payload(nlh);
	size_t len;

	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + size)
		return NULL;
	len = nlh->nlmsg_len - MNL_NLMSG_HDRLEN;
	size = MIN((size_t)MNL_ALIGN(size), len);
	return rtnl_attrs(payload + size, len - size, tb, max) < 0 ? NULL : payload;
}

static bool has(const struct nlattr *a, size_t size)
{
	return a && mnl_attr_get_payload_len(a) >= size;
}

static uint32_t get_u32(const struct nlattr *a, uint32_t fallback)
{
	uint32_t v;

	if (!has(a, sizeof(v)))
		return fallback;
	memcpy(&v, mnl_attr_get_payload(a), sizeof(v));
	return v;
}

static uint16_t get_u16(const struct nlattr *a)
{
	uint16_t v = 0;

	if (has(a, sizeof(v)))
		memcpy(&v, mnl_attr_get_payload(a), sizeof(v));
	return v;
}

static uint8_t get_u8(const struct nlattr *a, uint8_t fallback)
{
	return has(a, 1) ? *(const uint8_t *)mnl_attr_get_payload(a) : fallback;
}

static void get_str(const struct nlattr *a, char *out, size_t size)
{
	size_t n = a ? strnlen(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a)) : 0;

	n = MIN(n, size - 1);
	if (n)
		memcpy(out, mnl_attr_get_payload(a), n);
	out[n] = 0;
}

/* Return: 0 (also when it is absent), -EBADMSG when its size is not that of an address of @family. */
static int get_addr(const struct nlattr *a, int family, struct addr *ret)
{
	if (!a)
		return 0;
	if (mnl_attr_get_payload_len(a) != (family == AF_INET ? 4 : 16))
		return -EBADMSG;
	return addr_from_raw(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a), ret);
}

static int get_prefix(const struct nlattr *a, int family, unsigned len, struct prefix *ret)
{
	struct addr base = prefix_any(family).addr;

	if ((family != AF_INET && family != AF_INET6) || len > (family == AF_INET ? 32 : 128) ||
	    get_addr(a, family, &base) < 0)
		return -EBADMSG;
	*ret = prefix_of(&base, family == AF_INET ? V4_BITS_BEFORE + len : len);
	return 0;
}

static void decode_vxlan(const struct nlattr *data, struct link *ret)
{
	const struct nlattr *tb[IFLA_VXLAN_MAX + 1];

	if (!data || nested(data, tb, IFLA_VXLAN_MAX) < 0)
		return;
	ret->vxlan.external = get_u8(tb[IFLA_VXLAN_COLLECT_METADATA], 0);
	ret->vxlan.vni = get_u32(tb[IFLA_VXLAN_ID], 0);
	ret->vxlan.port = ntohs(get_u16(tb[IFLA_VXLAN_PORT]));
	ret->vxlan.udp_zero_csum6_tx = get_u8(tb[IFLA_VXLAN_UDP_ZERO_CSUM6_TX], 0);
	ret->vxlan.udp_zero_csum6_rx = get_u8(tb[IFLA_VXLAN_UDP_ZERO_CSUM6_RX], 0);
}

int rtnl_decode_link(const struct nlmsghdr *nlh, struct link *ret)
{
	const struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *ifi = open_message(nlh, sizeof(*ifi), tb, IFLA_MAX);
	struct link l = {0};

	if (!ifi)
		return -EBADMSG;
	l.ifindex = ifi->ifi_index;
	l.type = ifi->ifi_type;
	l.flags = ifi->ifi_flags;
	get_str(tb[IFLA_IFNAME], l.name, sizeof(l.name));
	get_str(tb[IFLA_IFALIAS], l.alias, sizeof(l.alias));
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == sizeof(l.mac))
		memcpy(l.mac, mnl_attr_get_payload(tb[IFLA_ADDRESS]), sizeof(l.mac));
	l.mtu = get_u32(tb[IFLA_MTU], 0);
	l.master = get_u32(tb[IFLA_MASTER], 0);
	l.group = get_u32(tb[IFLA_GROUP], 0);
	l.peer_ifindex = get_u32(tb[IFLA_LINK], 0);
	l.peer_netnsid = get_u32(tb[IFLA_LINK_NETNSID], -1);
	if (tb[IFLA_LINKINFO]) {
		if (nested(tb[IFLA_LINKINFO], info, IFLA_INFO_MAX) < 0)
			return -EBADMSG;
		get_str(info[IFLA_INFO_KIND], l.kind, sizeof(l.kind));
		if (streq(l.kind, "vxlan"))
			decode_vxlan(info[IFLA_INFO_DATA], &l);
	}
	*ret = l;
	return 0;
}

int rtnl_decode_addr(const struct nlmsghdr *nlh, struct link_addr *ret)
{
	const struct nlattr *tb[IFA_MAX + 1], *which;
	const struct ifaddrmsg *ifa = open_message(nlh, sizeof(*ifa), tb, IFA_MAX);
	struct prefix net;
	struct link_addr a = {0};

	if (!ifa)
		return -EBADMSG;
	which = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	if (!which || get_prefix(which, ifa->ifa_family, ifa->ifa_prefixlen, &net) < 0 ||
	    get_addr(which, ifa->ifa_family, &a.addr) < 0)
		return -EBADMSG;
	a.ifindex = ifa->ifa_index;
	a.len = net.len;
	a.scope = ifa->ifa_scope;
	a.flags = get_u32(tb[IFA_FLAGS], ifa->ifa_flags);
	*ret = a;
	return 0;
}

static int decode_encap(const struct nlattr *data, const struct nlattr *type, struct route_encap *ret)
{
	const struct nlattr *tb[LWTUNNEL_IP_MAX + 1];
	struct addr any = prefix_any(AF_INET).addr;
	uint16_t kind = get_u16(type);
	uint64_t id = 0;

	if (kind != LWTUNNEL_ENCAP_IP && kind != LWTUNNEL_ENCAP_IP6)
		return 0;
	/* LWTUNNEL_IP6_* have the same numbers */
	if (nested(data, tb, LWTUNNEL_IP_MAX) < 0)
		return -EBADMSG;
	if (has(tb[LWTUNNEL_IP_ID], sizeof(id)))
		memcpy(&id, mnl_attr_get_payload(tb[LWTUNNEL_IP_ID]), sizeof(id));
	ret->id = __builtin_bswap64(id);
	ret->ttl = get_u8(tb[LWTUNNEL_IP_TTL], 0);
	ret->tos = get_u8(tb[LWTUNNEL_IP_TOS], 0);
	ret->flags = ntohs(get_u16(tb[LWTUNNEL_IP_FLAGS]));
	if (get_addr(tb[LWTUNNEL_IP_DST], kind == LWTUNNEL_ENCAP_IP ? AF_INET : AF_INET6, &ret->dst) < 0)
		return -EBADMSG;
	if (get_addr(tb[LWTUNNEL_IP_SRC], kind == LWTUNNEL_ENCAP_IP ? AF_INET : AF_INET6, &ret->src) < 0)
		return -EBADMSG;
	if (addr_eq(&ret->src, &any)) /* how the kernel says "not said" */
		ret->src = (struct addr){0};
	return 0;
}

/* Several hops may leave by one link. */
static void add_oif(struct route_hops *hops, uint32_t oif)
{
	for (size_t i = 0; i < hops->n; i++)
		if (hops->oifs[i] == oif)
			return;
	if (hops->n < ROUTE_HOPS_MAX)
		hops->oifs[hops->n++] = oif;
}

/* The first hop of a multipath route into @r, and how many there are; the links of all into @hops, which may be NULL. */
static int decode_multipath(const struct nlattr *a, int family, struct route *r, struct route_hops *hops)
{
	size_t len = mnl_attr_get_payload_len(a);
	const char *p = mnl_attr_get_payload(a);

	while (len >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const struct rtnexthop *)p;
		const struct nlattr *tb[RTA_MAX + 1];
		size_t step = MNL_ALIGN(hop->rtnh_len);

		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > len ||
		    rtnl_attrs(p + sizeof(*hop), hop->rtnh_len - sizeof(*hop), tb, RTA_MAX) < 0)
			return -EBADMSG;
		if (r->nexthops == 0) {
			r->oif = hop->rtnh_ifindex;
			r->onlink = hop->rtnh_flags & RTNH_F_ONLINK;
			if (get_addr(tb[RTA_GATEWAY], family, &r->via) < 0)
				return -EBADMSG;
		}
		r->nexthops += r->nexthops < UINT8_MAX;
		if (hops)
			add_oif(hops, hop->rtnh_ifindex);
		if (step >= len)
			return 0;
		p += step;
		len -= step;
	}
	return len == 0 ? 0 : -EBADMSG;
}

/* The next hop of an IPv4 route that is an IPv6 address. */
static int decode_via(const struct nlattr *a, struct route *r)
{
	const struct rtvia *via = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a);

	if (len != sizeof(*via) + sizeof(r->via) || via->rtvia_family != AF_INET6)
		return -EBADMSG;
	memcpy(&r->via, via->rtvia_addr, sizeof(r->via));
	return 0;
}

static int decode_metrics(const struct nlattr *a, struct route *r)
{
	const struct nlattr *tb[RTAX_MAX + 1];

	if (nested(a, tb, RTAX_MAX) < 0)
		return -EBADMSG;
	r->mtu = get_u32(tb[RTAX_MTU], 0);
	return 0;
}

static int decode_route(const struct nlmsghdr *nlh, struct route *ret, struct route_hops *hops)
{
	const struct nlattr *tb[RTA_MAX + 1];
	const struct rtmsg *rtm = open_message(nlh, sizeof(*rtm), tb, RTA_MAX);
	struct route r = {0};
	int family;

	if (!rtm || get_prefix(tb[RTA_DST], rtm->rtm_family, rtm->rtm_dst_len, &r.dst) < 0)
		return -EBADMSG;
	family = rtm->rtm_family;
	r.table = get_u32(tb[RTA_TABLE], rtm->rtm_table);
	r.metric = get_u32(tb[RTA_PRIORITY], 0);
	r.oif = get_u32(tb[RTA_OIF], 0);
	r.proto = rtm->rtm_protocol;
	r.type = rtm->rtm_type;
	r.scope = rtm->rtm_scope;
	r.onlink = rtm->rtm_flags & RTNH_F_ONLINK;
	r.lwt = get_u16(tb[RTA_ENCAP_TYPE]);
	if (get_addr(tb[RTA_GATEWAY], family, &r.via) < 0 || get_addr(tb[RTA_PREFSRC], family, &r.src) < 0 ||
	    (tb[RTA_VIA] && decode_via(tb[RTA_VIA], &r) < 0) || (tb[RTA_METRICS] && decode_metrics(tb[RTA_METRICS], &r) < 0) ||
	    (tb[RTA_ENCAP] && decode_encap(tb[RTA_ENCAP], tb[RTA_ENCAP_TYPE], &r.encap) < 0) ||
	    (tb[RTA_MULTIPATH] && decode_multipath(tb[RTA_MULTIPATH], family, &r, hops) < 0))
		return -EBADMSG;
	r.nexthops = MAX(r.nexthops, 1);
	*ret = r;
	return 0;
}

int rtnl_decode_route(const struct nlmsghdr *nlh, struct route *ret)
{
	return decode_route(nlh, ret, NULL);
}

int rtnl_decode_hops(const struct nlmsghdr *nlh, struct route_hops *ret)
{
	struct route_hops h = {0};
	int r = decode_route(nlh, &h.route, &h);

	if (r < 0)
		return r;
	if (h.n == 0 && h.route.oif)
		add_oif(&h, h.route.oif);
	*ret = h;
	return 0;
}

/* One port; a range is none that we write, and equals nothing of ours. */
static uint16_t get_port(const struct nlattr *a)
{
	struct fib_rule_port_range range;

	if (!a || mnl_attr_get_payload_len(a) != sizeof(range))
		return 0;
	memcpy(&range, mnl_attr_get_payload(a), sizeof(range));
	return range.start == range.end ? range.start : UINT16_MAX;
}

int rtnl_decode_rule(const struct nlmsghdr *nlh, struct rule *ret)
{
	const struct nlattr *tb[FRA_MAX + 1];
	const struct fib_rule_hdr *h = open_message(nlh, sizeof(*h), tb, FRA_MAX);
	struct rule r = {0};

	if (!h || get_prefix(tb[FRA_SRC], h->family, h->src_len, &r.from) < 0 ||
	    get_prefix(tb[FRA_DST], h->family, h->dst_len, &r.to) < 0)
		return -EBADMSG;
	r.family = h->family;
	r.action = h->action;
	r.priority = get_u32(tb[FRA_PRIORITY], 0);
	r.table = get_u32(tb[FRA_TABLE], h->table);
	r.proto = get_u8(tb[FRA_PROTOCOL], 0);
	r.ip_proto = get_u8(tb[FRA_IP_PROTO], 0);
	r.dport = get_port(tb[FRA_DPORT_RANGE]);
	*ret = r;
	return 0;
}

int rtnl_decode_neigh(const struct nlmsghdr *nlh, struct neigh *ret)
{
	const struct nlattr *tb[NDA_MAX + 1];
	const struct ndmsg *ndm = open_message(nlh, sizeof(*ndm), tb, NDA_MAX);
	struct neigh n = {0};

	if (!ndm || (ndm->ndm_family != AF_INET && ndm->ndm_family != AF_INET6) || !tb[NDA_DST] ||
	    get_addr(tb[NDA_DST], ndm->ndm_family, &n.addr) < 0)
		return -EBADMSG;
	n.ifindex = ndm->ndm_ifindex;
	n.state = ndm->ndm_state;
	n.flags = ndm->ndm_flags;
	n.proto = get_u8(tb[NDA_PROTOCOL], 0);
	if (tb[NDA_LLADDR] && mnl_attr_get_payload_len(tb[NDA_LLADDR]) == sizeof(n.mac))
		memcpy(n.mac, mnl_attr_get_payload(tb[NDA_LLADDR]), sizeof(n.mac));
	*ret = n;
	return 0;
}

/* Bridges speak of their ports and forwarding entries in the same messages: those are not about links and neighbours.
 */
static bool is_of_a_bridge(const struct nlmsghdr *nlh)
{
	return nlh->nlmsg_len > MNL_NLMSG_HDRLEN && *(const uint8_t *)mnl_nlmsg_get_payload(nlh) == AF_BRIDGE;
}

static bool is_cached_route(const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	return nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(*rtm) &&
	       (rtm->rtm_flags & RTM_F_CLONED || (rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6));
}

static int decode_tc(const struct nlmsghdr *nlh, struct rtnl_event *ret)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*tc))
		return -EBADMSG;
	ret->tc.ifindex = tc->tcm_ifindex;
	return 0;
}

static int32_t netconf_value(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(int32_t) ? (int32_t)mnl_attr_get_u32(attr)
									 : NETCONF_UNSAID;
}

static int decode_netconf(const struct nlmsghdr *nlh, struct netconf *ret)
{
	const struct netconfmsg *ncm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[NETCONFA_MAX + 1];
	size_t skip = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(*ncm));

	if (nlh->nlmsg_len < skip || rtnl_attrs((const char *)nlh + skip, nlh->nlmsg_len - skip, tb, NETCONFA_MAX) < 0 ||
	    !tb[NETCONFA_IFINDEX] || mnl_attr_get_payload_len(tb[NETCONFA_IFINDEX]) < sizeof(int32_t))
		return -EBADMSG;
	*ret = (struct netconf){.family = ncm->ncm_family,
				.ifindex = (int32_t)mnl_attr_get_u32(tb[NETCONFA_IFINDEX]),
				.forwarding = netconf_value(tb[NETCONFA_FORWARDING]),
				.rp_filter = netconf_value(tb[NETCONFA_RP_FILTER])};
	return 0;
}

int rtnl_event_decode(const struct nlmsghdr *nlh, struct rtnl_event *ret)
{
	struct rtnl_event ev = {0};
	int r;

	if (is_of_a_bridge(nlh))
		return 0;
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		ev.type = RTNL_EVENT_LINK;
		r = rtnl_decode_link(nlh, &ev.link);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		ev.type = RTNL_EVENT_ADDR;
		r = rtnl_decode_addr(nlh, &ev.addr);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (is_cached_route(nlh))
			return 0;
		ev.type = RTNL_EVENT_ROUTE;
		r = rtnl_decode_route(nlh, &ev.route);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		ev.type = RTNL_EVENT_RULE;
		r = rtnl_decode_rule(nlh, &ev.rule);
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		ev.type = RTNL_EVENT_NEIGH;
		r = rtnl_decode_neigh(nlh, &ev.neigh);
		break;
	case RTM_NEWQDISC:
	case RTM_DELQDISC:
	case RTM_NEWTFILTER:
	case RTM_DELTFILTER:
		ev.type = RTNL_EVENT_TC;
		r = decode_tc(nlh, &ev);
		break;
	case RTM_NEWNETCONF:
	case RTM_DELNETCONF:
		ev.type = RTNL_EVENT_NETCONF;
		r = decode_netconf(nlh, &ev.netconf);
		break;
	default:
		return 0;
	}
	if (r < 0)
		return r;
	/* in each family of messages NEW is a multiple of four and DEL the next */
	ev.gone = (nlh->nlmsg_type & 3) == (RTM_DELLINK & 3);
	*ret = ev;
	return 1;
}

static void describe_link(const struct link *l, char *out, size_t size)
{
	char name[IF_NAMESIZE * 4];

	str_escape(name, sizeof(name), l->name);
	if (l->name[0])
		snprintf(out, size, "link %s", name);
	else
		snprintf(out, size, "link %u", l->ifindex);
}

static void describe_event(const struct rtnl_event *ev, char *out, size_t size)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

	switch (ev->type) {
	case RTNL_EVENT_LINK:
		describe_link(&ev->link, out, size);
		break;
	case RTNL_EVENT_ADDR:
		snprintf(out, size, "address %s on link %u", addr_format(&ev->addr.addr, text), ev->addr.ifindex);
		break;
	case RTNL_EVENT_ROUTE:
		snprintf(out, size, "route %s table %u dev %u", prefix_format(&ev->route.dst, text), ev->route.table,
			 ev->route.oif);
		break;
	case RTNL_EVENT_RULE:
		snprintf(out, size, "rule %u from %s to %s lookup %u", ev->rule.priority,
			 prefix_format(&ev->rule.from, text), prefix_format(&ev->rule.to, other), ev->rule.table);
		break;
	case RTNL_EVENT_NEIGH:
		snprintf(out, size, "neighbour %s on link %u", addr_format(&ev->neigh.addr, text), ev->neigh.ifindex);
		break;
	case RTNL_EVENT_TC:
		snprintf(out, size, "traffic control of link %u", ev->tc.ifindex);
		break;
	case RTNL_EVENT_NETCONF:
		snprintf(out, size, "sysctls of link %d", ev->netconf.ifindex);
		break;
	case RTNL_EVENT_RESYNC:
		break;
	}
}

void rtnl_describe(const struct nlmsghdr *nlh, char *out, size_t size)
{
	struct rtnl_event ev;
	struct link l;

	if (nlh->nlmsg_flags & NLM_F_DUMP && nlh->nlmsg_type >= RTM_BASE &&
	    (nlh->nlmsg_type & 3) == (RTM_GETLINK & 3)) {
		static const char *const what[] = {"links", "addresses", "routes", "neighbours", "rules"};
		unsigned i = (nlh->nlmsg_type - RTM_BASE) / 4;

		snprintf(out, size, "list of %s", i < 4 ? what[i] : what[4]);
	} else if ((nlh->nlmsg_type == RTM_GETLINK || nlh->nlmsg_type == RTM_SETLINK) &&
		   rtnl_decode_link(nlh, &l) == 0) {
		describe_link(&l, out, size);
	} else if (rtnl_event_decode(nlh, &ev) > 0) {
		describe_event(&ev, out, size);
	} else {
		snprintf(out, size, "request of type %u", nlh->nlmsg_type);
	}
}
