/* SPDX-License-Identifier: Apache-2.0 */
/* From what the API says to what the announcers are told: compiled as a whole, as it is little, but not more often than ten times a
 * second. Before the first whole lists nothing is taken away. */
#include "agent/agent.h"
#include "agent/announcer.h"

static const struct announcer_ops *const announcers[] = {&announce_lan};

enum { PAUSE_US = 100000 };

static bool is_ready(const struct agent *a)
{
	return a->dp && a->services.complete && a->synced[MODEL_NODES] && a->opt.service_enabled != SWITCH_OFF;
}

static int on_announce(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	struct announcement *list = NULL;
	size_t n = 0;

	if (!is_ready(a))
		return 0;
	if (a->opt.service_announce != ANNOUNCE_OFF)
		list = service_announcements(&a->services.env, a->opt.service_announce == ANNOUNCE_EVERY ? ANNOUNCE_ALL : ANNOUNCE_POOLS, &n);
	for (size_t i = 0; i < ARRAY_SIZE(announcers); i++)
		announcers[i]->apply(a, list, n);
	announcements_free(list, n);
	return 0;
}

void agent_announce_changed(struct agent *a)
{
	uint64_t now = 0;
	int enabled = SD_EVENT_OFF;

	if (!is_ready(a))
		return;
	if (a->announce_timer && sd_event_source_get_enabled(a->announce_timer, &enabled) >= 0 && enabled != SD_EVENT_OFF)
		return;
	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	if (!a->announce_timer) {
		sd_event_add_time(a->event, &a->announce_timer, CLOCK_MONOTONIC, now, 1000, on_announce, a);
		return;
	}
	sd_event_source_set_time(a->announce_timer, now + PAUSE_US);
	sd_event_source_set_enabled(a->announce_timer, SD_EVENT_ONESHOT);
}

void agent_announce_stop(struct agent *a)
{
	a->announce_timer = sd_event_source_disable_unref(a->announce_timer);
	for (size_t i = 0; i < ARRAY_SIZE(announcers); i++)
		announcers[i]->stop(a);
}

static void add_who(const struct agent *a, const struct addr *addr, json_t *list)
{
	for (size_t i = 0; i < ARRAY_SIZE(announcers); i++) {
		json_t *who = announcers[i]->who(a, addr);

		if (!who)
			continue;
		json_object_set_new(who, "announcer", json_string(announcers[i]->name));
		json_array_append_new(list, who);
	}
}

static bool is_first(const struct service_view *v, size_t port, size_t at)
{
	const struct addr *addr = &v->ports[port].addresses[at].addr;

	for (size_t i = 0; i <= port; i++)
		for (size_t k = 0; k < (i < port ? v->ports[i].n_addresses : at); k++)
			if (addr_eq(&v->ports[i].addresses[k].addr, addr))
				return false;
	return true;
}

json_t *agent_announce_who(const struct agent *a, const struct service_view *v)
{
	json_t *list = json_array();

	for (size_t i = 0; i < v->n_ports; i++)
		for (size_t k = 0; k < v->ports[i].n_addresses; k++) {
			const struct service_address *at = &v->ports[i].addresses[k];

			if ((at->kind == SERVICE_LOAD_BALANCER || at->kind == SERVICE_EXTERNAL_IP) && is_first(v, i, k))
				add_who(a, &at->addr, list);
		}
	return list;
}

json_t *agent_announce_status(const struct agent *a)
{
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(announcers); i++)
		json_object_set_new(o, announcers[i]->name, announcers[i]->status(a));
	return o;
}
