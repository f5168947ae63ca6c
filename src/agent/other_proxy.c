/* SPDX-License-Identifier: Apache-2.0 */
/* Asked for by name, so that what it costs does not grow with the number of Services; but for the tables of old, which can only be
 * had whole. kube-proxy leaves its chains behind when it ends: who removes it for good calls `kube-proxy --cleanup`. */
#include "agent/other_proxy.h"
#include "agent/xtables.h"
#include "base/str.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define CHAIN "KUBE-SERVICES"

/* ---- nf_tables ---- */

/* What tells nothing but that somebody is short of something, or not allowed to ask. */
static bool is_no_answer(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EPERM || error == EACCES || error == EINTR;
}

static int found_or(int error)
{
	return is_no_answer(error) ? -error : 0;
}

static int nft_ask(struct mnl_socket *s, struct nlmsghdr *nlh)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	const struct nlmsghdr *answer = (const struct nlmsghdr *)buf;
	ssize_t n;

	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(s, nlh, nlh->nlmsg_len) < 0)
		return found_or(errno);
	n = mnl_socket_recvfrom(s, buf, sizeof(buf)); /* the thing itself, or an error */
	if (n < 0)
		return found_or(errno);
	if (n < (ssize_t)sizeof(*answer) || answer->nlmsg_type != NLMSG_ERROR)
		return n >= (ssize_t)sizeof(*answer);
	if (n < (ssize_t)(NLMSG_HDRLEN + sizeof(struct nlmsgerr)))
		return 0;
	return found_or(-((const struct nlmsgerr *)mnl_nlmsg_get_payload(answer))->error);
}

/* Return: 1 when there is such a table, or, with a name of one, such a chain in it; 0; -errno when nobody could say. What this kernel
 * has not got is not there. */
static int nft_has(uint8_t family, const char *table, const char *chain)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int r;

	if (!s)
		return found_or(errno);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | (chain ? NFT_MSG_GETCHAIN : NFT_MSG_GETTABLE);
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, chain ? NFTA_CHAIN_TABLE : NFTA_TABLE_NAME, table);
	if (chain)
		mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, chain);
	r = nft_ask(s, nlh);
	mnl_socket_close(s);
	return r;
}

/* ---- the tables of old ---- */

/* A chain's name stands in its first entry, padded with zeros; a jump to it has only its place. */
static int legacy_has(int family)
{
	_cleanup_free_ struct ipt_get_entries *e = NULL;
	struct xtables x;
	int r = xtables_read(family, "nat", &x);

	if (r < 0)
		return found_or(-r);
	e = x.entries;
	return memmem(e->entrytable, x.info.size, CHAIN, sizeof(CHAIN)) != NULL;
}

/* ---- all ---- */

static const struct place {
	const char *name, *table, *chain; /* no table: of old */
} places[] = {
	{ "the nftables table kube-proxy", "kube-proxy", NULL },
	{ "the chain " CHAIN " of iptables (nf_tables)", "nat", CHAIN },
	{ "the chain " CHAIN " of iptables (legacy)", NULL, CHAIN },
};

static int look(const struct place *p, bool v6)
{
	return p->table ? nft_has(v6 ? NFPROTO_IPV6 : NFPROTO_IPV4, p->table, p->chain) : legacy_has(v6 ? AF_INET6 : AF_INET);
}

int other_proxy_find(const char **ret)
{
	int unknown = 0;

	*ret = NULL;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(places); i++) {
		int r = look(&places[i / 2], i & 1);

		if (r > 0) {
			*ret = places[i / 2].name;
			return 0;
		}
		if (r < 0)
			unknown = r;
	}
	return unknown;
}
