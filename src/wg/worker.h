/* SPDX-License-Identifier: Apache-2.0 */
/* One thread of the data path: a TUN queue and a pair of sockets. It reads, seals and sends, and receives, opens and
 * writes, all by itself: an idle path has no hand-over to another thread. */
#pragma once

#include "wg/calm.h"
#include "wg/inbound.h"
#include "wg/outbound.h"
#include "wg/pace.h"
#include "wg/steer_program.h"
#include "wg/tun.h"
#include "wg/udp.h"

#include <pthread.h>

struct worker_config {
	struct device *device;
	const struct features *features;
	const struct tun *tun;
	const struct mtus *mtus;
	struct calm *calm; /* NULL: nobody wants to know */
	struct steer_board *tun_board, *socket_board; /* NULL, or where it is told that a queue was empty */
	/* From the worker's thread: */
	void (*handshake)(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from);
	void (*tun_gone)(void *ctx, int error);
	void (*calm_asks)(void *ctx);
	void *ctx;
};

struct worker {
	struct worker_config config;
	unsigned id; /* also its QSBR reader number */
	int tun_fd;
	bool reads_tun; /* queues may be fewer than workers */
	struct udp *udp;
	int epoll_fd, wake_fd;
	pthread_t thread;
	bool running;
	_Atomic bool stop;
	_Atomic unsigned keys_gone; /* cipher contexts are to forget what they hold */
	unsigned keys_gone_seen;
	struct data_stats stats; /* kept when the worker is stopped and started */
	struct inbound in;
	struct outbound out;
	uint8_t *slots, *tun_buf;
	unsigned n_slots;
	uint64_t turns;
	int64_t ended_at; /* the last turn */
	struct pace tun_pace, udp_pace[2];
	bool crowded; /* more than one packet in this turn */
	int64_t tun_empty_at, udp_empty_at[2]; /* so late or later, as this turn has seen; 0: something may be left */
	uint64_t answer_due; /* the turn after one that received */
	bool answers; /* what arrives is answered at once */
};

void worker_init(struct worker *w, const struct worker_config *config, unsigned id);
void worker_done(struct worker *w);
/* Return: 0 or -errno. */
int worker_start(struct worker *w, struct udp *udp);
/* Returns when the thread is gone; what was received is delivered. */
void worker_stop(struct worker *w);
/* Any thread: have the contexts forget retired keys soon. */
void worker_forget_keys(struct worker *w);
int64_t clock_now(void);
