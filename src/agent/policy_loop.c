/* SPDX-License-Identifier: Apache-2.0 */
/* When policy is compiled and applied: a moment after anything has changed (what comes together is done together), and before a pod gets on
 * the network. What goes is removed by the second turn of a clock of grace periods, however many updates come meanwhile: one after which it went might come
 * a moment before the first. */
#include "agent/agent.h"
#include "base/log.h"

enum {
	GATHER_US = 2000,      /* events that come together */
	SETTLE_US = 100 * 1000, /* no program runs that long */
	ROOM_US = 250 * 1000, /* what goes has gone by then, and leaves room */
	LEAVE_US = 20 * 1000, /* a change that waits for that looks so often */
	RETRY_US = 1000 * 1000,
	QUIET_US = 3 * 1000 * 1000, /* without a change, before it is asked anew who finds room */
	ASK_US = 60 * 1000 * 1000, /* but then at the latest */
};

bool agent_policy_is_synced(const struct agent *a)
{
	static const enum model_table needed[] = { MODEL_NODES, MODEL_PODS, MODEL_NAMESPACES, MODEL_POLICIES,
						   MODEL_CLUSTER_POLICIES, MODEL_ADMIN_POLICIES, MODEL_BASELINE_POLICIES };

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!a->synced[needed[i]])
			return false;
	return true;
}

static void wake_in(sd_event_source *s, uint64_t us)
{
	int on;

	if (sd_event_source_get_enabled(s, &on) >= 0 && on != SD_EVENT_OFF)
		return;
	sd_event_source_set_time_relative(s, us);
	sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void wait_for_quiet(struct agent *a)
{
	uint64_t now = agent_now_us(a), last = a->room_stale_us + ASK_US;

	sd_event_source_set_time_relative(a->room_timer, MIN((uint64_t)QUIET_US, last > now ? last - now : 0));
	sd_event_source_set_enabled(a->room_timer, SD_EVENT_ONESHOT);
}

static void on_wake(void *ctx)
{
	struct agent *a = ctx;

	wake_in(a->policy_timer, GATHER_US);
	if (a->room_stale_us)
		wait_for_quiet(a);
}

/* To ask makes all that was too much once more, which may take a second. So no change waits for it, if it can be helped. */
static void ask_when_quiet(struct agent *a)
{
	if (!policies_room_is_stale(a->policies)) {
		a->room_stale_us = 0;
		sd_event_source_set_enabled(a->room_timer, SD_EVENT_OFF);
	} else if (!a->room_stale_us) {
		a->room_stale_us = agent_now_us(a);
		wait_for_quiet(a);
	}
}

static int on_room_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;

	a->room_stale_us = 0;
	policies_ask_room(a->policies);
	wake_in(a->policy_timer, GATHER_US);
	return 0;
}

static void set_policy_health(struct agent *a, int r)
{
	_cleanup_free_ char *why = r < 0 ? xasprintf("cannot write the policy maps: %s", strerror(-r)) : policies_problem(a->policies);

	health_set(&a->health, PART_POLICY, why);
}

int agent_update_policies(struct agent *a)
{
	bool again;
	int r;

	if (!a->dp || !agent_policy_is_synced(a))
		return 0;
	agent_find_api(a);
	r = policies_update(a->policies, a->endpoints, a->dp);
	if (r == 0 && policies_host(a->policies))
		host_policy_applied(policies_host(a->policies));
	policies_remember(a->policies, agent_now_us(a));
	agent_answer_confirms(a);
	set_policy_health(a, r);
	a->policy_applied |= r == 0;
	a->pods_locked = a->policy_applied ? 0 : a->pods_locked;
	again = agent_tell_policy_problems(a);
	if (r < 0 || again || policy_apply_is_failed(policies_applied(a->policies)))
		wake_in(a->policy_timer, policy_apply_is_leaving(policies_applied(a->policies)) ? ROOM_US : RETRY_US);
	wake_in(a->settle_timer, SETTLE_US);
	ask_when_quiet(a);
	return r;
}

void agent_audit_policies(struct agent *a)
{
	int r = a->dp ? policies_audit(a->policies, a->dp) : 0;

	if (r > 0)
		repairs_note(&a->repairs, REPAIR_MAP_ENTRY, r, "policy maps");
	else if (r < 0)
		log_warn("cannot look after the policy maps", L_ERRNO(r));
}

static int on_policy_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;

	if (a->dp && policies_wait_for_room(a->policies)) {
		wake_in(a->policy_timer, LEAVE_US);
		wake_in(a->settle_timer, SETTLE_US);
		return 0;
	}
	agent_update_policies(a);
	agent_retry_adds(a);
	return 0;
}

static int on_settle_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;

	if (a->dp && policies_settle(a->policies))
		wake_in(a->policy_timer, GATHER_US);
	if (a->dp && policies_rest(a->policies))
		wake_in(a->settle_timer, SETTLE_US);
	return 0;
}

/* A pod's policies, as the compiler has them; and whether they are in the maps. */
static json_t *show_pod(const struct agent *a, const char *namespace_, const char *name)
{
	json_t *found = policy_pod_json(policies_compiler(a->policies), namespace_, name);
	const char *lock = found ? agent_find_policy_lock(a, namespace_, name) : NULL;

	if (lock)
		json_object_set_new(found, "state", json_sprintf("locked: %s", lock));
	return found;
}

void agent_on_policy(struct ipc_request *req, json_t *params, void *ctx)
{
	struct agent *a = ctx;
	const struct policy *compiler = policies_compiler(a->policies);
	const char *pod = json_str_at(params, "pod"), *slash = pod ? strchr(pod, '/') : NULL;
	_cleanup_free_ char *namespace_ = slash ? xstrndup(pod, slash - pod) : xstrdup("default");
	json_t *found = NULL;

	if (json_is_true(json_object_get(params, "confirm"))) {
		agent_on_confirm(a, req, json_str_at(params, "revision"));
		return;
	}
	if (!pod) {
		const struct host_policy *h = policies_host(a->policies);

		ipc_reply(req, json_pack("{so, so*}", "policies", policy_list_json(compiler), "host", h ? host_policy_json(h) : NULL));
		return;
	}
	found = show_pod(a, namespace_, slash ? slash + 1 : pod);
	if (found)
		ipc_reply(req, found);
	else
		ipc_reply_error(req, ENOENT, "no pod of this node has that name (NAMESPACE/POD)", NULL);
}

int agent_start_policies(struct agent *a)
{
	int r = sd_event_add_time_relative(a->event, &a->policy_timer, CLOCK_MONOTONIC, 0, 1, on_policy_timer, a);

	if (r >= 0)
		r = sd_event_add_time_relative(a->event, &a->settle_timer, CLOCK_MONOTONIC, 0, 1000, on_settle_timer, a);
	if (r >= 0)
		r = sd_event_add_time_relative(a->event, &a->room_timer, CLOCK_MONOTONIC, 0, 1000, on_room_timer, a);
	if (r < 0)
		return r;
	sd_event_source_set_enabled(a->settle_timer, SD_EVENT_OFF);
	sd_event_source_set_enabled(a->room_timer, SD_EVENT_OFF);
	events_init(&a->events, a->event, &a->client, a->opt.node_name);
	events_init(&a->services.events, a->event, &a->client, a->opt.node_name);
	a->policies = policies_new(a->event, a->model, &a->opt, on_wake, a);
	if (!a->policies)
		return -ENOMEM;
	model_on_object(a->model, policies_on_object, a->policies);
	return 0;
}

void agent_stop_policies(struct agent *a)
{
	if (a->model)
		model_on_object(a->model, NULL, NULL);
	agent_refuse_confirms(a);
	a->policies = policies_free(a->policies);
	free(a->api_host);
	a->api_host = NULL;
	events_done(&a->events);
	sd_event_source_disable_unref(a->policy_timer);
	sd_event_source_disable_unref(a->settle_timer);
	sd_event_source_disable_unref(a->room_timer);
}
