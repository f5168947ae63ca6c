/* SPDX-License-Identifier: Apache-2.0 */
/* What tells the agent that something has changed: the API's watches. kernel_events.c has the kernel's events. */
#include "agent/agent.h"
#include "agent/pod_addrs.h"
#include "base/log.h"
#include "base/str.h"

static const char *const paths[MODEL_TABLES] = {
    [MODEL_NODES] = "/api/v1/nodes",
    [MODEL_PODS] = "/api/v1/pods",
    [MODEL_NAMESPACES] = "/api/v1/namespaces",
    [MODEL_POLICIES] = "/apis/networking.k8s.io/v1/networkpolicies",
    [MODEL_MESH_NODES] = "/apis/weft.dev/v1alpha1/meshnodes",
    [MODEL_SERVICES] = "/api/v1/services",
    [MODEL_SLICES] = "/apis/discovery.k8s.io/v1/endpointslices",
    [MODEL_CLUSTER_POLICIES] = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    [MODEL_ADMIN_POLICIES] = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
    [MODEL_BASELINE_POLICIES] = "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
};

/* Kinds that a cluster has when somebody has brought them. */
static bool is_optional(enum model_table t)
{
	return t == MODEL_CLUSTER_POLICIES || t == MODEL_ADMIN_POLICIES || t == MODEL_BASELINE_POLICIES;
}

/* What a server has that does not know the path. */
static const char *const older_paths[MODEL_TABLES] = {
    [MODEL_SLICES] = "/apis/discovery.k8s.io/v1beta1/endpointslices",
};

/* Pods are no input of the pass: they name addresses, and say which endpoints are nobody's any more. */
static void mark_dirty(struct watch_ctx *w, uint64_t delay_ms)
{
	if (w->table == MODEL_SERVICES || w->table == MODEL_SLICES)
		agent_services_changed(w->agent);
	else if (w->table == MODEL_PODS && model_services_are_dirty(w->agent->model)) /* host ports */
		agent_services_changed(w->agent);
	else if (w->table != MODEL_PODS && !is_optional(w->table))
		agent_mark_dirty(w->agent, delay_ms);
}

static void take(struct watch_ctx *w, const json_t *object)
{
	_cleanup_free_ char *why = NULL;
	int r = model_upsert(w->agent->model, w->table, object, &why);

	if (r < 0)
		log_warn("refused an object of the API", L_STR("why", why));
	if (r > 0 && w->agent->synced[w->table])
		mark_dirty(w, 50);
}

static void on_replace_begin(void *ctx)
{
	struct watch_ctx *w = ctx;

	model_replace_begin(w->agent->model, w->table);
}

static void on_object(json_t *object, void *ctx)
{
	take(ctx, object);
}

static void on_synced(void *ctx)
{
	struct watch_ctx *w = ctx;

	model_replace_end(w->agent->model, w->table);
	w->agent->synced[w->table] = true;
	agent_mark_dirty(w->agent, 0);
}

static void on_del(json_t *object, void *ctx)
{
	struct watch_ctx *w = ctx;

	if (model_delete(w->agent->model, w->table, object) > 0)
		mark_dirty(w, 50);
}

/* The API is well when every watch runs. */
static void on_state(void *ctx)
{
	struct watch_ctx *w = ctx;
	struct agent *a = w->agent;

	for (int t = 0; t < MODEL_TABLES; t++) {
		struct kube_watch_status s;
		_cleanup_free_ char *why = NULL;

		if (!a->watches[t])
			continue;
		kube_watch_status(a->watches[t], &s);
		if (s.synced && (s.connected || !s.error))
			continue;
		why = xasprintf("%s: %s", model_table_name(t), s.error ? s.error : "being listed");
		health_set(&a->health, PART_API, why);
		return;
	}
	health_set(&a->health, PART_API, NULL);
}

static const struct kube_watch_ops watch_ops = {on_replace_begin, on_object, on_synced, on_object, on_del, on_state};

static int start_watch(struct agent *a, enum model_table t)
{
	struct kube_watch_config config = {
	    .path = paths[t], .fallback_path = older_paths[t], .fields = model_fields(t), .optional = is_optional(t), .ops = &watch_ops, .ctx = &a->watch_ctx[t]};

	a->watch_ctx[t] = (struct watch_ctx){a, t};
	return kube_watch_new(a->client, &config, &a->watches[t]);
}

/* Without encryption the kind need not exist. */
static bool is_watched(const struct agent *a, enum model_table t)
{
	return t != MODEL_MESH_NODES || a->opt.transport == TRANSPORT_WIREGUARD;
}

int agent_start_watches(struct agent *a)
{
	struct kube_config config = {0};
	_cleanup_free_ char *why = NULL;
	int r = kube_config_load(a->opt.kubeconfig, &config, &why);

	if (r == 0) {
		agent_note_api(a, config.server);
		r = kube_client_new(a->event, &config, "weftd/" WEFT_VERSION, &a->client, &why);
		kube_config_done(&config);
	}
	for (int t = 0; t < MODEL_TABLES && r == 0; t++)
		if (is_watched(a, t))
			r = start_watch(a, t);
	if (r < 0) {
		health_set(&a->health, PART_API, why ? why : strerror(-r));
		agent_stop_watches(a);
	}
	return r;
}

void agent_stop_watches(struct agent *a)
{
	for (int t = 0; t < MODEL_TABLES; t++)
		a->watches[t] = kube_watch_free(a->watches[t]);
	agent_stop_telling_pods(a);
	a->client = kube_client_free(a->client);
	events_forget_calls(&a->events);
	events_forget_calls(&a->services.events);
	a->status_pending = false;
}

bool agent_pod_is_gone(const char *namespace_, const char *name, const char *uid, void *ctx)
{
	struct agent *a = ctx;
	const struct model_pod *pod;

	if (!a->synced[MODEL_PODS])
		return false; /* absence from an incomplete list says nothing */
	pod = model_find_pod(a->model, namespace_, name);
	return !pod || (*uid && !streq(pod->uid, uid));
}

/* ---- telling the cluster ---- */

static void on_condition_set(const struct kube_response *res, void *ctx)
{
	struct agent *a = ctx;

	a->condition_pending = false;
	if (res->status >= 200 && res->status < 300) {
		a->condition_set = true;
		return;
	}
	log_warn("cannot set the node's condition NetworkUnavailable, again in 10 s", L_INT("status", res->status),
		 L_STR("why", res->error));
	sd_event_now(a->event, CLOCK_MONOTONIC, &a->condition_retry_us);
	a->condition_retry_us += 10 * 1000000ull;
}

void agent_format_time(char out[32])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void agent_tell_node_condition(struct agent *a)
{
	_cleanup_free_ char *path = kube_path("/api/v1", NULL, "nodes", a->opt.node_name, "status");
	_cleanup_json_ json_t *body = NULL;
	struct kube_request req = {
	    .method = "PATCH", .path = path, .content_type = "application/strategic-merge-patch+json"};
	uint64_t now = 0;
	char at[32];

	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	if (a->condition_set || a->condition_pending || !a->client || now < a->condition_retry_us)
		return;
	agent_format_time(at);
	/* strategic: conditions are merged by type, the kubelet's stay */
	body =
	    json_pack("{s{s[{ss, ss, ss, ss, ss, ss}]}}", "status", "conditions", "type", "NetworkUnavailable",
		      "status", "False", "reason", "WeftIsUp", "message", "Weft carries the pods' packets on this node",
		      "lastHeartbeatTime", at, "lastTransitionTime", at);
	req.body = body;
	a->condition_pending = kube_send(a->client, &req, on_condition_set, a, NULL) == 0;
}
