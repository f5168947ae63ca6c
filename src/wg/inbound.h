/* SPDX-License-Identifier: Apache-2.0 */
/* Received datagrams to packets for the TUN: authenticate in place, refuse replays, check that the inner source is the
 * peer's, join. Handshake messages are passed on. One object for each worker. */
#pragma once

#include "wg/aead.h"
#include "wg/coalesce.h"
#include "wg/device.h"
#include "wg/stats.h"

enum { ARRIVED_MAX = 16 };

/* A data message of a session of ours, not opened yet. */
struct arrived {
	struct session *session;
	const struct endpoint *from;
	uint8_t ds;
};

struct inbound {
	struct device *device;
	struct data_stats *stats;
	void (*handshake)(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from);
	void *ctx;
	struct aead aead;
	struct arrived arrived[ARRIVED_MAX];
	struct aead_packet packets[ARRIVED_MAX]; /* theirs */
	unsigned n_arrived;
	struct {
		struct peer *peer; /* NULL: nothing known */
		uint8_t family, addr[16];
	} proven; /* the inner source that was found to be the peer's last, until the next flush */
	struct coalescer join;
};

void inbound_init(struct inbound *in, struct device *d, struct data_stats *stats);
void inbound_done(struct inbound *in);

/**
 * inbound_message() - one received message of one or more datagrams
 * @segment: size of each datagram but the last (@len or more: there is one)
 * @ds: the outer traffic class
 *
 * Inside a QSBR section, inbound_flush() included. @buf is decrypted in place and must stay until then, and so must @from.
 */
void inbound_message(struct inbound *in, uint8_t *buf, size_t len, size_t segment, const struct endpoint *from, uint8_t ds,
		     int64_t now);
void inbound_flush(struct inbound *in, int64_t now);
