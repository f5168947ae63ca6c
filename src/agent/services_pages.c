/* SPDX-License-Identifier: Apache-2.0 */
/* Names of Services and namespaces are DNS names: none holds what JSON would escape. */
#include "agent/services_pages.h"
#include "base/str.h"

enum { OK = 200, NOT_FOUND = 404, UNAVAILABLE = 503 };

void services_page_check(struct page *ret, const struct service_view *v, bool healthy)
{
	ret->code = v->local_ready && healthy ? OK : UNAVAILABLE;
	ret->type = "application/json";
	snprintf(ret->header, sizeof(ret->header), "X-Load-Balancing-Endpoint-Weight: %u", v->local_ready);
	buf_addf(&ret->body,
		 "{\"service\":{\"namespace\":\"%s\",\"name\":\"%s\"},\"localEndpoints\":%u,\"serviceProxyHealthy\":%s}",
		 v->namespace_, v->name, v->local_ready, healthy ? "true" : "false");
}

static void add_time(struct buf *out, const char *name, time_t at)
{
	struct tm tm;
	char text[32];

	gmtime_r(&at, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_addf(out, "\"%s\":\"%s\"", name, text);
}

void services_page_proxy(struct page *ret, const char *path, const struct services_health *h)
{
	bool health = streq(path, "/healthz");

	if (!health && !streq(path, "/livez")) {
		ret->code = NOT_FOUND;
		buf_adds(&ret->body, "there are /healthz and /livez, and nothing else\n");
		return;
	}
	ret->code = h->healthy && !(health && h->leaving) ? OK : UNAVAILABLE;
	ret->type = "application/json";
	buf_adds(&ret->body, "{");
	add_time(&ret->body, "lastUpdated", h->healthy ? h->now : h->healthy_at);
	buf_adds(&ret->body, ",");
	add_time(&ret->body, "currentTime", h->now);
	if (health)
		buf_addf(&ret->body, ",\"nodeEligible\":%s", h->leaving ? "false" : "true");
	buf_adds(&ret->body, "}");
}
