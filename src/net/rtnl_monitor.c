/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rtnl_internal.h"

enum {
	RECV_SIZE = 64 * 1024,
	DEFAULT_RCVBUF = 8 << 20,
	READS_A_TURN = 64, /* so that a storm of events does not starve the loop's other sources */
};

struct rtnl_monitor {
	int fd;
	sd_event_source *io;
	rtnl_event_fn *fn;
	void *ctx;
	char buf[RECV_SIZE];
};

static void resync(struct rtnl_monitor *m)
{
	struct rtnl_event ev = {.type = RTNL_EVENT_RESYNC};

	m->fn(&ev, m->ctx);
}

static void on_datagram(struct rtnl_monitor *m, size_t n)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)m->buf;
	int left = n;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		struct rtnl_event ev;
		int r = rtnl_event_decode(nlh, &ev);

		if (r > 0)
			m->fn(&ev, m->ctx);
		else if (r < 0)
			resync(m);
	}
	if (left > 0)
		resync(m);
}

/* Return: 1 something was read, 0 nothing is there. */
static int receive(struct rtnl_monitor *m)
{
	struct sockaddr_nl from = {0};
	struct iovec iov = {.iov_base = m->buf, .iov_len = sizeof(m->buf)};
	struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(m->fd, &msg, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 || msg.msg_flags & MSG_TRUNC)
		resync(m); /* ENOBUFS above all */
	else if (from.nl_pid == 0)
		on_datagram(m, n);
	return 1;
}

static int on_readable(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *ctx)
{
	for (int i = 0; i < READS_A_TURN; i++)
		if (receive(ctx) == 0)
			break;
	return 0;
}

static int join_groups(int fd, unsigned types)
{
	static const struct {
		enum rtnl_event_type type;
		int group;
	} groups[] = {
	    {RTNL_EVENT_LINK, RTNLGRP_LINK},	    {RTNL_EVENT_ADDR, RTNLGRP_IPV4_IFADDR},
	    {RTNL_EVENT_ADDR, RTNLGRP_IPV6_IFADDR}, {RTNL_EVENT_ROUTE, RTNLGRP_IPV4_ROUTE},
	    {RTNL_EVENT_ROUTE, RTNLGRP_IPV6_ROUTE}, {RTNL_EVENT_RULE, RTNLGRP_IPV4_RULE},
	    {RTNL_EVENT_RULE, RTNLGRP_IPV6_RULE},   {RTNL_EVENT_NEIGH, RTNLGRP_NEIGH},
	    {RTNL_EVENT_TC, RTNLGRP_TC},	    {RTNL_EVENT_NETCONF, RTNLGRP_IPV4_NETCONF},
	    {RTNL_EVENT_NETCONF, RTNLGRP_IPV6_NETCONF},
	};

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (types & 1u << groups[i].type &&
		    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i].group, sizeof(int)) < 0)
			return -errno;
	return 0;
}

static int open_monitor(unsigned types, size_t rcvbuf)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int size = rcvbuf ? rcvbuf : DEFAULT_RCVBUF, r;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
		return -errno;
	r = join_groups(fd, types);
	return r < 0 ? r : take_fd(fd);
}

int rtnl_monitor_new(sd_event *event, unsigned types, size_t rcvbuf, rtnl_event_fn *fn, void *ctx,
		     struct rtnl_monitor **ret)
{
	_cleanup_(rtnl_monitor_freep) struct rtnl_monitor *m = xnew0(struct rtnl_monitor);
	int r;

	m->fn = fn;
	m->ctx = ctx;
	m->fd = open_monitor(types, rcvbuf);
	if (m->fd < 0)
		return m->fd;
	r = sd_event_add_io(event, &m->io, m->fd, EPOLLIN, on_readable, m);
	if (r < 0)
		return r;
	*ret = take_ptr(m);
	return 0;
}

struct rtnl_monitor *rtnl_monitor_free(struct rtnl_monitor *m)
{
	if (!m)
		return NULL;
	sd_event_source_disable_unref(m->io);
	close_fd(m->fd);
	free(m);
	return NULL;
}
