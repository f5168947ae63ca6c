/* SPDX-License-Identifier: Apache-2.0 */
/* The chains of nf_tables, by netlink. */
#include "agent/firewall_internal.h"
#include "base/str.h"
#include "net/nft.h"

#include <linux/netfilter.h>

static const struct { uint8_t family; const char *name; } families[] = {
	{ NFPROTO_INET, "inet" }, { NFPROTO_IPV4, "ip" }, { NFPROTO_IPV6, "ip6" } };

static int nft_put(const void *chain, const struct firewall_accept *a)
{
	struct nft_accept rule = { .comment = a->comment, .in = a->in, .out = a->out, .udp_port = a->udp_port };

	return nft_accept_first(chain, &rule);
}

static int nft_drop(const void *chain, const struct firewall_accept *a)
{
	return nft_delete_rule(chain, a->handle);
}

static const struct firewall_chain_ops nft_ops = { nft_put, nft_drop };

struct rules_seen {
	struct firewall_accepts ours;
	bool last_ends_all;
};

static void on_rule(const struct nft_rule *rule, void *ctx)
{
	struct rules_seen *seen = ctx;

	if (str_has_prefix(rule->comment, FIREWALL_MARK))
		firewall_add(&seen->ours, rule->comment, rule->handle);
	seen->last_ends_all = rule->ends_all;
}

static const char *family_name(uint8_t family)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i].family == family)
			return families[i].name;
	return "";
}

/* The chains of one family, gathered: they are not changed while they are listed. */
struct chains {
	struct nft_chain *list;
	size_t n, room;
};

static void on_chain(const struct nft_chain *c, void *ctx)
{
	struct chains *all = ctx;

	if (c->hook != NF_INET_FORWARD && c->hook != NF_INET_LOCAL_IN)
		return;
	GROW(all->list, all->n, all->room);
	all->list[all->n++] = *c;
}

static void settle_nft_chain(struct firewall_look *l, const struct nft_chain *c)
{
	char table[64], name[64];
	_cleanup_free_ char *what = NULL;
	struct rules_seen seen = { 0 };

	if (nft_each_rule(c, on_rule, &seen) < 0) /* gone meanwhile; else the next look tells */
		return;
	str_escape(table, sizeof(table), c->table);
	str_escape(name, sizeof(name), c->name);
	what = xasprintf("the nftables chain %s %s %s", family_name(c->family), table, name);
	firewall_settle_chain(l, &nft_ops, c, what, c->hook, c->drops || seen.last_ends_all, &seen.ours);
}

void firewall_settle_nft(struct firewall_look *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct chains all = { 0 };

		(void)nft_each_base_chain(families[i].family, on_chain, &all); /* what cannot be listed is seen by the next look */
		for (size_t c = 0; c < all.n; c++)
			settle_nft_chain(l, &all.list[c]);
		free(all.list);
	}
}
