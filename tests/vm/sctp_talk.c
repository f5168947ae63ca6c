/* SPDX-License-Identifier: Apache-2.0 */
/* SCTP by the kernel's own sockets, for guests: whole associations rather than the two packets of tests/lab/sctp.c.
 *
 *	sctp_talk serve ADDRESS PORT		says "ready", then sends back what it gets, one client after another; "from ADDRESS" for each
 *	sctp_talk ask ADDRESS PORT FROM SIZE…	connects from that address, sends a message of each size, wants each
 *						back as it was, ends the association in good order; "answered N" when all was so
 *	sctp_talk sums LINK			what leaves by the link has its checksum, so that whoever translates has to mend it
 *	sctp_talk tags LINK			what comes by the link keeps its tag of a VLAN, so that XDP sees it
 *
 * Who hears nothing for PATIENCE_S fails. */
#include "base/str.h"
#include "net/addr.h"

#include <err.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_S = 60, MESSAGE_MAX = 200000 };

static uint8_t out[MESSAGE_MAX], in[MESSAGE_MAX];

static struct addr address_of(const char *text)
{
	struct addr a;

	if (addr_parse(text, &a) < 0)
		errx(2, "%s: expected an address", text);
	return a;
}

static uint64_t number_of(const char *text, uint64_t max)
{
	uint64_t n;

	if (parse_u64(text, max, &n) < 0)
		errx(2, "%s: expected a number up to %llu", text, (unsigned long long)max);
	return n;
}

/* Bound to one address: the association has no others, of which its first chunk would speak. */
static int socket_at(const struct addr *a, uint16_t port)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(a, port, &sa);
	int fd = socket(addr_family(a), SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);

	if (fd < 0 || bind(fd, (void *)&sa, n) < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		err(1, "SCTP socket");
	return fd;
}

static void send_back(int fd)
{
	ssize_t n;

	while ((n = recv(fd, in, sizeof(in), 0)) > 0)
		if (send(fd, in, n, MSG_NOSIGNAL) != n)
			err(1, "send");
	if (n < 0)
		err(1, "recv");
}

static void serve(const char *address, const char *port)
{
	struct addr a = address_of(address);
	int fd = socket_at(&a, number_of(port, 65535));
	char text[ADDR_TEXT_MAX];

	if (listen(fd, 16) < 0)
		err(1, "listen");
	puts("ready");
	for (;;) {
		struct sockaddr_storage from;
		socklen_t n = sizeof(from);
		uint16_t from_port;
		int peer;

		fflush(stdout);
		peer = accept(fd, (void *)&from, &n);
		if (peer < 0 && errno == EAGAIN)
			continue;
		if (peer < 0 || addr_from_sockaddr((void *)&from, &a, &from_port) < 0)
			err(1, "accept");
		printf("from %s\n", addr_format(&a, text));
		send_back(peer);
		close(peer);
	}
}

static void exchange(int fd, size_t n)
{
	if (send(fd, out, n, 0) != (ssize_t)n)
		err(1, "send %zu", n);
	for (size_t have = 0; have < n;) {
		ssize_t r = recv(fd, in + have, n - have, 0);

		if (r <= 0)
			err(1, "recv: %zu of %zu", have, n);
		have += r;
	}
	if (memcmp(in, out, n) != 0)
		errx(1, "%zu bytes came back changed", n);
}

static void ask(char **args, int n_sizes)
{
	struct addr to = address_of(args[0]), from = address_of(args[2]);
	struct sockaddr_storage sa;
	socklen_t n = addr_to_sockaddr(&to, number_of(args[1], 65535), &sa);
	int fd = socket_at(&from, 0);

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = i * 31 + i / 251;
	if (connect(fd, (void *)&sa, n) < 0)
		err(1, "connect to %s", args[0]);
	for (int i = 0; i < n_sizes; i++)
		exchange(fd, number_of(args[3 + i], sizeof(out)));
	errno = 0;
	if (shutdown(fd, SHUT_WR) < 0)
		err(1, "shutdown");
	if (recv(fd, in, sizeof(in), 0) > 0 || (errno && errno != ENOTCONN)) /* that is: it has ended, unlike ECONNRESET and a time-out */
		err(1, "the end");
	printf("answered %d\n", n_sizes);
}

static void ethtool(const char *link, struct ethtool_value *value)
{
	struct ifreq r = { .ifr_data = (void *)value };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(r.ifr_name, link, sizeof(r.ifr_name) - 1);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &r) < 0)
		err(1, "%s", link);
	close(fd);
}

static void finish_sums(const char *link)
{
	ethtool(link, &(struct ethtool_value){ .cmd = ETHTOOL_STXCSUM });
}

static void keep_tags(const char *link)
{
	struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };

	ethtool(link, &flags);
	flags.cmd = ETHTOOL_SFLAGS;
	flags.data &= ~ETH_FLAG_RXVLAN;
	ethtool(link, &flags);
}

int main(int argc, char **argv)
{
	if (argc == 4 && streq(argv[1], "serve"))
		serve(argv[2], argv[3]);
	else if (argc > 5 && streq(argv[1], "ask"))
		ask(argv + 2, argc - 5);
	else if (argc == 3 && streq(argv[1], "sums"))
		finish_sums(argv[2]);
	else if (argc == 3 && streq(argv[1], "tags"))
		keep_tags(argv[2]);
	else
		errx(2, "usage: sctp_talk serve ADDRESS PORT | ask ADDRESS PORT FROM SIZE… | sums LINK | tags LINK");
	return 0;
}
