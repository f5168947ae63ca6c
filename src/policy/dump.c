/* SPDX-License-Identifier: Apache-2.0 */
/* What was compiled, in words. Whatever numbers depend on history (ids of classes, policies, port tables, peers) are replaced by
 * what they stand for, and all lists are sorted. */
#include "base/buf.h"
#include "base/str.h"
#include "policy/store.h"

struct lines {
	char **line;
	size_t n, cap;
};

static int cmp_line(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_line(struct lines *l, char *line)
{
	GROW(l->line, l->n, l->cap);
	l->line[l->n++] = line;
}

static void print_lines(struct lines *l, FILE *to)
{
	if (l->n)
		qsort(l->line, l->n, sizeof(*l->line), cmp_line);
	for (size_t i = 0; i < l->n; i++) {
		fprintf(to, "%s\n", l->line[i]);
		free(l->line[i]);
	}
	free(l->line);
	*l = (struct lines){ 0 };
}

/* Sorts and joins, and empties @l. */
static char *join_lines(struct lines *l)
{
	struct buf b = { 0 };

	if (l->n)
		qsort(l->line, l->n, sizeof(*l->line), cmp_line);
	for (size_t i = 0; i < l->n; i++) {
		(void)buf_addf(&b, "%s%s", i ? "; " : "", l->line[i]);
		free(l->line[i]);
	}
	free(l->line);
	*l = (struct lines){ 0 };
	return b.data ? b.data : xstrdup("");
}

static const char *const wildcard_names[POLICY_CLASS_FIRST] = {
	[POLICY_CLASS_ANY4] = "any IPv4", [POLICY_CLASS_ANY6] = "any IPv6", [POLICY_CLASS_WORLD] = "world", [POLICY_CLASS_POD] = "pod",
	[POLICY_CLASS_UNKNOWN] = "unknown pod", [POLICY_CLASS_NODE] = "node",
};

static char *class_text(const struct class_ *c)
{
	struct lines l = { 0 };
	_cleanup_free_ char *peers = NULL;

	for (unsigned i = 0; i < c->n_peers + c->n_blocks; i++)
		add_line(&l, xstrdup(c->peers[i]->text));
	for (unsigned i = 0; i < c->n_ports; i++)
		add_line(&l, xasprintf("port %s is %u/%u", c->ports[i].name->name, c->ports[i].protocol, c->ports[i].number));
	peers = join_lines(&l);
	return xasprintf("%s {%s}", wildcard_names[c->group], peers);
}

static void slots_text(const struct policy *p, const struct policy_slot slot[POLICY_STAGES], struct buf *b)
{
	static const char *const verdicts[] = { "none", "allow", "deny", "pass" };
	char rule[512];

	for (unsigned s = 0; s < POLICY_STAGES; s++) {
		if (!slot[s].precedence)
			continue;
		policy_rule_format(p, slot[s].rule, rule, sizeof(rule));
		(void)buf_addf(b, " stage %u: %u %s by %s", s, slot[s].precedence >> 2, verdicts[slot[s].precedence & 3], rule);
	}
}

static char *entry_text(const struct policy *p, const struct rule_entry *e)
{
	_cleanup_free_ char *of_class = e->class_ ? class_text(e->class_) : xstrdup(wildcard_names[e->wildcard]);
	struct buf b = { 0 };

	(void)buf_addf(&b, "%s %s:", e->direction == POLICY_INGRESS ? "from" : "to", of_class);
	slots_text(p, e->value.slot, &b);
	for (unsigned i = 0; e->ports && i < e->ports->n; i++) {
		const struct policy_port_entry *port = &e->ports->entries[i];

		(void)buf_addf(&b, " | %u/%u:%u", port->key.protocol, port->key.port, port->key.len);
		slots_text(p, port->value.slot, &b);
	}
	return b.data;
}

static char *pset_text(const struct policy *p, const struct pset *s)
{
	struct lines l = { 0 };
	_cleanup_free_ char *entries = NULL;

	for (size_t i = 0; i < s->n_entries; i++)
		add_line(&l, entry_text(p, &s->entries[i]));
	entries = join_lines(&l);
	return xasprintf("policy%s%s%s: %s", s->retiring ? " retiring" : "", s->too_large ? " too large" : "",
			 s->no_room ? " no room" : "", entries);
}

static void dump_addresses(const struct policy *p, struct lines *l)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < p->n_sorted; i++) {
		_cleanup_free_ char *c = class_text(p->sorted[i]->class_);

		add_line(l, xasprintf("address %s is %s", addr_format(&p->sorted[i]->addr, text), c));
	}
	for (size_t i = 0; i < p->blocks.n_prefixes; i++) {
		_cleanup_free_ char *c = class_text(p->cidr_classes[i]);

		add_line(l, xasprintf("prefix %s is %s", prefix_format(&p->blocks.prefixes[i].prefix, text), c));
	}
}

static void dump_pods(const struct policy *p, struct lines *l)
{
	const struct pod *pod;

	list_for_each(pod, &p->local, local_link) {
		_cleanup_free_ char *policy = pod->pset ? pset_text(p, pod->pset) : xstrdup(pod->locked ? "locked" : "open");

		add_line(l, xasprintf("pod %s/%s has %s", pod->ns->name, pod->name, policy));
		if (pod->trial) {
			_cleanup_free_ char *trial = pset_text(p, pod->trial);

			add_line(l, xasprintf("pod %s/%s has on trial %s", pod->ns->name, pod->name, trial));
		}
	}
}

void policy_dump(const struct policy *p, FILE *to)
{
	struct lines l = { 0 };
	struct htab_node *n;

	dump_addresses(p, &l);
	dump_pods(p, &l);
	for (n = htab_begin(&p->psets); n; n = htab_next(&p->psets, n))
		add_line(&l, pset_text(p, container_of(n, struct pset, node)));
	print_lines(&l, to);
}
