/* SPDX-License-Identifier: Apache-2.0 */
/* Whose blocks are left out where all together are more prefixes than there is room for, or nest too much (blocks.c bounds their memberships), or split what
 * others name into more classes than there is room for in the table of rules (where one names a.b.0.0/16 and another each a.b.c.0/24 of it, the former's
 * policies have 256 entries), so that one who names too many is alone without.
 *
 * The objects stand in an order: first those that nobody has any more, then namespaces' own, those of the namespace that by itself causes the most
 * prefixes and memberships before others (to cut one policy into many is no way around it), of one namespace the costliest first; then cluster-wide ones;
 * last the node's. From the end on each is taken that fits beside those that are. Leaving out more never makes more of either, so the next
 * one that does not is found by halving; after a few of them what stands before the last is left out altogether. The result follows from the objects alone, not
 * from the order in which they came. */
#include "policy/blocks_count.h"

enum { ROUNDS = 4 };

enum rank { RANK_GONE, RANK_NAMESPACE, RANK_CLUSTER, RANK_HOST, RANK_FAILSAFE };

struct candidate {
	struct object *object;
	enum rank rank;
	size_t of_namespace, own; /* what its namespace's blocks, and its own, come to by themselves */
	bool out;
};

struct fit {
	struct tally t;
	struct candidate *c;
	size_t n, cap;
};

/* --- the order --- */

static void add_candidate(struct fit *f, struct object *o, bool in_force)
{
	enum rank rank = RANK_GONE;

	if (in_force)
		rank = o->spec->priority == PRIORITY_FAILSAFE ? RANK_FAILSAFE :
		       o->spec->of_nodes ? RANK_HOST :
		       o->spec->kind == KIND_NETWORK_POLICY ? RANK_NAMESPACE : RANK_CLUSTER;
	if (!o->place) {
		if (!object_names_blocks(o))
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

	for (n = htab_begin(&f->t.p->psets); n; n = htab_next(&f->t.p->psets, n)) {
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
		marks_add(&m, c[i].object);
	marks_sort(&m);
	s = tally_count(&f->t, &m, false);
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

static bool fits(struct fit *f)
{
	struct sums s = tally_count(&f->t, &f->t.all, true);

	return s.prefixes <= f->t.p->max_prefixes && s.memberships <= f->t.p->max_memberships && s.entries <= f->t.p->max_block_rules;
}

static void set_on(struct fit *f, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (o->rules[i].peers[j]->type == PEER_BLOCK && o->rules[i].peers[j]->in_table)
				f->t.on[o->rules[i].peers[j]->place] = true;
}

/* The policies that stand without entries, as an object of theirs is left out. */
static void find_out(struct fit *f)
{
	memset(f->t.out, 0, f->t.n_policies * sizeof(*f->t.out));
	for (size_t u = 0; u < f->t.n_users; u++)
		for (size_t i = f->t.users[u].first; f->t.users[u].object->blocks_left_out && i < f->t.users[u].first + f->t.users[u].n; i++)
			f->t.out[f->t.policies[i]] = true;
}

/* Without those that are out, and the first @k? */
static bool fits_without(struct fit *f, size_t k)
{
	memset(f->t.on, 0, f->t.n_peers * sizeof(*f->t.on));
	for (size_t i = 0; i < f->n; i++) {
		f->c[i].object->blocks_left_out = f->c[i].out || (i < k && f->c[i].rank != RANK_FAILSAFE);
		if (!f->c[i].object->blocks_left_out)
			set_on(f, f->c[i].object);
	}
	find_out(f);
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

/* Most are so few that nothing needs to be counted: each block and exception is at most one prefix and makes at most one set, which has at most all blocks,
 * and at most all policies have an entry for it. */
static bool are_too_many(struct fit *f)
{
	size_t n_policies = POLICY_DIRECTIONS * f->t.p->psets.count;

	if (f->t.n_peers == 0 || n_policies == 0 ||
	    (f->t.all.n <= f->t.p->max_memberships / f->t.n_peers && f->t.all.n <= f->t.p->max_prefixes && f->t.all.n <= f->t.p->max_block_rules / n_policies))
		return false;
	tally_users(&f->t);
	marks_sort(&f->t.all);
	return !fits(f);
}

bool blocks_are_too_many(const struct policy *p)
{
	struct fit f = { 0 };
	bool are;

	tally_begin(&f.t, (struct policy *)p);
	are = are_too_many(&f);
	tally_done(&f.t);
	return are;
}

/* Blocks that another names as well stay in the table. */
static void leave_out(struct fit *f)
{
	bool left_out = false;
	struct htab_node *n;

	memset(f->t.on, 0, f->t.n_peers * sizeof(*f->t.on));
	for (size_t i = 0; i < f->n; i++) {
		struct candidate *c = &f->c[i];

		c->object->blocks_left_out = c->out;
		left_out |= c->out;
		if (!c->out)
			set_on(f, c->object);
	}
	f->t.p->blocks_left_out = left_out;
	for (n = htab_begin(&f->t.p->peers); n; n = htab_next(&f->t.p->peers, n)) {
		struct peer *peer = container_of(n, struct peer, node);
		bool out = peer->type == PEER_BLOCK && peer->in_table && !f->t.on[peer->place];

		f->t.p->blocks_dirty |= out != peer->left_out;
		peer->left_out = out;
	}
}

void blocks_fit(struct policy *p)
{
	struct fit f = { 0 };
	bool too_many;

	tally_begin(&f.t, p);
	too_many = are_too_many(&f);
	if (too_many || p->blocks_left_out) {
		find_candidates(&f);
		if (too_many) {
			order(&f);
			choose(&f);
		}
		leave_out(&f);
	}
	tally_done(&f.t);
	free(f.c);
}
