/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets for handshakes by source, used under load only: 20 a second, bursts of 5, for each IPv4 address or IPv6
 * /64. A fixed table: sources that share a bucket share its tokens, so memory is bounded whatever arrives. */
#pragma once

#include "wg/endpoint.h"

enum { RATELIMIT_BUCKETS = 4096 };

struct ratelimit {
	uint64_t seed;
	struct ratelimit_bucket {
		int64_t filled_at;
		int64_t tokens_ns;
	} *buckets;
};

void ratelimit_init(struct ratelimit *r);
void ratelimit_done(struct ratelimit *r);
bool ratelimit_allow(struct ratelimit *r, const struct endpoint *source, int64_t now);
