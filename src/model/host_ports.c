/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of nodes that lead to pods. What one of them gets depends on the pods of its node that ask for the same port and on Services'
 * node ports; so when one of these comes, goes or changes, the others are looked at again. */
#include "model/model_internal.h"

static int bad_port(char **ret_error)
{
	if (ret_error)
		*ret_error = xasprintf("spec: a hostPort: expected containerPort and hostPort from 1 to 65535, protocol TCP, UDP or SCTP, hostIP "
				       "an IP address, and at most %d of them", POD_HOST_PORTS_MAX);
	return -EINVAL;
}

static int decode_port(const json_t *port, struct decoded_pod *ret, char **ret_error)
{
	json_int_t host = json_integer_value(json_object_get(port, "hostPort")), own = json_integer_value(json_object_get(port, "containerPort"));
	int proto = decode_pod_proto(json_str_or(json_object_get(port, "protocol"), "TCP"));
	const char *ip = json_str_or(json_object_get(port, "hostIP"), "");
	struct model_host_port *p = &ret->host_ports[ret->n_host_ports];

	if (host == 0)
		return 0;
	if (ret->n_host_ports == POD_HOST_PORTS_MAX || proto < 0 || host < 1 || host > 65535 || own < 1 || own > 65535)
		return bad_port(ret_error);
	*p = (struct model_host_port){.host_port = host, .port = own, .proto = proto};
	if (*ip && addr_parse(ip, &p->host) < 0)
		return bad_port(ret_error);
	ret->n_host_ports++;
	return 0;
}

static int decode_container(const json_t *container, struct decoded_pod *ret, char **ret_error)
{
	const json_t *port;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(container, "ports"), i, port)
		if (r == 0)
			r = decode_port(port, ret, ret_error);
	return r;
}

int decode_host_ports(const json_t *spec, struct decoded_pod *ret, char **ret_error)
{
	if (ret->host_network) /* its ports are the node's anyway */
		return 0;
	return decode_serving_containers(spec, decode_container, ret, ret_error);
}

static bool has_port(const struct model_host_ports *h, uint8_t proto, uint16_t port)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->ports[i].proto == proto && h->ports[i].host_port == port)
			return true;
	return false;
}

void host_ports_mark(struct model *m, const char *node, uint8_t proto, uint16_t port)
{
	struct model_host_ports *h;

	list_for_each(h, &m->host_pods, all)
		if ((!node || streq(node, h->pod->node)) && has_port(h, proto, port))
			services_mark_pod(m, h->pod);
}

void host_ports_mark_all(struct model *m)
{
	struct model_host_ports *h;

	list_for_each(h, &m->host_pods, all)
		services_mark_pod(m, h->pod);
}

/* The pod itself, too: it has the port. */
static void mark_rivals(struct model *m, const struct model_host_ports *h)
{
	for (unsigned i = 0; i < h->n; i++)
		host_ports_mark(m, h->pod->node, h->ports[i].proto, h->ports[i].host_port);
}

static bool same(const struct model_host_ports *h, const struct decoded_pod *d)
{
	if (!h || d->n_host_ports == 0)
		return !h && d->n_host_ports == 0;
	if (h->n != d->n_host_ports)
		return false;
	for (unsigned i = 0; i < h->n; i++) {
		const struct model_host_port *a = &h->ports[i], *b = &d->host_ports[i];

		if (a->host_port != b->host_port || a->port != b->port || a->proto != b->proto || !addr_eq(&a->host, &b->host))
			return false;
	}
	return true;
}

void host_ports_drop(struct model *m, struct model_pod *p)
{
	if (!p->host_ports)
		return;
	mark_rivals(m, p->host_ports);
	list_remove(&p->host_ports->all);
	free(p->host_ports);
	p->host_ports = NULL;
}

bool host_ports_replace(struct model *m, struct model_pod *p, int64_t created, const struct decoded_pod *d, bool changed)
{
	struct model_host_ports *h;

	if (same(p->host_ports, d)) {
		if (changed && p->host_ports)
			mark_rivals(m, p->host_ports);
		return false;
	}
	host_ports_drop(m, p);
	if (d->n_host_ports == 0)
		return true;
	h = xcalloc(1, sizeof(*h) + d->n_host_ports * sizeof(*h->ports));
	h->pod = p;
	h->created = created;
	h->n = d->n_host_ports;
	memcpy(h->ports, d->host_ports, h->n * sizeof(*h->ports));
	list_push_back(&m->host_pods, &h->all);
	p->host_ports = h;
	mark_rivals(m, h);
	return true;
}

void model_each_host_ports(const struct model *m, model_host_ports_fn *fn, void *ctx)
{
	struct model_host_ports *h;

	list_for_each(h, &m->host_pods, all)
		if (!fn(h, ctx))
			return;
}
