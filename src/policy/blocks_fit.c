/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes without where the blocks of all are more prefixes than there is room for, or nest too much (blocks.c bounds their memberships), so that one who
 * names too many is alone without. What they, and selectors, split of others' rules is for rules_fit.c.
 *
 * The objects stand in an order: first those that nobody has any more, then namespaces' own, those of the namespace that by itself causes the most
 * prefixes and memberships before others (to cut one policy into many is no way around it), of one namespace the costliest first; then cluster-wide ones;
 * last the node's. As many go, from the front, as have to: leaving out more never makes more of either, so that is found by halving. The result
 * follows from the objects alone, not from the order in which they came. */
#include "policy/blocks_count.h"

enum rank { RANK_GONE, RANK_NAMESPACE, RANK_CLUSTER, RANK_HOST, RANK_FAILSAFE };

struct candidate {
	struct object *object;
	enum rank rank;
	size_t of_namespace, own; /* what its namespace's blocks, and its own, come to by themselves */
};

struct fit {
	struct policy *p;
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

static void begin(struct fit *f, struct policy *p, bool anew)
{
	struct htab_node *n;

	*f = (struct fit){ .p = p };
	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (unsigned i = 0; !s->idle && i < s->n_objects; i++)
			if (anew || !s->objects[i]->left_out)
				add_candidate(f, s->objects[i], s->refs);
	}
	for (size_t i = 0; i < f->n; i++) {
		f->c[i].object->place = 0;
		tally_add(&f->t, f->c[i].object);
	}
	tally_ready(&f->t);
}

static void done(struct fit *f)
{
	tally_done(&f->t);
	free(f->c);
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
	s = tally_count(&f->t, &m);
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
	struct sums s = tally_count(&f->t, &f->t.all);

	return s.prefixes <= f->p->max_prefixes && s.memberships <= f->p->max_memberships;
}

static void set_on(struct fit *f, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			f->t.on[o->rules[i].peers[j]->place] = true;
}

static bool goes(const struct fit *f, size_t i, size_t n)
{
	return i < n && f->c[i].rank != RANK_FAILSAFE;
}

/* Blocks that another names as well stay. */
static bool fits_without(struct fit *f, size_t n)
{
	memset(f->t.on, 0, f->t.n_peers + 1);
	for (size_t i = 0; i < f->n; i++)
		if (!goes(f, i, n))
			set_on(f, f->c[i].object);
	return fits(f);
}

/* Return: how many go, from the front. */
static size_t choose(struct fit *f)
{
	size_t lo = 0, hi = f->n; /* it does not fit without the first @lo; without the first @hi nothing is left */

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		*(fits_without(f, mid) ? &hi : &lo) = mid;
	}
	return hi;
}

/* Most are so few that nothing needs to be counted: each block and exception is at most one prefix and makes at most one set, which has at most all
 * blocks. */
static bool may_be_too_many(const struct policy *p)
{
	return p->n_table_blocks && !(p->n_table_marks <= p->max_memberships / p->n_table_blocks && p->n_table_marks <= p->max_prefixes);
}

bool blocks_are_too_many(struct policy *p, bool anew)
{
	struct fit f;
	bool are;

	if (!anew && !may_be_too_many(p))
		return false;
	begin(&f, p, anew);
	are = !fits(&f);
	done(&f);
	return are;
}

static void put_back(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (unsigned i = 0; !s->idle && i < s->n_objects; i++)
			if (!s->objects[i]->place)
				object_leave_out(p, s->objects[i], false);
	}
}

void blocks_fit(struct policy *p, bool anew)
{
	struct fit f;
	size_t n = 0;

	if (!anew && !may_be_too_many(p))
		return;
	begin(&f, p, anew);
	if (f.n && !fits(&f)) {
		order(&f);
		n = choose(&f);
	}
	for (size_t i = 0; i < n; i++)
		f.c[i].object->place = goes(&f, i, n);
	if (anew)
		put_back(p);
	for (size_t i = 0; i < n; i++) {
		f.c[i].object->place = 0;
		object_leave_out(p, f.c[i].object, goes(&f, i, n));
	}
	done(&f);
}
