/* SPDX-License-Identifier: Apache-2.0 */
/* Received datagrams to packets for the TUN: authenticate in place, refuse replays, check that the inner source is the
 * peer's, join. Handshake messages are passed on. One object for each worker. */
#pragma once

#include "wg/coalesce.h"
#include "wg/device.h"
#include "wg/stats.h"

struct inbound {
	struct device *device;
	struct data_stats *stats;
	void (*handshake)(void *ctx, const uint8_t *msg, size_t len, const struct endpoint *from);
	void *ctx;
	struct aead aead;
	struct coalescer join;
};

void inbound_init(struct inbound *in, struct device *d, struct data_stats *stats);
void inbound_done(struct inbound *in);

/**
 * inbound_message() - one received message of one or more datagrams
 * @segment: size of each datagram but the last (@len or more: there is one)
 * @ds: the outer traffic class
 *
 * Inside a QSBR section. @buf is decrypted in place and must stay until inbound_flush().
 */
void inbound_message(struct inbound *in, uint8_t *buf, size_t len, size_t segment, const struct endpoint *from, uint8_t ds,
		     int64_t now);
void inbound_flush(struct inbound *in);
