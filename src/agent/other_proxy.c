/* SPDX-License-Identifier: Apache-2.0 */
/* Asked for by name, so that what it costs does not grow with the number of Services; but for the tables of old, which can only be
 * had whole. kube-proxy leaves its chains behind when it ends: who removes it for good calls `kube-proxy --cleanup`. */
#include "agent/other_proxy.h"
#include "agent/xtables.h"
#include "base/str.h"
#include "net/nft.h"

#include <linux/netfilter.h>

#define CHAIN "KUBE-SERVICES"

/* What tells nothing but that somebody is short of something, or not allowed to ask. */
static bool is_no_answer(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EPERM || error == EACCES || error == EINTR ||
	       error == ETIMEDOUT;
}

static int found_or(int error)
{
	return is_no_answer(error) ? -error : 0;
}

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

static const struct place {
	const char *name, *table, *chain; /* no table: of old */
} places[] = {
	{ "the nftables table kube-proxy", "kube-proxy", NULL },
	{ "the chain " CHAIN " of iptables (nf_tables)", "nat", CHAIN },
	{ "the chain " CHAIN " of iptables (legacy)", NULL, CHAIN },
};

static int nft_look(const struct place *p, bool v6)
{
	int r = nft_has(v6 ? NFPROTO_IPV6 : NFPROTO_IPV4, p->table, p->chain);

	return r < 0 ? found_or(-r) : r;
}

static int look(const struct place *p, bool v6)
{
	return p->table ? nft_look(p, v6) : legacy_has(v6 ? AF_INET6 : AF_INET);
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
