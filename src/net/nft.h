/* SPDX-License-Identifier: Apache-2.0 */
/* What others have in nf_tables, as far as a node's network has to know: base chains, how they end, and rules of our own in them. In the
 * thread's network namespace. */
#pragma once

#include "base/macro.h"

#include <linux/netfilter/nf_tables.h>

struct nlmsghdr;

struct nft_chain {
	uint8_t family; /* NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 */
	char table[NFT_NAME_MAXLEN], name[NFT_NAME_MAXLEN];
	bool is_base, drops; /* @drops: its policy */
	uint32_t hook;	     /* NF_INET_* of a base chain */
};

struct nft_rule {
	uint64_t handle;
	char comment[64]; /* "" when it has none, or a longer one */
	bool ends_all;	  /* drops or rejects whatever comes to it */
};

/* A rule that accepts: packets that come in by, or leave by, an interface whose name begins so; or UDP to a port. */
struct nft_accept {
	const char *comment; /* by which it is found again */
	const char *in, *out;
	uint16_t udp_port; /* 0: any packet */
};

/* Is there such a table, or, with a name of one, such a chain in it? Return: 1, 0, -ENOENT or what else the kernel says. */
int nft_has(uint8_t family, const char *table, const char *chain);

typedef void nft_chain_fn(const struct nft_chain *c, void *ctx);
/* Base chains of one family; a kernel without nf_tables has none. Return: 0, -errno. */
int nft_each_base_chain(uint8_t family, nft_chain_fn *fn, void *ctx);

typedef void nft_rule_fn(const struct nft_rule *r, void *ctx);
/* A chain's rules, in their order. Return: 0, -errno. */
int nft_each_rule(const struct nft_chain *c, nft_rule_fn *fn, void *ctx);

/* Puts a rule before all others of the chain. Return: 0, -errno. */
int nft_accept_first(const struct nft_chain *c, const struct nft_accept *a);
/* Return: 0, -errno. */
int nft_delete_rule(const struct nft_chain *c, uint64_t handle);

/* A socket that becomes readable when somebody changes nf_tables. Return: a descriptor (non-blocking), -EPROTONOSUPPORT, -errno. */
int nft_monitor_open(void);
/* Takes away what is there to be read: something has changed. */
void nft_monitor_drain(int fd);

/* One message (pure). Return: 0, -ENOMSG of another kind, -EBADMSG. */
int nft_decode_chain(const struct nlmsghdr *nlh, struct nft_chain *ret);
int nft_decode_rule(const struct nlmsghdr *nlh, struct nft_rule *ret);
