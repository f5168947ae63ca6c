/* SPDX-License-Identifier: Apache-2.0 */
/* One policy to map entries.
 *
 * The rules of a direction stand in the order of judgement; a rule's precedence is its place from the end. Each rule is
 * put on the list of each class that its peers match, or on one wildcard list (all of a family, any pod, any node). A list
 * makes one rule entry: what it says for every protocol and port stands in the entry, the rest in a port table. Equal
 * lists share the work, equal port tables one table.
 *
 * What can no longer decide is left out: once a rule for all ports is on the wildcard lists, later rules of its stage
 * are dead. So "allow everything" costs two entries however much stands behind it.
 *
 * Stages: 0 Admin. 1 NetworkPolicy where the endpoint is isolated in this direction, else Baseline; a policy always says
 * something about stage 1, if only the default, with the lowest precedence there is.
 *
 * An address that no known pod has may or may not be a peer's. Selectors that allow do not match it, those that deny (or
 * pass, which may lead to a denial) deny: the fail-closed list of the group "unknown". */
#include "policy/ports.h"
#include "policy/store.h"

enum { DEFAULT_PRECEDENCE = 1 };

/* A rule's place in the order, and whether it stands there for "unknown pods". */
typedef uint32_t token;

static token token_of(unsigned rule, bool unknown)
{
	return rule << 1 | unknown;
}

struct tokens {
	struct class_ *class_; /* NULL: the wildcard */
	uint32_t wildcard;
	token *t;
	size_t n, cap;
};

struct flat_rule {
	const struct object_rule *rule;
	enum policy_verdict verdict;
	unsigned stage;
	bool named;   /* has ports that are resolved for each destination class */
	bool numbers; /* has something that is the same for all classes */
};

/* A finished list, for the next one like it. */
struct done_value {
	struct htab_node node;
	const struct tokens *tokens;
	struct policy_rule_value value;
	struct port_table *ports;
};

struct port_slot {
	uint8_t protocol, len;
	uint16_t port;
	unsigned stage;
	struct policy_slot slot;
};

enum wildcard_list { LIST_ANY4, LIST_ANY6, LIST_POD, LIST_UNKNOWN, LIST_NODE, LIST_WILDCARDS };
static const uint32_t wildcard_ids[LIST_WILDCARDS] = { POLICY_CLASS_ANY4, POLICY_CLASS_ANY6, POLICY_CLASS_POD,
						       POLICY_CLASS_UNKNOWN, POLICY_CLASS_NODE };

struct work {
	struct policy *p;
	struct pset *s;
	enum policy_direction direction;
	struct flat_rule *rules;
	unsigned n_rules;
	struct tokens *lists;
	size_t n_lists, cap_lists;
	size_t n_tokens, n_port_entries;
	struct htab done;
	struct port_slot *slots;
	size_t n_slots, cap_slots;
	bool too_large;
};

static uint32_t pack(uint32_t precedence, enum policy_verdict v)
{
	return precedence << 2 | v;
}

/* Rules in order. */

static bool isolated(const struct pset *s, enum policy_direction d, uint32_t *ret_rule)
{
	for (unsigned i = 0; i < s->n_objects; i++)
		if (s->objects[i]->isolation_rule[d]) {
			*ret_rule = s->objects[i]->isolation_rule[d];
			return true;
		}
	return false;
}

/* What follows the Baseline tier. */
static bool denies_by_default(const struct policy *p, const struct pset *s)
{
	return s->locks || (p->deny_default && !s->of_host);
}

static void describe(bool deny, struct flat_rule *f, const struct object_rule *r, enum policy_tier tier)
{
	*f = (struct flat_rule){ .rule = r, .verdict = r->spec->verdict, .stage = tier == TIER_ADMIN ? 0 : 1 };
	if (f->stage == 1 && f->verdict == POLICY_PASS)
		f->verdict = deny ? POLICY_DENY : POLICY_ALLOW;
	f->numbers = r->spec->any_port;
	for (unsigned i = 0; i < r->spec->n_ports; i++) {
		bool resolved_here = !r->names[i] || r->spec->direction == POLICY_INGRESS;

		f->named |= !resolved_here;
		f->numbers |= resolved_here;
	}
}

static void order_rules(struct work *w)
{
	struct pset *s = w->s;
	size_t n = 0;
	uint32_t rule;
	bool isolates = isolated(s, w->direction, &rule);

	for (unsigned i = 0; i < s->n_objects; i++)
		n += s->objects[i]->spec->n_rules;
	w->rules = xnew0_array(struct flat_rule, n);
	for (unsigned i = 0; i < s->n_objects; i++) {
		const struct object *o = s->objects[i];

		if (o->spec->tier == TIER_BASELINE && isolates)
			continue;
		for (unsigned j = 0; j < o->spec->n_rules; j++)
			if (o->rules[j].spec->direction == w->direction)
				describe(denies_by_default(w->p, w->s), &w->rules[w->n_rules++], &o->rules[j], o->spec->tier);
	}
}

/* Lists. */

static void push(struct work *w, struct tokens *list, token t)
{
	if (list->n && list->t[list->n - 1] == t)
		return; /* several peers of the rule match */
	if (++w->n_tokens > 16 * w->p->max_entries) {
		w->too_large = true;
		return;
	}
	GROW(list->t, list->n, list->cap);
	list->t[list->n++] = t;
}

static void push_class(struct work *w, struct class_ *c, unsigned rule)
{
	if (!c->scratch) {
		GROW(w->lists, w->n_lists, w->cap_lists);
		w->lists[w->n_lists] = (struct tokens){ .class_ = c };
		c->scratch = w->n_lists++;
	}
	push(w, &w->lists[c->scratch], token_of(rule, false));
}

static void push_wildcard(struct work *w, enum wildcard_list list, unsigned rule)
{
	push(w, &w->lists[list], token_of(rule, list == LIST_UNKNOWN));
}

static void push_ported(struct work *w, unsigned rule)
{
	for (size_t i = 0; i < w->p->n_ported; i++)
		if (w->p->ported[i]->group == POLICY_CLASS_POD)
			push_class(w, w->p->ported[i], rule);
}

/* A peer that has a wildcard list: what does not depend on the class goes there. */
static void push_any(struct work *w, const struct peer *peer, unsigned rule)
{
	if (peer->any_pod)
		push_wildcard(w, LIST_POD, rule);
	else if (peer->any_node)
		push_wildcard(w, LIST_NODE, rule);
	else
		push_wildcard(w, addr_is_v4(&peer->cidr.addr) ? LIST_ANY4 : LIST_ANY6, rule);
}

static void push_peer(struct work *w, const struct peer *peer, unsigned rule)
{
	const struct flat_rule *f = &w->rules[rule];
	bool any = peer->any_pod || peer->any_node || peer->any_block;

	if (any && f->numbers)
		push_any(w, peer, rule);
	if (peer->any_pod && f->named)
		push_ported(w, rule);
	else if (!any || f->named)
		for (unsigned i = 0; i < peer->n_classes; i++)
			push_class(w, peer->classes[i], rule);
	if (peer->type == PEER_PODS && f->verdict != POLICY_ALLOW)
		push_wildcard(w, LIST_UNKNOWN, rule);
	/* Baseline's PASS reads ALLOW by now; for an address that may be anybody's it still must not skip a denial. */
	if (peer->type == PEER_PODS && f->rule->spec->verdict == POLICY_PASS && f->stage == 1)
		push_wildcard(w, LIST_UNKNOWN, rule);
}

static void push_rule(struct work *w, unsigned rule, bool dead[POLICY_STAGES])
{
	const struct flat_rule *f = &w->rules[rule];

	if (dead[f->stage])
		return;
	if (f->rule->spec->any_peer) {
		if (f->numbers) {
			push_wildcard(w, LIST_ANY4, rule);
			push_wildcard(w, LIST_ANY6, rule);
		}
		if (f->named)
			push_ported(w, rule);
		dead[f->stage] |= f->rule->spec->any_port;
	}
	for (unsigned i = 0; i < f->rule->spec->n_peers && !w->too_large; i++)
		push_peer(w, f->rule->peers[i], rule);
}

static void make_lists(struct work *w)
{
	bool dead[POLICY_STAGES] = { false };

	for (unsigned i = 0; i < LIST_WILDCARDS; i++) {
		GROW(w->lists, w->n_lists, w->cap_lists);
		w->lists[w->n_lists++] = (struct tokens){ .wildcard = wildcard_ids[i] };
	}
	for (unsigned i = 0; i < w->n_rules && !w->too_large; i++)
		push_rule(w, i, dead);
}

/* A list's value. */

static void slot_offer(struct policy_slot *slot, const struct policy_slot *offer)
{
	if (offer->precedence >> 2 > slot->precedence >> 2)
		*slot = *offer;
}

static void add_range(struct work *w, uint8_t protocol, uint16_t lo, uint16_t hi, unsigned stage, const struct policy_slot *slot)
{
	struct port_prefix prefixes[PORT_PREFIXES_MAX];
	unsigned n = ports_to_prefixes(lo, hi, prefixes);

	if (w->n_slots + n > 4 * w->p->max_entries) {
		w->too_large = true;
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		GROW(w->slots, w->n_slots, w->cap_slots);
		w->slots[w->n_slots++] = (struct port_slot){ protocol, prefixes[i].len, prefixes[i].port, stage, *slot };
	}
}

static void add_named(struct work *w, const struct label_key *name, uint8_t protocol, const struct named_port *ports, unsigned n,
		      unsigned stage, const struct policy_slot *slot)
{
	for (unsigned i = 0; i < n; i++)
		if (ports[i].name == name && (!protocol || ports[i].protocol == protocol))
			add_range(w, ports[i].protocol, ports[i].number, ports[i].number, stage, slot);
}

/* Which port a name means at an unknown pod is unknown as well: every one that a port can have a name for. */
static void add_unknown(struct work *w, uint8_t protocol, unsigned stage, const struct policy_slot *slot)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };

	for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++)
		if (!protocol || protocol == protocols[i])
			add_range(w, protocols[i], 0, UINT16_MAX, stage, slot);
}

static void add_ports(struct work *w, const struct flat_rule *f, const struct class_ *c, bool unknown,
		      const struct policy_slot *slot)
{
	const struct rule_spec *spec = f->rule->spec;

	for (unsigned i = 0; i < spec->n_ports && !w->too_large; i++) {
		const struct port_spec *port = &spec->ports[i];

		if (!port->name)
			add_range(w, port->protocol, port->lo, port->hi, f->stage, slot);
		else if (w->direction == POLICY_INGRESS)
			add_named(w, f->rule->names[i], port->protocol, w->s->ports, w->s->n_ports, f->stage, slot);
		else if (unknown)
			add_unknown(w, port->protocol, f->stage, slot);
		else if (c)
			add_named(w, f->rule->names[i], port->protocol, c->ports, c->n_ports, f->stage, slot);
	}
}

/* A rule that surely matches an unknown pod (by its address) goes before the same rule that only may. */
static uint32_t precedence_of(const struct work *w, token t)
{
	return DEFAULT_PRECEDENCE + 2 * (w->n_rules - (t >> 1)) - (t & 1);
}

static void add_token(struct work *w, token t, const struct class_ *c, struct policy_rule_value *v)
{
	const struct flat_rule *f = &w->rules[t >> 1];
	bool unknown = t & 1;
	struct policy_slot slot = { .rule = f->rule->id };

	/* The rules come in order, so what stands in the entry already goes before this one. */
	if (v->slot[f->stage].precedence)
		return;
	slot.precedence = pack(precedence_of(w, t), unknown ? POLICY_DENY : f->verdict);
	if (f->rule->spec->any_port)
		v->slot[f->stage] = slot;
	else
		add_ports(w, f, c, unknown, &slot);
}

static int cmp_slot(const void *a, const void *b)
{
	const struct port_slot *x = a, *y = b;

	if (x->protocol != y->protocol)
		return (int)x->protocol - (int)y->protocol;
	if (x->len != y->len)
		return (int)x->len - (int)y->len;
	return (int)x->port - (int)y->port;
}

static int cmp_entry_slot(const struct policy_port_key *k, const struct port_slot *s)
{
	if (k->protocol != s->protocol)
		return (int)k->protocol - (int)s->protocol;
	if (k->len != s->len)
		return (int)k->len - (int)s->len;
	return (int)k->port - (int)s->port;
}

static const struct policy_port_entry *find_entry(const struct policy_port_entry *e, size_t n, const struct port_slot *s)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = cmp_entry_slot(&e[mid].key, s);

		if (c == 0)
			return &e[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Does a shorter prefix of the table decide this port before the slot could? */
static bool shadowed(const struct policy_port_entry *e, size_t n, const struct port_slot *s)
{
	for (uint8_t len = 0; len < s->len; len++) {
		struct port_slot shorter = { .protocol = s->protocol, .len = len };
		const struct policy_port_entry *found;

		shorter.port = len ? s->port & (0xffffu << (16 - len)) : 0;
		found = find_entry(e, n, &shorter);
		if (found && found->value.slot[s->stage].precedence >= s->slot.precedence)
			return true;
	}
	return false;
}

/* The collected slots, sorted so that shorter prefixes come first, become the entries of a table. */
static size_t merge_slots(struct work *w, struct policy_port_entry *out, uint32_t *ret_lens)
{
	size_t n = 0;

	qsort(w->slots, w->n_slots, sizeof(*w->slots), cmp_slot);
	*ret_lens = 0;
	for (size_t i = 0; i < w->n_slots; i++) {
		const struct port_slot *s = &w->slots[i];

		if (shadowed(out, n, s))
			continue;
		if (!n || cmp_entry_slot(&out[n - 1].key, s) != 0)
			out[n++] = (struct policy_port_entry){ .key = { .port = s->port, .protocol = s->protocol, .len = s->len } };
		slot_offer(&out[n - 1].value.slot[s->stage], &s->slot);
		*ret_lens |= 1u << s->len;
	}
	return n;
}

static struct port_table *port_table_get(struct work *w)
{
	_cleanup_free_ struct policy_port_entry *entries = xnew0_array(struct policy_port_entry, w->n_slots);
	struct policy *p = w->p;
	struct port_table *t = NULL;
	uint32_t lens;
	size_t n = merge_slots(w, entries, &lens), size = n * sizeof(*entries);
	uint64_t h = hash_mem(entries, size);

	HTAB_FIND(&p->port_tables, h, t, node, t->n == n && memcmp(t->entries, entries, size) == 0);
	if (!t) {
		t = xcalloc(1, sizeof(*t) + size);
		t->id = id_take(&p->port_ids);
		t->n = n;
		t->lens = lens;
		memcpy(t->entries, entries, size);
		htab_insert(&p->port_tables, h, &t->node);
	}
	t->refs++;
	return t;
}

struct port_table *port_table_put(struct policy *p, struct port_table *t)
{
	if (!t || --t->refs)
		return NULL;
	htab_remove(&p->port_tables, &t->node);
	id_rest(&p->port_ids, t->id, p->compiled);
	free(t);
	return NULL;
}

static void make_value(struct work *w, const struct tokens *list, struct policy_rule_value *ret, struct port_table **ret_ports)
{
	*ret = (struct policy_rule_value){ 0 };
	*ret_ports = NULL;
	w->n_slots = 0;
	for (size_t i = 0; i < list->n && !w->too_large; i++)
		add_token(w, list->t[i], list->class_, ret);
	if (!w->n_slots || w->too_large)
		return;
	*ret_ports = port_table_get(w);
	ret->ports = (*ret_ports)->id;
	ret->port_lens = (*ret_ports)->lens;
	w->n_port_entries += (*ret_ports)->n;
}

static bool depends_on_class(const struct work *w, const struct tokens *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (w->rules[list->t[i] >> 1].named)
			return true;
	return false;
}

static void add_entry(struct work *w, const struct tokens *list, const struct done_value *d)
{
	struct pset *s = w->s;

	if (s->n_entries + w->n_port_entries > w->p->max_entries) {
		w->too_large = true;
		return;
	}
	if (d->ports)
		d->ports->refs++;
	GROW(s->entries, s->n_entries, s->cap_entries);
	s->entries[s->n_entries++] = (struct rule_entry){ .class_ = list->class_, .wildcard = list->wildcard,
							  .direction = w->direction, .value = d->value, .ports = d->ports };
}

static struct done_value *find_done(struct work *w, const struct tokens *list, uint64_t h)
{
	struct done_value *d = NULL;

	HTAB_FIND(&w->done, h, d, node,
		  d->tokens->n == list->n &&
			  (list->n == 0 || memcmp(d->tokens->t, list->t, list->n * sizeof(*list->t)) == 0));
	return d;
}

/* A list that nothing was pushed to (or whose named ports mean nothing here) makes no entry. */
static bool says_something(const struct done_value *d)
{
	return d->value.ports || d->value.slot[0].precedence || d->value.slot[1].precedence;
}

static void finish_list(struct work *w, const struct tokens *list)
{
	bool own = depends_on_class(w, list);
	uint64_t h = own ? 0 : hash_mem(list->t, list->n * sizeof(*list->t));
	struct done_value *d = own ? NULL : find_done(w, list, h), local = { .tokens = list };

	if (!d) {
		make_value(w, list, &local.value, &local.ports);
		d = &local;
		if (!own) {
			d = xnew(struct done_value);
			*d = local;
			htab_insert(&w->done, h, &d->node);
		}
	}
	if (!w->too_large && says_something(d))
		add_entry(w, list, d);
	if (own)
		port_table_put(w->p, local.ports);
}

/* The last word of stage 1, on every address. */
static void finish_any(struct work *w, struct tokens *list)
{
	struct done_value d = { 0 };
	struct policy_slot otherwise = { .precedence = pack(DEFAULT_PRECEDENCE, POLICY_ALLOW) };

	if (isolated(w->s, w->direction, &otherwise.rule) || denies_by_default(w->p, w->s))
		otherwise.precedence = pack(DEFAULT_PRECEDENCE, POLICY_DENY);
	make_value(w, list, &d.value, &d.ports);
	slot_offer(&d.value.slot[1], &otherwise);
	if (!w->too_large)
		add_entry(w, list, &d);
	port_table_put(w->p, d.ports);
}

static void work_done(struct work *w)
{
	struct htab_node *n, *next;

	for (n = htab_begin(&w->done); n; n = next) {
		struct done_value *d = container_of(n, struct done_value, node);

		next = htab_next(&w->done, n);
		port_table_put(w->p, d->ports);
		free(d);
	}
	htab_done(&w->done);
	for (size_t i = 0; i < w->n_lists; i++) {
		if (w->lists[i].class_)
			w->lists[i].class_->scratch = 0;
		free(w->lists[i].t);
	}
	free(w->lists);
	free(w->rules);
	free(w->slots);
}

static bool flatten_direction(struct policy *p, struct pset *s, enum policy_direction d)
{
	struct work w = { .p = p, .s = s, .direction = d };

	order_rules(&w);
	make_lists(&w);
	for (size_t i = 0; i < w.n_lists && !w.too_large; i++) {
		if (i == LIST_ANY4 || i == LIST_ANY6)
			finish_any(&w, &w.lists[i]);
		else
			finish_list(&w, &w.lists[i]);
	}
	work_done(&w);
	return !w.too_large;
}

void pset_clear_entries(struct policy *p, struct pset *s)
{
	for (size_t i = 0; i < s->n_entries; i++)
		port_table_put(p, s->entries[i].ports);
	free(s->entries);
	s->entries = NULL;
	s->n_entries = s->cap_entries = 0;
}

size_t flatten_each_class(struct policy *p, struct pset *s, flatten_class_fn *fn, void *ctx)
{
	bool too_large = false;
	size_t n = 0;

	for (unsigned d = 0; d < POLICY_DIRECTIONS; d++) {
		struct work w = { .p = p, .s = s, .direction = d };

		order_rules(&w);
		make_lists(&w);
		for (size_t i = 0; i < w.n_lists; i++) {
			const struct tokens *list = &w.lists[i];

			if (list->class_ && class_is_empty(list->class_))
				continue;
			if (list->class_)
				fn(list->class_, d, ctx);
			n += list->n || i == LIST_ANY4 || i == LIST_ANY6;
		}
		too_large |= w.too_large;
		work_done(&w);
	}
	return too_large ? SIZE_MAX : n;
}

static bool uses_blocks(const struct pset *s)
{
	for (unsigned i = 0; i < s->n_objects; i++)
		for (unsigned j = 0; j < s->objects[i]->spec->n_rules; j++) {
			const struct object_rule *r = &s->objects[i]->rules[j];

			for (unsigned k = 0; k < r->spec->n_peers; k++)
				if (r->peers[k]->in_table)
					return true;
		}
	return false;
}

/* All that use any, should there be too many in spite of what blocks_fit() has counted. */
static bool lacks_room(const struct policy *p, const struct pset *s)
{
	for (unsigned i = 0; i < s->n_objects; i++)
		if (s->objects[i]->left_out)
			return true;
	return p->blocks.overflow && uses_blocks(s);
}

static void flatten(struct policy *p, struct pset *s)
{
	struct rule_entry *old = s->entries;
	size_t n_old = s->n_entries;

	/* The old entries go last: port tables that stay the same keep their numbers. */
	s->entries = NULL;
	s->n_entries = s->cap_entries = 0;
	s->flattened = p->generation;
	s->no_room = lacks_room(p, s);
	s->too_large = false;
	for (unsigned d = 0; d < POLICY_DIRECTIONS && !s->no_room && !s->too_large; d++)
		s->too_large = !flatten_direction(p, s, d);
	if (s->too_large)
		pset_clear_entries(p, s); /* nothing found means dropped */
	for (size_t i = 0; i < n_old; i++)
		port_table_put(p, old[i].ports);
	free(old);
}

static bool stale(const struct policy *p, const struct pset *s)
{
	bool lacks = lacks_room(p, s);

	if (!s->flattened || s->no_room != lacks)
		return true;
	if (lacks)
		return false;
	for (unsigned i = 0; i < s->n_objects; i++)
		for (unsigned j = 0; j < s->objects[i]->spec->n_rules; j++) {
			const struct object_rule *r = &s->objects[i]->rules[j];

			for (unsigned k = 0; k < r->spec->n_ports; k++)
				if (r->names[k] && p->ported_version > s->flattened)
					return true;
			for (unsigned k = 0; k < r->spec->n_peers; k++)
				if (r->peers[k]->version > s->flattened)
					return true;
		}
	return false;
}

void flatten_update(struct policy *p)
{
	struct htab_node *n;

	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		struct pset *s = container_of(n, struct pset, node);

		if (!s->idle && stale(p, s))
			flatten(p, s);
	}
}
