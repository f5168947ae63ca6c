/* SPDX-License-Identifier: Apache-2.0 */
#include "net/udp_diag.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <unistd.h>

enum { RECV_SIZE = 32 * 1024, TIMEOUT_S = 5, CONNECTED = 1 /* TCP_ESTABLISHED */ };

struct meant {
	struct inet_diag_req_v2 *list;
	size_t n, cap;
	udp_is_meant_fn *is_meant;
	void *ctx;
};

static int open_socket(void)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	struct timeval patience = {.tv_sec = TIMEOUT_S};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return take_fd(fd);
}

static int ask(int fd, uint16_t type, uint16_t flags, const struct inet_diag_req_v2 *req)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char request[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(*req))] = {0};
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(request);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(*req)), req, sizeof(*req));
	return sendto(fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

static void look_at_socket(const struct inet_diag_msg *s, struct meant *m)
{
	struct udp_peer peer = {.cookie = s->id.idiag_cookie[0] | (uint64_t)s->id.idiag_cookie[1] << 32, .port = ntohs(s->id.idiag_dport)};

	if (addr_from_raw(s->id.idiag_dst, s->idiag_family == AF_INET ? 4 : 16, &peer.addr) < 0 || !m->is_meant(&peer, m->ctx))
		return;
	GROW(m->list, m->n, m->cap);
	m->list[m->n++] = (struct inet_diag_req_v2){.sdiag_family = s->idiag_family, .sdiag_protocol = IPPROTO_UDP, .id = s->id};
}

/* Return: 1 the answer has ended, 0 it goes on, -errno. */
static int look_at(const struct nlmsghdr *nlh, struct meant *m)
{
	if (nlh->nlmsg_type == NLMSG_DONE)
		return 1;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		int error = nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(int) ? -EBADMSG : *(const int *)mnl_nlmsg_get_payload(nlh);

		return error ? error : 1;
	}
	if (m && nlh->nlmsg_type == SOCK_DIAG_BY_FAMILY && nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(struct inet_diag_msg))
		look_at_socket(mnl_nlmsg_get_payload(nlh), m);
	return 0;
}

static int read_answer(int fd, struct meant *m)
{
	char buf[RECV_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = 0;

	while (r == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		int left = n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		for (const struct nlmsghdr *nlh = (const void *)buf; r == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			r = look_at(nlh, m);
	}
	return r < 0 ? r : 0;
}

static int find_meant(int fd, uint8_t family, struct meant *m)
{
	struct inet_diag_req_v2 all = {.sdiag_family = family, .sdiag_protocol = IPPROTO_UDP, .idiag_states = 1 << CONNECTED};
	int r = ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &all);

	return r < 0 ? r : read_answer(fd, m);
}

/* Return: 1, 0 when it has gone by itself, -errno. */
static int abort_one(int fd, const struct inet_diag_req_v2 *s)
{
	int r = ask(fd, SOCK_DESTROY, NLM_F_ACK, s);

	if (r == 0)
		r = read_answer(fd, NULL);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

int udp_abort(udp_is_meant_fn *is_meant, void *ctx)
{
	_cleanup_close_ int fd = open_socket();
	struct meant m = {.is_meant = is_meant, .ctx = ctx};
	int r = fd < 0 ? fd : find_meant(fd, AF_INET, &m), aborted = 0;

	if (r == 0)
		r = find_meant(fd, AF_INET6, &m);
	for (size_t i = 0; i < m.n && r >= 0; i++) {
		r = abort_one(fd, &m.list[i]);
		aborted += r > 0;
	}
	free(m.list);
	return r < 0 ? r : aborted;
}
