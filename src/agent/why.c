/* SPDX-License-Identifier: Apache-2.0 */
/* The method `why`: the way of a first packet, decided by the same tables in the same order as the programs decide it
 * (docs/packet-walks.md), as far as this node sees it. The tables are the pinned ones, not the agent's idea of them; where the stack
 * decides, the kernel is asked for its route. Nothing is sent and nothing changes. */
#include "agent/why.h"
#include "base/str.h"
#include "observe/query.h"

#include <linux/rtnetlink.h>
#include <stdarg.h>

enum { CODE_REFUSED = 7, CODE_TRY_AGAIN = 11 };

/* What an address outside is when none is said: documentation addresses (RFC 5737, 3849). */
static const char *const somewhere[2] = { "192.0.2.1", "2001:db8::1" };

const char *why_verdict_name(enum verdict v)
{
	static const char *const names[] = { [WHY_DELIVERED] = "delivered", [WHY_SENT] = "sent",	       [WHY_DROPPED] = "dropped",
					     [WHY_DENIED] = "denied",	    [WHY_REFUSED] = "refused",   [WHY_UNREACHABLE] = "unreachable",
					     [WHY_ELSEWHERE] = "elsewhere", [WHY_DEPENDS] = "depends" };

	return names[v];
}

void why_step(struct walk *w, const char *at, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	char clean[1024];
	json_t *s;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	s = json_string(text);
	if (!s) { /* a name that is no UTF-8 */
		str_escape(clean, sizeof(clean), text);
		s = json_string(clean);
	}
	json_array_append_new(w->steps, json_pack("{ss, so}", "at", at, "text", s));
}

void why_dropped(struct walk *w, const char *at, enum drop_reason why)
{
	why_step(w, at, "dropped, %s: %s", drop_reason_label(why), drop_reason_text(why));
	w->reason = why;
	w->verdict = WHY_DROPPED;
}

void why_ends(struct walk *w, enum verdict v, const char *ask)
{
	w->verdict = v;
	if (ask)
		w->ask = xstrdup(ask);
}

static const char *link_name(struct walk *w, uint32_t ifindex, struct link *l)
{
	return rtnl_get_link(w->a->nl, ifindex, l) == 0 ? l->name : "an interface that is gone";
}

bool why_is_own(struct walk *w, const struct addr *a)
{
	struct route way;

	for (int f = 0; f < 2; f++)
		if (addr_eq(a, &w->a->dp_config.node_addrs[f]) || addr_eq(a, &w->a->dp_config.underlay[f]))
			return true;
	return rtnl_find_way(w->a->nl, &(struct rtnl_way){.src = *a, .dst = *a}, &way) == 0 && way.type == RTN_LOCAL;
}

/* Is the destination the node's, or one that the stack takes with others of a link: a group, broadcast, anycast? */
static bool is_for_node(struct walk *w)
{
	const struct addr *a = &w->dst.addr;
	struct route way;

	if (w->dst.kind == OBSERVE_GROUP || why_is_own(w, a))
		return true;
	return rtnl_find_way(w->a->nl, &(struct rtnl_way){.dst = *a}, &way) == 0 && (way.type == RTN_BROADCAST || way.type == RTN_ANYCAST);
}

static bool in_own_range(const struct walk *w, const struct addr *a)
{
	for (int f = 0; f < 2; f++)
		if (w->a->state.ranges[f].len && prefix_contains(&w->a->state.ranges[f], a))
			return true;
	return false;
}

static const char *name_of(const struct observe_end *e)
{
	return e->name ? e->name : "the endpoint";
}

const char *why_node_of(const struct observe_end *e)
{
	return e->kind == OBSERVE_NODE ? e->name : e->node;
}

/* ---- the flow table ---- */

bool why_check_flow(struct walk *w, const char *at, uint32_t beginner)
{
	struct dp_tuple t = { .src = w->src.addr, .dst = w->dst.addr, .sport = w->src.port, .dport = w->dst.port, .proto = w->proto };
	uint32_t share = MAX(w->a->dp_config.flow_max / 4, 1u);
	uint64_t held = 0, all = 0;
	struct dp_flow f;

	w->answers = WHY_BEGINS;
	if (w->src.port && datapath_find_flow(w->a->dp, &t, &f) == 0) {
		if (!f.source_began && f.goes_on)
			w->answers = f.from_node ? WHY_ANSWERS_NODE : f.unsure ? WHY_ANSWERS_UNSURELY : WHY_ANSWERS;
		why_step(w, at, "the flow table has it: %s, begun by the %s, last packet %u s ago%s", f.stage,
			 f.source_began ? "source" : "destination", f.idle_s,
			 f.via_stack[0] || f.via_stack[1] ? ", through the stack (somebody translates it there)" : "");
		return true;
	}
	if (!beginner)
		return true;
	datapath_read_share(w->a->dp, beginner, &held);
	datapath_read_share(w->a->dp, 0, &all);
	if ((int64_t)held >= (int64_t)share)
		why_dropped(w, at, DROP_FLOW_SHARE);
	else if (all >= w->a->dp_config.flow_max)
		why_dropped(w, at, DROP_FLOW_TABLE_FULL);
	else
		return true;
	return false;
}

/* ---- policy ---- */

static const char denied_by_default[] = "default (no rule allows it)";

static const char *name_of_rule(const struct dp_judgement *j, const char *rule)
{
	if (j->verdict == DP_LOCKED)
		return "the lock: its policy could not be put in place";
	if (rule)
		return rule;
	return j->verdict == DP_ALLOWED ? "default (no rule denies it)" : denied_by_default;
}

/* It passes, for what would stop it only observes. */
static void note_trial(struct walk *w, const char *at, bool source, bool egress, const struct dp_judgement *j)
{
	_cleanup_free_ char *rule = seeing_rule(w->a, j->trial_rule);
	const char *by = rule ? rule : denied_by_default;

	if (!j->would_deny)
		return;
	why_step(w, at, "policy, %s of %s: would be denied by %s, which only observes", egress ? "egress" : "ingress",
		 name_of(source ? &w->src : &w->dst), by);
	json_array_append_new(w->would_deny, json_string(by));
}

static enum drop_reason reason_of(const struct dp_judgement *j, bool egress)
{
	if (j->verdict == DP_LOCKED)
		return DROP_POLICY_LOCKED;
	return j->unknown_peer ? DROP_POLICY_UNKNOWN_POD : egress ? DROP_POLICY_EGRESS : DROP_POLICY_INGRESS;
}

static int judge(struct walk *w, bool source, bool egress, uint16_t port, struct dp_judgement *ret)
{
	const struct observe_end *end = source ? &w->src : &w->dst, *peer = source ? &w->dst : &w->src;

	return datapath_judge(w->a->dp, &end->addr, &peer->addr, egress, w->proto, port, ret);
}

/* One question to the policy of an end. @egress, @port: of the conversation, by who began it; @as: who that is, for the step. Return: does it pass? */
static bool check_end(struct walk *w, const char *at, bool source, bool egress, uint16_t port, const char *as)
{
	const char *direction = egress ? "egress" : "ingress", *name = name_of(source ? &w->src : &w->dst);
	_cleanup_free_ char *rule = NULL;
	struct dp_judgement j;

	if (judge(w, source, egress, port, &j) < 0) {
		why_step(w, at, "policy, %s of %s: its tables cannot be read", direction, name);
		return true;
	}
	if (j.verdict == DP_UNJUDGED) {
		why_step(w, at, "policy, %s of %s: none %s", direction, name, j.would_deny ? "is in force" : "applies");
		note_trial(w, at, source, egress, &j);
		return true;
	}
	rule = seeing_rule(w->a, j.rule);
	why_step(w, at, "policy, %s of %s: %s%s by %s", direction, name, as, j.verdict == DP_ALLOWED ? "allowed" : "denied", name_of_rule(&j, rule));
	if (j.verdict == DP_ALLOWED) {
		note_trial(w, at, source, egress, &j);
		return true;
	}
	w->reason = reason_of(&j, egress);
	w->verdict = WHY_DENIED;
	w->rule = take_ptr(rule);
	return false;
}

/* What the answers' sender would meet if it began a conversation itself. The first denial counts. */
static void note_anew(struct walk *w, const char *at, bool source)
{
	_cleanup_free_ char *rule = NULL;
	struct dp_judgement j;

	if (judge(w, source, source, w->dst.port, &j) < 0 || j.verdict == DP_UNJUDGED)
		return;
	rule = seeing_rule(w->a, j.rule);
	why_step(w, at, "policy, %s of %s: what the source began anew would be %s by %s", source ? "egress" : "ingress", name_of(source ? &w->src : &w->dst),
		 j.verdict == DP_ALLOWED ? "allowed" : "denied", name_of_rule(&j, rule));
	if (j.verdict != DP_ALLOWED && !w->anew)
		w->anew = json_pack("{ss, ss*}", "reason", drop_reason_label(reason_of(&j, source)), "rule", rule);
}

/* A conversation is judged as its beginner's, in whichever direction its packets travel (bpf/lib/policy.h). */
static bool check_answers(struct walk *w, const char *at, bool source)
{
	if (w->answers == WHY_ANSWERS_NODE)
		why_step(w, at, "policy: this node itself began the conversation: none is asked");
	else if (!check_end(w, at, source, !source, w->src.port, "as the destination began it, "))
		return false;
	if (w->answers == WHY_ANSWERS_UNSURELY)
		return check_end(w, at, source, source, w->dst.port, "as nobody saw who began it, and the source might have, ");
	note_anew(w, at, source);
	return true;
}

bool why_check_policy(struct walk *w, const char *at, bool egress)
{
	return w->answers == WHY_BEGINS ? check_end(w, at, egress, egress, w->dst.port, "") : check_answers(w, at, egress);
}

/* As host_check() in bpf/lib/host.h: policies of the node itself. What a pod of this node says to it is judged with their flow, which was looked up before. */
static bool check_host(struct walk *w, const char *at, bool egress)
{
	return !w->a->dp_config.host || why_check_policy(w, at, egress);
}

static bool check_host_flow(struct walk *w, const char *at, bool egress)
{
	return !w->a->dp_config.host || (why_check_flow(w, at, 0) && why_check_policy(w, at, egress));
}

/* Which program sees what this node sends there. */
static const char *way_out(struct walk *w)
{
	struct dp_node_route route;

	if (datapath_find_node_route(w->a->dp, &w->dst.addr, &route) < 0)
		return "to_net";
	return route.transport == DP_MESH ? "to_mesh" : route.transport == DP_TUNNEL ? "to_tunnel" : "to_net";
}

/* ---- onwards ---- */

/* As flow_needs_stack() in bpf/lib/flow.h: where the way back goes through the stack, the way in does. What is translated never meets others there. */
static bool needs_stack(struct walk *w)
{
	struct dp_node_route route;

	return !w->a->opt.fast_path || (w->a->dp_config.foreign_nat && !w->translated && !w->src_ep.id &&
					datapath_find_node_route(w->a->dp, &w->src.addr, &route) < 0);
}

void why_deliver_to_pod(struct walk *w, const char *at, bool past_stack)
{
	struct link l;

	if (past_stack && !needs_stack(w))
		why_step(w, at, "endpoints: %s is a pod of this node; straight into its interface, past the stack (%s)", name_of(&w->dst),
			 link_name(w, w->dst_ep.ifindex, &l));
	else
		why_step(w, "to_pod", "from the stack to the pod's interface %s", link_name(w, w->dst_ep.ifindex, &l));
	why_ends(w, WHY_DELIVERED, NULL);
}

static void leave_by(struct walk *w, uint32_t oif, bool of_pod)
{
	int family = !addr_is_v4(&w->src.addr);
	char as[ADDR_TEXT_MAX];
	struct dp_nat_uplink up;

	if (!of_pod || datapath_find_nat_uplink(w->a->dp, oif, &up) < 0)
		return why_ends(w, WHY_SENT, why_node_of(&w->dst));
	if (!w->a->dp_config.masquerade[family])
		why_step(w, "to_net", "masquerade is off for this family: the pod's own address is seen outside");
	else if (datapath_is_exempt(w->a->dp, &w->dst.addr, false) || datapath_is_exempt(w->a->dp, &w->src.addr, true))
		why_step(w, "to_net", "nat_exempt: keeps the pod's own address");
	else if (addr_is_zero(&up.addrs[family]))
		return why_dropped(w, "to_net", DROP_NAT_ADDRESS);
	else
		why_step(w, "to_net", "masquerade: leaves as %s, from a port of its own", addr_format(&up.addrs[family], as));
	why_ends(w, WHY_SENT, why_node_of(&w->dst));
}

/* The stack's turn: what the kernel's routes say. */
static void ask_stack(struct walk *w, const struct dp_endpoint *from)
{
	char via[ADDR_TEXT_MAX];
	struct route way;
	struct link l;
	struct rtnl_way packet = {.src = w->src.addr, .dst = w->dst.addr, .iif = from ? from->ifindex : 0};
	int r = rtnl_find_way(w->a->nl, &packet, &way);

	if (from && w->a->opt.foreign_nat)
		why_step(w, "stack", "others (kube-proxy, port maps, firewalls) may translate or refuse it here: this walk does not ask them");
	if (r < 0) {
		why_step(w, "stack", "no route: %s", strerror(-r));
		return why_ends(w, WHY_UNREACHABLE, NULL);
	}
	if (way.type == RTN_LOCAL) {
		why_step(w, "stack", "the address is this node's own");
		return why_ends(w, WHY_DELIVERED, NULL);
	}
	if (addr_is_zero(&way.via))
		why_step(w, "stack", "route: on-link by %s", link_name(w, way.oif, &l));
	else
		why_step(w, "stack", "route: via %s by %s", addr_format(&way.via, via), link_name(w, way.oif, &l));
	leave_by(w, way.oif, from != NULL);
}

void why_send_to_node(struct walk *w, const char *at, const struct dp_node_route *route)
{
	char underlay[ADDR_TEXT_MAX];
	struct link l;

	why_step(w, at, "node_routes: belongs to another node; %s %s by %s, MTU %u",
		 route->transport == DP_TUNNEL ? "in the tunnel to" : route->transport == DP_MESH ? "encrypted, to" : "as it is via", addr_format(&route->underlay, underlay),
		 link_name(w, route->ifindex, &l), route->mtu);
	if (w->bytes > route->mtu)
		why_step(w, at, "%u bytes do not fit: a TCP stream is segmented; anything else goes to the stack, which answers "
			 "that it is too big, or cuts IPv4 that may be cut", w->bytes);
	why_ends(w, WHY_SENT, why_node_of(&w->dst));
}

/* ---- the three ways in ---- */

static void walk_from_pod(struct walk *w)
{
	const struct dp_endpoint *ep = &w->src_ep;
	struct dp_node_route route;
	struct link l;

	why_step(w, "from_pod", "%s sends, seen at %s; the address is its own", name_of(&w->src), link_name(w, ep->ifindex, &l));
	if (!addr_eq(&w->src.addr, &ep->addrs[!addr_is_v4(&w->src.addr)]))
		return why_dropped(w, "from_pod", DROP_SOURCE_ADDRESS);
	if (w->dst.kind == OBSERVE_GROUP)
		return why_dropped(w, "from_pod", DROP_MULTICAST);
	if (!why_check_flow(w, "from_pod", ep->id) || !why_check_policy(w, "from_pod", true) ||
	    (w->dst_ep.id && !why_check_policy(w, "from_pod", false)))
		return;
	if (w->dst_ep.id)
		return why_deliver_to_pod(w, "from_pod", true);
	if (datapath_find_node_route(w->a->dp, &w->dst.addr, &route) == 0)
		return why_send_to_node(w, "from_pod", &route);
	if (is_for_node(w) && !check_host(w, "from_pod", false))
		return;
	why_step(w, "from_pod", "neither a pod of this node nor in another node's range: the stack's");
	ask_stack(w, ep);
}

static void walk_from_node(struct walk *w)
{
	why_step(w, "stack", "this node sends by itself");
	if (!w->dst_ep.id) {
		if (why_is_own(w, &w->dst.addr) || check_host_flow(w, way_out(w), true))
			ask_stack(w, NULL);
		return;
	}
	why_step(w, "to_pod", "what its own node sends, a pod takes: no policy is asked");
	if (why_check_flow(w, "to_pod", 0))
		why_deliver_to_pod(w, "to_pod", false);
}

/* From outside: which program sees it, and does it believe the source? Return: its name, NULL when it drops. */
static const char *enter(struct walk *w)
{
	struct dp_node_route route;
	char outer[ADDR_TEXT_MAX];

	if (datapath_find_node_owner(w->a->dp, &w->src.addr, &route) < 0) {
		why_step(w, "from_net", "comes by an uplink, from outside of the cluster's ranges");
		return "from_net";
	}
	if (w->dst.kind == OBSERVE_GROUP) {
		why_step(w, "from_net", "node_routes: the source belongs to another node; to a group it comes by an uplink, as it is");
		if (route.plain || route.node)
			return "from_net";
		why_dropped(w, "from_net", DROP_PLAIN_SOURCE);
		return NULL;
	}
	if (route.transport == DP_MESH) {
		why_step(w, "from_mesh", "node_routes: the source belongs to another node; accepted from its key only");
		return "from_mesh";
	}
	if (!addr_is_zero(&route.outer)) {
		const char *at = route.unwrap && w->dst_ep.id && w->a->opt.fast_path ? "from_net" : "from_tunnel";

		why_step(w, at, "node_routes: the source belongs to another node; accepted in the tunnel from %s%s",
			 addr_format(&route.outer, outer), route.plain || (route.node && !w->dst_ep.id) ? ", and as it is" : " only");
		return at;
	}
	why_step(w, "from_net", "node_routes: the source belongs to another node; it comes as it is");
	return "from_net";
}

void why_arrive(struct walk *w, const char *at)
{
	if (w->dst_ep.id) {
		if (why_check_flow(w, at, 0) && why_check_policy(w, at, false))
			why_deliver_to_pod(w, at, true);
	} else if (is_for_node(w)) {
		if (!check_host_flow(w, at, false))
			return;
		why_step(w, at, "for this node: the stack's");
		why_ends(w, WHY_DELIVERED, NULL);
	} else if (!streq(at, "from_net")) {
		why_dropped(w, at, DROP_TUNNEL_DESTINATION);
	} else {
		why_step(w, "stack", "no pod of this node has the address: unreachable");
		why_ends(w, WHY_UNREACHABLE, NULL);
	}
}

void why_walk(struct walk *w)
{
	const char *at;
	bool here;

	if (!w->translated && why_service(w))
		return;
	here = w->dst_ep.id || is_for_node(w) || in_own_range(w, &w->dst.addr);
	if (w->src_ep.id && addr_eq(&w->src.addr, &w->dst.addr)) {
		why_step(w, "pod", "a pod that speaks to its own address does not leave its own stack");
		why_ends(w, WHY_DELIVERED, NULL);
	} else if (w->src_ep.id) {
		walk_from_pod(w);
	} else if (why_is_own(w, &w->src.addr)) {
		walk_from_node(w);
	} else if (in_own_range(w, &w->src.addr)) {
		why_step(w, w->a->opt.node_name, "the source is in this node's range, but no pod of this node has it: nobody sends so");
		why_ends(w, WHY_ELSEWHERE, NULL);
	} else if (here) {
		at = enter(w);
		if (at)
			why_arrive(w, at);
	} else {
		why_step(w, w->a->opt.node_name, "neither end is on this node");
		why_ends(w, WHY_ELSEWHERE, why_node_of(&w->src) ? why_node_of(&w->src) : why_node_of(&w->dst));
	}
}

/* ---- who is meant ---- */

/* A node is meant by its address in the pod range, if it has one: as pods see it. */
static size_t addresses_of_node(struct agent *a, const char *name, struct addr ret[2])
{
	const struct model_node *node = model_find_node(a->model, name);
	size_t n = 0;

	for (unsigned i = 0; node && i < node->n_cidrs && n < 2; i++)
		ret[n++] = route_node_addr(&node->cidrs[i]);
	return n;
}

/* Does the pod live in its node's network? It speaks as the node, and has its address. */
static bool is_in_node(const struct model_pod *pod)
{
	return pod && pod->host_network && pod->phase != POD_SUCCEEDED && pod->phase != POD_FAILED;
}

static size_t addresses_of_pod(struct agent *a, const struct query_end *q, bool sends, struct addr ret[2])
{
	const struct endpoint_record *r = endpoints_find_pod(a->endpoints, q->namespace_, q->name);
	const struct model_pod *pod = model_find_pod(a->model, q->namespace_, q->name);
	size_t n = 0;

	for (int f = 0; f < 2; f++) {
		struct addr one = r ? r->addrs[f] : pod && (pod->has_addrs || (is_in_node(pod) && !sends)) ? pod->addrs[f].addr : (struct addr){ 0 };

		if (!addr_is_zero(&one))
			ret[n++] = one;
	}
	return n || !is_in_node(pod) ? n : addresses_of_node(a, pod->node, ret);
}

static size_t addresses_of(struct agent *a, const struct query_end *q, bool sends, struct addr ret[2])
{
	if (q->how == QUERY_POD)
		return addresses_of_pod(a, q, sends, ret);
	if (q->how == QUERY_NODE)
		return addresses_of_node(a, q->name, ret);
	if (q->how == QUERY_ADDRESS) {
		ret[0] = q->addr;
		return 1;
	}
	for (int f = 0; f < 2; f++)
		if (addr_parse(somewhere[f], &ret[f]) < 0)
			return 0;
	return 2;
}

/* The first pair of one family. Return: whether there is one. */
static bool choose(struct agent *a, const struct query *q, struct walk *w)
{
	struct addr from[2], to[2];
	size_t n = addresses_of(a, &q->from, true, from), m = addresses_of(a, &q->to, false, to);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < m; k++)
			if (addr_family(&from[i]) == addr_family(&to[k]) &&
			    (q->family == AF_UNSPEC || addr_family(&from[i]) == q->family)) {
				w->src.addr = from[i];
				w->dst.addr = to[k];
				return true;
			}
	return false;
}

void why_find_ends(struct walk *w)
{
	seeing_name(w->a, &w->src);
	seeing_name(w->a, &w->dst);
	datapath_find_endpoint(w->a->dp, &w->src.addr, &w->src_ep);
	datapath_find_endpoint(w->a->dp, &w->dst.addr, &w->dst_ep);
}

/* What is known of an answer, but for the steps. */
void why_put_verdict(const struct walk *w, json_t *o)
{
	json_object_set_new(o, "verdict", json_string(why_verdict_name(w->verdict)));
	if (w->reason != DROP_NONE)
		json_object_set_new(o, "reason", json_string(drop_reason_label(w->reason)));
	if (w->rule)
		json_object_set_new(o, "rule", json_string(w->rule));
	if (json_array_size(w->would_deny) && !w->rule)
		json_object_set(o, "wouldDeny", w->would_deny);
	if (w->answers != WHY_BEGINS)
		json_object_set_new(o, "answers", json_true());
	if (w->anew && w->verdict != WHY_DENIED)
		json_object_set(o, "anewDenied", w->anew);
	if (w->ask && !streq(w->ask, w->a->opt.node_name))
		json_object_set_new(o, "ask", json_string(w->ask));
}

void why_done(struct walk *w)
{
	observe_end_done(&w->src);
	observe_end_done(&w->dst);
	json_decref(w->steps);
	json_decref(w->would_deny);
	json_decref(w->anew);
	json_decref(w->service);
	json_decref(w->endpoints);
	json_decref(w->others);
	free(w->rule);
	free(w->ask);
}

static void prepare(struct walk *w, const struct query *q)
{
	w->src.port = q->source_port;
	w->dst.port = q->port;
	w->bytes = q->bytes;
	w->proto = q->protocol == IPPROTO_ICMP && !addr_is_v4(&w->src.addr) ? IPPROTO_ICMPV6 : q->protocol;
	why_find_ends(w);
}

static json_t *answer(const struct walk *w)
{
	char number[PROTOCOL_TEXT_MAX];
	json_t *o = json_pack("{ss, ss, so, so, sO}", "node", w->a->opt.node_name, "protocol", protocol_format(w->proto, number), "source",
			      observe_end_json(&w->src), "destination", observe_end_json(&w->dst), "steps", w->steps);

	why_put_verdict(w, o);
	if (w->service)
		json_object_set(o, "service", w->service);
	if (w->endpoints)
		json_object_set(o, "endpoints", w->endpoints);
	if (json_array_size(w->others))
		json_object_set(o, "others", w->others);
	return o;
}

void agent_on_why(struct ipc_request *req, json_t *params, void *ctx)
{
	struct walk w = { .a = ctx, .steps = json_array(), .would_deny = json_array() };
	_cleanup_free_ char *error = NULL;
	struct query q = { 0 };

	if (query_parse(params, &q, &error) < 0) {
		ipc_reply_error(req, CODE_REFUSED, error, NULL);
	} else if (!w.a->dp) {
		ipc_reply_error(req, CODE_TRY_AGAIN, "the datapath is not open yet", NULL);
	} else if (!choose(w.a, &q, &w)) {
		ipc_reply_error(req, CODE_REFUSED, "no such pod or node, or the two ends have no family in common", NULL);
	} else {
		prepare(&w, &q);
		why_walk(&w);
		ipc_reply(req, answer(&w));
	}
	query_done(&q);
	why_done(&w);
}
