/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/lb_range.h"
#include "base/str.h"

struct lb_range lb_range_of_prefix(const struct prefix *p)
{
	struct lb_range r = { p->addr, p->addr };

	for (unsigned bit = p->len; bit < 128; bit++)
		r.last.b[bit / 8] |= 0x80 >> (bit % 8);
	return r;
}

static int parse_span(const char *text, const char *dash, struct lb_range *ret)
{
	_cleanup_free_ char *first = xstrndup(text, dash - text);
	struct lb_range r;

	if (addr_parse(first, &r.first) < 0 || addr_parse(dash + 1, &r.last) < 0)
		return -EINVAL;
	if (addr_is_v4(&r.first) != addr_is_v4(&r.last) || addr_cmp(&r.first, &r.last) > 0)
		return -EINVAL;
	*ret = r;
	return 0;
}

int lb_range_parse(const char *text, struct lb_range *ret)
{
	const char *dash = strchr(text, '-');
	struct prefix p;

	if (dash)
		return parse_span(text, dash, ret);
	if (strchr(text, '/')) {
		if (prefix_parse(text, &p, NULL) < 0)
			return -EINVAL;
		*ret = lb_range_of_prefix(&p);
		return 0;
	}
	if (addr_parse(text, &ret->first) < 0)
		return -EINVAL;
	ret->last = ret->first;
	return 0;
}

uint64_t lb_range_count(const struct lb_range *r)
{
	uint64_t n = 0;
	int borrow = 0;

	for (int i = 15; i >= 0; i--) { /* last - first, of which the upper half must be 0 */
		int d = r->last.b[i] - r->first.b[i] - borrow;

		borrow = d < 0;
		d &= 0xff;
		if (i < 8 && d)
			return LB_RANGE_MANY;
		n |= i < 8 ? 0 : (uint64_t)d << (8 * (15 - i));
	}
	return MIN(n, LB_RANGE_MANY - 1) + 1;
}

const char *lb_range_fault(const struct lb_range *r)
{
	static const struct {
		const char *prefix, *why;
	} special[] = {
		{ "0.0.0.0/8", "0.0.0.0/8 is no host's (RFC 1122)" },
		{ "127.0.0.0/8", "127.0.0.0/8 is loopback" },
		{ "169.254.0.0/16", "169.254.0.0/16 is link-local" },
		{ "224.0.0.0/3", "224.0.0.0/3 is multicast and reserved" },
		{ "::/127", "::/127 is unspecified and loopback" },
		{ "fe80::/10", "fe80::/10 is link-local" },
		{ "ff00::/8", "ff00::/8 is multicast" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
		struct lb_range s;

		if (lb_range_parse(special[i].prefix, &s) == 0 && addr_is_v4(&s.first) == addr_is_v4(&r->first) &&
		    lb_range_meets(r, &s))
			return special[i].why;
	}
	return NULL;
}
