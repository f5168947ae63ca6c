/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments of a pod that would hide from policies what they put together, and those that are as they should be. */
#include "hostile.h"

#define FROM_A(why) DROPPED("from_pod", if_a, why)

static void fragment4(uint16_t off, uint16_t id, size_t payload)
{
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_TCP);
	frame_ip4(&f)->frag_off = htons(0x2000 | off / 8);
	frame_ip4(&f)->id = htons(id);
	if (payload)
		frame_payload(&f, payload);
	else
		frame_tcp(&f, 1, 2, "S");
	frame_end(&f);
}

static void fragments(void)
{
	fragment4(0, 1, 16); /* 16 bytes of a TCP header */
	FROM_A(DROP_FRAGMENT_TINY);
	fragment4(8, 1, 100);
	FROM_A(DROP_FRAGMENT_OVERLAP);
	fragment4(1480, 77, 100);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment4(0, 77, 0);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	fragment4(1480, 78, 100); /* another packet's */
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, "\x06\0\x05\xc8\0\0\0\1", 8);
	frame_payload(&f, 100);
	frame_end(&f);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, "\x06\0\0\1\0\0\0\1", 8);
	frame_payload(&f, 16);
	frame_end(&f);
	FROM_A(DROP_FRAGMENT_TINY);
}

/* A fragment over IPv6; the first one, if there are @options bytes of them, has those before its TCP header, of which there are @n bytes. */
static void fragment6(uint8_t next, uint16_t off, uint8_t id, size_t options, size_t n)
{
	uint8_t header[8] = { next, 0, off >> 8, off | 1, [7] = id }, option[8] = { IPPROTO_TCP, options / 8 - 1, 1, 4 };
	uint8_t tcp[20] = { 0, 1, 0, 2, [12] = 0x50, 0x02 };

	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, header, sizeof(header));
	if (options)
		frame_put(&f, option, sizeof(option));
	if (options > 8)
		frame_payload(&f, options - 8);
	if (off)
		frame_payload(&f, n);
	else
		frame_put(&f, tcp, n);
	frame_end(&f);
}

#define PASSES() CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT)

/* Extension headers that are fragmented with what they stand before: what a later fragment names as next header counts for nothing. */
static void fragments_behind_options(void)
{
	flows_clear();
	fragment6(IPPROTO_DSTOPTS, 0, 1, 16, 16);
	FROM_A(DROP_FRAGMENT_TINY);
	fragment6(IPPROTO_DSTOPTS, 0, 2, 1544, 20);
	FROM_A(DROP_EXTENSION_HEADERS);
	fragment6(IPPROTO_DSTOPTS, 40, 3, 0, 64);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment6(IPPROTO_DSTOPTS, 0, 3, 16, 20);
	PASSES();
	for (uint16_t off = 8; off < 36; off += 8) { /* its headers end after 36 bytes */
		fragment6(IPPROTO_DSTOPTS, off, 3, 0, 64);
		FROM_A(DROP_FRAGMENT_OVERLAP);
		fragment6(IPPROTO_UDP, off, 3, 0, 64);
		FROM_A(DROP_FRAGMENT_OVERLAP);
	}
	fragment6(IPPROTO_DSTOPTS, 40, 3, 0, 64);
	PASSES();
	fragment6(IPPROTO_TCP, 40, 3, 0, 64);
	PASSES();
	fragment6(IPPROTO_DSTOPTS, 40, 4, 0, 64);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment6(IPPROTO_DSTOPTS, 0, 5, 1536, 20); /* as many as there may be */
	PASSES();
	fragment6(IPPROTO_DSTOPTS, 1552, 5, 0, 64);
	FROM_A(DROP_FRAGMENT_OVERLAP);
	fragment6(IPPROTO_DSTOPTS, 1560, 5, 0, 64);
	PASSES();
}

/* Of what is put together nothing may lie behind its 65,535th byte; over IPv6 its own header is not counted. */
static void a_datagram_longer_than_any(void)
{
	flows_clear();
	fragment4(0, 90, 0);
	PASSES();
	fragment4(65480, 90, 36);
	FROM_A(DROP_MALFORMED);
	fragment4(65480, 90, 35);
	PASSES();
	fragment6(IPPROTO_TCP, 0, 91, 0, 20);
	PASSES();
	fragment6(IPPROTO_TCP, 65480, 91, 0, 56);
	FROM_A(DROP_MALFORMED);
	fragment6(IPPROTO_TCP, 65480, 91, 0, 55);
	PASSES();
}

/* Extension headers behind the packet's end: the next fragment, or nobody, has what its receiver reads there. What stands there in the frame, for
 * which Ethernet has room, is for us alone, so it must not be what is judged. */
static void headers_behind_the_end(void)
{
	for (int i = 0; i < 4; i++) {
		begin(ETH_P_IPV6);
		frame_ip(&f, A6, B6, i & 1 ? IPPROTO_FRAGMENT : IPPROTO_DSTOPTS);
		if (i & 1)
			frame_put(&f, "\x3c\0\0\1\0\0\0\7", 8); /* the first one */
		frame_put(&f, i & 2 ? "\x3b\1\1\4\0\0\0" : "\x3c\0\1\4\0\0\0", 8);
		frame_end(&f);
		frame_put(&f, i & 2 ? "\0\0\0\0\0\0\0" : "\x3b\0\1\4\0\0\0", 8); /* the end of the options, or further ones */
		FROM_A(i & 1 ? DROP_FRAGMENT_TINY : DROP_TRUNCATED);
	}
}

int main(void)
{
	harness_init();
	RUN(fragments);
	RUN(fragments_behind_options);
	RUN(a_datagram_longer_than_any);
	RUN(headers_behind_the_end);
	harness_done();
	return test_end();
}
