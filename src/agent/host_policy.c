/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler has what is in force; `record` is what the next agent must know, and is written down before anything follows from it: whatever was
 * not done when an agent died is done by the next, or by the datapath itself, which knows the trial's end (policy_endpoint_value.until). */
#include "agent/host_policy.h"
#include "agent/host_record.h"
#include "base/file.h"
#include "base/htab.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { FILE_MAX = 4 << 20, NS_PER_US = 1000 };
/* A living agent takes back in order: the datapath waits a little longer. */
static const uint64_t grace_us = 3000000;
/* A connection that says nothing for longer is judged as if whoever speaks next began it. */
static const uint64_t adopts_us = 300000000;

struct host_policy {
	const struct options *opt;
	struct policy *compiler;
	host_policy_wake_fn *wake;
	void *wake_ctx;
	sd_event_source *timer;
	json_t *wanted;	   /* what the API has: name → object */
	json_t *effective; /* those of them that mean this node */
	json_t *in_force;  /* what the compiler has */
	struct host_record record;
	char *written; /* the record's text in the file */
	struct failsafe_api api;
	bool synced, failsafe;
};

static uint64_t now_us(const struct host_policy *h)
{
	uint64_t now = 0;

	sd_event_now(sd_event_source_get_event(h->timer), CLOCK_BOOTTIME, &now);
	return now;
}

static uint64_t trial_us(const struct host_policy *h)
{
	return h->opt->policy_host_trial * 1000000;
}

static bool is_on_trial(const struct host_policy *h)
{
	return h->record.trial && !h->record.taken_back;
}

/* What is in force of those that mean this node. */
static json_t *decided(const struct host_policy *h)
{
	return is_on_trial(h) ? h->record.trial : h->record.confirmed;
}

/* --- what is kept --- */

static char *path_of(const struct host_policy *h)
{
	return xasprintf("%s/host-policy.json", h->opt->mesh_dir);
}

static int save(struct host_policy *h)
{
	_cleanup_free_ char *path = path_of(h), *text = host_record_format(&h->record);
	int r;

	if (text && streq(text, h->written))
		return 0;
	r = mkdir_parents(h->opt->mesh_dir, 0700);
	if (r == 0)
		r = text ? file_write_atomic(path, text, strlen(text), 0600) : -ENOMEM;
	if (r < 0) {
		log_error("what is confirmed of the node's own policies cannot be kept", L_STR("file", path), L_ERRNO(r));
		return r;
	}
	free(h->written);
	h->written = take_ptr(text);
	return 0;
}

/* A file that cannot be read is one in which nothing is confirmed: what is wanted goes on trial. */
static void load(struct host_policy *h)
{
	_cleanup_free_ char *path = path_of(h), *text = NULL, *why = NULL, *boot = NULL;
	bool was_on_trial;
	size_t len;
	int r = file_read(path, FILE_MAX, &text, &len);

	host_record_init(&h->record);
	if (r == 0) {
		host_record_done(&h->record);
		r = host_record_parse(&h->record, path, text, len, &why);
		h->written = take_ptr(text);
	}
	if (r < 0 && r != -ENOENT)
		log_warn("what was confirmed of the node's own policies cannot be read", L_STR("file", path), L_STR("why", why ? why : strerror(-r)));
	r = file_read("/proc/sys/kernel/random/boot_id", 128, &boot, NULL);
	if (r < 0)
		log_warn("cannot tell this boot from others: a trial begins anew with each start", L_ERRNO(r));
	else
		boot[strcspn(boot, "\n")] = '\0';
	was_on_trial = is_on_trial(h);
	host_record_revive(&h->record, boot, now_us(h), trial_us(h), grace_us);
	if (was_on_trial && h->record.taken_back)
		log_error("a trial of the node's own policies ended while no agent ran, and nobody had confirmed them");
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
		policy_put_object(h->compiler, failsafe_spec(h->opt, &h->api));
	else
		policy_del_object(h->compiler, KIND_CLUSTER, "", "(failsafe)");
}

static void put_in_force(struct host_policy *h)
{
	_cleanup_json_ json_t *old = h->in_force;
	json_t *object;
	const char *name;

	h->in_force = json_copy(decided(h));
	json_object_foreach(h->wanted, name, object) /* of other nodes: here they say nothing, but `weft policy list` names them */
		if (!json_object_get(h->effective, name) && !json_object_get(h->in_force, name))
			json_object_set(h->in_force, name, object);
	set_failsafe(h, json_object_size(decided(h)) > 0);
	json_object_foreach(old, name, object)
		if (!json_object_get(h->in_force, name))
			policy_del_object(h->compiler, KIND_CLUSTER, "", name);
	json_object_foreach(h->in_force, name, object)
		if (!json_equal(json_object_get(old, name), object))
			put_object(h, name, object);
	policy_set_host_times(h->compiler, (struct policy_host_times){
		.until_ns = is_on_trial(h) ? (h->record.until + grace_us) * NS_PER_US : 0,
		.adopts_ns = (h->record.since + adopts_us) * NS_PER_US });
}

/* --- the trial --- */

static void end_trial(struct host_policy *h)
{
	json_decref(h->record.trial);
	h->record.trial = NULL;
	h->record.taken_back = false;
	h->record.until = 0;
}

static void set_confirmed(struct host_policy *h, json_t *objects)
{
	json_t *old = h->record.confirmed;

	h->record.confirmed = json_copy(objects);
	json_decref(old);
	if (!json_object_size(objects))
		return;
	json_decref(h->record.last);
	h->record.last = json_copy(objects);
}

/* What differs goes on trial, until the time of the first change of it is over. */
static void try_out(struct host_policy *h)
{
	if (!is_on_trial(h)) {
		h->record.until = now_us(h) + trial_us(h);
		log_warn("policies of the node itself are on trial: \"weft policy confirm\" keeps them",
			 L_UINT("seconds", h->opt->policy_host_trial));
	}
	json_decref(h->record.trial);
	h->record.trial = json_copy(h->effective);
	h->record.taken_back = false;
}

/* Nothing is wanted, or what was confirmed: needs no trial. */
static void decide(struct host_policy *h)
{
	struct host_record *r = &h->record;

	if (!json_object_size(h->effective)) {
		if (json_object_size(decided(h)))
			log_warn("the last policy of the node itself is gone: the node is open");
		set_confirmed(h, h->effective);
		end_trial(h);
	} else if (json_equal(h->effective, r->confirmed) || json_equal(h->effective, r->last)) {
		set_confirmed(h, h->effective);
		end_trial(h);
	} else if (!json_equal(h->effective, r->trial)) {
		try_out(h);
	}
}

/* The record says what to do: first it is written down, then it is done. */
static int carry_out(struct host_policy *h)
{
	bool on = json_object_size(decided(h)) > 0;
	int r;

	if (on && !h->record.since)
		h->record.since = now_us(h);
	else if (!on)
		h->record.since = 0;
	r = save(h);
	sd_event_source_set_time(h->timer, h->record.until);
	sd_event_source_set_enabled(h->timer, is_on_trial(h) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	put_in_force(h);
	return r;
}

static void settle(struct host_policy *h)
{
	if (!h->synced)
		return;
	decide(h);
	(void)carry_out(h); /* it has said so; the trial goes on from memory */
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct host_policy *h = ctx;

	if (!is_on_trial(h))
		return 0;
	h->record.taken_back = true;
	log_error("nobody has confirmed the policies of the node itself: those that were confirmed last are in force again");
	if (h->synced)
		(void)carry_out(h);
	else
		(void)save(h); /* the datapath opens the node by itself */
	h->wake(h->wake_ctx);
	return 0;
}

/* --- which of them mean this node --- */

static bool means_node(const struct host_policy *h, const json_t *object)
{
	_cleanup_(policy_spec_freep) struct policy_spec *spec = NULL;

	return policy_spec_parse(object, NULL, &spec, NULL) == 0 && policy_selects_host(h->compiler, spec);
}

static void look_at(struct host_policy *h, const char *name, json_t *object)
{
	if (object && means_node(h, object))
		json_object_set(h->effective, name, object);
	else
		json_object_del(h->effective, name);
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
	look_at(h, name, object);
	settle(h);
}

void host_policy_node_changed(struct host_policy *h)
{
	json_t *object;
	const char *name;

	json_object_foreach(h->wanted, name, object)
		look_at(h, name, object);
	settle(h);
}

void host_policy_not_of_nodes(struct host_policy *h, const char *name)
{
	json_t *sets[] = { h->record.confirmed, h->record.last, h->record.trial };
	bool any = false;

	if (json_object_del(h->in_force, name) == 0)
		policy_del_object(h->compiler, KIND_CLUSTER, "", name);
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		any |= json_object_del(sets[i], name) == 0;
	if (any)
		(void)save(h);
}

void host_policy_synced(struct host_policy *h)
{
	if (h->synced)
		return;
	h->synced = true;
	settle(h);
}

void host_policy_set_api(struct host_policy *h, const struct failsafe_api *api)
{
	if (memcmp(&h->api, api, sizeof(*api)) == 0)
		return;
	h->api = *api;
	if (!h->failsafe)
		return;
	policy_put_object(h->compiler, failsafe_spec(h->opt, api));
	h->wake(h->wake_ctx);
}

/* So that who confirms can say what he has seen. */
static char *revision_of(const json_t *objects)
{
	_cleanup_free_ char *text = json_dumps(objects, JSON_COMPACT | JSON_SORT_KEYS);

	return xasprintf("%08x", (unsigned)(hash_str(text ? text : "") >> 32));
}

int host_policy_confirm(struct host_policy *h, const char *revision)
{
	_cleanup_free_ char *own = revision_of(h->record.trial);
	int r;

	if (!h->record.trial)
		return -ENOENT;
	if (revision && !streq(revision, own))
		return -ESTALE;
	set_confirmed(h, h->record.trial);
	end_trial(h);
	r = carry_out(h);
	h->wake(h->wake_ctx);
	return r;
}

bool host_policy_is_rolled_back(const struct host_policy *h)
{
	return h->record.taken_back;
}

const json_t *host_policy_tried(const struct host_policy *h)
{
	return h->record.trial;
}

json_t *host_policy_json(const struct host_policy *h)
{
	const char *state = is_on_trial(h) ? "trial" : h->record.taken_back ? "rolled back" : json_object_size(decided(h)) ? "confirmed" : "none", *name;
	_cleanup_free_ char *revision = h->record.trial ? revision_of(h->record.trial) : NULL;
	uint64_t now = now_us(h), until = h->record.until;
	json_t *names = json_array(), *object;

	json_object_foreach(decided(h), name, object)
		json_array_append_new(names, json_string(name));
	return json_pack("{ss, ss*, sI, so}", "state", state, "revision", revision, "secondsLeft",
			 (json_int_t)(is_on_trial(h) && until > now ? (until - now) / 1000000 : 0), "policies", names);
}

struct host_policy *host_policy_new(sd_event *event, const struct options *o, struct policy *compiler, host_policy_wake_fn *wake, void *ctx)
{
	struct host_policy *h = xnew0(struct host_policy);

	h->opt = o;
	h->compiler = compiler;
	h->wake = wake;
	h->wake_ctx = ctx;
	h->wanted = json_object();
	h->effective = json_object();
	h->in_force = json_object();
	if (sd_event_add_time(event, &h->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, h) < 0)
		return host_policy_free(h);
	load(h);
	sd_event_source_set_time(h->timer, h->record.until);
	sd_event_source_set_enabled(h->timer, is_on_trial(h) ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	return h;
}

struct host_policy *host_policy_free(struct host_policy *h)
{
	if (!h)
		return NULL;
	sd_event_source_disable_unref(h->timer);
	json_decref(h->wanted);
	json_decref(h->effective);
	json_decref(h->in_force);
	host_record_done(&h->record);
	free(h->written);
	free(h);
	return NULL;
}
