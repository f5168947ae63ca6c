/* SPDX-License-Identifier: Apache-2.0 */
/* An event is named when it comes: a minute later its pod may be gone and the address another's. This node's own endpoints are
 * asked first, as the API may not know their addresses yet. */
#include "agent/seeing.h"
#include "agent/agent.h"
#include "base/str.h"
#include "model/service.h"

#include <time.h>

static void name_pod(struct observe_end *end, const char *namespace_, const char *name, const char *node)
{
	end->kind = OBSERVE_POD;
	end->namespace_ = xstrdup(namespace_);
	end->name = xstrdup(name);
	end->node = *node ? xstrdup(node) : NULL;
}

static bool name_endpoint(const struct agent *a, struct observe_end *end)
{
	const struct endpoint_record *r = endpoints_find_addr(a->endpoints, &end->addr);

	if (!r)
		return false;
	if (*r->pod_name)
		name_pod(end, r->pod_namespace, r->pod_name, a->opt.node_name);
	else /* a runtime without Kubernetes */
		name_pod(end, "", r->container, a->opt.node_name);
	return true;
}

/* Of several that claim it the first; which of them has it, the datapath's maps say. */
static bool name_service(const struct model_service_addr *addr, void *ctx)
{
	struct observe_end *end = ctx;

	end->kind = OBSERVE_SERVICE;
	end->namespace_ = xstrdup(addr->of->namespace_);
	end->name = xstrdup(addr->of->name);
	return false;
}

/* In this node's range: its own address there, or one that no pod has. */
static bool name_in_ranges(const struct model_node *node, struct observe_end *end)
{
	for (unsigned i = 0; node && i < node->n_cidrs; i++) {
		struct addr first = route_node_addr(&node->cidrs[i]);

		if (!prefix_contains(&node->cidrs[i], &end->addr))
			continue;
		if (addr_eq(&first, &end->addr)) {
			end->kind = OBSERVE_NODE;
			end->name = xstrdup(node->name);
		} else {
			end->kind = OBSERVE_STRANGER;
			end->node = xstrdup(node->name);
		}
		return true;
	}
	return false;
}

static bool name_by_range(const struct agent *a, struct observe_end *end)
{
	if (name_in_ranges(model_find_node(a->model, a->opt.node_name), end))
		return true;
	for (size_t i = 0; a->planned && i < a->plan.n_peers; i++)
		if (name_in_ranges(model_find_node(a->model, a->plan.peers[i].name), end))
			return true;
	return false;
}

static bool is_group(const struct addr *a)
{
	static const uint8_t broadcast[4] = { 255, 255, 255, 255 };

	if (!addr_is_v4(a))
		return a->b[0] == 0xff;
	return a->b[12] >> 4 == 14 || memcmp(a->b + 12, broadcast, sizeof(broadcast)) == 0;
}

static bool is_link_local(const struct addr *a)
{
	return addr_is_v4(a) ? a->b[12] == 169 && a->b[13] == 254 : a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

void seeing_name(const struct agent *a, struct observe_end *end)
{
	const struct model_pod *pod;
	const struct model_node *node;

	if (addr_is_zero(&end->addr) || name_endpoint(a, end))
		return;
	pod = model_find_pod_by_addr(a->model, &end->addr);
	if (pod) {
		name_pod(end, pod->namespace_, pod->name, pod->node);
		return;
	}
	model_each_service_at(a->model, &end->addr, name_service, end);
	if (end->kind == OBSERVE_SERVICE)
		return;
	node = model_find_node_by_addr(a->model, &end->addr);
	if (node) {
		end->kind = OBSERVE_NODE;
		end->name = xstrdup(node->name);
	} else if (!name_by_range(a, end)) {
		end->kind = is_group(&end->addr)      ? OBSERVE_GROUP
			    : is_link_local(&end->addr) ? OBSERVE_LINK
							: OBSERVE_WORLD;
	}
}

/* The event's time is the kernel's monotonic clock. */
static uint64_t wall_clock_ms(uint64_t monotonic_ns)
{
	struct timespec wall, mono;
	uint64_t ago;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	ago = mono.tv_sec * 1000000000ull + mono.tv_nsec - monotonic_ns;
	return (wall.tv_sec * 1000000000ull + wall.tv_nsec - ago) / 1000000;
}

char *seeing_rule(const struct agent *a, uint32_t rule)
{
	char text[700];

	if (!rule)
		return NULL;
	policy_rule_format(policies_compiler(a->policies), rule, text, sizeof(text));
	return xstrdup(text);
}

/* How what begins at @src goes on, or came: past the stack to a pod, by another node's way, or through the stack. */
static const char *path_of(const struct agent *a, const struct observe_event *e)
{
	const struct observe_end *far = streq(e->hook, "from_pod") ? &e->dst : &e->src;

	if (streq(e->hook, "to_pod") || !a->opt.fast_path)
		return "stack";
	if (far->node && streq(far->node, a->opt.node_name))
		return "local";
	for (size_t i = 0; a->planned && i < a->plan.n_node_routes; i++)
		if (!a->plan.node_routes[i].only_source && prefix_contains(&a->plan.node_routes[i].prefix, &far->addr))
			return a->plan.node_routes[i].transport == ROUTE_DIRECT ? "direct" : "tunnel";
	return "stack";
}

static enum observe_verdict verdict_of(const struct dp_event *ev)
{
	if (ev->kind == DP_EVENT_AUDIT)
		return OBSERVE_AUDITED;
	if (ev->kind != DP_EVENT_DROP && ev->reason == DROP_NONE)
		return OBSERVE_FORWARDED;
	return drop_is_by_policy(ev->reason) ? OBSERVE_DENIED : OBSERVE_DROPPED;
}

void seeing_on_event(const struct dp_event *ev, void *ctx)
{
	static const enum observe_kind kinds[] = { [DP_EVENT_DROP] = OBSERVE_DROP, [DP_EVENT_NEW] = OBSERVE_NEW,
						   [DP_EVENT_CLOSED] = OBSERVE_CLOSED, [DP_EVENT_CHANGED] = OBSERVE_CHANGED,
						   [DP_EVENT_AUDIT] = OBSERVE_AUDIT };
	struct agent *a = ctx;
	const struct endpoint_record *via = endpoints_find_link(a->endpoints, ev->ifindex);
	bool dropped = ev->kind == DP_EVENT_DROP;
	struct observe_event e = {
		.at_ms = wall_clock_ms(ev->time_ns),
		.kind = kinds[ev->kind],
		.verdict = verdict_of(ev),
		.src = { .addr = ev->src, .port = ev->sport },
		.dst = { .addr = ev->dst, .port = ev->dport },
		.proto = ev->proto,
		.tcp_flags = ev->tcp_flags,
		.len = ev->len,
		.missed = ev->missed,
		.reason = ev->reason == DROP_NONE ? "" : drop_reason_label(ev->reason),
		.text = ev->reason == DROP_NONE ? "" : drop_reason_text(ev->reason),
		.hook = ev->hook,
		.path = "",
	};

	seeing_name(a, &e.src);
	seeing_name(a, &e.dst);
	if (!dropped)
		e.path = path_of(a, &e);
	if (via)
		e.via = *via->pod_name ? xasprintf("%s/%s", via->pod_namespace, via->pod_name) : xstrdup(via->container);
	e.rule = seeing_rule(a, ev->rule);
	stream_put(a->stream, &e);
}

void agent_on_observe(struct ipc_request *req, json_t *params, void *ctx)
{
	struct agent *a = ctx;

	stream_read(a->stream, req, params);
}
