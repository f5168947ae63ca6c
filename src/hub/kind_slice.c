/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"
#include "net/addr.h"

enum { ENDPOINTS_MAX = 1000, PORTS_MAX = 20000, ADDRESSES_MAX = 100, SHOWN_MAX = 3 };

void endpointslice_defaults(json_t *obj, const json_t *old)
{
	json_t *p;
	size_t i;

	(void)old;
	json_array_foreach(json_object_get(obj, "ports"), i, p) {
		default_str(p, "protocol", "TCP");
		if (!json_object_get(p, "name"))
			json_object_set_new(p, "name", json_string(""));
	}
}

static void validate_address(const json_t *v, const char *type, const struct path *at, struct errors *e)
{
	struct addr a;

	if (streq(type, "FQDN")) {
		validate_subdomain(v, at, e);
	} else if (addr_parse(json_str_or(v, ""), &a) < 0 || addr_is_v4(&a) != streq(type, "IPv4")) {
		err_invalid(e, at, v, "must be a valid %s address", type);
	} else if (endpoint_address_fault(&a)) {
		err_invalid(e, at, v, "%s", endpoint_address_fault(&a));
	}
}

static void validate_endpoint(const json_t *ep, const char *type, const struct path *at, struct errors *e)
{
	const json_t *addresses = json_object_get(ep, "addresses"), *v;
	size_t i;

	if (json_array_size(addresses) > ADDRESSES_MAX)
		err_too_long(e, PATH(at, "addresses"), ADDRESSES_MAX);
	json_array_foreach(addresses, i, v)
		validate_address(v, type, PATH_AT(PATH(at, "addresses"), i), e);
	validate_subdomain(json_object_get(ep, "nodeName"), PATH(at, "nodeName"), e);
	validate_label(json_object_get(ep, "hostname"), PATH(at, "hostname"), e);
}

void endpointslice_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const char *type = json_str_or(json_object_get(obj, "addressType"), "");
	const json_t *endpoints = json_object_get(obj, "endpoints"), *ports = json_object_get(obj, "ports");
	_cleanup_json_ json_t *names = json_object();
	json_t *v;
	size_t i;

	if (json_array_size(endpoints) > ENDPOINTS_MAX)
		err_invalid(e, PATH(NULL, "endpoints"), NULL, "must have at most %d items", ENDPOINTS_MAX);
	if (json_array_size(ports) > PORTS_MAX)
		err_invalid(e, PATH(NULL, "ports"), NULL, "must have at most %d items", PORTS_MAX);
	json_array_foreach(endpoints, i, v)
		validate_endpoint(v, type, PATH_AT(PATH(NULL, "endpoints"), i), e);
	json_array_foreach(ports, i, v) {
		const json_t *name = json_object_get(v, "name");
		const struct path *at = PATH(PATH_AT(PATH(NULL, "ports"), i), "name");

		if (json_string_length(name))
			validate_label(name, at, e);
		validate_qualified_name(json_object_get(v, "appProtocol"), PATH(PATH_AT(PATH(NULL, "ports"), i), "appProtocol"), e);
		if (json_object_get(names, json_str_or(name, "")))
			err_duplicate(e, at, name);
		json_object_set_new(names, json_str_or(name, ""), json_true());
	}
	if (old)
		validate_immutable(json_object_get(obj, "addressType"), json_object_get(old, "addressType"),
				   PATH(NULL, "addressType"), e);
}

static void cell_ports(const json_t *obj, struct buf *out)
{
	const json_t *ports = json_object_get(obj, "ports"), *p;
	size_t i;

	if (json_array_size(ports) == 0)
		buf_adds(out, "<unset>");
	json_array_foreach(ports, i, p) {
		if (i == SHOWN_MAX) {
			buf_addf(out, " + %zu more...", json_array_size(ports) - i);
			break;
		}
		buf_adds(out, i ? "," : "");
		if (json_object_get(p, "port"))
			buf_addf(out, "%lld", (long long)json_integer_value(json_object_get(p, "port")));
		else
			buf_adds(out, json_str_or(json_object_get(p, "name"), "*"));
	}
}

static void cell_endpoints(const json_t *obj, struct buf *out)
{
	size_t shown = 0, total = 0, i, j;
	json_t *ep, *a;

	json_array_foreach(json_object_get(obj, "endpoints"), i, ep)
		json_array_foreach(json_object_get(ep, "addresses"), j, a) {
			if (total++ < SHOWN_MAX)
				buf_addf(out, "%s%s", shown++ ? "," : "", json_str_or(a, ""));
		}
	if (total == 0)
		buf_adds(out, "<unset>");
	if (total > SHOWN_MAX)
		buf_addf(out, " + %zu more...", total - SHOWN_MAX);
}

const struct column endpointslice_columns[] = {
	COLUMN_NAME,
	{ "AddressType", "string", 0, "addressType", .doc = "Family of the addresses." },
	{ "Ports", "string", 0, .cell = cell_ports, .doc = "The endpoints' ports." },
	{ "Endpoints", "string", 0, .cell = cell_endpoints, .doc = "The first addresses." },
	COLUMN_AGE,
	{ 0 },
};
