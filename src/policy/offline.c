/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/offline.h"
#include "base/str.h"

enum { PORTS_MAX = 1000, LABELS_MAX = 1000, NODE_ADDRS_MAX = 256 };

struct offline *offline_new(void)
{
	struct offline *o = xnew0(struct offline);

	o->policy = policy_new();
	o->objects = json_object();
	return o;
}

struct offline *offline_free(struct offline *o)
{
	if (!o)
		return NULL;
	policy_maps_put(o->maps);
	policy_free(o->policy);
	json_decref(o->objects);
	free(o);
	return NULL;
}

static const char *meta(const json_t *object, const char *field)
{
	return json_str_or(json_at(object, "metadata", field), "");
}

static void remember(struct offline *o, const char *kind, const json_t *object)
{
	_cleanup_free_ char *key = xasprintf("%s/%s", meta(object, "namespace"), meta(object, "name"));
	json_t *of_kind = json_object_get(o->objects, kind);

	if (!of_kind) {
		of_kind = json_object();
		json_object_set_new(o->objects, kind, of_kind);
	}
	json_object_set(of_kind, key, (json_t *)object);
}

const json_t *offline_find(const struct offline *o, const char *kind, const char *namespace_, const char *name)
{
	_cleanup_free_ char *key = xasprintf("%s/%s", namespace_, name);

	return json_object_get(json_object_get(o->objects, kind), key);
}

static int bad(char **ret_error, const json_t *object, const char *kind, const char *what)
{
	_cleanup_free_ char *text = xasprintf("%s %s/%s: %s", kind, meta(object, "namespace"), meta(object, "name"), what);
	char shown[512];

	str_escape(shown, sizeof(shown), text);
	if (ret_error)
		*ret_error = xstrdup(shown);
	return -EINVAL;
}

/* Return: how many, or -EINVAL. */
static ssize_t read_labels(const json_t *object, struct label_in ret[static LABELS_MAX])
{
	json_t *labels = json_at(object, "metadata", "labels"), *v;
	const char *key;
	ssize_t n = 0;

	if (labels && !json_is_null(labels) && !json_is_object(labels))
		return -EINVAL;
	json_object_foreach(labels, key, v) {
		if (!json_is_string(v) || n == LABELS_MAX)
			return -EINVAL;
		ret[n++] = (struct label_in){ key, json_string_value(v) };
	}
	return n;
}

/* [{"ip": …}] or, when that is missing, one address. */
static int read_ips(const json_t *status, const char *list, const char *single, struct addr *ret, size_t max, unsigned *n)
{
	const json_t *ips = json_object_get(status, list);
	const char *text = json_str_at(status, single);

	for (size_t i = 0; i < json_array_size(ips) && *n < max; i++) {
		const char *ip = json_str_at(json_array_get(ips, i), "ip");

		if (!ip || addr_parse(ip, &ret[(*n)++]) < 0)
			return -EINVAL;
	}
	if (!json_array_size(ips) && text && *text && *n < max)
		return addr_parse(text, &ret[(*n)++]);
	return 0;
}

static int read_ports(const json_t *containers, bool init, struct policy_port_in ret[static PORTS_MAX], size_t *n)
{
	struct policy_errors e = { 0 };
	int r = 0;

	for (size_t i = 0; i < json_array_size(containers); i++) {
		const json_t *c = json_array_get(containers, i), *ports = json_object_get(c, "ports");

		if (init && !streq(json_str_at(c, "restartPolicy"), "Always"))
			continue; /* it has ended when the pod serves; a sidecar has not */
		for (size_t j = 0; j < json_array_size(ports); j++) {
			const json_t *p = json_array_get(ports, j);
			const char *name = json_str_at(p, "name");
			struct policy_port_in *out = &ret[*n];

			if (!name)
				continue;
			if (*n == PORTS_MAX || port_parse_number(json_object_get(p, "containerPort"), NULL, &e, &out->number) < 0 ||
			    port_parse_protocol(json_object_get(p, "protocol"), NULL, &e, &out->protocol) < 0)
				r = -EINVAL;
			else
				ret[(*n)++].name = name;
		}
	}
	policy_errors_done(&e);
	return r;
}

static bool is_host_network(const json_t *pod)
{
	return json_is_true(json_at(pod, "spec", "hostNetwork"));
}

static bool is_finished(const json_t *pod)
{
	const char *phase = json_str_at(pod, "status", "phase");

	return streq(phase, "Succeeded") || streq(phase, "Failed");
}

static int put_pod(struct offline *o, const json_t *object, char **ret_error)
{
	struct policy_pod_in pod = { .namespace_ = meta(object, "namespace"), .name = meta(object, "name"), .local = true };
	_cleanup_free_ struct policy_port_in *ports = xnew0_array(struct policy_port_in, PORTS_MAX);
	_cleanup_free_ struct label_in *labels = xnew0_array(struct label_in, LABELS_MAX);
	const json_t *spec = json_object_get(object, "spec");
	ssize_t n = read_labels(object, labels);

	if (n < 0)
		return bad(ret_error, object, "Pod", "metadata.labels: expected an object of strings");
	if (!name_is_dns_label(pod.namespace_) || !name_is_dns_subdomain(pod.name))
		return bad(ret_error, object, "Pod", "metadata: expected a name and a namespace");
	if (read_ports(json_object_get(spec, "containers"), false, ports, &pod.n_ports) < 0 ||
	    read_ports(json_object_get(spec, "initContainers"), true, ports, &pod.n_ports) < 0)
		return bad(ret_error, object, "Pod", "spec.containers: expected ports with containerPort and protocol");
	if (!is_host_network(object) && !is_finished(object) &&
	    read_ips(json_object_get(object, "status"), "podIPs", "podIP", pod.addrs, ARRAY_SIZE(pod.addrs), &pod.n_addrs) < 0)
		return bad(ret_error, object, "Pod", "status.podIPs: expected addresses");
	pod.labels = labels;
	pod.n_labels = n;
	pod.ports = ports;
	policy_put_pod(o->policy, &pod);
	return 0;
}

static int put_namespace(struct offline *o, const json_t *object, char **ret_error)
{
	_cleanup_free_ struct label_in *labels = xnew0_array(struct label_in, LABELS_MAX);
	ssize_t n = read_labels(object, labels);

	if (!name_is_dns_label(meta(object, "name")))
		return bad(ret_error, object, "Namespace", "metadata.name: expected a name");
	if (n < 0)
		return bad(ret_error, object, "Namespace", "metadata.labels: expected an object of strings");
	policy_put_namespace(o->policy, meta(object, "name"), labels, n);
	return 0;
}

static int put_policy(struct offline *o, const json_t *object, const char *fallback_kind, char **ret_error)
{
	_cleanup_free_ char *why = NULL;
	struct policy_spec *spec;

	if (policy_spec_parse(object, fallback_kind, &spec, &why) < 0)
		return bad(ret_error, object, json_str_or(json_object_get(object, "kind"), fallback_kind ? fallback_kind : "object"), why);
	policy_put_object(o->policy, spec);
	return 0;
}

static int put_list(struct offline *o, const json_t *list, char **ret_error)
{
	const json_t *items = json_object_get(list, "items");

	for (size_t i = 0; i < json_array_size(items); i++) {
		int r = offline_put(o, json_array_get(items, i), NULL, ret_error);

		if (r < 0)
			return r;
	}
	return 0;
}

int offline_put(struct offline *o, const json_t *object, const char *fallback_kind, char **ret_error)
{
	const char *kind = json_str_or(json_object_get(object, "kind"), fallback_kind);
	int r = 0;

	if (!kind)
		return bad(ret_error, object, "object", "kind: expected a string");
	if (streq(kind, "List"))
		return put_list(o, object, ret_error);
	if (streq(kind, "Pod"))
		r = put_pod(o, object, ret_error);
	else if (streq(kind, "Namespace"))
		r = put_namespace(o, object, ret_error);
	else if (streq(kind, "Node"))
		r = name_is_dns_subdomain(meta(object, "name")) ? 0 : bad(ret_error, object, kind, "metadata.name: expected a name");
	else
		r = put_policy(o, object, fallback_kind, ret_error);
	if (r == 0)
		remember(o, kind, object);
	return r;
}

bool offline_del(struct offline *o, const char *kind, const char *namespace_, const char *name)
{
	_cleanup_free_ char *key = xasprintf("%s/%s", namespace_, name);
	enum policy_kind policy_kind;

	if (json_object_del(json_object_get(o->objects, kind), key) < 0)
		return false;
	if (streq(kind, "Pod"))
		policy_del_pod(o->policy, namespace_, name);
	else if (streq(kind, "Namespace"))
		policy_del_namespace(o->policy, name);
	else if (streq(kind, "Node"))
		policy_del_node(o->policy, name);
	else if (policy_kind_parse(kind, &policy_kind) == 0)
		policy_del_object(o->policy, policy_kind, namespace_, name);
	return true;
}

/* Nodes: their addresses come from several objects, so they are put together when all are known. */

struct node_addrs {
	struct addr a[NODE_ADDRS_MAX];
	unsigned n;
};

static void add_addr(struct node_addrs *out, const struct addr *a)
{
	for (unsigned i = 0; i < out->n; i++)
		if (addr_eq(&out->a[i], a))
			return;
	if (out->n < NODE_ADDRS_MAX)
		out->a[out->n++] = *a;
}

static void add_status_addrs(struct node_addrs *out, const json_t *node)
{
	const json_t *list = json_at(node, "status", "addresses");
	struct addr a;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *text = json_str_at(item, "address"), *type = json_str_at(item, "type");

		if ((streq(type, "InternalIP") || streq(type, "ExternalIP")) && text && addr_parse(text, &a) == 0)
			add_addr(out, &a);
	}
}

static void add_pod_addrs(struct node_addrs *out, const json_t *pod)
{
	const json_t *status = json_object_get(pod, "status");
	struct addr few[8];
	unsigned n = 0;

	(void)read_ips(status, "hostIPs", "hostIP", few, 4, &n);
	if (is_host_network(pod) && !is_finished(pod))
		(void)read_ips(status, "podIPs", "podIP", few, ARRAY_SIZE(few), &n);
	for (unsigned i = 0; i < n; i++)
		add_addr(out, &few[i]);
}

static unsigned node_ranges(const json_t *node, struct prefix *ret, unsigned max)
{
	const json_t *list = json_at(node, "spec", "podCIDRs");
	const char *single = json_str_at(node, "spec", "podCIDR");
	unsigned n = 0;

	for (size_t i = 0; i < json_array_size(list) && n < max; i++)
		if (json_is_string(json_array_get(list, i)))
			n += prefix_parse(json_string_value(json_array_get(list, i)), &ret[n], NULL) == 0;
	if (!json_array_size(list) && single && max)
		n += prefix_parse(single, &ret[n], NULL) == 0;
	return n;
}

/* Return: how many of them are in the node's status. */
static unsigned node_addresses(const struct offline *o, const json_t *node, struct node_addrs *out)
{
	struct prefix ranges[8];
	unsigned n = node_ranges(node, ranges, ARRAY_SIZE(ranges)), reported;
	const char *key;
	json_t *pod;

	out->n = 0;
	add_status_addrs(out, node);
	reported = out->n;
	json_object_foreach(json_object_get(o->objects, "Pod"), key, pod)
		if (streq(json_str_at(pod, "spec", "nodeName"), meta(node, "name")))
			add_pod_addrs(out, pod);
	for (unsigned i = 0; i < n; i++) {
		struct addr first = addr_add(&ranges[i].addr, 1);

		add_addr(out, &first);
	}
	return reported;
}

static void put_nodes(struct offline *o)
{
	json_t *nodes = json_object_get(o->objects, "Node"), *node;
	_cleanup_free_ struct prefix *ranges = xnew0_array(struct prefix, json_object_size(nodes) * 8);
	_cleanup_free_ struct label_in *labels = xnew0_array(struct label_in, LABELS_MAX);
	_cleanup_free_ struct node_addrs *addrs = xnew(struct node_addrs);
	unsigned n_ranges = 0, reported;
	const char *key;

	json_object_foreach(nodes, key, node) {
		ssize_t n = read_labels(node, labels);

		reported = node_addresses(o, node, addrs);
		policy_put_node(o->policy, meta(node, "name"), labels, n < 0 ? 0 : n, addrs->a, reported, addrs->a + reported,
				addrs->n - reported);
		if (streq(o->host, meta(node, "name")))
			policy_set_host(o->policy, labels, n < 0 ? 0 : n, addrs->a, addrs->n);
		n_ranges += node_ranges(node, ranges + n_ranges, 8);
	}
	policy_set_ranges(o->policy, ranges, n_ranges);
}

void offline_compile(struct offline *o, bool settle)
{
	put_nodes(o);
	policy_maps_put(o->maps);
	o->maps = policy_compile(o->policy);
	if (!settle || !policy_settle(o->policy, UINT64_MAX))
		return;
	policy_maps_put(o->maps);
	o->maps = policy_compile(o->policy);
}

/* Ends. */

static const char *node_of_addr(const struct offline *o, const struct addr *a)
{
	_cleanup_free_ struct node_addrs *addrs = xnew(struct node_addrs);
	const char *key;
	json_t *node;

	json_object_foreach(json_object_get(o->objects, "Node"), key, node) {
		node_addresses(o, node, addrs);
		for (unsigned i = 0; i < addrs->n; i++)
			if (addr_eq(&addrs->a[i], a))
				return meta(node, "name");
	}
	return NULL;
}

static const json_t *pod_of_addr(const struct offline *o, const struct addr *a)
{
	const char *key;
	json_t *pod;

	json_object_foreach(json_object_get(o->objects, "Pod"), key, pod) {
		struct addr addrs[2];
		unsigned n = 0;

		if (is_host_network(pod) || is_finished(pod) ||
		    read_ips(json_object_get(pod, "status"), "podIPs", "podIP", addrs, 2, &n) < 0)
			continue;
		while (n--)
			if (addr_eq(&addrs[n], a))
				return pod;
	}
	return NULL;
}

static int end_of_pod(const struct offline *o, const char *text, int family, struct offline_end *ret)
{
	const char *slash = strchr(text, '/');
	_cleanup_free_ char *ns = xstrndup(text, slash - text);
	const json_t *pod = offline_find(o, "Pod", ns, slash + 1);
	const char *node = json_str_at(pod, "spec", "nodeName");
	struct addr addrs[2];
	unsigned n = 0;

	if (!pod || read_ips(json_object_get(pod, "status"), "podIPs", "podIP", addrs, 2, &n) < 0)
		return -ENOENT;
	for (unsigned i = 0; i < n; i++) {
		if (family != AF_UNSPEC && addr_family(&addrs[i]) != family)
			continue;
		*ret = (struct offline_end){ .addr = addrs[i] };
		*(is_host_network(pod) ? &ret->node : &ret->pod_node) = node;
		return 0;
	}
	return -ENOENT;
}

int offline_find_end(const struct offline *o, const char *text, int family, struct offline_end *ret)
{
	const json_t *pod;
	struct addr a;

	if (strchr(text, '/'))
		return end_of_pod(o, text, family, ret);
	if (addr_parse(text, &a) < 0)
		return -EINVAL;
	*ret = (struct offline_end){ .addr = a };
	pod = pod_of_addr(o, &a);
	if (pod)
		ret->pod_node = json_str_at(pod, "spec", "nodeName");
	else
		ret->node = node_of_addr(o, &a);
	return 0;
}

void offline_judge(const struct offline *o, const struct offline_end *src, const struct offline_end *dst, uint8_t protocol,
		   uint16_t port, struct policy_answer *ret)
{
	struct policy_query q = { .src = src->addr, .dst = dst->addr, .protocol = protocol, .port = port };

	q.from_own_node = src->node && (streq(src->node, dst->pod_node) || (streq(src->node, dst->node) && streq(src->node, o->host)));
	policy_lookup(o->maps, &q, ret);
}
