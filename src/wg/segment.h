/* SPDX-License-Identifier: Apache-2.0 */
/* One packet as the TUN hands it out (perhaps a 64 KiB TCP or UDP super-packet with an unfinished checksum) into the
 * packets that go on the wire. */
#pragma once

#include "base/macro.h"

#include <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

struct segmenter {
	const uint8_t *pkt;
	size_t len, pos;	 /* pos: payload consumed up to here */
	size_t l4, headers, mss; /* l4: offset of the TCP or UDP header; mss 0: a single packet */
	size_t csum_at;		 /* checksum field, when the checksum is ours to finish; else 0 */
	uint8_t proto;
	unsigned index;
};

/**
 * segment_begin() - check a packet and get ready to cut it
 *
 * Return: how many packets it makes (at least 1), -EINVAL when headers and @hdr do not fit each other.
 */
int segment_begin(struct segmenter *s, const struct virtio_net_hdr *hdr, const uint8_t *pkt, size_t len);

/* Length of the next one; 0: there is none. */
size_t segment_next_len(const struct segmenter *s);
/* Writes it, whole and with its checksums, to @out, which has segment_next_len() bytes. */
void segment_next(struct segmenter *s, uint8_t *out);
