/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of rtnl: the socket's half and the messages' half. */
#pragma once

#include "net/rtnl.h"
#include "net/rtnl_monitor.h"

#include <libmnl/libmnl.h>

/* Begins a request in @nl's message buffer: netlink header and a zeroed family header of @size bytes. */
struct nlmsghdr *rtnl_msg(struct rtnl *nl, uint16_t type, uint16_t flags, size_t size, void *ret_header);
/* Sends the request begun last (or queues it in a batch) and waits for its answer. */
int rtnl_change(struct rtnl *nl);

/* What the kernel was not asked for, and why: the next text of rtnl_error_text(). Return: @r. */
int rtnl_fail(struct rtnl *nl, int r, const char *why);

/* A decoder's verdict: 1 take it into the list, 0 leave it, -EBADMSG. */
typedef int rtnl_decode_fn(const struct nlmsghdr *nlh, void *ret_item, const void *filter);

/* Sends the request begun last as a dump and decodes every answer into an array of @size-byte items. */
int rtnl_dump(struct rtnl *nl, rtnl_decode_fn *decode, const void *filter, size_t size, void *ret_items, size_t *ret_n);
/* Sends the request begun last and decodes its one answer. */
int rtnl_query(struct rtnl *nl, rtnl_decode_fn *decode, void *ret_item);

/* Attributes of a message or of a nested attribute by type; types above @max are left out. Return: 0, -EBADMSG. */
int rtnl_attrs(const void *data, size_t len, const struct nlattr **ret_tb, unsigned max);

void rtnl_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct addr *a);

int rtnl_decode_link(const struct nlmsghdr *nlh, struct link *ret);
int rtnl_decode_addr(const struct nlmsghdr *nlh, struct link_addr *ret);
int rtnl_decode_route(const struct nlmsghdr *nlh, struct route *ret);
enum { ROUTE_HOPS_MAX = 32 };
/* A route with the links of all its next hops, each once; those beyond the first ROUTE_HOPS_MAX are left out. */
struct route_hops {
	struct route route;
	uint32_t oifs[ROUTE_HOPS_MAX];
	size_t n;
};
int rtnl_decode_hops(const struct nlmsghdr *nlh, struct route_hops *ret);
int rtnl_decode_rule(const struct nlmsghdr *nlh, struct rule *ret);
int rtnl_decode_neigh(const struct nlmsghdr *nlh, struct neigh *ret);
/* "route 10.0.0.0/24", "link weft0": what a request is about, for error texts. */
void rtnl_describe(const struct nlmsghdr *nlh, char *out, size_t size);
