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

/* @t: by the classes up to @n_classes. */
static void fill(struct by_class *t, const struct policy_rule_entry *rules, size_t n, bool in)
{
	for (size_t k = 0; k < n; k++)
		t->rule[rules[k].key.direction][rules[k].key.class_id] = in ? &rules[k] : NULL;
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
		for (end = i; end < n && rules[end].key.policy == rules[i].key.policy;)
			end++;
		fill(&t, rules + i, end - i, true);
		if (is_blind(&t, w))
			fn(rules[i].key.policy, ctx);
		fill(&t, rules + i, end - i, false);
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

void policy_room_note_present(struct policy_room *r, const struct policy_maps *m, enum policy_map map, const void *key)
{
	r->absent[map][((const char *)key - (const char *)m->entries[map]) / policy_map_shapes[map].entry_size] = false;
	r->n--;
}

static uint32_t count_all_classes(const struct policy_maps *m)
{
	const struct policy_cidr_entry *cidrs = policy_maps_cidrs(m);
	uint32_t n = count_classes(&(struct walk){ .m = m });

	for (size_t i = 0; i < m->n[POLICY_MAP_CIDRS]; i++)
		n = MAX(n, cidrs[i].value.class_id + 1);
	return n;
}

/* Which prefixes has the policy other rules for than for those around them? */
static void note_told(const struct policy_maps *m, const struct by_class *t, bool *told)
{
	const struct policy_cidr_entry *cidrs = policy_maps_cidrs(m);
	struct walk w = { .m = m };

	for (size_t i = 0; i < m->n[POLICY_MAP_CIDRS]; i++) {
		struct prefix p = { .len = cidrs[i].key.prefixlen };

		memcpy(p.addr.b, cidrs[i].key.addr, sizeof(p.addr.b));
		leave(&w, &p);
		if (w.depth) {
			struct walk one = { .pairs = &(struct pair){ cidrs[i].value, w.classes[w.depth - 1] }, .n_pairs = 1 };

			told[i] |= is_blind(t, &one);
		}
		w.around[w.depth] = p;
		w.classes[w.depth++] = cidrs[i].value;
	}
}

static bool *find_told(const struct policy_maps *m, const uint32_t *ids, size_t n_ids)
{
	const struct policy_rule_entry *rules = policy_maps_rules(m);
	uint32_t n_classes = count_all_classes(m);
	_cleanup_free_ const struct policy_rule_entry **in = xnew0_array(const struct policy_rule_entry *, n_classes);
	_cleanup_free_ const struct policy_rule_entry **out = xnew0_array(const struct policy_rule_entry *, n_classes);
	struct by_class t = { { [POLICY_INGRESS] = in, [POLICY_EGRESS] = out } };
	bool *told = xnew0_array(bool, m->n[POLICY_MAP_CIDRS]);

	for (size_t i = 0; i < n_ids; i++) {
		size_t begin = 0, end;

		while (begin < m->n[POLICY_MAP_RULES] && rules[begin].key.policy != ids[i])
			begin++;
		for (end = begin; end < m->n[POLICY_MAP_RULES] && rules[end].key.policy == ids[i];)
			end++;
		fill(&t, rules + begin, end - begin, true);
		note_told(m, &t, told);
		fill(&t, rules + begin, end - begin, false);
	}
	return told;
}

void policy_room_exchange(const struct policy_room *r, const struct policy_maps *m, const uint32_t *ids, size_t n_ids, size_t **ret_go, size_t *ret_n_go,
			  size_t **ret_come, size_t *ret_n_come)
{
	_cleanup_free_ bool *told = find_told(m, ids, n_ids);
	const bool *absent = r->absent[POLICY_MAP_CIDRS];
	size_t n = m->n[POLICY_MAP_CIDRS], first = n, n_go = 0, n_come = 0;

	*ret_go = xnew0_array(size_t, n);
	*ret_come = xnew0_array(size_t, n);
	for (size_t i = 0; absent && i < n; i++) {
		first = absent[i] ? MIN(first, i) : first;
		if (absent[i] && told[i])
			(*ret_come)[n_come++] = i;
	}
	/* From before the first that is absent, as those near it are rather of those who name many. */
	for (size_t k = 0; k < n && n_go < n_come; k++) {
		size_t i = (first + n - 1 - k) % n;

		if (!absent[i] && !told[i] && policy_maps_cidrs(m)[i].key.prefixlen > V4_BITS_BEFORE)
			(*ret_go)[n_go++] = i;
	}
	*ret_n_go = n_go;
	*ret_n_come = n_come;
}
