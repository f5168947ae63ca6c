/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/endpoint.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <net/if.h>

bool endpoint_same_remote(const struct endpoint *a, const struct endpoint *b)
{
	if (a->to.sa.sa_family != b->to.sa.sa_family)
		return false;
	if (a->to.sa.sa_family == AF_INET)
		return a->to.in4.sin_port == b->to.in4.sin_port &&
		       a->to.in4.sin_addr.s_addr == b->to.in4.sin_addr.s_addr;
	return a->to.in6.sin6_port == b->to.in6.sin6_port && a->to.in6.sin6_scope_id == b->to.in6.sin6_scope_id &&
	       memcmp(&a->to.in6.sin6_addr, &b->to.in6.sin6_addr, 16) == 0;
}

bool endpoint_same_way(const struct endpoint *a, const struct endpoint *b)
{
	if (!endpoint_same_remote(a, b) || a->has_from != b->has_from)
		return false;
	if (!a->has_from)
		return true;
	if (a->to.sa.sa_family == AF_INET)
		return a->from4.s_addr == b->from4.s_addr;
	return memcmp(&a->from6, &b->from6, 16) == 0;
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
	return endpoint_same_way(a, b) && (!a->has_from || a->from_ifindex == b->from_ifindex);
}

void endpoint_format(const struct endpoint *e, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN];

	if (e->to.sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &e->to.in4.sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%u", host, ntohs(e->to.in4.sin_port));
		return;
	}
	inet_ntop(AF_INET6, &e->to.in6.sin6_addr, host, sizeof(host));
	if (e->to.in6.sin6_scope_id)
		snprintf(out, size, "[%s%%%u]:%u", host, e->to.in6.sin6_scope_id, ntohs(e->to.in6.sin6_port));
	else
		snprintf(out, size, "[%s]:%u", host, ntohs(e->to.in6.sin6_port));
}

static int parse_port(const char *s, in_port_t *ret)
{
	uint64_t port;
	int r = parse_u64(s, 65535, &port);

	if (r < 0)
		return -EINVAL;
	*ret = htons(port);
	return 0;
}

static int parse_scope(const char *s, uint32_t *ret)
{
	uint64_t scope;

	if (parse_u64(s, UINT32_MAX, &scope) == 0)
		*ret = scope;
	else
		*ret = if_nametoindex(s);
	return *ret ? 0 : -EINVAL;
}

static int parse_v6(char *text, struct endpoint *ret)
{
	char *close = strchr(text, ']'), *scope;

	if (!close || close[1] != ':' || parse_port(close + 2, &ret->to.in6.sin6_port) < 0)
		return -EINVAL;
	*close = '\0';
	scope = strchr(text, '%');
	if (scope) {
		*scope++ = '\0';
		if (parse_scope(scope, &ret->to.in6.sin6_scope_id) < 0)
			return -EINVAL;
	}
	ret->to.in6.sin6_family = AF_INET6;
	return inet_pton(AF_INET6, text + 1, &ret->to.in6.sin6_addr) == 1 ? 0 : -EINVAL;
}

int endpoint_parse(const char *text, struct endpoint *ret)
{
	struct endpoint e = { 0 };
	char copy[128], *colon;
	int r = 0;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	if (copy[0] == '[') {
		r = parse_v6(copy, &e);
	} else {
		colon = strrchr(copy, ':');
		if (!colon || parse_port(colon + 1, &e.to.in4.sin_port) < 0)
			return -EINVAL;
		*colon = '\0';
		e.to.in4.sin_family = AF_INET;
		r = inet_pton(AF_INET, copy, &e.to.in4.sin_addr) == 1 ? 0 : -EINVAL;
	}
	if (r == 0)
		*ret = e;
	return r;
}

struct bytes endpoint_identity(const struct endpoint *e, uint8_t buf[static 18])
{
	if (e->to.sa.sa_family == AF_INET) {
		memcpy(buf, &e->to.in4.sin_addr, 4);
		memcpy(buf + 4, &e->to.in4.sin_port, 2);
		return BYTES(buf, 6);
	}
	memcpy(buf, &e->to.in6.sin6_addr, 16);
	memcpy(buf + 16, &e->to.in6.sin6_port, 2);
	return BYTES(buf, 18);
}
