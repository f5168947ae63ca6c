/* SPDX-License-Identifier: Apache-2.0 */
/* Rule ids: (kind, namespace, name, direction, index) <-> a number that stays while any version of the object has the rule,
 * so a flow event names the right rule across an update of its object. */
#include "policy/store.h"
#include "base/str.h"

struct rule_owner {
	struct htab_node node;
	unsigned refs;
	enum policy_kind kind;
	char *namespace_, *name;
};

struct rule_id {
	struct htab_node node;
	unsigned refs;
	uint32_t id;
	struct rule_owner *owner;
	enum policy_direction direction;
	int index;
	char *rule_name;
};

struct rule_owner *rule_owner_get(struct policy *p, enum policy_kind kind, const char *ns, const char *name)
{
	uint64_t h = hash_str(ns) * 31 + hash_str(name) + kind;
	struct rule_owner *o = NULL;

	HTAB_FIND(&p->owners, h, o, node, o->kind == kind && streq(o->namespace_, ns) && streq(o->name, name));
	if (!o) {
		o = xnew(struct rule_owner);
		*o = (struct rule_owner){ .kind = kind, .namespace_ = xstrdup(ns), .name = xstrdup(name) };
		htab_insert(&p->owners, h, &o->node);
	}
	o->refs++;
	return o;
}

void rule_owner_put(struct policy *p, struct rule_owner *o)
{
	if (--o->refs)
		return;
	htab_remove(&p->owners, &o->node);
	free(o->namespace_);
	free(o->name);
	free(o);
}

static uint32_t new_id(struct policy *p)
{
	if (p->n_free_rules)
		return p->free_rules[--p->n_free_rules];
	if (p->n_rules == 0) /* 0 means no rule */
		p->n_rules = 1;
	while (p->n_rules >= p->cap_rules)
		GROW(p->rules, p->cap_rules, p->cap_rules);
	return p->n_rules++;
}

uint32_t rule_id_get(struct policy *p, struct rule_owner *o, enum policy_direction d, int index, const char *rule_name)
{
	uint64_t h = (uintptr_t)o * 0x9e3779b97f4a7c15ull + index * 2 + d;
	struct rule_id *r = NULL;

	HTAB_FIND(&p->rule_ids, h, r, node, r->owner == o && r->direction == d && r->index == index);
	if (!r) {
		r = xnew(struct rule_id);
		*r = (struct rule_id){ .owner = o, .direction = d, .index = index, .id = new_id(p) };
		o->refs++;
		p->rules[r->id] = r;
		htab_insert(&p->rule_ids, h, &r->node);
	}
	free(r->rule_name);
	r->rule_name = xstrdup(rule_name);
	r->refs++;
	return r->id;
}

void rule_id_put(struct policy *p, uint32_t id)
{
	struct rule_id *r = p->rules[id];

	if (--r->refs)
		return;
	htab_remove(&p->rule_ids, &r->node);
	rule_owner_put(p, r->owner);
	p->rules[id] = NULL;
	GROW(p->free_rules, p->n_free_rules, p->cap_free_rules);
	p->free_rules[p->n_free_rules++] = id;
	free(r->rule_name);
	free(r);
}

bool policy_find_rule(const struct policy *p, uint32_t rule, struct policy_rule_ref *ret)
{
	const struct rule_id *r = rule && rule < p->n_rules ? p->rules[rule] : NULL;

	if (!r)
		return false;
	*ret = (struct policy_rule_ref){ r->owner->kind, r->owner->namespace_, r->owner->name, r->direction, r->index, r->rule_name };
	return true;
}

void policy_rule_format(const struct policy *p, uint32_t rule, char *out, size_t size)
{
	static const char *const directions[] = { "ingress", "egress" };
	struct policy_rule_ref r;

	if (!policy_find_rule(p, rule, &r)) {
		snprintf(out, size, "default");
		return;
	}
	if (r.index < 0)
		snprintf(out, size, "%s %s/%s isolates for %s", policy_kind_name(r.kind), r.namespace_, r.name, directions[r.direction]);
	else
		snprintf(out, size, "%s %s%s%s %s[%d]%s%s%s", policy_kind_name(r.kind), r.namespace_, *r.namespace_ ? "/" : "", r.name,
			 directions[r.direction], r.index, *r.rule_name ? " (" : "", r.rule_name, *r.rule_name ? ")" : "");
}
