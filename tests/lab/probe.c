/* SPDX-License-Identifier: Apache-2.0 */
/* lab-probe: many reachability checks at once, from wherever it is started.
 *
 * Standard input: a line a check, "PROTOCOL ADDRESS PORT POD CLIENT": PROTOCOL tcp, udp, icmp or sctp; POD is NAMESPACE/NAME as the server's
 * answer must name it; CLIENT is our address as the server must see it; "-" checks neither.
 * An SCTP check is an INIT that lab-sctp answers: nothing in it says who answered.
 * Argument: after how many milliseconds a check fails, 5000 if there is none (what is denied takes that long to say).
 * Standard output: a line for each failed check, "fail LINE: reason", and at the end "ok N failed M".
 *
 * Each check is a small state machine on one epoll instance. Datagrams and echo requests are sent again after a while
 * (the first may wait for a neighbour); a check fails when the time-out is over. */
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "lab/sctp.h"
#include "net/addr.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/epoll.h>
#include <time.h>

enum { AT_ONCE = 128, TIMEOUT_MS = 5000, RESEND_MS = 300, CHECKS_MAX = 20000, SCTP_PORT_MIN = 30000 };

struct check {
	char *line, *protocol, *pod, *client;
	struct addr addr;
	uint16_t port;
	int fd;
	int64_t started, sent;
	struct buf answer;
	bool done;
};

static struct check *checks;
static size_t n_checks, cap_checks, running, next, passed, failed;
static int epoll_fd, timeout_ms = TIMEOUT_MS;
static uint16_t sctp_first_port; /* another in each run, so that each run asks with flows of its own */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void finish(struct check *c, const char *why)
{
	c->fd = close_fd(c->fd);
	buf_done(&c->answer);
	c->done = true;
	running--;
	if (why) {
		failed++;
		printf("fail %s: %s\n", c->line, why);
	} else {
		passed++;
	}
}

static bool is(const struct check *c, const char *protocol)
{
	return streq(c->protocol, protocol);
}

static bool is_raw(const struct check *c)
{
	return is(c, "icmp") || is(c, "sctp");
}

static void judge_answer(struct check *c)
{
	_cleanup_json_ json_t *j = json_parse("answer", c->answer.data, c->answer.len, NULL);
	_cleanup_free_ char *pod = NULL, *why = NULL;
	struct addr client, wanted;
	uint16_t port;

	if (!j) {
		finish(c, "the answer is no JSON");
		return;
	}
	pod = xasprintf("%s/%s", json_str_or(json_at(j, "namespace"), "?"), json_str_or(json_at(j, "pod"), "?"));
	if (!streq(c->pod, "-") && !streq(c->pod, pod))
		why = xasprintf("answered by %s", pod);
	else if (!streq(c->client, "-") &&
		 (addr_parse(c->client, &wanted) < 0 || addr_port_parse(json_str_or(json_at(j, "client"), ""), &client, &port) < 0 ||
		  !addr_eq(&client, &wanted)))
		why = xasprintf("seen as %s", json_str_or(json_at(j, "client"), "?"));
	finish(c, why);
}

static int icmp_request(const struct check *c, uint8_t out[16])
{
	bool v4 = addr_is_v4(&c->addr);
	uint32_t sum = 0;
	uint16_t id = getpid(), seq = c - checks;

	memset(out, 0, 16);
	out[0] = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	out[4] = id >> 8;
	out[5] = id;
	out[6] = seq >> 8;
	out[7] = seq;
	for (int i = 0; i < 16; i += 2)
		sum += out[i] << 8 | out[i + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~(sum + (sum >> 16));
	if (v4) { /* the kernel fills in that of IPv6 */
		out[2] = sum >> 8;
		out[3] = sum;
	}
	return 16;
}

static uint16_t sctp_port(const struct check *c)
{
	return SCTP_PORT_MIN + (sctp_first_port + (c - checks)) % (UINT16_MAX - SCTP_PORT_MIN);
}

/* By which its answer is known. */
static uint32_t sctp_tag(const struct check *c)
{
	return (uint32_t)getpid() << 16 | (uint32_t)(c - checks + 1);
}

static void send_out(struct check *c)
{
	uint8_t data[SCTP_INIT_ACK_LEN] = "probe";
	struct sctp_packet init;
	int n = 1;

	if (is(c, "icmp")) {
		n = icmp_request(c, data);
	} else if (is(c, "sctp")) {
		n = sctp_make(&init, SCTP_INIT, sctp_port(c), c->port, 0, sctp_tag(c));
		memcpy(data, &init, n);
	}
	c->sent = now_ms();
	if (send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && !is_raw(c))
		return; /* a datagram's error comes again on reading, or the time-out says it */
}

static bool is_our_reply(const struct check *c, const uint8_t *p, ssize_t n)
{
	uint16_t id = getpid(), seq = c - checks;

	if (addr_is_v4(&c->addr)) {
		size_t head = n >= 20 ? (p[0] & 15) * 4u : 0;

		if (n < (ssize_t)head + 8 || p[head] != ICMP_ECHOREPLY)
			return false;
		p += head;
	} else if (n < 8 || p[0] != ICMP6_ECHO_REPLY) {
		return false;
	}
	return p[4] == id >> 8 && p[5] == (id & 255) && p[6] == seq >> 8 && p[7] == (seq & 255);
}

static bool is_our_init_ack(const struct check *c, const uint8_t *p, size_t n)
{
	struct sctp_packet ack;

	p = sctp_after_ip(addr_is_v4(&c->addr), p, &n);
	return sctp_is(p, n, SCTP_INIT_ACK, &ack) && ntohl(ack.tag) == sctp_tag(c) && ntohs(ack.sport) == c->port &&
	       ntohs(ack.dport) == sctp_port(c);
}

static void on_raw(struct check *c)
{
	uint8_t data[2048];
	ssize_t n;

	while ((n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT)) > 0)
		if (is(c, "sctp") ? is_our_init_ack(c, data, n) : is_our_reply(c, data, n)) {
			finish(c, NULL);
			return;
		}
}

static void on_ready(struct check *c, uint32_t events)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = c - checks };
	ssize_t n;

	if (is_raw(c)) {
		on_raw(c);
		return;
	}
	if (is(c, "tcp") && (events & EPOLLOUT) && !(events & EPOLLERR)) {
		send_out(c);
		epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
		return;
	}
	n = buf_read_fd(&c->answer, c->fd);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n == -ECONNREFUSED && is(c, "udp"))
		finish(c, "refused");
	else if (n < 0)
		finish(c, strerror(-n));
	else if (n == 0 && !memchr(c->answer.data ? c->answer.data : "", '\n', c->answer.len))
		finish(c, "hung up before it answered");
	else if (memchr(c->answer.data, '\n', c->answer.len))
		judge_answer(c);
}

static int open_socket(const struct check *c)
{
	int family = addr_family(&c->addr);

	if (is(c, "icmp"))
		return socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (is(c, "sctp"))
		return socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_SCTP);
	return socket(family, (is(c, "tcp") ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void start(struct check *c)
{
	struct epoll_event e = { .events = is(c, "tcp") ? EPOLLOUT : EPOLLIN, .data.u64 = c - checks };
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&c->addr, is_raw(c) ? 0 : c->port, &sa);

	running++;
	c->started = now_ms();
	c->fd = open_socket(c);
	c->answer.max = 4096;
	if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)) {
		finish(c, strerror(errno));
		return;
	}
	if (!is(c, "tcp"))
		send_out(c);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) < 0)
		finish(c, strerror(errno));
}

static void on_time(void)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < next; i++) {
		struct check *c = &checks[i];

		if (c->done)
			continue;
		if (now - c->started > timeout_ms)
			finish(c, "no answer");
		else if (!is(c, "tcp") && now - c->sent > RESEND_MS)
			send_out(c);
	}
}

static int read_checks(void)
{
	char line[512], protocol[8], addr[64], pod[330], client[64];
	unsigned port;

	while (fgets(line, sizeof(line), stdin)) {
		struct check c = { .fd = -1 };

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%7s %63s %u %329s %63s", protocol, addr, &port, pod, client) != 5 || port > 65535 ||
		    addr_parse(addr, &c.addr) < 0 ||
		    (!streq(protocol, "tcp") && !streq(protocol, "udp") && !streq(protocol, "icmp") && !streq(protocol, "sctp")) ||
		    n_checks >= CHECKS_MAX) {
			fprintf(stderr, "lab-probe: bad line: %s\n", line);
			return -EINVAL;
		}
		c.line = xstrdup(line);
		c.protocol = xstrdup(protocol);
		c.pod = xstrdup(pod);
		c.client = xstrdup(client);
		c.port = port;
		GROW(checks, n_checks, cap_checks);
		checks[n_checks++] = c;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int64_t looked = 0;
	uint64_t ms;

	if (argc > 1 && parse_u64(argv[1], 60000, &ms) < 0) {
		fputs("lab-probe: the time-out is no number of milliseconds up to 60000\n", stderr);
		return 2;
	}
	if (argc > 1)
		timeout_ms = ms;

	sctp_first_port = now_ms();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || read_checks() < 0)
		return 2;
	while (next < n_checks || running > 0) {
		struct epoll_event e[64];
		int n;

		while (next < n_checks && running < AT_ONCE)
			start(&checks[next++]);
		n = epoll_wait(epoll_fd, e, ARRAY_SIZE(e), 50);
		for (int i = 0; i < n; i++)
			if (!checks[e[i].data.u64].done)
				on_ready(&checks[e[i].data.u64], e[i].events);
		if (now_ms() - looked >= 50) {
			looked = now_ms();
			on_time();
		}
	}
	printf("ok %zu failed %zu\n", passed, failed);
	return failed > 0;
}
