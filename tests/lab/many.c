/* SPDX-License-Identifier: Apache-2.0 */
/* lab-many: very many UDP conversations with one end, each from a port of its own.
 *
 *	lab-many serve PORT				answers everything; at the end "conversations N clashes M addresses K"
 *	lab-many send ADDRESS PORT FIRST COUNT TAG	from ports FIRST…; prints "answered N lost M"
 *	lab-many quit PORT				ends the server of this host
 *
 * A datagram is the sender's tag and port; the server notes which of them came from which (translated) port. One port that
 * two of them came from is a clash. */
#include "base/str.h"
#include "net/addr.h"

#include <err.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum { PORTS = 65536, AT_ONCE = 128, RESEND_MS = 200, TRIES = 15 };

struct message {
	uint32_t tag, port;
};

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t n;

	if (parse_u64(text, max, &n) < 0)
		errx(2, "%s: expected a number up to %llu", text, (unsigned long long)max);
	return n;
}

static int serve(uint16_t port)
{
	static struct message seen[PORTS];
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) }, from;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 32 << 20;
	unsigned conversations = 0, clashes = 0, addresses = 0;
	struct in6_addr last = {};
	struct message m;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		err(1, "port %u", port);
	puts("serving");
	fflush(stdout);
	for (;;) {
		socklen_t len = sizeof(from);
		struct message *known;

		if (recvfrom(fd, &m, sizeof(m), 0, (struct sockaddr *)&from, &len) != sizeof(m))
			continue;
		if (m.tag == 0)
			break;
		known = &seen[ntohs(from.sin6_port)];
		conversations += known->tag == 0;
		clashes += known->tag && (known->tag != m.tag || known->port != m.port);
		*known = m;
		addresses += memcmp(&last, &from.sin6_addr, sizeof(last)) != 0;
		last = from.sin6_addr;
		sendto(fd, &m, sizeof(m), 0, (struct sockaddr *)&from, len);
	}
	printf("conversations %u clashes %u addresses %u\n", conversations, clashes, addresses);
	return 0;
}

static int open_from(const struct addr *to, uint16_t port, uint16_t own)
{
	struct sockaddr_storage ss, any = { .ss_family = addr_family(to) };
	socklen_t len = addr_to_sockaddr(to, port, &ss);
	int fd = socket(addr_family(to), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	((struct sockaddr_in *)&any)->sin_port = htons(own); /* at the same place in both families */
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, len) < 0 || connect(fd, (struct sockaddr *)&ss, len) < 0)
		err(1, "port %u", own);
	return fd;
}

/* A batch of ports. Return: how many were answered. */
static unsigned converse(const struct addr *to, uint16_t port, uint16_t first, unsigned n, uint32_t tag)
{
	struct pollfd fds[AT_ONCE];
	unsigned answered = 0;

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){ open_from(to, port, first + i), POLLIN, 0 };
	for (int try = 0; try < TRIES && answered < n; try++) {
		for (unsigned i = 0; i < n; i++) {
			struct message m = { tag, first + i };

			if (fds[i].fd >= 0 && send(fds[i].fd, &m, sizeof(m), 0) < 0 && errno != ECONNREFUSED)
				err(1, "send");
		}
		while (answered < n && poll(fds, n, RESEND_MS) > 0)
			for (unsigned i = 0; i < n; i++) {
				struct message m;

				if (fds[i].fd < 0 || !fds[i].revents || recv(fds[i].fd, &m, sizeof(m), 0) != sizeof(m))
					continue;
				if (m.tag != tag || m.port != first + i)
					errx(1, "port %u got the answer of port %u, tag %u", first + i, m.port, m.tag);
				close(fds[i].fd);
				fds[i].fd = -1;
				answered++;
			}
	}
	for (unsigned i = 0; i < n; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	return answered;
}

static int send_all(const char *address, uint16_t port, uint16_t first, unsigned count, uint32_t tag)
{
	unsigned answered = 0, n;
	struct addr to;

	if (addr_parse(address, &to) < 0)
		errx(2, "%s: expected an address", address);
	for (unsigned i = 0; i < count; i += n) {
		n = MIN(count - i, (unsigned)AT_ONCE);
		answered += converse(&to, port, first + i, n, tag);
	}
	printf("answered %u lost %u\n", answered, count - answered);
	return answered == count ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && streq(argv[1], "serve"))
		return serve(number(argv[2], PORTS - 1));
	if (argc == 7 && streq(argv[1], "send"))
		return send_all(argv[2], number(argv[3], PORTS - 1), number(argv[4], PORTS - 1), number(argv[5], PORTS),
				number(argv[6], UINT32_MAX));
	if (argc == 3 && streq(argv[1], "quit")) {
		struct addr self = {};
		struct message m = {};

		addr_parse("::1", &self);
		return send(open_from(&self, number(argv[2], PORTS - 1), 0), &m, sizeof(m), 0) == sizeof(m) ? 0 : 1;
	}
	errx(2, "usage: lab-many serve PORT | send ADDRESS PORT FIRST COUNT TAG | quit PORT");
}
