/* SPDX-License-Identifier: Apache-2.0 */
/* Two watches, nodes and pods without a node, feed one pass that runs after each change. A pod whose binding is under way
 * is left alone; its outcome, or the watch, decides what comes next. Nodes are kept in the order of their names' numbers,
 * so "round robin" is what a reader of `kubectl get pods -o wide` expects.
 *
 * A runner that is gone cannot report that, so the scheduler looks: a node that says Ready while its runner's cgroup is
 * empty is set to Unknown, as Kubernetes' node lifecycle controller would after its grace period. */
#include "lab/scheduler.h"
#include "base/list.h"
#include "base/log.h"
#include "kube/watch.h"
#include "lab/apitime.h"
#include "lab/cgroup.h"

struct target {
	char *name;
	bool ready, unschedulable;
	json_t *labels; /* or NULL */
};

struct waiting {
	struct list link;
	char *ns, *name, *uid;
	char *node; /* whose turn it was; NULL: not yet */
	json_t *selector; /* spec.nodeSelector, or NULL */
	bool binding, seen, complained;
	struct scheduler *scheduler;
	struct kube_call *call;
};

struct scheduler {
	sd_event *event;
	struct kube_client *client;
	char *lab_name;
	struct kube_watch *node_watch, *pod_watch;
	sd_event_source *look;
	struct target *targets;
	size_t n_targets, cap_targets, next;
	struct list waiting;
};

enum { LOOK_US = 300000 };

static void schedule(struct scheduler *s);

/* n2 before n10. */
static int compare_names(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);

	return la != lb ? (la < lb ? -1 : 1) : strcmp(a, b);
}

static void target_clear(struct target *t)
{
	free(t->name);
	json_decref(t->labels);
}

static struct target *target_find(struct scheduler *s, const char *name)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (streq(s->targets[i].name, name))
			return &s->targets[i];
	return NULL;
}

static struct target *target_add(struct scheduler *s, const char *name)
{
	size_t at = 0;

	GROW(s->targets, s->n_targets, s->cap_targets);
	while (at < s->n_targets && compare_names(s->targets[at].name, name) < 0)
		at++;
	memmove(&s->targets[at + 1], &s->targets[at], (s->n_targets - at) * sizeof(*s->targets));
	s->n_targets++;
	s->targets[at] = (struct target){ .name = xstrdup(name) };
	return &s->targets[at];
}

static void node_upsert(json_t *node, void *ctx)
{
	struct scheduler *s = ctx;
	const char *name = json_str_at(node, "metadata", "name");
	struct target *t = name ? target_find(s, name) : NULL;

	if (!name)
		return;
	if (!t)
		t = target_add(s, name);
	json_decref(t->labels);
	t->labels = json_incref(json_at(node, "metadata", "labels"));
	t->ready = json_condition_is_true(node, "Ready");
	t->unschedulable = json_is_true(json_at(node, "spec", "unschedulable"));
	schedule(s);
}

static void node_del(json_t *node, void *ctx)
{
	struct scheduler *s = ctx;
	struct target *t = target_find(s, json_str_or(json_at(node, "metadata", "name"), ""));

	if (!t)
		return;
	target_clear(t);
	s->n_targets--;
	memmove(t, t + 1, (s->targets + s->n_targets - t) * sizeof(*t));
}

static void nodes_begin(void *ctx)
{
	struct scheduler *s = ctx;

	for (size_t i = 0; i < s->n_targets; i++) /* a node that does not come again is as good as not ready */
		s->targets[i].ready = false;
}

static bool selector_matches(const json_t *selector, const json_t *labels)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)selector, key, value)
		if (!streq(json_string_value(value), json_string_value(json_object_get(labels, key))))
			return false;
	return true;
}

static bool may_have(const struct target *t, const struct waiting *w)
{
	return t->ready && !t->unschedulable && selector_matches(w->selector, t->labels);
}

/* A binding that is tried again is tried with the same node: the API may have it, and only the answer be lost, and the turns stay even. */
static struct target *pick(struct scheduler *s, struct waiting *w)
{
	struct target *before = w->node ? target_find(s, w->node) : NULL;

	if (before && may_have(before, w))
		return before;
	for (size_t i = 0; i < s->n_targets; i++) {
		size_t at = (s->next + i) % s->n_targets;
		struct target *t = &s->targets[at];

		if (may_have(t, w)) {
			s->next = at + 1;
			free(w->node);
			w->node = xstrdup(t->name);
			return t;
		}
	}
	return NULL;
}

static void on_bound(const struct kube_response *res, void *ctx)
{
	struct waiting *w = ctx;

	w->call = NULL;
	w->binding = res->status >= 200 && res->status < 300; /* stays so until the watch takes the pod away */
	if (!w->binding && res->status != 404 && res->status != 409)
		log_warn("cannot bind a pod, it is tried again", L_STR("namespace", w->ns), L_STR("pod", w->name),
			 L_STR("why", res->error));
}

static void bind_to(struct scheduler *s, struct waiting *w, const char *node)
{
	_cleanup_free_ char *path = kube_path("/api/v1", w->ns, "pods", w->name, NULL);
	_cleanup_json_ json_t *patch =
		json_pack("{s:{s:s},s:{s:s}}", "metadata", "uid", w->uid, "spec", "nodeName", node);
	struct kube_request req = { .method = "PATCH", .path = path, .body = patch };

	w->binding = kube_send(s->client, &req, on_bound, w, &w->call) == 0;
}

static void complain(struct scheduler *s, struct waiting *w)
{
	_cleanup_free_ char *path = kube_path("/api/v1", w->ns, "pods", w->name, "status");
	_cleanup_free_ char *message = xasprintf("0/%zu nodes are ready and match the pod's nodeSelector.", s->n_targets);
	_cleanup_json_ json_t *patch = NULL;
	struct kube_request req = { .method = "PATCH", .path = path, .content_type = "application/strategic-merge-patch+json" };
	char now[API_TIME_MAX];

	if (w->complained || w->call)
		return;
	patch = json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "PodScheduled", "status", "False",
			  "reason", "Unschedulable", "message", message, "lastTransitionTime", api_now(now));
	req.body = patch;
	w->complained = kube_send(s->client, &req, on_bound, w, &w->call) == 0;
}

static void schedule(struct scheduler *s)
{
	struct waiting *w;

	list_for_each (w, &s->waiting, link) {
		struct target *t;

		if (w->binding || w->call)
			continue;
		t = pick(s, w);
		if (t)
			bind_to(s, w, t->name);
	}
}

static struct waiting *waiting_find(struct scheduler *s, const char *uid)
{
	struct waiting *w;

	list_for_each (w, &s->waiting, link)
		if (streq(w->uid, uid))
			return w;
	return NULL;
}

static void waiting_free(struct waiting *w)
{
	if (w->call)
		kube_cancel(w->call);
	list_remove(&w->link);
	json_decref(w->selector);
	free(w->ns);
	free(w->name);
	free(w->uid);
	free(w->node);
	free(w);
}

static void pod_del(json_t *pod, void *ctx)
{
	struct waiting *w = waiting_find(ctx, json_str_or(json_at(pod, "metadata", "uid"), ""));

	if (w)
		waiting_free(w);
}

static void pod_upsert(json_t *pod, void *ctx)
{
	struct scheduler *s = ctx;
	const char *ns = json_str_at(pod, "metadata", "namespace"), *name = json_str_at(pod, "metadata", "name");
	const char *uid = json_str_at(pod, "metadata", "uid"), *node = json_str_at(pod, "spec", "nodeName");
	struct waiting *w = uid ? waiting_find(s, uid) : NULL;

	if (!ns || !name || !uid)
		return;
	if ((node && *node) || json_at(pod, "metadata", "deletionTimestamp")) {
		if (w)
			waiting_free(w);
		return;
	}
	if (!w) {
		w = xnew0(struct waiting);
		*w = (struct waiting){ .ns = xstrdup(ns), .name = xstrdup(name), .uid = xstrdup(uid), .scheduler = s };
		w->selector = json_incref(json_at(pod, "spec", "nodeSelector"));
		list_push_back(&s->waiting, &w->link);
	}
	w->seen = true;
	schedule(s);
}

static void pods_begin(void *ctx)
{
	struct scheduler *s = ctx;
	struct waiting *w;

	list_for_each (w, &s->waiting, link)
		w->seen = false;
}

static void pods_synced(void *ctx)
{
	struct scheduler *s = ctx;
	struct waiting *w, *next;

	list_for_each_safe (w, next, &s->waiting, link)
		if (!w->seen)
			waiting_free(w);
}

static void nothing(void *ctx _unused_)
{
}

static void on_node_marked(const struct kube_response *res, void *ctx _unused_)
{
	if (res->status >= 400)
		log_warn("cannot mark a node as unknown", L_STR("why", res->error));
}

static void mark_unknown(struct scheduler *s, struct target *t)
{
	_cleanup_free_ char *path = kube_path("/api/v1", NULL, "nodes", t->name, "status");
	_cleanup_json_ json_t *patch = NULL;
	struct kube_request req = { .method = "PATCH", .path = path, .content_type = "application/strategic-merge-patch+json" };
	char now[API_TIME_MAX];

	patch = json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "Ready", "status", "Unknown", "reason",
			  "NodeStatusUnknown", "message", "Kubelet stopped posting node status.", "lastTransitionTime", api_now(now));
	req.body = patch;
	if (kube_send(s->client, &req, on_node_marked, NULL, NULL) == 0)
		t->ready = false;
}

static int on_look(sd_event_source *source, uint64_t usec _unused_, void *ctx)
{
	struct scheduler *s = ctx;
	struct waiting *w;

	for (size_t i = 0; i < s->n_targets; i++) {
		_cleanup_free_ char *part = xasprintf("%s/runner", s->targets[i].name);
		_cleanup_free_ char *cgroup = cgroup_of(s->lab_name, part);

		if (s->targets[i].ready && cgroup && !cgroup_is_populated(cgroup))
			mark_unknown(s, &s->targets[i]);
	}
	schedule(s); /* what failed to bind is tried again here */
	list_for_each (w, &s->waiting, link)
		if (!w->binding)
			complain(s, w);
	sd_event_source_set_time_relative(source, LOOK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static const struct kube_watch_ops node_ops = {
	.replace_begin = nodes_begin, .object = node_upsert, .synced = nothing, .upsert = node_upsert, .del = node_del,
};
static const struct kube_watch_ops pod_ops = {
	.replace_begin = pods_begin, .object = pod_upsert, .synced = pods_synced, .upsert = pod_upsert, .del = pod_del,
};

int scheduler_new(sd_event *event, struct kube_client *client, const char *lab_name, struct scheduler **ret)
{
	struct scheduler *s = xnew0(struct scheduler);
	struct kube_watch_config nodes = { .path = "/api/v1/nodes", .ops = &node_ops, .ctx = s, .backoff_min_ms = 100, .backoff_max_ms = 5000 };
	struct kube_watch_config pods = { .path = "/api/v1/pods", .field_selector = "spec.nodeName=", .ops = &pod_ops, .ctx = s,
					  .backoff_min_ms = 100, .backoff_max_ms = 5000 };
	int r;

	*s = (struct scheduler){ .event = event, .client = client, .lab_name = xstrdup(lab_name) };
	list_init(&s->waiting);
	r = kube_watch_new(client, &nodes, &s->node_watch);
	if (r == 0)
		r = kube_watch_new(client, &pods, &s->pod_watch);
	if (r == 0)
		r = sd_event_add_time_relative(event, &s->look, CLOCK_MONOTONIC, LOOK_US, 0, on_look, s);
	if (r < 0) {
		scheduler_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	struct waiting *w, *next;

	if (!s)
		return NULL;
	sd_event_source_disable_unref(s->look);
	kube_watch_free(s->node_watch);
	kube_watch_free(s->pod_watch);
	list_for_each_safe (w, next, &s->waiting, link)
		waiting_free(w);
	for (size_t i = 0; i < s->n_targets; i++)
		target_clear(&s->targets[i]);
	free(s->targets);
	free(s->lab_name);
	free(s);
	return NULL;
}
