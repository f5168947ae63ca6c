/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/repair.h"
#include "base/log.h"
#include "base/str.h"

#include <time.h>

static const char *const labels[REPAIR_COUNT] = {
#define LABEL(name, label, text) [REPAIR_##name] = label,
    REPAIRS(LABEL)
#undef LABEL
};

static const char *const texts[REPAIR_COUNT] = {
#define TEXT(name, label, text) [REPAIR_##name] = text,
    REPAIRS(TEXT)
#undef TEXT
};

const char *repair_label(enum repair what)
{
	return labels[what];
}

void repairs_note(struct repairs *r, enum repair what, uint64_t count, const char *text)
{
	struct recent_repair *slot = &r->recent[r->n_recent++ % RECENT_REPAIRS];
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	slot->at_ms = ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
	slot->what = what;
	str_escape(slot->text, sizeof(slot->text), text);
	r->counts[what] += count;
	log_warn("put back what somebody else had taken away or changed", L_STR("what", labels[what]),
		 L_STR("why", texts[what]), L_UINT("count", count), L_STR("where", text));
}

json_t *repairs_to_json(const struct repairs *r)
{
	json_t *counts = json_object(), *recent = json_array();

	for (int i = 0; i < REPAIR_COUNT; i++)
		json_object_set_new(counts, labels[i], json_integer(r->counts[i]));
	for (uint64_t k = 0; k < MIN(r->n_recent, (uint64_t)RECENT_REPAIRS); k++) { /* newest first */
		const struct recent_repair *e = &r->recent[(r->n_recent - 1 - k) % RECENT_REPAIRS];

		json_array_append_new(recent, json_pack("{sI, ss, ss, ss}", "atMs", (json_int_t)e->at_ms, "what",
							labels[e->what], "text", texts[e->what], "where", e->text));
	}
	return json_pack("{so, so, sI}", "counts", counts, "recent", recent, "eventsLost", (json_int_t)r->resyncs);
}
