/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's thread: it owns the device (see device.h), so handshakes, timers and configuration need no locks. Workers
 * wake it through an eventfd. While the link is down there are no sockets and no workers, as with the kernel's WireGuard. */
#include "wg/engine.h"

#include "base/log.h"
#include "wg/link.h"
#include "wg/queue.h"
#include "wg/routes.h"
#include "wg/secret.h"
#include "wg/state.h"
#include "wg/uapi.h"

#include <sys/eventfd.h>
#include <time.h>

#define RETRY_USEC (UINT64_C(1000) * 1000)
enum { HANDSHAKE_DS = 0x88 /* AF41, as the kernel's */, STAGED_A_TURN = 2 * STAGED_MAX, STAGED_A_FLUSH = 16 };

/* The device's means to act. */

static void op_send(void *ctx, struct peer *p, const struct endpoint *to, const void *msg, size_t len)
{
	struct engine *e = ctx;
	int r;

	if (!e->udp)
		return;
	r = udp_send_one(&e->udp[0], to, msg, len, HANDSHAKE_DS);
	STAT_ADD(&e->stats, udp_sends, 1);
	if (r == 0) {
		STAT_ADD(&e->stats, udp_sent, 1);
		return;
	}
	STAT_ADD(&e->stats, udp_send_errors, 1);
	if (p)
		peer_forget_source(p);
}

static void send_runs(void *ctx, const struct run *runs, unsigned n)
{
	struct engine *e = ctx;

	if (!e->udp)
		return;
	udp_send_runs(&e->udp[0], runs, n, &e->stats);
	e->out.gso = atomic_load(&e->udp[0].gso);
}

static void op_send_keepalive(void *ctx, struct peer *p, struct session *s, int64_t now)
{
	struct engine *e = ctx;

	outbound_keepalive(&e->out, p, s, now);
	outbound_flush(&e->out);
}

/* Newer packets queue up behind those that are on their way, and may come as fast as these go: what is left after a turn is sent in the next
 * one, so that other peers and timers are not kept waiting. */
static void op_send_staged(void *ctx, struct peer *p, struct session *s, int64_t now)
{
	struct engine *e = ctx;
	struct staged *some[STAGED_A_FLUSH];
	unsigned n, total = 0;
	bool sent = false;

	do {
		for (n = 0; n < STAGED_A_FLUSH && (some[n] = peer_unstage(p)); n++) {
			if (some[n]->len) {
				outbound_on_session(&e->out, p, s, &some[n]->hdr, some[n]->data, some[n]->len, now);
				sent = true;
			}
		}
		outbound_flush(&e->out); /* before newer packets may pass by the empty queue */
		for (unsigned i = 0; i < n; i++)
			peer_staged_done(p, some[i]);
		total += n;
	} while (n == STAGED_A_FLUSH && total < STAGED_A_TURN);
	if (n == STAGED_A_FLUSH)
		device_post(p, PEER_STAGED);
	if (!sent)
		op_send_keepalive(e, p, s, now);
}

static void op_changed(void *ctx)
{
	struct engine *e = ctx;

	state_touch(e->state);
}

static void op_accepted(void *ctx, struct peer *p)
{
	struct engine *e = ctx;

	state_accepted(e->state, p);
}

static void op_answered(void *ctx, struct peer *p)
{
	struct engine *e = ctx;

	state_answered(e->state, p);
}

static void op_peer_changed(void *ctx, struct peer *p)
{
	struct engine *e = ctx;

	state_touch_peer(e->state, p);
}

static int op_way_out(void *ctx, const struct endpoint *to)
{
	struct engine *e = ctx;

	return e->routes ? routes_way_out(e->routes, to) : -ENOENT;
}

static void op_wake(void *ctx)
{
	struct engine *e = ctx;

	(void)eventfd_write(e->wake_fd, 1);
}

static void op_keys_gone(void *ctx)
{
	struct engine *e = ctx;

	aead_forget(&e->out.aead);
	for (unsigned i = 0; i < e->options.workers; i++)
		worker_forget_keys(&e->workers[i]);
}

static int64_t op_real_time(void *ctx _unused_)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void op_timestamp(void *ctx, const uint8_t timestamp[static TIMESTAMP_LEN])
{
	struct engine *e = ctx;

	state_reserve_timestamp(e->state, timestamp);
}

static const struct device_ops ops = {
	.send = op_send,
	.send_keepalive = op_send_keepalive,
	.send_staged = op_send_staged,
	.changed = op_changed,
	.accepted = op_accepted,
	.answered = op_answered,
	.peer_changed = op_peer_changed,
	.way_out = op_way_out,
	.wake = op_wake,
	.keys_gone = op_keys_gone,
	.real_time = op_real_time,
	.timestamp = op_timestamp,
};

/* From the workers' threads. */

static void on_handshake(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from)
{
	struct engine *e = ctx;
	int r = handshake_queue_push(e->queue, msg, len, from);

	if (r == 1)
		op_wake(e);
	else if (r < 0)
		atomic_fetch_add(&e->stats.drop_handshake_queue, 1);
}

static void on_calm(void *ctx)
{
	op_wake(ctx);
}

static void on_tun_gone(void *ctx, int error)
{
	struct engine *e = ctx;

	atomic_store(&e->tun_error, error);
	op_wake(e);
}

/* The loop. */

static void arm(struct engine *e, int64_t deadline, bool retired)
{
	int64_t now = clock_now();

	/* What readers may still hold is looked at again soon; they are in the middle of a batch at most. */
	if (retired)
		deadline = MIN(deadline, now + 10 * NS_PER_MS);
	if (deadline == NEVER) {
		(void)sd_event_source_set_enabled(e->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(e->timer, deadline / 1000 + 1);
	(void)sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

static void take_handshakes(struct engine *e)
{
	struct handshake_message some[HANDSHAKES_MAX];
	size_t left;
	unsigned n = handshake_queue_pop(e->queue, some, ARRAY_SIZE(some), &left);

	if (n)
		device_on_handshakes(&e->device, clock_now(), some, n, left);
	if (left)
		op_wake(e);
}

void engine_drain(struct engine *e)
{
	while (handshake_queue_depth(e->queue))
		take_handshakes(e);
	engine_kick(e);
}

void engine_kick(struct engine *e)
{
	int64_t next = device_run(&e->device, clock_now());

	arm(e, next, qsbr_poll(&e->device.qsbr));
}

static int on_wake(sd_event_source *s _unused_, int fd, uint32_t events _unused_, void *ctx)
{
	struct engine *e = ctx;
	eventfd_t value;

	(void)eventfd_read(fd, &value);
	if (atomic_load(&e->tun_error)) {
		log_info("the interface is gone", L_STR("interface", e->tun.name));
		return sd_event_exit(e->event, 0);
	}
	if (atomic_load(&e->steer.calm.asked))
		steer_decide(e);
	engine_kick(e); /* what is due comes before what has arrived */
	take_handshakes(e);
	engine_kick(e);
	return 0;
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	engine_kick(ctx);
	return 0;
}

/* The data path. */

int engine_resume(struct engine *e)
{
	int r = 0;

	steer_data_path(e, true);
	for (unsigned i = 0; r == 0 && i < e->options.workers; i++)
		r = worker_start(&e->workers[i], &e->udp[i]);
	if (r < 0)
		engine_pause(e);
	return r;
}

void engine_pause(struct engine *e)
{
	if (e->udp)
		steer_data_path(e, false);
	for (unsigned i = 0; i < e->options.workers; i++)
		worker_stop(&e->workers[i]);
}

static int open_sockets(struct engine *e, uint16_t port, struct udp **ret)
{
	struct udp *udp = xnew0_array(struct udp, e->options.workers);
	int r = udp_open(port, e->fwmark, &e->options.features, e->options.workers, udp);

	if (r < 0) {
		free(udp);
		return r;
	}
	e->port = r;
	atomic_store(&e->device.port, htons(r));
	*ret = udp;
	return 0;
}

static void close_sockets(struct engine *e)
{
	for (unsigned i = 0; e->udp && i < e->options.workers; i++)
		udp_close(&e->udp[i]);
	free(e->udp);
	e->udp = NULL;
}

static int start_data_path(struct engine *e)
{
	int r = e->udp ? 0 : open_sockets(e, e->port, &e->udp);

	if (r == 0)
		r = engine_resume(e);
	if (r < 0) {
		close_sockets(e);
		return r;
	}
	device_set_up(&e->device, true, clock_now());
	engine_kick(e);
	return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec _unused_, void *ctx)
{
	struct engine *e = ctx;

	if (!e->link_up || e->udp)
		return 0;
	if (start_data_path(e) == 0) {
		log_info("the data path is started", L_STR("interface", e->tun.name), L_UINT("port", e->port));
		return 0;
	}
	(void)sd_event_source_set_time_relative(s, RETRY_USEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* With the kernel's WireGuard an interface does not go up whose port is taken. A TUN is up by now: the port is tried again, once a second. */
static void retry_later(struct engine *e)
{
	if (!e->retry) {
		(void)sd_event_add_time_relative(e->event, &e->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, e);
		return;
	}
	(void)sd_event_source_set_time_relative(e->retry, RETRY_USEC);
	(void)sd_event_source_set_enabled(e->retry, SD_EVENT_ONESHOT);
}

static int go_up(struct engine *e)
{
	int r = start_data_path(e);

	if (r < 0) {
		log_error("cannot start the data path", L_STR("interface", e->tun.name), L_UINT("port", e->port),
			  L_ERRNO(r));
		retry_later(e);
	}
	return r;
}

static void go_down(struct engine *e)
{
	device_set_up(&e->device, false, clock_now());
	engine_pause(e);
	close_sockets(e);
	engine_kick(e);
}

static int compare_mtus(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* A worker that reads meanwhile pads a packet by too much or too little, once. */
static void publish_mtus(struct engine *e)
{
	uint32_t all[MTUS_MAX] = { e->mtu };
	unsigned n = 0;

	memcpy(all + 1, e->route_mtus, sizeof(e->route_mtus));
	qsort(all, MTUS_MAX, sizeof(all[0]), compare_mtus);
	for (unsigned i = 0; i < MTUS_MAX; i++)
		if (all[i])
			atomic_store(&e->mtus.of[n++], all[i]);
	while (n < MTUS_MAX)
		atomic_store(&e->mtus.of[n++], 0);
}

void engine_set_mtu(struct engine *e, uint32_t mtu)
{
	e->mtu = mtu;
	publish_mtus(e);
}

void engine_set_route_mtus(struct engine *e, const uint32_t mtus[static MTUS_MAX - 1])
{
	memcpy(e->route_mtus, mtus, sizeof(e->route_mtus));
	publish_mtus(e);
}

void engine_set_ifindex(struct engine *e, unsigned ifindex)
{
	e->ifindex = ifindex;
	routes_moved(e->routes);
}

void engine_set_link(struct engine *e, bool up, uint32_t mtu)
{
	if (mtu)
		engine_set_mtu(e, mtu);
	if (e->link_up == up)
		return;
	e->link_up = up;
	log_info(up ? "interface is up" : "interface is down", L_STR("interface", e->tun.name));
	if (up)
		(void)go_up(e); /* logged; another port may be set and tried */
	else
		go_down(e);
}

int engine_set_port(struct engine *e, uint16_t port)
{
	struct udp *udp;
	uint16_t old = e->port;
	int r;

	if (!e->udp || port == old) {
		e->port = port;
		state_touch(e->state);
		return e->link_up && !e->udp ? go_up(e) : 0;
	}
	r = open_sockets(e, port, &udp);
	if (r < 0)
		return r;
	engine_pause(e);
	close_sockets(e);
	e->udp = udp;
	state_touch(e->state);
	return engine_resume(e);
}

int engine_set_fwmark(struct engine *e, uint32_t fwmark)
{
	int r = 0;

	for (unsigned i = 0; e->udp && r == 0 && i < e->options.workers; i++)
		r = udp_set_mark(&e->udp[i], fwmark);
	if (r < 0)
		return r;
	if (e->fwmark != fwmark) /* by it packets take other ways */
		device_forget_sources(&e->device);
	e->fwmark = fwmark;
	state_touch(e->state);
	return 0;
}

void engine_adopt_udp(struct engine *e, struct udp *udp, uint16_t port)
{
	e->udp = udp;
	e->port = port;
	atomic_store(&e->device.port, htons(port));
}

/* Making and ending. */

static int add_sources(struct engine *e)
{
	int r;

	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->wake_fd < 0)
		return -errno;
	r = sd_event_add_io(e->event, &e->wake, e->wake_fd, EPOLLIN, on_wake, e);
	if (r < 0)
		return r;
	return sd_event_add_time(e->event, &e->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, e);
}

int engine_new(sd_event *event, const struct tun *tun, const struct engine_options *options, struct engine **ret)
{
	_cleanup_(engine_freep) struct engine *e = secret_alloc(sizeof(*e)); /* the node's own key is in it */
	struct worker_config config;
	int r;

	e->options = *options;
	e->event = sd_event_ref(event);
	e->tun = *tun;
	e->wake_fd = -1;
	device_init(&e->device, &ops, e);
	e->device.limits = options->limits;
	steer_init(&e->steer, &e->tun, &e->options.features, options->workers, options->steer);
	e->queue = handshake_queue_new();
	if (!e->queue)
		return -ENOMEM;
	outbound_init(&e->out, &e->device, &e->stats);
	e->out.send = send_runs;
	e->out.ctx = e;
	e->out.mtus = &e->mtus;
	config = (struct worker_config){ .device = &e->device,
					 .features = &e->options.features,
					 .tun = &e->tun,
					 .mtus = &e->mtus,
					 .handshake = on_handshake,
					 .tun_gone = on_tun_gone,
					 .calm = steer_on(&e->steer) ? &e->steer.calm : NULL,
					 .tun_board = e->steer.programs.tun.board,
					 .socket_board = e->steer.programs.sockets.board,
					 .calm_asks = on_calm,
					 .ctx = e };
	e->workers = xnew0_array(struct worker, options->workers);
	for (unsigned i = 0; i < options->workers; i++)
		worker_init(&e->workers[i], &config, i);
	r = add_sources(e);
	if (r < 0)
		return r;
	r = state_new(e, options->state_dir, !options->taken_over, &e->state);
	if (r < 0)
		return r;
	*ret = take_ptr(e);
	return 0;
}

int engine_start(struct engine *e)
{
	int r;

	state_begin(e->state);
	r = link_new(e, &e->link);
	if (r == 0)
		r = routes_new(e, &e->routes);
	if (r == 0)
		engine_kick(e);
	return r;
}

struct engine *engine_free(struct engine *e)
{
	if (!e)
		return NULL;
	link_free(e->link);
	e->routes = routes_free(e->routes);
	engine_pause(e);
	e->state = state_free(e->state);
	device_done(&e->device);
	close_sockets(e);
	if (e->out.aead.ctx)
		outbound_done(&e->out);
	sd_event_source_unref(e->wake);
	sd_event_source_unref(e->timer);
	sd_event_source_unref(e->retry);
	close_fd(e->wake_fd);
	handshake_queue_free(e->queue);
	free(e->workers);
	steer_done(&e->steer, &e->tun);
	tun_close(&e->tun);
	sd_event_unref(e->event);
	secret_free(e, sizeof(*e));
	return NULL;
}

static uint16_t host_port(void *ctx)
{
	return ((struct engine *)ctx)->port;
}

static uint32_t host_fwmark(void *ctx)
{
	return ((struct engine *)ctx)->fwmark;
}

static int host_set_port(void *ctx, uint16_t port)
{
	return engine_set_port(ctx, port);
}

static int host_set_fwmark(void *ctx, uint32_t fwmark)
{
	return engine_set_fwmark(ctx, fwmark);
}

struct uapi_host engine_host(struct engine *e)
{
	return (struct uapi_host){ .device = &e->device,
				   .port = host_port,
				   .fwmark = host_fwmark,
				   .set_port = host_set_port,
				   .set_fwmark = host_set_fwmark,
				   .ctx = e };
}

uint64_t engine_stat(const struct engine *e, size_t offset)
{
	uint64_t sum = atomic_load((const _Atomic uint64_t *)((const char *)&e->stats + offset));

	for (unsigned i = 0; i < e->options.workers; i++)
		sum += atomic_load((const _Atomic uint64_t *)((const char *)&e->workers[i].stats + offset));
	return sum;
}

size_t engine_queue_depth(struct engine *e)
{
	return handshake_queue_depth(e->queue);
}
