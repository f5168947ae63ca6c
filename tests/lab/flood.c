/* SPDX-License-Identifier: Apache-2.0 */
/* lab-flood: SYNs that nobody waits for, until its input ends; prints how many were sent.
 *
 *	lab-flood SOURCES DESTINATIONS PORT PPS
 *
 * SOURCES and DESTINATIONS are IPv4 prefixes: each SYN comes from any address of the one, and any port, to any address
 *of the other. PORT 0: any. Each has a window of FLOOD_WINDOW bytes, by which a firewall tells them from others. */
#include "../random.h"
#include "base/str.h"
#include "net/addr.h"

#include <arpa/inet.h>
#include <err.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { BATCH_MAX = 512, TICKS_A_SECOND = 500, FLOOD_WINDOW = 1234 };

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
};

static uint32_t sum_of(const void *data, size_t n)
{
	const uint16_t *words = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < n / 2; i++)
		sum += words[i];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static struct prefix prefix4(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, &p, NULL) < 0 || !addr_is_v4(&p.addr))
		errx(2, "%s: expected an IPv4 prefix", text);
	return p;
}

/* Any address of the prefix, in network order. */
static uint32_t any_of(const struct prefix *p)
{
	uint32_t base, hosts = p->len == 128 ? 0 : UINT32_MAX >> (p->len - 96);

	memcpy(&base, p->addr.b + 12, 4);
	return base | htonl(cheap_random() & hosts);
}

/* The kernel fills in the IP header's checksum. */
static void make(struct syn *s, const struct prefix *from, const struct prefix *to, uint16_t port)
{
	*s = (struct syn){
	    .ip = {.version = 4,
		   .ihl = 5,
		   .ttl = 64,
		   .protocol = IPPROTO_TCP,
		   .tot_len = htons(sizeof(*s)),
		   .saddr = any_of(from),
		   .daddr = any_of(to)},
	    .tcp = {.source = htons(1024 + cheap_random() % (65536 - 1024)),
		    .dest = htons(port ? port : 1 + cheap_random() % 65535),
		    .seq = cheap_random(),
		    .doff = 5,
		    .syn = 1,
		    .window = htons(FLOOD_WINDOW)},
	};
	s->tcp.check = fold(sum_of(&s->ip.saddr, 8) + htons(IPPROTO_TCP) + htons(sizeof(s->tcp)) +
			    sum_of(&s->tcp, sizeof(s->tcp)));
}

/* Return: how many the kernel took. What it has no room for, or no route to, is not sent. */
static unsigned send_batch(int fd, struct syn *syns, unsigned n)
{
	struct sockaddr_in to[BATCH_MAX];
	struct mmsghdr messages[BATCH_MAX];
	struct iovec parts[BATCH_MAX];
	unsigned taken = 0;

	for (unsigned i = 0; i < n; i++) {
		to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = syns[i].ip.daddr};
		parts[i] = (struct iovec){&syns[i], sizeof(syns[i])};
		messages[i] = (struct mmsghdr){
		    .msg_hdr = {
			.msg_name = &to[i], .msg_namelen = sizeof(to[i]), .msg_iov = &parts[i], .msg_iovlen = 1}};
	}
	for (unsigned at = 0; at < n;) {
		int r = sendmmsg(fd, messages + at, n - at, 0);

		if (r < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EPERM)
			err(1, "send");
		taken += MAX(r, 0);
		at += r > 0 ? r : 1; /* past the one that was refused */
	}
	return taken;
}

static bool input_ended(void)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	char c[64];

	return poll(&p, 1, 0) > 0 && read(0, c, sizeof(c)) <= 0;
}

int main(int argc, char **argv)
{
	struct itimerspec every = {{.tv_nsec = 1000000000 / TICKS_A_SECOND}, {.tv_nsec = 1}};
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW),
	    timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t port, pps, ticks, sent = 0;
	static struct syn syns[BATCH_MAX];
	struct prefix from, to;

	if (argc != 5 || parse_u64(argv[3], 65535, &port) < 0 ||
	    parse_u64(argv[4], BATCH_MAX * TICKS_A_SECOND, &pps) < 0)
		errx(2, "usage: lab-flood SOURCES DESTINATIONS PORT PPS");
	from = prefix4(argv[1]);
	to = prefix4(argv[2]);
	if (fd < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
		err(1, "start");
	puts("flooding");
	fflush(stdout);
	while (!input_ended() && read(timer, &ticks, sizeof(ticks)) == sizeof(ticks)) {
		unsigned n = MIN(pps * ticks / TICKS_A_SECOND, (uint64_t)BATCH_MAX);

		for (unsigned i = 0; i < n; i++)
			make(&syns[i], &from, &to, port);
		sent += send_batch(fd, syns, n);
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}
