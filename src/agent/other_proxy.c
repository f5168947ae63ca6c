/* SPDX-License-Identifier: Apache-2.0 */
/* Asked for by name, so that what it costs does not grow with the number of Services; but for the tables of old, which can only be
 * had whole. kube-proxy leaves its chains behind when it ends: who removes it for good calls `kube-proxy --cleanup`. */
#include "agent/other_proxy.h"
#include "base/file.h"
#include "base/str.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#define CHAIN "KUBE-SERVICES"

enum { TABLE_MAX = 64 << 20 };

/* ---- nf_tables ---- */

/* Return: is there such a table, or, with a name of one, such a chain in it? What this kernel cannot say is not there. */
static bool nft_has(uint8_t family, const char *table, const char *chain)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	bool found = false;
	ssize_t n;

	if (!s)
		return false;
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | (chain ? NFT_MSG_GETCHAIN : NFT_MSG_GETTABLE);
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, chain ? NFTA_CHAIN_TABLE : NFTA_TABLE_NAME, table);
	if (chain)
		mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, chain);
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(s, nlh, nlh->nlmsg_len) >= 0) {
		n = mnl_socket_recvfrom(s, buf, sizeof(buf)); /* the thing itself, or an error */
		found = n >= (ssize_t)sizeof(*nlh) && ((struct nlmsghdr *)buf)->nlmsg_type != NLMSG_ERROR;
	}
	mnl_socket_close(s);
	return found;
}

/* ---- the tables of old: both families have the same calls ---- */

static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo) && IPT_SO_GET_INFO == IP6T_SO_GET_INFO, "one layout");
static_assert(sizeof(struct ipt_get_entries) == sizeof(struct ip6t_get_entries) && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES, "one layout");

/* Asking for a table that is not there would make it: so only those that /proc names are asked for. */
static bool legacy_nat_exists(const char *names_file)
{
	_cleanup_free_ char *names = NULL;

	return file_read(names_file, 4096, &names, NULL) == 0 && (str_has_prefix(names, "nat\n") || strstr(names, "\nnat\n"));
}

/* A chain's name stands in its first entry, padded with zeros; a jump to it has only its place. */
static bool legacy_has(int family, int level, const char *names_file)
{
	struct ipt_getinfo info = {.name = "nat"};
	_cleanup_close_ int fd = legacy_nat_exists(names_file) ? socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW) : -1;
	_cleanup_free_ struct ipt_get_entries *e = NULL;
	socklen_t len = sizeof(info);

	if (fd < 0 || getsockopt(fd, level, IPT_SO_GET_INFO, &info, &len) < 0 || info.size > TABLE_MAX)
		return false;
	len = sizeof(*e) + info.size;
	e = xmalloc(len);
	memset(e, 0, sizeof(*e));
	strcpy(e->name, "nat");
	e->size = info.size;
	return getsockopt(fd, level, IPT_SO_GET_ENTRIES, e, &len) == 0 && memmem(e->entrytable, info.size, CHAIN, sizeof(CHAIN));
}

const char *other_proxy_find(void)
{
	if (nft_has(NFPROTO_IPV4, "kube-proxy", NULL) || nft_has(NFPROTO_IPV6, "kube-proxy", NULL))
		return "the nftables table kube-proxy";
	if (nft_has(NFPROTO_IPV4, "nat", CHAIN) || nft_has(NFPROTO_IPV6, "nat", CHAIN))
		return "the chain " CHAIN " of iptables (nf_tables)";
	if (legacy_has(AF_INET, IPPROTO_IP, "/proc/net/ip_tables_names") || legacy_has(AF_INET6, IPPROTO_IPV6, "/proc/net/ip6_tables_names"))
		return "the chain " CHAIN " of iptables (legacy)";
	return NULL;
}
