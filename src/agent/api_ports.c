/* SPDX-License-Identifier: Apache-2.0 */
/* Where the API server is, whatever policies of the node say: the kubeconfig names an address by which this agent asks; the Service default/kubernetes has
 * the servers themselves, to which a connection to its address goes in the end. Only a node that is one of them has the port to itself. */
#include "agent/agent.h"
#include "base/str.h"

static bool is_here(const struct agent *a, const struct addr *addr)
{
	const struct model_node *node = model_find_node(a->model, a->opt.node_name);

	for (unsigned i = 0; node && i < node->n_addrs; i++)
		if (addr_eq(&node->addrs[i], addr))
			return true;
	return false;
}

static bool is_loopback(const struct addr *addr)
{
	static const struct addr loopback6 = { .b = { [15] = 1 } };

	return addr_eq(addr, &loopback6) || (addr_is_v4(addr) && addr->b[12] == 127);
}

struct look {
	struct agent *a;
	struct failsafe_api *api;
};

static bool add_slice(struct model_slice *slice, void *ctx)
{
	struct look *l = ctx;
	bool here = false;

	for (unsigned i = 0; i < slice->n_endpoints; i++)
		here |= is_here(l->a, &slice->endpoints[i].addr);
	for (unsigned i = 0; i < slice->n_ports; i++) {
		failsafe_add_port(l->api->out, &l->api->n_out, slice->ports[i].port);
		if (here)
			failsafe_add_port(l->api->in, &l->api->n_in, slice->ports[i].port);
	}
	return true;
}

static void add_server(struct agent *a, struct failsafe_api *api)
{
	struct addr addr;

	failsafe_add_port(api->out, &api->n_out, a->api_port);
	if (a->api_host && addr_parse(a->api_host, &addr) == 0 && (is_loopback(&addr) || is_here(a, &addr)))
		failsafe_add_port(api->in, &api->n_in, a->api_port);
}

void agent_find_api(struct agent *a)
{
	struct host_policy *h = policies_host(a->policies);
	struct failsafe_api api = { 0 };
	const struct model_service *svc = h ? model_find_service(a->model, "default", "kubernetes") : NULL;
	struct look l = { a, &api };

	if (!h)
		return;
	add_server(a, &api);
	if (svc)
		model_each_slice_of(a->model, svc, add_slice, &l);
	host_policy_set_api(h, &api);
}

void agent_note_api(struct agent *a, const char *server)
{
	const char *scheme = strstr(server, "://"), *host = scheme ? scheme + 3 : server, *colon;
	_cleanup_free_ char *authority = xstrndup(host, strcspn(host, "/"));
	uint64_t port = str_has_prefix(server, "http:") ? 80 : 443;
	bool bracketed = *authority == '[';
	size_t n = bracketed ? strcspn(authority, "]") : strcspn(authority, ":");

	colon = strrchr(authority, ':');
	if (colon && !strchr(colon, ']'))
		(void)parse_u64(colon + 1, UINT16_MAX, &port);
	free(a->api_host);
	a->api_host = xstrndup(authority + bracketed, n - bracketed);
	a->api_port = port;
}
