/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rtnl_internal.h"

#include <linux/if_link.h>
#include <linux/veth.h>

static bool name_ok(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n > 0 && n < IF_NAMESIZE && !strpbrk(name, "/ :%\n\t") && !streq(name, ".") && !streq(name, "..");
}

static void put_spec(struct nlmsghdr *nlh, const struct link_spec *spec)
{
	mnl_attr_put_strz(nlh, IFLA_IFNAME, spec->name);
	if (spec->mac)
		mnl_attr_put(nlh, IFLA_ADDRESS, 6, spec->mac);
	if (spec->mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, spec->mtu);
	if (spec->master)
		mnl_attr_put_u32(nlh, IFLA_MASTER, spec->master);
	if (spec->group)
		mnl_attr_put_u32(nlh, IFLA_GROUP, spec->group);
	if (spec->netns_fd > 0)
		mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, spec->netns_fd);
}

static void set_up_flag(struct ifinfomsg *ifi, const struct link_spec *spec)
{
	if (spec->up) {
		ifi->ifi_flags = IFF_UP;
		ifi->ifi_change = IFF_UP;
	}
}

static struct nlmsghdr *begin_add(struct rtnl *nl, const struct link_spec *spec)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*ifi), &ifi);

	set_up_flag(ifi, spec);
	put_spec(nlh, spec);
	return nlh;
}

static int finish_add(struct rtnl *nl, const struct link_spec *spec, uint32_t *ret_ifindex)
{
	int r = rtnl_change(nl);
	struct link l;

	if (r < 0 || !ret_ifindex)
		return r;
	r = rtnl_find_link(nl, spec->name, &l);
	if (r == 0)
		*ret_ifindex = l.ifindex;
	return r;
}

/* A veth's end cannot be born up: the kernel configures it before the pair is tied (ENOTCONN). */
static int set_up_by_name(struct rtnl *nl, const char *name)
{
	struct ifinfomsg *ifi;

	mnl_attr_put_strz(rtnl_msg(nl, RTM_SETLINK, 0, sizeof(*ifi), &ifi), IFLA_IFNAME, name);
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	return rtnl_change(nl);
}

int rtnl_add_veth(struct rtnl *nl, const struct link_spec *here, const struct link_spec *peer, uint32_t *ret_ifindex)
{
	struct nlattr *info, *data, *other;
	struct nlmsghdr *nlh;
	int r;

	if (!name_ok(here->name) || !name_ok(peer->name) || (peer->up && peer->netns_fd > 0))
		return -EINVAL;
	nlh = begin_add(nl, here);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	other = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_spec(nlh, peer);
	mnl_attr_nest_end(nlh, other);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	r = finish_add(nl, here, here->netns_fd > 0 ? NULL : ret_ifindex);
	return r == 0 && peer->up ? set_up_by_name(nl, peer->name) : r;
}

int rtnl_add_kind(struct rtnl *nl, const struct link_spec *spec, const char *kind, uint32_t *ret_ifindex)
{
	struct nlmsghdr *nlh;
	struct nlattr *info;

	if (!name_ok(spec->name))
		return -EINVAL;
	nlh = begin_add(nl, spec);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(nlh, info);
	return finish_add(nl, spec, ret_ifindex);
}

int rtnl_add_bridge(struct rtnl *nl, const struct link_spec *spec, uint32_t *ret_ifindex)
{
	return rtnl_add_kind(nl, spec, "bridge", ret_ifindex);
}

int rtnl_add_vxlan(struct rtnl *nl, const struct link_spec *spec, uint16_t port, uint32_t *ret_ifindex)
{
	struct nlattr *info, *data;
	struct nlmsghdr *nlh;

	if (!name_ok(spec->name))
		return -EINVAL;
	nlh = begin_add(nl, spec);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "vxlan");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put_u8(nlh, IFLA_VXLAN_COLLECT_METADATA, 1);
	mnl_attr_put_u8(nlh, IFLA_VXLAN_LEARNING, 0);
	mnl_attr_put_u16(nlh, IFLA_VXLAN_PORT, htons(port));
	mnl_attr_put_u8(nlh, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1);
	mnl_attr_put_u8(nlh, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return finish_add(nl, spec, ret_ifindex);
}

static int take_link(const struct nlmsghdr *nlh, void *ret, const void *filter _unused_)
{
	int r = rtnl_decode_link(nlh, ret);

	return r < 0 ? r : 1;
}

static struct nlmsghdr *begin_get(struct rtnl *nl, uint32_t ifindex)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_GETLINK, 0, sizeof(*ifi), &ifi);

	ifi->ifi_index = ifindex;
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return nlh;
}

int rtnl_find_link(struct rtnl *nl, const char *name, struct link *ret)
{
	if (!name_ok(name))
		return -ENODEV;
	mnl_attr_put_strz(begin_get(nl, 0), IFLA_IFNAME, name);
	return rtnl_query(nl, take_link, ret);
}

int rtnl_get_link(struct rtnl *nl, uint32_t ifindex, struct link *ret)
{
	if (ifindex == 0)
		return -ENODEV;
	begin_get(nl, ifindex);
	return rtnl_query(nl, take_link, ret);
}

int rtnl_list_links(struct rtnl *nl, struct link **ret, size_t *ret_n)
{
	begin_get(nl, 0);
	return rtnl_dump(nl, take_link, NULL, sizeof(**ret), ret, ret_n);
}

static struct nlmsghdr *begin_set(struct rtnl *nl, uint32_t ifindex)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = rtnl_msg(nl, RTM_SETLINK, 0, sizeof(*ifi), &ifi);

	ifi->ifi_index = ifindex;
	return nlh;
}

int rtnl_set_link_flags(struct rtnl *nl, uint32_t ifindex, uint32_t flags, uint32_t mask)
{
	struct ifinfomsg *ifi = mnl_nlmsg_get_payload(begin_set(nl, ifindex));

	ifi->ifi_flags = flags & mask;
	ifi->ifi_change = mask;
	return rtnl_change(nl);
}

int rtnl_set_link_up(struct rtnl *nl, uint32_t ifindex, bool up)
{
	return rtnl_set_link_flags(nl, ifindex, up ? IFF_UP : 0, IFF_UP);
}

int rtnl_set_link_mtu(struct rtnl *nl, uint32_t ifindex, uint32_t mtu)
{
	mnl_attr_put_u32(begin_set(nl, ifindex), IFLA_MTU, mtu);
	return rtnl_change(nl);
}

int rtnl_set_link_mac(struct rtnl *nl, uint32_t ifindex, const uint8_t mac[6])
{
	mnl_attr_put(begin_set(nl, ifindex), IFLA_ADDRESS, 6, mac);
	return rtnl_change(nl);
}

int rtnl_set_link_master(struct rtnl *nl, uint32_t ifindex, uint32_t master)
{
	mnl_attr_put_u32(begin_set(nl, ifindex), IFLA_MASTER, master);
	return rtnl_change(nl);
}

int rtnl_set_link_alias(struct rtnl *nl, uint32_t ifindex, const char *alias)
{
	if (strlen(alias) >= LINK_ALIAS_MAX)
		return -EINVAL;
	mnl_attr_put_strz(begin_set(nl, ifindex), IFLA_IFALIAS, alias);
	return rtnl_change(nl);
}

int rtnl_set_link_name(struct rtnl *nl, uint32_t ifindex, const char *name)
{
	if (!name_ok(name))
		return -EINVAL;
	mnl_attr_put_strz(begin_set(nl, ifindex), IFLA_IFNAME, name);
	return rtnl_change(nl);
}

int rtnl_set_link_group(struct rtnl *nl, uint32_t ifindex, uint32_t group)
{
	mnl_attr_put_u32(begin_set(nl, ifindex), IFLA_GROUP, group);
	return rtnl_change(nl);
}

int rtnl_set_link_addrgen(struct rtnl *nl, uint32_t ifindex, bool on)
{
	struct nlmsghdr *nlh = begin_set(nl, ifindex);
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(nlh, AF_INET6);

	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, on ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
	return rtnl_change(nl);
}

int rtnl_move_link(struct rtnl *nl, uint32_t ifindex, int netns_fd, const char *name)
{
	struct nlmsghdr *nlh;

	if (name && !name_ok(name))
		return -EINVAL;
	nlh = begin_set(nl, ifindex);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, netns_fd);
	if (name)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return rtnl_change(nl);
}

int rtnl_del_link(struct rtnl *nl, uint32_t ifindex)
{
	struct ifinfomsg *ifi;

	if (ifindex == 0)
		return -EINVAL;
	rtnl_msg(nl, RTM_DELLINK, 0, sizeof(*ifi), &ifi);
	ifi->ifi_index = ifindex;
	return rtnl_change(nl);
}

struct grouping {
	int error; /* the first one that is not "no such link" */
};

static void on_not_grouped(size_t number _unused_, int error, const char *text _unused_, void *ctx)
{
	struct grouping *g = ctx;

	if (error != -ENODEV && g->error == 0)
		g->error = error;
}

int rtnl_del_links(struct rtnl *nl, const uint32_t *ifindexes, size_t n, uint32_t group)
{
	struct grouping g = {0};
	struct ifinfomsg *ifi;
	int r;

	if (group == 0) /* everybody's default group: it would take all links away */
		return -EINVAL;
	rtnl_batch(nl);
	for (size_t i = 0; i < n; i++)
		rtnl_set_link_group(nl, ifindexes[i], group);
	r = rtnl_commit(nl, on_not_grouped, &g);
	if (r < 0 && r != -ENODEV && g.error == 0)
		return r;
	mnl_attr_put_u32(rtnl_msg(nl, RTM_DELLINK, 0, sizeof(*ifi), &ifi), IFLA_GROUP, group);
	r = rtnl_change(nl);
	return g.error ? g.error : r;
}
