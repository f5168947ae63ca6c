/* SPDX-License-Identifier: Apache-2.0 */
/* One socket a port. The answer leaves from the address that was asked: IPV6_PKTINFO carries it both ways, for IPv4 in
 * its mapped form; an IPv4-only socket uses IP_PKTINFO. */
#include "echo/echo.h"
#include "base/log.h"

struct udp {
	struct watch watch;
	uint16_t port;
};

enum { RECEIVE_BUFFER = 8 << 20, BATCH = 64 };

/* Room for either family's packet information. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* The address asked, as the answer's packet information wants it: no interface, except for link-local addresses. */
static void server_of(struct msghdr *m, uint16_t port, struct sockaddr_storage *ret)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);

	memset(ret, 0, sizeof(*ret));
	if (h && h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo *info = (void *)CMSG_DATA(h);
		struct sockaddr_in6 *sa = (void *)ret;

		*sa = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = info->ipi6_addr };
		if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
			info->ipi6_ifindex = 0;
	} else if (h && h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
		struct in_pktinfo *info = (void *)CMSG_DATA(h);
		struct sockaddr_in *sa = (void *)ret;

		*sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = info->ipi_addr };
		info->ipi_ifindex = 0;
		info->ipi_spec_dst = info->ipi_addr;
	}
}

/* Return: false when there is nothing more to read. */
static bool answer_one(struct udp *u)
{
	union control control;
	struct sockaddr_storage client, server;
	char data[1]; /* what was asked does not matter */
	struct iovec in = { data, sizeof(data) };
	struct msghdr m = { .msg_name = &client, .msg_namelen = sizeof(client), .msg_iov = &in, .msg_iovlen = 1,
			    .msg_control = &control, .msg_controllen = sizeof(control) };
	struct buf b = { 0 };

	if (recvmsg(u->watch.fd, &m, MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED)
			log_debug("cannot receive a datagram", L_ERRNO(errno));
		return errno != EAGAIN;
	}
	server_of(&m, u->port, &server);
	answer_add(&b, (struct sockaddr *)&server, (struct sockaddr *)&client);
	m.msg_iov = &(struct iovec){ b.data, b.len };
	if (sendmsg(u->watch.fd, &m, MSG_DONTWAIT) < 0)
		log_debug("cannot answer a datagram", L_ERRNO(errno)); /* as lost as a datagram can be */
	buf_done(&b);
	return true;
}

static void on_datagram(struct watch *w, uint32_t events _unused_)
{
	struct udp *u = container_of(w, struct udp, watch);

	for (int i = 0; i < BATCH && answer_one(u); i++)
		;
}

int udp_listen(uint16_t port)
{
	struct udp *u = xnew0(struct udp);
	int one = 1, size = RECEIVE_BUFFER, domain, r;
	socklen_t n = sizeof(domain);

	*u = (struct udp){ .watch = { .fd = echo_bind(SOCK_DGRAM, port), .on_ready = on_datagram }, .port = port };
	if (u->watch.fd < 0) {
		r = u->watch.fd;
		free(u);
		return r;
	}
	if (setsockopt(u->watch.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		log_debug("cannot enlarge the receive buffer", L_ERRNO(errno));
	if (getsockopt(u->watch.fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0)
		return -errno;
	r = domain == AF_INET6 ? setsockopt(u->watch.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one))
			       : setsockopt(u->watch.fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	return r < 0 ? -errno : echo_watch(&u->watch, EPOLLIN);
}
