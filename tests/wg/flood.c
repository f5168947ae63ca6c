/* SPDX-License-Identifier: Apache-2.0 */
/* A flood of handshake initiations, each with a valid first MAC and otherwise random, each from another address:
 *
 *	wgflood TO PORT PUBLIC-KEY(hex) SOURCES(A.B.0.0 of a local /16) RATE SECONDS
 *
 * Prints how many were sent, how many answers came and the size of the largest. */
#include "base/str.h"
#include "net/addr.h"
#include "wg/cookie.h"

#include <arpa/inet.h>
#include <time.h>

enum { BURST = 64 };

static uint32_t state = 0x9e3779b9;

static uint32_t cheap_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), buf = 8 << 20;
	struct sockaddr_in any = { .sin_family = AF_INET };

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buf, sizeof(buf)) < 0)
		return -1;
	return fd;
}

static void make(struct cookie_maker *maker, struct msg_initiation *m)
{
	uint32_t words[offsetof(struct msg_initiation, macs) / 4];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = cheap_random();
	memcpy(m, words, sizeof(words));
	m->type = htole32(MSG_INITIATION);
	cookie_add_macs(maker, 1, m, sizeof(*m));
}

/* Answers to all of our addresses come to the one socket. */
static unsigned collect(int fd, ssize_t *largest)
{
	unsigned n = 0;
	uint8_t buf[2048];
	ssize_t len;

	while ((len = recv(fd, buf, sizeof(buf), 0)) > 0) {
		*largest = MAX(*largest, len);
		n++;
	}
	return n;
}

static unsigned send_burst(int fd, const struct sockaddr_in *to, struct cookie_maker *maker, uint32_t sources)
{
	static struct msg_initiation msgs[BURST];
	_Alignas(struct cmsghdr) uint8_t control[BURST][CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct mmsghdr headers[BURST];
	struct iovec iov[BURST];
	int sent;

	for (int i = 0; i < BURST; i++) {
		struct in_pktinfo from = { .ipi_spec_dst.s_addr = htonl(sources | (1 + cheap_random() % 65000)) };
		struct cmsghdr *c = (struct cmsghdr *)control[i];

		make(maker, &msgs[i]);
		memset(control[i], 0, sizeof(control[i]));
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(from)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO };
		memcpy(CMSG_DATA(c), &from, sizeof(from));
		iov[i] = (struct iovec){ &msgs[i], sizeof(msgs[i]) };
		headers[i].msg_hdr = (struct msghdr){ .msg_name = (void *)to, .msg_namelen = sizeof(*to), .msg_iov = &iov[i],
						      .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = sizeof(control[i]) };
	}
	sent = sendmmsg(fd, headers, BURST, 0);
	return sent > 0 ? sent : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint64_t port, rate, seconds, sent = 0, answers = 0;
	uint8_t pub[KEY_LEN];
	struct cookie_maker maker;
	struct in_addr sources;
	ssize_t largest = 0;
	double start;
	int fd;

	if (argc != 7 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || parse_u64(argv[2], 65535, &port) < 0 ||
	    strlen(argv[3]) != 2 * KEY_LEN || inet_pton(AF_INET, argv[4], &sources) != 1 ||
	    parse_u64(argv[5], 10000000, &rate) < 0 || parse_u64(argv[6], 3600, &seconds) < 0 || crypto_init() < 0)
		return 2;
	for (int i = 0; i < KEY_LEN; i++) {
		unsigned v;

		if (sscanf(argv[3] + 2 * i, "%2x", &v) != 1)
			return 2;
		pub[i] = v;
	}
	to.sin_port = htons(port);
	cookie_maker_init(&maker, pub);
	fd = open_socket();
	if (fd < 0)
		return 1;
	for (start = now(); now() - start < seconds;) {
		if (sent < (now() - start) * rate)
			sent += send_burst(fd, &to, &maker, ntohl(sources.s_addr));
		else
			usleep(200);
		answers += collect(fd, &largest);
	}
	printf("%llu %llu %zd\n", (unsigned long long)sent, (unsigned long long)answers, largest);
	return 0;
}
