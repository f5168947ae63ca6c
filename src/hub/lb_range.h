/* SPDX-License-Identifier: Apache-2.0 */
/* A span of addresses of one family, as a LoadBalancerPool lists them. Pure. */
#pragma once

#include "net/addr.h"

struct lb_range {
	struct addr first, last; /* both included */
};

/**
 * lb_range_parse() - "192.0.2.0/28", "192.0.2.10-192.0.2.20" or "192.0.2.7"; the same in IPv6
 *
 * Return: 0, -EINVAL: neither, host bits in a prefix, two families, or the end before the start.
 */
int lb_range_parse(const char *text, struct lb_range *ret);

static inline bool lb_range_contains(const struct lb_range *r, const struct addr *a)
{
	return addr_cmp(&r->first, a) <= 0 && addr_cmp(a, &r->last) <= 0;
}

static inline bool lb_range_meets(const struct lb_range *a, const struct lb_range *b)
{
	return addr_cmp(&a->first, &b->last) <= 0 && addr_cmp(&b->first, &a->last) <= 0;
}

struct lb_range lb_range_of_prefix(const struct prefix *p);

/* How many addresses; LB_RANGE_MANY stands for that many or more. */
#define LB_RANGE_MANY ((uint64_t)1 << 53) /* what a JSON reader can still tell apart */
uint64_t lb_range_count(const struct lb_range *r);

/* Why nothing of the range can be a load balancer's (loopback, link-local, multicast, reserved), or NULL. */
const char *lb_range_fault(const struct lb_range *r);
