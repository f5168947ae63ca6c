/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of iptables before nf_tables ("legacy"): they can only be had whole. */
#pragma once

#include "base/macro.h"

#include <linux/netfilter_ipv4/ip_tables.h>

/* Both families have the same calls and, but for the rules themselves, the same layout. */
struct xtables {
	struct ipt_getinfo info;
	struct ipt_get_entries *entries; /* of info.size bytes */
};

/**
 * xtables_read() - a table of one family
 * @family: AF_INET or AF_INET6
 *
 * It is not brought into being by asking for it. Return: 0, and free(@ret->entries) is up to the caller; -ENOENT; -errno.
 */
int xtables_read(int family, const char *table, struct xtables *ret);
