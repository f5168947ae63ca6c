/* SPDX-License-Identifier: Apache-2.0 */
/* What a router says of an outer packet of ours that does not fit (RFC 4443 3.2). */
#pragma once

#include "net/addr.h"

struct too_big {
	struct addr from, to; /* of the packet that it quotes */
	uint16_t port;	      /* to which UDP port that went */
	uint32_t mtu;
};

/* An ICMPv6 message, without its IPv6 header. Return: 0, -ENOMSG it is no such one, -EBADMSG. */
int too_big_read(const void *message, size_t size, struct too_big *ret);
