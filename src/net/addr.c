/* SPDX-License-Identifier: Apache-2.0 */
#include "net/addr.h"
#include "base/str.h"

#include <arpa/inet.h>

struct addr addr_from_v4(struct in_addr a)
{
	struct addr r = { .b = { [10] = 0xff, [11] = 0xff } };

	memcpy(r.b + 12, &a, 4);
	return r;
}

struct addr addr_from_v6(const struct in6_addr *a)
{
	struct addr r;

	memcpy(r.b, a, 16);
	return r;
}

int addr_from_raw(const void *raw, size_t n, struct addr *ret)
{
	if (n == 16) {
		memcpy(ret->b, raw, 16);
		return 0;
	}
	if (n == 4) {
		struct in_addr a;

		memcpy(&a, raw, 4);
		*ret = addr_from_v4(a);
		return 0;
	}
	return -EINVAL;
}

int addr_parse(const char *s, struct addr *ret)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, s, &v4) == 1) {
		*ret = addr_from_v4(v4);
		return 0;
	}
	if (inet_pton(AF_INET6, s, &v6) != 1 || IN6_IS_ADDR_V4MAPPED(&v6))
		return -EINVAL;
	*ret = addr_from_v6(&v6);
	return 0;
}

const char *addr_format(const struct addr *a, char out[static ADDR_TEXT_MAX])
{
	inet_ntop(addr_family(a), addr_raw(a), out, ADDR_TEXT_MAX);
	return out;
}

struct prefix prefix_of(const struct addr *a, uint8_t len)
{
	struct prefix p = { .addr = *a, .len = len };

	assert(len <= 128);
	for (int i = 0; i < 16; i++) {
		int keep = len - i * 8;

		if (keep <= 0)
			p.addr.b[i] = 0;
		else if (keep < 8)
			p.addr.b[i] &= 0xff << (8 - keep);
	}
	return p;
}

int prefix_parse(const char *s, struct prefix *ret, struct addr *ret_host)
{
	const char *slash = strchr(s, '/');
	char text[ADDR_TEXT_MAX];
	struct prefix p;
	struct addr a;
	uint64_t len;

	if (!slash || slash - s >= (ptrdiff_t)sizeof(text))
		return -EINVAL;
	memcpy(text, s, slash - s);
	text[slash - s] = 0;
	if (addr_parse(text, &a) < 0 || parse_u64(slash + 1, addr_is_v4(&a) ? 32 : 128, &len) < 0 ||
	    (slash[1] == '0' && slash[2]))
		return -EINVAL;
	p = prefix_of(&a, addr_is_v4(&a) ? V4_BITS_BEFORE + len : len);
	if (ret_host)
		*ret_host = a;
	else if (!addr_eq(&p.addr, &a))
		return -EINVAL;
	*ret = p;
	return 0;
}

const char *prefix_format(const struct prefix *p, char out[static PREFIX_TEXT_MAX])
{
	char text[ADDR_TEXT_MAX];

	snprintf(out, PREFIX_TEXT_MAX, "%s/%u", addr_format(&p->addr, text), prefix_len_text(p));
	return out;
}

bool addr_is_routable(const struct addr *a)
{
	if (addr_is_v4(a))
		return a->b[12] != 0 && a->b[12] != 127 && a->b[12] < 224 && !(a->b[12] == 169 && a->b[13] == 254);
	return a->b[0] != 0 && a->b[0] != 0xff && !(a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80);
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	struct prefix q = prefix_of(a, p->len);

	return addr_eq(&p->addr, &q.addr);
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->len <= inner->len && prefix_contains(outer, &inner->addr);
}

struct addr addr_add(const struct addr *a, uint32_t n)
{
	struct addr r = *a;
	uint64_t carry = n;

	for (int i = 15; i >= 0 && carry; i--) {
		carry += r.b[i];
		r.b[i] = carry;
		carry >>= 8;
	}
	return r;
}

const char *addr_port_format(const struct addr *a, uint16_t port, char out[static ENDPOINT_TEXT_MAX])
{
	char text[ADDR_TEXT_MAX];

	snprintf(out, ENDPOINT_TEXT_MAX, addr_is_v4(a) ? "%s:%u" : "[%s]:%u", addr_format(a, text), port);
	return out;
}

int addr_port_parse(const char *s, struct addr *ret_addr, uint16_t *ret_port)
{
	const char *colon = strrchr(s, ':'), *from = s;
	char text[ADDR_TEXT_MAX];
	uint64_t port;
	size_t n;

	if (!colon)
		return -EINVAL;
	n = colon - s;
	if (*s == '[') {
		if (n < 2 || s[n - 1] != ']')
			return -EINVAL;
		from++;
		n -= 2;
	}
	if (n >= sizeof(text) || parse_u64(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	memcpy(text, from, n);
	text[n] = 0;
	if (addr_parse(text, ret_addr) < 0 || addr_is_v4(ret_addr) == (*s == '['))
		return -EINVAL;
	*ret_port = port;
	return 0;
}

socklen_t addr_to_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (addr_is_v4(a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, addr_raw(a), 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, a->b, 16);
	return sizeof(*in6);
}

int addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret_addr, uint16_t *ret_port)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		*ret_addr = addr_from_v4(in->sin_addr);
		*ret_port = ntohs(in->sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		*ret_addr = addr_from_v6(&in6->sin6_addr);
		*ret_port = ntohs(in6->sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}

const char *mac_format(const uint8_t mac[6], char out[static MAC_TEXT_MAX])
{
	snprintf(out, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return out;
}

int mac_parse(const char *s, uint8_t ret[6])
{
	uint8_t mac[6];

	if (strlen(s) != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		char hex[3] = { s[i * 3], s[i * 3 + 1] };

		if (strspn(hex, "0123456789abcdefABCDEF") != 2 || (i < 5 && s[i * 3 + 2] != ':'))
			return -EINVAL;
		mac[i] = strtoul(hex, NULL, 16);
	}
	memcpy(ret, mac, 6);
	return 0;
}
