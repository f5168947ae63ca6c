/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints to policies. The objects that select an endpoint, in the order of judgement, are its policy; endpoints with the
 * same objects share it (unless a named port of an ingress rule means another number in them). Where some of the objects only
 * observe there are two: that of the others, which is in force, and that of all, which is on trial. */
#include "policy/store.h"

struct key {
	struct object **objects;
	size_t n, cap;
	struct named_port *ports;
	size_t n_ports, cap_ports;
	bool locks;
};

static int cmp_object(const void *a, const void *b)
{
	return object_cmp(*(struct object *const *)a, *(struct object *const *)b);
}

static void select_from(struct key *k, const struct list *objects, const struct pod *pod)
{
	struct object *o;

	list_for_each(o, objects, by_ns) {
		if (!object_selects(o, pod))
			continue;
		GROW(k->objects, k->n, k->cap);
		k->objects[k->n++] = o;
	}
}

static bool names(const struct object *o, const struct named_port *port)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++) {
		const struct object_rule *r = &o->rules[i];

		for (unsigned j = 0; r->spec->direction == POLICY_INGRESS && j < r->spec->n_ports; j++)
			if (r->names[j] == port->name)
				return true;
	}
	return false;
}

static int cmp_port(const void *a, const void *b)
{
	const struct named_port *x = a, *y = b;

	if (x->name != y->name)
		return (uintptr_t)x->name < (uintptr_t)y->name ? -1 : 1;
	return (int)x->protocol - (int)y->protocol;
}

static void collect_ports(struct key *k, const struct pod *pod)
{
	for (unsigned i = 0; i < pod->n_ports; i++) {
		bool named = false;

		for (size_t j = 0; j < k->n && !named; j++)
			named = names(k->objects[j], &pod->ports[i]);
		if (!named)
			continue;
		GROW(k->ports, k->n_ports, k->cap_ports);
		k->ports[k->n_ports++] = pod->ports[i];
	}
	if (k->n_ports > 1)
		qsort(k->ports, k->n_ports, sizeof(*k->ports), cmp_port);
}

static bool is_key(const struct pset *s, const struct key *k)
{
	if (s->n_objects != k->n || s->n_ports != k->n_ports || s->locks != k->locks)
		return false;
	if (k->n && memcmp(s->objects, k->objects, k->n * sizeof(*k->objects)) != 0)
		return false;
	for (unsigned i = 0; i < k->n_ports; i++)
		if (cmp_port(&s->ports[i], &k->ports[i]) != 0 || s->ports[i].number != k->ports[i].number)
			return false;
	return true;
}

static struct pset *pset_new(struct policy *p, const struct key *k)
{
	struct pset *s = xnew(struct pset);

	*s = (struct pset){ .id = id_take(&p->policy_ids), .n_objects = k->n, .n_ports = k->n_ports, .of_host = k->n && k->objects[0]->spec->of_nodes,
			    .locks = k->locks };
	s->objects = xnew0_array(struct object *, k->n);
	for (size_t i = 0; i < k->n; i++) {
		s->objects[i] = k->objects[i];
		k->objects[i]->refs++;
		object_use(p, k->objects[i], 1);
	}
	s->ports = xnew0_array(struct named_port, k->n_ports);
	for (size_t i = 0; i < k->n_ports; i++) {
		s->ports[i] = k->ports[i];
		s->ports[i].name->refs++;
	}
	return s;
}

static struct pset *pset_get(struct policy *p, const struct key *k)
{
	uint64_t h = k->n ? hash_mem(k->objects, k->n * sizeof(*k->objects)) : 0;
	struct pset *s = NULL;

	for (size_t i = 0; i < k->n_ports; i++)
		h = h * 31 + k->ports[i].number;
	HTAB_FIND(&p->psets, h, s, node, is_key(s, k));
	if (!s) {
		s = pset_new(p, k);
		htab_insert(&p->psets, h, &s->node);
	}
	if (s->retiring) {
		s->retiring = false;
		p->retiring--;
	}
	s->refs++;
	return s;
}

void pset_put(struct policy *p, struct pset *s)
{
	if (--s->refs)
		return;
	s->retiring = true;
	s->retired = p->compiled;
	p->retiring++;
}

void trial_put(struct policy *p, struct pset *s)
{
	s->trials--;
	pset_put(p, s);
}

void pset_free(struct policy *p, struct pset *s)
{
	htab_remove(&p->psets, &s->node);
	pset_clear_entries(p, s);
	for (unsigned i = 0; i < s->n_objects; i++) {
		if (!s->idle)
			object_use(p, s->objects[i], -1);
		object_put(p, s->objects[i]);
	}
	for (unsigned i = 0; i < s->n_ports; i++)
		label_key_put(&p->labels, s->ports[i].name);
	id_rest(&p->policy_ids, s->id, p->compiled);
	free(s->objects);
	free(s->ports);
	free(s);
}

/* Leaves those in the list that are in force. Return: whether any is not. */
static bool drop_observing(const struct policy *p, struct key *k)
{
	size_t n = k->n;

	k->n = 0;
	for (size_t i = 0; i < n; i++)
		if (!p->observe_all && !k->objects[i]->spec->observes)
			k->objects[k->n++] = k->objects[i];
	return k->n < n;
}

static struct pset *pset_of(struct policy *p, struct key *k, const struct pod *pod, bool deny_default)
{
	if (!k->n && !deny_default)
		return NULL;
	k->n_ports = 0;
	collect_ports(k, pod);
	return pset_get(p, k);
}

/* Of what is in force there, the ports that nobody can close: they come first in the order of judgement. */
static struct pset *failsafe_of(struct policy *p, struct key *k)
{
	struct pset *s;

	if (!k->n || k->objects[0]->spec->priority != PRIORITY_FAILSAFE)
		return NULL;
	k->n = 1;
	k->n_ports = 0;
	k->locks = true;
	s = pset_get(p, k);
	k->locks = false;
	return s;
}

static void choose_psets(struct policy *p, struct pod *pod, struct key *k)
{
	bool deny = p->deny_default && !pod->host, deny_in_force = deny && !p->observe_all;
	struct pset *all;

	if (pod->host && p->hostless)
		return;
	select_from(k, &pod->ns->objects, pod);
	select_from(k, &p->cluster_objects, pod);
	if (k->n > 1)
		qsort(k->objects, k->n, sizeof(*k->objects), cmp_object);
	all = pset_of(p, k, pod, deny);
	if (drop_observing(p, k) || (all && p->observe_all)) {
		pod->trial = all;
		if (all)
			all->trials++;
		pod->pset = pset_of(p, k, pod, deny_in_force);
	} else {
		pod->pset = all;
	}
	if (pod->host && !pod->after)
		pod->failsafe = failsafe_of(p, k);
}

static void update_pod(struct policy *p, struct pod *pod, struct key *k)
{
	struct pset *old = pod->pset, *old_trial = pod->trial, *old_failsafe = pod->failsafe;

	k->n = 0;
	pod->subject_dirty = false;
	pod->pset = pod->trial = pod->failsafe = NULL;
	pod->locked = !pod->ns->known;
	if (!pod->locked)
		choose_psets(p, pod, k);
	if (old)
		pset_put(p, old);
	if (old_trial)
		trial_put(p, old_trial);
	if (old_failsafe)
		pset_put(p, old_failsafe);
}

void subjects_update(struct policy *p)
{
	struct key k = { 0 };
	struct pod *pod;

	if (!p->subjects_dirty)
		return;
	list_for_each(pod, &p->local, local_link)
		if (pod->subject_dirty || pod->ns->subjects_dirty || p->all_subjects_dirty)
			update_pod(p, pod, &k);
	list_for_each(pod, &p->local, local_link)
		pod->ns->subjects_dirty = false;
	p->subjects_dirty = p->all_subjects_dirty = false;
	free(k.objects);
	free(k.ports);
}
