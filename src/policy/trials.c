/* SPDX-License-Identifier: Apache-2.0 */
/* What only observes takes no room from what is in force. Its peers would split the classes that policies in force have entries for, so it is not
 * enough to leave out its own: a trial that finds no room is idle, as if its objects were not there. All of them are, or none; whether they find
 * room is asked anew when policies or endpoints change, not when their peers come and go. */
#include "policy/store.h"

static bool is_trial(const struct pset *s)
{
	return s->refs && s->refs == s->trials;
}

bool trials_take_part(const struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		if (is_trial(s) && !s->idle)
			return true;
	}
	return false;
}

static void set_idle(struct policy *p, struct pset *s, bool idle)
{
	if (s->idle == idle)
		return;
	s->idle = idle;
	s->flattened = 0;
	s->too_large = s->no_room = false;
	pset_clear_entries(p, s);
	for (unsigned i = 0; i < s->n_objects; i++)
		object_use(p, s->objects[i], idle ? -1 : 1);
}

/* What retires stays as it is: a packet may be on its way with it. */
void trials_update(struct policy *p, bool left_out)
{
	struct htab_node *n;

	p->trials_left_out = left_out;
	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		struct pset *s = container_of(n, struct pset, node);

		if (s->refs)
			set_idle(p, s, left_out && is_trial(s));
	}
}

bool trials_lack_room(const struct policy *p)
{
	size_t rules = 0, ports = 0;
	struct htab_node *n;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n))
		rules += container_of(n, struct pset, node)->n_entries;
	for (n = htab_begin(&p->port_tables); n; n = htab_next(&p->port_tables, n))
		ports += container_of(n, struct port_table, node)->n;
	return p->trial_room && MAX(rules, ports) > p->trial_room;
}
