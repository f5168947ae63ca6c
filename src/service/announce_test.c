/* SPDX-License-Identifier: Apache-2.0 */
#include "service/announce.h"
#include "service/test_world.h"

static const char spec[] = "{'type': 'LoadBalancer', 'clusterIPs': ['10.96.0.1'], 'ports': [{'port': 80}], 'selector': {'a': 'b'}%s}";

static json_t *condition(const char *status, const char *reason)
{
	return json_pack("[{ss, ss, ss}]", "type", "weft.dev/LoadBalancerAddresses", "status", status, "reason", reason);
}

/* @conditions: taken over. */
static void put_service_with(struct world *w, const char *name, const char *ip, json_t *conditions, const char *more)
{
	_cleanup_free_ char *text = xasprintf(spec, more);

	world_put(w, MODEL_SERVICES,
		  json_pack("{s{ss, ss}, so, s{so, s{s[{ss}]}}}", "metadata", "name", name, "namespace", "default", "spec", world_json(text),
			    "status", "conditions", conditions, "loadBalancer", "ingress", "ip", ip));
}

static void put_service(struct world *w, const char *name, const char *ip, bool pooled, const char *more)
{
	put_service_with(w, name, ip, pooled ? condition("True", "Assigned") : json_array(), more);
}

static void put_node(struct world *w, const char *name, const char *ip, const char *labels, const char *spec_, const char *ready)
{
	world_put(w, MODEL_NODES,
		  json_pack("{s{ss, so}, so, s{s[{ss, ss}], s[{ss, ss}]}}", "metadata", "name", name, "labels", world_json(labels), "spec",
			    world_json(spec_), "status", "addresses", "type", "InternalIP", "address", ip, "conditions", "type", "Ready",
			    "status", ready));
}

/* "192.0.2.9 default/web: a b" a line. */
static const char *told(struct world *w, enum announce_from from)
{
	static char text[4096];
	size_t n;
	struct announcement *list = service_announcements(&w->env, from, &n);

	text[0] = 0;
	for (size_t i = 0; i < n; i++) {
		char addr[ADDR_TEXT_MAX], *end = text + strlen(text);

		end += sprintf(end, "%s%s %s:", i ? "\n" : "", addr_format(&list[i].addr, addr), list[i].name);
		for (size_t k = 0; k < list[i].n_nodes; k++)
			end += sprintf(end, " %s", list[i].nodes[k]->name);
	}
	announcements_free(list, n);
	return text;
}

static void pooled_addresses_are_announced(void)
{
	struct world w = world_new();

	put_service(&w, "web", "192.0.2.9", true, "");
	put_service(&w, "foreign", "192.0.2.8", false, "");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: a b c d");
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.8 foreign: a b c d\n192.0.2.9 web: a b c d");
	world_done(&w);
}

/* Whatever else of the Service's wish failed: what a pool gave is announced, and nothing but that. */
static void SVC_5_half_a_wish_is_announced(void)
{
	static const char *const reasons[] = {"NoPoolOfFamily", "Exhausted", "AddressNotInPool", "AddressInUse", "AddressOfNode", "AddressOfAPIServer",
					      "InvalidRequest", "OfALaterHub"};
	struct world w = world_new();

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		put_service_with(&w, "web", "192.0.2.9", condition("False", reasons[i]), "");
		CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: a b c d");
	}
	put_service_with(&w, "web", "192.0.2.9", condition("False", "NoPool"), ""); /* somebody else gave it */
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "");
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.9 web: a b c d");
	world_done(&w);
}

static void external_addresses_only_where_they_are_served(void)
{
	struct world w = world_new();

	put_service(&w, "web", "192.0.2.9", true, ", 'externalIPs': ['198.51.100.1']");
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.9 web: a b c d");
	w.env.external_ips = true;
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.9 web: a b c d\n198.51.100.1 web: a b c d");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: a b c d");
	put_service(&w, "a", "198.51.100.2", true, ", 'externalIPs': ['192.0.2.9'], 'externalTrafficPolicy': 'Local'"); /* whose the ports are decides */
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.9 web: a b c d\n198.51.100.1 web: a b c d\n198.51.100.2 a:");
	world_done(&w);
}

/* S9: nobody's address is taken over by a word in a Service's status. */
static void S_9_what_others_have_is_not_announced(void)
{
	static const char *const taken[] = {"172.16.0.2", "10.96.0.7", "10.244.1.5", "127.0.0.1", "169.254.169.254", "224.0.0.1"};
	struct prefix pods;
	struct world w = world_new();

	CHECK(prefix_parse("10.244.0.0/16", &pods, NULL) == 0);
	w.env.pod_ranges = &pods;
	w.env.n_pod_ranges = 1;
	world_service(&w, "dns", "{'clusterIPs': ['10.96.0.7'], 'ports': [{'port': 53}]}", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		put_service(&w, "bad", taken[i], true, "");
		CHECK_STR(told(&w, ANNOUNCE_ALL), "");
	}
	put_service(&w, "bad", "192.0.2.9", true, ""); /* it is looked at */
	CHECK_STR(told(&w, ANNOUNCE_ALL), "192.0.2.9 bad: a b c d");
	world_done(&w);
}

/* Who announces the API server's address takes it, whatever ports are asked for; a Service that leads to the servers may. */
static void S_9_the_API_servers_address_is_not_announced(void)
{
	static const char *const servers[] = {"203.0.113.1", NULL};
	struct service_api asked = {.port = 443};
	struct world w = world_new();

	CHECK_INT(addr_parse("203.0.113.9", &asked.addr), 0);
	w.env.api = &asked;
	w.env.n_api = 1;
	world_service(&w, "kubernetes", "{'clusterIP': '10.96.0.2', 'ports': [{'name': 'https', 'port': 443}]}", NULL);
	world_slice(&w, "kubernetes", "kubernetes", "IPv4", "[{'name': 'https', 'port': 6443}]", servers);
	put_service(&w, "bad", "203.0.113.9", true, "");
	CHECK_STR(told(&w, ANNOUNCE_ALL), "");
	put_service(&w, "bad", "203.0.113.1", false, "");
	CHECK_STR(told(&w, ANNOUNCE_ALL), "");
	put_service(&w, "lb", "203.0.113.9", true, "");
	world_slice(&w, "lb-1", "lb", "IPv4", "[{'port': 6443}]", servers);
	CHECK_STR(told(&w, ANNOUNCE_ALL), "203.0.113.9 lb: a b c d");
	world_done(&w);
}

static void nodes_that_should_not(void)
{
	struct world w = world_new();

	put_service(&w, "web", "192.0.2.9", true, "");
	put_node(&w, "a", "172.16.0.1", "{'node.kubernetes.io/exclude-from-external-load-balancers': ''}", "{}", "True");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b c d");
	put_node(&w, "b", "172.16.0.2", "{}", "{'unschedulable': true}", "True");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: c d");
	put_node(&w, "c", "172.16.0.3", "{}", "{}", "Unknown");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: d");
	put_node(&w, "d", "172.16.0.4", "{}", "{'taints': [{'key': 'ToBeDeletedByClusterAutoscaler'}]}", "True");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b c d"); /* better one of these than nobody */
	world_done(&w);
}

static void SVC_17_local_only_where_somebody_is_ready(void)
{
	static const char *const some[] = {"10.0.0.1 node=b ready serving", "10.0.0.2 node=c serving terminating", NULL};
	static const char *const ending[] = {"10.0.0.1 node=b terminating", "10.0.0.2 node=c serving terminating", NULL};
	struct world w = world_new();

	put_service(&w, "web", "192.0.2.9", true, ", 'externalTrafficPolicy': 'Local'");
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web:");
	world_slice(&w, "web-1", "web", "IPv4", "[{'port': 8080}]", some);
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b");
	world_slice(&w, "web-1", "web", "IPv4", "[{'port': 8080}]", ending);
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: c");
	world_done(&w);
}

/* What the compiler does not serve there makes no announcer: it would be a black hole. */
static void SVC_17_local_only_what_is_served_there(void)
{
	static const char *const b[] = {"10.0.0.1 node=b ready serving", NULL}, *const c[] = {"10.0.0.2 node=c ready serving", NULL};
	static const char *const d[] = {"127.0.0.1 node=d ready serving", "10.0.0.4 node=c serving", NULL};
	struct world w = world_new();

	put_service(&w, "web", "192.0.2.9", true, ", 'externalTrafficPolicy': 'Local'");
	world_slice(&w, "web-1", "web", "IPv4", "[{'port': 8080}]", b);
	world_slice(&w, "web-2", "web", "IPv4", "[]", c); /* pods that lack the port */
	world_slice(&w, "web-3", "web", "IPv4", "[{'port': 8080}]", d); /* nobody's to name; not ready, and not about to end */
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b");
	world_slice(&w, "web-2", "web", "IPv4", "[{'name': 'other', 'port': 8080}, {'protocol': 'UDP', 'port': 8080}]", c);
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b");
	world_slice(&w, "web-2", "web", "IPv4", "[{'port': 8081}]", c);
	CHECK_STR(told(&w, ANNOUNCE_POOLS), "192.0.2.9 web: b c");
	world_done(&w);
}

int main(void)
{
	RUN(pooled_addresses_are_announced);
	RUN(SVC_5_half_a_wish_is_announced);
	RUN(external_addresses_only_where_they_are_served);
	RUN(S_9_what_others_have_is_not_announced);
	RUN(S_9_the_API_servers_address_is_not_announced);
	RUN(nodes_that_should_not);
	RUN(SVC_17_local_only_where_somebody_is_ready);
	RUN(SVC_17_local_only_what_is_served_there);
	return test_end();
}
