/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/pool.h"

enum { INDEX_BITS_MAX = 20 };

struct pool {
	struct prefix prefix;
	uint8_t block_len;
	uint32_t n, used, next;
	uint64_t *bits; /* set: taken */
};

int pool_new(const struct prefix *prefix, uint8_t block_len, struct pool **ret)
{
	unsigned bits;
	struct pool *p;

	if (block_len < prefix->len || block_len > 128)
		return -EINVAL;
	bits = MIN(block_len - prefix->len, (int)INDEX_BITS_MAX);
	p = xnew0(struct pool);
	*p = (struct pool){ .prefix = *prefix, .block_len = block_len, .n = 1u << bits };
	p->bits = xnew0_array(uint64_t, (p->n + 63) / 64);
	*ret = p;
	return 0;
}

struct pool *pool_free(struct pool *p)
{
	if (p)
		free(p->bits);
	free(p);
	return NULL;
}

static bool is_taken(const struct pool *p, uint32_t i)
{
	return p->bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint8_t *b, unsigned at, bool on)
{
	uint8_t mask = 0x80 >> (at % 8);

	b[at / 8] = on ? b[at / 8] | mask : b[at / 8] & ~mask;
}

/* Block i: the index stands in the low 20 bits above the block's own. */
static struct prefix block_of(const struct pool *p, uint32_t i)
{
	struct prefix b = { .addr = p->prefix.addr, .len = p->block_len };

	for (unsigned bit = 0; bit < INDEX_BITS_MAX && bit < p->block_len; bit++)
		if (i >> bit & 1)
			set_bit(b.addr.b, p->block_len - 1 - bit, true);
	return b;
}

static int index_of(const struct pool *p, const struct prefix *block, uint32_t *ret)
{
	struct prefix expected;
	uint32_t i = 0;

	if (block->len != p->block_len || !prefix_covers(&p->prefix, block))
		return -ERANGE;
	for (unsigned bit = 0; bit < INDEX_BITS_MAX && p->block_len - 1 - (int)bit >= p->prefix.len; bit++) {
		unsigned at = p->block_len - 1 - bit;

		i |= (uint32_t)(block->addr.b[at / 8] >> (7 - at % 8) & 1) << bit;
	}
	expected = block_of(p, i);
	if (!prefix_eq(&expected, block))
		return -ERANGE;
	*ret = i;
	return 0;
}

static void mark(struct pool *p, uint32_t i, bool taken)
{
	p->bits[i / 64] ^= 1ull << (i % 64);
	p->used += taken ? 1 : -1;
}

static int take_from(struct pool *p, uint32_t start, struct prefix *ret)
{
	if (p->used == p->n)
		return -ENOSPC;
	for (uint32_t k = 0; k < p->n; k++) {
		uint32_t i = (start + k) % p->n;

		if (is_taken(p, i))
			continue;
		mark(p, i, true);
		p->next = (i + 1) % p->n;
		*ret = block_of(p, i);
		return 0;
	}
	return -ENOSPC;
}

int pool_take(struct pool *p, struct prefix *ret)
{
	return take_from(p, p->next, ret);
}

int pool_take_lowest(struct pool *p, struct prefix *ret)
{
	return take_from(p, 0, ret);
}

int pool_check(const struct pool *p, const struct prefix *block)
{
	uint32_t i;
	int r = index_of(p, block, &i);

	return r < 0 ? r : is_taken(p, i) ? -EEXIST : 0;
}

int pool_claim(struct pool *p, const struct prefix *block)
{
	int r = pool_check(p, block);
	uint32_t i;

	if (r == 0) {
		index_of(p, block, &i);
		mark(p, i, true);
	}
	return r;
}

void pool_return(struct pool *p, const struct prefix *block)
{
	uint32_t i;

	if (index_of(p, block, &i) == 0 && is_taken(p, i))
		mark(p, i, false);
}

size_t pool_free_count(const struct pool *p)
{
	return p->n - p->used;
}

const struct prefix *pool_prefix(const struct pool *p)
{
	return &p->prefix;
}
