/* SPDX-License-Identifier: Apache-2.0 */
#include "net/xfrm.h"
#include "net/nl_query.h"

#include <errno.h>
#include <linux/xfrm.h>
#include <sys/socket.h>
#include <unistd.h>

static int look_at_policy(const struct nlmsghdr *nlh, void *ctx)
{
	const struct xfrm_userpolicy_info *policy = mnl_nlmsg_get_payload(nlh);
	bool *found = ctx;

	if (nlh->nlmsg_type == XFRM_MSG_NEWPOLICY && nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(*policy))
		*found |= policy->dir == XFRM_POLICY_OUT || policy->dir == XFRM_POLICY_IN;
	return 0;
}

int xfrm_has_policy(bool *ret)
{
	_cleanup_close_ int fd = nl_query_open(NETLINK_XFRM, 0);
	struct xfrm_userpolicy_id all = {0};
	bool found = false;
	int r;

	if (fd == -EPROTONOSUPPORT) {
		*ret = false;
		return 0;
	}
	r = fd < 0 ? fd : nl_query_ask(fd, XFRM_MSG_GETPOLICY, NLM_F_DUMP, &all, sizeof(all));
	if (r == 0)
		r = nl_query_read(fd, look_at_policy, &found);
	if (r < 0)
		return r;
	*ret = found;
	return 0;
}

int xfrm_monitor_open(void)
{
	_cleanup_close_ int fd = nl_query_open(NETLINK_XFRM, SOCK_NONBLOCK);
	int group = XFRMNLGRP_POLICY;

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return take_fd(fd);
}

void xfrm_monitor_drain(int fd)
{
	char buf[32 * 1024];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == EINTR || errno == ENOBUFS)
		;
}
