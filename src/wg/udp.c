/* SPDX-License-Identifier: Apache-2.0 */
/* Port sharing is between our own sockets only: the first one is bound without SO_REUSEPORT, so a port that anybody else
 * has is refused (another instance would otherwise silently get half of the traffic).
 *
 * Local addresses: each message received tells to which of our addresses it came (IP_PKTINFO); answers leave from there.
 * Outer packets may be fragmented, as the kernel's WireGuard does it: path MTU discovery is the inner packets' affair. */
#include "wg/udp.h"

#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_options(int fd, int family)
{
	int r;

	/* Forced past the limit where we may; the kernel's bound else. */
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, UDP_BUFFER) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, UDP_BUFFER);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, UDP_BUFFER) < 0)
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, UDP_BUFFER);
	if (family == AF_INET) {
		r = set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
		if (r == 0)
			r = set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
		if (r == 0)
			r = set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
		return r;
	}
	r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (r == 0)
		r = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (r == 0)
		r = set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	if (r == 0)
		r = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
	return r;
}

static int bind_any(int fd, int family, uint16_t *port)
{
	struct endpoint any = { .to.sa.sa_family = family };
	socklen_t len = endpoint_len(&any);

	any.to.in4.sin_port = htons(*port); /* at the same place for both families */
	if (bind(fd, &any.to.sa, len) < 0 || getsockname(fd, &any.to.sa, &len) < 0)
		return -errno;
	*port = ntohs(any.to.in4.sin_port);
	return 0;
}

/* @port is in and out. @shared: join the sockets that are bound already. */
static int open_one(int family, bool shared, uint32_t fwmark, const struct features *want, uint16_t *port, bool *gro)
{
	_cleanup_close_ int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = set_options(fd, family);
	if (r == 0 && shared)
		r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0)
		r = bind_any(fd, family, port);
	if (r == 0 && !shared)
		r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && fwmark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, fwmark);
	if (r < 0)
		return r;
	*gro = want->udp_gro && set_int(fd, SOL_UDP, UDP_GRO, 1) == 0;
	return take_fd(fd);
}

static bool no_family(int r)
{
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL || r == -EPROTONOSUPPORT;
}

static int open_pair(bool shared, uint32_t fwmark, const struct features *want, uint16_t *port, struct udp *ret)
{
	struct udp u = { .fd4 = -1, .fd6 = -1, .gso = want->udp_gso, .mmsg = want->mmsg };
	bool gro6 = true;

	u.gro = true;
	u.fd4 = open_one(AF_INET, shared, fwmark, want, port, &u.gro);
	if (u.fd4 < 0 && !no_family(u.fd4))
		return u.fd4;
	u.fd6 = open_one(AF_INET6, shared, fwmark, want, port, &gro6);
	if (u.fd6 < 0 && (!no_family(u.fd6) || u.fd4 < 0)) {
		int r = u.fd6;

		close_fd(u.fd4);
		return r;
	}
	u.gro = u.gro && gro6;
	*ret = u;
	return 0;
}

int udp_open(uint16_t port, uint32_t fwmark, const struct features *want, unsigned n, struct udp *ret)
{
	bool chosen = port == 0;
	int r;

	for (int attempt = 0; attempt < 10; attempt++) {
		uint16_t p = port;

		r = open_pair(false, fwmark, want, &p, &ret[0]);
		for (unsigned i = 1; r == 0 && i < n; i++) {
			r = open_pair(true, fwmark, want, &p, &ret[i]);
			if (r < 0) {
				while (i-- > 0)
					udp_close(&ret[i]);
				break;
			}
		}
		if (r == 0)
			return p;
		if (!chosen || r != -EADDRINUSE) /* IPv6 may have the port that IPv4 was given: try another */
			break;
	}
	return r;
}

void udp_close(struct udp *u)
{
	u->fd4 = close_fd(u->fd4);
	u->fd6 = close_fd(u->fd6);
}

int udp_set_mark(const struct udp *u, uint32_t fwmark)
{
	int r = u->fd4 >= 0 ? set_int(u->fd4, SOL_SOCKET, SO_MARK, fwmark) : 0;

	return r == 0 && u->fd6 >= 0 ? set_int(u->fd6, SOL_SOCKET, SO_MARK, fwmark) : r;
}

/* Sending. */

struct send_control {
	_Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)) +
					       CMSG_SPACE(sizeof(uint16_t))];
};

static void add_control(struct msghdr *m, int level, int type, const void *data, size_t n)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(n);
	memcpy(CMSG_DATA(c), data, n);
	m->msg_controllen += CMSG_SPACE(n);
}

static void add_source(struct msghdr *m, const struct endpoint *to)
{
	if (to->to.sa.sa_family == AF_INET) {
		struct in_pktinfo info = { .ipi_spec_dst = to->from4 };

		add_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		/* The interface only where the address means nothing without it. */
		struct in6_pktinfo info = { .ipi6_addr = to->from6,
					    .ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(&to->from6) ? to->from_ifindex : 0 };

		add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

static void fill_message(struct msghdr *m, struct iovec *iov, struct send_control *control, const struct run *run)
{
	bool v4 = run->to.to.sa.sa_family == AF_INET;
	int ds = run->ds, hops = run->hops;

	*iov = (struct iovec){ (void *)run->data, run->len };
	*m = (struct msghdr){ .msg_name = (void *)&run->to.to,
			      .msg_namelen = endpoint_len(&run->to),
			      .msg_iov = iov,
			      .msg_iovlen = 1,
			      .msg_control = control->bytes };
	memset(control, 0, sizeof(*control));
	if (run->to.has_from)
		add_source(m, &run->to);
	if (ds)
		add_control(m, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &ds, sizeof(ds));
	if (hops)
		add_control(m, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_HOPLIMIT, &hops, sizeof(hops));
	if (run->count > 1)
		add_control(m, SOL_UDP, UDP_SEGMENT, &run->segment, sizeof(run->segment));
	if (!m->msg_controllen)
		m->msg_control = NULL;
}

static int fd_for(const struct udp *u, const struct endpoint *to)
{
	return to->to.sa.sa_family == AF_INET ? u->fd4 : to->to.sa.sa_family == AF_INET6 ? u->fd6 : -1;
}

static int send_run(const struct udp *u, const struct run *run)
{
	struct send_control control;
	struct msghdr m;
	struct iovec iov;
	int fd = fd_for(u, &run->to);

	if (fd < 0)
		return -EAFNOSUPPORT;
	fill_message(&m, &iov, &control, run);
	return sendmsg(fd, &m, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static bool source_may_be_wrong(int r)
{
	return r == -EINVAL || r == -ENETUNREACH || r == -EHOSTUNREACH || r == -EADDRNOTAVAIL || r == -ENODEV ||
	       r == -ENXIO;
}

/* What was refused with @error, from wherever routing chooses. @run forgets its source. Return: 0, or the last error. */
static int send_without_source(const struct udp *u, struct run *run, int error)
{
	if (!run->to.has_from || !source_may_be_wrong(error))
		return error;
	run->to.has_from = false;
	if (run->peer)
		peer_forget_source(run->peer);
	return send_run(u, run);
}

/* A run that the kernel did not take whole: one datagram a call. */
static void send_singly(const struct udp *u, const struct run *run, struct data_stats *stats)
{
	struct run one = *run;

	for (uint32_t at = 0; at < run->len; at += run->segment) {
		int r;

		one.data = run->data + at;
		one.len = MIN(run->len - at, (uint32_t)run->segment);
		one.count = 1;
		r = send_run(u, &one);
		if (r < 0)
			r = send_without_source(u, &one, r);
		if (r < 0)
			STAT_ADD(stats, udp_send_errors, 1);
	}
}

/* Whether a run was refused for being one. Older kernels say EINVAL then, which is no word about its source: a single datagram tells. */
static bool is_too_much(const struct run *run, int error)
{
	return run->count > 1 && (error == -EIO || error == -EMSGSIZE || error == -EINVAL || error == -EOPNOTSUPP);
}

static void send_again(struct udp *u, const struct run *run, int error, struct data_stats *stats)
{
	struct run again = *run;

	if (!is_too_much(&again, error))
		error = send_without_source(u, &again, error);
	if (is_too_much(&again, error)) {
		if (error == -EIO) /* no checksum offload below: the kernel will not segment for us */
			atomic_store(&u->gso, false);
		send_singly(u, &again, stats); /* counts what it loses */
	} else if (error < 0) {
		STAT_ADD(stats, udp_send_errors, again.count);
	}
}

/* Runs to one family, as far as the kernel takes them. */
static unsigned send_some(struct udp *u, const struct run *runs, unsigned n, struct data_stats *stats)
{
	struct mmsghdr msgs[RUNS_MAX];
	struct iovec iov[RUNS_MAX];
	struct send_control control[RUNS_MAX];
	int fd = fd_for(u, &runs[0].to), sent;

	for (unsigned i = 0; i < n; i++)
		fill_message(&msgs[i].msg_hdr, &iov[i], &control[i], &runs[i]);
	sent = fd < 0 ? -1 : sendmmsg(fd, msgs, n, MSG_DONTWAIT);
	if (sent <= 0) {
		send_again(u, &runs[0], fd < 0 ? -EAFNOSUPPORT : -errno, stats);
		return 1;
	}
	return sent;
}

void udp_send_runs(struct udp *u, const struct run *runs, unsigned n, struct data_stats *stats)
{
	for (unsigned i = 0; i < n;) {
		unsigned same = 1;

		while (u->mmsg && i + same < n && runs[i + same].to.to.sa.sa_family == runs[i].to.to.sa.sa_family)
			same++;
		if (same == 1) {
			int r = send_run(u, &runs[i]);

			if (r < 0)
				send_again(u, &runs[i], r, stats);
		} else {
			same = send_some(u, runs + i, same, stats);
		}
		for (unsigned k = 0; k < same; k++)
			STAT_ADD(stats, udp_sent, runs[i + k].count);
		STAT_ADD(stats, udp_sends, same);
		i += same;
	}
}

int udp_send_one(struct udp *u, const struct endpoint *to, const void *msg, size_t len, uint8_t ds)
{
	struct run run = { .to = *to, .data = msg, .len = len, .segment = len, .count = 1, .ds = ds };
	int r = send_run(u, &run);

	if (r < 0 && run.to.has_from && source_may_be_wrong(r)) {
		run.to.has_from = false;
		r = send_run(u, &run);
	}
	return r;
}

/* Receiving. */

struct receive_control {
	_Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

void udp_read_control(struct msghdr *m, struct udp_message *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		const uint8_t *data = CMSG_DATA(c);
		size_t n;

		if (c->cmsg_len < CMSG_LEN(0) || (size_t)((uint8_t *)m->msg_control + m->msg_controllen - (uint8_t *)c) < c->cmsg_len)
			return; /* the kernel makes none of these */
		n = c->cmsg_len - CMSG_LEN(0);
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO && n >= sizeof(int)) {
			int segment;

			memcpy(&segment, data, sizeof(segment));
			if (segment > 0)
				msg->segment = segment;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && n >= sizeof(struct in_pktinfo)) {
			struct in_pktinfo info;

			memcpy(&info, data, sizeof(info));
			msg->from.from4 = info.ipi_spec_dst;
			msg->from.from_ifindex = info.ipi_ifindex;
			msg->from.has_from = true;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO && n >= sizeof(struct in6_pktinfo)) {
			struct in6_pktinfo info;

			memcpy(&info, data, sizeof(info));
			msg->from.from6 = info.ipi6_addr;
			msg->from.from_ifindex = info.ipi6_ifindex;
			msg->from.has_from = true;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS && n >= 1) {
			msg->ds = data[0];
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS && n >= sizeof(int)) {
			int tclass;

			memcpy(&tclass, data, sizeof(tclass));
			msg->ds = tclass;
		}
	}
}

/* A scope is part of an address only for link-local ones. */
static void tidy_source(struct endpoint *e)
{
	if (e->to.sa.sa_family == AF_INET6) {
		e->to.in6.sin6_flowinfo = 0;
		if (!IN6_IS_ADDR_LINKLOCAL(&e->to.in6.sin6_addr))
			e->to.in6.sin6_scope_id = 0;
	}
}

int udp_receive(const struct udp *u, int fd, uint8_t *slots, unsigned max, struct udp_message *ret)
{
	struct mmsghdr msgs[UDP_BATCH_MAX];
	struct iovec iov[UDP_BATCH_MAX];
	struct receive_control control[UDP_BATCH_MAX];
	int n;

	max = u->mmsg ? MIN(max, (unsigned)UDP_BATCH_MAX) : 1;
	for (unsigned i = 0; i < max; i++) {
		iov[i] = (struct iovec){ slots + (size_t)i * UDP_SLOT, UDP_SLOT };
		memset(&ret[i].from, 0, sizeof(ret[i].from));
		msgs[i].msg_hdr = (struct msghdr){ .msg_name = &ret[i].from.to,
						   .msg_namelen = sizeof(ret[i].from.to),
						   .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_control = control[i].bytes,
						   .msg_controllen = sizeof(control[i].bytes) };
	}
	if (max == 1) {
		ssize_t len = recvmsg(fd, &msgs[0].msg_hdr, MSG_DONTWAIT);

		msgs[0].msg_len = len < 0 ? 0 : len;
		n = len < 0 ? -1 : 1;
	} else {
		n = recvmmsg(fd, msgs, max, MSG_DONTWAIT, NULL);
	}
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		ret[i].data = iov[i].iov_base;
		ret[i].len = msgs[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : msgs[i].msg_len;
		ret[i].segment = ret[i].len;
		ret[i].ds = 0;
		udp_read_control(&msgs[i].msg_hdr, &ret[i]);
		tidy_source(&ret[i].from);
	}
	return n;
}
