/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's host ports. They are named by whoever may write the pod, so what somebody has already is not to be had by them: a Service's node
 * port or one of its addresses, an older pod's host port, an address that is not the node's. */
#include "service/compile_internal.h"
#include "base/str.h"

#include <netinet/in.h>

static const char *proto_text(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

/* 0.0.0.0 */
static bool is_any4(const struct addr *a)
{
	static const struct addr any4 = {{[10] = 0xff, [11] = 0xff}};

	return addr_eq(a, &any4);
}

/* Not said, or ::. */
static bool is_every(const struct addr *a)
{
	return addr_is_zero(a);
}

/* Could one packet be for both? */
static bool overlap(const struct model_host_port *a, const struct model_host_port *b)
{
	if (a->proto != b->proto || a->host_port != b->host_port)
		return false;
	if (is_every(&a->host) || is_every(&b->host) || addr_eq(&a->host, &b->host))
		return true;
	return (is_any4(&a->host) || is_any4(&b->host)) && addr_is_v4(&a->host) == addr_is_v4(&b->host);
}

static bool is_older(const struct model_host_ports *a, const struct model_host_ports *b)
{
	int d;

	if (a->created != b->created)
		return a->created < b->created;
	d = strcmp(a->pod->namespace_, b->pod->namespace_);
	return d ? d < 0 : strcmp(a->pod->name, b->pod->name) < 0;
}

struct rival {
	const struct model_host_ports *of;
	const struct model_host_port *port;
	const struct model_pod *winner;
};

static bool look_at_rival(const struct model_host_ports *h, void *ctx)
{
	struct rival *r = ctx;

	if (h == r->of || !h->pod->has_addrs || !streq(h->pod->node, r->of->pod->node) || !is_older(h, r->of))
		return true;
	for (unsigned i = 0; i < h->n && !r->winner; i++)
		if (overlap(&h->ports[i], r->port))
			r->winner = h->pod;
	return !r->winner;
}

/* NULL, or why the port is not to be had; owned by the caller. */
static char *port_fault(const struct service_env *env, const struct model_pod *pod, const struct model_host_port *port)
{
	struct rival r = {.of = pod->host_ports, .port = port};

	if (model_node_port_is_used(env->model, port->proto, port->host_port))
		return xstrdup("it is a Service's node port");
	model_each_host_ports(env->model, look_at_rival, &r);
	return r.winner ? xasprintf("Pod %s/%s has it", r.winner->namespace_, r.winner->name) : NULL;
}

/* Where the pod's node is reached, as far as this node knows: the addresses of its Node object; its own ones it knows all. */
static size_t node_addresses(const struct service_env *env, const struct model_pod *pod, const struct addr **ret)
{
	const struct model_node *node;

	if (streq(pod->node, env->node)) {
		*ret = env->own;
		return env->n_own;
	}
	node = model_find_node(env->model, pod->node);
	*ret = node ? node->addrs : NULL;
	return node ? node->n_addrs : 0;
}

static bool wants(const struct model_host_port *port, const struct addr *a)
{
	if (is_every(&port->host))
		return true;
	return is_any4(&port->host) ? addr_is_v4(a) : addr_eq(&port->host, a);
}

static void add_address(struct service_port *p, const struct addr *addr, enum service_scope scope)
{
	p->addresses[p->n_addresses++] = (struct service_address){.addr = *addr,
								  .port = p->port,
								  .kind = SERVICE_HOST_PORT,
								  .scope = scope,
								  .role = SERVICE_CLUSTER};
}

/* Its Service came by way of another controller, or with an address that is nobody's for long: see service_may_claim(). */
static bool is_taken(const struct service_env *env, struct service_view *v, const struct model_host_port *port, const struct addr *addr)
{
	const struct model_service *svc = service_find_holder(env, addr, port->proto, port->host_port);
	char text[ADDR_TEXT_MAX];

	if (svc)
		service_note_refused(v, "host port %u/%s at %s: Service %s/%s has it", port->host_port, proto_text(port->proto),
				     addr_format(addr, text), svc->namespace_, svc->name);
	return svc;
}

/* A host port in one family. Return: was there an address for it? */
static bool add_port(const struct service_env *env, const struct model_pod *pod, struct service_view *v, const struct model_host_port *port,
		     bool v6)
{
	struct service_port *p = &v->ports[v->n_ports];
	bool local = streq(pod->node, env->node), there = false;
	const struct addr *addrs;
	size_t n = node_addresses(env, pod, &addrs);
	char text[ADDR_TEXT_MAX];

	*p = (struct service_port){.name = xstrdup(is_every(&port->host) ? "" : addr_format(&port->host, text)),
				   .port = port->host_port,
				   .proto = port->proto,
				   .v6 = v6,
				   .addresses = xnew0_array(struct service_address, 2 * n + 1),
				   .endpoints = xnew0_array(struct service_endpoint, 1),
				   .n_endpoints = 1};
	p->endpoints[0] = (struct service_endpoint){.addr = pod->addrs[v6].addr,
						    .port = port->port,
						    .roles = 1 << SERVICE_CLUSTER,
						    .tier = local ? SERVICE_TIER_NODE : SERVICE_TIER_FAR,
						    .weight = 1,
						    .terminating = pod->deleting,
						    .local = local};
	for (size_t i = 0; i < n; i++) {
		if (addr_is_v4(&addrs[i]) == v6 || !wants(port, &addrs[i]))
			continue;
		there = true;
		if (is_taken(env, v, port, &addrs[i]))
			continue;
		add_address(p, &addrs[i], SERVICE_INTERNAL);
		if (local)
			add_address(p, &addrs[i], SERVICE_EXTERNAL);
	}
	v->n_ports++;
	return there;
}

static void add_host_port(const struct service_env *env, const struct model_pod *pod, struct service_view *v, const struct model_host_port *port)
{
	_cleanup_free_ char *fault = port_fault(env, pod, port);
	bool served = false, named = !is_every(&port->host) && !is_any4(&port->host);
	char text[ADDR_TEXT_MAX];

	if (fault) {
		service_note_refused(v, "host port %u/%s: %s", port->host_port, proto_text(port->proto), fault);
		return;
	}
	for (int v6 = 0; v6 < 2; v6++)
		if (!addr_is_zero(&pod->addrs[v6].addr))
			served |= add_port(env, pod, v, port, v6);
	if (named && !served && streq(pod->node, env->node)) /* of another node's addresses this one does not know all */
		service_note_refused(v, "host port %u/%s: %s is no address of the node that host ports are at", port->host_port,
				     proto_text(port->proto), addr_format(&port->host, text));
}

struct service_view *service_compile_host_ports(const struct service_env *env, const struct model_pod *pod)
{
	struct service_view *v = xnew0(struct service_view);

	v->namespace_ = xstrdup(pod->namespace_);
	v->name = xasprintf(MODEL_HOST_POD "%s", pod->name);
	if (!env->host_ports || !pod->host_ports || !pod->has_addrs)
		return v;
	v->ports = xnew0_array(struct service_port, 2 * pod->host_ports->n + 1);
	for (unsigned i = 0; i < pod->host_ports->n; i++)
		add_host_port(env, pod, v, &pod->host_ports->ports[i]);
	return v;
}
