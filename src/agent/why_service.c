/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the method `why` that asks for a Service, as the programs do: what leaves a socket of this node or its pods at the socket (or at
 * from_pod), what comes from outside at from_net (docs/services.md). The maps say which endpoints there are; which of them a connection gets
 * is drawn, so the walk goes on to each, and the answer says whether it depends on the draw. */
#include "agent/services_internal.h"
#include "agent/why.h"
#include "base/str.h"

enum {
	SHOWN_MAX = 32,	   /* endpoints that are shown step by step; the others by what becomes of it there */
	WALKED_MAX = 4096, /* a walk is some 50 looks into maps, meanwhile the agent does nothing else */
};

/* Who asks, where, and what is found. */
struct ask {
	const char *at; /* the program */
	enum service_scope scope;
	struct addr client; /* as affinity and source ranges know it */
	struct dp_service_set set;
};

/* ---- whose address it is ---- */

static bool view_has(const struct service_view *v, const struct dp_service_frontend *f, uint8_t proto, const struct service_port **ret_port)
{
	*ret_port = NULL;
	for (size_t i = 0; f->flags & SERVICE_ADDRESS && i < v->n_vips; i++)
		if (addr_eq(&v->vips[i], &f->addr))
			return true;
	for (size_t i = 0; i < v->n_ports; i++)
		for (size_t k = 0; v->ports[i].proto == proto && k < v->ports[i].n_addresses; k++) {
			const struct service_address *at = &v->ports[i].addresses[k];

			if (addr_eq(&at->addr, &f->addr) && at->port == f->port && at->scope == f->scope) {
				*ret_port = &v->ports[i];
				return true;
			}
		}
	return false;
}

/* Return: the Service's name and port, and where it is reached; for a frontend that an earlier agent left the latter only. */
static json_t *service_json(const struct walk *w, const struct dp_service_frontend *f)
{
	const struct services_view *s = &w->a->services;
	json_t *o = json_pack("{sb}", "nodePort", !(f->flags & SERVICE_ADDRESS) && !addr_eq(&f->addr, &w->dst.addr));
	const struct service_port *port;

	for (struct htab_node *i = htab_begin(&s->by_name); i; i = htab_next(&s->by_name, i)) {
		const struct service_view *v = container_of(i, struct service_entry, node)->view;

		if (!view_has(v, f, w->proto, &port))
			continue;
		json_object_set_new(o, "namespace", json_string(v->namespace_));
		json_object_set_new(o, "name", json_string(v->name));
		if (port && *port->name)
			json_object_set_new(o, "port", json_string(port->name));
		break;
	}
	return o;
}

static void say_service(struct walk *w, const struct ask *q)
{
	const char *name = json_str_at(w->service, "name"), *port = json_str_at(w->service, "port");
	char text[ENDPOINT_TEXT_MAX];

	why_step(w, q->at, "service_frontends: %s is %s%s%s%s%s%s%s, from %s", addr_port_format(&w->dst.addr, w->dst.port, text),
		 json_is_true(json_object_get(w->service, "nodePort")) ? "a node port of " : "", name ? "Service " : "a Service that this agent has not seen yet",
		 name ? json_str_or(json_object_get(w->service, "namespace"), "") : "", name ? "/" : "", name ? name : "",
		 port ? ", port " : "", port ? port : "", q->scope == SERVICE_INTERNAL ? "inside" : "outside");
}

/* ---- who asks ---- */

static bool has_socket(const struct walk *w)
{
	struct dp_service_stats stats;

	return (w->proto == IPPROTO_TCP || w->proto == IPPROTO_UDP) && datapath_read_service_stats(w->a->dp, &stats) == 0 && stats.sockets;
}

/* Where does a Service that this source asks for become an endpoint? Return: whether on this node at all. */
static bool find_asker(struct walk *w, struct ask *q)
{
	struct dp_node_route route;
	bool socket = has_socket(w), of_pod = w->src_ep.id;

	if (of_pod || why_is_own(w, &w->src.addr)) {
		q->scope = SERVICE_INTERNAL;
		q->at = socket ? "socket" : "from_pod";
		q->client = of_pod ? w->src.addr : w->a->dp_config.node_addrs[!addr_is_v4(&w->src.addr)];
		return socket || (of_pod && w->a->dp_config.inbound);
	}
	q->scope = SERVICE_EXTERNAL;
	q->at = "from_net";
	q->client = w->src.addr;
	return w->a->dp_config.inbound && !w->dst_ep.id && datapath_find_node_route(w->a->dp, &w->src.addr, &route) < 0;
}

/* Pods and nodes are served at their own node. Return: whether the source is on another one, and asks for a Service. */
static bool is_asked_elsewhere(struct walk *w)
{
	const char *node = why_node_of(&w->src);
	struct dp_service_set set = { 0 };
	bool there;

	if (w->src_ep.id || !node || streq(node, w->a->opt.node_name))
		return false;
	there = datapath_find_frontend(w->a->dp, &w->dst.addr, w->dst.port, w->proto, SERVICE_INTERNAL, &set) == 0 && set.there;
	free(set.backends);
	if (!there)
		return false;
	why_step(w, w->a->opt.node_name, "a Service's address: the source's own node chooses the endpoint");
	why_ends(w, WHY_ELSEWHERE, node);
	return true;
}

/* A pod's ping of a cluster address, as echo_answer() in bpf/lib/echo.h. */
static bool is_answered_echo(struct walk *w)
{
	struct dp_service_frontend f = { .addr = w->dst.addr, .scope = SERVICE_INTERNAL };
	struct dp_service_set set = { 0 };
	bool there;

	if (!w->src_ep.id || !w->a->dp_config.inbound || w->dst_ep.id || (w->proto != IPPROTO_ICMP && w->proto != IPPROTO_ICMPV6))
		return false;
	there = datapath_read_service(w->a->dp, &f, 0, &set) == 0 && set.there;
	free(set.backends);
	if (!there)
		return false;
	if (!why_check_flow(w, "from_pod", w->src_ep.id) || !why_check_policy(w, "from_pod", true))
		return true;
	why_step(w, "from_pod", "a Service's address: an echo is answered in its name, whoever serves");
	why_ends(w, WHY_DELIVERED, NULL);
	return true;
}

/* ---- on to an endpoint ---- */

/* As inbound_can_go_direct() in bpf/lib/inbound.h. */
static bool goes_direct(const struct walk *w, const struct ask *q, const struct dp_service_slot *b, const struct dp_node_route *route)
{
	if (!(q->set.frontend.flags & SERVICE_DSR) || !route || route->transport == DP_MESH || b->flags & SERVICE_HOST)
		return false;
	return route->transport == DP_TUNNEL || datapath_is_service_node(w->a->dp, &w->dst.addr);
}

/* As whom a client outside speaks to an endpoint that is elsewhere, as inbound_as(); zero: nobody. */
static struct addr masked_as(const struct walk *w, const struct dp_node_route *route)
{
	int family = !addr_is_v4(&w->src.addr);
	struct dp_nat_uplink uplink;
	struct route back;

	if (route)
		return w->a->dp_config.node_addrs[family];
	if (rtnl_find_way(w->a->nl, &(struct rtnl_way){ .src = w->dst.addr, .dst = w->src.addr }, &back) < 0 &&
	    rtnl_find_way(w->a->nl, &(struct rtnl_way){ .dst = w->src.addr }, &back) < 0)
		return (struct addr){ 0 };
	return datapath_find_nat_uplink(w->a->dp, back.oif, &uplink) < 0 ? (struct addr){ 0 } : uplink.addrs[family];
}

static void leave_as(struct walk *to, const struct addr *as)
{
	observe_end_done(&to->src);
	to->src = (struct observe_end){ .addr = *as }; /* from a port of its own */
	seeing_name(to->a, &to->src);
}

/* From outside, past the stack. @w: as it came; @to: to the endpoint. */
static void walk_from_outside(const struct walk *w, const struct ask *q, const struct dp_service_slot *b, struct walk *to)
{
	struct dp_node_route route, *way = datapath_find_node_route(w->a->dp, &b->addr, &route) < 0 ? NULL : &route;
	char text[ADDR_TEXT_MAX];
	struct addr as;

	if (to->dst_ep.id || why_is_own(to, &b->addr) || b->flags & SERVICE_ON_THIS_NODE) {
		why_step(to, q->at, "the endpoint sees the client's own address");
		why_arrive(to, q->at);
		return;
	}
	if (goes_direct(w, q, b, way)) {
		why_step(to, q->at, "DSR: sent on as it is; the endpoint sees the client's own address, and answers it");
		why_send_to_node(to, q->at, way);
		return;
	}
	as = masked_as(w, way);
	if (addr_is_zero(&as)) {
		why_dropped(to, q->at, DROP_NAT_ADDRESS);
		return;
	}
	leave_as(to, &as);
	why_step(to, q->at, "the endpoint, and policy there, sees this node: %s, from a port of its own", addr_format(&as, text));
	if (way)
		why_send_to_node(to, q->at, way);
	else
		why_ends(to, WHY_SENT, NULL);
}

/* A pod to itself, as outbound_begin() in bpf/lib/outbound.h. @w: as it asked. */
static void walk_to_itself(const struct walk *w, struct walk *to)
{
	const struct addr *node = &w->a->dp_config.node_addrs[!addr_is_v4(&w->src.addr)];
	uint16_t port = to->dst.port;
	char text[ADDR_TEXT_MAX];

	if (!w->a->dp_config.inbound) {
		to->dst.addr = w->dst.addr;
		to->dst.port = w->dst.port;
		to->dst_ep = (struct dp_endpoint){ 0 };
		why_step(to, "socket", "the pod itself: left to packets, which only others translate here (service.inbound is off)");
		why_walk(to);
		to->dst.addr = w->src.addr;
		to->dst.port = port;
		return;
	}
	why_step(to, "from_pod", "the pod itself: it speaks as this node, %s, from a port of its own; policy knows it as both ends", addr_format(node, text));
	if (why_check_flow(to, "from_pod", to->dst_ep.id) && why_check_policy(to, "from_pod", true) && why_check_policy(to, "from_pod", false))
		why_deliver_to_pod(to, "from_pod", true);
	leave_as(to, node);
}

static void walk_to_endpoint(struct walk *w, const struct ask *q, const struct dp_service_slot *b, struct walk *to)
{
	char text[ENDPOINT_TEXT_MAX];

	to->src = (struct observe_end){ .addr = w->src.addr, .port = w->src.port };
	to->dst = (struct observe_end){ .addr = b->addr, .port = b->port };
	why_find_ends(to);
	why_step(to, q->at, "endpoint %s%s%s%s%s, %u of %u slots", to->dst.namespace_ ? to->dst.namespace_ : "", to->dst.namespace_ ? "/" : "",
		 to->dst.name ? to->dst.name : "", to->dst.name ? " " : "", addr_port_format(&b->addr, b->port, text), b->slots, q->set.slots);
	if (q->scope == SERVICE_EXTERNAL)
		walk_from_outside(w, q, b, to);
	else if (w->src_ep.id && addr_eq(&b->addr, &w->src.addr))
		walk_to_itself(w, to);
	else
		why_walk(to);
}

/* ---- one answer of many ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static void show_answer(struct walk *w, const struct walk *to, uint32_t slots)
{
	json_t *o = json_pack("{so, sI}", "endpoint", observe_end_json(&to->dst), "slots", (json_int_t)slots);

	if (!addr_eq(&to->src.addr, &w->src.addr))
		json_object_set_new(o, "source", observe_end_json(&to->src));
	why_put_verdict(to, o);
	json_array_append_new(w->endpoints, o);
}

/* One more of those with the same answer. */
static void count_answer(struct walk *w, const struct walk *to)
{
	_cleanup_json_ json_t *answer = json_object();
	json_t *o;
	size_t i;

	why_put_verdict(to, answer);
	json_array_foreach(w->others, i, o)
		if (json_equal(json_object_get(o, "answer"), answer)) {
			json_object_set_new(o, "count", json_integer(json_integer_value(json_object_get(o, "count")) + 1));
			return;
		}
	json_array_append_new(w->others, json_pack("{si, so, sO}", "count", 1, "first", observe_end_json(&to->dst), "answer", answer));
}

static bool has(json_t *list, const json_t *item)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (json_equal(o, item))
			return true;
	return false;
}

/* Takes one endpoint's answer into the whole; @first: it is the first. */
static void take_answer(struct walk *w, const struct walk *to, bool first)
{
	json_t *rule;
	size_t i;

	json_array_foreach(to->would_deny, i, rule)
		if (!has(w->would_deny, rule))
			json_array_append(w->would_deny, rule);
	if (first) {
		w->verdict = to->verdict;
		w->reason = to->reason;
		w->rule = to->rule ? xstrdup(to->rule) : NULL;
		w->ask = to->ask ? xstrdup(to->ask) : NULL;
		return;
	}
	if (w->verdict != to->verdict)
		w->verdict = WHY_DEPENDS;
	if (w->reason != to->reason)
		w->reason = DROP_NONE;
	if (!same_text(w->rule, to->rule)) {
		free(w->rule);
		w->rule = NULL;
	}
	if (!same_text(w->ask, to->ask)) {
		free(w->ask);
		w->ask = NULL;
	}
}

static void walk_to_one(struct walk *w, const struct ask *q, const struct dp_service_slot *b, size_t nth)
{
	struct walk to = { .a = w->a, .proto = w->proto, .bytes = w->bytes, .translated = true };

	to.steps = nth < SHOWN_MAX ? json_incref(w->steps) : json_array();
	to.would_deny = json_array();
	walk_to_endpoint(w, q, b, &to);
	take_answer(w, &to, nth == 0);
	if (nth < SHOWN_MAX)
		show_answer(w, &to, b->slots);
	else
		count_answer(w, &to);
	why_done(&to);
}

static void walk_to_endpoints(struct walk *w, const struct ask *q, uint32_t only)
{
	size_t n = 0;

	w->endpoints = json_array();
	w->others = json_array();
	for (size_t i = 0; i < q->set.n_backends; i++) {
		const struct dp_service_slot *b = &q->set.backends[i];

		if (!(b->roles & 1 << q->set.frontend.role) || (only && b->id != only))
			continue;
		if (n < WALKED_MAX)
			walk_to_one(w, q, b, n);
		n++;
	}
	if (n > SHOWN_MAX)
		why_step(w, q->at, "%zu more endpoints: their steps are left out", n - SHOWN_MAX);
	if (n > WALKED_MAX) { /* what is not known of some is not known */
		why_step(w, q->at, "%zu of them are not walked to", n - WALKED_MAX);
		w->verdict = WHY_DEPENDS;
		json_array_append_new(w->others, json_pack("{sI, s{ss}}", "count", (json_int_t)(n - WALKED_MAX), "answer", "verdict", "unknown"));
	}
	if (n == 0) { /* whom the slots name, serves no more */
		why_step(w, q->at, "%s", drop_reason_text(DROP_SERVICE_REFUSED));
		w->reason = DROP_SERVICE_REFUSED;
		w->verdict = WHY_REFUSED;
	}
}

/* ---- the choice ---- */

/* The backend with which the client stays, if that serves; 0: any. */
static uint32_t find_kept(struct walk *w, const struct ask *q)
{
	uint32_t id = datapath_recall_backend(w->a->dp, &q->set, &q->client);

	for (size_t i = 0; id && i < q->set.n_backends; i++)
		if (q->set.backends[i].id == id && q->set.backends[i].roles & 1 << q->set.frontend.role) {
			why_step(w, q->at, "service_affinity: the client stays with the endpoint that it had");
			return id;
		}
	return 0;
}

static void choose(struct walk *w, const struct ask *q)
{
	const struct dp_service_frontend *f = &q->set.frontend;

	if (!datapath_lets_in(w->a->dp, &q->set, &q->client)) {
		why_dropped(w, q->at, DROP_SERVICE_SOURCE);
	} else if (q->set.slots) {
		walk_to_endpoints(w, q, find_kept(w, q));
	} else if (f->flags & SERVICE_DROP_EMPTY) {
		why_dropped(w, q->at, DROP_SERVICE_NO_LOCAL);
	} else {
		why_step(w, q->at, "refused, %s: %s", drop_reason_label(DROP_SERVICE_REFUSED),
			 f->flags & SERVICE_ADDRESS ? "the Service has no such port" : "nobody serves it");
		w->reason = DROP_SERVICE_REFUSED;
		w->verdict = WHY_REFUSED;
	}
}

bool why_service(struct walk *w)
{
	struct ask q = { 0 };
	bool served = false;

	if (is_asked_elsewhere(w) || is_answered_echo(w))
		return true;
	if (w->dst.port && find_asker(w, &q) &&
	    datapath_find_frontend(w->a->dp, &w->dst.addr, w->dst.port, w->proto, q.scope, &q.set) == 0)
		served = q.set.there && q.set.frontend.scope != SERVICE_FORWARDED; /* that node's to answer */
	if (served) {
		w->service = service_json(w, &q.set.frontend);
		say_service(w, &q);
		choose(w, &q);
	}
	free(q.set.backends);
	return served;
}
