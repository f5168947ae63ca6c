/* SPDX-License-Identifier: Apache-2.0 */
/* Policy objects with their peers interned. */
#include "policy/store.h"

static void intern_rule(struct policy *p, struct object *o, struct object_rule *r, const struct rule_spec *spec)
{
	*r = (struct object_rule){ .spec = spec, .id = rule_id_get(p, o->owner, spec->direction, spec->index, spec->name) };
	r->peers = xnew0_array(struct peer *, spec->n_peers);
	for (unsigned i = 0; i < spec->n_peers; i++)
		r->peers[i] = peer_get(p, &spec->peers[i]);
	r->names = xnew0_array(struct label_key *, spec->n_ports);
	for (unsigned i = 0; i < spec->n_ports; i++)
		if (spec->ports[i].name)
			r->names[i] = label_key_get(&p->labels, spec->ports[i].name);
}

struct object *object_new(struct policy *p, struct policy_spec *spec)
{
	struct object *o = xnew(struct object);

	*o = (struct object){ .refs = 1, .spec = spec, .serial = ++p->serial };
	o->owner = rule_owner_get(p, spec->kind, spec->namespace_, spec->name);
	o->subject = peer_get(p, &spec->subject);
	o->rules = xnew0_array(struct object_rule, spec->n_rules);
	for (unsigned i = 0; i < spec->n_rules; i++)
		intern_rule(p, o, &o->rules[i], &spec->rules[i]);
	for (unsigned d = 0; d < POLICY_DIRECTIONS; d++)
		if (spec->isolates[d])
			o->isolation_rule[d] = rule_id_get(p, o->owner, d, -1, "");
	list_init(&o->by_ns);
	return o;
}

void object_put(struct policy *p, struct object *o)
{
	if (--o->refs)
		return;
	assert(o->in_use == 0);
	for (unsigned i = 0; i < o->spec->n_rules; i++) {
		struct object_rule *r = &o->rules[i];

		for (unsigned j = 0; j < r->spec->n_peers; j++)
			peer_put(p, r->peers[j]);
		for (unsigned j = 0; j < r->spec->n_ports; j++)
			if (r->names[j])
				label_key_put(&p->labels, r->names[j]);
		free(r->peers);
		free(r->names);
		rule_id_put(p, r->id);
	}
	for (unsigned d = 0; d < POLICY_DIRECTIONS; d++)
		if (o->isolation_rule[d])
			rule_id_put(p, o->isolation_rule[d]);
	free(o->rules);
	peer_put(p, o->subject);
	rule_owner_put(p, o->owner);
	policy_spec_free(o->spec);
	free(o);
}

/* The peers of a policy in force cut the address space; so do, for rules that pods obey when they send, the ports' names. */
static void use_peers(struct policy *p, struct object *o, int by)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++) {
		struct object_rule *r = &o->rules[i];
		bool names_ports = false;

		for (unsigned j = 0; r->spec->direction == POLICY_EGRESS && j < r->spec->n_ports; j++) {
			if (!r->names[j])
				continue;
			names_ports = true;
			label_key_use(&p->labels, r->names[j], USE_PORT, by);
		}
		for (unsigned j = 0; j < r->spec->n_peers; j++)
			peer_use(p, r->peers[j], names_ports, by);
	}
}

void object_use(struct policy *p, struct object *o, int by)
{
	unsigned before = o->in_use;

	o->in_use += by;
	if (!before == !o->in_use)
		return;
	if (!o->left_out)
		use_peers(p, o, by);
	p->n_left_out -= o->left_out;
	o->left_out = false;
}

void object_leave_out(struct policy *p, struct object *o, bool out)
{
	if (o->left_out == out || !o->in_use)
		return;
	o->left_out = out;
	p->n_left_out += out ? 1 : -1;
	use_peers(p, o, out ? -1 : 1);
}

int object_cmp(const struct object *a, const struct object *b)
{
	int c = (int)a->spec->tier - (int)b->spec->tier;

	if (!c)
		c = a->spec->priority - b->spec->priority;
	if (!c)
		c = strcmp(a->spec->name, b->spec->name);
	if (!c)
		c = (int)a->spec->kind - (int)b->spec->kind;
	return c ? c : strcmp(a->spec->namespace_, b->spec->namespace_);
}

bool subject_means(const struct peer *s, const struct pod *pod)
{
	if (s->ns ? s->ns != pod->ns : !sel_matches(s->namespaces, pod->ns->labels->pairs, pod->ns->labels->n))
		return false;
	return sel_matches(s->selector, pod->labels->pairs, pod->labels->n);
}

bool object_selects(const struct object *o, const struct pod *pod)
{
	return o->spec->of_nodes == pod->host && o->spec->after == pod->after && subject_means(o->subject, pod);
}
