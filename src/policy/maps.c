/* SPDX-License-Identifier: Apache-2.0 */
/* Two sorted arrays, walked side by side. The order of the changes is what keeps an update invisible half-done
 * (docs/policy.md, "How an update is applied"). */
#include "policy/maps.h"

#define SHAPE(map_name, entry)                                                                                         \
	{ map_name, sizeof(((struct entry *)0)->key), sizeof(((struct entry *)0)->value), offsetof(struct entry, value),       \
	  sizeof(struct entry) }

const struct policy_map_shape policy_map_shapes[POLICY_MAP_COUNT] = {
	[POLICY_MAP_ADDRS] = SHAPE("policy_addrs", policy_addr_entry),
	[POLICY_MAP_CIDRS] = SHAPE("policy_cidrs", policy_cidr_entry),
	[POLICY_MAP_RULES] = SHAPE("policy_rules", policy_rule_entry),
	[POLICY_MAP_PORTS] = SHAPE("policy_ports", policy_port_entry),
	[POLICY_MAP_ENDPOINTS] = SHAPE("policy_endpoints", policy_endpoint_entry),
};

struct policy_maps *policy_maps_get(struct policy_maps *m)
{
	m->refs++;
	return m;
}

struct policy_maps *policy_maps_put(struct policy_maps *m)
{
	if (!m || --m->refs)
		return NULL;
	for (unsigned i = 0; i < POLICY_MAP_COUNT; i++)
		free(m->entries[i]);
	free(m);
	return NULL;
}

static int cmp_u32(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int cmp_cidr(const struct policy_cidr_key *a, const struct policy_cidr_key *b)
{
	int c = memcmp(a->addr, b->addr, sizeof(a->addr));

	return c ? c : cmp_u32(a->prefixlen, b->prefixlen);
}

static int cmp_rule(const struct policy_rule_key *a, const struct policy_rule_key *b)
{
	int c = cmp_u32(a->policy, b->policy);

	if (!c)
		c = cmp_u32(a->class_id, b->class_id);
	return c ? c : cmp_u32(a->direction, b->direction);
}

static int cmp_port(const struct policy_port_key *a, const struct policy_port_key *b)
{
	int c = cmp_u32(a->ports, b->ports);

	if (!c)
		c = (int)a->protocol - (int)b->protocol;
	if (!c)
		c = (int)a->len - (int)b->len;
	return c ? c : (int)a->port - (int)b->port;
}

int policy_map_cmp(enum policy_map map, const void *a, const void *b)
{
	switch (map) {
	case POLICY_MAP_CIDRS:
		return cmp_cidr(a, b);
	case POLICY_MAP_RULES:
		return cmp_rule(a, b);
	case POLICY_MAP_PORTS:
		return cmp_port(a, b);
	default:
		return memcmp(a, b, sizeof(struct policy_addr_key));
	}
}

/* Which entries a pass over one map hands out. */
enum { PUT = 1, DELETE = 2, OF_NODES = 4, OF_OTHERS = 8, TURN = 16 };

struct pass {
	enum policy_step step;
	enum policy_map map;
	int what;
};

/* New rules need their port tables; a class must have its rules before an address gets it; policies come last. What
 * goes, goes the other way round. Nodes' addresses come before those of pods, as where these find no room they are taken for pods that nobody knows, and
 * nodes for the world. */
static const struct pass passes[] = {
	{ POLICY_STEP_ADD, POLICY_MAP_PORTS, PUT },
	{ POLICY_STEP_ADD, POLICY_MAP_RULES, PUT },
	{ POLICY_STEP_CLASSES, POLICY_MAP_CIDRS, PUT },
	{ POLICY_STEP_CLASSES, POLICY_MAP_ADDRS, PUT | OF_NODES | TURN },
	{ POLICY_STEP_CLASSES, POLICY_MAP_ADDRS, PUT | OF_OTHERS | TURN },
	{ POLICY_STEP_SWITCH, POLICY_MAP_ENDPOINTS, PUT | DELETE | TURN },
	{ POLICY_STEP_SWITCH, POLICY_MAP_ADDRS, DELETE },
	{ POLICY_STEP_SWITCH, POLICY_MAP_CIDRS, DELETE },
	{ POLICY_STEP_REMOVE, POLICY_MAP_RULES, DELETE },
	{ POLICY_STEP_REMOVE, POLICY_MAP_PORTS, DELETE },
	{ POLICY_STEP_REMOVE, POLICY_MAP_ENDPOINTS, DELETE },
};

static const void *entry(const struct policy_maps *m, enum policy_map map, size_t i)
{
	return m && i < m->n[map] ? (const char *)m->entries[map] + i * policy_map_shapes[map].entry_size : NULL;
}

static bool is_of_pass(const struct pass *pass, const void *value)
{
	const struct policy_class_value *v = value;

	return !(pass->what & (OF_NODES | OF_OTHERS)) || (v->group == POLICY_CLASS_NODE) == !!(pass->what & OF_NODES);
}

static int run_pass(const struct pass *pass, const struct policy_maps *old, const struct policy_maps *new_, policy_change_fn *fn,
		    void *ctx, bool *classes_changed)
{
	const struct policy_map_shape *shape = &policy_map_shapes[pass->map];
	bool of_classes = pass->map == POLICY_MAP_ADDRS || pass->map == POLICY_MAP_CIDRS;
	size_t i = 0, j = 0;

	for (;;) {
		const char *o = entry(old, pass->map, i), *n = entry(new_, pass->map, j);
		int c, r = 0;

		if (!o && !n)
			return 0;
		c = !o ? 1 : !n ? -1 : policy_map_cmp(pass->map, o, n);
		i += c <= 0;
		j += c >= 0;
		if (c == 0 && memcmp(o + shape->value_offset, n + shape->value_offset, shape->value_size) == 0)
			continue;
		/* A new address had the class of its prefix before. */
		*classes_changed |= of_classes && old != NULL;
		if (c < 0 ? !(pass->what & DELETE) : !(pass->what & PUT) || !is_of_pass(pass, n + shape->value_offset))
			continue;
		r = fn(&(struct policy_change){ .step = pass->step, .map = pass->map, .turns = pass->what & TURN, .key = c < 0 ? o : n,
						.value = c < 0 ? NULL : n + shape->value_offset }, ctx);
		if (r)
			return r;
	}
}

int policy_maps_diff(const struct policy_maps *old, const struct policy_maps *new_, policy_change_fn *fn, void *ctx,
		     bool *ret_classes_changed)
{
	bool classes_changed = false;

	for (size_t i = 0; i < ARRAY_SIZE(passes); i++) {
		int r = run_pass(&passes[i], old, new_, fn, ctx, &classes_changed);

		if (r)
			return r;
	}
	if (ret_classes_changed)
		*ret_classes_changed = classes_changed;
	return 0;
}

static void merge_map(enum policy_map map, const struct policy_maps *a, const struct policy_maps *b, struct policy_maps *out)
{
	size_t size = policy_map_shapes[map].entry_size, i = 0, j = 0, n = 0;
	char *to = out->entries[map] = xcalloc(a->n[map] + b->n[map] + 1, size);

	for (;; n++) {
		const void *x = entry(a, map, i), *y = entry(b, map, j);
		int c = !x ? 1 : !y ? -1 : policy_map_cmp(map, x, y);

		if (!x && !y)
			break;
		memcpy(to + n * size, c <= 0 ? x : y, size);
		i += c <= 0;
		j += c >= 0;
	}
	out->n[map] = n;
}

struct policy_maps *policy_maps_merge(const struct policy_maps *a, const struct policy_maps *b)
{
	struct policy_maps *m = xnew0(struct policy_maps);

	m->refs = 1;
	merge_map(POLICY_MAP_RULES, a, b, m);
	merge_map(POLICY_MAP_PORTS, a, b, m);
	merge_map(POLICY_MAP_ENDPOINTS, a, b, m);
	return m;
}
