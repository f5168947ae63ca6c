/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/host_record.h"
#include "base/str.h"

enum { BOOT_MAX = 64 };

void host_record_init(struct host_record *r)
{
	*r = (struct host_record){ .confirmed = json_object(), .last = json_object() };
}

void host_record_done(struct host_record *r)
{
	free(r->boot);
	json_decref(r->confirmed);
	json_decref(r->last);
	json_decref(r->trial);
	*r = (struct host_record){ 0 };
}

static bool is_set(const json_t *j)
{
	const char *name;
	json_t *object;

	if (!json_is_object(j))
		return false;
	json_object_foreach((json_t *)j, name, object)
		if (!json_is_object(object))
			return false;
	return true;
}

static uint64_t read_time(const json_t *j, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(j, name));

	return v > 0 ? v : 0;
}

static void take_set(json_t **to, json_t *set)
{
	json_decref(*to);
	*to = json_incref(set);
}

int host_record_parse(struct host_record *r, const char *what, const char *text, size_t len, char **ret_error)
{
	_cleanup_json_ json_t *j = json_parse(what, text, len, ret_error);
	json_t *confirmed = json_object_get(j, "confirmed"), *last = json_object_get(j, "last"), *trial = json_object_get(j, "trial");
	const char *boot = json_str_at(j, "boot");

	host_record_init(r);
	if (!j)
		return -EINVAL;
	if (!is_set(confirmed)) {
		*ret_error = xasprintf("%s: confirmed: expected policies by their names", what);
		return -EINVAL;
	}
	take_set(&r->confirmed, confirmed);
	take_set(&r->last, is_set(last) ? last : confirmed);
	r->unmeant = json_is_true(json_object_get(j, "unmeant"));
	if (is_set(trial) && json_object_size(trial))
		take_set(&r->trial, trial);
	r->taken_back = r->trial && json_is_true(json_object_get(j, "takenBack"));
	r->tested = r->trial && json_is_true(json_object_get(j, "tested"));
	r->boot = boot && strlen(boot) < BOOT_MAX ? xstrdup(boot) : NULL;
	r->until = r->trial ? read_time(j, "until") : 0;
	r->since = read_time(j, "since");
	return 0;
}

char *host_record_format(const struct host_record *r)
{
	_cleanup_json_ json_t *j = json_pack("{ss*, sO, sO, sb, sO*, sb, sb, sI, sI}", "boot", r->boot, "confirmed", r->confirmed, "last", r->last, "unmeant",
					     r->unmeant, "trial", r->trial, "takenBack", r->taken_back, "tested", r->tested, "until", (json_int_t)r->until, "since", (json_int_t)r->since);

	return json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
}

void host_record_revive(struct host_record *r, const char *boot, uint64_t now, uint64_t longest, uint64_t grace)
{
	bool same = boot && r->boot && streq(r->boot, boot);

	if (!same) {
		r->until = r->since = 0;
		free(r->boot);
		r->boot = boot ? xstrdup(boot) : NULL;
		if (!r->taken_back) {
			json_decref(r->trial);
			r->trial = NULL;
		}
	}
	if (r->since > now)
		r->since = now;
	if (!r->trial || r->taken_back)
		return;
	if (r->until > now + longest)
		r->until = now + longest;
	if (now >= r->until + grace && !json_object_size(r->confirmed)) /* the node has been open since */
		r->since = 0;
	r->taken_back = now >= r->until;
}
