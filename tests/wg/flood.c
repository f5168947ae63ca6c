/* SPDX-License-Identifier: Apache-2.0 */
/* A flood of handshake initiations, each with a valid first MAC and otherwise random, each from another address:
 *
 *	wgflood INTERFACE MAC TO PORT PUBLIC-KEY(hex) SOURCES(A.B.0.0 of a local /16) RATE SECONDS [BURST]
 *
 * A thread sends BURST of them (64) at once, then waits until the rate allows the next: who is to see more than it can answer sees
 * that by the burst, however fast it is.
 * All (of a second at least, or 65,536) are made before it begins: whole frames, so that a packet costs a share of one sendmmsg() and no look-up. Two threads
 * send; one that was kept waiting catches up. Prints how many were sent and in how many microseconds, how many answers came
 * and the size of the largest. */
#include "../random.h"
#include "hex.h"
#include "base/str.h"
#include "net/addr.h"
#include "wg/cookie.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <time.h>

enum { THREADS = 2, FRAMES = 1 << 15, BATCH = 64 };

struct frame {
	struct ether_header eth;
	struct iphdr ip;
	struct udphdr udp;
	struct msg_initiation msg;
} __attribute__((packed));

struct flood {
	struct sockaddr_ll out;
	struct frame *frames; /* @each of every thread */
	unsigned each, burst;
	double rate, seconds; /* of one thread */
};

struct sender {
	const struct flood *flood;
	unsigned id;
	uint64_t sent;
	double ended;
	pthread_t thread;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static uint16_t header_sum(const struct iphdr *ip)
{
	uint16_t words[sizeof(*ip) / 2];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static void fill_message(struct cookie_maker *maker, struct frame *f)
{
	struct msg_initiation m;
	uint32_t words[offsetof(struct msg_initiation, macs) / 4];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = cheap_random();
	memset(&m, 0, sizeof(m));
	memcpy(&m, words, sizeof(words));
	m.type = htole32(MSG_INITIATION);
	cookie_add_macs(maker, 1, &m, sizeof(m));
	memcpy(&f->msg, &m, sizeof(m));
}

/* @like: what all have in common. Without UDP's checksum, as IPv4 allows. */
static struct frame *make_frames(unsigned n, const struct frame *like, const uint8_t pub[static KEY_LEN], uint32_t sources)
{
	struct frame *frames = xcalloc(n, sizeof(*frames));
	struct cookie_maker maker;

	cookie_maker_init(&maker, pub);
	for (unsigned i = 0; i < n; i++) {
		struct iphdr ip = like->ip;

		frames[i] = *like;
		ip.saddr = htonl(sources | (1 + cheap_random() % 65000));
		ip.check = header_sum(&ip);
		frames[i].ip = ip;
		fill_message(&maker, &frames[i]);
	}
	return frames;
}

static void *send_all(void *arg)
{
	struct sender *s = arg;
	const struct flood *f = s->flood;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1, n; /* protocol 0: receives nothing */
	struct mmsghdr headers[BATCH] = {};
	struct iovec iov[BATCH];
	uint64_t burst_end = 0;

	/* Straight to the device: a packet socket's queue has nothing to schedule here. */
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0)
		return NULL;
	for (double start = now(); s->sent < f->rate * f->seconds;) {
		if (s->sent >= burst_end) {
			if (s->sent > (now() - start) * f->rate) {
				usleep(100);
				continue;
			}
			burst_end = s->sent + f->burst;
		}
		for (unsigned i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ &f->frames[s->id * f->each + (s->sent + i) % f->each], sizeof(struct frame) };
			headers[i].msg_hdr = (struct msghdr){ .msg_name = (void *)&f->out,
							      .msg_namelen = sizeof(f->out),
							      .msg_iov = &iov[i],
							      .msg_iovlen = 1 };
		}
		n = sendmmsg(fd, headers, BATCH, 0);
		s->sent += MAX(n, 0);
	}
	s->ended = now();
	close(fd);
	return NULL;
}

/* Answers to all of our addresses come to the one socket. */
static int open_collector(uint16_t *ret_port)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 8 << 20;
	struct timeval patience = { .tv_usec = 100000 };
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -1;
	*ret_port = at.sin_port;
	return fd;
}

/* Return: how many came. Waits 0.1 s for the first. */
static unsigned collect(int fd, unsigned *largest)
{
	static uint8_t bufs[BATCH][2048];
	struct mmsghdr headers[BATCH] = {};
	struct iovec iov[BATCH];
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ bufs[i], sizeof(bufs[i]) };
		headers[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	n = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
	for (int i = 0; i < n; i++)
		*largest = MAX(*largest, headers[i].msg_len);
	return MAX(n, 0);
}

static bool read_mac(const char *text, uint8_t mac[static ETH_ALEN])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == ETH_ALEN;
}

int main(int argc, char **argv)
{
	struct frame like = { .eth.ether_type = htons(ETHERTYPE_IP),
			      .ip = { .version = 4,
				      .ihl = 5,
				      .tot_len = htons(sizeof(like) - sizeof(like.eth)),
				      .ttl = 64,
				      .protocol = IPPROTO_UDP },
			      .udp.len = htons(sizeof(like.udp) + sizeof(like.msg)) };
	struct flood f = { .out = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_halen = ETH_ALEN } };
	struct sender senders[THREADS];
	uint64_t port, rate, seconds, burst = BATCH, answers = 0, sent = 0;
	double start, ended = 0;
	uint8_t pub[KEY_LEN];
	struct in_addr to, sources;
	unsigned largest = 0;
	uint16_t from;
	int fd;

	if (argc < 9 || argc > 10 || !(f.out.sll_ifindex = if_nametoindex(argv[1])) || !read_mac(argv[2], like.eth.ether_dhost) ||
	    inet_pton(AF_INET, argv[3], &to) != 1 || parse_u64(argv[4], 65535, &port) < 0 || !read_hex(argv[5], pub) ||
	    inet_pton(AF_INET, argv[6], &sources) != 1 || parse_u64(argv[7], 10000000, &rate) < 0 ||
	    parse_u64(argv[8], 3600, &seconds) < 0 || (argc == 10 && parse_u64(argv[9], 1 << 20, &burst) < 0) || crypto_init() < 0)
		return 2;
	fd = open_collector(&from);
	if (fd < 0)
		return perror("wgflood"), 1;
	like.ip.daddr = to.s_addr;
	like.udp.source = from;
	like.udp.dest = htons(port);
	f.each = rate < FRAMES ? rate + 1 : FRAMES;
	f.frames = make_frames(THREADS * f.each, &like, pub, ntohl(sources.s_addr));
	f.burst = burst;
	f.rate = (double)rate / THREADS;
	f.seconds = seconds;
	puts("ready");
	fflush(stdout);
	start = now();
	for (unsigned i = 0; i < THREADS; i++) {
		senders[i] = (struct sender){ .flood = &f, .id = i };
		if (pthread_create(&senders[i].thread, NULL, send_all, &senders[i]) != 0)
			return 1;
	}
	for (unsigned n = 1; n || now() - start < f.seconds; answers += n)
		n = collect(fd, &largest);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(senders[i].thread, NULL);
		sent += senders[i].sent;
		ended = MAX(ended, senders[i].ended);
	}
	printf("%llu %.0f %llu %u\n", (unsigned long long)sent, (ended - start) * 1e6, (unsigned long long)answers, largest);
	return 0;
}
