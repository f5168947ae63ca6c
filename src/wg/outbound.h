/* SPDX-License-Identifier: Apache-2.0 */
/* Packets from the TUN to encrypted datagrams: find the peer, cut, pad, seal in place, gather runs of equal size that go
 * out with one call. One object for each thread. */
#pragma once

#include "wg/aead.h"
#include "wg/device.h"
#include "wg/nested.h"
#include "wg/stats.h"

enum { RUNS_MAX = 64, RUN_SEGMENTS_MAX = 64, RUN_BYTES_MAX = 65507 - 48, OUTBOUND_BUF = 192 << 10, UNSEALED_MAX = 16 };

/* Datagrams of one size (the last may be shorter) to one place, contiguous in the buffer. */
struct run {
	struct peer *peer;
	struct endpoint to;
	const uint8_t *data;
	uint32_t len;
	uint16_t segment; /* size of each but the last */
	uint16_t count;
	uint8_t ds;   /* traffic class: the ECN bits */
	uint8_t hops; /* hop limit; 0: the usual one */
};

struct outbound {
	struct device *device;
	struct data_stats *stats;
	/* Sends all runs. */
	void (*send)(void *ctx, const struct run *runs, unsigned n);
	/* A packet for our own side: ICMP errors. */
	void (*reply)(void *ctx, const uint8_t *pkt, size_t len);
	void *ctx;
	const struct mtus *mtus;
	bool gso; /* runs may have more than one datagram */

	struct aead aead;
	struct session *session; /* of the packets that are in the buffer, but not sealed yet */
	struct aead_packet unsealed[UNSEALED_MAX];
	unsigned n_unsealed;
	uint8_t *buf;
	size_t used;
	struct nested nested;
	struct run runs[RUNS_MAX];
	unsigned n_runs;
	int64_t icmp_tokens_ns, icmp_filled_at;
};

void outbound_init(struct outbound *o, struct device *d, struct data_stats *stats);
void outbound_done(struct outbound *o);
/* One read from the TUN. Inside a QSBR section. */
void outbound_packet(struct outbound *o, const struct virtio_net_hdr *hdr, const uint8_t *pkt, size_t len, int64_t now);
/* A packet that waited, to a session that may be used. */
void outbound_on_session(struct outbound *o, struct peer *p, struct session *s, const struct virtio_net_hdr *hdr,
			 const uint8_t *pkt, size_t len, int64_t now);
void outbound_keepalive(struct outbound *o, struct peer *p, struct session *s, int64_t now);
void outbound_flush(struct outbound *o);
