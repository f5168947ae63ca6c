/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a pod are told to the API while its ADD is under way: as a condition of its status, which those who write pods cannot write. The kubelet
 * tells them as well, but when the pod runs; and until the other nodes know whose an address is, to their policies it is an unknown pod's, and what the
 * pod says first is lost.
 *
 * ADD waits for the API's answer, within bounds: a second, and not at all while the API has left the one before without an answer, or does not let us. Then
 * the pod starts all the same, and is known when the kubelet has told. */
#include "agent/agent.h"
#include "agent/pod_addrs.h"
#include "base/log.h"
#include "base/str.h"
#include "model/model.h"

enum { WAIT_US = 1000 * 1000, REFUSED_US = 60 * 1000 * 1000 };

struct pod_told {
	struct list link; /* agent.telling_pods */
	struct agent *agent;
	struct kube_call *call;
	sd_event_source *patience;
	pod_told_fn *fn; /* NULL: it has been called */
	void *ctx;
};

static void done_waiting(struct pod_told *t)
{
	pod_told_fn *fn = t->fn;

	t->patience = sd_event_source_disable_unref(t->patience);
	t->fn = NULL;
	if (fn)
		fn(t->ctx);
}

static void pod_told_free(struct pod_told *t)
{
	list_remove(&t->link);
	done_waiting(t);
	free(t);
}

static int on_patience(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct pod_told *t = ctx;

	if (!t->agent->pod_addrs_unanswered)
		log_warn("the API takes long to be told of pods' addresses: they start without, and other nodes know them later");
	t->agent->pod_addrs_unanswered = true;
	done_waiting(t);
	return 0;
}

/* The pod may be gone, or another of its name be there: then nobody waits to be known. */
static void on_answer(const struct kube_response *res, void *ctx)
{
	struct pod_told *t = ctx;
	struct agent *a = t->agent;

	a->pod_addrs_unanswered = res->status == 0 || res->status >= 500 || res->status == 429;
	if (res->status == 401 || res->status == 403) {
		a->pod_addrs_retry_us = agent_now_us(a) + REFUSED_US;
		if (!a->pod_addrs_refused)
			log_warn("the API does not let this node tell its pods' addresses when they start (patch pods/status): other nodes know them later",
				 L_STR("why", res->error));
	}
	a->pod_addrs_refused = res->status == 401 || res->status == 403;
	pod_told_free(t);
}

static json_t *patch_of(const char *uid, const struct addr addrs[2])
{
	char at[32], text[2][ADDR_TEXT_MAX] = { "", "" };
	_cleanup_free_ char *list = NULL;
	json_t *patch;

	for (int i = 0; i < 2; i++)
		if (!addr_is_zero(&addrs[i]))
			addr_format(&addrs[i], text[i]);
	list = xasprintf("%s%s%s", text[0], *text[0] && *text[1] ? "," : "", text[1]);
	agent_format_time(at);
	/* strategic: conditions are merged by type, the kubelet's stay */
	patch = json_pack("{s{}, s{s[{ss, ss, ss, ss, ss}]}}", "metadata", "status", "conditions", "type", MODEL_POD_ADDRS_CONDITION, "status", "True",
			  "reason", "Assigned", "message", list, "lastTransitionTime", at);
	if (*uid) /* of a pod that has its name since nothing is said */
		json_object_set_new(json_object_get(patch, "metadata"), "uid", json_string(uid));
	return patch;
}

static void wait_or_not(struct pod_told *t, bool wait)
{
	if (!wait || sd_event_add_time_relative(t->agent->event, &t->patience, CLOCK_MONOTONIC, WAIT_US, 1000, on_patience, t) < 0)
		done_waiting(t);
}

void agent_tell_pod_addrs(struct agent *a, const char *namespace_, const char *name, const char *uid, const struct addr addrs[2],
			  pod_told_fn *fn, void *ctx)
{
	_cleanup_free_ char *path = kube_path("/api/v1", namespace_, "pods", name, "status");
	_cleanup_json_ json_t *patch = patch_of(uid, addrs);
	struct kube_request req = { .method = "PATCH", .path = path, .body = patch, .content_type = "application/strategic-merge-patch+json" };
	struct pod_told *t;

	if (!a->client || agent_now_us(a) < a->pod_addrs_retry_us) {
		fn(ctx);
		return;
	}
	t = xnew(struct pod_told);
	*t = (struct pod_told){ .agent = a, .fn = fn, .ctx = ctx };
	list_push_back(&a->telling_pods, &t->link);
	if (kube_send(a->client, &req, on_answer, t, &t->call) < 0)
		pod_told_free(t);
	else
		wait_or_not(t, !a->pod_addrs_unanswered);
}

void agent_stop_telling_pods(struct agent *a)
{
	while (!list_empty(&a->telling_pods)) {
		struct pod_told *t = list_entry(a->telling_pods.next, struct pod_told, link);

		kube_cancel(t->call);
		pod_told_free(t);
	}
}
