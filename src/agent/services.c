/* SPDX-License-Identifier: Apache-2.0 */
/* From Services that have changed to what the datapath is told. A change does not wait for the agent's pass: it is compiled in the
 * next turn of the loop, alone. Everything is compiled again only when the nodes (their zones, their addresses) or the datapath have
 * changed. Nothing is written before the first whole lists, so a restart takes nothing away that it has not heard of yet. */
#include "agent/services.h"
#include "agent/agent.h"
#include "agent/announcer.h"
#include "agent/services_internal.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <linux/magic.h>
#include <sys/vfs.h>

enum { TURN = 200 }; /* Services a turn of the loop: the CNI path never waits longer */

/* ---- one Service ---- */

static uint64_t hash_name(const char *namespace_, const char *name)
{
	return hash_str(namespace_) * 31 + hash_str(name);
}

struct service_entry *services_find(const struct services_view *s, const char *namespace_, const char *name)
{
	struct service_entry *e;

	HTAB_FIND(&s->by_name, hash_name(namespace_, name), e, node,
		  streq(e->view->namespace_, namespace_) && streq(e->view->name, name));
	return e;
}

static void entry_free(struct services_view *s, struct service_entry *e)
{
	services_check_free(s, e);
	htab_remove(&s->by_name, &e->node);
	services_take_ports(s, e->view, NULL);
	service_view_free(e->view);
	free(e);
}

/* The ports of @old that @view has not go. */
static int drop_ports(struct agent *a, const struct service_view *old, const struct service_view *view)
{
	int first = 0, r;

	for (size_t i = 0; old && i <= old->n_ports; i++) {
		_cleanup_free_ char *key = services_key(old, i);
		bool stays = false;

		for (size_t k = 0; view && k <= view->n_ports && !stays; k++) {
			_cleanup_free_ char *other = services_key(view, k);

			stays = streq(key, other);
		}
		r = stays ? 0 : datapath_del_service(a->dp, key);
		if (r < 0 && r != -ENOENT && first == 0)
			first = r;
	}
	return first;
}

static int put_ports(struct agent *a, const struct service_view *view)
{
	int first = 0, r;

	for (size_t i = 0; i <= view->n_ports; i++) {
		r = services_put_port(a->dp, view, i);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

static void say_refused(const struct service_view *old, const struct service_view *view)
{
	for (size_t i = 0; i < view->n_refused; i++) {
		bool said = false;

		for (size_t k = 0; old && k < old->n_refused && !said; k++)
			said = streq(old->refused[k], view->refused[i]);
		if (!said)
			log_warn("refused what a Service or a host port asks for", L_STR("namespace", view->namespace_), L_STR("service", view->name),
				 L_STR("what", view->refused[i]));
	}
}

static struct service_entry *replace_view(struct services_view *s, struct service_entry *e, struct service_view *view)
{
	if (!e) {
		e = xnew0(struct service_entry);
		htab_insert(&s->by_name, hash_name(view->namespace_, view->name), &e->node);
	}
	services_take_ports(s, e->view, view);
	service_view_free(e->view);
	e->view = view;
	return e;
}

/* A Service, or a pod's host ports. Return: NULL when there is no such thing (any more). */
static struct service_view *compile(const struct services_view *s, const struct model_service_name *name)
{
	const struct model_pod *pod;
	struct model_service *svc;

	if (str_has_prefix(name->name, MODEL_HOST_POD)) {
		pod = model_find_pod(s->env.model, name->namespace_, name->name + strlen(MODEL_HOST_POD));
		return pod && pod->host_ports ? service_compile_host_ports(&s->env, pod) : NULL;
	}
	svc = model_find_service(s->env.model, name->namespace_, name->name);
	return svc ? service_compile(&s->env, svc) : NULL;
}

static int update_one(struct agent *a, const struct model_service_name *name)
{
	struct services_view *s = &a->services;
	struct service_entry *e = services_find(s, name->namespace_, name->name);
	struct service_view *view = compile(s, name);
	int r, d;

	if (!view) {
		r = e ? drop_ports(a, e->view, NULL) : 0;
		if (e && r == 0)
			entry_free(s, e);
		return r;
	}
	s->compiled++;
	say_refused(e ? e->view : NULL, view);
	r = put_ports(a, view);
	d = drop_ports(a, e ? e->view : NULL, view);
	services_check_apply(a, replace_view(s, e, view));
	s->tell = true;
	return r ? r : d;
}

/* ---- all that is due ---- */

static bool is_ready(const struct agent *a)
{
	return a->dp && a->opt.service_enabled != SWITCH_OFF && a->synced[MODEL_NODES] && a->synced[MODEL_SERVICES] &&
	       a->synced[MODEL_SLICES];
}

static void fail(struct agent *a, const struct model_service_name *name, int r)
{
	struct services_view *s = &a->services;

	if (!s->failed)
		log_error("a Service could not be programmed whole", L_STR("namespace", name->namespace_),
			  L_STR("service", name->name), L_ERRNO(r));
	s->failed = true;
}

/* What fails is tried again with the next Service that changes, and with each audit. */
static void reserve_ports(struct agent *a)
{
	int r = a->services.taken_changed ? agent_apply_masquerade(a) : 0;

	if (r < 0)
		log_error("cannot keep pods from the ports at which this node serves", L_ERRNO(r));
	else
		a->services.taken_changed = false;
}

static int on_turn(sd_event_source *source, void *ctx)
{
	struct agent *a = ctx;
	struct services_view *s = &a->services;
	struct model_service_name name;
	unsigned n = 0;
	int r;

	if (!is_ready(a))
		return 0;
	while (n++ < TURN && model_take_dirty_service(a->model, &name)) {
		r = update_one(a, &name);
		if (r < 0)
			fail(a, &name, r);
	}
	reserve_ports(a);
	if (n > TURN)
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (!s->complete && a->synced[MODEL_PODS]) { /* host ports are known, too */
		r = datapath_services_end(a->dp);
		s->complete = r == 0;
		if (r < 0)
			log_error("cannot remove what the Services of an earlier agent left", L_ERRNO(r));
		else
			log_info("Services are programmed", L_UINT("services", s->by_name.count));
	}
	if (s->complete)
		services_abort_stale(a);
	s->healthy = s->complete && !s->failed;
	services_say_health(a);
	agent_announce_changed(a);
	return 0;
}

void agent_services_changed(struct agent *a)
{
	struct services_view *s = &a->services;

	if (!is_ready(a))
		return;
	if (!s->turn && sd_event_add_defer(a->event, &s->turn, on_turn, a) < 0)
		return;
	sd_event_source_set_enabled(s->turn, SD_EVENT_ONESHOT);
}

void agent_services_check(struct agent *a)
{
	struct services_view *s = &a->services;
	uint64_t digest;
	int r;

	if (a->opt.service_enabled == SWITCH_OFF)
		health_set(&a->health, PART_SERVICES, NULL);
	if (!is_ready(a))
		return;
	digest = services_digest_nodes(a);
	if (digest == s->nodes && s->dp == a->dp && s->dp_generation == a->dp_generation)
		return;
	r = services_take_nodes(a);
	if (r < 0) {
		log_error("cannot tell the datapath where NodePorts are", L_ERRNO(r));
		return; /* again with the next pass */
	}
	if (s->dp != a->dp || s->dp_generation != a->dp_generation)
		s->complete = s->healthy = false;
	s->nodes = digest;
	s->dp = a->dp;
	s->dp_generation = a->dp_generation;
	model_mark_services_dirty(a->model);
	agent_services_changed(a);
}

static void look_after_maps(struct agent *a)
{
	int r = datapath_audit_services(a->dp);

	if (r < 0)
		log_warn("cannot look after the maps of Services", L_ERRNO(r));
}

void agent_services_tick(struct agent *a)
{
	struct services_view *s = &a->services;

	if (a->dp) {
		datapath_services_collect(a->dp);
		look_after_maps(a);
	}
	if (a->dp && s->complete)
		services_abort_stale(a);
	services_health_tick(a);
	services_tell(a);
	if (!s->failed)
		return;
	s->failed = false;
	model_mark_services_dirty(a->model);
	agent_services_changed(a);
}

void agent_services_stop(struct agent *a)
{
	struct services_view *s = &a->services;
	struct htab_node *i;

	s->turn = sd_event_source_disable_unref(s->turn);
	services_health_stop(a);
	events_done(&s->events);
	while ((i = htab_any(&s->by_name)))
		entry_free(s, container_of(i, struct service_entry, node));
	htab_done(&s->by_name);
	free(s->taken);
	free(s->pod_ranges);
	free(s->own);
	free(s->held);
	free(s->ranges);
}

/* What is mounted may be hidden below what was mounted later. */
static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* /proc/mounts: "cgroup2 /sys/fs/cgroup cgroup2 rw…"; the first one counts. */
static char *find_cgroup2(void)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line, *save = NULL;

	if (file_read("/proc/mounts", 1 << 20, &text, NULL) < 0)
		return xstrdup("");
	for (rest = text; (line = strtok_r(rest, "\n", &save)); rest = NULL) {
		char *fields = NULL, *at, *type;

		strtok_r(line, " ", &fields);
		at = strtok_r(NULL, " ", &fields);
		type = strtok_r(NULL, " ", &fields);
		if (at && streq(type, "cgroup2") && is_cgroup2(at))
			return xstrdup(at);
	}
	return xstrdup("");
}

char *services_cgroup(const struct agent *a)
{
	if (a->opt.service_enabled == SWITCH_OFF)
		return xstrdup("");
	return streq(a->opt.service_cgroup, "auto") ? find_cgroup2() : xstrdup(a->opt.service_cgroup);
}
