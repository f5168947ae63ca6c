/* SPDX-License-Identifier: Apache-2.0 */
/* The EndpointSlice controller over a store in memory: tables of pods and what they are as endpoints, and what becomes of slices. */
#include "slices_world.h"

/* SVC-10, SVC-11: pod → conditions; NULL: no endpoint */
static void svc_10_conditions(void)
{
	static const struct {
		const char *status, *meta, *spec, *conditions;
	} cases[] = {
	    {"{'phase':'Running','podIP':'10.0.0.1','conditions':[{'type':'Ready','status':'True'}]}", "{}", "{}",
	     "{'ready':true,'serving':true,'terminating':false}"},
	    {"{'phase':'Running','podIP':'10.0.0.1','conditions':[{'type':'Ready','status':'False'}]}", "{}", "{}",
	     "{'ready':false,'serving':false,'terminating':false}"},
	    {"{'phase':'Running','podIP':'10.0.0.1'}", "{}", "{}",
	     "{'ready':false,'serving':false,'terminating':false}"},
	    {"{'phase':'Running','podIP':'10.0.0.1','conditions':[{'type':'Ready','status':'True'}]}",
	     "{'deletionTimestamp':'2026-01-01T00:00:00Z'}", "{}", "{'ready':false,'serving':true,'terminating':true}"},
	    {"{'phase':'Running','podIP':'10.0.0.1'}", "{'deletionTimestamp':'2026-01-01T00:00:00Z'}", "{}",
	     "{'ready':false,'serving':false,'terminating':true}"},
	    {"{'phase':'Running','podIP':'10.0.0.1'}", "{}", "{'publishNotReadyAddresses':true}",
	     "{'ready':true,'serving':false,'terminating':false}"},
	    {"{'phase':'Running','podIP':'10.0.0.1'}", "{'deletionTimestamp':'2026-01-01T00:00:00Z'}",
	     "{'publishNotReadyAddresses':true}", "{'ready':true,'serving':false,'terminating':true}"},
	    {"{'phase':'Succeeded','podIP':'10.0.0.1','conditions':[{'type':'Ready','status':'True'}]}", "{}", "{}",
	     NULL},
	    {"{'phase':'Failed','podIP':'10.0.0.1'}", "{}", "{'publishNotReadyAddresses':true}", NULL},
	    {"{'phase':'Pending'}", "{}", "{}", NULL},
	    {"{'phase':'Running','podIP':'fd00::1'}", "{}", "{}", NULL}, /* of the other family */
	    {"{'phase':'Running','podIP':'127.0.0.1'}", "{}", "{}", NULL},
	    {"{'phase':'Running','podIPs':[{'ip':'169.254.0.9'}]}", "{}", "{}", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *p = json_object(), *s = json_object(), *node = json_object(), *want = NULL, *got;
		const char *const texts[] = {cases[i].status, cases[i].meta, cases[i].spec, cases[i].conditions};
		json_t *parts[4] = {0};

		printf("# case %zu\n", i);
		for (size_t t = 0; t < 4; t++) {
			_cleanup_free_ char *text = texts[t] ? xstrdup(texts[t]) : NULL;

			for (char *c = text; c && *c; c++)
				*c = *c == '\'' ? '"' : *c;
			parts[t] = text ? js(text) : NULL;
		}
		json_object_set_new(p, "status", parts[0]);
		json_object_set_new(p, "metadata", parts[1]);
		json_object_set_new(s, "spec", parts[2]);
		want = parts[3];
		got = endpoint_new(s, p, node, "IPv4");
		CHECK(want ? got && json_equal(json_object_get(got, "conditions"), want) : !got);
	}
}

static void endpoints_carry_their_place(void)
{
	_cleanup_json_ json_t *svc = js("{\"metadata\":{\"name\":\"s\"},\"spec\":{}}");
	_cleanup_json_ json_t *p = pod("p", "a", "n1", 4, true), *none = NULL, *ep = NULL, *other = NULL;
	_cleanup_json_ json_t *node = js("{\"metadata\":{\"labels\":{\"topology.kubernetes.io/zone\":\"z1\"}}}");

	json_object_set_new(json_object_get(p, "spec"), "hostname", json_string("h"));
	json_object_set_new(json_object_get(p, "spec"), "subdomain", json_string("s"));
	ep = endpoint_new(svc, p, node, "IPv6");
	CHECK_STR(json_string_value(json_array_get(json_object_get(ep, "addresses"), 0)), "fd00:244::5");
	CHECK_STR(json_str_at(ep, "nodeName"), "n1");
	CHECK_STR(json_str_at(ep, "zone"), "z1");
	CHECK_STR(json_str_at(ep, "hostname"), "h");
	CHECK_STR(json_str_at(ep, "targetRef", "name"), "p");
	CHECK(!json_object_get(ep, "hints"));
	json_object_set_new(json_object_get(p, "spec"), "subdomain", json_string("t"));
	other = endpoint_new(svc, p, node, "IPv4");
	CHECK(!json_object_get(other, "hostname"));
	none = endpoint_new(svc, p, NULL, "IPv4"); /* its node is unknown */
	CHECK(!none);
}

/* SVC-15 as the controller's side: traffic distribution → hints of a ready endpoint */
static void svc_15_hints(void)
{
	static const char *const cases[][2] = {
	    {"PreferClose", "{\"forZones\":[{\"name\":\"z1\"}]}"},
	    {"PreferSameZone", "{\"forZones\":[{\"name\":\"z1\"}]}"},
	    {"PreferSameNode", "{\"forZones\":[{\"name\":\"z1\"}],\"forNodes\":[{\"name\":\"n1\"}]}"},
	    {NULL, NULL},
	};
	_cleanup_json_ json_t *node = js("{\"metadata\":{\"labels\":{\"topology.kubernetes.io/zone\":\"z1\"}}}");

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_t *svc = js("{\"metadata\":{\"name\":\"s\"},\"spec\":{}}");
		_cleanup_json_ json_t *want = cases[i][1] ? js(cases[i][1]) : NULL;
		_cleanup_json_ json_t *ready = pod("p", "a", "n1", 4, true), *unready = pod("p", "a", "n1", 4, false),
				      *a, *b;

		printf("# case %zu\n", i);
		if (cases[i][0])
			json_object_set_new(json_object_get(svc, "spec"), "trafficDistribution",
					    json_string(cases[i][0]));
		a = endpoint_new(svc, ready, node, "IPv4");
		b = endpoint_new(svc, unready, node, "IPv4");
		CHECK(want ? json_equal(json_object_get(a, "hints"), want) : !json_object_get(a, "hints"));
		CHECK(!json_object_get(b, "hints"));
	}
}

static void ports_are_looked_up(void)
{
	_cleanup_json_ json_t *svc = js("{\"spec\":{\"ports\":["
					"{\"name\":\"a\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":\"web\","
					"\"appProtocol\":\"kubernetes.io/h2c\"},"
					"{\"name\":\"b\",\"port\":81,\"protocol\":\"UDP\",\"targetPort\":\"web\"},"
					"{\"name\":\"c\",\"port\":82,\"protocol\":\"TCP\",\"targetPort\":9000},"
					"{\"name\":\"d\",\"port\":83,\"protocol\":\"TCP\",\"targetPort\":\"side\"},"
					"{\"name\":\"e\",\"port\":84,\"protocol\":\"TCP\",\"targetPort\":\"once\"},"
					"{\"name\":\"f\",\"port\":85,\"protocol\":\"TCP\",\"targetPort\":\"none\"}]}}");
	_cleanup_json_ json_t *p = js(
	    "{\"spec\":{\"containers\":[{\"ports\":[{\"name\":\"web\",\"containerPort\":8080,\"protocol\":\"TCP\"}]},"
	    "{\"ports\":[{\"name\":\"web\",\"containerPort\":53,\"protocol\":\"UDP\"}]}],"
	    "\"initContainers\":[{\"restartPolicy\":\"Always\",\"ports\":[{\"name\":\"side\",\"containerPort\":7}]},"
	    "{\"ports\":[{\"name\":\"once\",\"containerPort\":8}]}]}}");
	_cleanup_json_ json_t *want =
	    js("[{\"name\":\"a\",\"protocol\":\"TCP\",\"port\":8080,\"appProtocol\":\"kubernetes.io/h2c\"},"
	       "{\"name\":\"b\",\"protocol\":\"UDP\",\"port\":53},{\"name\":\"c\",\"protocol\":\"TCP\",\"port\":9000},"
	       "{\"name\":\"d\",\"protocol\":\"TCP\",\"port\":7}]");
	_cleanup_json_ json_t *got = endpoint_ports(svc, p), *turned = json_array();
	_cleanup_free_ char *key = endpoint_ports_key(got), *same;

	for (size_t i = json_array_size(got); i-- > 0;)
		json_array_append(turned, json_array_get(got, i));
	same = endpoint_ports_key(turned);
	CHECK(json_equal(got, want));
	CHECK_STR(key, same);
}

static void slices_look_like_upstream(void)
{
	struct world w;
	_cleanup_json_ json_t *slices = NULL;
	const json_t *s, *meta, *owner;
	json_t *svc = service("s", "a", "SingleStack");

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	put_pod(&w, pod("p", "a", "n1", 1, true));
	json_object_set_new(meta_of(svc), "labels", json_pack("{ss}", "team", "x"));
	put(&w, "Service", svc);
	settle(&w);
	slices = slices_of(&w, "s", NULL);
	CHECK_INT(json_array_size(slices), 1);
	s = json_array_get(slices, 0);
	meta = json_object_get(s, "metadata");
	owner = json_array_get(json_object_get(meta, "ownerReferences"), 0);
	CHECK(str_has_prefix(json_str_at(meta, "name"), "s-") && strlen(json_str_at(meta, "name")) == 7);
	CHECK_STR(json_str_at(meta, "generateName"), "s-");
	CHECK_STR(json_str_at(meta, "labels", LABEL_MANAGED_BY), SLICES_MANAGER);
	CHECK_STR(json_str_at(meta, "labels", "team"), "x");
	CHECK(!json_at(meta, "labels", LABEL_HEADLESS));
	CHECK_STR(json_str_at(owner, "kind"), "Service");
	CHECK(json_is_true(json_object_get(owner, "controller")) &&
	      json_is_true(json_object_get(owner, "blockOwnerDeletion")));
	CHECK_STR(json_str_at(s, "addressType"), "IPv4");
	CHECK_INT(json_integer_value(json_at(json_array_get(json_object_get(s, "ports"), 0), "port")), 80);
	world_done(&w);
}

static void headless_and_empty(void)
{
	struct world w;
	_cleanup_json_ json_t *none = NULL, *one = NULL;
	json_t *svc = service("s", "a", "RequireDualStack");
	_cleanup_free_ char *name = NULL;

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	json_object_set_new(json_object_get(svc, "spec"), "clusterIP", json_string("None"));
	put(&w, "Service", svc);
	settle(&w);
	none = slices_of(&w, "s", NULL); /* one placeholder a family */
	CHECK_INT(json_array_size(none), 2);
	CHECK_STR(json_str_at(json_array_get(none, 0), "metadata", "labels", LABEL_HEADLESS), "");
	CHECK(!first_endpoint(none) && json_array_size(json_object_get(json_array_get(none, 0), "ports")) == 0);
	name = xstrdup(meta_str(json_array_get(none, 0), "name"));
	CHECK_INT(writes(&w), 2);
	put_pod(&w, json_pack("{s{ss ss s{ss}} s{} s{ss}}", "metadata", "name", "ended", "namespace", "default",
			      "labels", "app", "a", "spec", "status", "phase", "Failed"));
	settle(&w);
	CHECK_INT(writes(&w), 2); /* nothing new about it */
	put_pod(&w, pod("p", "a", "n1", 1, true));
	settle(&w);
	one = slices_of(&w, "s", NULL); /* the placeholder is taken, not replaced */
	CHECK_INT(json_array_size(one), 2);
	CHECK_STR(meta_str(json_array_get(one, 0), "name"), name);
	CHECK(first_endpoint(one));
	world_done(&w);
}

static void services_come_and_go(void)
{
	struct world w;
	uint64_t before;

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	put_pod(&w, pod("p", "a", "n1", 1, true));
	put(&w, "Service", service("s", "a", "SingleStack"));
	put(&w, "EndpointSlice",
	    js("{\"metadata\":{\"name\":\"hand\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/"
	       "service-name\":\"s\"}},"
	       "\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"]}]}"));
	settle(&w);
	before = writes(&w);
	settle(&w);
	CHECK_INT(writes(&w), before);
	removes(&w, "Service", "default", "s");
	settle(&w);
	CHECK_INT(store_count(w.hub.store, kind_of("EndpointSlice")), 1); /* the hand-made one */
	/* the same name again: another service, other slices */
	put(&w, "Service", service("s", "a", "SingleStack"));
	settle(&w);
	CHECK_INT(store_count(w.hub.store, kind_of("EndpointSlice")), 2);
	/* no selector any more: what is there is the user's */
	json_t *svc = json_deep_copy(store_get(w.hub.store, kind_of("Service"), "default", "s")->json);

	json_object_del(json_object_get(svc, "spec"), "selector");
	put(&w, "Service", svc);
	removes(&w, "Pod", "default", "p");
	before = writes(&w);
	settle(&w);
	CHECK_INT(writes(&w), before);
	world_done(&w);
}

/* What somebody else does to a slice of ours is put right. */
static void slices_are_healed(void)
{
	struct world w;
	_cleanup_json_ json_t *a = NULL, *b = NULL;
	json_t *broken;

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	put_pod(&w, pod("p", "a", "n1", 1, true));
	put(&w, "Service", service("s", "a", "SingleStack"));
	settle(&w);
	a = slices_of(&w, "s", NULL);
	broken = json_deep_copy(json_array_get(a, 0));
	json_object_set_new(broken, "endpoints", json_array());
	put(&w, "EndpointSlice", broken);
	settle(&w);
	b = slices_of(&w, "s", NULL);
	CHECK(first_endpoint(b));
	removes(&w, "EndpointSlice", "default", meta_str(json_array_get(b, 0), "name"));
	settle(&w);
	CHECK_INT(store_count(w.hub.store, kind_of("EndpointSlice")), 1);
	world_done(&w);
}

/* 250 pods: three slices; one pod's change is one write, of one slice; adding one fills a gap. */
static void writes_are_few(void)
{
	struct world w;
	_cleanup_json_ json_t *s = NULL;
	char name[16];

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	put(&w, "Service", service("s", "a", "SingleStack"));
	for (int i = 0; i < 250; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put_pod(&w, pod(name, "a", "n1", i, true));
	}
	settle(&w);
	CHECK_INT(writes(&w), 3);
	put_pod(&w, pod("p7", "a", "n1", 7, false));
	settle(&w);
	CHECK_INT(writes(&w), 4);
	put_pod(&w, pod("new", "a", "n1", 300, true));
	settle(&w);
	CHECK_INT(writes(&w), 5);
	removes(&w, "Pod", "default", "p9");
	put_pod(&w, pod("newer", "a", "n1", 301, true)); /* into the slice that is written anyway */
	settle(&w);
	CHECK_INT(writes(&w), 6);
	s = slices_of(&w, "s", NULL);
	CHECK_INT(json_array_size(s), 3);
	world_done(&w);
}

/* As many ports as the API allows a slice, not the hundred that it allows endpoints. */
static void a_service_of_many_ports_has_endpoints(void)
{
	struct world w;
	_cleanup_json_ json_t *s = NULL;
	json_t *svc = service("s", "a", "SingleStack"), *ports = json_array();

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	for (int i = 0; i < 120; i++) {
		_cleanup_free_ char *name = xasprintf("p%d", i);

		json_array_append_new(ports, json_pack("{ss si}", "name", name, "port", 1000 + i));
	}
	json_object_set_new(json_object_get(svc, "spec"), "ports", ports);
	put(&w, "Service", svc);
	put_pod(&w, pod("p", "a", "n1", 1, true));
	settle(&w);
	s = slices_of(&w, "s", NULL);
	CHECK_INT(json_array_size(s), 1);
	CHECK_INT(json_array_size(json_object_get(json_array_get(s, 0), "ports")), 120);
	CHECK(first_endpoint(s));
	world_done(&w);
}

/* What one pod's readiness costs among many services: those that select it, and nothing else. */
static void a_pod_concerns_its_services_only(void)
{
	struct slices_stats before, after;
	struct world w;
	char name[32], app[32];

	world_init(&w, 1);
	put_node(&w, "n1", "z1");
	for (int i = 0; i < 1000; i++) {
		json_t *svc;

		snprintf(app, sizeof(app), "a%d", i);
		svc = service(app, app, "SingleStack");
		/* a label that all of them share, and first: it is the wrong one to be filed under */
		json_object_set_new(json_object_get(svc, "spec"), "selector",
				    json_pack("{ss ss}", "tier", "web", "app", app));
		put(&w, "Service", svc);
	}
	for (int i = 0; i < 10000; i++) {
		json_t *p;

		snprintf(name, sizeof(name), "p%d", i);
		snprintf(app, sizeof(app), "a%d", i / 10);
		p = pod(name, app, "n1", i, true);
		json_object_set_new(json_at(p, "metadata", "labels"), "tier", json_string("web"));
		put_pod(&w, p);
	}
	settle(&w);
	before = *slices_stats(w.slices);
	json_t *p = pod("p4321", "a432", "n1", 4321, false);

	json_object_set_new(json_at(p, "metadata", "labels"), "tier", json_string("web"));
	put_pod(&w, p);
	settle(&w);
	after = *slices_stats(w.slices);
	printf("# looked at %llu, synced %llu, wrote %llu of 1000 services\n",
	       (unsigned long long)(after.looked - before.looked), (unsigned long long)(after.synced - before.synced),
	       (unsigned long long)(after.updated - before.updated));
	CHECK(after.looked - before.looked <=
	      4); /* as it was, as it is; one more may be filed under the common label */
	CHECK_INT(after.synced - before.synced, 1);
	CHECK_INT(after.updated - before.updated, 1);
	CHECK_INT(after.created + after.removed, before.created + before.removed);
	world_done(&w);
}

/* --- topology mode Auto --- */

/* The zones that endpoints p0, p1, ... are hinted for, a letter each ("z1" → '1'), '-' where there is none. */
static const char *hints_of(struct world *w, const char *name)
{
	_cleanup_json_ json_t *slices = slices_of(w, name, "IPv4");
	static char out[64];
	size_t i, k, n = 0;
	json_t *s, *ep;

	memset(out, 0, sizeof(out));
	json_array_foreach(slices, i, s)
		json_array_foreach(json_object_get(s, "endpoints"), k, ep) {
			const char *zone = json_str_at(json_array_get(json_at(ep, "hints", "forZones"), 0), "name");

			out[atoi(json_str_at(ep, "targetRef", "name") + 1)] = zone ? zone[1] : '-';
			n++;
		}
	CHECK_INT(strlen(out), n);
	return out;
}

/* Reasons of the Events about a Service, a letter each (E, D), oldest first; they are deleted. */
static const char *take_events(struct world *w, const char *name)
{
	static char out[16];
	struct object **all;
	size_t n, k = 0;

	store_snapshot(w->hub.store, kind_of("Event"), store_rev(w->hub.store), &all, &n);
	memset(out, 0, sizeof(out));
	for (size_t i = 0; i < n; i++) {
		CHECK_STR(json_str_at(all[i]->json, "involvedObject", "name"), name);
		CHECK(str_has_prefix(json_str_at(all[i]->json, "message"), "IPv4 endpoints: "));
		CHECK_STR(json_str_at(all[i]->json, "type"), streq(json_str_at(all[i]->json, "reason"), "TopologyAwareHintsEnabled") ? "Normal" : "Warning");
		out[k++] = json_str_at(all[i]->json, "reason")[strlen("TopologyAwareHints")];
		removes(w, "Event", "default", all[i]->name);
	}
	store_snapshot_free(all, n);
	return out;
}

static void annotate(struct world *w, const char *key, const char *value)
{
	const struct object *old = store_get(w->hub.store, kind_of("Service"), "default", "s");
	json_t *j = json_deep_copy(old->json);

	json_object_set_new(meta_of(j), "annotations", key ? json_pack("{ss}", key, value) : json_object());
	put(w, "Service", j);
	settle(w);
}

static void svc_15_topology_mode(void)
{
	static const char mode[] = "service.kubernetes.io/topology-mode", older[] = "service.kubernetes.io/topology-aware-hints";
	struct world w;
	char name[8];
	uint64_t before;

	world_init(&w, 1);
	put_ready_node(&w, "n1", "z1", "4");
	put_ready_node(&w, "n2", "z2", "4");
	json_t *s = service("s", "a", "SingleStack");
	json_object_set_new(json_object_get(s, "spec"), "trafficDistribution", json_string("PreferSameNode"));
	put(&w, "Service", s);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put_pod(&w, pod(name, "a", i < 5 ? "n1" : "n2", i, true));
	}
	settle(&w);
	CHECK_STR(hints_of(&w, "s"), "111112"); /* by trafficDistribution */
	annotate(&w, mode, "auto");		/* goes before */
	CHECK_STR(hints_of(&w, "s"), "221112");
	CHECK_STR(take_events(&w, "s"), "E");
	before = writes(&w);
	put_ready_node(&w, "n1", "z1", "4500m"); /* the shares are still near enough */
	settle(&w);
	CHECK_INT(writes(&w), before);
	put_ready_node(&w, "n1", "z1", "8"); /* and now not: one goes home */
	settle(&w);
	CHECK_STR(hints_of(&w, "s"), "121112");
	put_pod(&w, pod("p1", "a", "n1", 1, false)); /* who is not ready has no hint, and does not count */
	settle(&w);
	CHECK_STR(hints_of(&w, "s"), "2-1112");
	put_ready_node(&w, "n3", "", "4"); /* a node without a zone: no hints for anybody */
	settle(&w);
	CHECK_STR(hints_of(&w, "s"), "------");
	CHECK_STR(take_events(&w, "s"), "D");
	removes(&w, "Node", "", "n3");
	settle(&w);
	CHECK_STR(take_events(&w, "s"), "E");
	CHECK_STR(hints_of(&w, "s"), "2-1112");
	annotate(&w, mode, "Disabled");
	CHECK_STR(hints_of(&w, "s"), "1-1112"); /* by trafficDistribution again */
	CHECK_STR(take_events(&w, "s"), "D");
	annotate(&w, older, "Auto");
	CHECK_STR(take_events(&w, "s"), "E");
	annotate(&w, NULL, NULL);
	CHECK_STR(take_events(&w, "s"), "D");
	world_done(&w);
}

int main(void)
{
	RUN(svc_10_conditions);
	RUN(endpoints_carry_their_place);
	RUN(svc_15_hints);
	RUN(svc_15_topology_mode);
	RUN(ports_are_looked_up);
	RUN(slices_look_like_upstream);
	RUN(headless_and_empty);
	RUN(services_come_and_go);
	RUN(slices_are_healed);
	RUN(writes_are_few);
	RUN(a_service_of_many_ports_has_endpoints);
	RUN(a_pod_concerns_its_services_only);
	return test_end();
}
