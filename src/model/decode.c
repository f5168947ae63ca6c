/* SPDX-License-Identifier: Apache-2.0 */
/* What an API object says, checked. The API server validates too, but a newer or foreign one may allow what we do not
 * understand, and the hub's database may be edited by hand: nothing is taken on trust. */
#include "model/model_internal.h"

#include <time.h>

enum { UID_MAX = 128, LABELS_MAX = 4096 };

int decode_refuse(char **ret_error, const char *fmt, ...)
{
	va_list ap;

	if (ret_error) {
		va_start(ap, fmt);
		*ret_error = xvasprintf(fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

/* RFC 3339 in UTC, as the API writes it; 0 when it is none. */
static int64_t parse_time(const char *s)
{
	struct tm tm = {0};
	const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	return end && (*end == 'Z' || *end == '.') ? timegm(&tm) : 0;
}

/* @max: of labels, which all are kept. Of annotations few are, and whoever bounds an object's size bounds them: an object is not refused for what others
 * noted on it. */
static int check_string_map(const json_t *j, const char *what, size_t max, char **ret_error)
{
	const char *key;
	json_t *value;

	if (!j || json_is_null(j))
		return 0;
	if (!json_is_object(j))
		return decode_refuse(ret_error, "metadata.%s: expected an object", what);
	if (json_object_size(j) > max)
		return decode_refuse(ret_error, "metadata.%s: more than %zu", what, max);
	json_object_foreach((json_t *)j, key, value)
		if (!json_is_string(value))
			return decode_refuse(ret_error, "metadata.%s[\"%s\"]: expected a string", what, key);
	return 0;
}

int decode_meta(const json_t *object, bool namespaced, struct decoded_meta *ret, char **ret_error)
{
	const json_t *meta = json_object_get(object, "metadata");
	int r;

	*ret = (struct decoded_meta){.name = json_str_at(meta, "name"),
				     .namespace_ = namespaced ? json_str_at(meta, "namespace") : "",
				     .uid = json_str_or(json_object_get(meta, "uid"), ""),
				     .rv = json_str_or(json_object_get(meta, "resourceVersion"), ""),
				     .created = parse_time(json_str_at(meta, "creationTimestamp")),
				     .deleting = json_is_string(json_object_get(meta, "deletionTimestamp"))};
	if (!ret->name || !name_is_dns_subdomain(ret->name))
		return decode_refuse(ret_error, "metadata.name: expected a DNS name");
	if (namespaced && (!ret->namespace_ || !name_is_dns_label(ret->namespace_)))
		return decode_refuse(ret_error, "metadata.namespace: expected a DNS label");
	if (strlen(ret->uid) > UID_MAX)
		return decode_refuse(ret_error, "metadata.uid: longer than %d bytes", UID_MAX);
	r = check_string_map(json_object_get(meta, "labels"), "labels", LABELS_MAX, ret_error);
	return r < 0 ? r : check_string_map(json_object_get(meta, "annotations"), "annotations", SIZE_MAX, ret_error);
}

/* spec.podCIDRs, or, from very old servers, spec.podCIDR. */
static int decode_cidrs(const json_t *spec, struct decoded_node *ret, char **ret_error)
{
	const json_t *list = json_object_get(spec, "podCIDRs"), *one = json_object_get(spec, "podCIDR");
	size_t n = json_is_array(list) ? json_array_size(list) : (json_is_string(one) && *json_string_value(one));

	if (list && !json_is_array(list) && !json_is_null(list))
		return decode_refuse(ret_error, "spec.podCIDRs: expected a list");
	if (n > NODE_CIDRS_MAX)
		return decode_refuse(ret_error, "spec.podCIDRs: more than %d", NODE_CIDRS_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_is_array(list) ? json_array_get(list, i) : one);

		if (!text || prefix_parse(text, &ret->cidrs[i], NULL) < 0)
			return decode_refuse(ret_error, "spec.podCIDRs[%zu]: expected a network such as 10.244.1.0/24", i);
	}
	ret->n_cidrs = n;
	return 0;
}

/* @n: how many stand at @list already */
static void add_node_addr(struct addr *list, unsigned *n, const struct addr *a)
{
	for (unsigned i = 0; i < *n; i++)
		if (addr_eq(&list[i], a))
			return;
	list[(*n)++] = *a;
}

/* status.addresses of one type, into @ret behind the @n that are there; what is there, or comes twice, comes once. @strict: what is no address is an
 * error, else left out. */
static int decode_addrs_of_type(const json_t *list, const char *type, bool strict, struct addr *ret, unsigned *n, char **ret_error)
{
	const json_t *item;
	unsigned of_type = 0;
	struct addr a;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *text = json_str_at(item, "address");
		bool good = text && addr_parse(text, &a) == 0;

		if (!streq(json_str_at(item, "type"), type))
			continue;
		if (!good && strict)
			return decode_refuse(ret_error, "status.addresses[%zu]: expected an IP address", i);
		if (of_type++ == NODE_ADDRS_MAX)
			return decode_refuse(ret_error, "status.addresses: more than %d of type %s", NODE_ADDRS_MAX, type);
		if (good)
			add_node_addr(ret, n, &a);
	}
	return 0;
}

/* Host names are not for us. Without a way to it a node is nothing, so its InternalIPs must be addresses. */
static int decode_node_addrs(const json_t *list, struct decoded_node *ret, char **ret_error)
{
	unsigned n = 0;
	int r;

	if (list && !json_is_array(list) && !json_is_null(list))
		return decode_refuse(ret_error, "status.addresses: expected a list");
	r = decode_addrs_of_type(list, "InternalIP", true, ret->addrs, &n, ret_error);
	ret->n_addrs = n;
	if (r == 0)
		r = decode_addrs_of_type(list, "ExternalIP", false, ret->addrs, &n, ret_error);
	ret->n_external = n - ret->n_addrs;
	return r;
}

/* KEP-3836: the taint by which the cluster autoscaler says that the node will go. Its other fields do not matter. */
static bool has_leaving_taint(const json_t *taints)
{
	const json_t *item;
	size_t i;

	json_array_foreach(taints, i, item)
		if (streq(json_str_at(item, "key"), "ToBeDeletedByClusterAutoscaler"))
			return true;
	return false;
}

int decode_node(const json_t *object, struct decoded_node *ret, char **ret_error)
{
	int r;

	memset(ret, 0, sizeof(*ret)); /* compared as bytes */
	ret->leaving = has_leaving_taint(json_at(object, "spec", "taints"));
	ret->ready = !json_condition(object, "Ready") || json_condition_is_true(object, "Ready");
	ret->cordoned = json_is_true(json_at(object, "spec", "unschedulable"));
	r = decode_cidrs(json_object_get(object, "spec"), ret, ret_error);
	return r < 0 ? r : decode_node_addrs(json_at(object, "status", "addresses"), ret, ret_error);
}

static int take_pod_addr(const char *text, const char *field, size_t i, struct decoded_pod *ret, char **ret_error)
{
	struct addr a;
	int slot;

	if (!text || addr_parse(text, &a) < 0)
		return decode_refuse(ret_error, "status.%s[%zu]: expected an IP address", field, i);
	slot = addr_is_v4(&a) ? 0 : 1;
	if (!addr_is_zero(&ret->addrs[slot]) && !addr_eq(&ret->addrs[slot], &a))
		return decode_refuse(ret_error, "status.%s[%zu]: a second address of its family", field, i);
	ret->addrs[slot] = a;
	return 0;
}

/* As its node's agent has told them before the pod ran. */
static int decode_told_addrs(const json_t *object, struct decoded_pod *ret, char **ret_error)
{
	static const char field[] = "conditions." MODEL_POD_ADDRS_CONDITION;
	const char *list = json_str_or(json_object_get(json_condition(object, MODEL_POD_ADDRS_CONDITION), "message"), "");
	const char *comma = strchr(list, ',');
	_cleanup_free_ char *first = comma ? xstrndup(list, comma - list) : xstrdup(list);
	int r = 0;

	if (!json_condition_is_true(object, MODEL_POD_ADDRS_CONDITION))
		return 0;
	r = take_pod_addr(first, field, 0, ret, ret_error);
	return r < 0 || !comma ? r : take_pod_addr(comma + 1, field, 1, ret, ret_error);
}

static int decode_pod_addrs(const json_t *object, struct decoded_pod *ret, char **ret_error)
{
	const json_t *status = json_object_get(object, "status");
	const json_t *list = json_object_get(status, "podIPs"), *one = json_object_get(status, "podIP"), *item;
	size_t i;
	int r;

	if (list && !json_is_array(list) && !json_is_null(list))
		return decode_refuse(ret_error, "status.podIPs: expected a list");
	if (json_array_size(list) > POD_ADDRS_MAX)
		return decode_refuse(ret_error, "status.podIPs: more than one of a family");
	json_array_foreach(list, i, item) {
		r = take_pod_addr(json_str_at(item, "ip"), "podIPs", i, ret, ret_error);
		if (r < 0)
			return r;
	}
	if (json_array_size(list) > 0)
		return 0;
	if (json_is_string(one) && *json_string_value(one))
		return take_pod_addr(json_string_value(one), "podIPs", 0, ret, ret_error);
	return decode_told_addrs(object, ret, ret_error);
}

static int decode_phase(const char *name)
{
	static const char *const names[] = {"Pending", "Running", "Succeeded", "Failed", "Unknown"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(name, names[i]))
			return i;
	return -EINVAL;
}

int decode_pod(const json_t *object, struct decoded_pod *ret, char **ret_error)
{
	const json_t *spec = json_object_get(object, "spec"), *status = json_object_get(object, "status");
	int phase = decode_phase(json_str_or(json_object_get(status, "phase"), "Pending"));

	memset(ret, 0, sizeof(*ret));
	ret->node = json_str_or(json_object_get(spec, "nodeName"), "");
	ret->host_network = json_is_true(json_object_get(spec, "hostNetwork"));
	if (*ret->node && !name_is_dns_subdomain(ret->node))
		return decode_refuse(ret_error, "spec.nodeName: expected a node's name");
	if (phase < 0)
		return decode_refuse(ret_error, "status.phase: expected Pending, Running, Succeeded, Failed or Unknown");
	ret->phase = phase;
	if (decode_pod_ports(spec, ret, ret_error) < 0 || decode_host_ports(spec, ret, ret_error) < 0)
		return -EINVAL;
	return decode_pod_addrs(object, ret, ret_error);
}
