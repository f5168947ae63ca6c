/* SPDX-License-Identifier: Apache-2.0 */
/* lab-sctp: answers INIT by INIT-ACK on the given ports, over both families, until its input ends.
 *
 *	lab-sctp PORT...		says "ready" when it serves
 *
 * Each answer bears the tag that the INIT asked for, so whoever asked can tell it from all others. */
#include "base/str.h"
#include "lab/sctp.h"

#include <err.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORTS_MAX = 64 };

static uint16_t ports[PORTS_MAX];
static int n_ports;

static bool is_served(uint16_t port)
{
	for (int i = 0; i < n_ports; i++)
		if (ports[i] == port)
			return true;
	return false;
}

/* One socket for a family. It tells to which of our addresses a packet came: the answer has to come from there. */
static int serve(int family)
{
	int on = 1, fd = socket(family, SOCK_RAW, IPPROTO_SCTP);

	if (fd < 0 || (family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) :
					   setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))) < 0)
		err(1, "socket");
	return fd;
}

/* What came with a packet, as it has to go with the answer: our address, but not by which interface, which the routes know. */
static void turn_round(struct msghdr *m, bool v4)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (v4 && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *i = (struct in_pktinfo *)CMSG_DATA(c);

			i->ipi_spec_dst = i->ipi_addr;
			i->ipi_ifindex = 0;
		} else if (!v4 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
		}
	}
	if (!v4) /* a raw socket takes no port */
		((struct sockaddr_in6 *)m->msg_name)->sin6_port = 0;
}

static void answer(int fd, bool v4)
{
	struct sctp_packet init, ack;
	struct sockaddr_storage from;
	uint8_t data[2048], control[128];
	struct iovec part = { data, sizeof(data) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, 0);
	const uint8_t *p;
	size_t len = n;

	if (n < 0)
		err(1, "recvmsg");
	p = sctp_after_ip(v4, data, &len);
	if (!sctp_is(p, len, SCTP_INIT, &init) || init.tag || !is_served(ntohs(init.dport)))
		return;
	part.iov_base = &ack;
	part.iov_len = sctp_make(&ack, SCTP_INIT_ACK, ntohs(init.dport), ntohs(init.sport), ntohl(init.initiate_tag), 1);
	turn_round(&m, v4);
	if (sendmsg(fd, &m, 0) < 0)
		warn("sendmsg");
}

int main(int argc, char **argv)
{
	struct pollfd fds[3] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = serve(AF_INET), .events = POLLIN },
				 { .fd = serve(AF_INET6), .events = POLLIN } };
	uint64_t port;
	char c;

	for (int i = 1; i < argc; i++) {
		if (n_ports == PORTS_MAX || parse_u64(argv[i], UINT16_MAX, &port) < 0)
			errx(2, "%s: expected at most %d ports", argv[i], PORTS_MAX);
		ports[n_ports++] = port;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(fds, 3, -1) < 0)
			err(1, "poll");
		if (fds[0].revents && read(STDIN_FILENO, &c, 1) <= 0)
			return 0;
		for (int i = 1; i < 3; i++)
			if (fds[i].revents)
				answer(fds[i].fd, i == 1);
	}
}
