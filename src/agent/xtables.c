/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/xtables.h"
#include "base/file.h"
#include "base/str.h"

#include <linux/netfilter_ipv6/ip6_tables.h>

enum { TABLE_MAX = 64 << 20, NAMES_MAX = 4096 };

static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo) && IPT_SO_GET_INFO == IP6T_SO_GET_INFO, "one layout");
static_assert(sizeof(struct ipt_get_entries) == sizeof(struct ip6t_get_entries) && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES, "one layout");

/* Asking for a table that is not there would make it: so only those that /proc names are asked for. */
static int find_table(int family, const char *table)
{
	_cleanup_free_ char *names = NULL;
	int r = file_read(family == AF_INET ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names", NAMES_MAX, &names, NULL);

	for (char *rest = names, *name; r == 0 && (name = strsep(&rest, "\n"));)
		if (streq(name, table))
			return 0;
	return r < 0 ? r : -ENOENT;
}

int xtables_read(int family, const char *table, struct xtables *ret)
{
	int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, r = find_table(family, table);
	_cleanup_free_ struct ipt_get_entries *e = NULL;
	_cleanup_close_ int fd = -1;
	struct ipt_getinfo info = { 0 };
	socklen_t len = sizeof(info);

	if (r < 0)
		return r;
	fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	snprintf(info.name, sizeof(info.name), "%s", table);
	if (fd < 0 || getsockopt(fd, level, IPT_SO_GET_INFO, &info, &len) < 0)
		return -errno;
	if (info.size > TABLE_MAX)
		return -E2BIG;
	len = sizeof(*e) + info.size;
	e = xcalloc(1, len);
	snprintf(e->name, sizeof(e->name), "%s", table);
	e->size = info.size;
	if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, e, &len) < 0)
		return -errno;
	*ret = (struct xtables){ .info = info, .entries = take_ptr(e) };
	return 0;
}
