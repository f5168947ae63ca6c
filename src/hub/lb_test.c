/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of load balancers: ranges as text, the plan on single cases, the controller over a store in memory, and random
 * histories after each of which no address has two owners and nobody has lost one without a reason. */
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"
#include "hub/admit.h"
#include "hub/lb_plan.h"
#include "hub/lb_range.h"
#include "hub/load_balancers.h"

struct world {
	struct hub hub;
	struct load_balancers *balancers;
};

static struct pool *range(const char *text)
{
	struct prefix p;
	struct pool *pool;

	CHECK_INT(prefix_parse(text, &p, NULL), 0);
	CHECK_INT(pool_new(&p, 128, &pool), 0);
	return pool;
}

/* Return: was it taken? */
static bool try_put(struct world *w, const char *kind, json_t *j)
{
	const struct kind *k = kind_of(kind);
	json_t *no = admit_own(&w->hub, k, store_get(w->hub.store, k, meta_str(j, "namespace"), meta_str(j, "name")), j, NULL);

	json_decref(no);
	return !no;
}

static void settle(struct world *w)
{
	for (int i = 0; load_balancers_run(w->balancers) > 0; i++)
		CHECK(i < 10);
}

static void world_init(struct world *w)
{
	_cleanup_free_ char *error = NULL;

	memset(w, 0, sizeof(*w));
	list_init(&w->hub.watches);
	node_ports_init(&w->hub.node_ports, 30000, 32767);
	CHECK_INT(store_open(":memory:", &w->hub.store, &error), 0);
	w->hub.services = (struct ranges){ { range("10.96.0.0/16"), range("fd00:96::/112") }, 2 };
	services_claim(&w->hub);
	CHECK(try_put(w, "Namespace", json_pack("{s{ss}}", "metadata", "name", "default")));
	CHECK(try_put(w, "Namespace", json_pack("{s{sss{ss}}}", "metadata", "name", "shop", "labels", "team", "shop")));
	CHECK_INT(load_balancers_new(&w->hub, &w->balancers), 0);
}

static void world_done(struct world *w)
{
	load_balancers_free(w->balancers);
	for (size_t i = 0; i < w->hub.services.n; i++)
		pool_free(w->hub.services.pools[i]);
	store_free(w->hub.store);
}

static void pool(struct world *w, const char *name, const char *addresses, const char *rest)
{
	_cleanup_free_ char *text = xasprintf("{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"addresses\":[%s]%s}}", name, addresses, rest);

	CHECK(try_put(w, "LoadBalancerPool", json_loads(text, 0, NULL)));
}

/* @meta, @spec: more fields, each with a comma before it. */
static void service(struct world *w, const char *ns, const char *name, const char *metadata, const char *spec)
{
	_cleanup_free_ char *text = xasprintf("{\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\"%s},\"spec\":{\"type\":\"LoadBalancer\","
					      "\"ports\":[{\"port\":80}]%s}}", name, ns, metadata, spec);

	CHECK(try_put(w, "Service", json_loads(text, 0, NULL)));
}

static void removes(struct world *w, const char *kind, const char *ns, const char *name)
{
	CHECK_INT(store_delete(w->hub.store, kind_of(kind), ns, name, NULL), 0);
}

/* "192.0.2.1 2001:db8::1 True Assigned" */
static char *state(struct world *w, const char *ns, const char *name)
{
	const struct object *o = store_get(w->hub.store, kind_of("Service"), ns, name);
	char *out = xstrdup(""), *more;
	json_t *v;
	size_t i;

	json_array_foreach(json_at(o->json, "status", "loadBalancer", "ingress"), i, v) {
		more = xasprintf("%s%s ", out, json_str_at(v, "ip"));
		free(out);
		out = more;
	}
	json_array_foreach(json_at(o->json, "status", "conditions"), i, v) {
		more = xasprintf("%s%s %s", out, json_str_at(v, "status"), json_str_at(v, "reason"));
		free(out);
		out = more;
	}
	return out;
}

#define CHECK_STATE(w, ns, name, want)                                                                                 \
	do {                                                                                                           \
		_cleanup_free_ char *_is = state((w), (ns), (name));                                                   \
		CHECK_STR(_is, (want));                                                                                \
	} while (0)

static void ranges_as_text(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t n;
		bool fault;
	} cases[] = {
		{ "192.0.2.0/28", 0, 16 },	  { "192.0.2.7", 0, 1 },	   { "192.0.2.7-192.0.2.9", 0, 3 },
		{ "2001:db8::/64", 0, LB_RANGE_MANY }, { "2001:db8::/112", 0, 65536 }, { "2001:db8::1-2001:db8::1", 0, 1 },
		{ "192.0.2.1/28", -EINVAL },	  { "192.0.2.9-192.0.2.7", -EINVAL }, { "192.0.2.1-2001:db8::1", -EINVAL },
		{ "", -EINVAL },		  { "-", -EINVAL },		   { "192.0.2.0/33", -EINVAL },
		{ "192.0.2.1-", -EINVAL },	  { "127.0.0.0/30", 0, 4, true },  { "126.255.255.255-127.0.0.0", 0, 2, true },
		{ "0.0.0.0/0", 0, 1ull << 32, true }, { "fe80::/64", 0, LB_RANGE_MANY, true }, { "ff02::1", 0, 1, true },
		{ "::/0", 0, LB_RANGE_MANY, true }, { "::1", 0, 1, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct lb_range r;

		CHECK_INT(lb_range_parse(cases[i].text, &r), cases[i].r);
		if (cases[i].r)
			continue;
		CHECK(lb_range_count(&r) == cases[i].n);
		CHECK_INT(!!lb_range_fault(&r), cases[i].fault);
	}
}

static void svc_5_addresses_of_both_families(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "a", "\"192.0.2.0/31\",\"2001:db8::1\"", "");
	service(&w, "default", "one", "", "");
	service(&w, "default", "two", "", ",\"ipFamilyPolicy\":\"RequireDualStack\"");
	service(&w, "default", "three", "", ",\"ipFamilyPolicy\":\"PreferDualStack\"");
	settle(&w);
	CHECK_STATE(&w, "default", "one", "192.0.2.0 True Assigned");
	CHECK_STATE(&w, "default", "three", "192.0.2.1 2001:db8::1 True Assigned"); /* of the same second: by name */
	CHECK_STATE(&w, "default", "two", "False Exhausted");
	removes(&w, "Service", "default", "one"); /* what it had goes to who waits */
	settle(&w);
	CHECK_STATE(&w, "default", "two", "192.0.2.0 False Exhausted");
	removes(&w, "LoadBalancerPool", "", "a");
	settle(&w);
	CHECK_STATE(&w, "default", "two", "False NoPool");
	world_done(&w);
}

static void svc_5_what_is_asked_for(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "a", "\"192.0.2.0/28\",\"2001:db8::/120\"", "");
	service(&w, "default", "ip", "", ",\"loadBalancerIP\":\"192.0.2.9\"");
	service(&w, "default", "list", ",\"annotations\":{\"weft.dev/load-balancer-ips\":\"192.0.2.8, 2001:db8::8\"}",
		",\"ipFamilyPolicy\":\"PreferDualStack\"");
	service(&w, "default", "outside", "", ",\"loadBalancerIP\":\"198.51.100.1\"");
	service(&w, "default", "rubbish", "", ",\"loadBalancerIP\":\"x\"");
	service(&w, "default", "family", "", ",\"loadBalancerIP\":\"2001:db8::1\"");
	settle(&w);
	CHECK_STATE(&w, "default", "ip", "192.0.2.9 True Assigned");
	CHECK_STATE(&w, "default", "list", "192.0.2.8 2001:db8::8 True Assigned");
	CHECK_STATE(&w, "default", "outside", "False AddressNotInPool");
	CHECK_STATE(&w, "default", "rubbish", "192.0.2.1 False InvalidRequest");
	CHECK_STATE(&w, "default", "family", "192.0.2.0 False InvalidRequest");
	service(&w, "default", "list", ",\"annotations\":{\"weft.dev/load-balancer-ips\":\"192.0.2.9\"}",
		",\"ipFamilyPolicy\":\"PreferDualStack\"");
	settle(&w);
	CHECK_STATE(&w, "default", "list", "2001:db8::8 False AddressInUse");
	CHECK_STATE(&w, "default", "ip", "192.0.2.9 True Assigned");
	world_done(&w);
}

static void svc_5_classes_and_selectors(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "a", "\"192.0.2.1\"", ",\"loadBalancerClass\":\"example.com/lb\"");
	pool(&w, "b", "\"192.0.2.2\"", ",\"namespaceSelector\":{\"matchLabels\":{\"team\":\"shop\"}}");
	pool(&w, "c", "\"192.0.2.3\"", ",\"serviceSelector\":{\"matchExpressions\":[{\"key\":\"public\",\"operator\":\"Exists\"}]}");
	pool(&w, "d", "\"192.0.2.4\"", ",\"autoAssign\":false");
	service(&w, "default", "class", "", ",\"loadBalancerClass\":\"example.com/lb\"");
	service(&w, "shop", "cart", "", "");
	service(&w, "default", "public", ",\"labels\":{\"public\":\"\"}", "");
	service(&w, "default", "none", "", "");
	service(&w, "default", "named", ",\"annotations\":{\"weft.dev/load-balancer-pool\":\"d\"}", "");
	service(&w, "default", "other", "", ",\"loadBalancerClass\":\"example.com/other\"");
	settle(&w);
	CHECK_STATE(&w, "default", "class", "192.0.2.1 True Assigned");
	CHECK_STATE(&w, "shop", "cart", "192.0.2.2 True Assigned");
	CHECK_STATE(&w, "default", "public", "192.0.2.3 True Assigned");
	CHECK_STATE(&w, "default", "none", "False NoPool");
	CHECK_STATE(&w, "default", "named", "192.0.2.4 True Assigned");
	CHECK_STATE(&w, "default", "other", ""); /* another controller's: not touched */
	world_done(&w);
}

/* As another controller does. */
static void give(struct world *w, const char *ns, const char *name, const char *ip)
{
	const struct kind *k = kind_of("Service");
	struct object *o = store_get(w->hub.store, k, ns, name);
	json_t *j = json_deep_copy(o->json), *no;

	json_object_set_new(json_object_get(j, "status"), "loadBalancer", json_pack("{s[{ss}]}", "ingress", "ip", ip));
	no = admit_own_status(&w->hub, k, o, j);
	CHECK(!no);
	json_decref(no);
}

/* A pool of its class is there, but not for it; then another controller gives it an address, which stays. What a pool gave goes with the pool, though
 * the condition says that there is none for the other family. */
static void svc_5_what_others_give_stays(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "shop", "\"192.0.2.0/30\"", ",\"namespaceSelector\":{\"matchLabels\":{\"team\":\"shop\"}}");
	service(&w, "default", "none", "", ",\"loadBalancerIP\":\"198.51.100.7\""); /* of whoever hears it */
	service(&w, "shop", "both", "", ",\"ipFamilyPolicy\":\"RequireDualStack\"");
	settle(&w);
	CHECK_STATE(&w, "default", "none", "False NoPool");
	CHECK_STATE(&w, "shop", "both", "192.0.2.0 False NoPoolOfFamily");
	give(&w, "default", "none", "198.51.100.7");
	settle(&w);
	CHECK_STATE(&w, "default", "none", "198.51.100.7 False NoPool");
	removes(&w, "LoadBalancerPool", "", "shop");
	settle(&w);
	CHECK_STATE(&w, "default", "none", "198.51.100.7 False NoPool");
	CHECK_STATE(&w, "shop", "both", "False NoPool");
	world_done(&w);
}

static json_t *pool_condition(struct world *w, const char *name)
{
	return json_array_get(json_at(store_get(w->hub.store, kind_of("LoadBalancerPool"), "", name)->json, "status", "conditions"), 0);
}

static void s9_ranges_of_the_cluster_are_refused(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "cluster", "\"10.0.0.0/8\"", "");
	pool(&w, "first", "\"192.0.2.0/30\"", "");
	pool(&w, "second", "\"192.0.2.3-192.0.2.9\"", "");
	CHECK(try_put(&w, "Node", json_pack("{s{ss} s{s[{ssss}]}}", "metadata", "name", "n1", "status", "addresses", "type", "InternalIP",
					    "address", "192.0.2.0")));
	service(&w, "default", "a", "", "");
	service(&w, "default", "node", "", ",\"loadBalancerIP\":\"192.0.2.0\"");
	service(&w, "default", "api", "", ",\"loadBalancerIP\":\"10.96.0.1\"");
	settle(&w);
	CHECK_STR(json_str_at(pool_condition(&w, "cluster"), "message"), "10.0.0.0/8 overlaps the cluster's range 10.96.0.0/16");
	CHECK_STR(json_str_at(pool_condition(&w, "second"), "message"), "192.0.2.3-192.0.2.9 overlaps pool first");
	CHECK_STR(json_str_at(pool_condition(&w, "first"), "reason"), "Usable");
	CHECK_STATE(&w, "default", "a", "192.0.2.1 True Assigned");
	CHECK_STATE(&w, "default", "node", "False AddressOfNode");
	CHECK_STATE(&w, "default", "api", "False AddressNotInPool");
	CHECK(!try_put(&w, "LoadBalancerPool",
		       json_pack("{s{ss}s{s[s]}}", "metadata", "name", "lo", "spec", "addresses", "127.0.0.0/30")));
	world_done(&w);
}

static void make_old(struct world *w, const char *kind, const char *name)
{
	json_t *j = json_deep_copy(store_get(w->hub.store, kind_of(kind), "", name)->json);

	json_object_set_new(json_object_get(j, "metadata"), "creationTimestamp", json_string("2020-01-01T00:00:00Z"));
	CHECK_INT(store_put(w->hub.store, kind_of(kind), j, NULL), 0);
}

/* Whatever they are called: who comes later takes nothing from a pool that serves. */
static void an_older_pool_keeps_its_ranges(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "zzz", "\"192.0.2.0/30\"", "");
	make_old(&w, "LoadBalancerPool", "zzz");
	service(&w, "default", "a", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "a", "192.0.2.0 True Assigned");
	pool(&w, "aaa", "\"192.0.2.0-192.0.2.9\", \"198.51.100.0/30\"", "");
	settle(&w);
	CHECK_STR(json_str_at(pool_condition(&w, "aaa"), "message"), "192.0.2.0-192.0.2.9 overlaps pool zzz");
	CHECK_STR(json_str_at(pool_condition(&w, "zzz"), "reason"), "Usable");
	CHECK_STATE(&w, "default", "a", "192.0.2.0 True Assigned");
	world_done(&w);
}

static void s9_the_API_servers_address_is_not_given(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "p", "\"192.0.2.0/30\"", "");
	service(&w, "default", "old", "", ",\"loadBalancerIP\":\"192.0.2.0\"");
	settle(&w);
	CHECK_STATE(&w, "default", "old", "192.0.2.0 True Assigned");
	CHECK(try_put(&w, "EndpointSlice", json_pack("{s{ss ss s{ss}} ss s[{s[s]}] s[{ss si}]}", "metadata", "name", "kubernetes", "namespace",
						     "default", "labels", "kubernetes.io/service-name", "kubernetes", "addressType", "IPv4",
						     "endpoints", "addresses", "192.0.2.0", "ports", "name", "https", "port", 6443)));
	service(&w, "default", "asks", "", ",\"loadBalancerIP\":\"192.0.2.0\"");
	service(&w, "default", "any", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "old", "False AddressOfAPIServer");
	CHECK_STATE(&w, "default", "asks", "False AddressOfAPIServer");
	CHECK_STATE(&w, "default", "any", "192.0.2.1 True Assigned");
	world_done(&w);
}

/* A claim in somebody's externalIPs takes nothing away from who has the address; it only keeps others from getting it. */
static void s9_externalIPs_take_nothing(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "p", "\"192.0.2.0/30\"", "");
	service(&w, "default", "b", "", "");
	settle(&w);
	service(&w, "default", "a", "", ",\"externalIPs\":[\"192.0.2.0\",\"192.0.2.1\"],\"loadBalancerClass\":\"x/y\"");
	service(&w, "default", "c", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "b", "192.0.2.0 True Assigned");
	CHECK_STATE(&w, "default", "c", "192.0.2.2 True Assigned");
	world_done(&w);
}

static void plain(struct world *w, const char *name, const char *spec)
{
	_cleanup_free_ char *text = xasprintf("{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\"},\"spec\":{\"ports\":[{\"port\":9}]%s}}", name, spec);

	CHECK(try_put(w, "Service", json_loads(text, 0, NULL)));
}

/* Nor do they close a pool: a Service that serves nothing has no claim, and another one's is given last, or to who asks for it. */
static void s9_externalIPs_close_no_pool(void)
{
	struct world w;

	world_init(&w);
	pool(&w, "p", "\"192.0.2.0-192.0.2.2\"", "");
	pool(&w, "q", "\"198.51.100.0/32\"", "");
	plain(&w, "none", ",\"clusterIP\":\"None\",\"externalIPs\":[\"192.0.2.0\",\"192.0.2.1\",\"192.0.2.2\"]");
	plain(&w, "evil", ",\"externalIPs\":[\"192.0.2.2\",\"192.0.2.1\",\"192.0.2.9\"]");
	service(&w, "default", "a", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "a", "192.0.2.0 True Assigned");
	service(&w, "default", "b", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "b", "198.51.100.0 True Assigned");
	service(&w, "default", "c", "", ",\"loadBalancerIP\":\"192.0.2.2\"");
	settle(&w);
	CHECK_STATE(&w, "default", "c", "192.0.2.2 True Assigned");
	service(&w, "default", "d", "", "");
	service(&w, "default", "e", "", "");
	settle(&w);
	CHECK_STATE(&w, "default", "d", "192.0.2.1 True Assigned");
	CHECK_STATE(&w, "default", "e", "False Exhausted");
	CHECK_STATE(&w, "default", "a", "192.0.2.0 True Assigned");
	world_done(&w);
}

/* A restart: a new controller goes on with what is in the status. */
static void addresses_survive_a_restart(void)
{
	struct world w;
	uint64_t rev;

	world_init(&w);
	pool(&w, "p", "\"192.0.2.0/28\"", "");
	service(&w, "default", "a", "", "");
	service(&w, "default", "b", "", ",\"loadBalancerIP\":\"192.0.2.5\"");
	settle(&w);
	removes(&w, "Service", "default", "a");
	settle(&w);
	service(&w, "default", "c", "", "");
	settle(&w);
	load_balancers_free(w.balancers);
	rev = store_rev(w.hub.store);
	CHECK_INT(load_balancers_new(&w.hub, &w.balancers), 0);
	settle(&w);
	CHECK(store_rev(w.hub.store) == rev); /* nothing was written */
	CHECK_STATE(&w, "default", "b", "192.0.2.5 True Assigned");
	CHECK_STATE(&w, "default", "c", "192.0.2.0 True Assigned");
	world_done(&w);
}

enum { NAMES = 12 };

static void check_unique(struct world *w)
{
	_cleanup_json_ json_t *seen = json_object();
	struct object *const *all;
	size_t n;

	all = store_all(w->hub.store, kind_of("Service"), &n);
	for (size_t i = 0; i < n; i++) {
		json_t *v;
		size_t k;

		json_array_foreach(json_at(all[i]->json, "status", "loadBalancer", "ingress"), k, v) {
			CHECK(!json_object_get(seen, json_str_at(v, "ip")));
			json_object_set_new(seen, json_str_at(v, "ip"), json_true());
		}
	}
}

static void random_histories_never_give_an_address_twice(void)
{
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct world w;

		world_init(&w);
		srandom(seed);
		for (int step = 0; step < 60; step++) {
			char name[8];
			_cleanup_free_ char *extra = NULL;
			int i = random() % NAMES;

			snprintf(name, sizeof(name), "s%d", i);
			if (random() % 6 == 0) {
				_cleanup_free_ char *list = xasprintf("\"192.0.2.%ld-192.0.2.%ld\"", random() % 4, 4 + random() % 8);

				pool(&w, random() % 2 ? "p" : "q", list, "");
			} else if (random() % 3 == 0 && store_get(w.hub.store, kind_of("Service"), "default", name)) {
				removes(&w, "Service", "default", name);
			} else {
				if (random() % 2)
					extra = xasprintf(",\"loadBalancerIP\":\"192.0.2.%ld\"", random() % 12);
				service(&w, "default", name, "", extra ? extra : "");
			}
			settle(&w);
			check_unique(&w);
		}
		world_done(&w);
	}
}

int main(void)
{
	RUN(ranges_as_text);
	RUN(svc_5_addresses_of_both_families);
	RUN(svc_5_what_is_asked_for);
	RUN(svc_5_classes_and_selectors);
	RUN(s9_ranges_of_the_cluster_are_refused);
	RUN(s9_the_API_servers_address_is_not_given);
	RUN(svc_5_what_others_give_stays);
	RUN(an_older_pool_keeps_its_ranges);
	RUN(s9_externalIPs_take_nothing);
	RUN(s9_externalIPs_close_no_pool);
	RUN(addresses_survive_a_restart);
	RUN(random_histories_never_give_an_address_twice);
	return test_end();
}
