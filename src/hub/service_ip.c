/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster addresses of services: one of each of its families from the service ranges. What stored services hold, node
 * ports too, is claimed at start; a create claims or takes, a delete (or a change of type or family) gives back. */
#include "base/str.h"
#include "hub/kind_hooks.h"
#include "hub/service.h"
#include "hub/validate.h"

struct pool *ranges_find(const struct ranges *r, bool v4)
{
	for (size_t i = 0; i < r->n; i++)
		if (addr_is_v4(&pool_prefix(r->pools[i])->addr) == v4)
			return r->pools[i];
	return NULL;
}

typedef void ip_fn(struct hub *hub, const struct addr *a, void *ctx);

static void each_ip(struct hub *hub, const json_t *svc, ip_fn *fn, void *ctx)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(svc, "spec", "clusterIPs"), i, v) {
		struct addr a;

		if (addr_parse(json_str_or(v, ""), &a) == 0) /* not "None" */
			fn(hub, &a, ctx);
	}
}

static int claim_ip(struct hub *hub, const struct addr *a)
{
	struct pool *pool = ranges_find(&hub->services, addr_is_v4(a));
	struct prefix p = prefix_host(a);

	return pool ? pool_claim(pool, &p) : -ERANGE;
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

static void tell(struct hub *hub, const struct object *svc, const char *reason, const char *fmt, ...) _printf_(4, 5);
static void tell(struct hub *hub, const struct object *svc, const char *reason, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	emit_event(hub, svc, true, reason, text);
}

static void repair_ip(struct hub *hub, const struct addr *a, void *ctx)
{
	const struct object *svc = ctx;
	const char *family = family_name(addr_is_v4(a));
	char text[ADDR_TEXT_MAX];
	int r = claim_ip(hub, a);

	hub->services_collide |= r == -EEXIST;
	if (r == -EEXIST)
		tell(hub, svc, "ClusterIPAlreadyAllocated",
		     "Cluster IP [%s]: %s was assigned to multiple services; please recreate service", family,
		     addr_format(a, text));
	else if (r < 0)
		tell(hub, svc, "ClusterIPOutOfRange",
		     "Cluster IP [%s]: %s is not within any configured Service CIDR; please recreate service", family,
		     addr_format(a, text));
}

static void repair_port(struct hub *hub, unsigned protocol, uint16_t port, void *ctx)
{
	int r = node_ports_claim(&hub->node_ports, protocol, port);

	hub->services_collide |= r == -EEXIST;
	if (r == -EEXIST)
		tell(hub, ctx, "PortAlreadyAllocated",
		     "Port %u was assigned to multiple services; please recreate service", port);
	else if (r < 0)
		tell(hub, ctx, "PortOutOfRange", "Port %u is not within the port range %u-%u; please recreate service",
		     port, hub->node_ports.first, hub->node_ports.last);
}

/* The older of two holds it rightly: the younger one is told of. */
static int older_first(const void *a, const void *b)
{
	const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
	int c = strcmp(meta_str(x->json, "creationTimestamp"), meta_str(y->json, "creationTimestamp"));

	return c ? c : object_key_cmp(x->ns, x->name, y->ns, y->name);
}

void services_claim(struct hub *hub)
{
	struct object **all;
	size_t n;

	for (size_t i = 0; i < hub->services.n; i++)
		reserve_ends(hub->services.pools[i]);
	store_snapshot(hub->store, kind_of("Service"), store_rev(hub->store), &all, &n);
	qsort(all, n, sizeof(*all), older_first);
	for (size_t i = 0; i < n; i++) {
		each_ip(hub, all[i]->json, repair_ip, all[i]);
		service_each_port(hub, all[i]->json, repair_port, all[i]);
	}
	store_snapshot_free(all, n);
}

static void return_ip(struct hub *hub, const struct addr *a, void *ctx)
{
	struct pool *pool = ranges_find(&hub->services, addr_is_v4(a));
	struct prefix p = prefix_host(a);

	(void)ctx;
	if (pool)
		pool_return(pool, &p);
}

static void return_port(struct hub *hub, unsigned protocol, uint16_t port, void *ctx)
{
	(void)ctx;
	node_ports_return(&hub->node_ports, protocol, port);
}

/* One that is taken already is its own, or told of at start. */
static void hold_ip(struct hub *hub, const struct addr *a, void *ctx)
{
	(void)ctx;
	claim_ip(hub, a);
}

static void hold_port(struct hub *hub, unsigned protocol, uint16_t port, void *ctx)
{
	(void)ctx;
	node_ports_claim(&hub->node_ports, protocol, port);
}

static void hold(struct hub *hub, const json_t *svc)
{
	each_ip(hub, svc, hold_ip, NULL);
	service_each_port(hub, svc, hold_port, NULL);
}

/* What another service holds too, wrongly, stays taken. */
static void hold_others(struct hub *hub, const json_t *except)
{
	size_t n;
	struct object *const *all = store_all(hub->store, kind_of("Service"), &n);

	for (size_t i = 0; i < n; i++)
		if (!streq(meta_str(all[i]->json, "uid"), meta_str(except, "uid")))
			hold(hub, all[i]->json);
}

void service_release(struct hub *hub, const json_t *old, const json_t *now)
{
	each_ip(hub, old, return_ip, NULL);
	service_each_port(hub, old, return_port, NULL);
	if (now)
		hold(hub, now);
	if (hub->services_collide)
		hold_others(hub, old);
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

static void taken_add(struct taken *t, struct pool *pool, const struct prefix *p)
{
	assert(t->n_ips < FAMILIES_MAX);
	t->ips[t->n_ips].pool = pool;
	t->ips[t->n_ips++].p = *p;
}

static void taken_return(struct hub *hub, struct taken *t)
{
	for (size_t i = 0; i < t->n_ips; i++)
		pool_return(t->ips[i].pool, &t->ips[i].p);
	for (size_t i = 0; i < t->n_ports; i++)
		node_ports_return(&hub->node_ports, t->ports[i].protocol, t->ports[i].port);
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
		err_invalid(e, at, v, "failed to allocate IP %s: provided IP is already allocated",
			    json_string_value(v));
}

static void take_free(struct hub *hub, json_t *ips, const char *family, struct taken *taken, struct errors *e)
{
	struct pool *pool = ranges_find(&hub->services, streq(family, "IPv4"));
	char text[ADDR_TEXT_MAX];
	struct prefix p;

	if (!pool)
		return; /* refused with the families */
	if (pool_take(pool, &p) < 0) {
		err_invalid(e, PATH(PATH(NULL, "spec"), "clusterIPs"), ips,
			    "failed to allocate a service IP: range is full");
		return;
	}
	taken_add(taken, pool, &p);
	json_array_append_new(ips, json_string(addr_format(&p.addr, text)));
}

static void take_ips(struct hub *hub, json_t *obj, const json_t *old, struct taken *taken, struct errors *e)
{
	json_t *spec = json_object_get(obj, "spec"), *families = json_object_get(spec, "ipFamilies"), *family;
	json_t *ips = json_object_get(spec, "clusterIPs");
	size_t i;

	if (!ips) {
		ips = json_array();
		json_object_set_new(spec, "clusterIPs", ips);
	}
	json_array_foreach(families, i, family) {
		const char *name = json_str_or(family, "");

		if (i < json_array_size(ips))
			claim_given(hub, json_array_get(ips, i), name, old, taken,
				    PATH_AT(PATH(PATH(NULL, "spec"), "clusterIPs"), i), e);
		else
			take_free(hub, ips, name, taken, e);
	}
	if (json_array_size(ips) > 0)
		json_object_set(spec, "clusterIP", json_array_get(ips, 0));
}

void service_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e)
{
	struct taken taken = {0};

	if (service_needs_cluster_ip(obj))
		service_settle_families(hub, obj, old, e);
	if (old)
		service_validate_update(obj, old, e);
	if (!errors_any(e) && service_needs_cluster_ip(obj) && !service_is_headless(obj))
		take_ips(hub, obj, old, &taken, e);
	if (!errors_any(e))
		service_take_ports(hub, obj, old, &taken, e);
	if (errors_any(e) || dry_run)
		taken_return(hub, &taken);
	free(taken.ports);
}
