/* SPDX-License-Identifier: Apache-2.0 */
/* A field set is what fieldsV1 is: nested objects, "f:NAME" for a field, "k:{…}" for an entry of a keyed list, "v:…" for
 * an element of a set; an empty object is a leaf that is owned. Apply is three steps: the set of the configuration is compared with
 * other managers' (conflicts), what the manager owned before and nobody applies any more is removed, and the configuration is merged
 * by the schema, as a strategic merge. */
#include "hub/apply.h"
#include "base/str.h"
#include "hub/patch.h"

static json_t *fields_of(const struct schema *s, const json_t *obj, bool top);

static char *entry_key(const struct field *f, const json_t *item)
{
	_cleanup_json_ json_t *key = NULL;
	_cleanup_free_ char *text = NULL;

	if (f->shape == SET) {
		text = json_text(item);
		return xasprintf("v:%s", text);
	}
	key = json_object();
	if (json_object_get(item, f->key))
		json_object_set(key, f->key, json_object_get(item, f->key));
	text = json_text(key);
	return xasprintf("k:%s", text);
}

static json_t *fields_of_value(const struct field *f, const json_t *v)
{
	json_t *out = json_object(), *item;
	const char *key;
	size_t i;

	if (f->shape == ONE && f->type == F_OBJECT && json_is_object(v)) {
		json_decref(out);
		return fields_of(f->of, v, false);
	}
	if (f->shape == MAP)
		json_object_foreach((json_t *)v, key, item) {
			_cleanup_free_ char *name = xasprintf("f:%s", key);

			json_object_set_new(out, name, json_object());
		}
	if (f->shape == KEYED || f->shape == SET)
		json_array_foreach(v, i, item) {
			_cleanup_free_ char *name = entry_key(f, item);

			json_object_set_new(out, name,
					    f->shape == KEYED ? fields_of(f->of, item, false) : json_object());
		}
	return out;
}

/* What a configuration says, without what identifies the object. */
static json_t *fields_of(const struct schema *s, const json_t *obj, bool top)
{
	static const char *const identity[] = { "apiVersion", "kind", "status" };
	json_t *out = json_object(), *v;
	const char *key;

	json_object_foreach((json_t *)obj, key, v) {
		const struct field *f = schema_field(s, key);
		_cleanup_free_ char *name = xasprintf("f:%s", key);
		bool skip = !f;

		for (size_t i = 0; top && i < ARRAY_SIZE(identity); i++)
			skip |= streq(key, identity[i]);
		if (!skip)
			json_object_set_new(out, name, fields_of_value(f, v));
	}
	return out;
}

/* metadata: labels, annotations, finalizers and owners are the configuration's; the rest is the server's. */
static json_t *owned_fields(const struct kind *k, const json_t *config)
{
	static const char *const kept[] = { "labels", "annotations", "finalizers", "ownerReferences" };
	_cleanup_json_ json_t *copy = json_copy((json_t *)config), *meta = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (json_at(config, "metadata", kept[i]))
			json_object_set(meta, kept[i], json_at(config, "metadata", kept[i]));
	json_object_set(copy, "metadata", meta);
	return fields_of(k->schema, copy, true);
}

/* The value that a step of a field set names inside of @v; borrowed, or NULL. */
static json_t *follow(const json_t *v, const char *step, size_t *ret_index)
{
	_cleanup_json_ json_t *key = NULL;
	json_t *item;
	size_t i;

	if (str_has_prefix(step, "f:"))
		return json_object_get(v, step + 2);
	key = json_parse("field set", step + 2, strlen(step + 2), NULL);
	json_array_foreach(v, i, item) {
		const char *name = json_object_iter_key(json_object_iter(key));
		bool same = step[0] == 'v' ? json_equal(item, key) :
					     name && json_equal(json_object_get(item, name), json_object_get(key, name));

		if (same) {
			if (ret_index)
				*ret_index = i;
			return item;
		}
	}
	return NULL;
}

/* Whether two configurations' common leaves have different values: the first such field goes to *ret. */
static bool conflicts(const json_t *mine, const json_t *theirs, const json_t *want, const json_t *have, const struct path *at,
		      char **ret)
{
	const char *step;
	json_t *set;

	json_object_foreach((json_t *)mine, step, set) {
		const json_t *other = json_object_get(theirs, step), *w = follow(want, step, NULL), *h = follow(have, step, NULL);
		const struct path *here = PATH(at, step + (step[0] == 'f' ? 2 : 0));

		if (!other || !h)
			continue;
		if (json_object_size(set) && json_object_size(other)) {
			if (conflicts(set, other, w, h, here, ret))
				return true;
		} else if (w && !json_equal(w, h)) {
			*ret = path_format(here);
			return true;
		}
	}
	return false;
}

/* Takes out of @v what @before names and @now does not, as far as no set in @others has it. */
static void drop_given_up(json_t *v, const json_t *before, const json_t *now, const json_t *others)
{
	const char *step;
	json_t *set;

	json_object_foreach((json_t *)before, step, set) {
		const json_t *still = json_object_get(now, step), *kept = json_object_get(others, step);
		size_t index = 0;
		json_t *inner = follow(v, step, &index);

		if (!inner || (json_object_size(set) == 0 && (still || kept)))
			continue;
		if (still || kept || (json_object_size(set) && json_is_object(inner) && step[0] == 'f'))
			drop_given_up(inner, set, still, kept);
		else if (json_is_object(v))
			json_object_del(v, step + 2);
		else
			json_array_remove(v, index);
	}
}

static bool is_entry_of(const json_t *entry, const char *manager, const char *sub)
{
	return streq(json_str_at(entry, "manager"), manager) && streq(json_str_at(entry, "operation"), "Apply") &&
	       streq(json_str_or(json_object_get(entry, "subresource"), ""), sub);
}

/* Removes from @theirs what @mine has: the manager took it over by force. */
static void subtract(json_t *theirs, const json_t *mine)
{
	const char *step;
	json_t *set;
	void *tmp;

	json_object_foreach_safe(theirs, tmp, step, set) {
		const json_t *m = json_object_get(mine, step);

		if (!m)
			continue;
		if (json_object_size(set) && json_object_size(m))
			subtract(set, m);
		if (json_object_size(set) == 0)
			json_object_del(theirs, step);
	}
}

static json_t *conflict(const char *manager, const char *field)
{
	json_t *s = status_new(409, "Conflict", "Apply failed with 1 conflict: conflict with \"%s\": .%s", manager, field);
	_cleanup_free_ char *message = xasprintf("conflict with \"%s\"", manager), *dotted = xasprintf(".%s", field);

	json_object_set_new(s, "details",
			    json_pack("{s[{ss ss ss}]}", "causes", "reason", "FieldManagerConflict", "message", message, "field",
				      dotted));
	return s;
}

/* Goes through the other managers: conflicts, or with force they lose the fields. *others: all that they apply. */
static json_t *settle_others(json_t *managed, const char *manager, const char *sub, const json_t *set, const json_t *config,
			     const json_t *have, bool force, json_t *others)
{
	json_t *entry;
	size_t i;

	json_array_foreach(managed, i, entry) {
		json_t *theirs = json_object_get(entry, "fieldsV1");
		_cleanup_free_ char *field = NULL;
		_cleanup_json_ json_t *copy = NULL;

		if (is_entry_of(entry, manager, sub) || !json_is_object(theirs))
			continue;
		if (conflicts(set, theirs, config, have, NULL, &field)) {
			if (!force)
				return conflict(json_str_or(json_object_get(entry, "manager"), ""), field);
			subtract(theirs, set);
		}
		copy = json_deep_copy(theirs); /* update shares what it takes over */
		json_object_update_recursive(others, copy);
	}
	return NULL;
}

static void record(json_t *managed, const struct kind *k, const char *manager, const char *sub, const json_t *set)
{
	_cleanup_free_ char *api_version = kind_api_version(k);
	char now[TIME_TEXT_MAX];
	json_t *entry;
	size_t i;

	json_array_foreach(managed, i, entry)
		if (is_entry_of(entry, manager, sub)) {
			if (json_equal(json_object_get(entry, "fieldsV1"), set))
				return; /* the time would make a change of nothing */
			json_array_remove(managed, i);
			break;
		}
	json_array_append_new(managed, json_pack("{ss ss ss ss ss sO ss*}", "manager", manager, "operation", "Apply", "apiVersion",
						 api_version, "time", time_now(now), "fieldsType", "FieldsV1", "fieldsV1",
						 set, "subresource", *sub ? sub : NULL));
}

static json_t *fields_before(const json_t *managed, const char *manager, const char *sub)
{
	json_t *entry;
	size_t i;

	json_array_foreach(managed, i, entry)
		if (is_entry_of(entry, manager, sub))
			return json_object_get(entry, "fieldsV1");
	return NULL;
}

static json_t *check_config(const struct write *w, const json_t *patch)
{
	const char *manager = query_str(w->rq, "fieldManager"), *name = meta_str(patch, "name");

	if (!*manager || strlen(manager) > 128)
		return status_bad_request("fieldManager is required for apply patch, with at most 128 characters");
	if (!json_is_object(patch))
		return status_bad_request("request body: expected an object");
	if (json_at(patch, "metadata", "managedFields"))
		return status_bad_request("metadata.managedFields must be nil");
	if (*name && !streq(name, w->rq->name))
		return status_bad_request("the name of the object does not match the name on the URL");
	return NULL;
}

json_t *server_side_apply(const struct write *w, const json_t *patch, json_t **ret, bool *ret_created)
{
	const char *manager = query_str(w->rq, "fieldManager"), *sub = w->rq->sub ? w->rq->sub : "";
	_cleanup_json_ json_t *config = NULL, *set = NULL, *base = NULL, *managed = NULL, *others = json_object(), *out = NULL;
	_cleanup_free_ char *error = NULL;
	json_t *no = check_config(w, patch);

	if (!no)
		no = admit_decode(w, json_deep_copy(patch), &config);
	if (no)
		return no;
	json_object_set_new(meta_of(config), "name", json_string(w->rq->name));
	set = owned_fields(w->kind, config);
	base = w->old ? json_deep_copy(w->old->json) : json_object();
	managed = json_incref(json_at(base, "metadata", "managedFields"));
	if (!managed)
		managed = json_array();
	no = settle_others(managed, manager, sub, set, config, base, query_bool(w->rq, "force"), others);
	if (no)
		return no;
	drop_given_up(base, fields_before(managed, manager, sub), set, others);
	record(managed, w->kind, manager, sub, set);
	out = patch_strategic(w->kind->schema, base, config, &error);
	if (!out)
		return status_bad_request("invalid configuration: %s", error);
	*ret = json_deep_copy(out);
	json_object_set(meta_of(*ret), "managedFields", managed);
	*ret_created = !w->old;
	return NULL;
}
