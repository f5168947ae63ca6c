/* SPDX-License-Identifier: Apache-2.0 */
/* To count memberships no set is made: a set is known by the sum of its blocks' hashes (which are seeded) as the walk of blocks.c goes by. */
#include "policy/blocks_count.h"

/* Or would be, if the object was not left out. */
static bool is_of_table(const struct peer *peer)
{
	return peer->type == PEER_BLOCK && (!peer->any_block || peer->in_table);
}

static void add_marks(struct marks *to, struct peer *peer)
{
	GROW(to->m, to->n, to->cap);
	to->m[to->n++] = (struct mark){ peer->cidr, peer, false };
	for (unsigned x = 0; x < peer->n_except; x++) {
		GROW(to->m, to->n, to->cap);
		to->m[to->n++] = (struct mark){ peer->except[x], peer, true };
	}
}

void marks_add(struct marks *to, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (is_of_table(o->rules[i].peers[j]))
				add_marks(to, o->rules[i].peers[j]);
}

bool object_names_blocks(const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (is_of_table(o->rules[i].peers[j]))
				return true;
	return false;
}

static int cmp_mark(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;
	int c = addr_cmp(&x->prefix.addr, &y->prefix.addr);

	if (!c)
		c = (int)x->prefix.len - (int)y->prefix.len;
	return c ? c : (int)x->except - (int)y->except;
}

void marks_sort(struct marks *m)
{
	if (m->n > 1)
		qsort(m->m, m->n, sizeof(*m->m), cmp_mark);
}

struct level {
	struct prefix prefix;
	uint64_t sum;
	size_t size, undo; /* how many changes of `present` there were before it */
};

struct count {
	struct tally *t;
	struct level stack[130];
	unsigned depth;
	struct peer **changes; /* of whom `present` was turned over */
	size_t n_changes, cap_changes;
	uint64_t *seen; /* sums of the sets so far, open addressing */
	size_t mask;
	size_t prefixes, memberships;
};

/* No IPv6 block means IPv4. */
static bool is_v4(const struct prefix *p)
{
	return addr_is_v4(&p->addr) && p->len >= V4_BITS_BEFORE;
}

/* Of small numbers the hash alone is all but a product, and sums of products meet: {1, 4} would be taken for {2, 3}. So it is mixed (as splitmix64 does). */
uint64_t peer_word(const struct peer *peer)
{
	uint64_t h = hash_mem(&peer->id, sizeof(peer->id));

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
	h = (h ^ h >> 27) * 0x94d049bb133111eb;
	return h ^ h >> 31;
}

static void turn(struct count *c, struct level *l, struct peer *peer, bool present)
{
	uint64_t h = peer_word(peer);

	c->t->present[peer->place] = present;
	l->sum += present ? h : -h;
	l->size += present ? 1 : -1;
	GROW(c->changes, c->n_changes, c->cap_changes);
	c->changes[c->n_changes++] = peer;
}

static void leave(struct count *c, const struct prefix *p)
{
	while (c->depth && !(p && prefix_covers(&c->stack[c->depth - 1].prefix, p))) {
		const struct level *l = &c->stack[--c->depth];

		while (c->n_changes > l->undo) {
			bool *present = &c->t->present[c->changes[--c->n_changes]->place];

			*present = !*present;
		}
	}
}

static void note_set(struct count *c, const struct level *l)
{
	uint64_t key = l->sum | 1; /* 0 is an empty place */

	for (size_t at = key * 0x9e3779b97f4a7c15 >> 20; l->size; at++) {
		uint64_t *s = &c->seen[at & c->mask];

		if (*s == key)
			return;
		if (*s)
			continue;
		*s = key;
		c->memberships += l->size;
		return;
	}
}

static bool same_family(const struct prefix *a, const struct prefix *b)
{
	return is_v4(a) == is_v4(b);
}

/* @m: of one prefix. */
static void enter(struct count *c, const struct mark *m, size_t n)
{
	struct level l = { .prefix = m->prefix };
	bool any = false;

	leave(c, &m->prefix);
	if (c->depth && same_family(&c->stack[c->depth - 1].prefix, &m->prefix)) {
		l.sum = c->stack[c->depth - 1].sum;
		l.size = c->stack[c->depth - 1].size;
	}
	l.undo = c->n_changes;
	for (size_t i = 0; i < n; i++) {
		struct peer *peer = m[i].peer;

		any |= c->t->on[peer->place];
		if (c->t->on[peer->place] && c->t->present[peer->place] == m[i].except && same_family(&peer->cidr, &m[i].prefix))
			turn(c, &l, peer, !m[i].except);
	}
	c->prefixes += any;
	c->stack[c->depth++] = l;
	note_set(c, &l);
}

struct sums tally_count(struct tally *t, const struct marks *m)
{
	_cleanup_free_ struct count *c = xnew0(struct count);
	struct sums sums;
	size_t end;

	c->t = t;
	for (c->mask = 64; c->mask < 2 * m->n; c->mask *= 2)
		;
	c->seen = xnew0_array(uint64_t, c->mask);
	c->mask--;
	for (size_t i = 0; i < m->n; i = end) {
		for (end = i + 1; end < m->n && prefix_eq(&m->m[end].prefix, &m->m[i].prefix);)
			end++;
		enter(c, m->m + i, end - i);
	}
	leave(c, NULL);
	free(c->seen);
	free(c->changes);
	sums = (struct sums){ c->prefixes, c->memberships };
	return sums;
}

void tally_add(struct tally *t, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++) {
			struct peer *peer = o->rules[i].peers[j];

			if (peer->place || !is_of_table(peer))
				continue;
			GROW(t->peers, t->n_peers, t->cap_peers);
			t->peers[t->n_peers++] = peer;
			peer->place = t->n_peers;
			add_marks(&t->all, peer);
		}
}

void tally_ready(struct tally *t)
{
	t->on = xnew0_array(bool, t->n_peers + 1);
	t->present = xnew0_array(bool, t->n_peers + 1);
	memset(t->on, true, t->n_peers + 1);
	marks_sort(&t->all);
}

void tally_done(struct tally *t)
{
	for (size_t i = 0; i < t->n_peers; i++)
		t->peers[i]->place = 0;
	free(t->peers);
	free(t->all.m);
	free(t->on);
	free(t->present);
}
