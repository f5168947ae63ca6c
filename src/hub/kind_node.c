/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"
#include "net/addr.h"

void node_defaults(json_t *obj, const json_t *old)
{
	json_t *spec = default_object(obj, "spec"), *cidrs = json_object_get(spec, "podCIDRs");
	const char *cidr = json_str_at(spec, "podCIDR");

	(void)old;
	default_object(obj, "status");
	/* One of the two forms implies the other. */
	if (cidr && *cidr && json_array_size(cidrs) == 0)
		json_object_set_new(spec, "podCIDRs", json_pack("[s]", cidr));
	else if ((!cidr || !*cidr) && json_array_size(cidrs) > 0)
		json_object_set(spec, "podCIDR", json_array_get(cidrs, 0));
}

static void validate_cidrs(const json_t *spec, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), "podCIDRs");
	const json_t *cidrs = json_object_get(spec, "podCIDRs"), *v;
	int families[2] = { 0 };
	struct addr host;
	struct prefix p;
	size_t i;

	json_array_foreach(cidrs, i, v) {
		validate_cidr(v, PATH_AT(at, i), e);
		if (prefix_parse(json_str_or(v, ""), &p, &host) < 0)
			continue;
		families[addr_is_v4(&p.addr)]++;
		if (!addr_eq(&host, &p.addr)) /* agents refuse a node whose range they could read in two ways */
			err_invalid(e, PATH_AT(at, i), v, "must not have bits set beyond its prefix");
	}
	if (families[0] > 1 || families[1] > 1 || json_array_size(cidrs) > 2)
		err_invalid(e, at, cidrs, "may specify no more than one CIDR for each IP family");
	if (cidrs && !streq(json_str_at(spec, "podCIDR"), json_string_value(json_array_get(cidrs, 0))))
		err_invalid(e, PATH_AT(at, 0), json_array_get(cidrs, 0), "must match `podCIDR`");
}

static void validate_addresses(const json_t *status, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "status"), "addresses");
	json_t *a;
	size_t i;

	json_array_foreach(json_object_get(status, "addresses"), i, a)
		if (str_has_suffix(json_str_or(json_object_get(a, "type"), ""), "IP"))
			validate_ip(json_object_get(a, "address"), PATH(PATH_AT(at, i), "address"), e);
}

void node_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *spec = json_object_get(obj, "spec"), *was = json_at(old, "spec", "podCIDRs");

	validate_cidrs(spec, e);
	validate_addresses(json_object_get(obj, "status"), e);
	if (json_array_size(was) > 0 && !json_equal(json_object_get(spec, "podCIDRs"), was))
		err_forbidden(e, PATH(PATH(NULL, "spec"), "podCIDRs"),
			      "node updates may not change podCIDR except from \"\" to valid");
}

static void cell_status(const json_t *obj, struct buf *out)
{
	const char *ready = json_str_at(json_condition(obj, "Ready"), "status");

	buf_adds(out, streq(ready, "True") ? "Ready" : ready && !streq(ready, "Unknown") ? "NotReady" : ready ? "NotReady" : "Unknown");
	if (json_is_true(json_at(obj, "spec", "unschedulable")))
		buf_adds(out, ",SchedulingDisabled");
}

static void cell_roles(const json_t *obj, struct buf *out)
{
	static const char prefix[] = "node-role.kubernetes.io/";
	size_t before = out->len;
	const char *key;
	json_t *v;

	json_object_foreach(json_at(obj, "metadata", "labels"), key, v)
		if (str_has_prefix(key, prefix) && key[sizeof(prefix) - 1])
			buf_addf(out, "%s%s", out->len > before ? "," : "", key + sizeof(prefix) - 1);
	if (out->len == before)
		buf_adds(out, "<none>");
}

static void cell_address(const json_t *obj, const char *type, struct buf *out)
{
	json_t *a;
	size_t i;

	json_array_foreach(json_at(obj, "status", "addresses"), i, a)
		if (streq(json_str_at(a, "type"), type)) {
			buf_adds(out, json_str_or(json_object_get(a, "address"), "<none>"));
			return;
		}
	buf_adds(out, "<none>");
}

static void cell_internal_ip(const json_t *obj, struct buf *out)
{
	cell_address(obj, "InternalIP", out);
}

static void cell_external_ip(const json_t *obj, struct buf *out)
{
	cell_address(obj, "ExternalIP", out);
}

const struct column node_columns[] = {
	COLUMN_NAME,
	{ "Status", "string", 0, .cell = cell_status, .doc = "Ready or not." },
	{ "Roles", "string", 0, .cell = cell_roles, .doc = "Roles, from its labels." },
	COLUMN_AGE,
	{ "Version", "string", 0, "status.nodeInfo.kubeletVersion", .doc = "Version of the kubelet." },
	{ "Internal-IP", "string", 1, .cell = cell_internal_ip, .doc = "Address within the cluster." },
	{ "External-IP", "string", 1, .cell = cell_external_ip, .doc = "Address from outside." },
	{ "OS-Image", "string", 1, "status.nodeInfo.osImage", .doc = "Distribution." },
	{ "Kernel-Version", "string", 1, "status.nodeInfo.kernelVersion", .doc = "Kernel release." },
	{ "Container-Runtime", "string", 1, "status.nodeInfo.containerRuntimeVersion", .doc = "Runtime and version." },
	{ 0 },
};
