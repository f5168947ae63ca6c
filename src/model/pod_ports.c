/* SPDX-License-Identifier: Apache-2.0 */
/* Named ports of pods: what a policy that names a port looks up. */
#include "model/model_internal.h"

#include <netinet/in.h>

static int bad_port(char **ret_error, const char *name)
{
	if (ret_error)
		*ret_error = xasprintf("spec: port \"%s\": expected containerPort from 1 to 65535, protocol TCP, UDP or SCTP, and at most %d "
				       "named ports", name, POD_PORTS_MAX);
	return -EINVAL;
}

int decode_pod_proto(const char *s)
{
	if (streq(s, "TCP"))
		return IPPROTO_TCP;
	if (streq(s, "UDP"))
		return IPPROTO_UDP;
	return streq(s, "SCTP") ? IPPROTO_SCTP : -EINVAL;
}

static int decode_container(const json_t *container, struct decoded_pod *ret, char **ret_error)
{
	const json_t *port;
	size_t i;

	json_array_foreach(json_object_get(container, "ports"), i, port) {
		const char *name = json_str_at(port, "name");
		int proto = decode_pod_proto(json_str_or(json_object_get(port, "protocol"), "TCP"));
		json_int_t number = json_integer_value(json_object_get(port, "containerPort"));

		if (!name)
			continue;
		if (proto < 0 || number < 1 || number > 65535 || ret->n_ports == POD_PORTS_MAX)
			return bad_port(ret_error, name);
		ret->ports[ret->n_ports++] = (struct model_port){ name, number, proto };
	}
	return 0;
}

int decode_serving_containers(const json_t *spec, decode_container_fn *decode, struct decoded_pod *ret, char **ret_error)
{
	const json_t *container;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(spec, "containers"), i, container)
		if (r == 0)
			r = decode(container, ret, ret_error);
	json_array_foreach(json_object_get(spec, "initContainers"), i, container) /* a sidecar runs on, others have ended */
		if (r == 0 && streq(json_str_at(container, "restartPolicy"), "Always"))
			r = decode(container, ret, ret_error);
	return r;
}

int decode_pod_ports(const json_t *spec, struct decoded_pod *ret, char **ret_error)
{
	return decode_serving_containers(spec, decode_container, ret, ret_error);
}

static bool same(const struct model_pod *p, const struct model_port *ports, unsigned n)
{
	if (p->n_ports != n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!streq(p->ports[i].name, ports[i].name) || p->ports[i].number != ports[i].number || p->ports[i].proto != ports[i].proto)
			return false;
	return true;
}

bool pod_ports_replace(struct model *m, struct model_pod *p, const struct model_port *ports, unsigned n)
{
	struct model_port *fresh;

	if (same(p, ports, n))
		return false;
	fresh = n ? xnew0_array(struct model_port, n) : NULL;
	for (unsigned i = 0; i < n; i++)
		fresh[i] = (struct model_port){ model_intern(m, ports[i].name), ports[i].number, ports[i].proto };
	for (unsigned i = 0; i < p->n_ports; i++)
		model_unintern(m, p->ports[i].name);
	free(p->ports);
	p->ports = fresh;
	p->n_ports = n;
	return true;
}
