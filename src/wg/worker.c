/* SPDX-License-Identifier: Apache-2.0 */
/* One turn of the loop: what epoll reports, in rounds with a bound, so that neither direction starves. Everything sent or
 * written by a turn leaves before the turn ends: no timer holds packets back. */
#include "wg/worker.h"

#include "base/log.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS_UDP = 4, READS_TUN = 128, GRO_SLOTS = 8, PLAIN_SLOTS = UDP_BATCH_MAX };
enum { EV_TUN, EV_UDP4, EV_UDP6, EV_WAKE };

int64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t); /* keys age while the machine sleeps */
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int deliver(void *ctx, const struct iovec *iov, int n, unsigned packets)
{
	struct worker *w = ctx;
	int r = tun_write(w->config.tun, w->tun_fd, iov, n);

	STAT_ADD(&w->stats, tun_writes, 1);
	if (r < 0)
		STAT_ADD(&w->stats, tun_write_errors, packets);
	else
		STAT_ADD(&w->stats, tun_written_packets, packets);
	return r;
}

static void reply(void *ctx, const uint8_t *pkt, size_t len)
{
	struct virtio_net_hdr hdr = { 0 };
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)pkt, len } };

	deliver(ctx, iov, 2, 1);
}

static void send_runs(void *ctx, const struct run *runs, unsigned n)
{
	struct worker *w = ctx;

	udp_send_runs(w->udp, runs, n, &w->stats);
	w->out.gso = atomic_load_explicit(&w->udp->gso, memory_order_relaxed);
}

static void on_handshake(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from)
{
	struct worker *w = ctx;

	w->config.handshake(w->config.ctx, msg, len, from);
}

void worker_init(struct worker *w, const struct worker_config *config, unsigned id)
{
	*w = (struct worker){ .config = *config, .id = id, .epoll_fd = -1, .wake_fd = -1 };
}

void worker_done(struct worker *w)
{
	worker_stop(w);
}

/* Buffers are big and mostly untouched: whole pages from the kernel, so that an idle worker stays small. */
static uint8_t *map_buffer(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int watch(struct worker *w, int fd, uint32_t what)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = what };

	return fd < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

/* From the socket of IPv4 (@v 0) or IPv6 (1). Return: messages received. */
static unsigned receive(struct worker *w, unsigned v, bool one, int64_t now)
{
	int fd = v ? w->udp->fd6 : w->udp->fd4;
	struct udp_message msgs[UDP_BATCH_MAX];
	unsigned max = one ? 1 : w->n_slots, rounds = one ? 1 : ROUNDS_UDP, got = 0;
	bool left = fd >= 0;

	for (unsigned round = 0; left && round < rounds; round++) {
		int n = udp_receive(w->udp, fd, w->slots, max, msgs);

		left = n && (!w->udp->mmsg || n < 0 || n == (int)max);
		for (int i = 0; i < n; i++) {
			w->crowded |= msgs[i].segment && msgs[i].len > msgs[i].segment;
			inbound_message(&w->in, msgs[i].data, msgs[i].len, msgs[i].segment, &msgs[i].from, msgs[i].ds, now);
		}
		inbound_flush(&w->in, now);
		if (n < 0) /* errors of a socket (ICMP) are for single packets: nothing to do about them */
			break;
		got += n;
	}
	w->udp_empty_at[v] = left ? 0 : now;
	return got;
}

/* Return: reads that found something. */
static unsigned transmit(struct worker *w, bool one, int64_t now)
{
	unsigned reads = one ? 1 : READS_TUN, got;
	struct virtio_net_hdr hdr;

	w->tun_empty_at = 0;
	for (got = 0; got < reads; got++) {
		ssize_t n = tun_read(w->config.tun, w->tun_fd, &hdr, w->tun_buf);

		if (n == -EAGAIN)
			w->tun_empty_at = now;
		if (n == -EBADFD) {
			atomic_store(&w->stop, true);
			w->config.tun_gone(w->config.ctx, n);
		}
		if (n <= 0)
			break;
		w->crowded |= hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE;
		outbound_packet(&w->out, &hdr, w->tun_buf, n, now);
	}
	outbound_flush(&w->out);
	return got;
}

static bool is_wanted(const struct worker *w, struct steer_board *b)
{
	return b && atomic_load_explicit(&b->slots[w->id].wanted, memory_order_relaxed);
}

/* Who takes all there are sees the queue empty, and then a flow may leave it. */
static bool take_one(struct worker *w, struct pace *p, struct steer_board *b, bool waited)
{
	return (pace_begin(p, w->turns, waited) && !is_wanted(w, b)) || !w->config.features->batch;
}

static void tell_empty(const struct worker *w, struct steer_board *b, int64_t at)
{
	if (!b || !at)
		return;
	atomic_store_explicit(&b->slots[w->id].empty_at, at, memory_order_release);
	if (is_wanted(w, b))
		atomic_store_explicit(&b->slots[w->id].wanted, 0, memory_order_relaxed);
}

/* @alone: how often packets had come singly before. */
static void end_pace(struct worker *w, struct pace *p, unsigned alone, unsigned got)
{
	pace_end(p, got);
	w->crowded |= got > 1 || p->alone < alone;
}

static void on_tun(struct worker *w, bool waited, int64_t now)
{
	unsigned alone = w->tun_pace.alone;

	end_pace(w, &w->tun_pace, alone, transmit(w, take_one(w, &w->tun_pace, w->config.tun_board, waited), now));
}

/* What arrives is often answered at once by the machine's own stack (an echo, an acknowledgement), and then the answer waits
 * in the TUN when the packet is written: taken here, it needs no wake-up of its own. */
static void on_udp(struct worker *w, unsigned v, bool waited, int64_t now)
{
	struct pace *p = &w->udp_pace[v];
	unsigned alone = p->alone;
	bool one = take_one(w, p, w->config.socket_board, waited);

	end_pace(w, p, alone, receive(w, v, one, now));
	w->answer_due = w->turns + 1;
	if (one && w->answers && w->reads_tun) {
		unsigned got = transmit(w, true, now);

		w->answers = got > 0;
		end_pace(w, &w->tun_pace, w->tun_pace.alone, got);
	}
}

static void forget_keys(struct worker *w)
{
	unsigned seen = atomic_load(&w->keys_gone);

	if (seen == w->keys_gone_seen)
		return;
	w->keys_gone_seen = seen;
	aead_forget(&w->in.aead);
	aead_forget(&w->out.aead);
}

/* The sockets count together: where one was read to its end and a flow would leave, the other one is looked at, too. */
static void tell_queues(struct worker *w, int64_t now)
{
	if (is_wanted(w, w->config.socket_board))
		for (unsigned v = 0; v < 2; v++)
			if (w->udp_empty_at[v] == w->ended_at && w->udp_empty_at[1 - v] == now)
				receive(w, v, false, now);
	tell_empty(w, w->config.tun_board, w->tun_empty_at);
	tell_empty(w, w->config.socket_board, MIN(w->udp_empty_at[0], w->udp_empty_at[1]));
}

/* What is there, or -1: nothing yet. While packets are handled near, a worker that has nothing left says so before it sleeps, after it has answered:
 * the next packet of a flow comes where its process runs by then, and may go to that worker at once. */
static int look_once(struct worker *w, struct epoll_event *evs, int max)
{
	struct steer_board *b = w->config.socket_board;
	int n;

	if (!b || !atomic_load_explicit(&b->near, memory_order_relaxed))
		return -1;
	n = epoll_wait(w->epoll_fd, evs, max, 0);
	if (n)
		return n;
	tell_empty(w, w->config.tun_board, w->ended_at);
	tell_empty(w, b, w->ended_at);
	return -1;
}

static void turn(struct worker *w, const struct epoll_event *evs, int n)
{
	int64_t now = clock_now();
	bool waited = now - w->ended_at > PACE_WAITED_NS;

	w->turns++;
	w->crowded = false;
	/* What epoll_wait() has not reported was empty when it looked, after the last turn. */
	w->tun_empty_at = w->udp_empty_at[0] = w->udp_empty_at[1] = w->ended_at;
	for (int i = 0; i < n; i++) {
		eventfd_t value;

		switch (evs[i].data.u32) {
		case EV_TUN:
			if (!waited && w->answer_due == w->turns)
				w->answers = true;
			on_tun(w, waited, now);
			break;
		case EV_UDP4:
			on_udp(w, 0, waited, now);
			break;
		case EV_UDP6:
			on_udp(w, 1, waited, now);
			break;
		default:
			(void)eventfd_read(w->wake_fd, &value);
		}
	}
	forget_keys(w);
	if (w->config.calm && calm_note(w->config.calm, now, w->crowded))
		w->config.calm_asks(w->config.ctx);
	tell_queues(w, now);
	w->ended_at = clock_now();
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct qsbr *qsbr = &w->config.device->qsbr;
	struct epoll_event evs[4];

	while (!atomic_load(&w->stop)) {
		int n = look_once(w, evs, ARRAY_SIZE(evs));

		if (n < 0)
			n = epoll_wait(w->epoll_fd, evs, ARRAY_SIZE(evs), -1);
		qsbr_online(qsbr, w->id);
		turn(w, evs, n);
		qsbr_offline(qsbr, w->id);
	}
	return NULL;
}

static int set_up(struct worker *w)
{
	const struct features *f = w->config.features;
	int r;

	w->n_slots = w->udp->gro ? GRO_SLOTS : PLAIN_SLOTS;
	w->slots = map_buffer((size_t)w->n_slots * UDP_SLOT);
	w->tun_buf = map_buffer(TUN_READ_MAX);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!w->slots || !w->tun_buf)
		return -ENOMEM;
	if (w->epoll_fd < 0 || w->wake_fd < 0)
		return -errno;
	inbound_init(&w->in, w->config.device, &w->stats);
	w->in.handshake = on_handshake;
	w->in.ctx = w;
	w->in.join.deliver = deliver;
	w->in.join.ctx = w;
	w->in.join.tcp = f->coalesce && w->config.tun->vnet_hdr;
	w->in.join.udp = f->coalesce && w->config.tun->uso;
	outbound_init(&w->out, w->config.device, &w->stats);
	w->out.send = send_runs;
	w->out.reply = reply;
	w->out.ctx = w;
	w->out.mtus = w->config.mtus;
	w->out.gso = atomic_load(&w->udp->gso);
	r = watch(w, w->wake_fd, EV_WAKE);
	if (r == 0)
		r = watch(w, w->udp->fd4, EV_UDP4);
	if (r == 0)
		r = watch(w, w->udp->fd6, EV_UDP6);
	if (r == 0 && w->reads_tun)
		r = watch(w, w->tun_fd, EV_TUN);
	return r;
}

static void tear_down(struct worker *w)
{
	if (w->in.aead.ctx)
		inbound_done(&w->in);
	if (w->out.aead.ctx)
		outbound_done(&w->out);
	w->epoll_fd = close_fd(w->epoll_fd);
	w->wake_fd = close_fd(w->wake_fd);
	if (w->slots)
		munmap(w->slots, (size_t)w->n_slots * UDP_SLOT);
	if (w->tun_buf)
		munmap(w->tun_buf, TUN_READ_MAX);
	w->slots = w->tun_buf = NULL;
}

int worker_start(struct worker *w, struct udp *udp)
{
	const struct tun *t = w->config.tun;
	int r;

	w->udp = udp;
	w->tun_fd = t->fds[w->id % t->n];
	w->reads_tun = w->id < t->n;
	atomic_store(&w->stop, false);
	r = set_up(w);
	if (r == 0)
		r = -pthread_create(&w->thread, NULL, run, w);
	w->running = r == 0;
	if (r < 0)
		tear_down(w);
	return r;
}

void worker_stop(struct worker *w)
{
	if (!w->running)
		return;
	atomic_store(&w->stop, true);
	(void)eventfd_write(w->wake_fd, 1);
	pthread_join(w->thread, NULL);
	w->running = false;
	tear_down(w);
}

void worker_forget_keys(struct worker *w)
{
	atomic_fetch_add(&w->keys_gone, 1);
	if (w->running)
		(void)eventfd_write(w->wake_fd, 1);
}
