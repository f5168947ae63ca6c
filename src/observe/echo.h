/* SPDX-License-Identifier: Apache-2.0 */
/* The packets by which nodes are measured: ICMP echo, which the other kernel answers by itself. Pure. */
#pragma once

#include "base/macro.h"

enum { ECHO_BYTES = 8 + 16 }; /* ICMP header, slot, nonce */

struct echo {
	uint32_t slot;	/* whose it is, to the sender */
	uint64_t nonce; /* so that nobody answers what was not asked */
};

/* An echo request, with its checksum where the kernel leaves that to the sender (IPv4). */
void echo_encode(bool v6, uint16_t id, uint16_t seq, const struct echo *p, uint8_t out[static ECHO_BYTES]);
/* A packet from a raw socket (IPv4: with its IP header). Return: 0, -EBADMSG when it is no answer to a probe with this @id. */
int echo_decode(bool v6, uint16_t id, const void *data, size_t len, struct echo *ret);
