/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy_fit.h"

#include <stdlib.h>

/* The port tables of the maps, by id. */
struct tables {
	size_t *begin, *end; /* in the array of entries, which is sorted by table first */
	bool *used;	     /* by a policy that is whole */
	size_t n;
};

/* The rules of one policy: they stand side by side, as the array is sorted by policy first. */
struct stretch {
	const struct policy_rule_entry *rules;
	size_t n, size; /* @size: with its port tables' entries */
	int rank;	/* 0: the node's failsafe ports, 1: its policies, 2: others */
};

struct fit {
	struct policy_apply *p;
	const struct policy_maps *m;
	struct tables tables;
	struct stretch *failed;
	size_t n_failed;
};

static size_t count_tables(const struct policy_maps *m)
{
	const struct policy_port_entry *ports = policy_maps_ports(m);
	const struct policy_rule_entry *rules = policy_maps_rules(m);
	size_t n = 1;

	for (size_t i = 0; i < m->n[POLICY_MAP_PORTS]; i++)
		n = MAX(n, (size_t)ports[i].key.ports + 1);
	for (size_t i = 0; i < m->n[POLICY_MAP_RULES]; i++)
		n = MAX(n, (size_t)rules[i].value.ports + 1);
	return n;
}

static void find_tables(const struct policy_maps *m, struct tables *ret)
{
	const struct policy_port_entry *ports = policy_maps_ports(m);

	ret->n = count_tables(m);
	ret->begin = xnew0_array(size_t, ret->n);
	ret->end = xnew0_array(size_t, ret->n);
	ret->used = xnew0_array(bool, ret->n);
	for (size_t i = 0; i < m->n[POLICY_MAP_PORTS]; i++) {
		if (ret->end[ports[i].key.ports] == 0)
			ret->begin[ports[i].key.ports] = i;
		ret->end[ports[i].key.ports] = i + 1;
	}
}

static size_t table_size(const struct tables *t, uint32_t id)
{
	return t->end[id] - t->begin[id];
}

static int cmp_stretch(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank - y->rank;
	return x->size < y->size ? -1 : x->size > y->size;
}

static int rank_of(const struct policy_apply *p, uint32_t policy)
{
	return policy == p->host_failsafe ? 0 : policy == p->host_policy || policy == p->host_after ? 1 : 2;
}

/* The rules of one policy, which begin at @i. */
static struct stretch stretch_at(const struct fit *f, size_t i)
{
	const struct policy_rule_entry *rules = policy_maps_rules(f->m);
	size_t n = f->m->n[POLICY_MAP_RULES], end;
	struct stretch s = { .rules = &rules[i], .rank = rank_of(f->p, rules[i].key.policy) };

	for (end = i; end < n && rules[end].key.policy == rules[i].key.policy; end++)
		s.size += 1 + table_size(&f->tables, rules[end].value.ports);
	s.n = end - i;
	return s;
}

static void find_failed(struct fit *f)
{
	const struct policy_rule_entry *rules = policy_maps_rules(f->m);
	size_t n = f->m->n[POLICY_MAP_RULES], cap = 0;

	for (size_t i = 0, end; i < n; i = end) {
		struct stretch s = stretch_at(f, i);

		end = i + s.n;
		if (!policy_apply_id_is_in(f->p->failed, f->p->n_failed_ids, rules[i].key.policy)) {
			for (size_t k = i; k < end; k++)
				f->tables.used[rules[k].value.ports] = true;
			continue;
		}
		GROW(f->failed, f->n_failed, cap);
		f->failed[f->n_failed++] = s;
	}
	if (f->n_failed > 1)
		qsort(f->failed, f->n_failed, sizeof(*f->failed), cmp_stretch);
}

static void fit_begin(struct fit *f, struct policy_apply *p, const struct policy_maps *m)
{
	*f = (struct fit){ .p = p, .m = m };
	find_tables(m, &f->tables);
	find_failed(f);
}

static void fit_done(struct fit *f)
{
	free(f->tables.begin);
	free(f->tables.end);
	free(f->tables.used);
	free(f->failed);
}

static bool table_is_out(const struct fit *f, uint32_t id)
{
	return policy_apply_id_is_in(f->p->failed_ports, f->p->n_failed_ports, id);
}

static void take_table(struct fit *f, uint32_t id)
{
	const struct policy_port_entry *ports = policy_maps_ports(f->m);

	if (!table_size(&f->tables, id) || f->tables.used[id])
		return;
	for (size_t i = f->tables.begin[id]; i < f->tables.end[id]; i++)
		datapath_policy_change(f->p->dp, DP_POLICY_PORTS, &ports[i].key, NULL);
	policy_apply_mark(&f->p->failed_ports, &f->p->n_failed_ports, id);
}

static bool put_table(struct fit *f, uint32_t id)
{
	const struct policy_port_entry *ports = policy_maps_ports(f->m);

	if (!table_is_out(f, id))
		return true;
	for (size_t i = f->tables.begin[id]; i < f->tables.end[id]; i++)
		if (datapath_policy_change(f->p->dp, DP_POLICY_PORTS, &ports[i].key, &ports[i].value) < 0)
			return false;
	f->p->failed_ports[id] = false;
	return true;
}

static void withdraw(struct fit *f, const struct stretch *s)
{
	for (size_t i = 0; i < s->n; i++) {
		datapath_policy_change(f->p->dp, DP_POLICY_RULES, &s->rules[i].key, NULL);
		take_table(f, s->rules[i].value.ports);
	}
}

/* With what is not: taken out again. */
static bool put_whole(struct fit *f, const struct stretch *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (put_table(f, s->rules[i].value.ports) &&
		    datapath_policy_change(f->p->dp, DP_POLICY_RULES, &s->rules[i].key, &s->rules[i].value) == 0)
			continue;
		withdraw(f, s);
		return false;
	}
	return true;
}

void policy_fit_failed(struct policy_apply *p, const struct policy_maps *m)
{
	struct fit f;

	fit_begin(&f, p, m);
	for (size_t i = 0; i < f.n_failed; i++)
		withdraw(&f, &f.failed[i]);
	for (size_t i = 0; i < f.n_failed; i++) {
		const struct stretch *s = &f.failed[i];

		if (!put_whole(&f, s))
			continue;
		p->failed[s->rules->key.policy] = false;
		for (size_t k = 0; k < s->n; k++)
			f.tables.used[s->rules[k].value.ports] = true;
	}
	fit_done(&f);
}

static void find_others(const struct fit *f, struct stretch **ret, size_t *ret_n)
{
	const struct policy_rule_entry *rules = policy_maps_rules(f->m);
	size_t n = f->m->n[POLICY_MAP_RULES], cap = 0;

	*ret = NULL;
	*ret_n = 0;
	for (size_t i = 0, end; i < n; i = end) {
		struct stretch s = stretch_at(f, i);

		end = i + s.n;
		if (s.rank < 2 || policy_apply_id_is_in(f->p->failed, f->p->n_failed_ids, rules[i].key.policy))
			continue;
		GROW(*ret, *ret_n, cap);
		(*ret)[(*ret_n)++] = s;
	}
	if (*ret_n > 1)
		qsort(*ret, *ret_n, sizeof(**ret), cmp_stretch);
}

void policy_fit_make_way(struct policy_apply *p, const struct policy_maps *m, bool all)
{
	size_t rules = 0, ports = 0, n;
	struct stretch *others;
	struct fit f;

	fit_begin(&f, p, m);
	find_others(&f, &others, &n);
	for (size_t i = 0; i < f.n_failed && f.failed[i].rank < 2; i++) {
		rules += f.failed[i].n;
		ports += f.failed[i].size - f.failed[i].n;
	}
	while (n && (rules || ports)) {
		const struct stretch *s = &others[--n];

		policy_apply_mark(&p->failed, &p->n_failed_ids, s->rules->key.policy);
		rules -= all ? 0 : MIN(rules, s->n);
		ports -= all ? 0 : MIN(ports, s->size - s->n);
	}
	free(others);
	fit_done(&f);
}

bool policy_fit_has_room(struct policy_apply *p, const struct policy_maps *m)
{
	bool found = false;
	struct fit f;

	fit_begin(&f, p, m);
	for (size_t i = 0; i < f.n_failed && !found; i++)
		found = put_whole(&f, &f.failed[i]);
	fit_done(&f);
	return found;
}

bool *policy_fit_late_ports(const struct policy_maps *m, const bool *late, size_t n_late, size_t *ret_n)
{
	const struct policy_rule_entry *rules = policy_maps_rules(m);
	bool *ports;

	*ret_n = count_tables(m);
	ports = xnew0_array(bool, *ret_n);
	for (int others = 0; others < 2; others++)
		for (size_t i = 0; i < m->n[POLICY_MAP_RULES]; i++)
			if (policy_apply_id_is_in(late, n_late, rules[i].key.policy) == !others)
				ports[rules[i].value.ports] = !others;
	return ports;
}
