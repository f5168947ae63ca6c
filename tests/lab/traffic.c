/* SPDX-License-Identifier: Apache-2.0 */
/* lab-traffic: steady traffic whose every loss is seen.
 *
 *	lab-traffic serve PORT                          echoes datagrams and TCP bytes until its standard input ends
 *	lab-traffic run ADDRESS PORT PPS CONNECTIONS    sends until its standard input ends, then waits for stragglers
 *
 * Both print one line of JSON at their end. `run` numbers datagrams (64 bytes) and counts which of them came back; each TCP
 * connection sends 32 bytes every 100 ms and checks what comes back. Datagrams that a receiver had no room for
 * are counted apart: they were delivered, so they are no loss of the network. */
#include "base/str.h"
#include "net/addr.h"

#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

enum { CONNECTIONS_MAX = 4096, UDP_SIZE = 64, TCP_SIZE = 32, TICKS_A_SECOND = 1000, TCP_PERIOD_TICKS = 100, OWED_TICKS_MAX = 200, STRAGGLERS_MS = 3000,
       SEQ_MAX = 1 << 26 };

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "lab-traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int udp_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 64 << 20;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		die("socket");
	return fd;
}

/* How many datagrams there was no room for at this socket. */
static uint32_t overflow_of(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
		die("SO_MEMINFO");
	return info[SK_MEMINFO_DROPS];
}

static bool input_ended(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char c[64];

	return poll(&p, 1, 0) > 0 && read(0, c, sizeof(c)) <= 0;
}

/* --- serve --- */

static void echo_datagrams(int fd, uint64_t *count, uint64_t *unsent)
{
	struct sockaddr_storage from;
	char data[2048];
	socklen_t len;
	ssize_t n;

	for (int i = 0; i < 256 && (len = sizeof(from), n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &len)) >= 0; i++) {
		++*count;
		if (sendto(fd, data, n, 0, (struct sockaddr *)&from, len) != n)
			++*unsent;
	}
}

static void echo_stream(int ep, int fd, uint64_t *errors)
{
	char data[4096];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0 && send(fd, data, n, MSG_NOSIGNAL) == n)
		return;
	*errors += n != 0;
	epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

static void watch(int ep, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll");
}

static int serve(uint16_t port)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int ep = epoll_create1(EPOLL_CLOEXEC), udp = udp_socket(AF_INET6), one = 1;
	int tcp = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	uint64_t count = 0, unsent = 0, errors = 0;
	struct epoll_event e[64];

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(tcp, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)); /* several share more connections than one may have files */
	setsockopt(udp, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(udp, (struct sockaddr *)&sa, sizeof(sa)) < 0 || bind(tcp, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(tcp, 4096) < 0)
		die("bind");
	watch(ep, udp);
	watch(ep, tcp);
	watch(ep, 0);
	puts("listening");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, e, ARRAY_SIZE(e), -1);

		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;

			if (fd == 0 && input_ended()) {
				printf("{\"datagrams\": %llu, \"unsent\": %llu, \"overflow\": %u, \"tcp_errors\": %llu}\n", (unsigned long long)count,
				       (unsigned long long)unsent, overflow_of(udp), (unsigned long long)errors);
				return 0;
			}
			if (fd == udp)
				echo_datagrams(udp, &count, &unsent);
			else if (fd == tcp)
				watch(ep, accept4(tcp, NULL, NULL, SOCK_CLOEXEC));
			else if (fd != 0)
				echo_stream(ep, fd, &errors);
		}
	}
}

/* --- run --- */

struct conn {
	int fd;
	uint64_t sent, received;
};

static struct conn *conns;
static size_t n_conns;
static uint8_t *seen; /* a bit a datagram */
static uint64_t sent, received, twice, unsent, resets, wrong, tcp_sent, tcp_received;

static void connect_all(const struct addr *a, uint16_t port, int ep)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, port, &sa);
	int one = 1;

	conns = xnew0_array(struct conn, n_conns + 1);
	for (size_t i = 0; i < n_conns; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.u64 = i + 1 };

		conns[i].fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *)&sa, len) < 0)
			die("connect");
		setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &e) < 0)
			die("epoll");
	}
}

static uint8_t byte_at(uint64_t position)
{
	return position * 31 + (position >> 8);
}

static void conn_failed(struct conn *c)
{
	resets++;
	c->fd = close_fd(c->fd);
}

static void conn_send(struct conn *c)
{
	uint8_t data[TCP_SIZE];

	for (int i = 0; i < TCP_SIZE; i++)
		data[i] = byte_at(c->sent + i);
	if (send(c->fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(data)) {
		conn_failed(c);
		return;
	}
	c->sent += sizeof(data);
	tcp_sent += sizeof(data);
}

static void conn_receive(struct conn *c)
{
	uint8_t data[4096];
	ssize_t n = c->fd < 0 ? -1 : recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

	if (c->fd < 0 || (n < 0 && errno == EAGAIN))
		return;
	if (n <= 0) {
		conn_failed(c);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		wrong += data[i] != byte_at(c->received + i);
	c->received += n;
	tcp_received += n;
}

static void datagram_send(int fd)
{
	uint64_t data[UDP_SIZE / 8] = { sent };

	if (sent >= SEQ_MAX)
		return;
	if (send(fd, data, sizeof(data), MSG_DONTWAIT) != sizeof(data))
		unsent++; /* not on the wire: no loss, but the caller wants none */
	sent++;
}

static void datagrams_receive(int fd)
{
	uint64_t data[UDP_SIZE / 8];

	for (int i = 0; i < 256 && recv(fd, data, sizeof(data), MSG_DONTWAIT) == sizeof(data); i++) {
		if (data[0] >= sent)
			continue;
		if (seen[data[0] / 8] & (1 << data[0] % 8))
			twice++;
		seen[data[0] / 8] |= 1 << data[0] % 8;
		received++;
	}
}

static uint64_t count_missing(uint64_t *ret_first)
{
	uint64_t missing = 0;

	for (uint64_t i = 0; i < sent; i++)
		if (!(seen[i / 8] & (1 << i % 8)) && missing++ == 0)
			*ret_first = i;
	return missing;
}

/* Catches up when the machine was busy, so that the rate is the mean rate; but who only sent would never hear the answers, and a machine
 * that is too slow for the rate is not to be buried in what it owes. */
static void on_tick(int udp, uint64_t ticks, uint64_t before, unsigned pps)
{
	static uint64_t owed;

	owed = MIN(owed + (ticks - before) * pps, (uint64_t)pps * OWED_TICKS_MAX);
	for (unsigned n = 1; owed >= TICKS_A_SECOND; owed -= TICKS_A_SECOND, n++) {
		datagram_send(udp);
		if (n % 64 == 0)
			datagrams_receive(udp);
	}
	for (uint64_t t = before; t < ticks; t++) /* a hundredth of the connections a tick: no bursts */
		for (size_t i = t % TCP_PERIOD_TICKS; i < n_conns; i += TCP_PERIOD_TICKS)
			if (conns[i].fd >= 0)
				conn_send(&conns[i]);
}

static void loop(int ep, int udp, int timer, unsigned pps)
{
	int64_t end = INT64_MAX, started = now_ms();
	uint64_t ticks = 0, expired;
	struct epoll_event e[64];

	while (now_ms() < end) {
		int n = epoll_wait(ep, e, ARRAY_SIZE(e), 100);

		for (int i = 0; i < n; i++) {
			if (e[i].data.u64 == 0)
				datagrams_receive(udp);
			else if (e[i].data.u64 <= n_conns)
				conn_receive(&conns[e[i].data.u64 - 1]);
			else if (read(timer, &expired, sizeof(expired)) == sizeof(expired) && end == INT64_MAX) {
				on_tick(udp, ticks + expired, ticks, pps);
				ticks += expired;
			}
		}
		if (end == INT64_MAX && input_ended())
			end = now_ms() + STRAGGLERS_MS;
		if (end != INT64_MAX && received == sent - unsent && tcp_received == tcp_sent)
			break;
	}
	fprintf(stderr, "lab-traffic: ran %.1f s\n", (now_ms() - started) / 1000.0);
}

static int run(const struct addr *a, uint16_t port, unsigned pps)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), udp = udp_socket(addr_family(a)), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct itimerspec every = { .it_interval = { .tv_nsec = 1000000000 / TICKS_A_SECOND }, .it_value = { .tv_nsec = 1000000 } };
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0 }, t = { .events = EPOLLIN, .data.u64 = n_conns + 1 };
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, port, &sa);
	uint64_t missing, first = 0;

	seen = xcalloc(SEQ_MAX / 8, 1);
	connect_all(a, port, ep);
	if (connect(udp, (struct sockaddr *)&sa, len) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, udp, &e) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, timer, &t) < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
		die("start");
	puts("running");
	fflush(stdout);
	loop(ep, udp, timer, pps);
	missing = count_missing(&first) - unsent;
	printf("{\"sent\": %llu, \"received\": %llu, \"lost\": %llu, \"first_lost\": %llu, \"twice\": %llu, \"unsent\": %llu, \"overflow\": %u, "
	       "\"connections\": %zu, \"resets\": %llu, \"tcp_sent\": %llu, \"tcp_received\": %llu, \"tcp_wrong\": %llu}\n",
	       (unsigned long long)sent, (unsigned long long)received, (unsigned long long)missing, (unsigned long long)first,
	       (unsigned long long)twice, (unsigned long long)unsent, overflow_of(udp), n_conns, (unsigned long long)resets,
	       (unsigned long long)tcp_sent, (unsigned long long)tcp_received, (unsigned long long)wrong);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t port, pps, n;
	struct addr a;

	if (argc == 3 && streq(argv[1], "serve") && parse_u64(argv[2], 65535, &port) == 0)
		return serve(port);
	if (argc == 6 && streq(argv[1], "run") && addr_parse(argv[2], &a) == 0 && parse_u64(argv[3], 65535, &port) == 0 &&
	    parse_u64(argv[4], 1000000, &pps) == 0 && parse_u64(argv[5], CONNECTIONS_MAX, &n) == 0) {
		n_conns = n;
		return run(&a, port, pps);
	}
	fputs("usage: lab-traffic serve PORT | lab-traffic run ADDRESS PORT PPS CONNECTIONS\n", stderr);
	return 2;
}
