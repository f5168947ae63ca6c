/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/ratelimit.h"

#include "base/str.h"
#include "wg/timers.h"

enum { PER_SECOND = 20, BURST = 5 };

void ratelimit_init(struct ratelimit *r)
{
	crypto_random(&r->seed, sizeof(r->seed));
	r->buckets = xcalloc(RATELIMIT_BUCKETS, sizeof(*r->buckets));
}

void ratelimit_done(struct ratelimit *r)
{
	free(r->buckets);
	r->buckets = NULL;
}

bool ratelimit_allow(struct ratelimit *r, const struct endpoint *source, int64_t now)
{
	const int64_t cost = NS_PER_S / PER_SECOND, most = cost * BURST;
	bool v4 = source->to.sa.sa_family == AF_INET;
	uint64_t h = v4 ? hash_bytes(&source->to.in4.sin_addr, 4, r->seed) :
			  hash_bytes(&source->to.in6.sin6_addr, 8, r->seed);
	struct ratelimit_bucket *b = &r->buckets[(h ^ h >> 32) % RATELIMIT_BUCKETS];

	if (!b->filled_at)
		b->tokens_ns = most;
	else
		b->tokens_ns = MIN(most, b->tokens_ns + (now - b->filled_at));
	b->filled_at = now;
	if (b->tokens_ns < cost)
		return false;
	b->tokens_ns -= cost;
	return true;
}
