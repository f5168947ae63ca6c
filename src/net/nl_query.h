/* SPDX-License-Identifier: Apache-2.0 */
/* A question to the kernel over netlink, and its answer to the end: for the families that are asked now and then (the routing one has
 * rtnl.h). */
#pragma once

#include "base/macro.h"

#include <libmnl/libmnl.h>

/* A message of the answer. Return: 0 go on, -errno ends the reading. */
typedef int nl_answer_fn(const struct nlmsghdr *nlh, void *ctx);

/* @protocol: NETLINK_*; @flags: SOCK_NONBLOCK or 0. Return: a descriptor whose reading waits five seconds at most, -errno. */
int nl_query_open(int protocol, int flags);
/* @body: the family's own header, may be NULL with @size 0 up to NL_QUERY_MAX. Return: 0, -errno. */
enum { NL_QUERY_MAX = 256 };
int nl_query_ask(int fd, uint16_t type, uint16_t flags, const void *body, size_t size);
/**
 * nl_query_read() - hand the messages of an answer to @fn, until the kernel says that it has ended
 * @fn: NULL when only the end counts
 *
 * Return: 0, the kernel's error, @fn's, -ETIMEDOUT, -EBADMSG.
 */
int nl_query_read(int fd, nl_answer_fn *fn, void *ctx);
/* One reading of it: @buf is aligned as messages are. Return: 1 the answer has ended, 0 it goes on, -errno. */
int nl_query_feed(const void *buf, size_t size, nl_answer_fn *fn, void *ctx);
