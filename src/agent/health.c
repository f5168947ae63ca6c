/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/health.h"
#include "base/log.h"
#include "base/str.h"

#include <time.h>

static const char *const names[PARTS] = {[PART_API] = "api",
					 [PART_CNI] = "cni",
					 [PART_DATAPATH] = "datapath",
					 [PART_ROUTES] = "routes",
					 [PART_IPAM] = "ipam",
					 [PART_SERVICES] = "services",
					 [PART_MESH] = "mesh",
					 [PART_POLICY] = "policy"};

void health_init(struct health *h, const char *starting)
{
	for (int i = 0; i < PARTS; i++) {
		h->parts[i].error = xstrdup(starting);
		h->parts[i].since_s = time(NULL);
	}
}

void health_done(struct health *h)
{
	for (int i = 0; i < PARTS; i++) {
		free(h->parts[i].error);
		free(h->parts[i].last);
	}
	*h = (struct health){0};
}

void health_set(struct health *h, enum part part, const char *error)
{
	__typeof__(h->parts[0]) *p = &h->parts[part];

	if (streq(p->error, error))
		return;
	if (!error)
		log_info("part is well", L_STR("part", names[part]));
	else if (p->was_well)
		log_warn("part has a problem", L_STR("part", names[part]), L_STR("why", error));
	else
		log_info("part is not ready yet", L_STR("part", names[part]), L_STR("why", error));
	p->was_well |= !error;
	if (!p->error || !error)
		p->since_s = time(NULL);
	free(p->error);
	p->error = error ? xstrdup(error) : NULL;
	if (!error)
		return;
	free(p->last);
	p->last = xstrdup(error);
	p->last_s = time(NULL);
}

const char *health_part_name(enum part part)
{
	return names[part];
}

bool health_is_good(const struct health *h)
{
	for (int i = 0; i < PARTS; i++)
		if (h->parts[i].error)
			return false;
	return true;
}

json_t *health_to_json(const struct health *h)
{
	json_t *o = json_object();

	for (int i = 0; i < PARTS; i++) {
		json_t *p =
		    json_pack("{sb, sI}", "ok", h->parts[i].error == NULL, "since", (json_int_t)h->parts[i].since_s);

		if (h->parts[i].error)
			json_object_set_new(p, "error", json_string(h->parts[i].error));
		if (h->parts[i].last) {
			json_object_set_new(p, "lastError", json_string(h->parts[i].last));
			json_object_set_new(p, "lastErrorAt", json_integer(h->parts[i].last_s));
		}
		json_object_set_new(o, names[i], p);
	}
	return o;
}
