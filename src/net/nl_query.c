/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nl_query.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { RECV_SIZE = 32 * 1024, TIMEOUT_S = 5 };

int nl_query_open(int protocol, int flags)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	struct timeval patience = {.tv_sec = TIMEOUT_S};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, protocol);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return take_fd(fd);
}

int nl_query_ask(int fd, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char request[MNL_NLMSG_HDRLEN + NL_QUERY_MAX] __attribute__((aligned(NLMSG_ALIGNTO))) = {0};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(request);

	assert(size <= NL_QUERY_MAX);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	if (size)
		memcpy(mnl_nlmsg_put_extra_header(nlh, size), body, size);
	return sendto(fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

/* Return: 1 the answer has ended, 0 it goes on, -errno. */
static int look_at(const struct nlmsghdr *nlh, nl_answer_fn *fn, void *ctx)
{
	int error;

	if (nlh->nlmsg_type == NLMSG_DONE)
		return 1;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		error = nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(error) ? -EBADMSG : *(const int *)mnl_nlmsg_get_payload(nlh);
		return error > 0 ? -EBADMSG : error ? error : 1;
	}
	return fn ? fn(nlh, ctx) : 0;
}

int nl_query_feed(const void *buf, size_t size, nl_answer_fn *fn, void *ctx)
{
	int r = 0, left = size;

	for (const struct nlmsghdr *nlh = buf; r == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		r = look_at(nlh, fn, ctx);
	return r;
}

int nl_query_read(int fd, nl_answer_fn *fn, void *ctx)
{
	char buf[RECV_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = 0;

	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		r = nl_query_feed(buf, n, fn, ctx);
	}
	return r < 0 ? r : 0;
}
