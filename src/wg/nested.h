/* SPDX-License-Identifier: Apache-2.0 */
/* A tunnel in a tunnel: WireGuard's datagrams that come out of the TUN to be sealed once more. Meant, or a loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { NESTED_HOPS = 4, NESTED_HOPS_FIRST = 64, NESTED_FRAGMENTS = 64 };

/* First fragments that were a tunnel's, the latest ones. A thread each: all fragments of a datagram come out of one queue. */
struct nested {
	uint64_t fragments[NESTED_FRAGMENTS];
	unsigned at;
};

/**
 * nested_hop_limit() - of the datagram that will carry a packet from the TUN
 * @pkt: valid by ip_length(), or super-packets of such
 *
 * Return: 0: the usual one; the limit; -ELOOP: it has been sealed too often.
 */
int nested_hop_limit(struct nested *n, const uint8_t *pkt, size_t len);
