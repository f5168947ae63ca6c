/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster addresses of services: which families, and one address of each from the service ranges.
 * ipFamilies and ipFamilyPolicy are filled in as upstream: SingleStack of the first range unless the user says or
 * implies more. The addresses that stored services hold are claimed at start; a create claims or takes, a delete (or a
 * change of type or family) gives back. */
#include "hub/hub.h"
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"

struct pool *ranges_find(const struct ranges *r, bool v4)
{
	for (size_t i = 0; i < r->n; i++)
		if (addr_is_v4(&pool_prefix(r->pools[i])->addr) == v4)
			return r->pools[i];
	return NULL;
}

static bool has_cluster_ip(const json_t *svc)
{
	return !streq(json_str_at(svc, "spec", "type"), "ExternalName") && !streq(json_str_at(svc, "spec", "clusterIP"), "None");
}

static void each_ip(struct hub *hub, const json_t *svc, void (*fn)(struct pool *, const struct prefix *))
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "clusterIPs"), i, v) {
		struct addr a;
		struct prefix p;
		struct pool *pool;

		if (addr_parse(json_str_or(v, ""), &a) < 0)
			continue; /* "None" */
		p = prefix_host(&a);
		pool = ranges_find(&hub->services, addr_is_v4(&a));
		if (pool)
			fn(pool, &p);
	}
}

static void claim(struct pool *pool, const struct prefix *p)
{
	pool_claim(pool, p);
}

/* The network address, and in IPv4 the broadcast address, are nobody's. */
static void reserve_ends(struct pool *pool)
{
	const struct prefix *range = pool_prefix(pool);
	struct prefix p = prefix_host(&range->addr);

	pool_claim(pool, &p);
	if (addr_is_v4(&range->addr) && range->len < 127) {
		struct addr last = addr_add(&range->addr, (uint32_t)((1ull << (128 - range->len)) - 1));

		p = prefix_host(&last);
		pool_claim(pool, &p);
	}
}

void services_claim(struct hub *hub)
{
	const struct kind *k = kind_of("Service");
	struct object *const *all;
	size_t n;

	for (size_t i = 0; i < hub->services.n; i++)
		reserve_ends(hub->services.pools[i]);
	all = store_all(hub->store, k, &n);
	for (size_t i = 0; i < n; i++)
		each_ip(hub, all[i]->json, claim);
}

void service_release(struct hub *hub, const json_t *old, const json_t *now)
{
	each_ip(hub, old, pool_return);
	if (now)
		each_ip(hub, now, claim);
}

static const char *family_name(bool v4)
{
	return v4 ? "IPv4" : "IPv6";
}

static bool range_is_v4(const struct hub *hub, size_t i)
{
	return addr_is_v4(&pool_prefix(hub->services.pools[i])->addr);
}

/* clusterIP and clusterIPs say the same; either may be given. */
static void unify_ips(json_t *spec, const json_t *old, struct errors *e)
{
	json_t *ips = json_object_get(spec, "clusterIPs"), *was = json_at(old, "spec", "clusterIPs");
	const char *ip = json_str_or(json_object_get(spec, "clusterIP"), "");

	/* An update that leaves them out keeps them (as does one that names only the first). */
	if (old && json_array_size(was) > 0 && json_array_size(ips) == 0 &&
	    (!*ip || streq(ip, json_string_value(json_array_get(was, 0))))) {
		json_object_set_new(spec, "clusterIPs", json_deep_copy(was));
		json_object_set(spec, "clusterIP", json_array_get(was, 0));
		return;
	}
	if (*ip && json_array_size(ips) == 0) {
		json_object_set_new(spec, "clusterIPs", json_pack("[s]", ip));
	} else if (!*ip && json_array_size(ips) > 0) {
		json_object_set(spec, "clusterIP", json_array_get(ips, 0));
	} else if (*ip && !streq(ip, json_string_value(json_array_get(ips, 0)))) {
		err_invalid(e, PATH(PATH(NULL, "spec"), "clusterIPs"), ips, "first value must match `clusterIP`");
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
	want = streq(policy, "SingleStack") ? 1 : streq(policy, "RequireDualStack") ? 2 : MIN((size_t)2, hub->services.n);
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

static bool held_by(const json_t *old, const char *ip)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(old, "spec", "clusterIPs"), i, v)
		if (streq(json_string_value(v), ip))
			return true;
	return false;
}

/* What one allocation has taken from the pools so far: given back when the object is refused after all. */
struct taken {
	struct {
		struct pool *pool;
		struct prefix p;
	} list[FAMILIES_MAX];
	size_t n;
};

static void taken_add(struct taken *t, struct pool *pool, const struct prefix *p)
{
	assert(t->n < FAMILIES_MAX);
	t->list[t->n].pool = pool;
	t->list[t->n++].p = *p;
}

static void taken_return(struct taken *t)
{
	for (; t->n > 0; t->n--)
		pool_return(t->list[t->n - 1].pool, &t->list[t->n - 1].p);
}

/* An address that the user asked for. */
static void claim_given(struct hub *hub, const json_t *v, const char *family, const json_t *old, struct taken *taken,
			const struct path *at, struct errors *e)
{
	struct addr a;
	struct prefix p;
	struct pool *pool;
	int r;

	if (addr_parse(json_str_or(v, ""), &a) < 0) {
		err_invalid(e, at, v, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
		return;
	}
	if (held_by(old, json_string_value(v)))
		return;
	if (!streq(family, family_name(addr_is_v4(&a)))) {
		err_invalid(e, at, v, "expected an %s value as indicated by `ipFamilies`", family);
		return;
	}
	p = prefix_host(&a);
	pool = ranges_find(&hub->services, addr_is_v4(&a));
	r = pool ? pool_claim(pool, &p) : -ERANGE;
	if (r == 0)
		taken_add(taken, pool, &p);
	else if (r == -ERANGE)
		err_invalid(e, at, v, "failed to allocate IP %s: the provided IP is not in the valid range",
			    json_string_value(v));
	else
		err_invalid(e, at, v, "failed to allocate IP %s: provided IP is already allocated", json_string_value(v));
}

static void take_free(struct hub *hub, json_t *ips, const char *family, struct taken *taken, struct errors *e)
{
	struct pool *pool = ranges_find(&hub->services, streq(family, "IPv4"));
	char text[ADDR_TEXT_MAX];
	struct prefix p;

	if (!pool)
		return; /* refused with the families */
	if (pool_take(pool, &p) < 0) {
		err_invalid(e, PATH(PATH(NULL, "spec"), "clusterIPs"), ips, "failed to allocate a service IP: range is full");
		return;
	}
	taken_add(taken, pool, &p);
	json_array_append_new(ips, json_string(addr_format(&p.addr, text)));
}

static bool first_ip_changed(const json_t *spec, const json_t *old)
{
	const json_t *was = json_array_get(json_at(old, "spec", "clusterIPs"), 0);

	return was && !json_equal(json_array_get(json_object_get(spec, "clusterIPs"), 0), was);
}

static void allocate_ips(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec"), *families = json_object_get(spec, "ipFamilies"), *family;
	json_t *ips = json_object_get(spec, "clusterIPs");
	struct taken taken = { 0 };
	size_t i;

	if (!ips) {
		ips = json_array();
		json_object_set_new(spec, "clusterIPs", ips);
	}
	while (json_array_size(ips) > json_array_size(families)) /* back to one family */
		json_array_remove(ips, json_array_size(ips) - 1);
	json_array_foreach(families, i, family) {
		const char *name = json_str_or(family, "");

		if (i < json_array_size(ips))
			claim_given(hub, json_array_get(ips, i), name, old, &taken,
				    PATH_AT(PATH(PATH(NULL, "spec"), "clusterIPs"), i), e);
		else
			take_free(hub, ips, name, &taken, e);
	}
	if (json_array_size(ips) > 0)
		json_object_set(spec, "clusterIP", json_array_get(ips, 0));
	if (errors_any(e) || dry_run)
		taken_return(&taken);
}

void service_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec");
	bool headless;

	if (streq(json_str_at(spec, "type"), "ExternalName")) {
		static const char *const gone[] = { "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy",
						    "internalTrafficPolicy" };

		for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
			json_object_del(spec, gone[i]);
		return;
	}
	unify_ips(spec, old && has_cluster_ip(old) ? old : NULL, e);
	headless = streq(json_str_at(spec, "clusterIP"), "None");
	default_families(hub, spec, headless && json_object_size(json_object_get(spec, "selector")) == 0 && hub->services.n > 1);
	validate_families(hub, spec, e);
	if (old && streq(json_str_at(old, "spec", "type"), "ExternalName") == false && first_ip_changed(spec, old))
		err_invalid(e, PATH_AT(PATH(PATH(NULL, "spec"), "clusterIPs"), 0),
			    json_array_get(json_object_get(spec, "clusterIPs"), 0), "may not change once set");
	if (!headless && !errors_any(e))
		allocate_ips(hub, obj, old, dry_run, e);
}
