/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/hub.h"

#include <inttypes.h>

void metrics_count(struct metrics *m, const char *verb, const char *resource, int code)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->requests[i].verb == verb && m->requests[i].resource == resource && m->requests[i].code == code) {
			m->requests[i].count++;
			return;
		}
	if (m->n < METRICS_REQUESTS_MAX)
		m->requests[m->n++] = (struct request_counter){ verb, resource, code, 1 };
}

static void write_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_write(const struct hub *hub, struct buf *out)
{
	const struct metrics *m = &hub->metrics;

	write_head(out, "weft_hub_requests_total", "counter", "Requests by verb, resource and HTTP code.");
	for (size_t i = 0; i < m->n; i++)
		buf_addf(out, "weft_hub_requests_total{verb=\"%s\",resource=\"%s\",code=\"%d\"} %" PRIu64 "\n",
			 m->requests[i].verb, m->requests[i].resource, m->requests[i].code, m->requests[i].count);
	write_head(out, "weft_hub_watches", "gauge", "Watches that are open.");
	buf_addf(out, "weft_hub_watches %zu\n", hub->n_watches);
	write_head(out, "weft_hub_watch_events_total", "counter", "Events queued for watches.");
	buf_addf(out, "weft_hub_watch_events_total %" PRIu64 "\n", m->watch_events);
	write_head(out, "weft_hub_slow_watches_total", "counter", "Watches closed because their client did not keep up.");
	buf_addf(out, "weft_hub_slow_watches_total %" PRIu64 "\n", m->slow_watches);
	write_head(out, "weft_hub_objects", "gauge", "Stored objects by resource.");
	for (size_t i = 0; i < kinds_count; i++)
		buf_addf(out, "weft_hub_objects{resource=\"%s\"} %zu\n", kinds[i].resource,
			 store_count(hub->store, &kinds[i]));
	write_head(out, "weft_hub_revision", "gauge", "Revision of the last write.");
	buf_addf(out, "weft_hub_revision %" PRIu64 "\n", store_rev(hub->store));
	write_head(out, "weft_hub_store_bytes", "gauge", "Size of the database.");
	buf_addf(out, "weft_hub_store_bytes %" PRId64 "\n", store_bytes(hub->store));
}
