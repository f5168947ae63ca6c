/* SPDX-License-Identifier: Apache-2.0 */
/* The outer sockets: for each worker one of each family, all on one port (SO_REUSEPORT). */
#pragma once

#include "wg/feature.h"
#include "wg/outbound.h"

enum { UDP_BATCH_MAX = 32, UDP_SLOT = 65536, UDP_BUFFER = 7 << 20 };

struct udp {
	int fd4, fd6;	   /* -1: none */
	_Atomic bool gso;  /* cleared when a device under us cannot */
	bool gro, mmsg;
};

/**
 * udp_open() - @n pairs of sockets on one port
 * @port: 0: the kernel chooses
 * @ret: array of @n
 *
 * Return: the port; -EADDRINUSE, -errno. A family that the machine does not have is left out.
 */
int udp_open(uint16_t port, uint32_t fwmark, const struct features *want, unsigned n, struct udp *ret);
void udp_close(struct udp *u);
int udp_set_mark(const struct udp *u, uint32_t fwmark);

/* Sends all runs; those that fail are counted, and a source address that has become invalid is forgotten. */
void udp_send_runs(struct udp *u, const struct run *runs, unsigned n, struct data_stats *stats);
/* One datagram. Return: 0 or -errno. */
int udp_send_one(struct udp *u, const struct endpoint *to, const void *msg, size_t len, uint8_t ds);

struct udp_message {
	uint8_t *data;
	size_t len, segment;
	struct endpoint from;
	uint8_t ds;
};

/**
 * udp_receive() - what is there, up to @max messages
 * @fd: one of a pair's
 * @slots: @max buffers of UDP_SLOT bytes, one after the other
 *
 * Return: number of messages, 0: none, or -errno.
 */
int udp_receive(const struct udp *u, int fd, uint8_t *slots, unsigned max, struct udp_message *ret);

/* What the kernel says about a message beside its bytes: datagram size, local address, traffic class. */
void udp_read_control(struct msghdr *m, struct udp_message *msg);
