/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "net/addr.h"
#include "base/str.h"

static void default_probe(json_t *probe)
{
	json_t *http = json_object_get(probe, "httpGet");

	if (!probe)
		return;
	default_int(probe, "timeoutSeconds", 1);
	default_int(probe, "periodSeconds", 10);
	default_int(probe, "successThreshold", 1);
	default_int(probe, "failureThreshold", 3);
	if (http) {
		default_str(http, "path", "/");
		default_str(http, "scheme", "HTTP");
	}
}

/* No tag, or "latest": pull always. */
static const char *default_pull_policy(const char *image)
{
	const char *slash = strrchr(image, '/'), *tag = strrchr(slash ? slash : image, ':');

	return strchr(image, '@') || (tag && !streq(tag, ":latest")) ? "IfNotPresent" : "Always";
}

static void default_container(json_t *c, bool host_network)
{
	json_t *port;
	size_t i;

	default_str(c, "imagePullPolicy", default_pull_policy(json_str_or(json_object_get(c, "image"), "")));
	default_str(c, "terminationMessagePath", "/dev/termination-log");
	default_str(c, "terminationMessagePolicy", "File");
	default_object(c, "resources");
	json_array_foreach(json_object_get(c, "ports"), i, port) {
		default_str(port, "protocol", "TCP");
		if (host_network && json_object_get(port, "containerPort"))
			default_int(port, "hostPort", json_integer_value(json_object_get(port, "containerPort")));
	}
	default_probe(json_object_get(c, "livenessProbe"));
	default_probe(json_object_get(c, "readinessProbe"));
	default_probe(json_object_get(c, "startupProbe"));
}

static void default_toleration(json_t *list, const char *key)
{
	json_t *t;
	size_t i;

	json_array_foreach(list, i, t) {
		const char *k = json_str_or(json_object_get(t, "key"), "");
		const char *effect = json_str_or(json_object_get(t, "effect"), "");

		if ((streq(k, key) || !*k) && (streq(effect, "NoExecute") || !*effect))
			return;
	}
	json_array_append_new(list, json_pack("{ss ss ss si}", "key", key, "operator", "Exists", "effect", "NoExecute",
					      "tolerationSeconds", 300));
}

void pod_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec"), *status = default_object(obj, "status"), *c, *tolerations;
	static const char *const lists[] = { "containers", "initContainers" };
	size_t i;

	default_str(spec, "restartPolicy", "Always");
	default_str(spec, "dnsPolicy", "ClusterFirst");
	default_str(spec, "schedulerName", "default-scheduler");
	default_int(spec, "terminationGracePeriodSeconds", 30);
	if (!json_object_get(spec, "enableServiceLinks"))
		json_object_set_new(spec, "enableServiceLinks", json_true());
	default_object(spec, "securityContext");
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach(json_object_get(spec, lists[l]), i, c)
			default_container(c, json_is_true(json_object_get(spec, "hostNetwork")));
	default_str(status, "phase", "Pending");
	default_str(status, "qosClass", "BestEffort");
	if (old)
		return;
	tolerations = json_object_get(spec, "tolerations");
	if (!tolerations) {
		tolerations = json_array();
		json_object_set_new(spec, "tolerations", tolerations);
	}
	default_toleration(tolerations, "node.kubernetes.io/not-ready");
	default_toleration(tolerations, "node.kubernetes.io/unreachable");
}

static void validate_probe(const json_t *probe, const struct path *at, struct errors *e)
{
	const json_t *http = json_object_get(probe, "httpGet"), *tcp = json_object_get(probe, "tcpSocket");
	int handlers = !!http + !!tcp + !!json_object_get(probe, "exec") + !!json_object_get(probe, "grpc");

	if (!probe)
		return;
	if (handlers == 0)
		err_required(e, at, "must specify a handler type");
	if (handlers > 1)
		err_forbidden(e, at, "may not specify more than 1 handler type");
	if (http)
		validate_port_or_name(json_object_get(http, "port"), PATH(PATH(at, "httpGet"), "port"), e);
	if (tcp)
		validate_port_or_name(json_object_get(tcp, "port"), PATH(PATH(at, "tcpSocket"), "port"), e);
}

static void validate_env(const json_t *list, const struct path *at, struct errors *e)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) {
		const char *name = json_str_or(json_object_get(v, "name"), "");

		if (strchr(name, '='))
			err_invalid(e, PATH(PATH_AT(at, i), "name"), json_object_get(v, "name"),
				    "a valid environment variable name must consist of printable characters other than '='");
	}
}

static void validate_ports(const json_t *list, bool host_network, const struct path *at, json_t *names, json_t *host_ports,
			   struct errors *e)
{
	json_t *p;
	size_t i;

	json_array_foreach(list, i, p) {
		const json_t *name = json_object_get(p, "name");
		json_int_t host = json_integer_value(json_object_get(p, "hostPort"));
		_cleanup_free_ char *key =
			xasprintf("%s/%s/%lld", json_str_or(json_object_get(p, "protocol"), "TCP"),
				  json_str_or(json_object_get(p, "hostIP"), ""), (long long)host);

		validate_port_name(name, PATH(PATH_AT(at, i), "name"), e);
		if (name && json_object_get(names, json_string_value(name)))
			err_duplicate(e, PATH(PATH_AT(at, i), "name"), name);
		if (name)
			json_object_set_new(names, json_string_value(name), json_true());
		if (json_object_get(p, "hostIP") && *json_str_or(json_object_get(p, "hostIP"), ""))
			validate_ip(json_object_get(p, "hostIP"), PATH(PATH_AT(at, i), "hostIP"), e);
		if (host_network && host && host != json_integer_value(json_object_get(p, "containerPort")))
			err_invalid(e, PATH(PATH_AT(at, i), "containerPort"), json_object_get(p, "containerPort"),
				    "must match `hostPort` when `hostNetwork` is true");
		if (host && json_object_get(host_ports, key))
			err_duplicate(e, PATH(PATH_AT(at, i), "hostPort"), json_object_get(p, "hostPort"));
		if (host)
			json_object_set_new(host_ports, key, json_true());
	}
}

static void validate_mounts(const json_t *list, const json_t *volumes, const struct path *at, struct errors *e)
{
	json_t *m, *v;
	size_t i, j;

	json_array_foreach(list, i, m) {
		const char *name = json_str_or(json_object_get(m, "name"), "");
		bool found = false;

		json_array_foreach(volumes, j, v)
			found |= streq(json_str_at(v, "name"), name);
		if (*name && !found) {
			_cleanup_free_ char *text = xasprintf("Not found: \"%s\"", name);

			err_invalid(e, PATH(PATH_AT(at, i), "name"), json_object_get(m, "name"), "%s", text);
		}
	}
}

static void validate_containers(const json_t *spec, const char *list, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), list);
	_cleanup_json_ json_t *host_ports = json_object();
	json_t *c;
	size_t i;

	json_array_foreach(json_object_get(spec, list), i, c) {
		const struct path *here = PATH_AT(at, i);
		_cleanup_json_ json_t *names = json_object();
		const json_t *name = json_object_get(c, "name"), *image = json_object_get(c, "image");

		if (name && json_string_length(name))
			validate_label(name, PATH(here, "name"), e);
		if (!image || !json_string_length(image))
			err_required(e, PATH(here, "image"), NULL);
		validate_ports(json_object_get(c, "ports"), json_is_true(json_object_get(spec, "hostNetwork")),
			       PATH(here, "ports"), names, host_ports, e);
		validate_env(json_object_get(c, "env"), PATH(here, "env"), e);
		validate_mounts(json_object_get(c, "volumeMounts"), json_object_get(spec, "volumes"),
				PATH(here, "volumeMounts"), e);
		validate_probe(json_object_get(c, "livenessProbe"), PATH(here, "livenessProbe"), e);
		validate_probe(json_object_get(c, "readinessProbe"), PATH(here, "readinessProbe"), e);
		validate_probe(json_object_get(c, "startupProbe"), PATH(here, "startupProbe"), e);
	}
}

/* What an update of a pod's spec may touch, as upstream: images, the deadline, added tolerations, a shorter grace period,
 * and nodeName as long as it is empty. Everything else is compared after those were evened out. */
static void validate_spec_update(const json_t *spec, const json_t *old, struct errors *e)
{
	_cleanup_json_ json_t *a = json_deep_copy(spec), *b = json_deep_copy(old);
	static const char *const lists[] = { "containers", "initContainers" };
	static const char *const free_fields[] = { "activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds" };
	json_t *c;
	size_t i;

	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach(json_object_get(a, lists[l]), i, c) {
			json_t *was = json_array_get(json_object_get(b, lists[l]), i);

			if (was && json_object_get(was, "image"))
				json_object_set(c, "image", json_object_get(was, "image"));
			if (was && json_object_get(was, "imagePullPolicy"))
				json_object_set(c, "imagePullPolicy", json_object_get(was, "imagePullPolicy"));
		}
	for (size_t f = 0; f < ARRAY_SIZE(free_fields); f++) {
		json_object_del(a, free_fields[f]);
		json_object_del(b, free_fields[f]);
	}
	if (!json_object_get(b, "nodeName"))
		json_object_del(a, "nodeName");
	if (!json_equal(a, b))
		err_forbidden(e, PATH(NULL, "spec"),
			      "pod updates may not change fields other than `spec.containers[*].image`,"
			      "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
			      "existing tolerations),`spec.terminationGracePeriodSeconds`");
}

static void validate_pod_ips(const json_t *status, struct errors *e)
{
	const struct path *at = PATH(NULL, "status"), *list = PATH(at, "podIPs");
	const json_t *one = json_object_get(status, "podIP");
	bool seen[2] = { false, false };
	json_t *item;
	size_t i;

	if (json_string_length(one))
		validate_ip(one, PATH(at, "podIP"), e);
	json_array_foreach(json_object_get(status, "podIPs"), i, item) {
		const struct path *here = PATH(PATH_AT(list, i), "ip");
		const json_t *ip = json_object_get(item, "ip");
		struct addr a;

		if (!ip)
			err_required(e, here, NULL);
		validate_ip(ip, here, e);
		if (addr_parse(json_str_or(ip, ""), &a) < 0)
			continue;
		if (seen[addr_is_v4(&a)])
			err_invalid(e, list, json_object_get(status, "podIPs"), "may specify no more than one IP for each IP family");
		seen[addr_is_v4(&a)] = true;
	}
}

void pod_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec"), *grace = json_object_get(spec, "terminationGracePeriodSeconds");
	const struct path *at = PATH(NULL, "spec");
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(spec, "volumes"), i, v)
		validate_label(json_object_get(v, "name"), PATH(PATH_AT(PATH(at, "volumes"), i), "name"), e);
	validate_containers(spec, "containers", e);
	validate_containers(spec, "initContainers", e);
	if (json_integer_value(grace) < 0)
		err_invalid(e, PATH(at, "terminationGracePeriodSeconds"), grace, "must be greater than or equal to 0");
	validate_subdomain(json_object_get(spec, "nodeName"), PATH(at, "nodeName"), e);
	validate_label(json_object_get(spec, "hostname"), PATH(at, "hostname"), e);
	validate_label(json_object_get(spec, "subdomain"), PATH(at, "subdomain"), e);
	validate_labels(json_object_get(spec, "nodeSelector"), PATH(at, "nodeSelector"), e);
	validate_pod_ips(json_object_get(obj, "status"), e);
	if (old)
		validate_spec_update(spec, json_object_get(old, "spec"), e);
}

static json_int_t count_restarts(const json_t *obj)
{
	json_int_t n = 0;
	json_t *c;
	size_t i;

	json_array_foreach(json_at(obj, "status", "containerStatuses"), i, c)
		n += json_integer_value(json_object_get(c, "restartCount"));
	return n;
}

static void cell_ready(const json_t *obj, struct buf *out)
{
	size_t ready = 0, i;
	json_t *c;

	json_array_foreach(json_at(obj, "status", "containerStatuses"), i, c)
		ready += json_is_true(json_object_get(c, "ready"));
	buf_addf(out, "%zu/%zu", ready, json_array_size(json_at(obj, "spec", "containers")));
}

/* The reason of the first container that is not running, else the phase. */
static void cell_status(const json_t *obj, struct buf *out)
{
	const char *text = json_str_at(obj, "status", "reason");
	json_t *c;
	size_t i;

	if (!text)
		text = json_str_or(json_at(obj, "status", "phase"), "Unknown");
	json_array_foreach(json_at(obj, "status", "containerStatuses"), i, c) {
		const char *why = json_str_at(c, "state", "waiting", "reason");

		if (!why)
			why = json_str_at(c, "state", "terminated", "reason");
		if (why && *why)
			text = why;
	}
	if (json_at(obj, "metadata", "deletionTimestamp"))
		text = streq(json_str_at(obj, "status", "reason"), "NodeLost") ? "Unknown" : "Terminating";
	buf_adds(out, text);
}

static void cell_restarts(const json_t *obj, struct buf *out)
{
	buf_addf(out, "%lld", (long long)count_restarts(obj));
}

static void cell_pod_ip(const json_t *obj, struct buf *out)
{
	const char *ip = json_str_at(json_array_get(json_at(obj, "status", "podIPs"), 0), "ip");

	if (!ip)
		ip = json_str_at(obj, "status", "podIP");
	buf_adds(out, ip && *ip ? ip : "<none>");
}

static void cell_node(const json_t *obj, struct buf *out)
{
	buf_adds(out, json_str_or(json_at(obj, "spec", "nodeName"), "<none>"));
}

static void cell_nominated(const json_t *obj, struct buf *out)
{
	buf_adds(out, json_str_or(json_at(obj, "status", "nominatedNodeName"), "<none>"));
}

static void cell_gates(const json_t *obj, struct buf *out)
{
	const json_t *gates = json_at(obj, "spec", "readinessGates");
	size_t n = json_array_size(gates), met = 0, i;
	json_t *g;

	if (n == 0) {
		buf_adds(out, "<none>");
		return;
	}
	json_array_foreach(gates, i, g)
		met += json_condition_is_true(obj, json_str_at(g, "conditionType"));
	buf_addf(out, "%zu/%zu", met, n);
}

const struct column pod_columns[] = {
	COLUMN_NAME,
	{ "Ready", "string", 0, .cell = cell_ready, .doc = "Containers that are ready." },
	{ "Status", "string", 0, .cell = cell_status, .doc = "Phase, or why not." },
	{ "Restarts", "string", 0, .cell = cell_restarts, .doc = "How often containers were restarted." },
	COLUMN_AGE,
	{ "IP", "string", 1, .cell = cell_pod_ip, .doc = "The pod's first address." },
	{ "Node", "string", 1, .cell = cell_node, .doc = "The node that it runs on." },
	{ "Nominated Node", "string", 1, .cell = cell_nominated, .doc = "Node to become free." },
	{ "Readiness Gates", "string", 1, .cell = cell_gates, .doc = "Conditions that readiness needs." },
	{ 0 },
};
