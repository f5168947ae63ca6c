/* SPDX-License-Identifier: Apache-2.0 */
/* Many peers of one engine in one process: each answers handshakes, nothing else.
 *
 *	wgcrowd ADDRESS PORT PUBLIC-KEY(hex) COUNT ENGINE
 *
 * The engine is at port 51820 of ENGINE. Listens at COUNT ports from PORT on, and prints who is there, "PUBLIC-KEY(hex) PORT" each. A line on standard
 * input begins a round. "again": when the engine has begun a session with each, shown by a packet that authenticates under its keys, it prints
 * the milliseconds since the first initiation of the round, and how many initiations there were. "ask": all send an initiation in the
 * same moment; when each has got something for it, it prints how many were answered with a response, and how many with a cookie. */
#include "hex.h"
#include "base/str.h"
#include "net/addr.h"
#include "wg/cookie.h"
#include "wg/noise.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <time.h>

struct one {
	struct noise_identity id;
	struct noise_peer engine;
	uint8_t recv_key[KEY_LEN];
	bool answered, there;
};

enum { ASKED_MAX = 32 };

struct asked {
	unsigned i;
	struct msg_initiation msg;
	struct sockaddr_in from;
};

struct crowd {
	struct one *all;
	int *fds, epoll_fd;
	unsigned n, there, initiations;
	struct cookie_maker maker;
	unsigned responses, cookies;
	struct sockaddr_in engine_at;
	double began;
	struct asked asked[ASKED_MAX];
	unsigned n_asked;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static void begin_round(struct crowd *c)
{
	c->there = c->initiations = 0;
	for (unsigned i = 0; i < c->n; i++)
		c->all[i].there = c->all[i].answered = false;
}

/* As the engine does it, so that its peers are no slower: what the messages that wait need multiplied is multiplied together. */
static void answer(struct crowd *c, const struct asked *a, const struct dh_job *done)
{
	struct one *o = &c->all[a->i];
	struct msg_response response;
	uint8_t send_key[KEY_LEN];
	bool initiator;

	if (noise_create_response(&o->engine, a->i, done, &response) < 0)
		return;
	cookie_add_macs(&c->maker, 1, &response, sizeof(response));
	noise_derive(&o->engine.theirs, send_key, o->recv_key, &initiator);
	o->answered = sendto(c->fds[a->i], &response, sizeof(response), 0, (const struct sockaddr *)&a->from, sizeof(a->from)) == sizeof(response);
}

static void answer_all(struct crowd *c)
{
	struct dh_job jobs[ASKED_MAX * NOISE_JOBS_MAX], *next = jobs;
	struct noise_initiation in[ASKED_MAX];
	bool good[ASKED_MAX];

	for (unsigned k = 0; k < c->n_asked; k++)
		next += noise_read_jobs(&c->all[c->asked[k].i].id, &c->asked[k].msg, next);
	dh_many(jobs, next - jobs);
	for (unsigned k = 0; k < c->n_asked; k++) {
		struct one *o = &c->all[c->asked[k].i];

		good[k] = noise_read_initiation(&o->id, &c->asked[k].msg, &jobs[k], &in[k]) == 0 &&
			  noise_accept_initiation(&o->id, &o->engine, &c->asked[k].msg, &in[k]) == 0;
	}
	next = jobs;
	for (unsigned k = 0; k < c->n_asked; k++)
		next += good[k] ? noise_response_jobs(&c->all[c->asked[k].i].engine, next) : 0;
	dh_many(jobs, next - jobs);
	next = jobs;
	for (unsigned k = 0; k < c->n_asked; k++) {
		if (!good[k])
			continue;
		answer(c, &c->asked[k], next);
		next += NOISE_JOBS_MAX;
	}
	c->n_asked = 0;
}

static void take_initiation(struct crowd *c, unsigned i, const struct msg_initiation *m, const struct sockaddr_in *from)
{
	if (c->initiations++ == 0)
		c->began = now_ms();
	for (unsigned k = 0; k < c->n_asked; k++)
		if (c->asked[k].i == i) /* the exchange is one a peer */
			return;
	c->asked[c->n_asked++] = (struct asked){ .i = i, .msg = *m, .from = *from };
	if (c->n_asked == ASKED_MAX)
		answer_all(c);
}

static void take_data(struct crowd *c, unsigned i, const struct msg_data *m, size_t len)
{
	struct one *o = &c->all[i];
	uint8_t out[2048];

	if (!o->answered || o->there || len < DATA_OVERHEAD ||
	    aead_open_once(o->recv_key, le64toh(m->counter), BYTES(NULL, 0), (const uint8_t *)(m + 1), len - sizeof(*m), out) < 0)
		return;
	o->there = true;
	if (++c->there == c->n) {
		printf("%.0f %u\n", now_ms() - c->began, c->initiations);
		fflush(stdout);
	}
}

/* All are made before the first is sent: what the engine gets is what many machines send it at once. */
static void ask_all(struct crowd *c)
{
	struct msg_initiation *m = xcalloc(c->n, sizeof(*m));
	struct timespec t;
	uint8_t timestamp[TIMESTAMP_LEN] = { 0 };

	clock_gettime(CLOCK_REALTIME, &t);
	for (int i = 0; i < 8; i++)
		timestamp[i] = (0x400000000000000aull + t.tv_sec) >> (56 - 8 * i);
	c->responses = c->cookies = 0;
	for (unsigned i = 0; i < c->n; i++) {
		if (noise_create_initiation(&c->all[i].id, &c->all[i].engine, i, timestamp, NULL, &m[i]) < 0)
			abort();
		cookie_add_macs(&c->maker, 1, &m[i], sizeof(m[i]));
	}
	for (unsigned i = 0; i < c->n; i++)
		(void)!sendto(c->fds[i], &m[i], sizeof(m[i]), 0, (const struct sockaddr *)&c->engine_at, sizeof(c->engine_at));
	free(m);
}

static void count(unsigned *which, struct crowd *c)
{
	++*which;
	if (c->responses + c->cookies == c->n) {
		printf("%u %u\n", c->responses, c->cookies);
		fflush(stdout);
	}
}

static void serve(struct crowd *c, unsigned i)
{
	_Alignas(8) uint8_t buf[2048];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t len;

	while ((len = recvfrom(c->fds[i], buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) > 0)
		if (buf[0] == MSG_INITIATION && len == sizeof(struct msg_initiation))
			take_initiation(c, i, (const struct msg_initiation *)buf, &from);
		else if (buf[0] == MSG_RESPONSE)
			count(&c->responses, c);
		else if (buf[0] == MSG_COOKIE)
			count(&c->cookies, c);
		else if (buf[0] == MSG_DATA)
			take_data(c, i, (const struct msg_data *)buf, len);
}

static bool watch(struct crowd *c, int fd, unsigned id)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = id };

	return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0;
}

static bool add_one(struct crowd *c, unsigned i, struct sockaddr_in at, const uint8_t engine[static KEY_LEN])
{
	struct one *o = &c->all[i];
	uint8_t priv[KEY_LEN];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return false;
	c->fds[i] = fd;
	if (!watch(c, fd, i))
		return false;
	crypto_random(priv, sizeof(priv));
	dh_clamp(priv);
	if (noise_identity_set(&o->id, priv) < 0)
		return false;
	noise_peer_init(&o->engine, engine);
	for (int k = 0; k < KEY_LEN; k++)
		printf("%02x", o->id.pub[k]);
	printf(" %u\n", ntohs(at.sin_port));
	return true;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	uint64_t port, count;
	uint8_t engine[KEY_LEN];
	struct crowd c = {};
	char line[16];

	c.engine_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(51820) };
	if (argc != 6 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || inet_pton(AF_INET, argv[5], &c.engine_at.sin_addr) != 1 || parse_u64(argv[2], 65535, &port) < 0 || !read_hex(argv[3], engine) ||
	    parse_u64(argv[4], 10000, &count) < 0 || port == 0 || port + count > 65536 || crypto_init() < 0)
		return 2;
	c.n = count;
	c.all = xcalloc(c.n, sizeof(*c.all));
	c.fds = xcalloc(c.n, sizeof(*c.fds));
	c.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (c.epoll_fd < 0 || !watch(&c, STDIN_FILENO, c.n))
		return perror("wgcrowd"), 1;
	cookie_maker_init(&c.maker, engine);
	for (unsigned i = 0; i < c.n; i++) {
		at.sin_port = htons(port + i);
		if (!add_one(&c, i, at, engine))
			return perror("wgcrowd"), 1;
	}
	fflush(stdout);
	for (;;) {
		struct epoll_event events[64];
		int n = epoll_wait(c.epoll_fd, events, ARRAY_SIZE(events), -1);

		if (n < 0)
			return 1;
		for (int i = 0; i < n; i++) {
			if (events[i].data.u32 < c.n)
				serve(&c, events[i].data.u32);
			else if (!fgets(line, sizeof(line), stdin))
				return 0;
			else if (streq(line, "ask\n"))
				ask_all(&c);
			else
				begin_round(&c);
		}
		answer_all(&c);
	}
}
