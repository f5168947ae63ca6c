/* SPDX-License-Identifier: Apache-2.0 */
/* A node whose lease is stale gets Ready=Unknown, and the pods of a node that is Unknown, whoever found that out, get
 * Ready=False: so they are no endpoints any more that new connections go to. Both are set right by the node itself when it is back;
 * the pods stay. What is already as it should be is not written, so a look at everything on each tick repeats what
 * failed, and finds pods that became ready after their node was lost, without a memory of its own. */
#include "hub/node_liveness.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/hub.h"
#include "hub/object.h"

#include <time.h>

enum { LEASE_GRACE_S = 40, ABSENCE_S = 15 };

/* Whoever could not renew a lease because there was no hub is not to blame: none is judged before this one has been there, without
 * an interruption (a machine that slept), for as long as a lease lasts. Else a restart would take the endpoints of all nodes. */
static bool may_judge(struct node_liveness *l)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	if (!l->since || now.tv_sec - l->last_look > ABSENCE_S)
		l->since = now.tv_sec;
	l->last_look = now.tv_sec;
	return now.tv_sec - l->since >= LEASE_GRACE_S;
}

static bool set_condition(json_t *object, const char *type, const char *status)
{
	json_t *c = json_condition(object, type);
	char now[TIME_TEXT_MAX];

	if (!c || streq(json_str_at(c, "status"), status))
		return false;
	json_object_set_new(c, "status", json_string(status));
	json_object_set_new(c, "lastTransitionTime", json_string(time_now(now)));
	return true;
}

static void put(struct hub *hub, const struct object *was, json_t *json)
{
	if (store_put(hub->store, was->kind, json, NULL) < 0)
		log_warn("cannot mark as lost, it is tried again", L_STR("kind", was->kind->kind), L_STR("name", was->name));
}

static void mark_node(struct hub *hub, const struct object *node)
{
	_cleanup_json_ json_t *j = json_deep_copy(node->json);
	json_t *c = json_condition(j, "Ready");

	if (!set_condition(j, "Ready", "Unknown"))
		return;
	json_object_set_new(c, "reason", json_string("NodeStatusUnknown"));
	json_object_set_new(c, "message", json_string("The node does not renew its lease."));
	put(hub, node, json_incref(j));
}

static bool is_stale(struct hub *hub, const struct object *node)
{
	const struct object *l = store_get(hub->store, kind_of("Lease"), "kube-node-lease", node->name);
	const char *renewed = l ? json_str_at(l->json, "spec", "renewTime") : NULL;
	int64_t t;

	return renewed && time_parse(renewed, &t) == 0 && t < time(NULL) - LEASE_GRACE_S;
}

static void check_leases(struct hub *hub)
{
	struct object **all;
	size_t n;

	store_snapshot(hub->store, kind_of("Node"), store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++)
		if (is_stale(hub, all[i]))
			mark_node(hub, all[i]);
	store_snapshot_free(all, n);
}

static bool is_unknown(const struct object *node)
{
	return node && streq(json_str_at(json_condition(node->json, "Ready"), "status"), "Unknown");
}

static bool any_unknown(struct hub *hub)
{
	size_t n;
	struct object *const *all = store_all(hub->store, kind_of("Node"), &n);

	for (size_t i = 0; i < n; i++)
		if (is_unknown(all[i]))
			return true;
	return false;
}

static void mark_pod(struct hub *hub, const struct object *pod)
{
	_cleanup_json_ json_t *j = json_deep_copy(pod->json);

	if (set_condition(j, "Ready", "False"))
		put(hub, pod, json_incref(j));
}

static void check_pods(struct hub *hub)
{
	struct object **all;
	size_t n;

	store_snapshot(hub->store, kind_of("Pod"), store_rev(hub->store), &all, &n);
	for (size_t i = 0; i < n; i++) {
		const char *node = json_str_at(all[i]->json, "spec", "nodeName");

		if (node && json_condition_is_true(all[i]->json, "Ready") && is_unknown(store_get(hub->store, kind_of("Node"), "", node)))
			mark_pod(hub, all[i]);
	}
	store_snapshot_free(all, n);
}

void node_liveness_check(struct hub *hub)
{
	if (may_judge(&hub->liveness))
		check_leases(hub);
	if (any_unknown(hub))
		check_pods(hub);
}
