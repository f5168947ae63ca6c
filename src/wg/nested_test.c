/* SPDX-License-Identifier: Apache-2.0 */
/* Which packets from the TUN are a tunnel's, and how many tunnels within each other are too many. */
#include "base/test.h"
#include "wg/message.h"
#include "wg/nested.h"
#include "wg/packet.h"

enum { SIZE = 256 };

static uint8_t pkt[SIZE];
static size_t len;

/* @more, @offset (in eights): of a fragment, both 0: whole. @offset > 0 has no UDP header. */
static uint8_t *make(int family, uint8_t hops, uint16_t id, bool more, uint16_t offset)
{
	size_t at = family == 4 ? IP4_HDR : IP6_HDR;

	memset(pkt, 0, sizeof(pkt));
	pkt[0] = family << 4 | (family == 4 ? 5 : 0);
	if (family == 4) {
		pkt[8] = hops;
		pkt[9] = IPPROTO_UDP;
		put16(pkt + 4, id);
		put16(pkt + 6, offset | (more ? 0x2000 : 0));
		put32(pkt + 16, 0x0a000001);
	} else {
		pkt[6] = more || offset ? IPPROTO_FRAGMENT : IPPROTO_UDP;
		pkt[7] = hops;
		pkt[39] = 1;
		if (more || offset) {
			pkt[at] = IPPROTO_UDP;
			put16(pkt + at + 2, offset << 3 | more);
			put32(pkt + at + 4, id);
			at += 8;
		}
	}
	len = at + UDP_HDR + sizeof(struct msg_data) + TAG_LEN;
	return pkt + at + (offset ? 0 : UDP_HDR);
}

static int limit_of_type(struct nested *n, int family, uint32_t type, size_t size)
{
	uint8_t *payload = make(family, 64, 0, false, 0);

	payload[0] = type;
	len = payload - pkt + size;
	return nested_hop_limit(n, pkt, len);
}

static void only_messages_are_a_tunnels(void)
{
	static const struct {
		uint32_t type;
		size_t size;
		bool is;
	} cases[] = { { 1, 148, true }, { 1, 147, false }, { 2, 92, true }, { 2, 93, false }, { 3, 64, true }, { 3, 32, false },
		      { 4, 32, true },	{ 4, 31, false },  { 4, 120, true }, { 5, 64, false }, { 0, 64, false }, { 4, 0, false } };
	struct nested n = { 0 };

	for (int family = 4; family <= 6; family += 2)
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
			CHECK_INT(limit_of_type(&n, family, cases[i].type, cases[i].size), cases[i].is ? 60 : 0);
	(void)limit_of_type(&n, 4, 4, 64);
	pkt[9] = IPPROTO_TCP;
	CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
	(void)limit_of_type(&n, 4, 4, 64);
	pkt[IP4_HDR + UDP_HDR + 1] = 1; /* reserved */
	CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
}

static void sixteen_are_too_many(void)
{
	struct nested n = { 0 };
	unsigned turns = 0;

	for (int hops = 255; hops > 0; turns++) {
		*make(4, hops, 0, false, 0) = MSG_DATA;
		hops = nested_hop_limit(&n, pkt, len);
		CHECK(hops == -ELOOP || hops == 60 - 4 * (int)turns);
	}
	CHECK_INT(turns, 16);
	make(6, 1, 0, false, 0); /* what is no message goes wherever it wants */
	CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
}

static void fragments_are_what_the_first_was(void)
{
	struct nested n = { 0 };

	for (int family = 4; family <= 6; family += 2) {
		make(family, 64, 7, false, 20);
		CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
		*make(family, 64, 7, true, 0) = MSG_DATA;
		CHECK_INT(nested_hop_limit(&n, pkt, len), 60);
		make(family, 40, 7, true, 20);
		CHECK_INT(nested_hop_limit(&n, pkt, len), 36);
		make(family, 4, 7, false, 40);
		CHECK_INT(nested_hop_limit(&n, pkt, len), -ELOOP);
		make(family, 4, 8, false, 40); /* another datagram's, as of a traceroute with big ones */
		CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
	}
	for (int i = 0; i < NESTED_FRAGMENTS; i++) { /* the latest are remembered */
		*make(4, 64, 100 + i, true, 0) = MSG_DATA;
		(void)nested_hop_limit(&n, pkt, len);
	}
	make(4, 64, 100, false, 20);
	CHECK_INT(nested_hop_limit(&n, pkt, len), 60);
	make(4, 64, 7, false, 20);
	CHECK_INT(nested_hop_limit(&n, pkt, len), 0);
}

int main(void)
{
	RUN(only_messages_are_a_tunnels);
	RUN(sixteen_are_too_many);
	RUN(fragments_are_what_the_first_was);
	return test_end();
}
