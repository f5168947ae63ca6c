/* SPDX-License-Identifier: Apache-2.0 */
/* A packet read from its bytes, and its checksums. */
#pragma once

#include "base/test.h"
#include "frame.h"

static inline uint32_t sum_of(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : p[i] << 8;
	return sum;
}

static inline uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What a packet says, read from its bytes. */
struct view {
	const uint8_t *ip;
	size_t l4, len; /* from ip; len: by the header */
	bool v6;
	uint8_t proto;
	struct addr src, dst;
	uint16_t sport, dport; /* ICMP echo: the identifier, twice */
};

static inline struct view view_of(const uint8_t *ip)
{
	struct view v = { .ip = ip, .v6 = ip[0] >> 4 == 6 };
	const uint8_t *l4;

	v.l4 = v.v6 ? 40 : (ip[0] & 15) * 4;
	v.len = v.v6 ? 40 + (ip[4] << 8 | ip[5]) : ip[2] << 8 | ip[3];
	v.proto = v.v6 ? ip[6] : ip[9];
	if (v.proto == IPPROTO_FRAGMENT) {
		v.proto = ip[40];
		v.l4 += 8;
	}
	addr_from_raw(ip + (v.v6 ? 8 : 12), v.v6 ? 16 : 4, &v.src);
	addr_from_raw(ip + (v.v6 ? 24 : 16), v.v6 ? 16 : 4, &v.dst);
	l4 = ip + v.l4;
	if (v.proto == IPPROTO_ICMP || v.proto == IPPROTO_ICMPV6)
		v.sport = v.dport = l4[4] << 8 | l4[5];
	else {
		v.sport = l4[0] << 8 | l4[1];
		v.dport = l4[2] << 8 | l4[3];
	}
	return v;
}

static inline size_t sum_offset(uint8_t proto)
{
	return proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
}

/* Sum over pseudo header and the transport part: 0xffff when the checksum is right. */
static inline uint16_t transport_sum(const struct view *v)
{
	uint32_t sum = sum_of(v->ip + v->l4, v->len - v->l4);

	if (v->proto != IPPROTO_ICMP)
		sum += sum_of(v->ip + (v->v6 ? 8 : 12), v->v6 ? 32 : 8) + v->proto + (v->len - v->l4);
	return fold(sum);
}

static inline void set_transport_sum(struct frame *frame)
{
	struct view v = view_of(frame->data + frame->l3);
	uint8_t *at = frame->data + frame->l3 + v.l4 + sum_offset(v.proto);
	uint16_t sum;

	at[0] = at[1] = 0;
	sum = ~transport_sum(&v);
	at[0] = sum >> 8;
	at[1] = sum;
}

#define CHECK_SUMS(v)                                                                                                  \
	do {                                                                                                           \
		CHECK((v)->v6 || frame_ip4_checksum_ok((v)->ip));                                                      \
		CHECK_INT(transport_sum(v), 0xffff);                                                                   \
	} while (0)
