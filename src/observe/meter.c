/* SPDX-License-Identifier: Apache-2.0 */
/* One raw socket a family. Answers are timed by the kernel when they come (SO_TIMESTAMPNS): what the agent does meanwhile is not measured. A
 * probe is lost when the next one is due. Many peers make the interval longer, not the rate higher: RATE_MAX a second. */
#include "observe/meter.h"
#include "base/str.h"
#include "observe/echo.h"

#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <sys/random.h>
#include <time.h>

enum { TICK_MIN_US = 10000, RATE_MAX = 500, READS_MAX = 256 };

struct peer {
	char *name;
	struct addr addr, own;
	struct meter_result result;
	uint64_t nonce; /* of the probe under way, 0: none */
	uint64_t sent_ns; /* CLOCK_REALTIME, as answers are stamped */
	uint64_t recent;  /* bit 0: the latest; set: lost */
	unsigned n_recent;
};

struct meter {
	sd_event_source *timer, *io[2];
	int fds[2]; /* IPv4, IPv6 */
	uint16_t id, seq;
	uint64_t interval_us;
	struct peer *peers;
	size_t n, next;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void decide(struct peer *p, bool lost)
{
	p->nonce = 0;
	p->result.lost += lost;
	p->recent = p->recent << 1 | lost;
	p->n_recent = MIN(p->n_recent + 1, (unsigned)METER_KEPT);
	p->result.recent_loss = (double)__builtin_popcountll(p->recent) / p->n_recent;
}

/* As TCP smooths it (RFC 6298). */
static void answered(struct peer *p, uint64_t at_ns)
{
	double rtt = at_ns > p->sent_ns ? (at_ns - p->sent_ns) / 1e9 : 0;

	p->result.rtt_s = p->result.rtt_s > 0 ? p->result.rtt_s * 7 / 8 + rtt / 8 : rtt;
	decide(p, false);
}

/* ---- sending ---- */

/* From our own address, by IP_PKTINFO: the socket is bound to none, as addresses come and go. */
static ssize_t send_from(int fd, const struct peer *p, const uint8_t packet[static ECHO_BYTES])
{
	bool v6 = !addr_is_v4(&p->addr);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = { 0 };
	struct sockaddr_storage to;
	struct iovec iov = { (void *)packet, ECHO_BYTES };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = addr_to_sockaddr(&p->addr, 0, &to), .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = &control };
	struct cmsghdr *c = &control.align;
	struct in_pktinfo info4 = { 0 };
	struct in6_pktinfo info6 = { 0 };
	size_t size = v6 ? sizeof(info6) : sizeof(info4);

	memcpy(v6 ? (void *)&info6.ipi6_addr : (void *)&info4.ipi_spec_dst, addr_raw(&p->own), addr_raw_len(&p->own));
	c->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	c->cmsg_type = v6 ? IPV6_PKTINFO : IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), v6 ? (void *)&info6 : (void *)&info4, size);
	msg.msg_controllen = CMSG_SPACE(size);
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One that cannot even be sent is lost as well: there is no way. */
static void measure_one(struct meter *pr, size_t slot)
{
	struct peer *p = &pr->peers[slot];
	struct echo probe = { .slot = slot };
	uint8_t packet[ECHO_BYTES];
	bool v6 = !addr_is_v4(&p->addr);

	if (p->nonce)
		decide(p, true);
	while (probe.nonce == 0)
		if (getrandom(&probe.nonce, sizeof(probe.nonce), 0) != sizeof(probe.nonce))
			return;
	echo_encode(v6, pr->id, pr->seq++, &probe, packet);
	p->nonce = probe.nonce;
	p->result.sent++;
	p->sent_ns = now_ns();
	if (send_from(pr->fds[v6], p, packet) < 0)
		decide(p, true);
}

static uint64_t tick_us(const struct meter *p)
{
	return MAX(p->interval_us / MAX(p->n, (size_t)1), (uint64_t)TICK_MIN_US);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct meter *p = ctx;
	size_t due = p->interval_us ? (p->n * tick_us(p) + p->interval_us - 1) / p->interval_us : 0;

	due = MIN(due, (size_t)RATE_MAX * TICK_MIN_US / 1000000);
	for (size_t i = 0; i < due; i++) {
		measure_one(p, p->next % p->n);
		p->next++;
	}
	sd_event_source_set_time(s, usec + tick_us(p));
	return sd_event_source_set_enabled(s, p->n ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

/* ---- receiving ---- */

static uint64_t stamp_of(struct msghdr *msg)
{
	struct timespec t;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS && c->cmsg_len >= CMSG_LEN(sizeof(t))) {
			memcpy(&t, CMSG_DATA(c), sizeof(t));
			return t.tv_sec * 1000000000ull + t.tv_nsec;
		}
	return now_ns();
}

static void take_answer(struct meter *pr, bool v6, const void *data, size_t len, const struct sockaddr_storage *from, uint64_t at_ns)
{
	struct echo probe;
	struct addr addr;
	struct peer *p;
	uint16_t port;

	if (echo_decode(v6, pr->id, data, len, &probe) < 0 || probe.slot >= pr->n || probe.nonce == 0)
		return;
	p = &pr->peers[probe.slot];
	if (p->nonce == probe.nonce && addr_from_sockaddr((const void *)from, &addr, &port) == 0 && addr_eq(&addr, &p->addr))
		answered(p, at_ns);
}

static int on_readable(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *ctx)
{
	struct meter *p = ctx;

	for (int i = 0; i < READS_MAX; i++) {
		union {
			struct cmsghdr align;
			char bytes[256];
		} control;
		struct sockaddr_storage from = { 0 };
		uint8_t data[256];
		struct iovec iov = { data, sizeof(data) };
		struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
				      .msg_control = &control, .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

		if (n < 0)
			return 0;
		take_answer(p, fd == p->fds[1], data, n, &from, stamp_of(&msg));
	}
	return 0;
}

/* ---- life ---- */

/* Only echo replies with our identifier come up; everything else would wake the agent for nothing. */
static int filter(int fd, bool v6, uint16_t id)
{
	const unsigned at = 4; /* of the identifier in the ICMP header */
	struct sock_filter v4_code[] = {
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* X: length of the IP header */
		BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_IND, at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, id, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 256),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_filter v6_code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ICMP6_ECHO_REPLY, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, id, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 256),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = { v6 ? ARRAY_SIZE(v6_code) : ARRAY_SIZE(v4_code), v6 ? v6_code : v4_code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static int open_socket(struct meter *p, sd_event *event, bool v6)
{
	int one = 1, r;

	r = p->fds[v6] = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (r < 0 || setsockopt(p->fds[v6], SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0)
		return -errno;
	r = filter(p->fds[v6], v6, p->id);
	return r < 0 ? r : sd_event_add_io(event, &p->io[v6], p->fds[v6], EPOLLIN, on_readable, p);
}

int meter_new(sd_event *event, uint64_t interval_ms, struct meter **ret)
{
	_cleanup_(meter_freep) struct meter *p = xnew0(struct meter);
	int r = 0;

	p->interval_us = interval_ms * 1000;
	p->fds[0] = p->fds[1] = -1;
	if (getrandom(&p->id, sizeof(p->id), 0) != sizeof(p->id))
		return -EIO;
	for (int v6 = 0; v6 < 2 && r >= 0; v6++) {
		r = open_socket(p, event, v6);
		if (r == -EAFNOSUPPORT) /* a kernel without IPv6 */
			r = 0;
	}
	if (r >= 0)
		r = sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, p);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

struct meter *meter_free(struct meter *p)
{
	if (!p)
		return NULL;
	meter_set_peers(p, NULL, 0);
	free(p->peers);
	sd_event_source_disable_unref(p->timer);
	for (int v6 = 0; v6 < 2; v6++) {
		sd_event_source_disable_unref(p->io[v6]);
		close_fd(p->fds[v6]);
	}
	free(p);
	return NULL;
}

static struct peer *find_peer(struct meter *p, const struct meter_peer *of)
{
	for (size_t i = 0; i < p->n; i++)
		if (streq(p->peers[i].name, of->name) && addr_eq(&p->peers[i].addr, &of->addr))
			return &p->peers[i];
	return NULL;
}

void meter_set_peers(struct meter *p, const struct meter_peer *peers, size_t n)
{
	struct peer *fresh = xnew0_array(struct peer, n + 1);

	for (size_t i = 0; i < n; i++) {
		/* mostly the same in the same order */
		bool same = i < p->n && streq(p->peers[i].name, peers[i].name) && addr_eq(&p->peers[i].addr, &peers[i].addr);
		struct peer *old = same ? &p->peers[i] : find_peer(p, &peers[i]);

		if (old)
			fresh[i] = *old;
		else
			fresh[i] = (struct peer){ .name = xstrdup(peers[i].name), .addr = peers[i].addr };
		fresh[i].own = peers[i].own;
		fresh[i].result.name = fresh[i].name;
		fresh[i].result.addr = fresh[i].addr;
		if (!same)
			fresh[i].nonce = 0; /* its place has changed: the probe under way will not be known again */
		if (old)
			old->name = NULL; /* it has moved */
	}
	for (size_t i = 0; i < p->n; i++)
		free(p->peers[i].name);
	free(p->peers);
	p->peers = fresh;
	p->n = n;
	if (p->timer && n)
		sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

void meter_each(const struct meter *p, meter_fn *fn, void *ctx)
{
	for (size_t i = 0; i < p->n; i++)
		fn(&p->peers[i].result, ctx);
}
