/* SPDX-License-Identifier: Apache-2.0 */
/* Where the API server is: the address at which this node's agent asks for it, and the endpoints of default/kubernetes. Whoever takes one
 * of them takes the agents' own connection, and no agent hears any more that the taker is deleted. But a Service that leads to API servers
 * and to nobody else may have them: by such a one some clusters publish their API. */
#include "base/str.h"
#include "service/compile_internal.h"

#include <netinet/in.h>

enum place { ELSEWHERE, AT_HOST, AT_PORT };

struct search {
	const struct addr *addr;
	uint16_t port; /* 0: only the host counts */
	enum place place;
};

static void meet(struct search *s, const struct addr *addr, uint16_t port)
{
	if (addr_eq(addr, s->addr))
		s->place = MAX(s->place, s->port && port == s->port ? AT_PORT : AT_HOST);
}

static bool look_at_server(struct model_slice *slice, void *ctx)
{
	struct search *s = ctx;

	for (unsigned i = 0; i < slice->n_endpoints; i++)
		for (unsigned p = 0; p < slice->n_ports; p++)
			meet(s, &slice->endpoints[i].addr, slice->ports[p].proto == IPPROTO_TCP ? slice->ports[p].port : 0);
	return true;
}

/* Is an API server there? The servers themselves are those of default/kubernetes; what is in front of them is none. */
static enum place find_server(const struct service_env *env, const struct addr *addr, uint16_t port)
{
	const struct model_service *svc = model_find_service(env->model, MODEL_API_NAMESPACE, MODEL_API_SERVICE);
	struct search s = {.addr = addr, .port = port};

	if (svc)
		model_each_slice_of(env->model, svc, look_at_server, &s);
	return s.place;
}

static enum place find_api(const struct service_env *env, const struct addr *addr, uint16_t port)
{
	struct search s = {.addr = addr, .port = port, .place = find_server(env, addr, port)};

	for (size_t i = 0; i < env->n_api; i++)
		meet(&s, &env->api[i].addr, env->api[i].port);
	return s.place;
}

bool service_is_api_address(const struct service_env *env, const struct addr *addr)
{
	return find_api(env, addr, 0) != ELSEWHERE;
}

struct way {
	const struct service_env *env;
	const struct model_service_port *port;
	bool v6;
	enum place needed;
	bool leads, astray;
};

/* Who is neither ready nor serving is chosen by no node. */
static void look_at_endpoint(struct way *w, const struct model_endpoint *e, uint16_t port)
{
	if (!(e->flags & (ENDPOINT_READY | ENDPOINT_SERVING)))
		return;
	if (find_server(w->env, &e->addr, port) >= w->needed)
		w->leads = true;
	else
		w->astray = true;
}

static bool look_at_way(struct model_slice *slice, void *ctx)
{
	struct way *w = ctx;

	for (unsigned p = 0; slice->v6 == w->v6 && p < slice->n_ports; p++) {
		const struct model_slice_port *sp = &slice->ports[p];

		if (sp->proto == w->port->proto && streq(sp->name, w->port->name))
			for (unsigned i = 0; i < slice->n_endpoints; i++)
				look_at_endpoint(w, &slice->endpoints[i], sp->port ? sp->port : w->port->port);
	}
	return !w->astray;
}

static bool leads_there(const struct service_env *env, const struct model_service_addr *a, const struct model_service_port *port, enum place needed)
{
	struct way w = {.env = env, .port = port, .v6 = !addr_is_v4(&a->addr), .needed = needed};

	model_each_slice_of(env->model, a->of, look_at_way, &w);
	return w.leads && !w.astray;
}

bool service_takes_api(const struct service_env *env, const struct model_service_addr *a, const struct model_service_port *port)
{
	enum place place = find_api(env, &a->addr, port->proto == IPPROTO_TCP ? port->port : 0);
	bool given = a->kind == SERVICE_ADDR_LOAD_BALANCER && !a->of->pooled;

	if (a->kind == SERVICE_ADDR_CLUSTER || place == ELSEWHERE || (place == AT_HOST && given))
		return false;
	return !leads_there(env, a, port, place);
}

bool service_publishes_api(const struct service_env *env, const struct model_service_addr *a)
{
	for (unsigned i = 0; i < a->of->n_ports; i++)
		if (leads_there(env, a, &a->of->ports[i], AT_PORT))
			return true;
	return false;
}
