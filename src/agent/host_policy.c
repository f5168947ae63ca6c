/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/host_policy.h"
#include "agent/failsafe.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { FILE_MAX = 4 << 20 };

struct host_policy {
	const struct options *opt;
	struct policy *compiler;
	host_policy_wake_fn *wake;
	void *wake_ctx;
	sd_event_source *timer;
	json_t *wanted, *confirmed, *in_force; /* name → object */
	uint64_t deadline_us;
	uint16_t api_port;
	bool synced, trial, rolled_back, failsafe;
	bool was_on_trial; /* when the last agent ended */
};

/* --- what is kept --- */

static char *path_of(const struct host_policy *h)
{
	return xasprintf("%s/host-policy.json", h->opt->mesh_dir);
}

static int save(const struct host_policy *h)
{
	_cleanup_free_ char *path = path_of(h), *text = NULL;
	_cleanup_json_ json_t *j = json_pack("{sO, sb}", "confirmed", h->confirmed, "trial", h->trial);
	int r = mkdir_parents(h->opt->mesh_dir, 0700);

	text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	if (r == 0)
		r = text ? file_write_atomic(path, text, strlen(text), 0600) : -ENOMEM;
	if (r < 0)
		log_error("what is confirmed of the node's own policies cannot be kept", L_STR("file", path), L_ERRNO(r));
	return r;
}

/* A file that cannot be read is one in which nothing is confirmed: what is wanted goes on trial. */
static void load(struct host_policy *h)
{
	_cleanup_free_ char *path = path_of(h), *text = NULL, *why = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;
	int r = file_read(path, FILE_MAX, &text, &len);

	if (r == -ENOENT)
		return;
	j = r == 0 ? json_parse(path, text, len, &why) : NULL;
	if (!json_is_object(json_object_get(j, "confirmed"))) {
		log_warn("what was confirmed of the node's own policies cannot be read", L_STR("file", path), L_STR("why", why ? why : strerror(-r)));
		return;
	}
	json_decref(h->confirmed);
	h->confirmed = json_incref(json_object_get(j, "confirmed"));
	h->was_on_trial = json_is_true(json_object_get(j, "trial"));
}

/* --- what is in force --- */

static void put_object(struct host_policy *h, const char *name, const json_t *object)
{
	_cleanup_free_ char *why = NULL;
	struct policy_spec *spec;

	if (policy_spec_parse(object, NULL, &spec, &why) == 0)
		policy_put_object(h->compiler, spec);
	else
		log_error("a policy cannot be read", L_STR("name", name), L_STR("why", why));
}

/* The failsafe rules are there while anything else is: without, the node is no endpoint at all. */
static void set_failsafe(struct host_policy *h, bool on)
{
	if (h->failsafe == on)
		return;
	h->failsafe = on;
	if (on)
		policy_put_object(h->compiler, failsafe_spec(h->opt, h->api_port));
	else
		policy_del_object(h->compiler, KIND_CLUSTER, "", "(failsafe)");
}

static void put_in_force(struct host_policy *h, json_t *objects)
{
	json_t *old = h->in_force, *object;
	const char *name;

	set_failsafe(h, json_object_size(objects) > 0);
	json_object_foreach(old, name, object)
		if (!json_object_get(objects, name))
			policy_del_object(h->compiler, KIND_CLUSTER, "", name);
	json_object_foreach(objects, name, object)
		if (!json_equal(json_object_get(old, name), object))
			put_object(h, name, object);
	h->in_force = json_copy(objects);
	json_decref(old);
}

/* --- the trial --- */

static void set_trial(struct host_policy *h, bool on)
{
	bool was = h->trial;

	h->trial = on;
	if (on != was)
		(void)save(h); /* it has said so; the trial goes on from memory */
	if (on && !was) {
		sd_event_now(sd_event_source_get_event(h->timer), CLOCK_MONOTONIC, &h->deadline_us);
		h->deadline_us += h->opt->policy_host_trial * 1000000;
		sd_event_source_set_time(h->timer, h->deadline_us);
		log_warn("policies of the node itself are on trial: \"weft policy confirm\" keeps them",
			 L_UINT("seconds", h->opt->policy_host_trial));
	}
	if (on != was)
		sd_event_source_set_enabled(h->timer, on ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

/* Nothing is wanted, or what is confirmed already. */
static bool needs_no_trial(const struct host_policy *h)
{
	return json_object_size(h->wanted) == 0 || json_equal(h->wanted, h->confirmed);
}

static void settle(struct host_policy *h)
{
	if (!h->synced)
		return;
	h->rolled_back = false;
	if (!json_object_size(h->wanted) && json_object_size(h->confirmed)) {
		json_object_clear(h->confirmed);
		(void)save(h);
	}
	set_trial(h, !needs_no_trial(h));
	put_in_force(h, h->wanted);
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct host_policy *h = ctx;

	if (h->trial) {
		set_trial(h, false);
		h->rolled_back = true;
		put_in_force(h, h->confirmed);
		log_error("nobody has confirmed the policies of the node itself: those that were confirmed last are in force again");
	}
	h->wake(h->wake_ctx);
	return 0;
}

/* --- outside --- */

void host_policy_put(struct host_policy *h, const char *name, json_t *object)
{
	if (json_equal(json_object_get(h->wanted, name), object))
		return;
	if (object)
		json_object_set(h->wanted, name, object);
	else if (json_object_del(h->wanted, name) < 0)
		return;
	settle(h);
}

void host_policy_not_of_nodes(struct host_policy *h, const char *name)
{
	if (json_object_del(h->in_force, name) == 0)
		policy_del_object(h->compiler, KIND_CLUSTER, "", name);
	if (json_object_del(h->confirmed, name) == 0)
		(void)save(h);
}

void host_policy_synced(struct host_policy *h)
{
	bool was_on_trial = h->was_on_trial;

	if (h->synced)
		return;
	h->synced = true;
	h->was_on_trial = false;
	sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	settle(h);
	if (was_on_trial && !h->trial) /* the file still says so */
		(void)save(h);
}

void host_policy_note_api_port(struct host_policy *h, uint16_t port)
{
	if (h->api_port == port)
		return;
	h->api_port = port;
	if (h->failsafe)
		policy_put_object(h->compiler, failsafe_spec(h->opt, port));
}

int host_policy_confirm(struct host_policy *h)
{
	if (!h->trial && !h->rolled_back)
		return -ENOENT;
	json_decref(h->confirmed);
	h->confirmed = json_copy(h->wanted);
	h->rolled_back = false;
	set_trial(h, false);
	put_in_force(h, h->wanted);
	h->wake(h->wake_ctx);
	return save(h);
}

bool host_policy_is_rolled_back(const struct host_policy *h)
{
	return h->rolled_back;
}

const json_t *host_policy_wanted(const struct host_policy *h)
{
	return h->wanted;
}

bool host_policy_is_orphaned(const struct host_policy *h)
{
	int on = SD_EVENT_OFF;

	(void)sd_event_source_get_enabled(h->timer, &on);
	return h->was_on_trial && on == SD_EVENT_OFF;
}

json_t *host_policy_json(const struct host_policy *h)
{
	const char *state = h->trial ? "trial" : h->rolled_back ? "rolled back" : json_object_size(h->in_force) ? "confirmed" : "none", *name;
	json_t *names = json_array(), *object;
	uint64_t now = 0;

	sd_event_now(sd_event_source_get_event(h->timer), CLOCK_MONOTONIC, &now);
	json_object_foreach(h->in_force, name, object)
		json_array_append_new(names, json_string(name));
	return json_pack("{ss, sI, so}", "state", state, "secondsLeft",
			 (json_int_t)(h->trial && h->deadline_us > now ? (h->deadline_us - now) / 1000000 : 0), "policies", names);
}

struct host_policy *host_policy_new(sd_event *event, const struct options *o, struct policy *compiler, host_policy_wake_fn *wake, void *ctx)
{
	struct host_policy *h = xnew0(struct host_policy);

	h->opt = o;
	h->compiler = compiler;
	h->wake = wake;
	h->wake_ctx = ctx;
	h->wanted = json_object();
	h->confirmed = json_object();
	h->in_force = json_object();
	if (sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, o->policy_host_trial * 1000000, 1000, on_timer, h) < 0)
		return host_policy_free(h);
	load(h);
	if (!h->was_on_trial)
		sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	return h;
}

struct host_policy *host_policy_free(struct host_policy *h)
{
	if (!h)
		return NULL;
	sd_event_source_disable_unref(h->timer);
	json_decref(h->wanted);
	json_decref(h->confirmed);
	json_decref(h->in_force);
	free(h);
	return NULL;
}
