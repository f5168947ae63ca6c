/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/lb_plan.h"
#include "base/str.h"
#include "hub/lb_pools.h"
#include "hub/service.h"

enum { V4, V6, FAMILIES };

/* One Service of type LoadBalancer on its way through the plan. */
struct claimant {
	const json_t *svc, *condition; /* the latter: ours, or NULL */
	bool served;		       /* a pool is there for it */
	struct addr ask[FAMILIES], have[FAMILIES];
	bool wants[FAMILIES], asks[FAMILIES], has[FAMILIES];
	const char *reason; /* of the first thing that went wrong, or NULL */
	char *message;
};

static const char *const family_names[FAMILIES] = { "IPv4", "IPv6" };

static int family_of(const struct addr *a)
{
	return addr_is_v4(a) ? V4 : V6;
}

static const char *meta(const json_t *obj, const char *field)
{
	return json_str_or(json_at(obj, "metadata", field), "");
}

static void fail(struct claimant *c, const char *reason, char *message)
{
	if (c->reason) {
		free(message);
		return;
	}
	c->reason = reason;
	c->message = message;
}

/* ---- what it wants ---- */

static void ask_for(struct claimant *c, const char *text)
{
	struct addr a;
	int f;

	if (addr_parse(text, &a) < 0) {
		fail(c, "InvalidRequest", xasprintf("%.60s is no IP address", text));
		return;
	}
	f = family_of(&a);
	if (c->asks[f])
		fail(c, "InvalidRequest", xasprintf("more than one %s address is asked for", family_names[f]));
	else if (!c->wants[f])
		fail(c, "InvalidRequest", xasprintf("%.60s: the Service has no %s", text, family_names[f]));
	c->ask[f] = a;
	c->asks[f] = true;
}

static void read_request(struct claimant *c)
{
	const char *list = json_str_at(c->svc, "metadata", "annotations", LB_ANNOTATION_IPS);
	const char *single = json_str_or(json_at(c->svc, "spec", "loadBalancerIP"), "");
	_cleanup_free_ char *copy = xstrdup(list ? list : single);

	for (char *rest = copy, *item; (item = strtok_r(rest, ", ", &rest));)
		ask_for(c, item);
}

static bool class_has_pool(const struct lb_pools *p, const json_t *svc)
{
	for (size_t i = 0; i < p->n; i++)
		if (streq(json_str_or(json_at(p->pools[i].json, "spec", "loadBalancerClass"), ""),
			  json_str_or(json_at(svc, "spec", "loadBalancerClass"), "")))
			return true;
	return false;
}

/* As LB_REASON_NO_POOL, of one of its families only. */
#define REASON_NO_POOL_OF_FAMILY "NoPoolOfFamily"

static bool was_given_to(const struct claimant *c)
{
	return c->condition && !streq(json_str_at(c->condition, "reason"), LB_REASON_NO_POOL);
}

/* Return: is it ours to give to? */
static bool claimant_init(struct claimant *c, const struct lb_pools *p, const json_t *svc)
{
	json_t *v;
	size_t i;

	*c = (struct claimant){ .svc = svc, .condition = json_condition(svc, LB_CONDITION) };
	for (i = 0; i < p->n && !c->served; i++)
		c->served = lb_pool_serves(p, &p->pools[i], svc);
	if (!c->served && !was_given_to(c) &&
	    (json_array_size(json_at(svc, "status", "loadBalancer", "ingress")) > 0 || !class_has_pool(p, svc)))
		return false;
	json_array_foreach(json_at(svc, "spec", "ipFamilies"), i, v)
		for (int f = V4; f < FAMILIES; f++)
			c->wants[f] |= streq(json_str_or(v, ""), family_names[f]);
	if (c->served) /* else that is all there is to say: LB_REASON_NO_POOL */
		read_request(c);
	return true;
}

/* ---- what it keeps, what it gets ---- */

static void each_ingress(const json_t *svc, void (*fn)(struct lb_pools *, struct claimant *, const struct addr *), struct lb_pools *p,
			 struct claimant *c)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_at(svc, "status", "loadBalancer", "ingress"), i, v) {
		struct addr a;

		if (addr_parse(json_str_or(json_object_get(v, "ip"), ""), &a) == 0)
			fn(p, c, &a);
	}
}

static void keep(struct lb_pools *p, struct claimant *c, const struct addr *a)
{
	struct lb_pool *pool = lb_pools_find(p, c->svc, a);
	int f = family_of(a);

	if (!pool || !c->wants[f] || c->has[f] || lb_pools_use(p, a) || (c->asks[f] && !addr_eq(&c->ask[f], a)))
		return;
	lb_pools_take(p, pool, a, c->svc);
	c->have[f] = *a;
	c->has[f] = true;
}

/* Held by somebody whom no pool of ours serves. */
static void occupy(struct lb_pools *p, struct claimant *foreign, const struct addr *a)
{
	lb_pools_take(p, NULL, a, foreign->svc);
}

/* Who serves nothing has no claim. */
static void claim_external(struct lb_pools *p, const json_t *svc)
{
	json_t *v;
	size_t i;

	if (service_is_headless(svc) || !service_needs_cluster_ip(svc))
		return;
	json_array_foreach(json_at(svc, "spec", "externalIPs"), i, v) {
		struct addr a;

		if (addr_parse(json_str_or(v, ""), &a) == 0)
			lb_pools_claim(p, &a, svc);
	}
}

static char *text_used(const struct lb_use *u, const char *ip)
{
	if (u->is_node)
		return xasprintf("%s is an address of node %s", ip, meta(u->by, "name"));
	if (u->is_api)
		return xasprintf("%s is an address of the API server", ip);
	return xasprintf("%s is used by Service %s/%s", ip, meta(u->by, "namespace"), meta(u->by, "name"));
}

static void give_asked(struct lb_pools *p, struct claimant *c, int f)
{
	struct lb_pool *pool = lb_pools_find(p, c->svc, &c->ask[f]);
	const struct lb_use *u = lb_pools_use(p, &c->ask[f]);
	char ip[ADDR_TEXT_MAX];

	addr_format(&c->ask[f], ip);
	if (!pool) {
		fail(c, "AddressNotInPool", xasprintf("%s is in no LoadBalancerPool for this Service", ip));
	} else if (u && u->by != c->svc) {
		fail(c, u->is_node ? "AddressOfNode" : u->is_api ? "AddressOfAPIServer" : "AddressInUse", text_used(u, ip));
	} else {
		lb_pools_take(p, pool, &c->ask[f], c->svc);
		c->have[f] = c->ask[f];
		c->has[f] = true;
	}
}

typedef int take_fn(struct lb_pools *p, struct lb_pool *pool, bool v4, const json_t *by, struct addr *ret);

/* Return: is there a pool with addresses of the family? */
static bool give_from_pools(struct lb_pools *p, struct claimant *c, int f, take_fn *take)
{
	bool named = json_str_at(c->svc, "metadata", "annotations", LB_ANNOTATION_POOL), any = false;

	for (size_t i = 0; i < p->n && !c->has[f]; i++) {
		struct lb_pool *pool = &p->pools[i];
		int r;

		if ((!named && json_is_false(json_at(pool->json, "spec", "autoAssign"))) || !lb_pool_serves(p, pool, c->svc))
			continue;
		r = take(p, pool, f == V4, c->svc, &c->have[f]);
		c->has[f] = r == 0;
		any |= r != -ENOENT;
	}
	return any;
}

static void give_any(struct lb_pools *p, struct claimant *c, int f)
{
	bool any = give_from_pools(p, c, f, lb_pool_take_free);

	if (any && !c->has[f])
		give_from_pools(p, c, f, lb_pool_take_claimed);
	if (c->has[f])
		return;
	if (any)
		fail(c, "Exhausted", xasprintf("no %s address is left in the LoadBalancerPools for this Service", family_names[f]));
	else
		fail(c, LB_REASON_NO_POOL, xasprintf("no LoadBalancerPool with %s addresses is there for this Service", family_names[f]));
}

/* PreferDualStack takes what there is. */
static bool is_content(const struct claimant *c)
{
	const char *policy = json_str_or(json_at(c->svc, "spec", "ipFamilyPolicy"), "");

	return streq(policy, "PreferDualStack") && (c->has[V4] || c->has[V6]) && streq(c->reason, LB_REASON_NO_POOL);
}

static void give(struct lb_pools *p, struct claimant *c)
{
	for (int f = V4; f < FAMILIES; f++) {
		if (!c->wants[f] || c->has[f])
			continue;
		if (c->asks[f])
			give_asked(p, c, f);
		else
			give_any(p, c, f);
	}
	if (c->reason && is_content(c)) {
		free(c->message);
		c->message = NULL;
		c->reason = NULL;
	}
	if (streq(c->reason, LB_REASON_NO_POOL) && (c->has[V4] || c->has[V6]))
		c->reason = REASON_NO_POOL_OF_FAMILY;
}

/* ---- what is written ---- */

static json_t *condition_new(const char *type, bool ok, const char *reason, const char *message, const json_t *old, const char *now)
{
	const char *status = ok ? "True" : "False";
	const char *since = streq(json_str_or(json_object_get(old, "status"), ""), status) ? json_str_at(old, "lastTransitionTime") : NULL;

	return json_pack("{ss ss ss ss ss}", "type", type, "status", status, "reason", reason, "message", message,
			 "lastTransitionTime", since ? since : now);
}

/* The object's status with this condition in the place of the old one; a new reference. */
static json_t *status_with(const json_t *obj, json_t *condition)
{
	json_t *status = json_deep_copy(json_object_get(obj, "status")), *list, *c;
	size_t i;

	if (!json_is_object(status)) {
		json_decref(status);
		status = json_object();
	}
	list = json_object_get(status, "conditions");
	if (!json_is_array(list)) {
		list = json_array();
		json_object_set_new(status, "conditions", list);
	}
	json_array_foreach(list, i, c)
		if (streq(json_str_or(json_object_get(c, "type"), ""), json_str_at(condition, "type"))) {
			json_array_set_new(list, i, condition);
			return status;
		}
	json_array_append_new(list, condition);
	return status;
}

static json_t *ingress_of(const struct claimant *c)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(json_at(c->svc, "spec", "ipFamilies"), i, v)
		for (int f = V4; f < FAMILIES; f++) {
			char ip[ADDR_TEXT_MAX];

			if (c->has[f] && streq(json_str_or(v, ""), family_names[f]))
				json_array_append_new(out, json_pack("{ss ss}", "ip", addr_format(&c->have[f], ip), "ipMode", "VIP"));
		}
	return out;
}

static void write_claimant(struct claimant *c, const struct lb_input *in, json_t *out)
{
	const char *reason = c->reason ? c->reason : "Assigned", *message = c->message ? c->message : "it has what it asks for";
	json_t *condition = condition_new(LB_CONDITION, !c->reason, reason, message, c->condition, in->now);
	_cleanup_json_ json_t *status = status_with(c->svc, condition);
	json_t *ingress = ingress_of(c), *balancer = json_object_get(status, "loadBalancer");

	if (!json_is_object(balancer)) {
		balancer = json_object();
		json_object_set_new(status, "loadBalancer", balancer);
	}
	if (json_array_size(ingress) > 0) {
		json_object_set_new(balancer, "ingress", ingress);
	} else {
		json_object_del(balancer, "ingress");
		json_decref(ingress);
	}
	if (json_equal(status, json_object_get(c->svc, "status")))
		return;
	json_array_append_new(out, json_pack("{ss ss sO ss ss sb}", "namespace", meta(c->svc, "namespace"), "name", meta(c->svc, "name"),
					     "status", status, "reason", reason, "message", message, "warning", c->reason != NULL));
}

static void write_pool(const struct lb_pool *pool, const struct lb_input *in, json_t *out)
{
	const char *message = pool->conflict ? pool->conflict : "all of its addresses can be given out";
	json_t *c = condition_new("Ready", !pool->conflict, pool->conflict ? "Conflict" : "Usable", message,
				  json_condition(pool->json, "Ready"), in->now);
	_cleanup_json_ json_t *status = status_with(pool->json, c);

	json_object_set_new(status, "total", json_integer(pool->total));
	json_object_set_new(status, "assigned", json_integer(pool->assigned));
	if (!json_equal(status, json_object_get(pool->json, "status")))
		json_array_append_new(out, json_pack("{ss sO}", "name", meta(pool->json, "name"), "status", status));
}

/* ---- the plan ---- */

static size_t collect(struct lb_pools *p, struct claimant *claimants, struct claimant *others, size_t *ret_others)
{
	size_t n = 0, o = 0;

	for (size_t i = 0; i < p->in->n_services; i++) {
		const json_t *svc = p->in->services[i];

		if (!streq(json_str_or(json_at(svc, "spec", "type"), ""), "LoadBalancer"))
			continue;
		if (claimant_init(&claimants[n], p, svc))
			n++;
		else
			others[o++] = (struct claimant){ .svc = svc };
	}
	*ret_others = o;
	return n;
}

void lb_plan_make(const struct lb_input *in, struct lb_plan *ret)
{
	_cleanup_free_ struct claimant *c = xnew0_array(struct claimant, in->n_services + 1);
	_cleanup_free_ struct claimant *others = xnew0_array(struct claimant, in->n_services + 1);
	size_t n, n_others;
	struct lb_pools p;

	*ret = (struct lb_plan){ .services = json_array(), .pools = json_array() };
	lb_pools_init(&p, in);
	n = collect(&p, c, others, &n_others);
	for (size_t i = 0; i < n; i++)
		each_ingress(c[i].svc, keep, &p, &c[i]);
	for (size_t i = 0; i < n_others; i++)
		each_ingress(others[i].svc, occupy, &p, &others[i]);
	for (size_t i = 0; i < in->n_services; i++)
		claim_external(&p, in->services[i]);
	for (size_t i = 0; i < n; i++) {
		give(&p, &c[i]);
		write_claimant(&c[i], in, ret->services);
		free(c[i].message);
	}
	for (size_t i = 0; i < p.n; i++)
		write_pool(&p.pools[i], in, ret->pools);
	lb_pools_done(&p);
}

void lb_plan_done(struct lb_plan *p)
{
	json_decref(p->services);
	json_decref(p->pools);
}
