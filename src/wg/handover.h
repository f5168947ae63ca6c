/* SPDX-License-Identifier: Apache-2.0 */
/* A planned restart: the running engine stops its data path and passes TUN, sockets and sessions over the configuration
 * socket to its successor, then ends. Packets that come meanwhile wait in the queues of TUN and sockets. Of the two only one ever sends. */
#pragma once

#include "wg/engine.h"
#include "wg/metrics.h"

struct server;

/* The old one's side; @conn is the successor's connection. Return: 0: it has taken over; -errno: we go on. */
int handover_give(struct engine *e, struct server *s, int conn);

/* Records on the wire, in the two processes' own layout: the header tells their sizes. */

struct handover_session {
	uint8_t pub[KEY_LEN];
	uint32_t slot, local_index, remote_index;
	uint32_t crossed;
	uint8_t initiator, expired, confirmed, crosses;
	int64_t born_ns;
	uint64_t sent;
	uint8_t send_key[KEY_LEN], recv_key[KEY_LEN];
	struct replay_record window;
};

struct handover_peer {
	uint8_t pub[KEY_LEN], newest_timestamp[TIMESTAMP_LEN];
	int64_t last_handshake_real_ns;
	uint64_t rx_bytes, tx_bytes;
	uint8_t from[16]; /* our address that it speaks to, of its endpoint's family */
	uint32_t from_ifindex, has_from;
	uint8_t cookie[COOKIE_LEN], last_mac1[MAC_LEN]; /* as in struct cookie_maker */
	int64_t cookie_born_ns;
	uint64_t have_last_mac1;
	int64_t unanswered_ns, owed_ns; /* as in struct timers: 0 when nothing is */
	uint64_t owed_again;
};

struct handover_exchange {
	uint8_t pub[KEY_LEN];
	struct exchange exchange;
};

struct handover_staged {
	uint8_t pub[KEY_LEN];
	uint32_t len;
	struct virtio_net_hdr hdr;
};

struct handover {
	int conn; /* open until handover_done() */
	struct tun tun;
	struct udp *udp;
	unsigned n_udp;
	struct steer_programs steer; /* for as many workers as sockets */
	int listen_fd;
	int log_fd; /* the predecessor's standard error; -1: taken */
	int metrics_fd; /* listens at metrics_where; -1: it has no page, or it was taken */
	char metrics_where[METRICS_WHERE_MAX];
	uint16_t port;
	uint32_t fwmark, mtu;
	uint8_t timestamp[TIMESTAMP_LEN];
	uint8_t cookie_secret[HASH_LEN];
	int64_t cookie_secret_born_ns;
	char *config; /* this, sessions and exchanges hold keys: secret_alloc() */
	size_t config_len;
	struct handover_session *sessions;
	unsigned n_sessions;
	struct handover_peer *peers;
	unsigned n_peers;
	struct handover_exchange *exchanges;
	unsigned n_exchanges;
	char *staged; /* struct handover_staged, each with its bytes */
	size_t staged_len;
};

#define HANDOVER_NONE ((struct handover){ .conn = -1, .listen_fd = -1, .log_fd = -1, .metrics_fd = -1, .steer = STEER_PROGRAMS_NONE })

/**
 * handover_take() - the successor's side: get everything from the engine that answers at DIR/NAME.sock
 *
 * Return: 0, -ENOENT or -ECONNREFUSED when there is none, -errno.
 */
int handover_take(const char *dir, const char *name, struct handover *ret);
/* Into a new engine, before engine_start(). Return: 0 or -errno. */
int handover_restore(struct handover *h, struct engine *e);
/* All stands, and nothing was sent: may we? Before engine_start(). Return: 0: the predecessor ends; -errno: it goes on, and we may not. */
int handover_finish(struct handover *h);
/* The socket of a page at @where that the predecessor has listened at, -1: it has none. The caller's. */
int handover_take_metrics(struct handover *h, const char *where);
void handover_done(struct handover *h);
