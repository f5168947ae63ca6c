/* SPDX-License-Identifier: Apache-2.0 */
/* Strategic merge: a merge patch that knows which lists are sets and which are maps in disguise. The order of a keyed
 * list after the merge: if $setElementOrder is given, that; entries that it does not name keep their place as well as
 * possible, i.e. stand behind the entry they stood behind. */
#include "hub/patch.h"
#include "base/str.h"

enum { LIST_MAX = 4000 }; /* merging compares each entry with each */

struct merger {
	char *error;
};

static json_t *merge_object(struct merger *m, const struct schema *s, const json_t *target, const json_t *patch);

static json_t *fail(struct merger *m, const char *fmt, const char *what)
{
	if (!m->error)
		m->error = xasprintf(fmt, what);
	return NULL;
}
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static ssize_t find_by_key(const json_t *list, const char *key, const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_object_get(item, key) && json_equal(json_object_get(item, key), value))
			return i;
	return -1;
}

static ssize_t find_value(const json_t *list, const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_equal(item, value))
			return i;
	return -1;
}

static json_t *without_directives(const json_t *patch)
{
	json_t *out, *v;
	const char *key;
	size_t i;

	if (json_is_array(patch)) {
		out = json_array();
		json_array_foreach(patch, i, v)
			json_array_append_new(out, without_directives(v));
		return out;
	}
	if (!json_is_object(patch))
		return json_incref((json_t *)patch);
	out = json_object();
	json_object_foreach((json_t *)patch, key, v)
		if (key[0] != '$' && !json_is_null(v))
			json_object_set_new(out, key, without_directives(v));
	return out;
}

/* Puts @list into the wanted order. @order holds keys (objects with the key, or plain values when @key is NULL). */
static json_t *reorder(const json_t *list, const json_t *order, const char *key)
{
	json_t *out = json_array(), *item, *o;
	size_t i;

	json_array_foreach(order, i, o) {
		const json_t *want = key ? json_object_get(o, key) : o;
		ssize_t at = key ? (want ? find_by_key(list, key, want) : -1) : find_value(list, want);

		if (at >= 0)
			json_array_append(out, json_array_get(list, at));
	}
	/* what the order does not name: behind its old predecessor, or in front */
	json_array_foreach(list, i, item) {
		ssize_t at, before;

		if (find_value(out, item) >= 0)
			continue;
		before = i ? find_value(out, json_array_get(list, i - 1)) : -1;
		at = before + 1;
		json_array_insert(out, at, item);
	}
	return out;
}

static bool merge_entry(struct merger *m, const struct field *f, json_t *out, json_t *entry)
{
	const json_t *value = json_object_get(entry, f->key);
	const char *directive = json_str_at(entry, "$patch");
	ssize_t at;
	json_t *merged;

	if (!value)
		return fail(m, "an entry of a list lacks its merge key %s", f->key) != NULL;
	at = find_by_key(out, f->key, value);
	if (streq(directive, "delete")) {
		for (; at >= 0; at = find_by_key(out, f->key, value))
			json_array_remove(out, at);
		return true;
	}
	merged = merge_object(m, f->of, at >= 0 ? json_array_get(out, at) : NULL, entry);
	if (!merged)
		return false;
	return at >= 0 ? json_array_set_new(out, at, merged) == 0 : json_array_append_new(out, merged) == 0;
}

static bool replaces_list(const json_t *patch)
{
	json_t *v;
	size_t i;

	json_array_foreach(patch, i, v)
		if (streq(json_str_at(v, "$patch"), "replace"))
			return true;
	return false;
}

static json_t *replaced_list(const json_t *patch)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(patch, i, v)
		if (!streq(json_str_at(v, "$patch"), "replace") || json_object_size(v) > 1)
			json_array_append_new(out, without_directives(v));
	return out;
}

static json_t *merge_keyed(struct merger *m, const struct field *f, const json_t *target, const json_t *patch)
{
	_cleanup_json_ json_t *out = json_is_array(target) ? json_copy((json_t *)target) : json_array();
	json_t *v;
	size_t i;

	if (!json_is_array(patch))
		return fail(m, "%s: expected a list", f->name);
	if (replaces_list(patch))
		return replaced_list(patch);
	json_array_foreach(patch, i, v) {
		if (!json_is_object(v))
			return fail(m, "%s: expected a list of objects", f->name);
		if (!merge_entry(m, f, out, v))
			return NULL;
	}
	return take_ptr(out);
}

static json_t *merge_set(struct merger *m, const struct field *f, const json_t *target, const json_t *patch)
{
	json_t *out, *v;
	size_t i;

	if (!json_is_array(patch))
		return fail(m, "%s: expected a list", f->name);
	out = json_is_array(target) ? json_copy((json_t *)target) : json_array();
	json_array_foreach(patch, i, v)
		if (find_value(out, v) < 0)
			json_array_append(out, v);
	return out;
}

static json_t *merge_field(struct merger *m, const struct field *f, const json_t *target, const json_t *patch)
{
	if (!f || f->type == F_ANY)
		return json_is_object(patch) && (!f || f->shape == ONE) ? patch_merge(target, patch) : json_deep_copy(patch);
	if (f->shape == KEYED)
		return merge_keyed(m, f, target, patch);
	if (f->shape == SET)
		return merge_set(m, f, target, patch);
	if (f->shape == MAP && json_is_object(patch) && streq(json_str_at(patch, "$patch"), "replace"))
		return without_directives(patch);
	if (f->shape == MAP)
		return patch_merge(target, patch);
	if (f->shape == ONE && f->type == F_OBJECT && json_is_object(patch))
		return merge_object(m, f->of, target, patch);
	return json_deep_copy(patch);
}

static void retain_keys(json_t *out, const json_t *keys)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(out, tmp, key, v) {
		_cleanup_json_ json_t *k = json_string(key);

		if (find_value(keys, k) < 0)
			json_object_del(out, key);
	}
}

/* "$deleteFromPrimitiveList/F": values to take out of a list of scalars */
static void delete_values(json_t *out, const char *field, const json_t *values)
{
	json_t *list = json_object_get(out, field), *v;
	size_t i;

	if (!json_is_array(list))
		return;
	list = json_copy(list);
	json_array_foreach(values, i, v)
		for (ssize_t at = find_value(list, v); at >= 0; at = find_value(list, v))
			json_array_remove(list, at);
	json_object_set_new(out, field, list);
}

static void apply_order(const struct schema *s, json_t *out, const char *field, const json_t *order)
{
	const struct field *f = schema_field(s, field);
	const json_t *list = json_object_get(out, field);

	if (json_is_array(list) && json_is_array(order) && f && (f->shape == KEYED || f->shape == SET))
		json_object_set_new(out, field, reorder(list, order, f->shape == KEYED ? f->key : NULL));
}

static void apply_directives(const struct schema *s, json_t *out, const json_t *patch, bool orders)
{
	static const char order[] = "$setElementOrder/", del[] = "$deleteFromPrimitiveList/";
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)patch, key, v) {
		if (orders && str_has_prefix(key, order))
			apply_order(s, out, key + sizeof(order) - 1, v);
		else if (!orders && str_has_prefix(key, del))
			delete_values(out, key + sizeof(del) - 1, v);
		else if (!orders && streq(key, "$retainKeys") && json_is_array(v))
			retain_keys(out, v);
	}
}

/* Return: the lists that a patch merges or puts in order are short enough. */
static bool lists_fit(const struct schema *s, const json_t *target, const json_t *patch)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)patch, key, v) {
		const char *slash = key[0] == '$' ? strchr(key, '/') : NULL, *name = slash ? slash + 1 : key;
		const struct field *f = schema_field(s, name);

		if (!json_is_array(v) || !f || (f->shape != KEYED && f->shape != SET))
			continue;
		if (json_array_size(v) > LIST_MAX || json_array_size(json_object_get(target, name)) > LIST_MAX)
			return false;
	}
	return true;
}

static json_t *merge_object(struct merger *m, const struct schema *s, const json_t *target, const json_t *patch)
{
	const char *key, *directive = json_str_at(patch, "$patch");
	_cleanup_json_ json_t *out = NULL;
	json_t *v;

	if (streq(directive, "replace"))
		return without_directives(patch);
	if (streq(directive, "delete"))
		return json_object();
	if (directive && !streq(directive, "merge"))
		return fail(m, "$patch: expected replace, merge or delete, got \"%.100s\"", directive);
	if (!lists_fit(s, target, patch))
		return fail(m, "%s of more than 4000 entries cannot be merged", "lists");
	out = json_is_object(target) ? json_copy((json_t *)target) : json_object();
	apply_directives(s, out, patch, false);
	json_object_foreach((json_t *)patch, key, v) {
		json_t *merged;

		if (key[0] == '$')
			continue;
		if (json_is_null(v)) {
			json_object_del(out, key);
			continue;
		}
		merged = merge_field(m, schema_field(s, key), json_object_get(out, key), v);
		if (!merged)
			return NULL;
		json_object_set_new(out, key, merged);
	}
	apply_directives(s, out, patch, true);
	return take_ptr(out);
}

json_t *patch_strategic(const struct schema *s, const json_t *target, const json_t *patch, char **ret_error)
{
	struct merger m = { 0 };
	json_t *out;

	if (!json_is_object(patch)) {
		*ret_error = xstrdup("expected an object");
		return NULL;
	}
	out = merge_object(&m, s, target, patch);
	if (!out)
		*ret_error = m.error ? m.error : xstrdup("cannot be applied");
	else
		free(m.error);
	return out;
}
