/* SPDX-License-Identifier: Apache-2.0 */
/* Equal blocks of a prefix, given out and taken back: node ranges (blocks of /24) and service addresses (blocks of one
 * address). Nothing is stored here: who holds what is in the objects, and is claimed again at start. */
#pragma once

#include "net/addr.h"

struct pool;

/**
 * pool_new() - all blocks free
 * @block_len: length of a block in the 16-byte form, at least that of @p; of longer differences than 20 bits the
 *             first 2^20 blocks are used
 *
 * Return: 0, -EINVAL.
 */
int pool_new(const struct prefix *p, uint8_t block_len, struct pool **ret);
struct pool *pool_free(struct pool *p);
DEFINE_CLEANUP(struct pool *, pool_free)

/* Next fit: what was given back last is given out last. Return: 0, -ENOSPC. */
int pool_take(struct pool *p, struct prefix *ret);
/* As pool_take(), from the lowest block up. */
int pool_take_lowest(struct pool *p, struct prefix *ret);
/* Return: 0, -ERANGE when it is no block of this pool, -EEXIST when it is taken. */
int pool_claim(struct pool *p, const struct prefix *block);
/* Whether it could be claimed; the same codes. */
int pool_check(const struct pool *p, const struct prefix *block);
void pool_return(struct pool *p, const struct prefix *block); /* foreign and free blocks are ignored */
size_t pool_free_count(const struct pool *p);
const struct prefix *pool_prefix(const struct pool *p);
