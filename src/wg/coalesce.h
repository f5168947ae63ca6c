/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of one batch into as few writes to the TUN as possible: consecutive TCP segments, and UDP datagrams of one
 * size, become one super-packet with a vnet header. Cutting a super-packet gives the same packets back (the id of
 * IPv4 packets that may not be fragmented is without meaning, RFC 6864, and may change). */
#pragma once

#include "base/macro.h"

#include <sys/uio.h>
#include <linux/virtio_net.h>

enum { COALESCE_ITEMS = 128, COALESCE_PACKETS = 1024, COALESCE_PER_ITEM = 64 };

/* One write: iov[0] is the vnet header. Return value is ignored by the coalescer. */
typedef int deliver_fn(void *ctx, const struct iovec *iov, int n, unsigned packets);

struct coalesce_item {
	uint8_t *pkt; /* the first packet: its headers become the super-packet's */
	size_t len;   /* of the first packet */
	size_t l4, headers, mss, total;
	uint32_t hash, next_seq;
	uint16_t next_id;
	bool fixed_id, open, udp;
	uint8_t last_flags;
	unsigned count;
	unsigned first_more, last_more; /* in ->more: payloads after the first packet's */
	uint8_t chain;			/* item + 1 with the same bucket */
};

struct coalescer {
	deliver_fn *deliver;
	void *ctx;
	bool tcp, udp; /* what may be joined */
	unsigned n_items, n_more;
	uint8_t buckets[256];
	struct coalesce_item items[COALESCE_ITEMS];
	struct {
		uint8_t *data;
		uint32_t len, next;
	} more[COALESCE_PACKETS];
};

/* @pkt is one whole IP packet, already trimmed; it must stay until the flush, which may change its headers. */
void coalesce_add(struct coalescer *c, uint8_t *pkt, size_t len);
void coalesce_flush(struct coalescer *c);
