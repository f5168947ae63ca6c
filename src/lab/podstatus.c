/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's status is computed whole from what is, and sent when it differs from what was sent last; changes that come
 * together go out as one. What others make of the Ready condition (a node that is thought lost has no ready pods) is put right, as
 * a kubelet does: the API's word is compared with the one that was sent, if it is newer than the answer to that. */
#include "base/log.h"
#include "lab/apitime.h"
#include "lab/pod.h"

enum { RETRY_US = 300000 };

static void add_time(json_t *j, const char *key, time_t t)
{
	char text[API_TIME_MAX];

	if (t)
		json_object_set_new(j, key, json_string(api_time(t, text)));
}

static json_t *ended(const char *reason, int exit_code, time_t from, time_t to)
{
	json_t *t = json_pack("{s:i,s:s}", "exitCode", exit_code, "reason", reason);

	add_time(t, "startedAt", from);
	add_time(t, "finishedAt", to);
	return json_pack("{s:o}", "terminated", t);
}

static json_t *state_of(const struct container *c)
{
	json_t *j = json_object();

	if (c->state == CONTAINER_ENDED) {
		json_decref(j);
		j = ended(c->reason ? c->reason : (c->exit_code ? "Error" : "Completed"), c->exit_code, c->started, c->ended);
		if (c->message)
			json_object_set_new(json_object_get(j, "terminated"), "message", json_string(c->message));
		return j;
	}
	if (c->state == CONTAINER_RUNS) {
		add_time(j, "startedAt", c->started);
		return json_pack("{s:o}", "running", j);
	}
	json_object_set_new(j, "reason", json_string(c->reason ? c->reason : c->init ? "PodInitializing" : "ContainerCreating"));
	if (c->message)
		json_object_set_new(j, "message", json_string(c->message));
	return json_pack("{s:o}", "waiting", j);
}

static json_t *encode_container(const struct container *c)
{
	_cleanup_free_ char *id = xasprintf("weft-lab://%s/%s", c->pod->uid, c->name);
	json_t *last = c->ran_before ? ended(c->last_exit_code ? "Error" : "Completed", c->last_exit_code, c->last_started, c->last_ended)
				     : json_object();

	return json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:i,s:o,s:o}", "name", c->name, "image", json_str_or(json_at(c->spec, "image"), ""),
			 "imageID", c->running ? c->running : "", "containerID", c->started ? id : "", "ready", (int)c->ready, "started",
			 (int)(c->state == CONTAINER_RUNS), "restartCount", (int)c->restarts, "state", state_of(c), "lastState", last);
}

static json_t *encode_containers(const struct container *c, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, encode_container(&c[i]));
	return a;
}

const char *podstatus_phase(const struct pod *p)
{
	bool all_over = p->n_containers > 0, failed = p->failed, any_started = false;

	for (size_t i = 0; i < p->n_inits; i++)
		failed |= container_is_over(&p->inits[i]) && p->inits[i].exit_code != 0;
	for (size_t i = 0; i < p->n_containers; i++) {
		all_over &= container_is_over(&p->containers[i]);
		failed |= container_is_over(&p->containers[i]) && p->containers[i].exit_code != 0;
		any_started |= p->containers[i].started != 0;
	}
	if (p->failed || (failed && p->init_at < p->n_inits))
		return "Failed";
	if (all_over && any_started)
		return failed ? "Failed" : "Succeeded";
	return any_started ? "Running" : "Pending";
}

/* The last sent condition's time stays while its status does. */
static json_t *condition(const struct pod *p, const char *type, bool is, const char *reason)
{
	const char *status = is ? "True" : "False";
	const json_t *old = json_at(p->object, "status", "conditions"), *c;
	const char *since = NULL;
	char now[API_TIME_MAX];
	json_t *j;
	size_t i;

	json_array_foreach (old, i, c)
		if (streq(json_str_at(c, "type"), type) && streq(json_str_at(c, "status"), status))
			since = json_str_at(c, "lastTransitionTime");
	j = json_pack("{s:s,s:s,s:s}", "type", type, "status", status, "lastTransitionTime", since ? since : api_now(now));
	json_object_set_new(j, "reason", !is && reason ? json_string(reason) : json_null());
	return j;
}

static json_t *conditions(const struct pod *p)
{
	bool ready = p->state == POD_RUNS || p->state == POD_ENDS, over = streq(podstatus_phase(p), "Succeeded");

	for (size_t i = 0; i < p->n_containers; i++)
		ready &= p->containers[i].ready;
	return json_pack("[oooo]", condition(p, "PodScheduled", true, NULL),
			 condition(p, "Initialized", p->init_at >= p->n_inits, "ContainersNotInitialized"),
			 condition(p, "ContainersReady", ready, over ? "PodCompleted" : "ContainersNotReady"),
			 condition(p, "Ready", ready, over ? "PodCompleted" : "ContainersNotReady"));
}

/* In place of those that the API has. */
static json_t *ip_objects(const json_t *strings)
{
	json_t *a = json_pack("[{s:s}]", "$patch", "replace"), *s;
	size_t i;

	json_array_foreach (strings, i, s)
		json_array_append_new(a, json_pack("{s:O}", "ip", s));
	return a;
}

json_t *podstatus_encode(const struct pod *p)
{
	json_t *j = json_pack("{s:s,s:o,s:o,s:o,s:s}", "phase", podstatus_phase(p), "conditions", conditions(p), "containerStatuses",
			      encode_containers(p->containers, p->n_containers), "hostIPs", ip_objects(p->host_ips), "hostIP",
			      json_str_or(json_array_get(p->host_ips, 0), ""));

	if (p->n_inits)
		json_object_set_new(j, "initContainerStatuses", encode_containers(p->inits, p->n_inits));
	add_time(j, "startTime", p->started);
	if (json_array_size(p->ips) > 0) {
		json_object_set(j, "podIP", json_array_get(p->ips, 0));
		json_object_set_new(j, "podIPs", ip_objects(p->ips));
	}
	if (p->waiting_for)
		json_object_set_new(j, "message", json_string(p->waiting_for));
	else
		json_object_set_new(j, "message", json_null()); /* takes an earlier one away */
	return j;
}

static void arm(struct pod *p, uint64_t delay_us);

static void forget_sent(struct pod *p)
{
	free(p->status_sent);
	p->status_sent = NULL;
}

static uint64_t rev_of(const json_t *object)
{
	uint64_t rev;

	return parse_u64(json_str_or(json_at(object, "metadata", "resourceVersion"), ""), UINT64_MAX, &rev) == 0 ? rev : 0;
}

static void on_sent(const struct kube_response *res, void *ctx)
{
	struct pod *p = ctx;
	bool retry = res->status == 0 || res->status == 429 || res->status >= 500;

	p->call = NULL;
	p->status_busy = false;
	if (res->status >= 400 && !retry && res->status != 404 && res->status != 409)
		log_error("the API refuses a pod's status", L_STR("pod", p->name), L_INT("status", res->status), L_STR("why", res->error));
	if (retry) {
		forget_sent(p);
		p->status_dirty = true;
	} else if (res->status < 300) {
		p->status_rev = rev_of(res->body);
		podstatus_check(p); /* an object may have come while it was under way */
	}
	if (p->status_dirty)
		arm(p, retry ? RETRY_US : 0);
}

static int on_due(sd_event_source *s _unused_, uint64_t usec _unused_, void *ctx)
{
	struct pod *p = ctx;
	_cleanup_free_ char *path = kube_path("/api/v1", p->ns, "pods", p->name, "status");
	_cleanup_json_ json_t *patch = NULL;
	char *text;
	/* as a kubelet does: conditions are merged by type, those of others stay */
	struct kube_request req = { .method = "PATCH", .path = path, .content_type = "application/strategic-merge-patch+json" };

	p->status_source = sd_event_source_disable_unref(p->status_source);
	if (p->status_busy || p->gone)
		return 0;
	p->status_dirty = false;
	patch = json_pack("{s:{s:s},s:o}", "metadata", "uid", p->uid, "status", podstatus_encode(p));
	text = patch ? json_text(patch) : NULL;
	if (!text || streq(text, p->status_sent)) {
		free(text);
		return 0;
	}
	free(p->status_sent);
	p->status_sent = text;
	p->ready_sent = json_condition_is_true(patch, "Ready");
	req.body = patch;
	p->status_busy = kube_send(p->k->client, &req, on_sent, p, &p->call) == 0;
	if (!p->status_busy) {
		p->status_dirty = true;
		forget_sent(p);
		arm(p, RETRY_US);
	}
	return 0;
}

static void arm(struct pod *p, uint64_t delay_us)
{
	if (!p->status_source &&
	    sd_event_add_time_relative(p->k->event, &p->status_source, CLOCK_MONOTONIC, delay_us, 1, on_due, p) < 0)
		log_error("cannot set a timer: a pod's status is not sent", L_STR("pod", p->name));
}

void podstatus_changed(struct pod *p)
{
	p->status_dirty = true;
	if (!p->status_busy)
		arm(p, 0);
}

void podstatus_check(struct pod *p)
{
	if (p->status_busy || !p->status_sent || rev_of(p->object) <= p->status_rev ||
	    json_condition_is_true(p->object, "Ready") == p->ready_sent)
		return;
	forget_sent(p);
	podstatus_changed(p);
}
