/* SPDX-License-Identifier: Apache-2.0 */
/* The two packets that open an SCTP association (RFC 9260, 5.1), made by hand: the kernels that labs run on need not know SCTP. A raw
 * socket gets and sends them without the IP header; the checksum is over these bytes alone, in both families. */
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SCTP_INIT = 1, SCTP_INIT_ACK = 2, SCTP_STATE_COOKIE = 7 };

/* Common header, the chunk, and in an INIT-ACK the cookie that it must bear. */
struct sctp_packet {
	uint16_t sport, dport;
	uint32_t tag;
	uint8_t sum[4]; /* CRC32c, the least significant byte first */
	uint8_t type, flags;
	uint16_t chunk_len;
	uint32_t initiate_tag, window;
	uint16_t out_streams, in_streams;
	uint32_t first_tsn;
	uint16_t param, param_len;
	uint32_t cookie;
} __attribute__((packed));

enum { SCTP_INIT_LEN = 32, SCTP_INIT_ACK_LEN = 40 };
_Static_assert(sizeof(struct sctp_packet) == SCTP_INIT_ACK_LEN, "as on the wire");

static inline uint32_t sctp_crc32c(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static inline void sctp_seal(struct sctp_packet *s, size_t len)
{
	uint32_t crc;

	memset(s->sum, 0, sizeof(s->sum));
	crc = sctp_crc32c((const uint8_t *)s, len);
	for (int i = 0; i < 4; i++)
		s->sum[i] = crc >> 8 * i;
}

/* @type: SCTP_INIT or SCTP_INIT_ACK; @tag: the receiver's, 0 in an INIT; @own: the sender's. Return: its length. */
static inline size_t sctp_make(struct sctp_packet *s, uint8_t type, uint16_t sport, uint16_t dport, uint32_t tag, uint32_t own)
{
	size_t len = type == SCTP_INIT ? SCTP_INIT_LEN : SCTP_INIT_ACK_LEN;

	*s = (struct sctp_packet){ .sport = htons(sport), .dport = htons(dport), .tag = htonl(tag), .type = type, .chunk_len = htons(len - 12),
				   .initiate_tag = htonl(own), .window = htonl(65536), .out_streams = htons(1), .in_streams = htons(1),
				   .first_tsn = htonl(1), .param = htons(SCTP_STATE_COOKIE), .param_len = htons(8) };
	sctp_seal(s, len);
	return len;
}

/* Is it whole, and of this type? */
static inline bool sctp_is(const uint8_t *data, size_t len, uint8_t type, struct sctp_packet *ret)
{
	size_t wanted = type == SCTP_INIT ? SCTP_INIT_LEN : SCTP_INIT_ACK_LEN;
	uint8_t sum[4];

	if (len != wanted)
		return false;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, data, len);
	memcpy(sum, ret->sum, sizeof(sum));
	sctp_seal(ret, len);
	return ret->type == type && memcmp(sum, ret->sum, sizeof(sum)) == 0;
}

/* Behind the IPv4 header, which raw sockets of that family show. */
static inline const uint8_t *sctp_after_ip(bool v4, const uint8_t *data, size_t *len)
{
	size_t head = v4 && *len >= 20 ? (data[0] & 15) * 4u : 0;

	if (v4 && (head < 20 || head > *len)) {
		*len = 0;
		return data;
	}
	*len -= head;
	return data + head;
}
