/* SPDX-License-Identifier: Apache-2.0 */
/* LoadBalancerPools as the planner uses them: ranges that can be given out, and which addresses of them are taken. Pure. */
#pragma once

#include "base/htab.h"
#include "hub/lb_plan.h"
#include "hub/lb_range.h"

struct lb_range_state {
	struct lb_range range;
	struct addr next; /* everything in the range before it is taken */
	bool full;
};

struct lb_pool {
	const json_t *json;
	struct lb_range_state *ranges;
	size_t n_ranges;
	size_t assigned;
	size_t next_claim[2]; /* IPv6, IPv4: no claim before it is to be had */
	uint64_t total;
	char *conflict; /* the first thing that is wrong with its ranges, or NULL */
};

struct lb_use {
	struct htab_node node;
	struct addr addr;
	const json_t *by; /* the Service, the Node whose own it is, or the EndpointSlice with the API server */
	bool is_node, is_api;
	bool is_claim; /* @by names it in externalIPs; nobody has it */
};

struct lb_pools {
	struct lb_pool *pools;
	size_t n;
	struct htab used; /* struct lb_use */
	struct lb_use **claims; /* in the order in which they came */
	size_t n_claims, cap_claims;
	const struct lb_input *in;
};

void lb_pools_init(struct lb_pools *p, const struct lb_input *in);
void lb_pools_done(struct lb_pools *p);

/* Is the pool there for the Service: class, labels of both, and the pool that it names. */
bool lb_pool_serves(const struct lb_pools *p, const struct lb_pool *pool, const json_t *svc);
/* The pool for @svc that holds the address, or NULL. */
struct lb_pool *lb_pools_find(struct lb_pools *p, const json_t *svc, const struct addr *a);
/* Who has the address, or NULL. A claim is no use. */
const struct lb_use *lb_pools_use(const struct lb_pools *p, const struct addr *a);
/* @pool may be NULL: nobody may have it any more. An address that is taken stays whose it is. */
void lb_pools_take(struct lb_pools *p, struct lb_pool *pool, const struct addr *a, const json_t *by);
/* Named in externalIPs: given when nothing else is left, or to who asks for it. */
void lb_pools_claim(struct lb_pools *p, const struct addr *a, const json_t *by);
/* A free address of the pool that nobody claims, taken for @by. Amortised O(1) over one plan. Return: 0, -ENOSPC, -ENOENT: none of the family. */
int lb_pool_take_free(struct lb_pools *p, struct lb_pool *pool, bool v4, const json_t *by, struct addr *ret);
/* The same, of those that are claimed. Return: 0, -ENOSPC. */
int lb_pool_take_claimed(struct lb_pools *p, struct lb_pool *pool, bool v4, const json_t *by, struct addr *ret);

/* A LabelSelector on labels; NULL selects everything, an operator that is unknown nothing. */
bool label_selector_matches(const json_t *selector, const json_t *labels);
