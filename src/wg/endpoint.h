/* SPDX-License-Identifier: Apache-2.0 */
/* Where a peer is: its outer address, and the local one it has been talking to (so that answers leave from there). */
#pragma once

#include "net/addr.h"
#include "wg/crypto.h"

struct endpoint {
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} to; /* sa_family 0: unknown */
	union {
		struct in_addr from4;
		struct in6_addr from6;
	};
	uint32_t from_ifindex;
	bool has_from;
};

static inline bool endpoint_is_set(const struct endpoint *e)
{
	return e->to.sa.sa_family != 0;
}
bool endpoint_same_remote(const struct endpoint *a, const struct endpoint *b);
/* The same remote, spoken to from the same address of ours, whichever interface that came by. */
bool endpoint_same_way(const struct endpoint *a, const struct endpoint *b);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);
/* "192.0.2.1:51820" or "[2001:db8::1%2]:51820" with the scope as a number. @size of at least 80. */
void endpoint_format(const struct endpoint *e, char *out, size_t size);
/* Numbers only, no names. Port 0 is one, as with the kernel's WireGuard: nothing can be sent there. Return: 0, -EINVAL. */
int endpoint_parse(const char *text, struct endpoint *ret);
/* What a cookie is bound to: address and port. @buf keeps the bytes. */
struct bytes endpoint_identity(const struct endpoint *e, uint8_t buf[static 18]);
static inline socklen_t endpoint_len(const struct endpoint *e)
{
	return e->to.sa.sa_family == AF_INET ? sizeof(e->to.in4) : sizeof(e->to.in6);
}
