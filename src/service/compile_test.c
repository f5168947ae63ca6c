/* SPDX-License-Identifier: Apache-2.0 */
/* The rules as a table: endpoints go in, the cluster set and the local set come out. Names begin with the assertion's. */
#include "service/test_world.h"

#define PORTS "[{'name':'http','port':8080}]"
#define SPEC "{'clusterIP':'10.96.0.10','ports':[{'name':'http','port':80}]}"

struct row {
	const char *what;
	const char *endpoints[6];
	const char *cluster, *local;
};

/* clang-format off */
static const struct row rows[] = {
	{ "SVC-10 nil conditions are ready", { "10.0.0.1 node=b" }, "10.0.0.1:8080", "" },
	{ "SVC-10 not ready", { "10.0.0.1 node=b serving", "10.0.0.2 node=c ready serving" }, "10.0.0.2:8080", "" },
	{ "SVC-11 published though not ready shows as ready", { "10.0.0.1 node=b ready" }, "10.0.0.1:8080", "" },
	{ "SVC-14 ready ones before terminating ones", { "10.0.0.1 node=a serving terminating", "10.0.0.2 node=b ready serving" },
	  "10.0.0.2:8080", "10.0.0.1:8080" },
	{ "SVC-14 terminating ones when nobody is ready", { "10.0.0.1 node=b serving terminating", "10.0.0.2 node=c terminating" },
	  "10.0.0.1:8080", "" },
	{ "SVC-14 never unready and terminating", { "10.0.0.1 node=a terminating" }, "", "" },
	{ "SVC-15 zone hints", { "10.0.0.1 node=b zones=z1", "10.0.0.2 node=c zones=z2" }, "10.0.0.1:8080", "" },
	{ "SVC-15 node hints before zone hints", { "10.0.0.1 node=b nodes=a zones=z1", "10.0.0.2 node=b nodes=b zones=z1" },
	  "10.0.0.1:8080", "" },
	{ "SVC-15 hints that not all have count for nothing", { "10.0.0.1 node=b zones=z1", "10.0.0.2 node=c" },
	  "10.0.0.1:8080 10.0.0.2:8080", "" },
	{ "SVC-15 hints of which none is ours count for nothing", { "10.0.0.1 node=c zones=z2", "10.0.0.2 node=d zones=z3" },
	  "10.0.0.1:8080 10.0.0.2:8080", "" },
	{ "SVC-15 node hints of which none is ours: zones decide", { "10.0.0.1 node=b nodes=b zones=z1", "10.0.0.2 node=c nodes=c zones=z2" },
	  "10.0.0.1:8080", "" },
	{ "SVC-15 only ready ones must have hints", { "10.0.0.1 node=b ready serving zones=z1", "10.0.0.2 node=c serving terminating", "10.0.0.3 node=c ready serving zones=z2" },
	  "10.0.0.1:8080", "" },
	{ "SVC-15 no hints for terminating ones", { "10.0.0.1 node=b serving terminating zones=z1", "10.0.0.2 node=c serving terminating zones=z2" },
	  "10.0.0.1:8080 10.0.0.2:8080", "" },
	{ "SVC-15 hints are ignored for the local set", { "10.0.0.1 node=a zones=z2", "10.0.0.2 node=b zones=z1" },
	  "10.0.0.2:8080", "10.0.0.1:8080" },
	{ "SVC-16 local set", { "10.0.0.1 node=a", "10.0.0.2 node=b", "10.0.0.3 node=a" },
	  "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080", "10.0.0.1:8080 10.0.0.3:8080" },
	{ "SVC-16 local terminating ones though others are ready", { "10.0.0.1 node=a serving terminating", "10.0.0.2 node=b ready serving" },
	  "10.0.0.2:8080", "10.0.0.1:8080" },
	{ "S10 loopback and link-local endpoints are none", { "127.0.0.1 node=a", "169.254.169.254 node=a", "224.0.0.1 node=a", "0.0.0.0 node=a" }, "", "" },
};
/* clang-format on */

static void SVC_10_to_16_which_endpoints(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;

		world_service(&w, "s", SPEC, NULL);
		world_slice(&w, "s-1", "s", "IPv4", PORTS, rows[i].endpoints);
		v = world_compile(&w, "s");
		printf("# %s\n", rows[i].what);
		CHECK_INT(v->n_ports, 1);
		CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), rows[i].cluster);
		CHECK_STR(world_set(&v->ports[0], SERVICE_LOCAL), rows[i].local);
		world_done(&w);
	}
}

static void SVC_1_families_have_their_own_slices(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", "{'clusterIP':'10.96.0.10','clusterIPs':['10.96.0.10','fd00:96::a'],'ports':[{'name':'http','port':80}]}", NULL);
	world_slice(&w, "s-4", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1", NULL});
	world_slice(&w, "s-6", "s", "IPv6", PORTS, (const char *const[]){"fd00::1", NULL});
	world_slice(&w, "s-f", "s", "FQDN", PORTS, (const char *const[]){"www.example.com", NULL});
	v = world_compile(&w, "s");
	CHECK_INT(v->n_ports, 2);
	CHECK(!v->ports[0].v6 && v->ports[1].v6);
	CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), "10.0.0.1:8080");
	CHECK_STR(world_set(&v->ports[1], SERVICE_CLUSTER), "[fd00::1]:8080");
	CHECK_INT(v->n_vips, 2);
	world_done(&w);
}

static void SVC_2_3_7_what_is_not_proxied(void)
{
	static const struct {
		const char *spec, *meta;
	} cases[] = {
	    {"{'clusterIP':'None','ports':[{'port':80}]}", NULL},
	    {"{'clusterIPs':['None'],'ports':[{'port':80}]}", NULL},
	    {"{'type':'ExternalName','externalName':'x.example','ports':[{'port':80}]}", NULL},
	    {SPEC, "{'labels':{'service.kubernetes.io/service-proxy-name':'other'}}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;

		world_service(&w, "s", cases[i].spec, cases[i].meta);
		v = world_compile(&w, "s");
		CHECK_INT(v->n_ports, 0);
		world_done(&w);
	}
}

static void SVC_7_slices_of_headless_services_are_ignored(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", SPEC, NULL);
	world_put(&w, MODEL_SLICES, world_json("{'metadata':{'name':'x','namespace':'default','labels':{'kubernetes.io/service-name':'s',"
					       "'service.kubernetes.io/headless':''}},'addressType':'IPv4','ports':[{'name':'http',"
					       "'port':8080}],'endpoints':[{'addresses':['10.0.0.9']}]}"));
	v = world_compile(&w, "s");
	CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), "");
	world_done(&w);
}

static void SVC_12_slices_are_merged_by_port_name(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", "{'clusterIP':'10.96.0.10','ports':[{'name':'http','port':80},{'name':'dns','port':53,'protocol':'UDP'}]}", NULL);
	world_slice(&w, "s-1", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1", "10.0.0.2 serving", NULL});
	world_slice(&w, "s-2", "s", "IPv4", "[{'name':'http','port':9090},{'name':'dns','port':5353,'protocol':'UDP'},{'name':'dns','port':5354}]",
		    (const char *const[]){"10.0.0.3", NULL});
	world_slice(&w, "s-3", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.2 ready", "10.0.0.1", NULL});
	v = world_compile(&w, "s");
	CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:9090");
	CHECK_STR(world_set(&v->ports[1], SERVICE_CLUSTER), "10.0.0.3:5353");
	world_done(&w);
}

/* A port without a number is any; no port at all is none, as for pods that lack the named port which the Service asks for. */
static void SVC_12_nil_ports_are_all_ports(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", SPEC, NULL);
	world_slice(&w, "s-1", "s", "IPv4", "[{'name':'http'}]", (const char *const[]){"10.0.0.1", NULL});
	world_slice(&w, "s-2", "s", "IPv4", "null", (const char *const[]){"10.0.0.2", NULL});
	world_slice(&w, "s-3", "s", "IPv4", "[]", (const char *const[]){"10.0.0.3", NULL});
	v = world_compile(&w, "s");
	CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), "10.0.0.1:80");
	world_done(&w);
}

static void SVC_13_v1beta1_and_hand_made_slices(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", SPEC, NULL);
	world_put(&w, MODEL_SLICES,
		  world_json("{'metadata':{'name':'old','namespace':'default','labels':{'kubernetes.io/service-name':'s'}},'addressType':'IPv4',"
			     "'ports':[{'name':'http','port':8080,'protocol':'TCP'}],'endpoints':[{'addresses':['10.0.0.1'],'topology':"
			     "{'kubernetes.io/hostname':'a','topology.kubernetes.io/zone':'z1'}},{'addresses':['192.0.2.1']}]}"));
	world_put(&w, MODEL_SLICES, world_json("{'metadata':{'name':'none','namespace':'default','labels':{'kubernetes.io/service-name':'s'}},"
					       "'addressType':'IPv4','ports':null,'endpoints':null}"));
	v = world_compile(&w, "s");
	CHECK_STR(world_set(&v->ports[0], SERVICE_CLUSTER), "10.0.0.1:8080 192.0.2.1:8080");
	CHECK_STR(world_set(&v->ports[0], SERVICE_LOCAL), "10.0.0.1:8080");
	world_done(&w);
}

/* ---- addresses ---- */

static const struct service_address *find_address(const struct service_view *v, enum service_kind kind, enum service_scope scope)
{
	for (size_t i = 0; i < v->ports[0].n_addresses; i++)
		if (v->ports[0].addresses[i].kind == kind && v->ports[0].addresses[i].scope == scope)
			return &v->ports[0].addresses[i];
	return NULL;
}

static void SVC_16_17_19_policies_and_empty_sets(void)
{
	static const struct {
		const char *policy;
		const char *endpoints[2];
		enum service_role cluster_ip, inside, outside;
		uint8_t cluster_ip_flags, outside_flags;
	} cases[] = {
	    {"", {"10.0.0.1 node=b"}, SERVICE_CLUSTER, SERVICE_CLUSTER, SERVICE_CLUSTER, 0, 0},
	    {",'internalTrafficPolicy':'Local'", {"10.0.0.1 node=b"}, SERVICE_LOCAL, SERVICE_CLUSTER, SERVICE_CLUSTER, SERVICE_DROP_EMPTY, 0},
	    {",'externalTrafficPolicy':'Local'", {"10.0.0.1 node=b"}, SERVICE_CLUSTER, SERVICE_CLUSTER, SERVICE_LOCAL, 0,
	     SERVICE_DROP_EMPTY | SERVICE_KEEP_CLIENT},
	    /* nobody anywhere: refused, not dropped */
	    {",'internalTrafficPolicy':'Local'", {NULL}, SERVICE_LOCAL, SERVICE_CLUSTER, SERVICE_CLUSTER, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;
		_cleanup_free_ char *spec = xasprintf("{'type':'NodePort','clusterIP':'10.96.0.10','ports':[{'name':'http','port':80,"
						      "'nodePort':30080}]%s}", cases[i].policy);

		world_service(&w, "s", spec, NULL);
		world_slice(&w, "s-1", "s", "IPv4", PORTS, cases[i].endpoints);
		v = world_compile(&w, "s");
		CHECK_INT(find_address(v, SERVICE_CLUSTER_IP, SERVICE_INTERNAL)->role, cases[i].cluster_ip);
		CHECK_INT(find_address(v, SERVICE_CLUSTER_IP, SERVICE_INTERNAL)->flags, cases[i].cluster_ip_flags);
		CHECK_INT(find_address(v, SERVICE_NODE_PORT, SERVICE_INTERNAL)->role, cases[i].inside);
		CHECK_INT(find_address(v, SERVICE_NODE_PORT, SERVICE_EXTERNAL)->role, cases[i].outside);
		CHECK_INT(find_address(v, SERVICE_NODE_PORT, SERVICE_EXTERNAL)->flags, cases[i].outside_flags);
		CHECK(!find_address(v, SERVICE_CLUSTER_IP, SERVICE_EXTERNAL));
		world_done(&w);
	}
}

/* A Service with one address that it claims, as spec.externalIPs or in its status. */
static void claim(struct world *w, const char *name, const char *created, const char *external, const char *lb, const char *mode)
{
	json_t *o = json_pack("{s{ss, ss, ss}, s{ss, ss, s[{ss, si}]}}", "metadata", "name", name, "namespace", "default",
			      "creationTimestamp", created, "spec", "type", "LoadBalancer", "clusterIP", "10.96.0.20", "ports", "name",
			      "http", "port", 80);

	if (external)
		json_object_set_new(json_object_get(o, "spec"), "externalIPs", json_pack("[s]", external));
	if (lb)
		json_object_set_new(o, "status", json_pack("{s{s[{ss, ss}, {ss}]}}", "loadBalancer", "ingress", "ip", lb, "ipMode",
							   mode ? mode : "VIP", "hostname", "lb.example"));
	world_put(w, MODEL_SERVICES, o);
}

static void SVC_5_load_balancer_addresses(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL, *proxy = NULL;

	claim(&w, "s", "2026-01-01T00:00:00Z", NULL, "198.51.100.1", NULL);
	v = world_compile(&w, "s");
	CHECK(find_address(v, SERVICE_LOAD_BALANCER, SERVICE_INTERNAL) && find_address(v, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL));
	claim(&w, "s", "2026-01-01T00:00:00Z", NULL, "198.51.100.1", "Proxy");
	proxy = world_compile(&w, "s");
	CHECK(!find_address(proxy, SERVICE_LOAD_BALANCER, SERVICE_INTERNAL));
	world_done(&w);
}

static void SVC_6_external_ips_are_off_by_default(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *off = NULL, *on = NULL;

	claim(&w, "s", "2026-01-01T00:00:00Z", "198.51.100.1", NULL, NULL);
	off = world_compile(&w, "s");
	CHECK(!find_address(off, SERVICE_EXTERNAL_IP, SERVICE_INTERNAL));
	w.env.external_ips = true;
	on = world_compile(&w, "s");
	CHECK(find_address(on, SERVICE_EXTERNAL_IP, SERVICE_INTERNAL) && find_address(on, SERVICE_EXTERNAL_IP, SERVICE_EXTERNAL));
	world_done(&w);
}

static void S9_addresses_in_use_are_refused(void)
{
	static const char *const taken[] = {"172.16.0.3", "203.0.113.7", "10.96.0.10", "10.244.3.4", "127.0.0.1", "169.254.1.1", "224.0.0.1"};
	struct prefix pods;

	prefix_parse("10.244.0.0/16", &pods, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;

		w.env.external_ips = true;
		w.env.pod_ranges = &pods;
		w.env.n_pod_ranges = 1;
		world_service(&w, "victim", SPEC, NULL);
		world_put(&w, MODEL_NODES, world_json("{'metadata':{'name':'e'},'status':{'addresses':[{'type':'InternalIP','address':'172.16.0.9'},"
						      "{'type':'ExternalIP','address':'203.0.113.7'}]}}"));
		claim(&w, "s", "2026-01-01T00:00:00Z", taken[i], taken[i], NULL);
		v = world_compile(&w, "s");
		CHECK(!find_address(v, SERVICE_EXTERNAL_IP, SERVICE_INTERNAL) && !find_address(v, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL));
		CHECK(v->n_refused >= 1 && strstr(v->refused[0], taken[i]));
		world_done(&w);
	}
}

static void S9_of_two_claims_the_older_one_counts(void)
{
	struct world w = world_new();
	struct model_service_name dirty;
	_cleanup_(service_view_freep) struct service_view *young = NULL, *old = NULL, *heir = NULL;
	json_t *gone = world_json("{'metadata':{'name':'old','namespace':'default'}}");

	claim(&w, "young", "2026-01-02T00:00:00Z", NULL, "198.51.100.1", NULL);
	claim(&w, "old", "2026-01-01T00:00:00Z", NULL, "198.51.100.1", NULL);
	young = world_compile(&w, "young");
	old = world_compile(&w, "old");
	CHECK(!find_address(young, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL) && find_address(old, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL));
	while (model_take_dirty_service(w.model, &dirty))
		;
	model_delete(w.model, MODEL_SERVICES, gone);
	json_decref(gone);
	while (model_take_dirty_service(w.model, &dirty) && !streq(dirty.name, "young"))
		;
	CHECK_STR(dirty.name, "young"); /* its rival is gone: it is to be looked at again */
	heir = world_compile(&w, "young");
	CHECK(find_address(heir, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL));
	world_done(&w);
}

/* default/kubernetes, whose endpoints are the API servers. */
static void put_api(struct world *w, const char *const *servers)
{
	world_service(w, "kubernetes", "{'clusterIP':'10.96.0.1','ports':[{'name':'https','port':443}]}", NULL);
	world_slice(w, "kubernetes", "kubernetes", "IPv4", "[{'name':'https','port':6443}]", servers);
}

static bool has_it(struct world *w, const char *name)
{
	_cleanup_(service_view_freep) struct service_view *v = world_compile(w, name);
	bool has = v->ports[0].n_addresses > 1; /* the cluster address is always there */

	CHECK_INT(v->n_refused, !has);
	return has;
}

static void S9_the_API_servers_address_is_refused(void)
{
	static const struct {
		const char *kind, *address;
		int port;
		bool had;
	} cases[] = {{"external", "203.0.113.1", 6443, false}, {"pool", "203.0.113.1", 6443, false}, {"given", "203.0.113.1", 6443, false},
		     {"external", "203.0.113.9", 443, false},  {"pool", "203.0.113.9", 443, false},  {"given", "203.0.113.9", 443, false},
		     {"external", "203.0.113.1", 80, false},   {"pool", "203.0.113.9", 80, false},   {"given", "203.0.113.9", 80, true},
		     {"half", "203.0.113.9", 80, false},       {"half", "203.0.113.9", 443, false},
		     {"external", "203.0.113.2", 6443, true},  {"pool", "203.0.113.2", 443, true},   {"given", "203.0.113.2", 443, true}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		struct service_api asked = {.port = 443};

		CHECK_INT(addr_parse("203.0.113.9", &asked.addr), 0);
		w.env.external_ips = true;
		w.env.api = &asked;
		w.env.n_api = 1;
		put_api(&w, (const char *const[]){"203.0.113.1", NULL});
		claim_port(&w, "s", cases[i].kind, cases[i].address, cases[i].port, "2026-01-01T00:00:00Z");
		world_slice(&w, "s-1", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1 node=b", NULL});
		printf("# %s %s:%d\n", cases[i].kind, cases[i].address, cases[i].port);
		CHECK_INT(has_it(&w, "s"), cases[i].had);
		world_done(&w);
	}
}

/* By a Service with the servers as its endpoints a cluster may publish its API; who leads elsewhere, or nowhere, keeps it from nothing. */
static void S9_who_leads_to_the_API_servers_may_have_their_address(void)
{
	static const char *const servers[] = {"203.0.113.1", "203.0.113.2", NULL};
	static const struct {
		const char *endpoints[3];
		const char *ports;
		bool had;
	} cases[] = {{{"203.0.113.1 ready", "203.0.113.2 ready"}, "[{'name':'http','port':6443}]", true},
		     {{"203.0.113.1 serving terminating", "203.0.113.3"}, "[{'name':'http','port':6443}]", false},
		     {{"203.0.113.1", "203.0.113.3 terminating"}, "[{'name':'http','port':6443}]", true}, /* who comes or goes is chosen by nobody */
		     {{"203.0.113.1", "10.0.0.1"}, "[{'name':'http','port':6443}]", false},
		     {{"203.0.113.9"}, "[{'name':'http','port':443}]", false}, /* itself */
		     {{"203.0.113.1"}, "[{'name':'http','port':22}]", false},
		     {{NULL}, "[{'name':'http','port':6443}]", false}};
	struct service_api asked = {.port = 443};

	CHECK_INT(addr_parse("203.0.113.9", &asked.addr), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();

		w.env.api = &asked;
		w.env.n_api = 1;
		put_api(&w, servers);
		claim_port(&w, "older", "pool", "203.0.113.9", 443, "2026-01-01T00:00:00Z");
		world_slice(&w, "older-1", "older", "IPv4", PORTS, (const char *const[]){"10.0.0.1", NULL});
		claim_port(&w, "lb", "pool", "203.0.113.9", 443, "2026-01-02T00:00:00Z");
		world_slice(&w, "lb-1", "lb", "IPv4", cases[i].ports, cases[i].endpoints);
		printf("# case %zu\n", i);
		CHECK_INT(has_it(&w, "lb"), cases[i].had);
		CHECK(!has_it(&w, "older"));
		world_done(&w);
	}
}

/* Whatever the ages; of what another controller gave the older one has the port. */
static void S9_what_a_pool_gave_goes_before_external_addresses(void)
{
	static const struct {
		const char *kind, *loser, *text;
	} cases[] = {{"pool", "older", "external address 192.0.2.9, port 80: Service default/s has it"},
		     {"half", "older", "external address 192.0.2.9, port 80: Service default/s has it"},
		     {"given", "s", "load balancer address 192.0.2.9, port 80: Service default/older has it"}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(service_view_freep) struct service_view *loser = NULL, *winner = NULL;
		struct world w = world_new();

		w.env.external_ips = true;
		claim_port(&w, "older", "external", "192.0.2.9", 80, "2026-01-01T00:00:00Z");
		claim_port(&w, "s", cases[i].kind, "192.0.2.9", 80, "2026-01-02T00:00:00Z");
		loser = world_compile(&w, cases[i].loser);
		CHECK_INT(loser->n_refused, 1);
		CHECK_STR(loser->refused[0], cases[i].text);
		winner = world_compile(&w, streq(cases[i].loser, "s") ? "older" : "s");
		CHECK_INT(winner->n_refused, 0);
		world_done(&w);
	}
}

/* An older Service that names the address but does not serve it, as external addresses are off or it has not the family, closes nothing. */
static void S9_a_claim_that_is_not_served_keeps_nobody_out(void)
{
	static const struct {
		const char *external, *lb, *wanted;
		bool external_ips;
	} squatters[] = {{"198.51.100.1", NULL, "198.51.100.1", false}, {"fd00::1", NULL, "fd00::1", true}, {NULL, "fd00::1", "fd00::1", false}};

	for (size_t i = 0; i < ARRAY_SIZE(squatters); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;
		json_t *o = world_json("{'metadata':{'name':'s','namespace':'default','creationTimestamp':'2026-01-02T00:00:00Z'},'spec':{'type':"
				       "'LoadBalancer','clusterIPs':['10.96.0.10','fd00:96::a'],'ports':[{'name':'http','port':80}]}}");

		w.env.external_ips = squatters[i].external_ips;
		claim(&w, "squatter", "2026-01-01T00:00:00Z", squatters[i].external, squatters[i].lb, NULL);
		json_object_set_new(o, "status", json_pack("{s{s[{ss}]}}", "loadBalancer", "ingress", "ip", squatters[i].wanted));
		world_put(&w, MODEL_SERVICES, o);
		v = world_compile(&w, "s");
		CHECK_INT(v->n_refused, 0);
		CHECK_INT(v->ports[0].n_addresses + v->ports[1].n_addresses, 4); /* two cluster addresses, the other from inside and outside */
		world_done(&w);
	}
}

static void SVC_18_42_affinity_and_source_ranges(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL, *deflt = NULL;

	world_service(&w, "s", "{'clusterIP':'10.96.0.10','ports':[{'port':80}],'sessionAffinity':'ClientIP','sessionAffinityConfig':{'clientIP':"
		      "{'timeoutSeconds':7}},'loadBalancerSourceRanges':['10.0.0.0/8',' 192.0.2.1/32 ']}", NULL);
	v = world_compile(&w, "s");
	CHECK_INT(v->ports[0].affinity_s, 7);
	CHECK_INT(v->ports[0].n_sources, 2);
	world_service(&w, "s", "{'clusterIP':'10.96.0.10','ports':[{'port':80}],'sessionAffinity':'ClientIP'}",
		      "{'annotations':{'service.beta.kubernetes.io/load-balancer-source-ranges':'10.0.0.0/8, 192.0.2.0/24','weft.dev/service.algorithm':'maglev'}}");
	deflt = world_compile(&w, "s");
	CHECK_INT(deflt->ports[0].affinity_s, 10800);
	CHECK_INT(deflt->ports[0].n_sources, 2);
	CHECK(deflt->ports[0].maglev);
	world_done(&w);
}

/* "::/0" says nothing about IPv4, though addresses of both are 16 bytes; and where no range is of the family nobody may come. */
static void SVC_42_a_family_has_its_own_source_ranges(void)
{
	static const struct {
		const char *ranges;
		size_t v4, v6;
	} cases[] = {{"'::/0'", 0, 1}, {"'0.0.0.0/0'", 1, 0}, {"'::/0','10.0.0.0/8','fd00::/8'", 1, 2}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;
		json_t *o = world_json("{'metadata':{'name':'s','namespace':'default'},'spec':{'type':'LoadBalancer','clusterIPs':['10.96.0.10',"
				       "'fd00:96::a'],'ports':[{'port':80}]},'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.1'},{'ip':'2001:db8::1'}]}}}");
		_cleanup_free_ char *ranges = xasprintf("[%s]", cases[i].ranges);

		json_object_set_new(json_object_get(o, "spec"), "loadBalancerSourceRanges", world_json(ranges));
		world_put(&w, MODEL_SERVICES, o);
		v = world_compile(&w, "s");
		CHECK_INT(v->ports[0].n_sources, cases[i].v4);
		CHECK_INT(v->ports[1].n_sources, cases[i].v6);
		for (int v6 = 0; v6 < 2; v6++)
			for (size_t k = 0; k < v->ports[v6].n_addresses; k++)
				CHECK(v->ports[v6].addresses[k].kind != SERVICE_LOAD_BALANCER || v->ports[v6].addresses[k].flags & SERVICE_SOURCES);
		world_done(&w);
	}
}

/* Where connections to removed endpoints are reset, who is not used is told from who is not there. */
static void SVC_20_endpoints_that_are_not_used_are_not_removed(void)
{
	static const char *const slice[] = {"10.0.0.1 node=a", "10.0.0.2 node=b serving terminating", "10.0.0.3 node=b serving", NULL};
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *plain = NULL, *resets = NULL;

	world_service(&w, "s", SPEC, NULL);
	world_slice(&w, "s-1", "s", "IPv4", PORTS, slice);
	plain = world_compile(&w, "s");
	CHECK_INT(plain->ports[0].n_endpoints, 1);
	CHECK(!(find_address(plain, SERVICE_CLUSTER_IP, SERVICE_INTERNAL)->flags & SERVICE_RESET));
	world_service(&w, "s", SPEC, "{'annotations':{'weft.dev/service.removed-endpoints':'reset'}}");
	resets = world_compile(&w, "s");
	CHECK_INT(resets->ports[0].n_endpoints, 3);
	CHECK(resets->ports[0].endpoints[0].roles && !resets->ports[0].endpoints[1].roles && !resets->ports[0].endpoints[2].roles);
	CHECK(find_address(resets, SERVICE_CLUSTER_IP, SERVICE_INTERNAL)->flags & SERVICE_RESET);
	world_done(&w);
}

static void SVC_30_terminating_endpoints_are_not_healthy(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *ready = NULL, *ending = NULL;

	world_service(&w, "s", SPEC, NULL);
	world_slice(&w, "s-1", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1 node=a", "10.0.0.2 node=a", "10.0.0.3 node=b", NULL});
	ready = world_compile(&w, "s");
	CHECK_INT(ready->local_ready, 2);
	world_slice(&w, "s-1", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1 node=a serving terminating", NULL});
	ending = world_compile(&w, "s");
	CHECK_INT(ending->local_ready, 0);
	CHECK_STR(world_set(&ending->ports[0], SERVICE_LOCAL), "10.0.0.1:8080");
	world_done(&w);
}

/* Whoever serves a port of several, and both, counts once; a pod's other family does not count again. */
static void SVC_30_endpoints_of_all_ports_are_counted_once(void)
{
	struct world w = world_new();
	_cleanup_(service_view_freep) struct service_view *v = NULL;

	world_service(&w, "s", "{'clusterIP':'10.96.0.10','clusterIPs':['10.96.0.10','fd96::10'],'ipFamilies':['IPv4','IPv6'],"
				"'ports':[{'name':'http','port':80},{'name':'more','port':81}]}", NULL);
	world_slice(&w, "s-1", "s", "IPv4", PORTS, (const char *const[]){"10.0.0.1 node=a", "10.0.0.4 node=b", NULL});
	world_slice(&w, "s-2", "s", "IPv4", "[{'name':'more','port':8081}]", (const char *const[]){"10.0.0.2 node=a", NULL});
	world_slice(&w, "s-3", "s", "IPv4", "[{'name':'http','port':8080},{'name':'more','port':8081}]", (const char *const[]){"10.0.0.3 node=a", NULL});
	world_slice(&w, "s-4", "s", "IPv6", PORTS, (const char *const[]){"fd00::1 node=a", NULL});
	v = world_compile(&w, "s");
	CHECK_INT(v->n_ports, 4);
	CHECK_INT(v->local_ready, 3);
	world_done(&w);
}

/* Of the uplink, and no Node object has it. What another controller gave may be there because it was given. */
static void S9_this_nodes_further_addresses_are_refused(void)
{
	static const struct {
		const char *kind;
		bool had;
	} cases[] = {{"external", false}, {"pool", false}, {"half", false}, {"given", true}};
	struct addr further;

	CHECK_INT(addr_parse("192.0.2.9", &further), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;

		w.env.external_ips = true;
		w.env.held = &further;
		w.env.n_held = 1;
		claim_port(&w, "s", cases[i].kind, "192.0.2.9", 80, "2026-01-01T00:00:00Z");
		printf("# %s\n", cases[i].kind);
		CHECK_INT(has_it(&w, "s"), cases[i].had);
		v = world_compile(&w, "s");
		CHECK_INT(v->refused_here[0], !cases[i].had);
		if (!cases[i].had)
			CHECK(strstr(v->refused[0], "192.0.2.9: node a has it on an uplink"));
		claim_port(&w, "s", cases[i].kind, "127.0.0.1", 80, "2026-01-01T00:00:00Z");
		service_view_free(v);
		v = world_compile(&w, "s");
		CHECK(v->n_refused == 1 && !v->refused_here[0]); /* all nodes know */
		world_done(&w);
	}
}

/* Who may have an address depends on where the API servers are, and on to whom those who want it lead. */
static void S9_changes_of_the_API_are_seen(void)
{
	static const char *const first[] = {"203.0.113.1", NULL}, *const second[] = {"203.0.113.2", NULL};
	struct world w = world_new();
	json_t *slice = world_json("{'metadata':{'name':'kubernetes','namespace':'default'}}");

	claim_port(&w, "s", "given", "203.0.113.1", 6443, "2026-01-01T00:00:00Z");
	claim_port(&w, "rival", "given", "203.0.113.1", 6443, "2026-01-02T00:00:00Z");
	claim_port(&w, "apart", "given", "203.0.113.7", 6443, "2026-01-02T00:00:00Z");
	CHECK(has_it(&w, "s"));
	take_all(&w);
	put_api(&w, first);
	CHECK(took(&w, "s") && !has_it(&w, "s"));
	put_api(&w, second);
	CHECK(took(&w, "s") && has_it(&w, "s"));
	put_api(&w, second);
	CHECK(!took(&w, "s"));
	model_delete(w.model, MODEL_SLICES, slice);
	CHECK(took(&w, "s"));
	world_slice(&w, "s-1", "s", "IPv4", PORTS, first);
	CHECK(took(&w, "rival"));
	world_slice(&w, "s-1", "s", "IPv4", PORTS, second);
	CHECK(!took(&w, "apart"));
	put_api(&w, first);
	take_all(&w);
	json_object_set_new(json_object_get(slice, "metadata"), "name", json_string("kubernetes"));
	model_delete(w.model, MODEL_SERVICES, slice);
	CHECK(took(&w, "s") && has_it(&w, "s"));
	json_decref(slice);
	world_done(&w);
}

/* ---- tiers ---- */

/* Of the slots, how many per cent are in the zone? -1: of nobody else's there are any. */
static int share_of_zone(const struct service_port *p)
{
	unsigned near = 0, all = 0;

	for (size_t i = 0; i < p->n_endpoints; i++) {
		unsigned w = p->endpoints[i].roles & 1 << SERVICE_CLUSTER ? p->endpoints[i].weight : 0;

		all += w;
		near += p->endpoints[i].tier <= SERVICE_TIER_ZONE ? w : 0;
	}
	return all ? (int)(100 * near / all) : -1;
}

static void tiers_stay_near_and_spill_by_weight(void)
{
	static const struct {
		const char *endpoints[6];
		int from, to;
	} cases[] = {
	    {{"10.0.0.1 node=a", "10.0.0.2 node=c"}, 100, 100},				    /* half of the endpoints for half of the nodes */
	    {{"10.0.0.1 node=a", "10.0.0.2 node=c", "10.0.0.3 node=d"}, 62, 70},	    /* a third for a half: two thirds stay */
	    {{"10.0.0.1 node=b", "10.0.0.2 node=c", "10.0.0.3 node=c", "10.0.0.4 node=d"}, 46, 54},
	    {{"10.0.0.2 node=c", "10.0.0.3 node=d"}, 0, 0},				    /* nobody near: the region */
	    {{"10.0.0.1 node=a zones=z1", "10.0.0.2 node=c zones=z1"}, 50, 50},		    /* hints go first */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new();
		_cleanup_(service_view_freep) struct service_view *v = NULL;
		int share;

		w.env.tiers = true;
		world_service(&w, "s", SPEC, NULL);
		world_slice(&w, "s-1", "s", "IPv4", PORTS, cases[i].endpoints);
		v = world_compile(&w, "s");
		share = share_of_zone(&v->ports[0]);
		printf("# case %zu: %d %%\n", i, share);
		CHECK(share >= cases[i].from && share <= cases[i].to);
		world_done(&w);
	}
}

int main(void)
{
	RUN(SVC_10_to_16_which_endpoints);
	RUN(SVC_1_families_have_their_own_slices);
	RUN(SVC_2_3_7_what_is_not_proxied);
	RUN(SVC_7_slices_of_headless_services_are_ignored);
	RUN(SVC_12_slices_are_merged_by_port_name);
	RUN(SVC_12_nil_ports_are_all_ports);
	RUN(SVC_13_v1beta1_and_hand_made_slices);
	RUN(SVC_16_17_19_policies_and_empty_sets);
	RUN(SVC_5_load_balancer_addresses);
	RUN(SVC_6_external_ips_are_off_by_default);
	RUN(S9_addresses_in_use_are_refused);
	RUN(S9_the_API_servers_address_is_refused);
	RUN(S9_who_leads_to_the_API_servers_may_have_their_address);
	RUN(S9_changes_of_the_API_are_seen);
	RUN(S9_this_nodes_further_addresses_are_refused);
	RUN(S9_of_two_claims_the_older_one_counts);
	RUN(S9_what_a_pool_gave_goes_before_external_addresses);
	RUN(S9_a_claim_that_is_not_served_keeps_nobody_out);
	RUN(SVC_18_42_affinity_and_source_ranges);
	RUN(SVC_42_a_family_has_its_own_source_ranges);
	RUN(SVC_20_endpoints_that_are_not_used_are_not_removed);
	RUN(SVC_30_terminating_endpoints_are_not_healthy);
	RUN(SVC_30_endpoints_of_all_ports_are_counted_once);
	RUN(tiers_stay_near_and_spill_by_weight);
	return test_end();
}
