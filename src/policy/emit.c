/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's tables as sorted arrays. The addresses, of which there may be very many, are kept sorted between
 * compiles; new ones are sorted by themselves and merged in. */
#include "policy/store.h"

static int cmp_address(const void *a, const void *b)
{
	const struct address *x = *(struct address *const *)a, *y = *(struct address *const *)b;

	return addr_cmp(&x->addr, &y->addr);
}

static size_t sweep_gone(struct address **list, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (list[i]->gone)
			free(list[i]);
		else
			list[out++] = list[i];
	}
	return out;
}

/* Merges `added` into `sorted`, from the back, in place. */
static void sort_in(struct policy *p)
{
	size_t a, b, out;

	p->n_sorted = sweep_gone(p->sorted, p->n_sorted);
	p->n_added = sweep_gone(p->added, p->n_added);
	if (!p->n_added)
		return;
	qsort(p->added, p->n_added, sizeof(*p->added), cmp_address);
	a = p->n_sorted;
	b = p->n_added;
	out = a + b;
	if (out > p->cap_sorted) {
		p->cap_sorted = out + out / 8;
		p->sorted = xrealloc(p->sorted, p->cap_sorted, sizeof(*p->sorted));
	}
	p->n_sorted = out;
	while (b) {
		bool older = a && cmp_address(&p->sorted[a - 1], &p->added[b - 1]) > 0;

		p->sorted[--out] = older ? p->sorted[--a] : p->added[--b];
	}
	p->n_added = 0;
}

static void emit_addrs(struct policy *p, struct policy_maps *m)
{
	struct policy_addr_entry *e;

	sort_in(p);
	e = m->entries[POLICY_MAP_ADDRS] = xnew0_array(struct policy_addr_entry, p->n_sorted);
	for (size_t i = 0; i < p->n_sorted; i++) {
		const struct address *a = p->sorted[i];

		memcpy(e[i].key.addr, a->addr.b, sizeof(e[i].key.addr));
		e[i].value = (struct policy_class_value){ a->class_->id, a->class_->group };
	}
	m->n[POLICY_MAP_ADDRS] = p->n_sorted;
}

static void emit_cidrs(const struct policy *p, struct policy_maps *m)
{
	struct policy_cidr_entry *e = xnew0_array(struct policy_cidr_entry, p->blocks.n_prefixes);

	for (size_t i = 0; i < p->blocks.n_prefixes; i++) {
		const struct block_prefix *bp = &p->blocks.prefixes[i];

		e[i].key.prefixlen = bp->prefix.len;
		memcpy(e[i].key.addr, bp->prefix.addr.b, sizeof(e[i].key.addr));
		e[i].value = (struct policy_class_value){ p->cidr_classes[i]->id, p->cidr_classes[i]->group };
	}
	m->entries[POLICY_MAP_CIDRS] = e;
	m->n[POLICY_MAP_CIDRS] = p->blocks.n_prefixes;
}

static int cmp_rule_entry(const void *a, const void *b)
{
	return policy_map_cmp(POLICY_MAP_RULES, a, b); /* the key comes first */
}

static void emit_rules(const struct policy *p, struct policy_maps *m)
{
	struct policy_rule_entry *e;
	struct htab_node *n;
	size_t count = 0;

	for (n = htab_begin(&p->port_tables); n; n = htab_next(&p->port_tables, n))
		container_of(n, struct port_table, node)->emitted = false;
	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n))
		count += container_of(n, struct pset, node)->n_entries;
	e = xnew0_array(struct policy_rule_entry, count);
	count = 0;
	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (size_t i = 0; i < s->n_entries; i++) {
			const struct rule_entry *r = &s->entries[i];

			if (r->ports)
				r->ports->emitted = true;
			e[count].key = (struct policy_rule_key){ s->id, r->class_ ? r->class_->id : r->wildcard, r->direction };
			e[count++].value = r->value;
		}
	}
	if (count)
		qsort(e, count, sizeof(*e), cmp_rule_entry);
	m->entries[POLICY_MAP_RULES] = e;
	m->n[POLICY_MAP_RULES] = count;
}

static int cmp_port_entry(const void *a, const void *b)
{
	return policy_map_cmp(POLICY_MAP_PORTS, a, b);
}

static void emit_ports(const struct policy *p, struct policy_maps *m)
{
	struct policy_port_entry *e;
	struct htab_node *n;
	size_t count = 0;

	for (n = htab_begin(&p->port_tables); n; n = htab_next(&p->port_tables, n)) {
		const struct port_table *t = container_of(n, struct port_table, node);

		count += t->emitted ? t->n : 0;
	}
	e = xnew0_array(struct policy_port_entry, count);
	count = 0;
	for (n = htab_begin(&p->port_tables); n; n = htab_next(&p->port_tables, n)) {
		const struct port_table *t = container_of(n, struct port_table, node);

		for (unsigned i = 0; t->emitted && i < t->n; i++) {
			e[count] = t->entries[i];
			e[count++].key.ports = t->id;
		}
	}
	if (count)
		qsort(e, count, sizeof(*e), cmp_port_entry);
	m->entries[POLICY_MAP_PORTS] = e;
	m->n[POLICY_MAP_PORTS] = count;
}

static uint32_t id_of(const struct pset *s)
{
	if (!s)
		return POLICY_OPEN;
	return pset_is_unfit(s) ? POLICY_LOCKED : s->id;
}

/* What a trial would do that is not tried is nobody's to say. One that is too large by itself would lock down. */
static uint32_t trial_of(const struct pod *pod)
{
	return pod->trial && (pod->trial->idle || pod->trial->no_room) ? POLICY_OPEN : id_of(pod->trial);
}

/* Where everything only observes, so does the lock. */
static struct policy_endpoint_value value_of(const struct policy *p, const struct pod *pod)
{
	if (!pod->locked)
		return (struct policy_endpoint_value){ .policy = id_of(pod->pset), .trial = trial_of(pod) };
	return p->observe_all ? (struct policy_endpoint_value){ .trial = POLICY_LOCKED } :
				(struct policy_endpoint_value){ .policy = POLICY_LOCKED };
}

/* Nobody can close the failsafe ports, and no want of room opens the others. */
static uint32_t host_id(const struct policy_maps *m, const struct pod *host)
{
	return host->pset && pset_is_unfit(host->pset) ? m->host_failsafe : id_of(host->pset);
}

/* The node is an endpoint only while some policy speaks of it, or will by itself: the datapath tracks its traffic then. @after: see policy_set_host().
 * Return: how many entries. */
static size_t emit_host(const struct policy *p, const struct pod *host, const struct pod *after, struct policy_maps *m, struct policy_endpoint_entry *e)
{
	struct policy_endpoint_value v = value_of(p, host);

	m->host_failsafe = host->failsafe ? id_of(host->failsafe) : POLICY_LOCKED;
	m->host_until = v.until = p->host_times.until_ns;
	v.after = v.until ? host_id(m, after) : POLICY_OPEN;
	if (host->pset && pset_is_unfit(host->pset)) /* of a trial: what was confirmed goes on */
		v.policy = v.until ? v.after : m->host_failsafe;
	m->host_policy = v.policy;
	m->host_after = v.after;
	if (v.policy == POLICY_OPEN && v.trial == POLICY_OPEN && v.after == POLICY_OPEN)
		return 0;
	v.adopts = p->host_times.adopts_ns;
	for (size_t i = 0; i < p->n_host_addrs; i++) {
		memcpy(e[i].key.addr, p->host_addrs[i].b, sizeof(e[i].key.addr));
		e[i].value = v;
	}
	return p->n_host_addrs;
}

static int cmp_endpoint(const void *a, const void *b)
{
	return policy_map_cmp(POLICY_MAP_ENDPOINTS, a, b);
}

static void emit_endpoints(const struct policy *p, struct policy_maps *m)
{
	struct policy_endpoint_entry *e;
	const struct pod *host[2] = { NULL };
	struct node *node;
	struct pod *pod;
	size_t count = p->n_host_addrs;

	list_for_each(pod, &p->local, local_link)
		count += pod->n_claims;
	e = xnew0_array(struct policy_endpoint_entry, count);
	count = 0;
	list_for_each(pod, &p->local, local_link) {
		if (pod->host)
			host[pod->after] = pod;
		for (unsigned i = 0; i < pod->n_claims; i++) {
			const struct address *a = pod->claims[i].address;

			if (claim_winner(a, &node) != pod)
				continue;
			memcpy(e[count].key.addr, a->addr.b, sizeof(e[count].key.addr));
			e[count++].value = value_of(p, pod);
		}
	}
	if (host[false])
		count += emit_host(p, host[false], host[true], m, e + count);
	if (count)
		qsort(e, count, sizeof(*e), cmp_endpoint);
	m->entries[POLICY_MAP_ENDPOINTS] = e;
	m->n[POLICY_MAP_ENDPOINTS] = count;
}

struct policy_maps *maps_emit(struct policy *p)
{
	struct policy_maps *m = xnew0(struct policy_maps);

	m->refs = 1;
	emit_addrs(p, m);
	emit_cidrs(p, m);
	emit_rules(p, m);
	emit_ports(p, m);
	emit_endpoints(p, m);
	return m;
}
