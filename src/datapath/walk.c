/* SPDX-License-Identifier: Apache-2.0 */
#include "datapath/walk.h"
#include "datapath/priv.h"
#include "weft/endpoint.h"
#include "weft/flow.h"
#include "weft/nat.h"
#include "weft/policy.h"
#include "weft/route.h"
#include "weft/service.h"

#include <time.h>

static struct addr decode_addr(const struct ip_addr *a)
{
	struct addr r = { 0 };

	if (a->b[0] != ADDR_ABSENT_BYTE)
		memcpy(&r, a, sizeof(r));
	return r;
}

int datapath_find_endpoint(struct datapath *dp, const struct addr *a, struct dp_endpoint *ret)
{
	struct ip_addr key = dp_addr_encode(a);
	struct pod_iface iface;
	struct endpoint ep;
	int r = bpf_map_lookup_elem(dp->maps[MAP_ENDPOINTS], &key, &ep);

	if (r == 0)
		r = bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ep.ifindex, &iface);
	if (r < 0)
		return r;
	*ret = (struct dp_endpoint){ .ifindex = ep.ifindex, .id = ep.id };
	memcpy(ret->pod_mac, ep.pod_mac, 6);
	memcpy(ret->host_mac, ep.host_mac, 6);
	for (int f = 0; f < 2; f++)
		ret->addrs[f] = decode_addr(&iface.addrs[f]);
	return 0;
}

static const enum dp_transport transport_of[] = { [TRANSPORT_DIRECT] = DP_DIRECT, [TRANSPORT_TUNNEL] = DP_TUNNEL, [TRANSPORT_MESH] = DP_MESH, [TRANSPORT_NONE] = DP_NONE };

int datapath_find_node_owner(struct datapath *dp, const struct addr *a, struct dp_node_route *ret)
{
	struct node_route_key key = { .len = 128 };
	struct node_route v;
	int r;

	memcpy(key.addr, a, sizeof(key.addr));
	r = bpf_map_lookup_elem(dp->maps[MAP_NODE_ROUTES], &key, &v);
	if (r < 0)
		return r;
	*ret = (struct dp_node_route){ .transport = transport_of[v.transport & 3],
				       .underlay = decode_addr(&v.underlay), .outer = decode_addr(&v.outer), .plain = v.plain == PLAIN_BY_LINKS, .node = v.node,
				       .ifindex = v.ifindex, .mtu = v.mtu, .uplink = v.uplink, .unwrap = v.unwrap,
				       .next_hop = decode_addr(&v.next_hop) };
	memcpy(ret->vtep_mac, v.vtep_mac, 6);
	memcpy(ret->plain_by, v.plain_by, sizeof(ret->plain_by));
	return 0;
}

int datapath_find_node_route(struct datapath *dp, const struct addr *a, struct dp_node_route *ret)
{
	struct dp_node_route owner;
	int r = datapath_find_node_owner(dp, a, &owner);

	if (r == 0 && owner.transport == DP_NONE)
		r = -ENOENT;
	if (r == 0)
		*ret = owner;
	return r;
}

/* As flow_key_of() in bpf/lib/flow.h orders the ends. Return: which end the source is. */
static unsigned flow_key_of(const struct dp_tuple *t, struct flow_key *key)
{
	struct ip_addr s = dp_addr_encode(&t->src), d = dp_addr_encode(&t->dst);
	uint16_t sport = htons(t->sport), dport = htons(t->dport);
	bool first;

	if (s.q[1] != d.q[1])
		first = s.q[1] < d.q[1];
	else if (s.q[0] != d.q[0])
		first = s.q[0] < d.q[0];
	else
		first = sport <= dport;
	*key = (struct flow_key){ .addr = { first ? s : d, first ? d : s }, .port = { first ? sport : dport, first ? dport : sport },
				  .proto = t->proto };
	return first ? 0 : 1;
}

static uint32_t idle_seconds(uint32_t seen)
{
	struct timespec now;
	int32_t ticks;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ticks = (uint32_t)((now.tv_sec * 1000000000ull + now.tv_nsec) >> FLOW_TICK_SHIFT) - seen;
	return ticks > 0 ? (uint64_t)ticks * (1u << FLOW_TICK_SHIFT) / 1000000000 : 0;
}

/* As flow_timeout() in bpf/lib/flow_table.h, of what is in `flows_new`. Seconds. */
static uint32_t timeout_of(uint8_t proto, const struct flow_state *f)
{
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return FLOW_TIMEOUT_ICMP;
	if (f->stage == FLOW_RESET || f->stage == FLOW_CLOSING)
		return f->stage == FLOW_RESET ? FLOW_TIMEOUT_TCP_RESET : FLOW_TIMEOUT_TCP_CLOSING;
	if (proto != IPPROTO_TCP)
		return f->stage == FLOW_OPEN ? FLOW_TIMEOUT_OPEN : FLOW_TIMEOUT_NEW;
	return f->stage != FLOW_OPEN ? FLOW_TIMEOUT_TCP_NEW : f->fin ? FLOW_TIMEOUT_TCP_FIN : FLOW_TIMEOUT_TCP_OPEN;
}

/* As flow_is_replaced() in bpf/lib/flow.h, but for ports that are used again: what a conversation that is over still sends is its own.
 * @end: whose packets they are */
static bool goes_on(uint8_t proto, const struct flow_state *f, unsigned end)
{
	if (idle_seconds(f->seen) >= timeout_of(proto, f))
		return false;
	return !(f->origin & FLOW_DENIED) || f->stage != FLOW_HALF_OPEN || f->initiator == end ||
	       (proto != IPPROTO_TCP && f->origin & FLOW_PASSED);
}

int datapath_find_flow(struct datapath *dp, const struct dp_tuple *t, struct dp_flow *ret)
{
	static const char *const stages[] = { [FLOW_HALF_OPEN] = "half-open", [FLOW_REPLIED] = "replied", [FLOW_OPEN] = "open",
					      [FLOW_CLOSING] = "closing", [FLOW_RESET] = "reset" };
	struct flow_key key;
	unsigned end = flow_key_of(t, &key);
	struct flow_state state;
	struct flow open;
	int r = bpf_map_lookup_elem(dp->maps[MAP_FLOWS], &key, &open);
	bool settled = r == 0; /* until the sweep has taken it away */

	if (settled)
		state = open.state;
	else
		r = bpf_map_lookup_elem(dp->maps[MAP_FLOWS_NEW], &key, &state);
	if (r < 0)
		return r;
	*ret = (struct dp_flow){ .stage = state.stage < ARRAY_SIZE(stages) ? stages[state.stage] : "unknown",
				 .source_began = state.initiator == end,
				 .goes_on = settled || goes_on(t->proto, &state, end),
				 .from_node = state.origin & FLOW_FROM_NODE,
				 .unsure = state.origin & FLOW_UNSURE,
				 .via_stack = { state.stack >> end & 1, state.stack >> (end ^ 1) & 1 },
				 .owner = state.owner, .idle_s = idle_seconds(state.seen) };
	return 0;
}

int datapath_read_share(struct datapath *dp, uint32_t id, uint64_t *ret)
{
	return bpf_map_lookup_elem(dp->maps[MAP_ENDPOINT_FLOWS], &id, ret);
}

/* ---- policy ---- */

/* What is asked of one policy, and the best that was found so far. */
struct ask {
	struct policy_rule_key key;
	struct policy_port_key port;
	uint16_t number; /* of the port */
	struct policy_slot best[POLICY_STAGES];
};

static void offer(struct ask *ask, const struct policy_slot found[POLICY_STAGES])
{
	for (int s = 0; s < POLICY_STAGES; s++)
		if (found[s].precedence > ask->best[s].precedence)
			ask->best[s] = found[s];
}

static void probe_class(struct datapath *dp, struct ask *ask, uint32_t class_id)
{
	struct policy_port_value of_port;
	struct policy_rule_value found;

	ask->key.class_id = class_id;
	if (bpf_map_lookup_elem(dp->maps[MAP_POLICY_RULES], &ask->key, &found) < 0)
		return;
	offer(ask, found.slot);
	ask->port.ports = found.ports;
	for (unsigned len = 0; found.ports && len <= POLICY_PORT_LEN_MAX; len++) {
		if (!(found.port_lens >> len & 1))
			continue;
		ask->port.len = len;
		ask->port.port = ask->number & (uint16_t)(0xffff0000 >> len);
		if (bpf_map_lookup_elem(dp->maps[MAP_POLICY_PORTS], &ask->port, &of_port) == 0)
			offer(ask, of_port.slot);
	}
}

static int find_class(struct datapath *dp, uint32_t policy, const struct addr *a, struct policy_class_value *ret)
{
	struct policy_cidr_at at = { .prefixlen = 32 + 128, .generation = policy >> POLICY_GENERATION_SHIFT };
	struct policy_class_turn t; /* all have turned: who asks is the agent that makes the updates */

	memcpy(at.addr, a, sizeof(at.addr));
	if (bpf_map_lookup_elem(dp->maps[MAP_POLICY_ADDRS], &at.generation, &t) == 0) {
		*ret = (struct policy_class_value){ t.class_id, t.group };
		return 0;
	}
	return bpf_map_lookup_elem(dp->maps[MAP_POLICY_CIDRS], &at, ret);
}

/* Stage 0 decides, unless it passes or says nothing. */
static bool decide(const struct ask *ask, uint32_t *ret_rule)
{
	unsigned first = ask->best[0].precedence & 3;
	const struct policy_slot *slot = &ask->best[first == POLICY_ALLOW || first == POLICY_DENY ? 0 : 1];

	*ret_rule = slot->rule;
	return (slot->precedence & 3) == POLICY_ALLOW;
}

/* @of: what is asked, but for the policy and the class. */
static bool policy_allows(struct datapath *dp, struct ask of, uint32_t policy, const struct addr *peer, struct dp_judgement *j,
			  uint32_t *ret_rule)
{
	struct policy_class_value class;

	*ret_rule = 0;
	if (policy == POLICY_OPEN)
		return true;
	if (policy == POLICY_LOCKED || find_class(dp, policy, peer, &class) < 0)
		return false;
	j->unknown_peer = class.group == POLICY_CLASS_UNKNOWN;
	of.key.policy = policy;
	probe_class(dp, &of, class.class_id);
	if (class.class_id != class.group)
		probe_class(dp, &of, class.group);
	probe_class(dp, &of, addr_is_v4(peer) ? POLICY_CLASS_ANY4 : POLICY_CLASS_ANY6);
	return decide(&of, ret_rule);
}

static uint64_t now_boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* As host_name_groups() in bpf/lib/host.h. */
static struct addr name_of_end(const struct addr *end)
{
	static const uint8_t to_all[4] = { 255, 255, 255, 255 };

	if (!addr_is_v4(end))
		return end->b[0] == 0xff ? (struct addr){ .b = POLICY_GROUPS6 } : *end;
	return end->b[12] >> 4 == 14 || memcmp(end->b + 12, to_all, 4) == 0 ? (struct addr){ .b = POLICY_GROUPS4 } : *end;
}

int datapath_judge(struct datapath *dp, const struct addr *end, const struct addr *peer, bool egress, uint8_t proto, uint16_t port,
		   struct dp_judgement *ret)
{
	struct ask ask = { .key.direction = egress ? POLICY_EGRESS : POLICY_INGRESS, .port.protocol = proto, .number = port };
	struct addr name = name_of_end(end);
	struct policy_endpoint_value v;
	struct policy_state state;
	uint32_t zero = 0;
	int r = bpf_map_lookup_elem(dp->maps[MAP_POLICY_STATE], &zero, &state);

	*ret = (struct dp_judgement){ .verdict = DP_UNJUDGED };
	if (r < 0 || state.revision == 0) /* never applied: everything is allowed */
		return r;
	r = dp_policy_read_endpoint(dp, &name, &v);
	if (r < 0 || v.gone)
		return r;
	if (v.until && now_boot_ns() >= v.until) /* a trial that nobody confirmed */
		v = (struct policy_endpoint_value){ .policy = v.after };
	if (!policy_allows(dp, ask, v.policy, peer, ret, &ret->rule))
		ret->verdict = v.policy == POLICY_LOCKED ? DP_LOCKED : DP_DENIED;
	else if (v.policy != POLICY_OPEN)
		ret->verdict = DP_ALLOWED;
	if (ret->verdict == DP_UNJUDGED || ret->verdict == DP_ALLOWED)
		ret->would_deny = !policy_allows(dp, ask, v.trial, peer, ret, &ret->trial_rule);
	return 0;
}

bool datapath_is_exempt(struct datapath *dp, const struct addr *a, bool source)
{
	struct nat_exempt_key key = { .len = 32 + 128, .side = source ? NAT_FROM : NAT_TO };
	uint32_t v;

	memcpy(key.addr, a, sizeof(key.addr));
	return bpf_map_lookup_elem(dp->maps[MAP_NAT_EXEMPT], &key, &v) == 0;
}

int datapath_find_nat_uplink(struct datapath *dp, uint32_t ifindex, struct dp_nat_uplink *ret)
{
	struct nat_uplink v;
	int r = bpf_map_lookup_elem(dp->maps[MAP_NAT_UPLINKS], &ifindex, &v);

	if (r < 0)
		return r;
	*ret = (struct dp_nat_uplink){ .ifindex = ifindex, .addrs = { decode_addr(&v.addrs[0]), decode_addr(&v.addrs[1]) } };
	return 0;
}

/* ---- Services ---- */

/* Return: enum service_node, 0: no node's. */
static uint32_t service_node_of(struct datapath *dp, const struct addr *a)
{
	struct ip_addr key = dp_addr_encode(a);
	uint32_t whose = 0;

	return bpf_map_lookup_elem(dp->maps[MAP_SERVICE_NODES], &key, &whose) == 0 ? whose : 0;
}

bool datapath_is_service_node(struct datapath *dp, const struct addr *a)
{
	return service_node_of(dp, a) != 0;
}

/* Node ports are entered once a family, with the unspecified address. */
static int find_node_port(struct datapath *dp, struct dp_service_frontend *f, uint8_t proto, struct dp_service_set *ret)
{
	uint32_t whose = service_node_of(dp, &f->addr);

	if (!whose)
		return 0;
	if (f->scope == SERVICE_EXTERNAL && whose == SERVICE_NODE_OTHER)
		f->scope = SERVICE_FORWARDED;
	if (addr_is_v4(&f->addr))
		memset(f->addr.b + 12, 0, 4);
	else
		memset(f->addr.b, 0, 16);
	return datapath_read_service(dp, f, proto, ret);
}

int datapath_find_frontend(struct datapath *dp, const struct addr *a, uint16_t port, uint8_t proto, enum service_scope scope,
			   struct dp_service_set *ret)
{
	struct dp_service_frontend f = { .addr = *a, .port = port, .scope = scope };
	int r = datapath_read_service(dp, &f, proto, ret);

	if (r == 0 && !ret->there) {
		f.port = 0;
		r = datapath_read_service(dp, &f, 0, ret);
	}
	if (r == 0 && !ret->there) {
		f.port = port;
		r = find_node_port(dp, &f, proto, ret);
	}
	return r;
}

bool datapath_lets_in(struct datapath *dp, const struct dp_service_set *set, const struct addr *client)
{
	struct service_source_key key = { .len = 32 + 128, .service = set->service };
	uint32_t v;

	if (!(set->frontend.flags & SERVICE_SOURCES))
		return true;
	memcpy(key.addr, client, sizeof(key.addr));
	return bpf_map_lookup_elem(dp->maps[MAP_SERVICE_SOURCES], &key, &v) == 0;
}

uint32_t datapath_recall_backend(struct datapath *dp, const struct dp_service_set *set, const struct addr *client)
{
	struct service_client key = { .addr = dp_addr_encode(client), .service = set->service };
	struct service_affinity v;

	if (!set->affinity_s || bpf_map_lookup_elem(dp->maps[MAP_SERVICE_AFFINITY], &key, &v) < 0)
		return 0;
	return idle_seconds(v.seen) < set->affinity_s ? v.backend : 0;
}
