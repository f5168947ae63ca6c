/* SPDX-License-Identifier: Apache-2.0 */
/* Every prefix that is named (as a block, as an exception, as a pod range) becomes an entry. Walking them in order of
 * address and length, a stack holds the prefixes around the current one; an entry's set is its parent's, without the blocks
 * that except it, with those that begin here. A block begins once, so what an exception took out never comes back.
 *
 * IPv4 lives at ::ffff:0:0/96, and no IPv6 block means it, not even ::/0: that prefix starts from nothing. */
#include "policy/blocks.h"
#include "policy/store.h"

typedef unsigned __int128 u128;

struct block_start {
	u128 first;
	uint32_t prefix;
};

enum mark { MARK_ROOT, MARK_RANGE, MARK_BEGIN, MARK_EXCEPT };

struct item {
	struct prefix prefix;
	enum mark mark;
	struct peer *peer;
};

static u128 number(const struct addr *a)
{
	u128 x = 0;

	for (unsigned i = 0; i < 16; i++)
		x = x << 8 | a->b[i];
	return x;
}

static u128 last_of(const struct prefix *p)
{
	return number(&p->addr) | (p->len == 0 ? ~(u128)0 : p->len == 128 ? 0 : (((u128)1 << (128 - p->len)) - 1));
}

static int cmp_item(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int c = addr_cmp(&x->prefix.addr, &y->prefix.addr);

	if (!c)
		c = (int)x->prefix.len - (int)y->prefix.len;
	if (!c)
		c = (int)x->mark - (int)y->mark;
	if (!c && x->peer && y->peer)
		c = x->peer->id < y->peer->id ? -1 : x->peer->id > y->peer->id;
	return c;
}

static const struct prefix v4_root = { .addr.b = { [10] = 0xff, [11] = 0xff }, .len = V4_BITS_BEFORE };

static struct item *collect(struct peer *const *peers, size_t n, const struct prefix *ranges, size_t n_ranges, size_t *ret_n)
{
	size_t count = 2 + n_ranges, at = 0;
	struct item *items;

	for (size_t i = 0; i < n; i++)
		count += 1 + peers[i]->n_except;
	items = xnew0_array(struct item, count);
	items[at++] = (struct item){ .mark = MARK_ROOT };
	items[at++] = (struct item){ .prefix = v4_root, .mark = MARK_ROOT };
	for (size_t i = 0; i < n_ranges; i++)
		items[at++] = (struct item){ .prefix = ranges[i], .mark = MARK_RANGE };
	for (size_t i = 0; i < n; i++) {
		items[at++] = (struct item){ peers[i]->cidr, MARK_BEGIN, peers[i] };
		for (unsigned x = 0; x < peers[i]->n_except; x++)
			items[at++] = (struct item){ peers[i]->except[x], MARK_EXCEPT, peers[i] };
	}
	qsort(items, count, sizeof(*items), cmp_item);
	*ret_n = count;
	return items;
}

static struct block_set *intern(struct blocks *b, struct peer *const *peers, unsigned n)
{
	uint64_t h = hash_mem(peers, n * sizeof(*peers));
	struct block_set *s = NULL;

	HTAB_FIND(&b->sets, h, s, node, s->n == n && (!n || memcmp(s->peers, peers, n * sizeof(*peers)) == 0));
	if (!s) {
		s = xcalloc(1, sizeof(*s) + n * sizeof(*peers));
		s->n = n;
		if (n)
			memcpy(s->peers, peers, n * sizeof(*peers));
		htab_insert(&b->sets, h, &s->node);
	}
	if (s->build != b->build)
		b->memberships += n;
	s->build = b->build;
	return s;
}

static bool excepted(const struct item *items, size_t n, const struct peer *peer)
{
	for (size_t i = 0; i < n; i++)
		if (items[i].mark == MARK_EXCEPT && items[i].peer == peer)
			return true;
	return false;
}

/* @items: those of one prefix, begins before exceptions, each sorted by id. */
static struct block_set *derive(struct blocks *b, const struct block_set *parent, const struct item *items, size_t n)
{
	_cleanup_free_ struct peer **out = xnew0_array(struct peer *, parent->n + n);
	const struct item *begin = items, *except;
	unsigned n_out = 0, at = 0;

	while (begin < items + n && begin->mark < MARK_BEGIN)
		begin++;
	for (except = begin; except < items + n && except->mark == MARK_BEGIN;)
		except++;
	const struct item *x = except;

	for (; at < parent->n || begin < except;) {
		if (begin < except && (at == parent->n || begin->peer->id < parent->peers[at]->id)) {
			if (!excepted(except, items + n - except, begin->peer))
				out[n_out++] = begin->peer;
			begin++;
			continue;
		}
		while (x < items + n && x->peer->id < parent->peers[at]->id)
			x++;
		if (x == items + n || x->peer != parent->peers[at])
			out[n_out++] = parent->peers[at];
		at++;
	}
	return intern(b, out, n_out);
}

static void add_start(struct blocks *b, u128 first, uint32_t prefix)
{
	if (b->n_starts && b->starts[b->n_starts - 1].first == first) {
		b->starts[b->n_starts - 1].prefix = prefix; /* the longer one */
		return;
	}
	GROW(b->starts, b->n_starts, b->cap_starts);
	b->starts[b->n_starts++] = (struct block_start){ first, prefix };
}

struct walk {
	struct blocks *b;
	uint32_t stack[129];
	unsigned depth;
};

/* Leaves the prefixes that end before @p; what follows each belongs to the one around it again. */
static void leave(struct walk *w, const struct prefix *p)
{
	struct blocks *b = w->b;

	while (w->depth && !(p && prefix_covers(&b->prefixes[w->stack[w->depth - 1]].prefix, p))) {
		u128 last = last_of(&b->prefixes[w->stack[--w->depth]].prefix);

		if (w->depth && last != ~(u128)0)
			add_start(b, last + 1, w->stack[w->depth - 1]);
	}
}

static void enter(struct walk *w, const struct item *items, size_t n, size_t max_memberships)
{
	struct blocks *b = w->b;
	bool root = prefix_eq(&items->prefix, &v4_root) || items->prefix.len == 0;
	struct block_set *none = intern(b, NULL, 0);
	struct block_prefix bp = { .prefix = items->prefix, .set = none };

	leave(w, &items->prefix);
	if (!root) {
		bp.set = b->prefixes[w->stack[w->depth - 1]].set;
		bp.in_range = b->prefixes[w->stack[w->depth - 1]].in_range;
	}
	for (size_t i = 0; i < n; i++)
		bp.in_range |= items[i].mark == MARK_RANGE;
	b->overflow |= b->memberships > max_memberships;
	bp.set = b->overflow ? none : derive(b, bp.set, items, n);
	GROW(b->prefixes, b->n_prefixes, b->cap_prefixes);
	add_start(b, number(&bp.prefix.addr), b->n_prefixes);
	w->stack[w->depth++] = b->n_prefixes;
	b->prefixes[b->n_prefixes++] = bp;
}

void blocks_build(struct blocks *b, struct peer *const *peers, size_t n, const struct prefix *ranges, size_t n_ranges,
		  size_t max_memberships)
{
	size_t n_items, end;
	_cleanup_free_ struct item *items = collect(peers, n, ranges, n_ranges, &n_items);
	struct walk w = { .b = b };

	b->build++;
	b->n_prefixes = b->n_starts = b->memberships = 0;
	b->overflow = false;
	for (size_t i = 0; i < n_items; i = end) {
		for (end = i + 1; end < n_items && prefix_eq(&items[end].prefix, &items[i].prefix);)
			end++;
		enter(&w, items + i, end - i, max_memberships);
	}
	leave(&w, NULL);
	if (b->overflow) /* the sets that were made before it showed */
		for (size_t i = 0; i < b->n_prefixes; i++)
			b->prefixes[i].set = intern(b, NULL, 0);
}

void blocks_sweep(struct blocks *b)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&b->sets); n; n = next) {
		struct block_set *s = container_of(n, struct block_set, node);

		next = htab_next(&b->sets, n);
		if (s->build == b->build)
			continue;
		htab_remove(&b->sets, n);
		free(s);
	}
}

void blocks_done(struct blocks *b)
{
	b->build++;
	blocks_sweep(b);
	htab_done(&b->sets);
	free(b->prefixes);
	free(b->starts);
}

const struct block_prefix *blocks_find(const struct blocks *b, const struct addr *a)
{
	u128 x = number(a);
	size_t lo = 0, hi = b->n_starts; /* starts[lo].first <= x < starts[hi].first */

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (b->starts[mid].first <= x)
			lo = mid;
		else
			hi = mid;
	}
	return &b->prefixes[b->starts[lo].prefix];
}
