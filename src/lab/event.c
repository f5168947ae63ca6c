/* SPDX-License-Identifier: Apache-2.0 */
/* Events are told once and not waited for: losing one harms nothing, so their answers are not looked at beyond a debug line. */
#include "base/log.h"
#include "lab/apitime.h"
#include "lab/kubelet.h"

#include <sys/random.h>

enum { REPEAT_US = 10000000 };

void event_memory_done(struct event_memory *m)
{
	for (size_t i = 0; i < EVENTS_REMEMBERED; i++)
		free(m->last[i].text);
	*m = (struct event_memory){ 0 };
}

/* Whether the same was said a moment ago; remembers it otherwise. */
static bool is_repetition(struct kubelet *k, struct event_memory *m, const char *reason, const char *message)
{
	_cleanup_free_ char *text = xasprintf("%s %s", reason, message);
	uint64_t now = 0;

	sd_event_now(k->event, CLOCK_MONOTONIC, &now);
	for (size_t i = 0; i < EVENTS_REMEMBERED; i++)
		if (streq(m->last[i].text, text) && now - m->last[i].at_us < REPEAT_US)
			return true;
	free(m->last[m->next].text);
	m->last[m->next].text = take_ptr(text);
	m->last[m->next].at_us = now;
	m->next = (m->next + 1) % EVENTS_REMEMBERED;
	return false;
}

static void on_posted(const struct kube_response *res, void *ctx _unused_)
{
	if (res->status != 201)
		log_debug("an event was not taken", L_INT("status", res->status), L_STR("why", res->error));
}

void kubelet_event(struct kubelet *k, struct event_memory *m, const json_t *object, const char *kind, const char *type,
		   const char *reason, const char *fmt, ...)
{
	const char *ns = json_str_or(json_at(object, "namespace"), "default"), *name = json_str_or(json_at(object, "name"), "");
	_cleanup_free_ char *message = NULL, *event_name = NULL, *path = NULL;
	_cleanup_json_ json_t *e = NULL;
	struct kube_request req = { .method = "POST" };
	char now[API_TIME_MAX];
	uint64_t unique = 0;
	va_list ap;

	va_start(ap, fmt);
	message = xvasprintf(fmt, ap);
	va_end(ap);
	if (strlen(message) > 1000)
		message[1000] = 0;
	if (is_repetition(k, m, reason, message))
		return;
	if (getrandom(&unique, sizeof(unique), 0) < 0)
		return;
	event_name = xasprintf("%.200s.%016llx", name, (unsigned long long)unique);
	path = kube_path("/api/v1", ns, "events", NULL, NULL);
	api_now(now);
	e = json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:s,s:s,s:s,s:s,s:s},s:s,s:s,s:s,s:s,s:s,s:i,s:{s:s,s:s},s:s,s:s}", "apiVersion", "v1",
		      "kind", "Event", "metadata", "name", event_name, "namespace", ns, "involvedObject", "apiVersion", "v1", "kind", kind,
		      "name", name, "namespace", ns, "uid", json_str_or(json_at(object, "uid"), ""), "type", type, "reason", reason,
		      "message", message, "firstTimestamp", now, "lastTimestamp", now, "count", 1, "source", "component", "kubelet",
		      "host", k->node->name, "reportingComponent", "kubelet", "reportingInstance", k->node->name);
	if (!e)
		return; /* text that is not UTF-8 */
	req.path = path;
	req.body = e;
	kube_send(k->client, &req, on_posted, NULL, NULL);
}
