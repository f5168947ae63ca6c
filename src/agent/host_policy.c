/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler has what is in force; `record` is what the next agent must know, and is written down before anything follows from it: whatever was
 * not done when an agent died is done by the next, or by the datapath itself, which knows the trial's end and what is in force then (struct
 * policy_endpoint_value). */
#include "agent/host_policy.h"
#include "agent/api_trial.h"
#include "agent/host_record.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { FILE_MAX = 4 << 20, NS_PER_US = 1000 };
/* A living agent takes back in order: the datapath waits a little longer. */
static const uint64_t grace_us = 3000000;
/* A connection that says nothing for longer is judged as if whoever speaks next began it. */
static const uint64_t adopts_us = 300000000;

/* The failsafe rules are there while anything else is: without, the node is no endpoint at all. Where all only observes so do they, and nothing is in force. */
enum failsafe { FAILSAFE_NONE, FAILSAFE_OBSERVED, FAILSAFE_ENFORCED };

/* What the compiler has: now, and after a trial that ends by itself. */
struct side {
	json_t *objects;
	enum failsafe failsafe;
};
enum { NOW, AFTER, SIDES };

struct host_policy {
	const struct options *opt;
	struct policy *compiler;
	host_policy_wake_fn *wake;
	void *wake_ctx;
	sd_event_source *timer;
	json_t *wanted;	   /* what the API has: name → object */
	json_t *effective; /* those of them that mean this node, and are to be in force */
	json_t *observed;  /* those that mean it and only observe: they close nothing, so they need no trial */
	struct side sides[SIDES];
	struct host_record record;
	struct api_trial *test;
	char *written; /* the record's text in the file */
	uint64_t observed_since; /* as record.since, while nothing is in force */
	struct failsafe_api api;
	const struct route_underlay *links;
	size_t n_links;
	bool synced;
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

static bool observes(const struct policy_spec *spec, const struct options *o)
{
	return o->policy_mode == POLICY_MODE_OBSERVE || spec->observes;
}

/* An older agent confirmed those, too. */
static void drop_observing(json_t *set)
{
	json_t *object;
	const char *name;
	void *next;

	json_object_foreach_safe(set, next, name, object) {
		_cleanup_(policy_spec_freep) struct policy_spec *spec = NULL;

		if (policy_spec_parse(object, NULL, &spec, NULL) == 0 && spec->observes)
			json_object_del(set, name);
	}
}

/* A file that cannot be read is one in which nothing is confirmed: what is wanted goes on trial. */
static void load(struct host_policy *h)
{
	_cleanup_free_ char *path = path_of(h), *text = NULL, *why = NULL, *boot = NULL;
	bool was_on_trial;
	size_t len;
	int r = file_read(path, FILE_MAX, &text, &len);

	if (r == 0) {
		host_record_done(&h->record);
		r = host_record_parse(&h->record, path, text, len, &why);
		h->written = take_ptr(text);
		drop_observing(h->record.confirmed);
		drop_observing(h->record.last);
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

static void put_object(struct policy *to, int side, const char *name, const json_t *object)
{
	_cleanup_free_ char *why = NULL;
	struct policy_spec *spec;

	if (policy_spec_parse(object, NULL, &spec, &why) < 0) {
		log_error("a policy cannot be read", L_STR("name", name), L_STR("why", why));
		return;
	}
	if (side == AFTER)
		policy_spec_set_after(spec);
	policy_put_object(to, spec);
}

static void del_object(struct host_policy *h, int side, const char *name)
{
	policy_del_object(h->compiler, KIND_CLUSTER, side == AFTER ? POLICY_AFTER_NAMESPACE : "", name);
}

static void put_failsafe(const struct host_policy *h, struct policy *to, int side, const struct failsafe_api *api, enum failsafe how)
{
	struct policy_spec *spec = failsafe_spec(h->opt, api, h->links, h->n_links);

	spec->observes = how == FAILSAFE_OBSERVED;
	if (side == AFTER)
		policy_spec_set_after(spec);
	policy_put_object(to, spec);
}

static void set_failsafe(struct host_policy *h, int side, enum failsafe how)
{
	if (h->sides[side].failsafe == how)
		return;
	h->sides[side].failsafe = how;
	if (how != FAILSAFE_NONE)
		put_failsafe(h, h->compiler, side, &h->api, how);
	else
		del_object(h, side, FAILSAFE_NAME);
}

/* @objects: taken. */
static void put_side(struct host_policy *h, int side, json_t *objects, enum failsafe failsafe)
{
	_cleanup_json_ json_t *old = h->sides[side].objects;
	json_t *object;
	const char *name;

	h->sides[side].objects = objects;
	set_failsafe(h, side, failsafe);
	json_object_foreach(old, name, object)
		if (!json_object_get(objects, name))
			del_object(h, side, name);
	json_object_foreach(objects, name, object)
		if (!json_equal(json_object_get(old, name), object))
			put_object(h->compiler, side, name, object);
}

static struct policy_host_times times(const struct host_policy *h)
{
	uint64_t since = json_object_size(decided(h)) ? h->record.since : h->observed_since;

	return (struct policy_host_times){ .until_ns = is_on_trial(h) ? (h->record.until + grace_us) * NS_PER_US : 0,
					   .adopts_ns = (since + adopts_us) * NS_PER_US };
}

static enum failsafe failsafe_now(const struct host_policy *h)
{
	if (json_object_size(decided(h)))
		return FAILSAFE_ENFORCED;
	return json_object_size(h->observed) ? FAILSAFE_OBSERVED : FAILSAFE_NONE;
}

static void put_in_force(struct host_policy *h)
{
	json_t *now = json_copy(decided(h)), *after = is_on_trial(h) ? json_copy(h->record.confirmed) : json_object(), *object;
	const char *name;

	json_object_foreach(h->wanted, name, object) /* what observes; and of other nodes: here they say nothing, but `weft policy list` names them */
		if (!json_object_get(h->effective, name) && !json_object_get(now, name))
			json_object_set(now, name, object);
	put_side(h, NOW, now, failsafe_now(h));
	put_side(h, AFTER, after, json_object_size(after) ? FAILSAFE_ENFORCED : FAILSAFE_NONE);
	policy_set_host_times(h->compiler, times(h));
}

/* --- the trial --- */

static void end_trial(struct host_policy *h)
{
	json_decref(h->record.trial);
	h->record.trial = NULL;
	h->record.taken_back = h->record.tested = false;
	h->record.until = 0;
	api_trial_stop(h->test);
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

static void begin_trial(struct host_policy *h)
{
	h->record.until = now_us(h) + trial_us(h);
	h->record.taken_back = false;
	log_warn("policies of the node itself are on trial: \"weft policy confirm\" keeps them",
		 L_UINT("seconds", h->opt->policy_host_trial));
}

/* What differs goes on trial, until the time of the first change of it is over. */
static void try_out(struct host_policy *h)
{
	if (!is_on_trial(h))
		begin_trial(h);
	json_decref(h->record.trial);
	h->record.trial = json_copy(h->effective);
	h->record.tested = false;
	api_trial_stop(h->test); /* what it found would be of the former */
}

/* Has the API all of what was confirmed last (as it was, or changed)? */
static bool has_last(const struct host_policy *h)
{
	json_t *object;
	const char *name;

	json_object_foreach(h->record.last, name, object)
		if (!json_object_get(h->wanted, name))
			return false;
	return json_object_size(h->record.last) > 0;
}

/* It no longer means the node, which may be for a moment (a label), or it is deleted, which opens the node for good. */
static void open_node(struct host_policy *h)
{
	struct host_record *r = &h->record;

	if (json_object_size(decided(h)))
		log_warn("no policy of the node itself is in force any more: the node is open");
	r->unmeant = (r->unmeant || json_object_size(r->confirmed)) && has_last(h);
	set_confirmed(h, h->effective);
	end_trial(h);
}

static bool only_denies(const json_t *object)
{
	static const char *const directions[] = { "ingress", "egress" };
	const json_t *rule;
	size_t i;

	for (int d = 0; d < 2; d++)
		json_array_foreach(json_at(object, "spec", directions[d]), i, rule)
			if (!streq(json_str_at(rule, "action"), "Deny"))
				return false;
	return true;
}

/* What was confirmed, less what observes now; if that only denied it let nothing pass that others would deny. */
static bool is_confirmed(const struct host_policy *h)
{
	json_t *object;
	const char *name;

	json_object_foreach(h->record.confirmed, name, object) {
		const json_t *now = json_object_get(h->effective, name);

		if (now ? !json_equal(now, object) : !json_object_get(h->observed, name) || !only_denies(object))
			return false;
	}
	json_object_foreach(h->effective, name, object)
		if (!json_object_get(h->record.confirmed, name))
			return false;
	return true;
}

/* Nothing is wanted, or what was confirmed: needs no trial. */
static void decide(struct host_policy *h)
{
	struct host_record *r = &h->record;

	if (!json_object_size(h->effective)) {
		open_node(h);
		return;
	}
	if (is_confirmed(h) || json_equal(h->effective, r->last)) {
		set_confirmed(h, h->effective);
		end_trial(h);
	} else if (!json_equal(h->effective, r->trial)) {
		if (r->unmeant && has_last(h)) { /* what comes back without a word */
			json_decref(r->confirmed);
			r->confirmed = json_copy(r->last);
		}
		try_out(h);
	}
	r->unmeant = false;
}

static void note_since(struct host_policy *h)
{
	bool on = json_object_size(decided(h)) > 0;

	if (on && !h->record.since)
		h->record.since = now_us(h);
	else if (!on)
		h->record.since = 0;
	if (!json_object_size(h->observed))
		h->observed_since = 0;
	else if (!h->observed_since)
		h->observed_since = now_us(h);
}

/* The record says what to do: first it is written down, then it is done. */
static int carry_out(struct host_policy *h)
{
	int r;

	note_since(h);
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

static void take_back(struct host_policy *h)
{
	h->record.taken_back = true;
	api_trial_stop(h->test);
	if (h->synced)
		(void)carry_out(h);
	else
		(void)save(h); /* the datapath does it by itself */
	h->wake(h->wake_ctx);
}

static int on_timer(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct host_policy *h = ctx;

	if (!is_on_trial(h))
		return 0;
	log_error("nobody has confirmed the policies of the node itself: those that were confirmed last are in force again",
		  L_STR("api", h->record.tested ? "reached" : "not known to be reached"));
	take_back(h);
	return 0;
}

/* --- is the API server reached under it? --- */

void host_policy_applied(struct host_policy *h)
{
	if (is_on_trial(h) && !h->record.tested)
		api_trial_begin(h->test);
}

static void on_tested(bool reached, const char *why, void *ctx)
{
	struct host_policy *h = ctx;

	if (reached) {
		h->record.tested = true;
		(void)save(h);
		h->wake(h->wake_ctx);
		return;
	}
	log_error("under the policies of the node itself the API server is not reached: those that were confirmed last are in force again", L_STR("why", why));
	take_back(h);
}

/* --- before the API has told anything --- */

bool host_policy_is_any(const struct host_policy *h)
{
	return json_object_size(decided(h)) || (is_on_trial(h) && json_object_size(h->record.confirmed));
}

static void put_set(const struct host_policy *h, struct policy *to, int side, const json_t *set, const struct failsafe_api *api)
{
	const char *name;
	json_t *object;

	if (json_object_size(set))
		put_failsafe(h, to, side, api, FAILSAFE_ENFORCED);
	json_object_foreach((json_t *)set, name, object)
		put_object(to, side, name, object);
}

void host_policy_put_recorded(struct host_policy *h, struct policy *to, const struct failsafe_api *api)
{
	note_since(h);
	(void)save(h); /* it has said so; the node is closed all the same */
	put_set(h, to, NOW, decided(h), api);
	if (is_on_trial(h))
		put_set(h, to, AFTER, h->record.confirmed, api);
	policy_set_host_times(to, times(h));
}

/* --- which of them mean this node --- */

static void put_or_del(json_t *set, const char *name, json_t *object)
{
	if (object)
		json_object_set(set, name, object);
	else
		json_object_del(set, name);
}

static void look_at(struct host_policy *h, const char *name, json_t *object)
{
	_cleanup_(policy_spec_freep) struct policy_spec *spec = NULL;
	bool means_node = object && policy_spec_parse(object, NULL, &spec, NULL) == 0 && policy_selects_host(h->compiler, spec);
	bool only_observes = means_node && observes(spec, h->opt);

	put_or_del(h->effective, name, means_node && !only_observes ? object : NULL);
	put_or_del(h->observed, name, only_observes ? object : NULL);
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

	for (int side = NOW; side < SIDES; side++)
		if (json_object_del(h->sides[side].objects, name) == 0)
			del_object(h, side, name);
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

static void renew_failsafe(struct host_policy *h)
{
	for (int side = NOW; side < SIDES; side++)
		if (h->sides[side].failsafe != FAILSAFE_NONE)
			put_failsafe(h, h->compiler, side, &h->api, h->sides[side].failsafe);
	if (h->sides[NOW].failsafe != FAILSAFE_NONE)
		h->wake(h->wake_ctx);
}

void host_policy_set_api(struct host_policy *h, const struct failsafe_api *api)
{
	if (memcmp(&h->api, api, sizeof(*api)) == 0)
		return;
	h->api = *api;
	renew_failsafe(h);
}

void host_policy_set_links(struct host_policy *h, const struct route_underlay *links, size_t n)
{
	h->links = links;
	h->n_links = n;
	renew_failsafe(h);
}

const struct failsafe_api *host_policy_api(const struct host_policy *h)
{
	return &h->api;
}

/* So that who confirms can say what he has seen: the same for the next agent, and on another node. Hence without the seed of hash_str(). */
static char *revision_of(const json_t *objects)
{
	_cleanup_free_ char *text = json_dumps(objects, JSON_COMPACT | JSON_SORT_KEYS);

	return xasprintf("%08x", (unsigned)(hash_bytes(text ? text : "", text ? strlen(text) : 0, 0) >> 32));
}

int host_policy_confirm(struct host_policy *h, const char *revision)
{
	_cleanup_free_ char *own = revision_of(h->record.trial);
	int r;

	if (!h->record.trial)
		return -ENOENT;
	if (revision && !streq(revision, own))
		return -ESTALE;
	if (is_on_trial(h) && !h->record.tested)
		return -EAGAIN;
	if (h->record.tested) {
		set_confirmed(h, h->record.trial);
		end_trial(h);
	} else {
		begin_trial(h);
	}
	r = carry_out(h);
	h->wake(h->wake_ctx);
	return r;
}

bool host_policy_is_rolled_back(const struct host_policy *h)
{
	return h->record.taken_back;
}

bool host_policy_is_tested(const struct host_policy *h)
{
	return h->record.tested;
}

const json_t *host_policy_tried(const struct host_policy *h)
{
	return h->record.trial;
}

static const char *state_of(const struct host_policy *h)
{
	if (is_on_trial(h))
		return "trial";
	if (h->record.taken_back)
		return "rolled back";
	return json_object_size(decided(h)) ? "confirmed" : json_object_size(h->observed) ? "observed" : "none";
}

static json_t *names_of(const json_t *objects)
{
	json_t *names = json_array(), *object;
	const char *name;

	json_object_foreach((json_t *)objects, name, object)
		json_array_append_new(names, json_string(name));
	return names;
}

json_t *host_policy_json(const struct host_policy *h)
{
	_cleanup_free_ char *revision = h->record.trial ? revision_of(h->record.trial) : NULL;
	uint64_t now = now_us(h), until = h->record.until;

	return json_pack("{ss, ss*, so*, sI, so, so}", "state", state_of(h), "revision", revision, "apiReached",
			 h->record.trial ? json_boolean(h->record.tested) : NULL, "secondsLeft",
			 (json_int_t)(is_on_trial(h) && until > now ? (until - now) / 1000000 : 0), "policies", names_of(decided(h)), "observed",
			 names_of(h->observed));
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
	h->observed = json_object();
	for (int side = NOW; side < SIDES; side++)
		h->sides[side].objects = json_object();
	host_record_init(&h->record);
	h->test = api_trial_new(event, o->kubeconfig, on_tested, h);
	if (!h->test || sd_event_add_time(event, &h->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, h) < 0)
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
	json_decref(h->observed);
	for (int side = NOW; side < SIDES; side++)
		json_decref(h->sides[side].objects);
	api_trial_free(h->test);
	host_record_done(&h->record);
	free(h->written);
	free(h);
	return NULL;
}
