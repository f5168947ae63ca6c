/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the firewall share: firewall.c decides what has to stand in a chain, the others find chains and change them. */
#pragma once

#include "agent/firewall.h"

#define FIREWALL_MARK "weft: " /* how comments of our rules begin */
#define FIREWALL_OURS "weft"   /* and the names of pods' interfaces and of the devices between nodes */

enum { FIREWALL_RULES_MAX = 64 };

/* A rule of ours, wanted or found. What it says follows from its comment. */
struct firewall_accept {
	char comment[32];
	const char *in, *out;
	uint16_t udp_port;
	uint64_t handle; /* where it was found in nf_tables */
};

struct firewall_accepts {
	struct firewall_accept list[FIREWALL_RULES_MAX];
	size_t n;
};

/* How far a look at everything has come. */
struct firewall_look {
	const struct firewall_wants *wants;
	unsigned held, made;
	char *warning;
};

/* Notes what a comment says. Others' comments are passed over. */
void firewall_add(struct firewall_accepts *to, const char *comment, uint64_t handle);

/* The ways to change one chain. Return: 0, -errno. */
struct firewall_chain_ops {
	int (*put)(const void *chain, const struct firewall_accept *a);
	int (*drop)(const void *chain, const struct firewall_accept *a);
};

/**
 * firewall_settle_chain() - make a chain hold what is wanted, and nothing else of ours
 * @name: for people
 * @hook: NF_INET_FORWARD or NF_INET_LOCAL_IN
 * @drops: what no rule of it accepts
 * @found: what there is of ours
 */
void firewall_settle_chain(struct firewall_look *l, const struct firewall_chain_ops *ops, const void *chain, const char *name, uint32_t hook,
			   bool drops, const struct firewall_accepts *found);

/* firewall_nft.c, firewall_legacy.c: all chains of the one kind and of the other. */
void firewall_settle_nft(struct firewall_look *l);
void firewall_settle_legacy(struct firewall_look *l);
