/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/address_objects.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/admit.h"
#include "hub/service.h"

static const char default_range[] = "kubernetes"; /* its name, as upstream has it */

static void put(struct hub *hub, const struct kind *k, const struct object *old, json_t *j)
{
	json_t *no = admit_own(hub, k, old, j, NULL);

	if (no)
		log_warn("cannot write what services hold", L_STR("resource", k->resource), L_STR("why", json_str_at(no, "message")));
	json_decref(no);
}

static void drop(struct hub *hub, const struct kind *k, const char *name)
{
	if (store_delete(hub->store, k, "", name, NULL) == -EIO)
		log_warn("cannot delete what services held", L_STR("resource", k->resource), L_STR("name", name));
}

static void ensure_service_cidr(struct hub *hub)
{
	const struct kind *k = kind_of("ServiceCIDR");
	const struct object *old = store_get(hub->store, k, "", default_range);
	json_t *cidrs = json_array();
	char text[PREFIX_TEXT_MAX], now[TIME_TEXT_MAX];

	for (size_t i = 0; i < hub->services.n; i++)
		json_array_append_new(cidrs, json_string(prefix_format(pool_prefix(hub->services.pools[i]), text)));
	if (old && json_equal(json_at(old->json, "spec", "cidrs"), cidrs)) {
		json_decref(cidrs);
		return;
	}
	put(hub, k, old, json_pack("{s{ss} s{so} s{s[{ss ss ss ss ss}]}}", "metadata", "name", default_range, "spec", "cidrs", cidrs,
				   "status", "conditions", "type", "Ready", "status", "True", "reason", "Configured", "message",
				   "Cluster addresses are taken from these ranges", "lastTransitionTime", time_now(now)));
}

/* The names of the IPAddresses of a service, which may write its addresses in another way. @return: NULL for "None" */
static const char *name_of(const json_t *ip, char text[static ADDR_TEXT_MAX])
{
	struct addr a;

	return addr_parse(json_str_or(ip, ""), &a) == 0 ? addr_format(&a, text) : NULL;
}

static const json_t *addresses_of(const json_t *svc)
{
	return json_at(svc, "spec", "clusterIPs");
}

static bool holds(const json_t *svc, const char *name)
{
	char text[ADDR_TEXT_MAX];
	json_t *v;
	size_t i;

	json_array_foreach(addresses_of(svc), i, v)
		if (streq(name_of(v, text), name))
			return true;
	return false;
}

/* The stored service that an IPAddress stands for, if that still holds the address. */
static const struct object *parent_of(struct hub *hub, const struct object *ip)
{
	const json_t *p = json_at(ip->json, "spec", "parentRef");
	const struct object *svc = store_get(hub->store, kind_of("Service"), json_str_or(json_object_get(p, "namespace"), ""),
					     json_str_or(json_object_get(p, "name"), ""));

	return svc && holds(svc->json, ip->name) ? svc : NULL;
}

static void ensure_address(struct hub *hub, const struct object *svc, const char *name)
{
	const struct kind *k = kind_of("IPAddress");
	const struct object *old = store_get(hub->store, k, "", name);
	struct addr a;

	if (old && parent_of(hub, old))
		return; /* its own; or another's that has it as well, told of at start: services_claim() */
	if (old)
		drop(hub, k, name);
	addr_parse(name, &a);
	put(hub, k, NULL,
	    json_pack("{s{ss s{ss ss}} s{s{ss ss ss}}}", "metadata", "name", name, "labels", "ipaddress.kubernetes.io/ip-family",
		      family_name(addr_is_v4(&a)), "ipaddress.kubernetes.io/managed-by", "weft-hub", "spec", "parentRef", "resource",
		      "services", "namespace", svc->ns, "name", svc->name));
}

static void drop_address(struct hub *hub, const struct object *svc, const char *name)
{
	const struct kind *k = kind_of("IPAddress");
	const struct object *ip = store_get(hub->store, k, "", name);

	(void)svc;
	if (ip && !parent_of(hub, ip))
		drop(hub, k, name);
}

static void each_address(struct hub *hub, const struct object *svc, void (*fn)(struct hub *, const struct object *, const char *))
{
	char text[ADDR_TEXT_MAX];
	json_t *v;
	size_t i;

	json_array_foreach(addresses_of(svc->json), i, v)
		if (name_of(v, text))
			fn(hub, svc, text);
}

static void ensure_all(struct hub *hub)
{
	struct object **all;
	size_t n;

	store_snapshot(hub->store, kind_of("Service"), store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		each_address(hub, all[i], ensure_address);
	store_snapshot_free(all, n);
}

static void drop_orphans(struct hub *hub)
{
	struct object **all;
	size_t n;

	store_snapshot(hub->store, kind_of("IPAddress"), store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		if (!parent_of(hub, all[i]))
			drop(hub, all[i]->kind, all[i]->name);
	store_snapshot_free(all, n);
}

static void on_change(void *ctx, const struct change *c)
{
	struct hub *hub = ctx;

	if (!streq(c->obj->kind->kind, "Service"))
		return;
	if (c->prev && (c->type == CHANGE_DELETED || !json_equal(addresses_of(c->prev->json), addresses_of(c->obj->json))))
		each_address(hub, c->prev, drop_address);
	if (c->type != CHANGE_DELETED)
		each_address(hub, c->obj, ensure_address);
	else if (hub->services_collide)
		ensure_all(hub); /* another may have held it as well */
}

void address_objects_start(struct hub *hub)
{
	ensure_service_cidr(hub);
	drop_orphans(hub);
	ensure_all(hub);
	store_listen(hub->store, on_change, hub);
}
