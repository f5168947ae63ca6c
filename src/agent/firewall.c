/* SPDX-License-Identifier: Apache-2.0 */
/* Base chains of nf_tables on the forward hook, and the FORWARD chain of legacy iptables: whose policy is drop? Neither
 * is changed: what to allow there is the administrator's choice, who is told by `weft status`. */
#include "agent/node.h"
#include "agent/xtables.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

struct chain {
	char family[16], table[64], name[64];
	bool forward, drop;
};

static int on_hook_attr(const struct nlattr *attr, void *ctx)
{
	struct chain *c = ctx;

	if (mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
		c->forward = ntohl(mnl_attr_get_u32(attr)) == NF_INET_FORWARD;
	return MNL_CB_OK;
}

static void copy_name(char *to, size_t size, const struct nlattr *attr)
{
	if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
		str_escape(to, size, mnl_attr_get_str(attr));
}

static int on_chain_attr(const struct nlattr *attr, void *ctx)
{
	struct chain *c = ctx;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_CHAIN_TABLE:
		copy_name(c->table, sizeof(c->table), attr);
		break;
	case NFTA_CHAIN_NAME:
		copy_name(c->name, sizeof(c->name), attr);
		break;
	case NFTA_CHAIN_HOOK:
		mnl_attr_parse_nested(attr, on_hook_attr, c);
		break;
	case NFTA_CHAIN_POLICY:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			c->drop = ntohl(mnl_attr_get_u32(attr)) == NF_DROP;
		break;
	}
	return MNL_CB_OK;
}

static int on_chain(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	struct chain c = {0}, *found = ctx;

	mnl_attr_parse(nlh, sizeof(*nfg), on_chain_attr, &c);
	if (!c.forward || !c.drop || found->drop)
		return MNL_CB_OK;
	snprintf(c.family, sizeof(c.family), "%s",
		 nfg->nfgen_family == NFPROTO_INET   ? "inet"
		 : nfg->nfgen_family == NFPROTO_IPV6 ? "ip6"
						     : "ip");
	*found = c;
	return MNL_CB_OK;
}

/* Lists the base chains of one family; what cannot be listed is not there (no nf_tables in this kernel). */
static void look_at_nft(uint8_t family, struct chain *found)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	ssize_t n;

	if (!s)
		return;
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(s, nlh, nlh->nlmsg_len) >= 0) {
		do
			n = mnl_socket_recvfrom(s, buf, sizeof(buf));
		while (n > 0 && mnl_cb_run(buf, n, 1, mnl_socket_get_portid(s), on_chain, found) > 0);
	}
	mnl_socket_close(s);
}

/* What the FORWARD chain does at its end is its last rule. */
static bool legacy_drops(int family)
{
	size_t rule = family == AF_INET ? sizeof(struct ipt_entry) : sizeof(struct ip6t_entry);
	_cleanup_free_ struct ipt_get_entries *e = NULL;
	const struct xt_standard_target *t;
	const char *policy;
	struct xtables x;
	uint16_t target;

	if (xtables_read(family, "filter", &x) < 0)
		return false;
	e = x.entries;
	if (x.info.underflow[NF_INET_FORWARD] + rule + sizeof(*t) > x.info.size)
		return false;
	policy = (const char *)e->entrytable + x.info.underflow[NF_INET_FORWARD];
	target = family == AF_INET ? ((const struct ipt_entry *)policy)->target_offset : ((const struct ip6t_entry *)policy)->target_offset;
	t = (const void *)(policy + rule);
	return target == rule && t->verdict == -NF_DROP - 1;
}

char *firewall_warning(void)
{
	static const uint8_t families[] = {NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6};
	struct chain found = {0};

	for (size_t i = 0; i < ARRAY_SIZE(families) && !found.drop; i++)
		look_at_nft(families[i], &found);
	if (found.drop)
		return xasprintf(
		    "the nftables chain %s %s %s drops forwarded packets by default: pods may be cut off where packets "
		    "take the stack; accept the pod ranges there",
		    found.family, found.table, found.name);
	if (legacy_drops(AF_INET))
		return xstrdup("iptables' FORWARD policy is DROP: pods may be cut off where packets take the stack; "
			       "accept the pod "
			       "ranges there");
	if (legacy_drops(AF_INET6))
		return xstrdup("ip6tables' FORWARD policy is DROP: pods may be cut off where packets take the stack; "
			       "accept the pod "
			       "ranges there");
	return NULL;
}
