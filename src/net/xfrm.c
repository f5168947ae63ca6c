/* SPDX-License-Identifier: Apache-2.0 */
#include "net/xfrm.h"
#include "base/macro.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECV_SIZE = 32 * 1024, TIMEOUT_S = 5 };

static int open_socket(int flags)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	struct timeval patience = {.tv_sec = TIMEOUT_S};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_XFRM);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return take_fd(fd);
}

static int ask_for_all(int fd)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char request[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct xfrm_userpolicy_id))] = {0};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(request);

	nlh->nlmsg_type = XFRM_MSG_GETPOLICY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct xfrm_userpolicy_id));
	return sendto(fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

/* Return: 1 the list has ended, 0 it goes on, -errno. */
static int look_at(const struct nlmsghdr *nlh, bool *found)
{
	const struct xfrm_userpolicy_info *policy = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type == NLMSG_DONE)
		return 1;
	if (nlh->nlmsg_type == NLMSG_ERROR)
		return nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(int) ? -EBADMSG : *(const int *)mnl_nlmsg_get_payload(nlh);
	if (nlh->nlmsg_type == XFRM_MSG_NEWPOLICY && nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(*policy))
		*found |= policy->dir == XFRM_POLICY_OUT || policy->dir == XFRM_POLICY_IN;
	return 0;
}

int xfrm_has_policy(bool *ret)
{
	_cleanup_close_ int fd = open_socket(0);
	char buf[RECV_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool found = false;
	int r;

	if (fd == -EPROTONOSUPPORT) {
		*ret = false;
		return 0;
	}
	r = fd < 0 ? fd : ask_for_all(fd);
	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		int left = n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		for (const struct nlmsghdr *nlh = (const void *)buf; r == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			r = look_at(nlh, &found);
	}
	if (r < 0)
		return r;
	*ret = found;
	return 0;
}

int xfrm_monitor_open(void)
{
	_cleanup_close_ int fd = open_socket(SOCK_NONBLOCK);
	int group = XFRMNLGRP_POLICY;

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return take_fd(fd);
}

void xfrm_monitor_drain(int fd)
{
	char buf[RECV_SIZE];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == EINTR || errno == ENOBUFS)
		;
}
