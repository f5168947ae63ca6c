/* SPDX-License-Identifier: Apache-2.0 */
/* One WireGuard interface: TUN, sockets, workers, and the device that they serve. Owned by the main thread, which runs
 * the sd-event loop with handshakes, timers, configuration and the link's state. */
#pragma once

#include "wg/device.h"
#include "wg/steer.h"
#include "wg/uapi.h"
#include "wg/worker.h"

#include <systemd/sd-event.h>

struct metrics;
struct state;

struct engine_options {
	unsigned workers;
	struct features features;
	struct limits limits;
	const char *state_dir; /* NULL: nothing is saved */
	bool taken_over;       /* a predecessor tells us all: what it has saved is not read */
	bool persist;
	struct steer_programs *steer; /* of a predecessor; taken from it, if they are of use */
};

struct engine {
	struct engine_options options;
	sd_event *event;
	struct tun tun;
	struct device device;

	uint16_t port; /* wanted, or in use while up; 0: any */
	uint32_t fwmark;
	struct udp *udp; /* one for each worker, while up */
	struct worker *workers;
	uint32_t mtu, route_mtus[MTUS_MAX - 1]; /* 0: not known; no more */
	struct mtus mtus;			 /* of both, for the data path */
	bool link_up;
	unsigned ifindex; /* of the TUN; 0: it is in another namespace */

	struct outbound out; /* this thread's own: staged packets, keepalives */
	struct data_stats stats;
	struct handshake_queue *queue;
	struct state *state;
	struct metrics *metrics; /* borrowed; NULL: none */
	struct link *link;
	struct routes *routes;
	struct steer steer;
	int wake_fd;
	sd_event_source *wake, *timer, *retry;
	_Atomic int tun_error;
};

/**
 * engine_new() - around a TUN that is open; takes it over
 * @event: borrowed
 *
 * The engine follows the link: sockets and workers exist while it is up.
 */
int engine_new(sd_event *event, const struct tun *tun, const struct engine_options *options, struct engine **ret);
/* Stops everything and closes the TUN. */
struct engine *engine_free(struct engine *e);
DEFINE_CLEANUP(struct engine *, engine_free)

/* Begins to watch the link, which starts the data path when it is up. */
int engine_start(struct engine *e);

/* Return: 0; -EADDRINUSE: the old port stays. */
int engine_set_port(struct engine *e, uint16_t port);
int engine_set_fwmark(struct engine *e, uint32_t fwmark);
void engine_set_link(struct engine *e, bool up, uint32_t mtu);
void engine_set_ifindex(struct engine *e, unsigned ifindex);
void engine_set_mtu(struct engine *e, uint32_t mtu);
/* MTUs of routes through the interface, MTUS_MAX - 1, 0: no more. */
void engine_set_route_mtus(struct engine *e, const uint32_t mtus[static MTUS_MAX - 1]);

/* After configuration was changed: runs what that has made due. */
void engine_kick(struct engine *e);

/* For handing over: stop the data path but keep sockets, TUN and sessions; and go on if it comes to nothing. */
void engine_pause(struct engine *e);
/* What had come before that: nothing of it waits any more but for answers. */
void engine_drain(struct engine *e);
int engine_resume(struct engine *e);
/* Sockets of a predecessor, before engine_start(); one pair for each worker. */
void engine_adopt_udp(struct engine *e, struct udp *udp, uint16_t port);

/* The engine as the configuration protocol sees it. */
struct uapi_host engine_host(struct engine *e);

/* Sum over all threads. */
uint64_t engine_stat(const struct engine *e, size_t offset);
size_t engine_queue_depth(struct engine *e);
