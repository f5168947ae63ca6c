/* SPDX-License-Identifier: Apache-2.0 */
/* The controllers that a bare API lacks, as reactions to changes and one ticker:
 * namespaces that must exist; the kubernetes service and its slice; carrying on the deletion of namespaces; Events for node ranges
 * that ran out; Events' time to live.
 * EndpointSlices, the addresses of load balancers, the objects that tell of cluster addresses, and nodes that are lost have files of
 * their own: slices.c, load_balancers.c, address_objects.c, node_liveness.c. */
#include "hub/address_objects.h"
#include "hub/admit.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/load_balancers.h"
#include "hub/node_liveness.h"
#include "hub/patch.h"
#include "hub/slices.h"
#include "hub/watch.h"

#include <time.h>

enum { TICK_S = 5, EVENT_TTL_S = 3600, BOOKMARK_TICKS = 12 };

static void note_refusal(const char *what, json_t *no)
{
	if (no)
		log_warn("controller write refused", L_STR("what", what), L_STR("why", json_str_at(no, "message")));
	json_decref(no);
}

void emit_event(struct hub *hub, const struct object *about, bool warning, const char *reason, const char *message)
{
	_cleanup_free_ char *api_version = kind_api_version(about->kind), *uid = uuid_new();
	_cleanup_free_ char *name = xasprintf("%.200s.%.8s%.4s", about->name, uid, uid + 9);
	const char *ns = *about->ns ? about->ns : "default";
	char now[TIME_TEXT_MAX];
	json_t *e = json_pack("{s{ss ss} s{ss ss ss ss ss} ss ss ss s{ss} ss si}", "metadata", "name", name, "namespace", ns,
			      "involvedObject", "kind", about->kind->kind, "apiVersion", api_version, "name", about->name, "uid",
			      meta_str(about->json, "uid"), "resourceVersion", meta_str(about->json, "resourceVersion"), "reason",
			      reason, "message", message, "type", warning ? "Warning" : "Normal", "source", "component", "weft-hub",
			      "firstTimestamp", time_now(now), "count", 1);

	json_object_set_new(e, "lastTimestamp", json_string(now));
	json_object_set_new(e, "reportingComponent", json_string("weft-hub"));
	if (*about->ns)
		json_object_set_new(json_object_get(e, "involvedObject"), "namespace", json_string(about->ns));
	note_refusal("event", admit_own(hub, kind_of("Event"), NULL, e, NULL));
}

/* Creates it, or makes the fields in @j hold. Takes @j. */
static void ensure(struct hub *hub, const struct kind *k, json_t *j)
{
	const struct object *old = store_get(hub->store, k, meta_str(j, "namespace"), meta_str(j, "name"));

	if (old) {
		json_t *merged = patch_merge(old->json, j), *copy = json_deep_copy(merged);

		json_decref(merged);
		json_decref(j);
		j = copy;
	}
	note_refusal(k->resource, admit_own(hub, k, old, j, NULL));
}

static void ensure_namespaces(struct hub *hub)
{
	static const char *const names[] = { "default", "kube-system", "kube-public", "kube-node-lease" };
	const struct kind *k = kind_of("Namespace");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!store_get(hub->store, k, "", names[i]))
			ensure(hub, k, json_pack("{s{ss}}", "metadata", "name", names[i]));
}

/* The first address after the network's: what pods know the API by. */
static json_t *kubernetes_ips(struct hub *hub)
{
	const struct kind *k = kind_of("Service");
	const struct object *old = store_get(hub->store, k, "default", "kubernetes");
	char text[ADDR_TEXT_MAX];
	struct addr first;

	if (old)
		return json_deep_copy(json_at(old->json, "spec", "clusterIPs"));
	first = addr_add(&pool_prefix(hub->services.pools[0])->addr, 1);
	return json_pack("[s]", addr_format(&first, text));
}

static void ensure_kubernetes_service(struct hub *hub)
{
	json_t *ips = kubernetes_ips(hub);
	json_t *svc = json_pack("{s{ss ss s{ss ss}} s{so ss s[{ss ss si si}]}}", "metadata", "name", "kubernetes", "namespace",
				"default", "labels", "component", "apiserver", "provider", "kubernetes", "spec", "clusterIPs", ips,
				"type", "ClusterIP", "ports", "name", "https", "protocol", "TCP", "port", 443, "targetPort", 6443);

	json_object_set(json_object_get(svc, "spec"), "clusterIP", json_array_get(ips, 0));
	ensure(hub, kind_of("Service"), svc);
}

static bool is_for_family(const struct addr *a, bool v4)
{
	bool loopback = v4 ? a->b[12] == 127 : addr_is_zero(a) || (a->b[15] == 1 && !a->b[0] && !a->b[14]);

	return addr_is_v4(a) == v4 && !loopback && memcmp(addr_raw(a), (uint8_t[16]){ 0 }, addr_raw_len(a)) != 0;
}

/* One slice a family, of the addresses that are reachable from elsewhere. */
static void ensure_slice(struct hub *hub, const struct addr *addresses, const uint16_t *ports, size_t n, bool v4)
{
	const char *name = v4 ? "kubernetes" : "kubernetes-ipv6";
	const struct kind *k = kind_of("EndpointSlice");
	json_t *endpoints = json_array();
	char text[ADDR_TEXT_MAX];
	int port = 6443;

	for (size_t i = 0; i < n; i++)
		if (is_for_family(&addresses[i], v4)) {
			json_array_append_new(endpoints, json_pack("{s[s] s{sb}}", "addresses", addr_format(&addresses[i], text),
								   "conditions", "ready", true));
			port = ports[i];
		}
	if (json_array_size(endpoints) == 0 && !store_get(hub->store, k, "default", name)) {
		json_decref(endpoints);
		return;
	}
	ensure(hub, k, json_pack("{s{ss ss s{ss}} ss so s[{ss ss si}]}", "metadata", "name", name, "namespace", "default", "labels",
				 "kubernetes.io/service-name", "kubernetes", "addressType", v4 ? "IPv4" : "IPv6", "endpoints",
				 endpoints, "ports", "name", "https", "protocol", "TCP", "port", port));
}

static void retry_nodes(struct hub *hub)
{
	const struct kind *k = kind_of("Node");
	struct object **all;
	size_t n;

	store_snapshot(hub->store, k, store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		if (json_array_size(json_at(all[i]->json, "spec", "podCIDRs")) == 0)
			note_refusal("node", admit_own(hub, k, all[i], json_deep_copy(all[i]->json), NULL));
	store_snapshot_free(all, n);
}

static void on_node(struct hub *hub, const struct change *c)
{
	if (c->type == CHANGE_DELETED)
		retry_nodes(hub);
	else if (c->type == CHANGE_ADDED && json_array_size(json_at(c->obj->json, "spec", "podCIDRs")) == 0)
		emit_event(hub, c->obj, true, "CIDRNotAvailable", "no pod range is left in the cluster CIDRs for this node");
}

static void on_change(void *ctx, const struct change *c)
{
	struct hub *hub = ctx;

	if (streq(c->obj->kind->kind, "Node"))
		on_node(hub, c);
	if (c->type == CHANGE_DELETED && *c->obj->ns)
		namespace_sync(hub, c->obj->ns);
}

static int64_t event_time(const json_t *e)
{
	const char *when = json_str_at(e, "series", "lastObservedTime");
	int64_t t = 0;

	if (!when)
		when = json_str_at(e, "lastTimestamp");
	if (!when)
		when = meta_str(e, "creationTimestamp");
	return time_parse(when, &t) == 0 ? t : 0;
}

static void expire_events(struct hub *hub)
{
	const struct kind *k = kind_of("Event");
	int64_t oldest = time(NULL) - EVENT_TTL_S;
	struct object **all;
	size_t n;

	store_snapshot(hub->store, k, store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		if (event_time(all[i]->json) < oldest && store_delete(hub->store, k, all[i]->ns, all[i]->name, NULL) < 0)
			break; /* logged below the store; the next tick tries again */
	store_snapshot_free(all, n);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct hub *hub = ctx;
	static unsigned ticks;

	(void)usec;
	expire_events(hub);
	node_liveness_check(hub);
	slices_retry(hub->slices);
	if (++ticks % BOOKMARK_TICKS == 0)
		watches_send_bookmarks(hub);
	sd_event_source_set_time_relative(s, TICK_S * 1000000ull);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Namespaces whose deletion a restart interrupted. */
static void resume_namespaces(struct hub *hub)
{
	struct object **all;
	size_t n;

	store_snapshot(hub->store, kind_of("Namespace"), store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		namespace_sync(hub, all[i]->name);
	store_snapshot_free(all, n);
}

int controllers_start(struct hub *hub, const struct addr *addresses, const uint16_t *ports, size_t n)
{
	int r;

	if (hub->node_ports.last == 0)
		node_ports_init(&hub->node_ports, NODE_PORT_FIRST, NODE_PORT_LAST);
	nodes_claim(hub);
	services_claim(hub);
	store_listen(hub->store, on_change, hub);
	address_objects_start(hub);
	ensure_namespaces(hub);
	ensure_kubernetes_service(hub);
	ensure_slice(hub, addresses, ports, n, true);
	ensure_slice(hub, addresses, ports, n, false);
	resume_namespaces(hub);
	r = slices_new(hub, &hub->slices);
	if (r >= 0)
		r = load_balancers_new(hub, &hub->load_balancers);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(hub->event, &hub->ticker, CLOCK_MONOTONIC, TICK_S * 1000000ull, 0, on_tick, hub);
}

void controllers_stop(struct hub *hub)
{
	hub->ticker = sd_event_source_disable_unref(hub->ticker);
	hub->load_balancers = load_balancers_free(hub->load_balancers);
	hub->slices = slices_free(hub->slices);
}
