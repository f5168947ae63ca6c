/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays are sorted, covering prefixes first, so one walk over both with a stack of the prefixes around says of each absent entry what
 * answers in its place. Of that only pairs of classes are kept, few in comparison; for each policy both sides of each pair are compared. If
 * the prefix that answers is absent itself, the pair of that one is compared as well: where neither differs, nothing does. */
#include "agent/policy_room.h"
#include "net/addr.h"

#include <stdlib.h>

void policy_room_done(struct policy_room *r)
{
	for (int map = 0; map < POLICY_MAP_COUNT; map++)
		free(r->absent[map]);
	*r = (struct policy_room){ .n = 0 };
}

void policy_room_note_absent(struct policy_room *r, const struct policy_maps *m, enum policy_map map, const void *key)
{
	if (!r->absent[map])
		r->absent[map] = xnew0_array(bool, m->n[map]);
	r->absent[map][((const char *)key - (const char *)m->entries[map]) / policy_map_shapes[map].entry_size] = true;
	r->n++;
}

struct pair {
	struct policy_class_value of, as;
};

struct walk {
	const struct policy_maps *m;
	struct prefix around[129];
	struct policy_class_value classes[129];
	unsigned depth;
	struct pair *pairs;
	size_t n_pairs, cap_pairs;
};

static void leave(struct walk *w, const struct prefix *p)
{
	while (w->depth && !prefix_covers(&w->around[w->depth - 1], p))
		w->depth--;
}

static bool same_class(const struct policy_class_value *a, const struct policy_class_value *b)
{
	return a->class_id == b->class_id && a->group == b->group;
}

/* Without any prefix around there is no class, and everything is dropped. */
static void add_pair(struct walk *w, const struct policy_class_value *of)
{
	const struct pair *last = w->n_pairs ? &w->pairs[w->n_pairs - 1] : NULL;
	struct policy_class_value as;

	if (!w->depth)
		return;
	as = w->classes[w->depth - 1];
	if (same_class(of, &as) || (last && same_class(&last->of, of) && same_class(&last->as, &as)))
		return;
	GROW(w->pairs, w->n_pairs, w->cap_pairs);
	w->pairs[w->n_pairs++] = (struct pair){ *of, as };
}

static void visit_addr(struct walk *w, const struct policy_addr_entry *e)
{
	struct prefix p = { .len = 128 };

	memcpy(p.addr.b, e->key.addr, sizeof(p.addr.b));
	leave(w, &p);
	if (w->depth && w->classes[w->depth - 1].group == POLICY_CLASS_UNKNOWN && e->value.group != POLICY_CLASS_NODE)
		return;
	add_pair(w, &e->value);
}

static void visit_cidr(struct walk *w, const struct policy_cidr_entry *e, bool absent)
{
	struct prefix p = { .len = e->key.prefixlen };

	memcpy(p.addr.b, e->key.addr, sizeof(p.addr.b));
	leave(w, &p);
	if (absent)
		add_pair(w, &e->value);
	w->around[w->depth] = p;
	w->classes[w->depth++] = e->value;
}

static void find_pairs(struct walk *w, const struct policy_room *r)
{
	const struct policy_addr_entry *addrs = policy_maps_addrs(w->m);
	const struct policy_cidr_entry *cidrs = policy_maps_cidrs(w->m);
	const bool *no_addr = r->absent[POLICY_MAP_ADDRS], *no_cidr = r->absent[POLICY_MAP_CIDRS];
	size_t n_addrs = no_addr ? w->m->n[POLICY_MAP_ADDRS] : 0, n_cidrs = w->m->n[POLICY_MAP_CIDRS], a = 0, c = 0;

	while (a < n_addrs || c < n_cidrs) {
		if (c < n_cidrs && (a == n_addrs || memcmp(cidrs[c].key.addr, addrs[a].key.addr, sizeof(addrs[a].key.addr)) <= 0)) {
			visit_cidr(w, &cidrs[c], no_cidr && no_cidr[c]);
			c++;
			continue;
		}
		if (no_addr[a])
			visit_addr(w, &addrs[a]);
		a++;
	}
}

static int cmp_pair(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pair));
}

static void sort_pairs(struct walk *w)
{
	size_t out = 0;

	if (w->n_pairs > 1)
		qsort(w->pairs, w->n_pairs, sizeof(*w->pairs), cmp_pair);
	for (size_t i = 0; i < w->n_pairs; i++)
		if (!i || cmp_pair(&w->pairs[i], &w->pairs[i - 1]) != 0)
			w->pairs[out++] = w->pairs[i];
	w->n_pairs = out;
}

/* One policy's rules by class. */
struct by_class {
	const struct policy_rule_entry **rule[POLICY_DIRECTIONS];
};

static bool same_rules(const struct by_class *t, uint32_t a, uint32_t b)
{
	for (int d = 0; d < POLICY_DIRECTIONS; d++) {
		const struct policy_rule_entry *x = t->rule[d][a], *y = t->rule[d][b];

		if (x != y && (!x || !y || memcmp(&x->value, &y->value, sizeof(x->value)) != 0))
			return false;
	}
	return true;
}

/* What no selector tells apart has its group alone; no class is 0. */
static uint32_t beside_group(const struct policy_class_value *v)
{
	return v->class_id == v->group ? 0 : v->class_id;
}

static bool is_blind(const struct by_class *t, const struct walk *w)
{
	for (size_t i = 0; i < w->n_pairs; i++) {
		const struct pair *p = &w->pairs[i];

		if (!same_rules(t, p->of.group, p->as.group) || !same_rules(t, beside_group(&p->of), beside_group(&p->as)))
			return true;
	}
	return false;
}

static uint32_t count_classes(const struct walk *w)
{
	const struct policy_rule_entry *rules = policy_maps_rules(w->m);
	uint32_t last = POLICY_CLASS_FIRST;

	for (size_t i = 0; i < w->m->n[POLICY_MAP_RULES]; i++)
		last = MAX(last, rules[i].key.class_id);
	for (size_t i = 0; i < w->n_pairs; i++) {
		last = MAX(last, w->pairs[i].of.class_id);
		last = MAX(last, w->pairs[i].as.class_id);
	}
	return last + 1;
}

static void judge(const struct walk *w, policy_room_fn *fn, void *ctx)
{
	const struct policy_rule_entry *rules = policy_maps_rules(w->m);
	uint32_t n_classes = count_classes(w);
	_cleanup_free_ const struct policy_rule_entry **in = xnew0_array(const struct policy_rule_entry *, n_classes);
	_cleanup_free_ const struct policy_rule_entry **out = xnew0_array(const struct policy_rule_entry *, n_classes);
	struct by_class t = { { [POLICY_INGRESS] = in, [POLICY_EGRESS] = out } };
	size_t n = w->m->n[POLICY_MAP_RULES], end;

	for (size_t i = 0; i < n; i = end) {
		for (end = i; end < n && rules[end].key.policy == rules[i].key.policy; end++)
			t.rule[rules[end].key.direction][rules[end].key.class_id] = &rules[end];
		if (is_blind(&t, w))
			fn(rules[i].key.policy, ctx);
		for (size_t k = i; k < end; k++)
			t.rule[rules[k].key.direction][rules[k].key.class_id] = NULL;
	}
}

void policy_room_each_blind(const struct policy_room *r, const struct policy_maps *m, policy_room_fn *fn, void *ctx)
{
	_cleanup_free_ struct pair *pairs = NULL;
	struct walk w = { .m = m };

	find_pairs(&w, r);
	pairs = w.pairs;
	sort_pairs(&w);
	if (w.n_pairs)
		judge(&w, fn, ctx);
}
