/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of the CNI plugin: a request is checked, done in one go, and answered. An ADD for a pod that the API has not told of yet
 * waits for that: what policy the pod has, its labels say. Its answer waits until the API knows the pod's addresses (pod_addrs.h). */
#include "agent/agent.h"
#include "agent/pod_addrs.h"
#include "base/log.h"
#include "base/str.h"
#include "cni/queue.h"

#include <time.h>

enum { ADD_WAIT_US = 5 * 1000 * 1000 };

struct waiting_add {
	struct list link; /* agent.waiting_adds */
	struct ipc_request *ipc;
	json_t *params;
	uint64_t until_us, started_us;
};

static char *queue_dir(const struct agent *a)
{
	return xasprintf("%s/del-queue", a->opt.run_dir);
}

static bool drain(const char *container, const char *ifname, void *ctx)
{
	struct agent *a = ctx;
	_cleanup_cni_error_ struct cni_error e = {0};

	if (endpoints_del(a->endpoints, container, ifname, &e) == 0)
		return true;
	log_warn("a queued DEL failed, again in a minute", L_STR("container", container), L_STR("why", e.msg));
	return false;
}

void agent_drain_del_queue(struct agent *a)
{
	_cleanup_free_ char *dir = queue_dir(a);
	int n = del_queue_drain(dir, drain, a);

	if (n < 0)
		log_warn("cannot read the queue of DELs", L_STR("directory", dir), L_ERRNO(n));
	if (n > 0)
		log_info("did queued DELs", L_INT("count", n));
}

static int add(struct agent *a, const struct cni_request *req, struct cni_result *ret, struct cni_error *e)
{
	_cleanup_free_ char *dir = queue_dir(a);

	del_queue_drain_one(dir, req->container, req->ifname, drain, a); /* a DEL of an earlier life comes first */
	return endpoints_add(a->endpoints, req, ret, e);
}

static int status(struct agent *a, struct cni_error *e)
{
	const char *why = endpoints_not_ready(a->endpoints);

	if (!why)
		return 0;
	if (!a->dp && endpoints_count(a->endpoints))
		return cni_fail(e, CNI_ERR_LIMITED, "%s", why);
	return cni_fail(e, CNI_ERR_NOT_AVAILABLE, "%s", why);
}

/* @ret: the answer, but for ADD: its is made of @ret_added. */
static int dispatch(struct agent *a, const struct cni_request *req, struct cni_result *ret_added, json_t **ret, struct cni_error *e)
{
	switch (req->command) {
	case CNI_ADD:
		return add(a, req, ret_added, e);
	case CNI_DEL:
		return endpoints_del(a->endpoints, req->container, req->ifname, e);
	case CNI_CHECK:
		return endpoints_check(a->endpoints, req, e);
	case CNI_GC:
		return endpoints_gc(a->endpoints, req, e);
	case CNI_STATUS:
		return status(a, e);
	case CNI_VERSION:
		*ret = cni_version_format(req->version);
		return 0;
	}
	return cni_fail(e, CNI_ERR_ENV, "CNI_COMMAND is not known");
}

static uint64_t monotonic_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ull + ts.tv_nsec / 1000;
}

/* Can the pod's policy be known now? */
static bool is_known(const struct agent *a, const struct cni_request *req)
{
	if (!*req->pod_namespace || !*req->pod_name)
		return true;
	return agent_policy_is_synced(a) && policies_know(a->policies, req->pod_namespace, req->pod_name, req->pod_uid);
}

/* Lines up, from when it was asked first. */
static void wait_for_pod(struct agent *a, struct ipc_request *ipc, json_t *params, uint64_t started_us)
{
	struct waiting_add *w = xnew(struct waiting_add);

	*w = (struct waiting_add){ .ipc = ipc, .params = json_incref(params), .until_us = started_us + ADD_WAIT_US,
				   .started_us = started_us };
	list_push_back(&a->waiting_adds, &w->link);
}

struct added {
	struct agent *agent;
	struct ipc_request *ipc;
	json_t *answer;
	uint64_t started_us;
};

static void answer_added(void *ctx)
{
	struct added *d = ctx;

	cni_metrics_count(&d->agent->cni_metrics, CNI_ADD, true, (monotonic_us() - d->started_us) / 1e6);
	ipc_reply(d->ipc, d->answer);
	free(d);
}

static void tell_and_answer(struct agent *a, struct ipc_request *ipc, const struct cni_request *req, const struct cni_result *result,
			    uint64_t started_us)
{
	struct added *d = xnew(struct added);

	*d = (struct added){ .agent = a, .ipc = ipc, .answer = cni_result_format(req, result), .started_us = started_us };
	if (*req->pod_namespace && *req->pod_name)
		agent_tell_pod_addrs(a, req->pod_namespace, req->pod_name, req->pod_uid, result->addrs, answer_added, d);
	else
		answer_added(d);
}

static void answer(struct agent *a, struct ipc_request *ipc, json_t *params, uint64_t started_us, bool wait)
{
	const json_t *config = json_at(params, "config"), *env = json_at(params, "env");
	_cleanup_cni_request_ struct cni_request req = {0};
	_cleanup_cni_error_ struct cni_error e = {0};
	unsigned command = CNI_UNKNOWN;
	struct cni_result added;
	json_t *result = NULL;
	int code;

	if (!json_is_string(config) || !json_is_object(env))
		code = cni_fail(&e, CNI_ERR_DECODE, "cni: expected params.env (object) and params.config (text)");
	else
		code = cni_request_parse(env, json_string_value(config), json_string_length(config), &req, &e);
	if (code == 0) {
		command = req.command;
		if (command == CNI_ADD && !endpoints_not_ready(a->endpoints) && !is_known(a, &req)) {
			if (wait) {
				wait_for_pod(a, ipc, params, started_us);
				return;
			}
			code = cni_fail(&e, CNI_ERR_TRY_AGAIN, "the API has not told of pod %s/%s, and so not which policies it has; try again later",
					req.pod_namespace, req.pod_name);
		}
	}
	if (code == 0)
		code = dispatch(a, &req, &added, &result, &e);
	if (code == 0 && command == CNI_ADD) {
		tell_and_answer(a, ipc, &req, &added, started_us);
		return;
	}
	cni_metrics_count(&a->cni_metrics, command, code == 0, (monotonic_us() - started_us) / 1e6);
	if (code == 0) {
		ipc_reply(ipc, result ? result : json_object());
		return;
	}
	a->cni_failures++;
	log_warn("CNI call failed", L_STR("command", json_str_at(params, "env", "CNI_COMMAND")),
		 L_STR("container", json_str_at(params, "env", "CNI_CONTAINERID")), L_INT("code", e.code),
		 L_STR("why", e.msg));
	ipc_reply_error(ipc, e.code, e.msg, e.details);
}

void agent_on_cni(struct ipc_request *ipc, json_t *params, void *ctx)
{
	struct agent *a = ctx;

	a->cni_calls++;
	answer(a, ipc, params, monotonic_us(), true);
}

/* All of them once more; those that still cannot be answered line up again. */
static void retry(struct agent *a, uint64_t now_us)
{
	struct waiting_add *w;
	struct list all;

	list_init(&all);
	while (!list_empty(&a->waiting_adds)) {
		struct list *first = a->waiting_adds.next;

		list_remove(first);
		list_push_back(&all, first);
	}
	while (!list_empty(&all)) {
		w = list_entry(all.next, struct waiting_add, link);
		list_remove(&w->link);
		answer(a, w->ipc, w->params, w->started_us, now_us < w->until_us);
		json_decref(w->params);
		free(w);
	}
}

void agent_retry_adds(struct agent *a)
{
	retry(a, monotonic_us());
}

void agent_refuse_adds(struct agent *a)
{
	retry(a, UINT64_MAX);
}
