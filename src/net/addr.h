/* SPDX-License-Identifier: Apache-2.0 */
/* One address type for both families: 16 bytes, network order, IPv4 as ::ffff:a.b.c.d. */
#pragma once

#include "base/macro.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct addr {
	uint8_t b[16];
};

/* Bits beyond len are zero. len counts from the 16-byte form: an IPv4 /24 is 120. */
struct prefix {
	struct addr addr;
	uint8_t len;
};

enum { IPV6_LEAST_MTU = 1280 }; /* RFC 8200 5: what each link has for a packet of it */
enum { ADDR_TEXT_MAX = 46, PREFIX_TEXT_MAX = 50, ENDPOINT_TEXT_MAX = 56, V4_BITS_BEFORE = 96 };

static inline bool addr_is_v4(const struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}
static inline bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
static inline bool addr_is_zero(const struct addr *a)
{
	static const struct addr zero;

	return addr_eq(a, &zero);
}
static inline int addr_family(const struct addr *a)
{
	return addr_is_v4(a) ? AF_INET : AF_INET6;
}
static inline int addr_cmp(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a));
}

/* One node's, as other networks may reach it: neither of a group, nor of this host or this link only, nor of none at all. */
bool addr_is_routable(const struct addr *a);

struct addr addr_from_v4(struct in_addr a);
struct addr addr_from_v6(const struct in6_addr *a);
/* The bytes as the kernel wants them: 4 for IPv4, 16 for IPv6. */
static inline const void *addr_raw(const struct addr *a)
{
	return addr_is_v4(a) ? a->b + 12 : a->b;
}
static inline size_t addr_raw_len(const struct addr *a)
{
	return addr_is_v4(a) ? 4 : 16;
}
/* From @n raw bytes (4 or 16). Return: 0, -EINVAL. */
int addr_from_raw(const void *raw, size_t n, struct addr *ret);

/**
 * addr_parse() - "10.0.0.1" or "fd00::1"; no zone, no brackets, no IPv4-mapped text form, no leading zeros
 *
 * Return: 0, -EINVAL.
 */
int addr_parse(const char *s, struct addr *ret);

/* Writes the canonical text form (RFC 5952) and returns @out. */
const char *addr_format(const struct addr *a, char out[static ADDR_TEXT_MAX]);

/**
 * prefix_parse() - "10.0.0.0/24" or "fd00::/64"
 * @ret_host: when not NULL, receives the address as written and host bits are accepted; else they are -EINVAL
 *
 * Return: 0, -EINVAL.
 */
int prefix_parse(const char *s, struct prefix *ret, struct addr *ret_host);
const char *prefix_format(const struct prefix *p, char out[static PREFIX_TEXT_MAX]);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_covers(const struct prefix *outer, const struct prefix *inner);
static inline bool prefix_eq(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && addr_eq(&a->addr, &b->addr);
}
/* The prefix of length @len (16-byte form) that holds @a. */
struct prefix prefix_of(const struct addr *a, uint8_t len);
static inline struct prefix prefix_host(const struct addr *a)
{
	return prefix_of(a, 128);
}
/* Length as people write it: 24 for an IPv4 /24. */
static inline unsigned prefix_len_text(const struct prefix *p)
{
	return addr_is_v4(&p->addr) && p->len >= V4_BITS_BEFORE ? p->len - V4_BITS_BEFORE : p->len;
}
/* The first address plus @n (n below 2^32); wraps within 16 bytes. */
struct addr addr_add(const struct addr *a, uint32_t n);

/* "10.0.0.1:80", "[fd00::1]:80" from and to address and port (host order). */
const char *addr_port_format(const struct addr *a, uint16_t port, char out[static ENDPOINT_TEXT_MAX]);
int addr_port_parse(const char *s, struct addr *ret_addr, uint16_t *ret_port);

/* Socket addresses. A sockaddr of another family is -EAFNOSUPPORT. */
socklen_t addr_to_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ret);
int addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret_addr, uint16_t *ret_port);

/* "02:00:00:00:00:01" */
enum { MAC_TEXT_MAX = 18 };
const char *mac_format(const uint8_t mac[6], char out[static MAC_TEXT_MAX]);
int mac_parse(const char *s, uint8_t ret[6]);
