/* SPDX-License-Identifier: Apache-2.0 */
/* On the wire between two processes of one machine: a header, descriptors (SCM_RIGHTS, a few at a time), the
 * configuration as text, sessions, peers and handshakes under way as fixed records whose sizes the header names, so that another version is
 * refused instead of misread, and the packets that wait for a session. The successor says when it stands, having sent nothing; the old engine then says "go" and ends. Who does not hear
 * that in time ends itself: two that seal with the same keys would use a counter twice. */
#include "wg/handover.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "wg/secret.h"
#include "wg/server.h"
#include "wg/state.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { MAGIC = 0x77676837, FDS_A_MESSAGE = 16, TURNS_MAX = 16, TIMEOUT_MS = 5000, SESSIONS_MAX = 3 * PEERS_MAX, STAGED_GIVEN_MAX = 64 << 20 };

/* The socket's, the log's, the page's, the TUN's, the programs', the sockets'. */
enum { FDS_MAX = 3 + TUN_QUEUES_MAX + STEER_FDS + 2 * TUN_QUEUES_MAX };

enum { READY = 1, GO = 2 };

struct handover_header {
	uint32_t magic;
	uint32_t session_size, peer_size, exchange_size, staged_size;
	uint32_t n_tun, n_udp, n_sessions, n_peers, n_exchanges, staged_len;
	uint32_t fwmark, mtu;
	uint64_t config_len;
	uint16_t port;
	uint8_t vnet_hdr, tso, uso;
	uint8_t steered; /* programs come along, for as many workers as sockets come */
	uint8_t timestamp[TIMESTAMP_LEN];
	uint8_t cookie_secret[HASH_LEN]; /* what our own cookies are made with */
	int64_t cookie_secret_born_ns;
	char name[IF_NAMESIZE];
	char metrics_where[METRICS_WHERE_MAX]; /* of the page that comes along, "": none */
	struct {
		uint8_t v4, v6, gro;
	} udp[TUN_QUEUES_MAX];
};

static int set_timeouts(int fd)
{
	struct timeval t = { .tv_sec = TIMEOUT_MS / 1000 };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) < 0)
		return -errno;
	return 0;
}

static int send_all(int fd, const void *data, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return sent < 0 ? -errno : -EPIPE;
		data = (const char *)data + sent;
		n -= sent;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t n)
{
	while (n) {
		ssize_t got = recv(fd, data, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		data = (char *)data + got;
		n -= got;
	}
	return 0;
}

static int send_fds(int conn, const int *fds, unsigned n)
{
	while (n) {
		unsigned some = MIN(n, (unsigned)FDS_A_MESSAGE);
		_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))] = { 0 };
		uint8_t count = some;
		struct iovec iov = { &count, 1 };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = CMSG_SPACE(some * sizeof(int)) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(some * sizeof(int));
		memcpy(CMSG_DATA(c), fds, some * sizeof(int));
		if (sendmsg(conn, &m, MSG_NOSIGNAL) != 1)
			return -errno;
		fds += some;
		n -= some;
	}
	return 0;
}

static int receive_fds(int conn, int *fds, unsigned n)
{
	while (n) {
		_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))];
		uint8_t count = 0;
		struct iovec iov = { &count, 1 };
		struct msghdr m = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};
		ssize_t got = recvmsg(conn, &m, MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = got == 1 ? CMSG_FIRSTHDR(&m) : NULL;

		if (!c || c->cmsg_type != SCM_RIGHTS || !count || count > n || c->cmsg_len != CMSG_LEN(count * sizeof(int)))
			return got < 0 ? -errno : -EPROTO;
		memcpy(fds, CMSG_DATA(c), count * sizeof(int));
		fds += count;
		n -= count;
	}
	return 0;
}

/* Giving. */

static void add_session(struct buf *out, const struct peer *p, struct session *s, enum session_slot slot, uint32_t *n)
{
	struct handover_session h;

	if (!s)
		return;
	h = (struct handover_session){ .slot = slot,
				       .local_index = s->slot.index,
				       .remote_index = s->remote_index,
				       .crossed = s->crossed,
				       .initiator = s->initiator,
				       .expired = atomic_load(&s->expired),
				       .confirmed = atomic_load(&s->confirmed),
				       .crosses = s->crosses,
				       .born_ns = s->born_ns,
				       .sent = atomic_load(&s->sent) };
	replay_save(&s->window, &h.window);
	memcpy(h.pub, p->noise.pub, KEY_LEN);
	memcpy(h.send_key, s->send_key, KEY_LEN);
	memcpy(h.recv_key, s->recv_key, KEY_LEN);
	(void)buf_add(out, &h, sizeof(h));
	wipe(&h, sizeof(h));
	++*n;
}

static void add_peer(struct buf *out, struct peer *p)
{
	struct endpoint e = peer_endpoint(p);
	struct handover_peer h = { .last_handshake_real_ns = p->last_handshake_real_ns,
				   .rx_bytes = atomic_load(&p->rx_bytes),
				   .tx_bytes = atomic_load(&p->tx_bytes),
				   .from_ifindex = e.from_ifindex,
				   .has_from = e.has_from,
				   .cookie_born_ns = p->cookie.cookie_born_ns,
				   .have_last_mac1 = p->cookie.have_last_mac1,
				   .unanswered_ns = atomic_load(&p->timers.unanswered_since),
				   .owed_ns = atomic_load(&p->timers.owed_since),
				   .owed_again = atomic_load(&p->timers.owed_again) };

	_Static_assert(sizeof(h.from) == sizeof(e.from6), "both families");
	memcpy(h.from, &e.from6, sizeof(h.from));
	memcpy(h.pub, p->noise.pub, KEY_LEN);
	memcpy(h.newest_timestamp, p->noise.newest_timestamp, TIMESTAMP_LEN);
	memcpy(h.cookie, p->cookie.cookie, COOKIE_LEN);
	memcpy(h.last_mac1, p->cookie.last_mac1, MAC_LEN);
	(void)buf_add(out, &h, sizeof(h));
}

static void add_exchange(struct buf *out, const struct peer *p, uint32_t *n)
{
	struct handover_exchange h = { 0 };

	if (!device_save_exchange(p, &h.exchange))
		return;
	memcpy(h.pub, p->noise.pub, KEY_LEN);
	(void)buf_add(out, &h, sizeof(h));
	wipe(&h, sizeof(h));
	++*n;
}

/* They stay ours, too, in case that it comes to nothing. No worker runs. */
static void add_staged(struct buf *out, const struct peer *p, size_t before)
{
	for (const struct staged *s = p->staged_head; s; s = s->next) {
		struct handover_staged h = { .len = s->len, .hdr = s->hdr };

		if (out->len - before + sizeof(h) + s->len > STAGED_GIVEN_MAX)
			return;
		memcpy(h.pub, p->noise.pub, KEY_LEN);
		(void)buf_add(out, &h, sizeof(h));
		(void)buf_add(out, s->data, s->len);
	}
}

static unsigned collect_fds(const struct engine *e, int listen_fd, struct handover_header *h, int *fds)
{
	unsigned n = 0;

	fds[n++] = listen_fd;
	fds[n++] = STDERR_FILENO;
	if (e->metrics) {
		snprintf(h->metrics_where, sizeof(h->metrics_where), "%s", metrics_where(e->metrics));
		fds[n++] = metrics_fd(e->metrics);
	}
	for (unsigned i = 0; i < e->tun.n; i++)
		fds[n++] = e->tun.fds[i];
	h->steered = h->n_udp && steer_on(&e->steer);
	if (h->steered) {
		steer_programs_fds(&e->steer.programs, fds + n);
		n += STEER_FDS;
	}
	for (unsigned i = 0; i < h->n_udp; i++) {
		h->udp[i].v4 = e->udp[i].fd4 >= 0;
		h->udp[i].v6 = e->udp[i].fd6 >= 0;
		h->udp[i].gro = e->udp[i].gro;
		if (h->udp[i].v4)
			fds[n++] = e->udp[i].fd4;
		if (h->udp[i].v6)
			fds[n++] = e->udp[i].fd6;
	}
	return n;
}

static int send_everything(struct engine *e, int listen_fd, int conn)
{
	struct handover_header h = { .magic = MAGIC,
				     .session_size = sizeof(struct handover_session),
				     .peer_size = sizeof(struct handover_peer),
				     .exchange_size = sizeof(struct handover_exchange),
				     .staged_size = sizeof(struct handover_staged),
				     .n_tun = e->tun.n,
				     .n_udp = e->udp ? e->options.workers : 0,
				     .n_peers = e->device.peers.count,
				     .fwmark = e->fwmark,
				     .mtu = e->mtu,
				     .port = e->port,
				     .vnet_hdr = e->tun.vnet_hdr,
				     .tso = e->tun.tso,
				     .uso = e->tun.uso };
	struct uapi_host host = engine_host(e);
	struct buf body = { .secret = true };
	int fds[FDS_MAX], r;
	struct peer *p;
	unsigned n_fds;
	size_t before;

	memcpy(h.timestamp, e->device.last_timestamp, TIMESTAMP_LEN);
	memcpy(h.cookie_secret, e->device.cookie.secret, HASH_LEN);
	h.cookie_secret_born_ns = e->device.cookie.secret_born_ns;
	memcpy(h.name, e->tun.name, IF_NAMESIZE);
	uapi_format(&host, &body);
	h.config_len = body.len;
	list_for_each(p, &e->device.order, all) {
		add_session(&body, p, atomic_load(&p->current), SLOT_CURRENT, &h.n_sessions);
		add_session(&body, p, atomic_load(&p->previous), SLOT_PREVIOUS, &h.n_sessions);
		add_session(&body, p, atomic_load(&p->next), SLOT_NEXT, &h.n_sessions);
	}
	list_for_each(p, &e->device.order, all)
		add_peer(&body, p);
	list_for_each(p, &e->device.order, all)
		add_exchange(&body, p, &h.n_exchanges);
	before = body.len;
	list_for_each(p, &e->device.order, all)
		add_staged(&body, p, before);
	h.staged_len = body.len - before;
	n_fds = collect_fds(e, listen_fd, &h, fds);
	r = send_all(conn, &h, sizeof(h));
	if (r == 0)
		r = send_fds(conn, fds, n_fds);
	if (r == 0)
		r = send_all(conn, body.data, body.len);
	wipe(h.cookie_secret, HASH_LEN);
	buf_done(&body);
	return r;
}

int handover_give(struct engine *e, struct server *s, int conn)
{
	char said = 0, go = GO;
	int r = set_timeouts(conn);

	if (r < 0)
		return r;
	log_info("handing over to a successor", L_STR("interface", e->tun.name));
	state_wait(e->state); /* a slow disk keeps no packet waiting: they still go on */
	engine_pause(e);
	engine_drain(e);
	state_wait(e->state);
	r = send_everything(e, server_fd(s), conn);
	if (r == 0)
		r = receive_all(conn, &said, 1);
	if (r == 0 && said != READY)
		r = -EPROTO;
	if (r == 0)
		r = send_all(conn, &go, 1);
	if (r == 0) {
		server_disown(s);
		steer_disown(&e->steer);
		state_disown(e->state);
		return 0;
	}
	if (e->udp && engine_resume(e) < 0)
		log_error("cannot start the data path again", L_STR("interface", e->tun.name));
	(void)fcntl(conn, F_SETFL, O_RDWR | O_NONBLOCK);
	(void)shutdown(conn, SHUT_RDWR); /* whatever the successor waits for, it does not come */
	return r;
}

/* Taking. */

static int connect_to(const char *dir, const char *name)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int r;

	if (fd < 0)
		return -errno;
	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s.sock", dir, name) >= (int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	r = set_timeouts(fd);
	return r < 0 ? r : take_fd(fd);
}

static bool header_ok(const struct handover_header *h, const char *name)
{
	return h->magic == MAGIC && h->session_size == sizeof(struct handover_session) &&
	       h->peer_size == sizeof(struct handover_peer) && h->exchange_size == sizeof(struct handover_exchange) &&
	       h->staged_size == sizeof(struct handover_staged) && h->n_exchanges <= PEERS_MAX &&
	       h->staged_len <= STAGED_GIVEN_MAX && h->n_tun >= 1 && h->n_tun <= TUN_QUEUES_MAX &&
	       h->n_udp <= TUN_QUEUES_MAX && h->n_sessions <= SESSIONS_MAX && h->n_peers <= PEERS_MAX &&
	       h->config_len <= UAPI_REQUEST_MAX &&
	       memchr(h->metrics_where, 0, sizeof(h->metrics_where)) && strncmp(h->name, name, IF_NAMESIZE) == 0;
}

static int take_fds(struct handover *h, const struct handover_header *head)
{
	unsigned n = 2 + !!*head->metrics_where + head->n_tun + (head->steered ? STEER_FDS : 0), at = 0;
	int fds[FDS_MAX], r;

	for (unsigned i = 0; i < head->n_udp; i++)
		n += !!head->udp[i].v4 + !!head->udp[i].v6;
	r = receive_fds(h->conn, fds, n);
	if (r < 0)
		return r;
	h->listen_fd = fds[at++];
	h->log_fd = fds[at++];
	if (*head->metrics_where)
		h->metrics_fd = fds[at++];
	memcpy(h->metrics_where, head->metrics_where, sizeof(h->metrics_where));
	while (h->tun.n < head->n_tun)
		h->tun.fds[h->tun.n++] = fds[at++];
	if (head->steered) {
		r = steer_programs_adopt(fds + at, &h->steer);
		at += STEER_FDS;
	}
	h->udp = xnew0_array(struct udp, head->n_udp + 1);
	for (; h->n_udp < head->n_udp; h->n_udp++) {
		struct udp *u = &h->udp[h->n_udp];

		u->fd4 = head->udp[h->n_udp].v4 ? fds[at++] : -1;
		u->fd6 = head->udp[h->n_udp].v6 ? fds[at++] : -1;
		u->gro = head->udp[h->n_udp].gro;
	}
	return r;
}

static int take_body(struct handover *h, const struct handover_header *head)
{
	int r;

	h->config_len = head->config_len;
	h->n_sessions = head->n_sessions;
	h->n_exchanges = head->n_exchanges;
	h->config = secret_alloc(h->config_len + 1);
	h->sessions = secret_alloc((h->n_sessions + 1) * sizeof(*h->sessions));
	h->peers = xnew0_array(struct handover_peer, head->n_peers + 1);
	h->exchanges = secret_alloc((h->n_exchanges + 1) * sizeof(*h->exchanges));
	h->staged = xcalloc(1, head->staged_len + 1);
	r = receive_all(h->conn, h->config, head->config_len);
	if (r == 0)
		r = receive_all(h->conn, h->sessions, head->n_sessions * sizeof(*h->sessions));
	if (r == 0)
		r = receive_all(h->conn, h->peers, head->n_peers * sizeof(*h->peers));
	if (r == 0)
		r = receive_all(h->conn, h->exchanges, head->n_exchanges * sizeof(*h->exchanges));
	if (r == 0)
		r = receive_all(h->conn, h->staged, head->staged_len);
	h->n_peers = head->n_peers;
	h->staged_len = head->staged_len;
	return r;
}

static int ask(const char *dir, const char *name, struct handover_header *ret, int *ret_conn)
{
	static const char request[] = "handover=1\n\n";
	_cleanup_close_ int conn = connect_to(dir, name);
	int r = conn;

	if (r >= 0)
		r = send_all(conn, request, strlen(request));
	if (r == 0)
		r = receive_all(conn, ret, sizeof(*ret));
	if (r == 0)
		*ret_conn = take_fd(conn);
	return r;
}

/* An engine that ends before it has said a word has handed over to somebody who asked before us, and who has the socket now: it is that one's turn to be asked. */
static int ask_in_turn(const char *dir, const char *name, struct handover_header *ret, int *ret_conn)
{
	int r = ask(dir, name, ret, ret_conn);

	for (int turn = 1; (r == -ECONNRESET || r == -EPIPE) && turn < TURNS_MAX; turn++)
		r = ask(dir, name, ret, ret_conn);
	return r;
}

int handover_take(const char *dir, const char *name, struct handover *ret)
{
	struct handover h = HANDOVER_NONE;
	struct handover_header head;
	int r = ask_in_turn(dir, name, &head, &h.conn);

	if (r < 0)
		return r;
	if (!header_ok(&head, name))
		r = -EPROTO;
	if (r == 0)
		r = take_fds(&h, &head);
	if (r == 0)
		r = take_body(&h, &head);
	if (r < 0) {
		handover_done(&h);
		return r;
	}
	memcpy(h.tun.name, head.name, IF_NAMESIZE - 1);
	h.tun.vnet_hdr = head.vnet_hdr;
	h.tun.tso = head.tso;
	h.tun.uso = head.uso;
	h.port = head.port;
	h.fwmark = head.fwmark;
	h.mtu = head.mtu;
	memcpy(h.timestamp, head.timestamp, TIMESTAMP_LEN);
	memcpy(h.cookie_secret, head.cookie_secret, HASH_LEN);
	h.cookie_secret_born_ns = head.cookie_secret_born_ns;
	*ret = h;
	wipe(head.cookie_secret, HASH_LEN);
	wipe(h.cookie_secret, HASH_LEN);
	return 0;
}

/* The predecessor's clock is ours: what it noted lies behind us. */
static bool is_past(int64_t at, int64_t now)
{
	return at >= 0 && at <= now;
}

static void restore_cookie(struct cookie_maker *m, const struct handover_peer *h, int64_t now)
{
	memcpy(m->last_mac1, h->last_mac1, MAC_LEN);
	m->have_last_mac1 = h->have_last_mac1;
	if (!is_past(h->cookie_born_ns, now))
		return;
	memcpy(m->cookie, h->cookie, COOKIE_LEN);
	m->cookie_born_ns = h->cookie_born_ns;
}

/* What is owed is sent in time: else the peer takes our silence for a lost session, and asks for another. */
static void restore_timers(struct peer *p, const struct handover_peer *h, int64_t now)
{
	if (is_past(h->unanswered_ns, now))
		atomic_store(&p->timers.unanswered_since, h->unanswered_ns);
	if (is_past(h->owed_ns, now))
		atomic_store(&p->timers.owed_since, h->owed_ns);
	atomic_store(&p->timers.owed_again, h->owed_again && h->owed_ns);
	device_deadline(p, timers_next(&p->timers, &p->device->limits));
}

static void restore_peer(struct engine *e, const struct handover_peer *h, int64_t now)
{
	struct peer *p = device_find_peer(&e->device, h->pub);
	struct endpoint to;

	if (!p)
		return;
	memcpy(p->noise.newest_timestamp, h->newest_timestamp, TIMESTAMP_LEN);
	p->last_handshake_real_ns = MAX(h->last_handshake_real_ns, 0);
	atomic_store(&p->rx_bytes, h->rx_bytes);
	atomic_store(&p->tx_bytes, h->tx_bytes);
	restore_cookie(&p->cookie, h, now);
	restore_timers(p, h, now);
	to = peer_endpoint(p); /* the configuration names the other end only */
	if (!h->has_from || !endpoint_is_set(&to))
		return;
	memcpy(&to.from6, h->from, sizeof(h->from));
	to.from_ifindex = h->from_ifindex;
	to.has_from = true;
	peer_set_endpoint(p, &to);
}

static void restore_session(struct engine *e, const struct handover_session *h, int64_t now)
{
	struct peer *p = device_find_peer(&e->device, h->pub);
	struct session *s;

	if (!p || h->slot > SLOT_NEXT || !is_past(h->born_ns, now))
		return;
	s = session_new(h->born_ns);
	s->slot.index = h->local_index;
	s->remote_index = h->remote_index;
	s->initiator = h->initiator;
	s->crosses = h->crosses;
	s->crossed = h->crossed;
	s->expired = h->expired;
	s->confirmed = h->confirmed;
	s->sent = h->sent;
	replay_load(&s->window, &h->window);
	memcpy(s->send_key, h->send_key, KEY_LEN);
	memcpy(s->recv_key, h->recv_key, KEY_LEN);
	if (device_restore_session(p, s, h->slot) < 0)
		session_free(s);
	else if (h->slot == SLOT_CURRENT)
		p->had_session = false;
}

/* Packets that wait for a session, in their order. */
static int restore_staged(struct engine *e, const struct handover *h)
{
	struct handover_staged s;

	for (size_t at = 0; at < h->staged_len; at += sizeof(s) + s.len) {
		struct peer *p;

		if (h->staged_len - at < sizeof(s))
			return -EPROTO;
		memcpy(&s, h->staged + at, sizeof(s));
		if (s.len > h->staged_len - at - sizeof(s))
			return -EPROTO;
		p = device_find_peer(&e->device, s.pub);
		if (p)
			(void)peer_stage(p, s.len ? &s.hdr : NULL, h->staged + at + sizeof(s), s.len);
	}
	return 0;
}

static bool exchange_ok(const struct exchange *x, const struct limits *l, int64_t now)
{
	return is_past(x->sent_ns, now) && x->jitter_ns >= 0 && x->jitter_ns <= l->rekey_jitter && x->repeat_ns > 0 &&
	       x->repeat_ns <= now + l->rekey_timeout + l->rekey_jitter;
}

static void restore_exchange(struct engine *e, const struct handover_exchange *h, int64_t now)
{
	struct peer *p = device_find_peer(&e->device, h->pub);

	if (p && (!exchange_ok(&h->exchange, &e->device.limits, now) || device_restore_exchange(p, &h->exchange, now) < 0))
		log_warn("a handshake under way is begun anew", L_STR("interface", e->tun.name)); /* its index is not free */
}

int handover_restore(struct handover *h, struct engine *e)
{
	struct uapi_host host = engine_host(e);
	int64_t now = clock_now();
	const char *bad = "";
	int r;

	engine_set_mtu(e, h->mtu);
	r = uapi_apply(&host, h->config, true, now, &bad);
	if (r < 0) {
		log_error("the predecessor's configuration is not understood", L_STR("key", bad));
		return r;
	}
	if (is_past(h->cookie_secret_born_ns, now)) { /* not before the private key, with which a new one begins */
		memcpy(e->device.cookie.secret, h->cookie_secret, HASH_LEN);
		e->device.cookie.secret_born_ns = h->cookie_secret_born_ns;
	}
	for (unsigned i = 0; i < h->n_peers; i++)
		restore_peer(e, &h->peers[i], now);
	for (unsigned i = 0; i < h->n_sessions; i++)
		restore_session(e, &h->sessions[i], now);
	for (unsigned i = 0; i < h->n_exchanges; i++)
		restore_exchange(e, &h->exchanges[i], now);
	r = restore_staged(e, h);
	if (r < 0)
		return r;
	if (memcmp(h->timestamp, e->device.last_timestamp, TIMESTAMP_LEN) > 0)
		memcpy(e->device.last_timestamp, h->timestamp, TIMESTAMP_LEN);
	for (unsigned i = 0; i < h->n_udp; i++) {
		h->udp[i].gso = e->options.features.udp_gso;
		h->udp[i].mmsg = e->options.features.mmsg;
	}
	if (h->n_udp)
		engine_adopt_udp(e, take_ptr(h->udp), h->port);
	h->n_udp = 0;
	return 0;
}

int handover_finish(struct handover *h)
{
	char ready = READY, said = 0;
	int r = send_all(h->conn, &ready, 1);

	if (r == 0)
		r = receive_all(h->conn, &said, 1);
	if (r == 0 && said != GO)
		r = -EBUSY;
	if (r < 0)
		log_error("the predecessor did not let go, and goes on", L_ERRNO(r));
	return r;
}

int handover_take_metrics(struct handover *h, const char *where)
{
	return streq(h->metrics_where, where) ? take_fd(h->metrics_fd) : -1;
}

void handover_done(struct handover *h)
{
	for (unsigned i = 0; i < h->n_udp; i++)
		udp_close(&h->udp[i]);
	free(h->udp);
	steer_programs_done(&h->steer);
	secret_free(h->config, h->config_len + 1);
	secret_free(h->sessions, (h->n_sessions + 1) * sizeof(*h->sessions));
	free(h->peers);
	secret_free(h->exchanges, (h->n_exchanges + 1) * sizeof(*h->exchanges));
	free(h->staged);
	wipe(h->cookie_secret, HASH_LEN);
	h->log_fd = close_fd(h->log_fd);
	h->metrics_fd = close_fd(h->metrics_fd);
	h->conn = close_fd(h->conn);
}
