/* SPDX-License-Identifier: Apache-2.0 */
/* Which families a service has, and that its fields about them agree. ipFamilies and ipFamilyPolicy are filled in as
 * upstream: SingleStack of the first range unless the user says or implies more. An update to SingleStack gives up the
 * second family by itself, one to PreferDualStack or RequireDualStack wins it. */
#include "hub/kind_hooks.h"
#include "hub/service.h"

const char *family_name(bool v4)
{
	return v4 ? "IPv4" : "IPv6";
}

static bool range_is_v4(const struct hub *hub, size_t i)
{
	return addr_is_v4(&pool_prefix(hub->services.pools[i])->addr);
}

/* clusterIP and clusterIPs say the same; either may be given. An update that leaves them out keeps them; one that
 * changes only one of them means both. */
static void unify_ips(json_t *spec, const json_t *old, struct errors *e)
{
	json_t *ips = json_object_get(spec, "clusterIPs"), *was = json_at(old, "spec", "clusterIPs");
	const char *ip = json_str_or(json_object_get(spec, "clusterIP"), ""),
		   *first = json_string_value(json_array_get(was, 0));

	if (first && json_array_size(ips) == 0 && (!*ip || streq(ip, first))) {
		json_object_set_new(spec, "clusterIPs", json_deep_copy(was));
		json_object_set(spec, "clusterIP", json_array_get(was, 0));
		return;
	}
	if (*ip && (json_array_size(ips) == 0 || (first && json_equal(ips, was) && !streq(ip, first))))
		json_object_set_new(spec, "clusterIPs", json_pack("[s]", ip));
	else if (json_array_size(ips) > 0 && (!*ip || (first && streq(ip, first) && !json_equal(ips, was))))
		json_object_set(spec, "clusterIP", json_array_get(ips, 0));
	else if (*ip && !streq(ip, json_string_value(json_array_get(ips, 0))))
		err_invalid(e, PATH(PATH(NULL, "spec"), "clusterIPs"), ips, "first value must match `clusterIP`");
}

static void keep_field(json_t *spec, const json_t *old, const char *field)
{
	json_t *was = json_at(old, "spec", field);

	if (was && !json_object_get(spec, field))
		json_object_set_new(spec, field, json_deep_copy(was));
}

/* From two families to SingleStack: what the user left as it was loses its second item. */
static void trim(json_t *spec, const json_t *old)
{
	static const char *const fields[] = {"clusterIPs", "ipFamilies"};

	if (!streq(json_str_at(spec, "ipFamilyPolicy"), "SingleStack") ||
	    streq(json_str_at(old, "spec", "ipFamilyPolicy"), "SingleStack"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		json_t *list = json_object_get(spec, fields[i]), *was = json_at(old, "spec", fields[i]);

		if (json_array_size(list) > 1 && json_equal(list, was))
			json_object_set_new(spec, fields[i], json_pack("[O]", json_array_get(list, 0)));
	}
}

static bool lists_family(const json_t *families, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(families, i, v)
		if (streq(json_string_value(v), name))
			return true;
	return false;
}

/* The families that the given addresses have, in their order; then those of the ranges as far as the policy wants. */
static void default_families(struct hub *hub, json_t *spec, bool headless_free)
{
	json_t *families = json_object_get(spec, "ipFamilies"), *ips = json_object_get(spec, "clusterIPs"), *v;
	const char *policy = json_str_at(spec, "ipFamilyPolicy");
	size_t i, want;

	if (!families) {
		families = json_array();
		json_object_set_new(spec, "ipFamilies", families);
	}
	json_array_foreach(ips, i, v) {
		struct addr a;

		if (json_array_size(families) <= i && addr_parse(json_str_or(v, ""), &a) == 0)
			json_array_append_new(families, json_string(family_name(addr_is_v4(&a))));
	}
	if (!policy) {
		bool both = json_array_size(families) > 1 || (headless_free && json_array_size(families) == 0);

		policy = both ? "RequireDualStack" : "SingleStack";
		json_object_set_new(spec, "ipFamilyPolicy", json_string(policy));
	}
	want = streq(policy, "SingleStack")	   ? 1
	       : streq(policy, "RequireDualStack") ? 2
						   : MIN((size_t)2, hub->services.n);
	for (i = 0; i < hub->services.n && json_array_size(families) < want; i++)
		if (!lists_family(families, family_name(range_is_v4(hub, i))))
			json_array_append_new(families, json_string(family_name(range_is_v4(hub, i))));
}

static void validate_families(struct hub *hub, const json_t *spec, struct errors *e)
{
	const struct path *at = PATH(PATH(NULL, "spec"), "ipFamilies");
	const json_t *families = json_object_get(spec, "ipFamilies"), *v;
	const char *policy = json_str_or(json_object_get(spec, "ipFamilyPolicy"), "");
	size_t i;

	json_array_foreach(families, i, v) {
		bool known = streq(json_string_value(v), "IPv4") || streq(json_string_value(v), "IPv6");

		if (!known)
			err_unsupported(e, PATH_AT(at, i), json_str_or(v, ""), VALUES("IPv4", "IPv6"));
		else if (!ranges_find(&hub->services, streq(json_string_value(v), "IPv4")))
			err_invalid(e, PATH_AT(at, i), v, "not configured on this cluster");
	}
	if (json_array_size(families) > 2 ||
	    (json_array_size(families) == 2 && json_equal(json_array_get(families, 0), json_array_get(families, 1))))
		err_invalid(e, at, families, "may only hold up to 2 different families");
	if (streq(policy, "RequireDualStack") && hub->services.n < 2)
		err_invalid(e, PATH(PATH(NULL, "spec"), "ipFamilyPolicy"), json_object_get(spec, "ipFamilyPolicy"),
			    "this cluster is not configured for dual-stack services");
	if (streq(policy, "SingleStack") && json_array_size(families) > 1)
		err_invalid(e, PATH(PATH(NULL, "spec"), "ipFamilyPolicy"), json_object_get(spec, "ipFamilyPolicy"),
			    "must be 'RequireDualStack' or 'PreferDualStack' when multiple ip families are specified");
}

void service_settle_families(struct hub *hub, json_t *obj, const json_t *old, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec");
	bool selects = json_object_size(json_object_get(spec, "selector")) > 0;

	old = old && service_needs_cluster_ip(old) ? old : NULL;
	unify_ips(spec, old, e);
	if (old && !json_object_get(spec, "ipFamilies"))
		keep_field(spec, old, "ipFamilyPolicy");
	if (old && !streq(json_str_at(spec, "ipFamilyPolicy"), "SingleStack"))
		keep_field(spec, old, "ipFamilies");
	trim(spec, old);
	default_families(hub, spec, service_is_headless(obj) && !selects && hub->services.n > 1);
	validate_families(hub, spec, e);
}
