/* SPDX-License-Identifier: Apache-2.0 */
/* The datapath's reading of the maps, on the arrays: three probes of the rules (class, group, any of the family), for each
 * hit one probe of its port table for each prefix length in use, highest precedence wins in each stage. */
#include "policy/lookup.h"

static const void *find(const struct policy_maps *m, enum policy_map map, const void *key)
{
	const struct policy_map_shape *shape = &policy_map_shapes[map];
	const char *entries = m->entries[map];
	size_t lo = 0, hi = m->n[map];

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const char *e = entries + mid * shape->entry_size;
		int c = policy_map_cmp(map, e, key);

		if (c == 0)
			return e + shape->value_offset;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Longest match by exact probes, longest first: not how the kernel's trie does it, but the same answer. */
static const struct policy_class_value *find_prefix(const struct policy_maps *m, const struct addr *a)
{
	for (int len = 128; len >= 0; len--) {
		struct prefix p = prefix_of(a, len);
		struct policy_cidr_key key = { .prefixlen = len };
		const struct policy_class_value *v;

		memcpy(key.addr, p.addr.b, sizeof(key.addr));
		v = find(m, POLICY_MAP_CIDRS, &key);
		if (v)
			return v;
	}
	return NULL;
}

struct policy_class_value policy_lookup_class(const struct policy_maps *m, const struct addr *a)
{
	struct policy_addr_key key;
	const struct policy_class_value *v;

	memcpy(key.addr, a->b, sizeof(key.addr));
	v = find(m, POLICY_MAP_ADDRS, &key);
	if (!v)
		v = find_prefix(m, a);
	assert(v); /* the roots of both families are always there */
	return *v;
}

static void offer(struct policy_slot best[POLICY_STAGES], const struct policy_slot found[POLICY_STAGES])
{
	for (unsigned s = 0; s < POLICY_STAGES; s++)
		if (found[s].precedence > best[s].precedence)
			best[s] = found[s];
}

static void probe_ports(const struct policy_maps *m, const struct policy_rule_value *v, uint8_t protocol, uint16_t port,
			struct policy_slot best[POLICY_STAGES])
{
	for (unsigned len = 0; len <= POLICY_PORT_LEN_MAX; len++) {
		struct policy_port_key key = { .ports = v->ports, .protocol = protocol, .len = len };
		const struct policy_port_value *found;

		if (!(v->port_lens & 1u << len))
			continue;
		key.port = len ? port & (0xffffu << (16 - len)) : 0;
		found = find(m, POLICY_MAP_PORTS, &key);
		if (found)
			offer(best, found->slot);
	}
}

static void probe(const struct policy_maps *m, uint32_t policy, uint32_t class_id, enum policy_direction d, uint8_t protocol,
		  uint16_t port, struct policy_slot best[POLICY_STAGES])
{
	const struct policy_rule_value *v = find(m, POLICY_MAP_RULES, &(struct policy_rule_key){ policy, class_id, d });

	if (!v)
		return;
	offer(best, v->slot);
	if (v->ports)
		probe_ports(m, v, protocol, port, best);
}

static enum policy_verdict verdict_of(const struct policy_slot *s)
{
	return s->precedence & 3;
}

static void decide(const struct policy_slot best[POLICY_STAGES], struct policy_side *ret)
{
	unsigned stage = verdict_of(&best[0]) == POLICY_ALLOW || verdict_of(&best[0]) == POLICY_DENY ? 0 : 1;

	ret->allowed = verdict_of(&best[stage]) == POLICY_ALLOW;
	ret->rule = best[stage].rule;
	ret->why = ret->rule ? POLICY_BY_RULE : best[stage].precedence ? POLICY_BY_DEFAULT : POLICY_BY_LOCK;
}

static void ask(const struct policy_maps *m, uint32_t policy, const struct addr *peer, enum policy_direction d, uint8_t protocol,
		uint16_t port, struct policy_side *ret)
{
	struct policy_slot best[POLICY_STAGES] = { 0 };

	if (ret->peer.class_id != ret->peer.group)
		probe(m, policy, ret->peer.class_id, d, protocol, port, best);
	probe(m, policy, ret->peer.group, d, protocol, port, best);
	probe(m, policy, addr_is_v4(peer) ? POLICY_CLASS_ANY4 : POLICY_CLASS_ANY6, d, protocol, port, best);
	decide(best, ret);
}

void policy_lookup_side(const struct policy_maps *m, const struct addr *endpoint, const struct addr *peer, enum policy_direction d,
			uint8_t protocol, uint16_t port, struct policy_side *ret)
{
	const struct policy_endpoint_value *ep;
	struct policy_side trial;
	struct policy_addr_key key;

	memcpy(key.addr, endpoint->b, sizeof(key.addr));
	ep = find(m, POLICY_MAP_ENDPOINTS, &key);
	*ret = (struct policy_side){ .judged = ep, .allowed = true, .why = POLICY_BY_DEFAULT };
	if (!ep)
		return;
	ret->policy = ep->policy;
	ret->peer = policy_lookup_class(m, peer);
	trial = *ret;
	if (ep->policy != POLICY_OPEN)
		ask(m, ep->policy, peer, d, protocol, port, ret);
	if (!ret->allowed || ep->trial == POLICY_OPEN)
		return;
	ask(m, ep->trial, peer, d, protocol, port, &trial);
	ret->would_deny = !trial.allowed;
	ret->trial_rule = trial.rule;
}

static void excuse(struct policy_side *side, enum policy_why why)
{
	side->allowed = true;
	side->why = why;
	side->rule = 0;
	side->would_deny = false;
}

void policy_lookup(const struct policy_maps *m, const struct policy_query *q, struct policy_answer *ret)
{
	struct policy_side *egress = &ret->side[POLICY_EGRESS], *ingress = &ret->side[POLICY_INGRESS];

	policy_lookup_side(m, &q->src, &q->dst, POLICY_EGRESS, q->protocol, q->port, egress);
	policy_lookup_side(m, &q->dst, &q->src, POLICY_INGRESS, q->protocol, q->port, ingress);
	if (addr_eq(&q->src, &q->dst) && !q->via_service) {
		excuse(egress, POLICY_BY_SELF);
		excuse(ingress, POLICY_BY_SELF);
	}
	if (q->from_own_node && ingress->judged)
		excuse(ingress, POLICY_BY_OWN_NODE);
	if (q->from_own_node && egress->judged) /* the node's own policies */
		excuse(egress, POLICY_BY_OWN_NODE);
	ret->allowed = egress->allowed && ingress->allowed;
	ret->would_deny = ret->allowed && (egress->would_deny || ingress->would_deny);
}
