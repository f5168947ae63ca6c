/* SPDX-License-Identifier: Apache-2.0 */
/* What a Service asks for and does not get says so on the Service: `kubectl describe service` shows it. All nodes come to the same result,
 * and the first one that is ready, by name, tells it; but what is refused for an address that only one node knows to be its own, that one tells. */
#include "agent/agent.h"
#include "agent/services_internal.h"
#include "base/str.h"

static bool is_teller(const struct agent *a)
{
	size_t n;
	_cleanup_free_ struct model_node **nodes = model_nodes_sorted(a->model, &n);

	for (size_t i = 0; i < n; i++)
		if (nodes[i]->ready)
			return streq(nodes[i]->name, a->opt.node_name);
	return false;
}

/* A pod's host port concerns its node alone, so that one tells it. */
static void tell_refused_host_ports(struct agent *a, const struct service_view *v)
{
	const char *name = v->name + strlen(MODEL_HOST_POD);
	const struct model_pod *pod = model_find_pod(a->model, v->namespace_, name);

	for (size_t i = 0; pod && streq(pod->node, a->opt.node_name) && i < v->n_refused; i++)
		events_is_so(&a->services.events, &(struct event_in){"v1", "Pod", v->namespace_, name, pod->uid, "HostPortRefused",
								     v->refused[i], NULL, NULL});
}

static void tell_refused(struct agent *a, const struct service_view *v, bool teller)
{
	const struct model_service *svc = model_find_service(a->model, v->namespace_, v->name);

	for (size_t i = 0; svc && i < v->n_refused; i++) {
		if (!teller && !v->refused_here[i])
			continue;
		events_is_so(&a->services.events,
			     &(struct event_in){"v1", "Service", v->namespace_, v->name, svc->uid,
						str_has_prefix(v->refused[i], "endpoint ") ? "EndpointRefused" : "AddressRefused",
						v->refused[i], NULL, NULL});
	}
}

static bool still_there(_unused_ const struct event_in *in, _unused_ void *ctx)
{
	return false; /* nothing is told of what is over */
}

void services_tell(struct agent *a)
{
	struct services_view *s = &a->services;
	bool teller = is_teller(a);

	if (!s->complete || !s->tell)
		return;
	events_begin(&s->events);
	for (struct htab_node *i = htab_begin(&s->by_name); i; i = htab_next(&s->by_name, i)) {
		const struct service_view *v = container_of(i, struct service_entry, node)->view;

		if (str_has_prefix(v->name, MODEL_HOST_POD))
			tell_refused_host_ports(a, v);
		else
			tell_refused(a, v, teller);
	}
	s->tell = events_end(&s->events, still_there, a);
}
