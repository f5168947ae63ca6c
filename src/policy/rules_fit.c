/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes without where the rules of all are more than the table has room for, or those of one policy more than it may have, so that who brings the most is
 * alone without. A namespace brings the entries of its own policies, and those of others that would be one without it: what its peers, blocks and
 * selectors alike, split of the classes that others name. So one who names a hundred addresses of a block that forty others name brings four thousand.
 *
 * It is counted with the classes that there are, before any entry is made, and only where an upper bound says that there may be too many. What nobody has any
 * more goes first. Then of the namespace that brings the most the objects that name the most, one, one more, two, four, and so on; after each time classes
 * are made and all is counted again. Cluster-wide objects go only when no namespace's are left, the node's own never. A policy that is too large by itself
 * has no entries (flatten.c), and is nobody else's fault. */
#include "policy/store.h"

enum { NOBODY = UINT32_MAX };

/* A namespace, or (last) all that is cluster-wide but of nodes. */
struct tenant {
	const char *name;
	struct object **objects; /* in use */
	size_t n, cap, n_out; /* @n_out: how many more it has that are left out */
	size_t cost;
};

/* Policies that are counted together: a tenant's, or one that has too many entries. */
struct party {
	uint32_t tenant;
	bool over;
};

/* Of the entries for a class. */
struct share {
	uint32_t class_, party, n;
};

struct table {
	struct slot {
		uint64_t key;
		uint32_t value; /* from 1 on */
	} *slots;
	size_t mask;
};

struct fit {
	struct policy *p;
	struct tenant *tenants;
	size_t n_tenants, cap_tenants;
	struct pset **psets;
	size_t n_psets;
	struct party *parties;
	size_t n_parties, cap_parties, n_over;
	struct class_ **classes; /* that any policy has an entry for; by place - 1 */
	size_t n_classes, cap_classes;
	uint32_t *counts; /* by class: of the party that is being counted */
	size_t cap_counts;
	struct class_ **of_pset; /* that is being counted: of its first direction, then of the other */
	size_t n_of_first, n_of_pset, cap_of_pset;
	struct share *shares;
	size_t n_shares, cap_shares;
	size_t *first_share; /* by class */
	struct table by_sum;
	size_t total;
	size_t *over_blame; /* by tenant, of the party that is over and suffers most from it */
};

/* --- tables of sums --- */

static void table_begin(struct table *t, size_t n)
{
	for (t->mask = 16; t->mask < 2 * n; t->mask *= 2)
		;
	t->slots = xnew0_array(struct slot, t->mask);
	t->mask--;
}

/* Return: where the key's value is, or 0 for it to be put. */
static uint32_t *table_at(struct table *t, uint64_t key)
{
	for (size_t at = key * 0x9e3779b97f4a7c15 >> 20;; at++) {
		struct slot *s = &t->slots[at & t->mask];

		if (!s->value)
			s->key = key;
		if (s->key == key)
			return &s->value;
	}
}

static void table_done(struct table *t)
{
	free(t->slots);
}

/* The peers of a class as a sum, those apart that were seen last. What else makes it another class is in both. */
static void sums_of(const struct class_ *c, uint64_t seen, uint64_t *ret_seen, uint64_t *ret_others, bool *ret_any_other)
{
	uint64_t base = c->group * 0xbf58476d1ce4e5b9;

	for (unsigned i = 0; i < c->n_ports; i++)
		base += hash_mem(&c->ports[i].name, sizeof(c->ports[i].name)) * (1 + 2 * (c->ports[i].number * 256u + c->ports[i].protocol));
	*ret_seen = *ret_others = base;
	*ret_any_other = false;
	for (unsigned i = 0; i < c->n_peers + c->n_blocks; i++) {
		bool is_seen = c->peers[i]->seen == seen;

		*(is_seen ? ret_seen : ret_others) += peer_word(c->peers[i]);
		*ret_any_other |= !is_seen;
	}
}

/* --- how many there are --- */

static bool is_left_out(const struct pset *s)
{
	for (unsigned i = 0; i < s->n_objects; i++)
		if (s->objects[i]->left_out)
			return true;
	return false;
}

static size_t upper_bound(const struct policy *p, const struct pset *s)
{
	size_t n = 10; /* the wildcards of both directions */

	for (unsigned i = 0; i < s->n_objects; i++)
		for (unsigned j = 0; j < s->objects[i]->spec->n_rules; j++) {
			const struct object_rule *r = &s->objects[i]->rules[j];

			for (unsigned k = 0; k < r->spec->n_peers; k++)
				n += r->peers[k]->n_classes;
			n += r->spec->n_ports ? p->n_ported : 0;
		}
	return n;
}

static bool may_be_too_many(const struct policy *p)
{
	struct htab_node *n;
	size_t total = 0;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);
		size_t bound = s->idle || is_left_out(s) ? 0 : upper_bound(p, s);

		total += bound;
		if (bound > p->max_entries)
			return true;
	}
	return total > p->max_rules;
}

static uint32_t tenant_of(struct fit *f, const struct object *o)
{
	const char *name = o->spec->kind == KIND_NETWORK_POLICY ? o->spec->namespace_ : NULL;

	if (o->spec->of_nodes)
		return NOBODY;
	for (uint32_t i = 0; i < f->n_tenants; i++)
		if (name ? f->tenants[i].name && strcmp(f->tenants[i].name, name) == 0 : !f->tenants[i].name)
			return i;
	GROW(f->tenants, f->n_tenants, f->cap_tenants);
	f->tenants[f->n_tenants++] = (struct tenant){ .name = name };
	return f->n_tenants - 1;
}

static void add_object(struct fit *f, struct object *o)
{
	uint32_t i = o->place ? NOBODY : tenant_of(f, o);
	struct tenant *t;

	o->place = 1;
	if (i == NOBODY)
		return;
	t = &f->tenants[i];
	t->n_out += o->left_out;
	if (o->left_out)
		return;
	GROW(t->objects, t->n, t->cap);
	t->objects[t->n++] = o;
}

/* The namespace whose policy it is: of all NetworkPolicies in it. */
static uint32_t tenant_of_pset(struct fit *f, const struct pset *s)
{
	for (unsigned i = 0; i < s->n_objects; i++)
		if (s->objects[i]->spec->kind == KIND_NETWORK_POLICY)
			return tenant_of(f, s->objects[i]);
	return s->n_objects ? tenant_of(f, s->objects[0]) : NOBODY;
}

static void forget_objects(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (unsigned i = 0; i < s->n_objects; i++)
			s->objects[i]->place = 0;
	}
}

static int cmp_pset(const void *a, const void *b)
{
	const struct pset *x = *(struct pset *const *)a, *y = *(struct pset *const *)b;

	return x->party < y->party ? -1 : x->party > y->party;
}

static void collect(struct fit *f)
{
	struct htab_node *n;

	f->psets = xnew0_array(struct pset *, f->p->psets.count + 1);
	for (n = htab_begin(&f->p->psets); n; n = htab_next(&f->p->psets, n)) {
		struct pset *s = container_of(n, struct pset, node);

		if (s->idle)
			continue;
		for (unsigned i = 0; i < s->n_objects; i++)
			add_object(f, s->objects[i]);
		s->party = tenant_of_pset(f, s); /* the parties begin with the tenants */
		if (!is_left_out(s))
			f->psets[f->n_psets++] = s;
	}
	forget_objects(f->p);
	if (f->n_psets)
		qsort(f->psets, f->n_psets, sizeof(*f->psets), cmp_pset);
	for (uint32_t i = 0; i < f->n_tenants; i++) {
		GROW(f->parties, f->n_parties, f->cap_parties);
		f->parties[f->n_parties++] = (struct party){ .tenant = i };
	}
	GROW(f->parties, f->n_parties, f->cap_parties);
	f->parties[f->n_parties++] = (struct party){ .tenant = NOBODY };
}

static void on_class(struct class_ *c, enum policy_direction direction, void *ctx)
{
	struct fit *f = ctx;

	if (!c->place) {
		GROW(f->classes, f->n_classes, f->cap_classes);
		f->classes[f->n_classes++] = c;
		c->place = f->n_classes;
	}
	GROW(f->of_pset, f->n_of_pset, f->cap_of_pset);
	f->of_pset[f->n_of_pset++] = c;
	if (direction == 0)
		f->n_of_first = f->n_of_pset;
}

static void see_peers(struct policy *p, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			o->rules[i].peers[j]->seen = p->seen;
}

/* How many classes there would be if only what was seen last told them apart. */
static size_t count_seen(struct fit *f, size_t from, size_t to)
{
	struct table t;
	size_t n = 0;

	table_begin(&t, to - from);
	for (size_t i = from; i < to; i++) {
		uint64_t own, others;
		bool any;
		uint32_t *at;

		sums_of(f->of_pset[i], f->p->seen, &own, &others, &any);
		at = table_at(&t, own);
		n += !*at;
		*at = 1;
	}
	table_done(&t);
	return n;
}

/* How many entries it would have if only what it names itself told classes apart. @wildcards: it has them in any case. */
static size_t count_alone(struct fit *f, const struct pset *s, size_t wildcards)
{
	f->p->seen++;
	for (unsigned i = 0; i < s->n_objects; i++)
		see_peers(f->p, s->objects[i]);
	return wildcards + count_seen(f, 0, f->n_of_first) + count_seen(f, f->n_of_first, f->n_of_pset);
}

static void add_share(struct fit *f, uint32_t class_, uint32_t party, uint32_t n)
{
	GROW(f->shares, f->n_shares, f->cap_shares);
	f->shares[f->n_shares++] = (struct share){ class_, party, n };
}

static void add_counts(struct fit *f)
{
	if (f->n_classes > f->cap_counts) {
		f->counts = xrealloc(f->counts, f->cap_classes, sizeof(*f->counts));
		memset(f->counts + f->cap_counts, 0, (f->cap_classes - f->cap_counts) * sizeof(*f->counts));
		f->cap_counts = f->cap_classes;
	}
	for (size_t i = 0; i < f->n_of_pset; i++)
		f->counts[f->of_pset[i]->place - 1]++;
}

static void flush_counts(struct fit *f, uint32_t party)
{
	for (size_t i = 0; i < f->n_classes && i < f->cap_counts; i++)
		if (f->counts[i]) {
			add_share(f, i, party, f->counts[i]);
			f->counts[i] = 0;
		}
}

static void add_over(struct fit *f, const struct pset *s)
{
	for (size_t i = 0; i < f->n_of_pset; i++)
		add_share(f, f->of_pset[i]->place - 1, f->n_parties, 1);
	GROW(f->parties, f->n_parties, f->cap_parties);
	f->parties[f->n_parties++] = (struct party){ .tenant = s->party, .over = true };
	f->n_over++;
}

static void count_pset(struct fit *f, struct pset *s)
{
	size_t n;

	f->n_of_first = f->n_of_pset = 0;
	n = flatten_each_class(f->p, s, on_class, f);
	if (n > f->p->max_entries) {
		if (n < SIZE_MAX && count_alone(f, s, n - f->n_of_pset) <= f->p->max_entries)
			add_over(f, s);
		return; /* as it is it has none */
	}
	f->total += n;
	add_counts(f);
}

static void count_all(struct fit *f)
{
	for (size_t i = 0; i < f->n_psets; i++) {
		count_pset(f, f->psets[i]);
		if (i + 1 == f->n_psets || f->psets[i + 1]->party != f->psets[i]->party)
			flush_counts(f, MIN(f->psets[i]->party, f->n_tenants));
	}
}

static void begin(struct fit *f, struct policy *p)
{
	*f = (struct fit){ .p = p };
	collect(f);
	count_all(f);
}

static void done(struct fit *f)
{
	for (size_t i = 0; i < f->n_classes; i++)
		f->classes[i]->place = 0;
	for (size_t i = 0; i < f->n_tenants; i++)
		free(f->tenants[i].objects);
	table_done(&f->by_sum);
	free(f->tenants);
	free(f->psets);
	free(f->parties);
	free(f->classes);
	free(f->counts);
	free(f->of_pset);
	free(f->shares);
	free(f->first_share);
	free(f->over_blame);
}

static bool is_too_much(const struct fit *f)
{
	return f->n_over || f->total > f->p->max_rules;
}

bool rules_are_too_many(struct policy *p)
{
	struct fit f;
	bool are;

	if (!may_be_too_many(p))
		return false;
	begin(&f, p);
	are = is_too_much(&f);
	done(&f);
	return are;
}

/* --- who brings them --- */

static int cmp_share(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	return x->class_ < y->class_ ? -1 : x->class_ > y->class_;
}

static void index_shares(struct fit *f)
{
	uint64_t all, none;
	bool any;
	size_t at = 0;

	if (f->n_shares)
		qsort(f->shares, f->n_shares, sizeof(*f->shares), cmp_share);
	f->first_share = xnew0_array(size_t, f->n_classes + 1);
	for (size_t i = 0; i <= f->n_classes; i++) {
		f->first_share[i] = at;
		while (at < f->n_shares && f->shares[at].class_ == i)
			at++;
	}
	f->p->seen++;
	table_begin(&f->by_sum, f->n_classes);
	for (size_t i = 0; i < f->n_classes; i++) {
		sums_of(f->classes[i], f->p->seen, &none, &all, &any);
		*table_at(&f->by_sum, all) = i + 1;
	}
}

static uint32_t share_of(const struct fit *f, size_t class_, uint32_t party)
{
	uint32_t n = 0;

	for (size_t i = f->first_share[class_]; i < f->first_share[class_ + 1]; i++)
		n += f->shares[i].party == party ? f->shares[i].n : 0;
	return n;
}

static size_t share_of_tenant(const struct fit *f, size_t class_, uint32_t tenant)
{
	size_t n = 0;

	for (size_t i = f->first_share[class_]; i < f->first_share[class_ + 1]; i++)
		n += f->parties[f->shares[i].party].tenant == tenant ? f->shares[i].n : 0;
	return n;
}

/* Others' entries for a class that would be those of @rest without the tenant. */
static size_t blame(const struct fit *f, size_t class_, size_t rest, uint32_t tenant, size_t *over)
{
	size_t n = 0;

	for (size_t i = f->first_share[class_]; i < f->first_share[class_ + 1]; i++) {
		const struct share *s = &f->shares[i];
		size_t split = f->parties[s->party].tenant == tenant ? 0 : MIN(s->n, share_of(f, rest, s->party));

		n += split;
		over[s->party] += split;
	}
	return n;
}

struct touched {
	size_t *list; /* classes that the peers seen last tell apart */
	size_t n, cap;
};

static void touch(struct fit *f, struct touched *t, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++) {
			const struct peer *peer = o->rules[i].peers[j];

			for (unsigned k = 0; k < peer->n_classes; k++) {
				struct class_ *c = peer->classes[k];

				if (!c->place || c->seen == f->p->seen)
					continue;
				c->seen = f->p->seen;
				GROW(t->list, t->n, t->cap);
				t->list[t->n++] = c->place - 1;
			}
		}
}

/* Of all that it touches: its own entries, those that its own peers tell apart; and those of others that it splits off. */
static size_t count_cost(struct fit *f, const struct touched *t, uint32_t tenant, size_t *over)
{
	struct table own, rest;
	size_t n = 0;

	table_begin(&own, t->n);
	table_begin(&rest, t->n);
	for (size_t i = 0; i < t->n; i++) {
		uint64_t of_own, of_others;
		uint32_t *at, *whole;
		bool any_other;

		sums_of(f->classes[t->list[i]], f->p->seen, &of_own, &of_others, &any_other);
		at = table_at(&own, of_own);
		n += *at ? 0 : tenant == NOBODY ? 1 : share_of_tenant(f, t->list[i], tenant);
		*at = 1;
		if (!any_other || tenant == NOBODY)
			continue;
		at = table_at(&rest, of_others);
		if (!*at) {
			whole = table_at(&f->by_sum, of_others);
			*at = *whole ? *whole : t->list[i] + 1;
		}
		if (*at != t->list[i] + 1)
			n += blame(f, t->list[i], *at - 1, tenant, over);
	}
	table_done(&own);
	table_done(&rest);
	return n;
}

static void find_cost(struct fit *f, uint32_t tenant)
{
	_cleanup_free_ size_t *over = xnew0_array(size_t, f->n_parties);
	struct tenant *t = &f->tenants[tenant];
	struct touched touched = { 0 };

	f->p->seen++;
	for (size_t i = 0; i < t->n; i++)
		see_peers(f->p, t->objects[i]);
	for (size_t i = 0; i < t->n; i++)
		touch(f, &touched, t->objects[i]);
	t->cost = count_cost(f, &touched, tenant, over);
	for (size_t i = 0; i < f->n_parties; i++)
		if (f->parties[i].over)
			f->over_blame[tenant] = MAX(f->over_blame[tenant], over[i]);
	free(touched.list);
}

/* How much an object names. */
static size_t size_of(struct fit *f, const struct object *o)
{
	struct touched touched = { 0 };
	size_t n;

	f->p->seen++;
	see_peers(f->p, o);
	touch(f, &touched, o);
	n = count_cost(f, &touched, NOBODY, NULL);
	free(touched.list);
	return n;
}

/* By what it takes away of what is short: of a policy that has too many, where there is one. */
static size_t weight(const struct fit *f, uint32_t tenant, bool of_over)
{
	return of_over ? f->over_blame[tenant] : f->tenants[tenant].cost;
}

static bool goes_before(const struct fit *f, uint32_t a, uint32_t b, bool of_over)
{
	const struct tenant *x = &f->tenants[a], *y = &f->tenants[b];

	if (!x->name != !y->name)
		return x->name;
	if (weight(f, a, of_over) != weight(f, b, of_over))
		return weight(f, a, of_over) > weight(f, b, of_over);
	return x->name && strcmp(x->name, y->name) < 0;
}

static struct tenant *find_costliest(const struct fit *f, bool of_over)
{
	uint32_t best = NOBODY;

	for (uint32_t i = 0; i < f->n_tenants; i++)
		if (weight(f, i, of_over) && (best == NOBODY || goes_before(f, i, best, of_over)))
			best = i;
	return best == NOBODY ? NULL : &f->tenants[best];
}

struct sized {
	struct object *object;
	size_t size;
};

static int cmp_sized(const void *a, const void *b)
{
	const struct sized *x = a, *y = b;
	int c = x->size > y->size ? -1 : x->size < y->size;

	if (!c)
		c = object_cmp(x->object, y->object);
	return c ? c : x->object->serial < y->object->serial ? -1 : x->object->serial > y->object->serial;
}

/* As many as are left out of it already, so that many small ones do not make many rounds. */
static bool take(struct fit *f, const struct tenant *t)
{
	_cleanup_free_ struct sized *list = xnew0_array(struct sized, t->n);
	bool any = false;

	for (size_t i = 0; i < t->n; i++)
		list[i] = (struct sized){ t->objects[i], size_of(f, t->objects[i]) };
	qsort(list, t->n, sizeof(*list), cmp_sized);
	for (size_t i = 0; i < t->n && i < MAX(t->n_out, (size_t)1) && list[i].size; i++) {
		object_leave_out(f->p, list[i].object, true);
		any = true;
	}
	return any;
}

/* Objects that are in use only by what waits for packets on their way. */
static bool take_gone(struct policy *p)
{
	struct htab_node *n;
	bool any = false;

	for (int live = 1; live >= 0; live--)
		for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
			const struct pset *s = container_of(n, struct pset, node);

			for (unsigned i = 0; !s->idle && !s->refs == !live && i < s->n_objects; i++) {
				struct object *o = s->objects[i];

				if (live) {
					o->place = 1;
				} else if (!o->place && !o->left_out && o->spec->n_rules) {
					object_leave_out(p, o, true);
					any = true;
				}
			}
		}
	forget_objects(p);
	return any;
}

static bool choose(struct fit *f)
{
	const struct tenant *t = NULL;

	index_shares(f);
	f->over_blame = xnew0_array(size_t, f->n_tenants + 1);
	for (uint32_t i = 0; i < f->n_tenants; i++)
		find_cost(f, i);
	if (f->n_over)
		t = find_costliest(f, true);
	if (!t && f->total > f->p->max_rules)
		t = find_costliest(f, false);
	return t && take(f, t);
}

bool rules_fit(struct policy *p)
{
	struct fit f;
	bool more = false;

	if (!may_be_too_many(p))
		return false;
	begin(&f, p);
	if (is_too_much(&f))
		more = take_gone(p) || choose(&f);
	done(&f);
	return more;
}
