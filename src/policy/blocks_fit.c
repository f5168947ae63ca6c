/* SPDX-License-Identifier: Apache-2.0 */
/* Whose blocks are left out where all together are more prefixes than there is room for, or nest too much (blocks.c bounds their memberships), so that one
 * who names too many is alone without.
 *
 * The objects stand in an order: first those that nobody has any more, then namespaces' own, those of the namespace that by itself causes the most
 * prefixes and memberships before others (to cut one policy into many is no way around it), of one namespace the costliest first; then cluster-wide ones;
 * last the node's. From the end on each is taken that fits beside those that are. Leaving out more never makes more of either, so the next
 * one that does not is found by halving; after a few of them what stands before the last is left out altogether.
 *
 * To count memberships no set is made: a set is known by the sum of its blocks' hashes (which are seeded) as the walk of blocks.c goes by. The result
 * follows from the objects alone, not from the order in which they came. */
#include "policy/store.h"

enum { ROUNDS = 4 };

enum rank { RANK_GONE, RANK_NAMESPACE, RANK_CLUSTER, RANK_HOST, RANK_FAILSAFE };

struct mark {
	struct prefix prefix;
	struct peer *peer;
	bool except;
};

struct marks {
	struct mark *m;
	size_t n, cap;
};

struct candidate {
	struct object *object;
	enum rank rank;
	size_t of_namespace, own; /* what its namespace's blocks, and its own, come to by themselves */
	bool out;
};

struct fit {
	struct policy *p;
	struct candidate *c;
	size_t n, cap;
	struct marks all;
	size_t n_peers;
	bool *on, *present; /* by peer.place */
};

/* The blocks that an object has in the table, those that are the same more than once. */
static void add_marks(struct marks *to, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++) {
			struct peer *peer = o->rules[i].peers[j];

			if (peer->type != PEER_BLOCK || !peer->in_table)
				continue;
			GROW(to->m, to->n, to->cap);
			to->m[to->n++] = (struct mark){ peer->cidr, peer, false };
			for (unsigned x = 0; x < peer->n_except; x++) {
				GROW(to->m, to->n, to->cap);
				to->m[to->n++] = (struct mark){ peer->except[x], peer, true };
			}
		}
}

static bool has_blocks(const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (o->rules[i].peers[j]->type == PEER_BLOCK && o->rules[i].peers[j]->in_table)
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

static void sort_marks(struct marks *m)
{
	if (m->n > 1)
		qsort(m->m, m->n, sizeof(*m->m), cmp_mark);
}

/* --- counting --- */

struct level {
	struct prefix prefix;
	uint64_t sum;
	size_t size, undo; /* how many changes of `present` there were before it */
};

struct count {
	struct fit *f;
	struct level stack[130];
	unsigned depth;
	struct peer **changes; /* of whom `present` was turned over */
	size_t n_changes, cap_changes;
	uint64_t *seen; /* sums of the sets so far, open addressing */
	size_t mask;
	size_t prefixes, memberships;
};

/* Of small numbers the hash alone is all but a product, and sums of products meet: {1, 4} would be taken for {2, 3}. So it is mixed (as splitmix64 does). */
static uint64_t word_of(const struct peer *peer)
{
	uint64_t h = hash_mem(&peer->id, sizeof(peer->id));

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
	h = (h ^ h >> 27) * 0x94d049bb133111eb;
	return h ^ h >> 31;
}

static void turn(struct count *c, struct level *l, struct peer *peer, bool present)
{
	uint64_t h = word_of(peer);

	c->f->present[peer->place] = present;
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
			bool *present = &c->f->present[c->changes[--c->n_changes]->place];

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

/* No IPv6 block means IPv4. */
static bool is_v4(const struct prefix *p)
{
	return addr_is_v4(&p->addr) && p->len >= V4_BITS_BEFORE;
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

		any |= c->f->on[peer->place];
		if (c->f->on[peer->place] && c->f->present[peer->place] == m[i].except && same_family(&peer->cidr, &m[i].prefix))
			turn(c, &l, peer, !m[i].except);
	}
	c->prefixes += any;
	c->stack[c->depth++] = l;
	note_set(c, &l);
}

struct sums {
	size_t prefixes, memberships;
};

/* Of the blocks that are on. */
static struct sums count_up(struct fit *f, const struct marks *m)
{
	_cleanup_free_ struct count *c = xnew0(struct count);
	struct sums sums;
	size_t end;

	c->f = f;
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

static bool fits(struct fit *f)
{
	struct sums s = count_up(f, &f->all);

	return s.prefixes <= f->p->max_prefixes && s.memberships <= f->p->max_memberships;
}

/* --- the order --- */

static void add_candidate(struct fit *f, struct object *o, bool in_force)
{
	enum rank rank = RANK_GONE;

	if (in_force)
		rank = o->spec->priority == PRIORITY_FAILSAFE ? RANK_FAILSAFE :
		       o->spec->of_nodes ? RANK_HOST :
		       o->spec->kind == KIND_NETWORK_POLICY ? RANK_NAMESPACE : RANK_CLUSTER;
	if (!o->place) {
		if (!has_blocks(o))
			return;
		GROW(f->c, f->n, f->cap);
		f->c[f->n++] = (struct candidate){ .object = o };
		o->place = f->n;
	}
	f->c[o->place - 1].rank = MAX(f->c[o->place - 1].rank, rank);
}

static void find_candidates(struct fit *f)
{
	struct htab_node *n;

	for (n = htab_begin(&f->p->psets); n; n = htab_next(&f->p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (unsigned i = 0; !s->idle && i < s->n_objects; i++)
			add_candidate(f, s->objects[i], s->refs);
	}
	for (size_t i = 0; i < f->n; i++)
		f->c[i].object->place = 0;
}

static int cmp_owner(const struct candidate *x, const struct candidate *y)
{
	int c = (int)x->rank - (int)y->rank;

	return c ? c : strcmp(x->object->spec->namespace_, y->object->spec->namespace_);
}

static int cmp_by_owner(const void *a, const void *b)
{
	return cmp_owner(a, b);
}

static int cmp_candidate(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int c = (int)x->rank - (int)y->rank;

	if (!c)
		c = x->of_namespace > y->of_namespace ? -1 : x->of_namespace < y->of_namespace;
	if (!c)
		c = strcmp(x->object->spec->namespace_, y->object->spec->namespace_);
	if (!c)
		c = x->own > y->own ? -1 : x->own < y->own;
	if (!c)
		c = object_cmp(x->object, y->object);
	return c ? c : x->object->serial < y->object->serial ? -1 : x->object->serial > y->object->serial;
}

static size_t cost_of(struct fit *f, const struct candidate *c, size_t n)
{
	struct marks m = { 0 };
	struct sums s;

	for (size_t i = 0; i < n; i++)
		add_marks(&m, c[i].object);
	sort_marks(&m);
	s = count_up(f, &m);
	free(m.m);
	return s.prefixes + s.memberships;
}

static void order(struct fit *f)
{
	size_t end;

	qsort(f->c, f->n, sizeof(*f->c), cmp_by_owner);
	for (size_t i = 0; i < f->n; i = end) {
		size_t cost;

		for (end = i + 1; end < f->n && cmp_owner(&f->c[end], &f->c[i]) == 0;)
			end++;
		cost = cost_of(f, f->c + i, end - i);
		for (size_t k = i; k < end; k++) {
			f->c[k].of_namespace = cost;
			f->c[k].own = cost_of(f, f->c + k, 1);
		}
	}
	qsort(f->c, f->n, sizeof(*f->c), cmp_candidate);
}

/* --- the choice --- */

static void set_on(struct fit *f, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (o->rules[i].peers[j]->type == PEER_BLOCK && o->rules[i].peers[j]->in_table)
				f->on[o->rules[i].peers[j]->place] = true;
}

/* Without those that are out, and the first @k? */
static bool fits_without(struct fit *f, size_t k)
{
	memset(f->on, 0, f->n_peers * sizeof(*f->on));
	for (size_t i = 0; i < f->n; i++)
		if (!f->c[i].out && (i >= k || f->c[i].rank == RANK_FAILSAFE))
			set_on(f, f->c[i].object);
	return fits(f);
}

static void choose(struct fit *f)
{
	size_t lo = 0, hi = f->n, bound = f->n;

	for (int round = 0; bound && !fits_without(f, 0); round++) {
		if (round == ROUNDS) {
			for (size_t i = 0; i < bound; i++)
				f->c[i].out = f->c[i].rank != RANK_FAILSAFE;
			return;
		}
		for (lo = 0, hi = bound; hi - lo > 1;) { /* it does not fit without the first @lo, and does without the first @hi */
			size_t mid = lo + (hi - lo) / 2;

			*(fits_without(f, mid) ? &hi : &lo) = mid;
		}
		bound = hi - 1;
		f->c[bound].out = f->c[bound].rank != RANK_FAILSAFE;
	}
}

static void fit_begin(struct fit *f, struct policy *p)
{
	struct htab_node *n;

	*f = (struct fit){ .p = p };
	for (n = htab_begin(&p->peers); n; n = htab_next(&p->peers, n)) {
		struct peer *peer = container_of(n, struct peer, node);

		if (peer->type != PEER_BLOCK || !peer->in_table)
			continue;
		peer->place = f->n_peers++;
		GROW(f->all.m, f->all.n, f->all.cap);
		f->all.m[f->all.n++] = (struct mark){ peer->cidr, peer, false };
		for (unsigned x = 0; x < peer->n_except; x++) {
			GROW(f->all.m, f->all.n, f->all.cap);
			f->all.m[f->all.n++] = (struct mark){ peer->except[x], peer, true };
		}
	}
	f->on = xnew0_array(bool, f->n_peers);
	f->present = xnew0_array(bool, f->n_peers);
	memset(f->on, true, f->n_peers * sizeof(*f->on));
}

static void fit_done(struct fit *f)
{
	free(f->all.m);
	free(f->c);
	free(f->on);
	free(f->present);
}

/* Most are so few that nothing needs to be counted: each set has at most all blocks, and each block and exception is at most one prefix. */
static bool are_too_many(struct fit *f)
{
	if (f->n_peers == 0 || (f->all.n <= f->p->max_memberships / f->n_peers && f->all.n <= f->p->max_prefixes))
		return false;
	sort_marks(&f->all);
	return !fits(f);
}

bool blocks_are_too_many(const struct policy *p)
{
	struct fit f;
	bool are;

	fit_begin(&f, (struct policy *)p);
	are = are_too_many(&f);
	fit_done(&f);
	return are;
}

/* Blocks that another names as well stay in the table. */
static void leave_out(struct fit *f)
{
	bool left_out = false;
	struct htab_node *n;

	memset(f->on, 0, f->n_peers * sizeof(*f->on));
	for (size_t i = 0; i < f->n; i++) {
		struct candidate *c = &f->c[i];

		c->object->blocks_left_out = c->out;
		left_out |= c->out;
		if (!c->out)
			set_on(f, c->object);
	}
	f->p->blocks_left_out = left_out;
	for (n = htab_begin(&f->p->peers); n; n = htab_next(&f->p->peers, n)) {
		struct peer *peer = container_of(n, struct peer, node);
		bool out = peer->type == PEER_BLOCK && peer->in_table && !f->on[peer->place];

		f->p->blocks_dirty |= out != peer->left_out;
		peer->left_out = out;
	}
}

void blocks_fit(struct policy *p)
{
	struct fit f;
	bool too_many;

	fit_begin(&f, p);
	too_many = are_too_many(&f);
	if (too_many || p->blocks_left_out) {
		find_candidates(&f);
		if (too_many) {
			order(&f);
			choose(&f);
		}
		leave_out(&f);
	}
	fit_done(&f);
}
