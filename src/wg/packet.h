/* SPDX-License-Identifier: Apache-2.0 */
/* Inner packets: fields by offset (they are unaligned and come from outside), checksums. */
#pragma once

#include "base/macro.h"

#include <endian.h>
#include <netinet/in.h>

enum { IP4_HDR = 20, IP6_HDR = 40, TCP_HDR = 20, UDP_HDR = 8, ECN_MASK = 3, ECN_ECT0 = 2, ECN_CE = 3 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}
static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}
static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}
static inline void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

/* Ones' complement sum of bytes in memory order, unfolded; sums may be added. An odd @n only for the last part. */
uint64_t csum_add(const uint8_t *p, size_t n, uint64_t sum);
/* To 16 bits, as they lie in memory (put with memcpy). */
uint16_t csum_fold(uint64_t sum);
/* The pseudo header of a packet of either version. */
uint64_t csum_pseudo(const uint8_t *ip, uint8_t proto, size_t l4_len);
void ip4_set_checksum(uint8_t *ip, size_t hdr_len);

/* The ECN field; an outer congestion mark enters an inner packet that can carry one (RFC 6040). */
static inline uint8_t ip_ecn(const uint8_t *ip)
{
	return (ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & ECN_MASK;
}
void ip_mark_congestion(uint8_t *ip);

/**
 * ip_length() - the whole length of a packet by its own header
 *
 * Return: bytes, or 0 when it is neither IPv4 nor IPv6 or longer than @len.
 */
size_t ip_length(const uint8_t *p, size_t len);
/* Where the UDP header is; 0: there is none (another protocol, a later fragment). @len as by ip_length(). */
size_t ip_udp_at(const uint8_t *p, size_t len);
