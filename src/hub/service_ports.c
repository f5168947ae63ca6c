/* SPDX-License-Identifier: Apache-2.0 */
/* Node ports of services: those that the user names are claimed, the others taken from the range. Ports of one service
 * that have the same number in different protocols (DNS) get the same node port if it is free. */
#include "hub/kind_hooks.h"
#include "hub/service.h"

static const char *protocol_of(const json_t *port)
{
	return json_str_or(json_object_get(port, "protocol"), "TCP");
}

static uint16_t node_port_of(const json_t *port)
{
	return json_integer_value(json_object_get(port, "nodePort"));
}

void service_each_port(struct hub *hub, const json_t *svc, service_port_fn *fn, void *ctx)
{
	json_int_t health = json_integer_value(json_at(svc, "spec", "healthCheckNodePort"));
	json_t *p;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "ports"), i, p)
		if (node_port_of(p))
			fn(hub, node_ports_protocol(protocol_of(p)), node_port_of(p), ctx);
	if (health)
		fn(hub, node_ports_protocol("TCP"), health, ctx);
}

struct search {
	unsigned protocol;
	uint16_t port;
	bool found;
};

static void on_held(struct hub *hub, unsigned protocol, uint16_t port, void *ctx)
{
	struct search *s = ctx;

	(void)hub;
	s->found |= protocol == s->protocol && port == s->port;
}

static bool holds(struct hub *hub, const json_t *svc, unsigned protocol, uint16_t port)
{
	struct search s = {.protocol = protocol, .port = port};

	service_each_port(hub, svc, on_held, &s);
	return s.found;
}

static void note(struct taken *t, unsigned protocol, uint16_t port)
{
	GROW(t->ports, t->n_ports, t->ports_cap);
	t->ports[t->n_ports].protocol = protocol;
	t->ports[t->n_ports++].port = port;
}

static void claim_given(struct hub *hub, unsigned protocol, const json_t *v, const json_t *old, struct taken *taken,
			const struct path *at, struct errors *e)
{
	uint16_t port = json_integer_value(v);
	int r;

	if (holds(hub, old, protocol, port))
		return;
	r = node_ports_claim(&hub->node_ports, protocol, port);
	if (r == 0)
		note(taken, protocol, port);
	else if (r == -ERANGE)
		err_invalid(e, at, v, "provided port is not in the valid range. The range of valid ports is %u-%u",
			    hub->node_ports.first, hub->node_ports.last);
	else
		err_invalid(e, at, v, "provided port is already allocated");
}

/* The node port that another protocol's port of the same number has. */
static uint16_t twin_of(const json_t *ports, const json_t *port)
{
	json_t *p;
	size_t i;

	json_array_foreach(ports, i, p)
		if (p != port && node_port_of(p) && !streq(protocol_of(p), protocol_of(port)) &&
		    json_equal(json_object_get(p, "port"), json_object_get(port, "port")))
			return node_port_of(p);
	return 0;
}

static uint16_t take(struct hub *hub, unsigned protocol, uint16_t wish, struct taken *taken, const struct path *at,
		     struct errors *e)
{
	uint16_t port = wish;

	if ((!wish || node_ports_claim(&hub->node_ports, protocol, wish) < 0) &&
	    node_ports_take(&hub->node_ports, protocol, &port) < 0) {
		_cleanup_json_ json_t *none = json_integer(0);

		err_invalid(e, at, none, "failed to allocate a nodePort: range is full");
		return 0;
	}
	note(taken, protocol, port);
	return port;
}

static void take_health_port(struct hub *hub, json_t *spec, const json_t *old, struct taken *taken, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), "healthCheckNodePort");
	json_t *given = json_object_get(spec, "healthCheckNodePort");
	uint16_t port;

	if (json_integer_value(given)) {
		claim_given(hub, node_ports_protocol("TCP"), given, old, taken, at, e);
		return;
	}
	port = take(hub, node_ports_protocol("TCP"), 0, taken, at, e);
	if (port)
		json_object_set_new(spec, "healthCheckNodePort", json_integer(port));
}

/* The given ones first, so that none of them is taken for another port. */
void service_take_ports(struct hub *hub, json_t *obj, const json_t *old, struct taken *taken, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec"), *ports = json_object_get(spec, "ports"), *p;
	const struct path *at = PATH(PATH(NULL, "spec"), "ports");
	size_t i;

	if (service_is_external(obj))
		json_array_foreach(ports, i, p)
			if (node_port_of(p))
				claim_given(hub, node_ports_protocol(protocol_of(p)), json_object_get(p, "nodePort"),
					    old, taken, PATH(PATH_AT(at, i), "nodePort"), e);
	if (service_needs_node_ports(obj))
		json_array_foreach(ports, i, p) {
			uint16_t port;

			if (node_port_of(p))
				continue;
			port = take(hub, node_ports_protocol(protocol_of(p)), twin_of(ports, p), taken,
				    PATH(PATH_AT(at, i), "nodePort"), e);
			if (port)
				json_object_set_new(p, "nodePort", json_integer(port));
		}
	if (service_needs_health_port(obj))
		take_health_port(hub, spec, old, taken, e);
}
