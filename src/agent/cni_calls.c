/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of the CNI plugin: a request is checked, done in one go, and answered. */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"
#include "cni/queue.h"

#include <time.h>

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

static int add(struct agent *a, const struct cni_request *req, json_t **ret, struct cni_error *e)
{
	_cleanup_free_ char *dir = queue_dir(a);
	struct cni_result result;
	int code;

	del_queue_drain_one(dir, req->container, req->ifname, drain, a); /* a DEL of an earlier life comes first */
	code = endpoints_add(a->endpoints, req, &result, e);
	if (code < 0)
		return code;
	*ret = cni_result_format(req, &result);
	return 0;
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

static int dispatch(struct agent *a, const struct cni_request *req, json_t **ret, struct cni_error *e)
{
	switch (req->command) {
	case CNI_ADD:
		return add(a, req, ret, e);
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

void agent_on_cni(struct ipc_request *ipc, json_t *params, void *ctx)
{
	struct agent *a = ctx;
	const json_t *config = json_at(params, "config"), *env = json_at(params, "env");
	_cleanup_cni_request_ struct cni_request req = {0};
	_cleanup_cni_error_ struct cni_error e = {0};
	uint64_t started_us = monotonic_us();
	unsigned command = CNI_UNKNOWN;
	json_t *result = NULL;
	int code;

	a->cni_calls++;
	if (!json_is_string(config) || !json_is_object(env))
		code = cni_fail(&e, CNI_ERR_DECODE, "cni: expected params.env (object) and params.config (text)");
	else
		code = cni_request_parse(env, json_string_value(config), json_string_length(config), &req, &e);
	if (code == 0) {
		command = req.command;
		code = dispatch(a, &req, &result, &e);
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
