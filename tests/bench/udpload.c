/* SPDX-License-Identifier: Apache-2.0 */
/* Small UDP packets at a steady rate, and how many arrive.
 *   udpload send ADDR PORT SIZE RATE SECONDS      bursts of a millisecond; prints how many were sent, and in
 *                                                  how many microseconds: more than asked for when it cannot keep up
 *   udpload recv PORT SECONDS                     counts what arrives within the time, until nothing came for 300 ms */
#include "base/str.h"
#include "net/addr.h"

#include <arpa/inet.h>
#include <poll.h>
#include <time.h>

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static uint64_t number(const char *s)
{
	uint64_t v;

	if (parse_u64(s, 1u << 30, &v) < 0) {
		fprintf(stderr, "udpload: not a number: %s\n", s);
		exit(2);
	}
	return v;
}

static int send_steadily(const char *to, const char *port, size_t size, uint64_t rate, uint64_t seconds)
{
	const int64_t tick = 1000000, start = now_ns();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), buf = 4 << 20;
	struct sockaddr_storage sa;
	struct addr a;
	char data[1500] = { 0 };
	uint64_t sent = 0;

	if (addr_parse(to, &a) < 0 || size > sizeof(data))
		return 2;
	addr_to_sockaddr(&a, number(port), &sa);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)) < 0)
		return 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buf, sizeof(buf));
	for (uint64_t ms = 1; ms <= seconds * 1000; ms++) {
		int64_t at = start + (int64_t)ms * tick;
		struct timespec t = { at / 1000000000, at % 1000000000 };

		for (; sent < rate * ms / 1000; sent++)
			(void)!send(fd, data, size, 0);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
	printf("%llu %lld\n", (unsigned long long)sent, (long long)(now_ns() - start) / 1000);
	return 0;
}

static int receive(const char *port, uint64_t seconds)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), buf = 16 << 20;
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(number(port)) };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct mmsghdr msgs[64] = { 0 };
	struct iovec iov[64];
	static char data[64][1500];
	uint64_t got = 0;
	int64_t end;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		return 1;
	for (int i = 0; i < 64; i++) {
		iov[i] = (struct iovec){ data[i], sizeof(data[i]) };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	printf("ready\n");
	fflush(stdout);
	end = now_ns() + (int64_t)seconds * 1000000000;
	while (now_ns() < end && poll(&p, 1, got ? 300 : 5000) > 0) {
		int n = recvmmsg(fd, msgs, 64, MSG_DONTWAIT, NULL);

		got += n > 0 ? n : 0;
	}
	printf("%llu\n", (unsigned long long)got);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && streq(argv[1], "send"))
		return send_steadily(argv[2], argv[3], number(argv[4]), number(argv[5]), number(argv[6]));
	if (argc == 4 && streq(argv[1], "recv"))
		return receive(argv[2], number(argv[3]));
	fprintf(stderr, "usage: udpload send ADDR PORT SIZE RATE SECONDS | recv PORT SECONDS\n");
	return 2;
}
