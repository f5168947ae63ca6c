/* SPDX-License-Identifier: Apache-2.0 */
/* Small numbers for things in maps. One that is given back rests until policy_settle(): a program may still hold it. */
#include "policy/store.h"

uint32_t id_take(struct id_pool *pool)
{
	if (pool->n_free)
		return pool->free[--pool->n_free];
	assert(pool->next < UINT32_MAX);
	return pool->next++;
}

void id_rest(struct id_pool *pool, uint32_t id, uint64_t since)
{
	GROW(pool->resting, pool->n_resting, pool->cap_resting);
	pool->resting[pool->n_resting++] = (struct resting_id){ id, since };
}

void id_pool_settle(struct id_pool *pool, uint64_t compiled)
{
	size_t out = 0;

	for (size_t i = 0; i < pool->n_resting; i++) {
		if (pool->resting[i].since >= compiled) {
			pool->resting[out++] = pool->resting[i];
			continue;
		}
		GROW(pool->free, pool->n_free, pool->cap_free);
		pool->free[pool->n_free++] = pool->resting[i].id;
	}
	pool->n_resting = out;
}

void id_pool_done(struct id_pool *pool)
{
	free(pool->free);
	free(pool->resting);
}
