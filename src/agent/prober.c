/* SPDX-License-Identifier: Apache-2.0 */
/* A round asks a peer in each family that both have, and waits for all answers; the pauses are proof_pause_us(), longer
 * where there are many peers. One timer serves all of them.
 *
 * What comes in is bounded before it costs anything: a bucket of messages, one size, a hop limit that nothing has which
 * came through a router (RFC 5082), a sender that is a peer. Answers are as long as requests and go to the peer alone, so
 * there is nothing to amplify. */
#include "agent/prober.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	ANSWER_US = 300000,	/* that long an answer may take */
	BURST = 32,		/* requests for one turn of the loop */
	BURST_PAUSE_US = 10000,
	PAUSE_PER_PEER_US = 4000, /* at most 250 rounds a second */
	TAKEN_PER_SECOND = 2000,  /* messages that are looked at */
	READS = 64,		  /* for one turn of the loop */
	HOPS = 255,
	FILE_SIZE_MAX = 1 << 20,
};

struct peer {
	char *name, *uid;
	struct addr addrs[2];
	struct proof proof;
	uint64_t due_us; /* of the next round, or of the end of this one */
	bool asking;
	bool waiting[2];
	uint8_t nonce[2][PROOF_NONCE_SIZE];
};

struct prober {
	sd_event *event;
	sd_event_source *timer, *io[2];
	const char *file;
	prober_changed_fn *fn;
	void *ctx;
	char *uid;
	struct addr addrs[2];
	uint16_t port;
	int fds[2];
	struct peer *peers; /* sorted by name */
	size_t n_peers;
	char **remembered; /* who was proven when the file was read; sorted */
	size_t n_remembered;
	const char **proven; /* names of peers */
	size_t n_proven;
	uint64_t bucket_us; /* time that is already spent on messages */
	struct prober_stats stats;
};

static uint64_t now_us(const struct prober *p)
{
	uint64_t now = 0;

	sd_event_now(p->event, CLOCK_MONOTONIC, &now);
	return now;
}

static void peer_done(struct peer *peer)
{
	free(peer->name);
	free(peer->uid);
}

static int cmp_name(const void *x, const void *y)
{
	return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* ---- what is proven ---- */

static void list_proven(struct prober *p)
{
	free(p->proven);
	p->proven = xnew0_array(const char *, p->n_peers + 1);
	p->n_proven = 0;
	for (size_t i = 0; i < p->n_peers; i++)
		if (p->peers[i].proof.proven)
			p->proven[p->n_proven++] = p->peers[i].name;
}

void prober_keep(struct prober *p)
{
	_cleanup_json_ json_t *j = json_array();
	_cleanup_free_ char *text = NULL;
	int r;

	for (size_t i = 0; i < p->n_proven; i++)
		json_array_append_new(j, json_string(p->proven[i]));
	text = json_text(j);
	r = file_write_atomic(p->file, text, strlen(text), 0600);
	if (r < 0)
		log_warn("cannot remember to whom the plain way is open", L_STR("file", p->file), L_ERRNO(r));
}

/* A restarted agent begins with the former one's opinion: packets go on as they went. */
static void recall(struct prober *p)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	const json_t *name;
	size_t len, i;

	if (file_read(p->file, FILE_SIZE_MAX, &text, &len) < 0)
		return;
	j = json_parse(p->file, text, len, NULL);
	p->remembered = xnew0_array(char *, json_array_size(j) + 1);
	json_array_foreach(j, i, name)
		if (json_is_string(name))
			p->remembered[p->n_remembered++] = xstrdup(json_string_value(name));
	qsort(p->remembered, p->n_remembered, sizeof(*p->remembered), cmp_name);
}

static void note(struct prober *p, struct peer *peer, bool answered)
{
	if (!proof_note(&peer->proof, answered, now_us(p)))
		return;
	list_proven(p);
	prober_keep(p);
	log_info(peer->proof.proven ? "the plain way to a peer is proven" : "the plain way to a peer is lost",
		 L_STR("peer", peer->name));
	p->fn(p->ctx);
}

/* ---- asking ---- */

static struct sockaddr_in6 address_of(const struct addr *a, uint16_t port, socklen_t *ret_len)
{
	struct sockaddr_in6 s6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in s4 = {.sin_family = AF_INET, .sin_port = htons(port)};

	memcpy(&s6.sin6_addr, a, sizeof(*a));
	*ret_len = sizeof(s6);
	if (!addr_is_v4(a))
		return s6;
	memcpy(&s4.sin_addr, addr_raw(a), 4);
	memcpy(&s6, &s4, sizeof(s4));
	*ret_len = sizeof(s4);
	return s6;
}

/* What cannot be sent is as good as lost. */
static void send_message(struct prober *p, int f, const struct peer *to, const struct proof_message *m)
{
	struct proof_path path = {p->addrs[f], to->addrs[f], {p->uid, to->uid}};
	uint8_t wire[PROOF_SIZE];
	socklen_t len;
	struct sockaddr_in6 sa = address_of(&to->addrs[f], p->port, &len);

	proof_encode(m, &path, wire);
	if (sendto(p->fds[f], wire, sizeof(wire), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sa, len) < 0)
		log_debug("cannot send a probe", L_STR("peer", to->name), L_ERRNO(-errno));
}

static bool has_family(const struct prober *p, const struct peer *peer, int f)
{
	return !addr_is_zero(&peer->addrs[f]) && !addr_is_zero(&p->addrs[f]);
}

static void begin_round(struct prober *p, struct peer *peer)
{
	for (int f = 0; f < 2; f++) {
		struct proof_message m = {.kind = PROOF_REQUEST};

		if (!has_family(p, peer, f) || getrandom(m.nonce, sizeof(m.nonce), 0) != sizeof(m.nonce))
			continue;
		memcpy(peer->nonce[f], m.nonce, sizeof(m.nonce));
		peer->waiting[f] = true;
		p->stats.sent++;
		send_message(p, f, peer, &m);
	}
	peer->asking = true;
	peer->due_us = now_us(p) + ANSWER_US;
}

static void end_round(struct prober *p, struct peer *peer, bool answered)
{
	uint64_t pause, least = PAUSE_PER_PEER_US * (uint64_t)p->n_peers;
	uint8_t jitter = 0;

	peer->asking = peer->waiting[0] = peer->waiting[1] = false;
	note(p, peer, answered);
	pause = proof_pause_us(&peer->proof);
	pause = MAX(pause, least);
	if (getrandom(&jitter, 1, 0) == 1) /* nodes that started together drift apart */
		pause += pause / 8 * jitter / 255;
	peer->due_us = now_us(p) + pause;
}

static void set_timer(struct prober *p)
{
	uint64_t next = UINT64_MAX, soonest = now_us(p) + BURST_PAUSE_US;

	for (size_t i = 0; i < p->n_peers; i++)
		next = MIN(next, p->peers[i].due_us);
	sd_event_source_set_time(p->timer, MAX(next, soonest));
	sd_event_source_set_enabled(p->timer, p->n_peers ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_timer(_unused_ sd_event_source *s, uint64_t usec, void *ctx)
{
	struct prober *p = ctx;
	size_t begun = 0;

	for (size_t i = 0; i < p->n_peers && begun < BURST; i++) {
		struct peer *peer = &p->peers[i];

		if (peer->due_us > usec)
			continue;
		if (peer->asking)
			end_round(p, peer, false);
		else
			begin_round(p, peer), begun++;
	}
	set_timer(p);
	return 0;
}

/* ---- answers, and what others ask ---- */

/* May one more message be looked at? */
static bool take_token(struct prober *p)
{
	uint64_t now = now_us(p);

	if (p->bucket_us + 1000000 < now)
		p->bucket_us = now - 1000000;
	if (p->bucket_us + 1000000 / TAKEN_PER_SECOND > now)
		return false;
	p->bucket_us += 1000000 / TAKEN_PER_SECOND;
	return true;
}

static struct peer *find_sender(struct prober *p, const struct addr *a, int f)
{
	for (size_t i = 0; i < p->n_peers; i++)
		if (addr_eq(&p->peers[i].addrs[f], a))
			return &p->peers[i];
	return NULL;
}

static bool take_answer(struct prober *p, struct peer *peer, int f, const struct proof_message *m)
{
	if (!peer->waiting[f] || memcmp(peer->nonce[f], m->nonce, sizeof(m->nonce)) != 0)
		return false;
	peer->waiting[f] = false;
	p->stats.answered++;
	if (peer->waiting[0] || peer->waiting[1])
		return true;
	end_round(p, peer, true);
	set_timer(p);
	return true;
}

/* Return: was it of use? */
static bool take_message(struct prober *p, int f, const struct addr *from, int hops, const uint8_t *data, size_t len)
{
	struct peer *peer = hops == HOPS ? find_sender(p, from, f) : NULL;
	struct proof_path path = {*from, p->addrs[f], {p->uid, peer ? peer->uid : ""}};
	struct proof_message m;

	if (!peer || proof_decode(data, len, &path, &m) < 0)
		return false;
	if (m.kind == PROOF_ANSWER)
		return take_answer(p, peer, f, &m);
	m.kind = PROOF_ANSWER;
	p->stats.requests++;
	send_message(p, f, peer, &m);
	return true;
}

static int hops_of(struct msghdr *h)
{
	int hops = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&hops, CMSG_DATA(c), sizeof(hops));
	return hops;
}

static bool receive(struct prober *p, int f)
{
	uint8_t data[PROOF_SIZE + 1];
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct sockaddr_in6 sa = {0};
	struct iovec iov = {data, sizeof(data)};
	struct msghdr h = {.msg_name = &sa,
			   .msg_namelen = sizeof(sa),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.buf,
			   .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(p->fds[f], &h, MSG_DONTWAIT);
	struct addr from;
	uint16_t port;

	if (n < 0)
		return errno != EAGAIN; /* an ICMP error about a probe is one less */
	if (!take_token(p)) {
		p->stats.limited++;
		return true;
	}
	if (addr_from_sockaddr((struct sockaddr *)&sa, &from, &port) < 0 || port != p->port ||
	    !take_message(p, f, &from, hops_of(&h), data, n))
		p->stats.refused++;
	return true;
}

static int on_message(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *ctx)
{
	struct prober *p = ctx;
	int f = fd == p->fds[1];

	for (int i = 0; i < READS && receive(p, f); i++)
		;
	return 0;
}

/* ---- sockets ---- */

static void unlisten(struct prober *p, int f)
{
	p->io[f] = sd_event_source_disable_unref(p->io[f]);
	p->fds[f] = close_fd(p->fds[f]);
	p->addrs[f] = (struct addr){0};
}

static int prepare_socket(int fd, int f)
{
	int on = 1, hops = HOPS, r;

	if (f == 0) {
		r = setsockopt(fd, IPPROTO_IP, IP_TTL, &hops, sizeof(hops));
		return r < 0 ? r : setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	}
	r = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (r == 0)
		r = setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof(hops));
	return r < 0 ? r : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
}

static int listen_on(struct prober *p, int f, const struct addr *a, uint16_t port)
{
	socklen_t len;
	struct sockaddr_in6 sa = address_of(a, port, &len);
	int r;

	if (p->fds[f] >= 0 && addr_eq(a, &p->addrs[f]) && port == p->port)
		return 0;
	unlisten(p, f);
	if (addr_is_zero(a))
		return 0;
	p->fds[f] = socket(f == 0 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fds[f] < 0)
		return -errno;
	r = prepare_socket(p->fds[f], f);
	if (r < 0 || bind(p->fds[f], (struct sockaddr *)&sa, len) < 0)
		r = -errno;
	if (r == 0)
		r = sd_event_add_io(p->event, &p->io[f], p->fds[f], EPOLLIN, on_message, p);
	if (r < 0) {
		unlisten(p, f);
		return r;
	}
	p->addrs[f] = *a;
	return 0;
}

/* ---- the peers ---- */

static struct peer *find_peer(struct peer *peers, size_t n, const char *name)
{
	for (size_t low = 0, high = n; low < high;) {
		size_t mid = (low + high) / 2;
		int c = strcmp(peers[mid].name, name);

		if (c == 0)
			return &peers[mid];
		*(c < 0 ? &low : &high) = c < 0 ? mid + 1 : mid;
	}
	return NULL;
}

static int cmp_peer(const void *x, const void *y)
{
	return strcmp(((const struct peer *)x)->name, ((const struct peer *)y)->name);
}

/* A peer with another address is another link, but what was proven holds until it is disproven. */
static struct peer make_peer(struct prober *p, const struct prober_peer *want)
{
	struct peer *old = find_peer(p->peers, p->n_peers, want->name), new = {0};

	if (old)
		new = *old;
	else if (p->n_remembered)
		new.proof.proven =
		    bsearch(&want->name, p->remembered, p->n_remembered, sizeof(*p->remembered), cmp_name) != NULL;
	new.name = xstrdup(want->name);
	new.uid = xstrdup(want->uid);
	memcpy(new.addrs, want->addrs, sizeof(new.addrs));
	return new;
}

static void set_peers(struct prober *p, const struct prober_peer *want, size_t n)
{
	struct peer *peers = xnew0_array(struct peer, n + 1);

	for (size_t i = 0; i < n; i++)
		peers[i] = make_peer(p, &want[i]);
	qsort(peers, n, sizeof(*peers), cmp_peer);
	for (size_t i = 0; i < p->n_peers; i++)
		peer_done(&p->peers[i]);
	free(p->peers);
	p->peers = peers;
	p->n_peers = n;
	list_proven(p);
}

int prober_set(struct prober *p, const struct prober_config *config)
{
	int r = 0;

	for (int f = 0; f < 2; f++) {
		int l = listen_on(p, f, &config->addrs[f], config->port);

		r = r ? r : l;
	}
	p->port = config->port;
	free(p->uid);
	p->uid = xstrdup(config->uid);
	set_peers(p, config->peers, config->n_peers);
	set_timer(p);
	return r;
}

const char *const *prober_proven(const struct prober *p, size_t *ret_n)
{
	*ret_n = p->n_peers ? p->n_proven : p->n_remembered;
	return p->n_peers ? p->proven : (const char *const *)p->remembered;
}

const struct proof *prober_find(const struct prober *p, const char *name)
{
	const struct peer *peer = find_peer(p->peers, p->n_peers, name);

	return peer ? &peer->proof : NULL;
}

struct prober_stats prober_stats(const struct prober *p)
{
	return p->stats;
}

int prober_new(sd_event *event, const char *file, prober_changed_fn *fn, void *ctx, struct prober **ret)
{
	struct prober *p = xnew0(struct prober);
	int r;

	*p = (struct prober){.event = event, .file = file, .fn = fn, .ctx = ctx, .fds = {-1, -1}, .uid = xstrdup("")};
	r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, p);
	if (r < 0) {
		prober_free(p);
		return r;
	}
	sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
	recall(p);
	*ret = p;
	return 0;
}

struct prober *prober_free(struct prober *p)
{
	if (!p)
		return NULL;
	for (int f = 0; f < 2; f++)
		unlisten(p, f);
	sd_event_source_disable_unref(p->timer);
	for (size_t i = 0; i < p->n_peers; i++)
		peer_done(&p->peers[i]);
	for (size_t i = 0; i < p->n_remembered; i++)
		free(p->remembered[i]);
	free(p->peers);
	free(p->remembered);
	free(p->proven);
	free(p->uid);
	free(p);
	return NULL;
}
