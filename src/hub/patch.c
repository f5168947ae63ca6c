/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/patch.h"
#include "base/str.h"

enum { OPERATIONS_MAX = 10000 };

json_t *patch_merge(const json_t *target, const json_t *patch)
{
	json_t *out, *v;
	const char *key;

	if (!json_is_object(patch))
		return json_deep_copy(patch);
	out = json_is_object(target) ? json_copy((json_t *)target) : json_object();
	json_object_foreach((json_t *)patch, key, v) {
		if (json_is_null(v))
			json_object_del(out, key);
		else
			json_object_set_new(out, key, patch_merge(json_object_get(out, key), v));
	}
	return out;
}

/* RFC 6901: the next reference token, unescaped; NULL at the end. */
static char *next_token(const char **p)
{
	size_t n;
	char *token, *w;

	if (**p != '/')
		return NULL;
	n = strcspn(++*p, "/");
	token = w = xmalloc(n + 1);
	for (const char *end = *p + n; *p < end; (*p)++) {
		if (**p == '~' && ((*p)[1] == '0' || (*p)[1] == '1'))
			*w++ = *++*p == '0' ? '~' : '/';
		else
			*w++ = **p;
	}
	*w = 0;
	return token;
}

static bool array_index(const char *token, size_t limit, size_t *ret)
{
	uint64_t i;

	if (parse_u64(token, limit, &i) < 0 || (token[0] == '0' && token[1]))
		return false;
	*ret = i;
	return true;
}

static json_t *step(const json_t *at, const char *token)
{
	size_t i;

	if (json_is_object(at))
		return json_object_get(at, token);
	if (json_is_array(at) && json_array_size(at) && array_index(token, json_array_size(at) - 1, &i))
		return json_array_get(at, i);
	return NULL;
}

/* The value at a pointer, borrowed, or NULL. */
static json_t *pointer_get(json_t *root, const char *pointer)
{
	json_t *at = root;
	char *token;

	if (*pointer && *pointer != '/')
		return NULL;
	while (at && (token = next_token(&pointer))) {
		at = step(at, token);
		free(token);
	}
	return at;
}

/* The container of a pointer's target, and the last token (the caller's). */
static json_t *pointer_parent(json_t *root, const char *pointer, char **ret_last)
{
	const char *slash = strrchr(pointer, '/');
	_cleanup_free_ char *parent = slash ? xstrndup(pointer, slash - pointer) : NULL;

	if (!slash)
		return NULL;
	*ret_last = next_token(&slash);
	return pointer_get(root, parent);
}

/* Takes @value. */
static bool pointer_add(json_t **root, const char *pointer, json_t *value)
{
	_cleanup_free_ char *last = NULL;
	json_t *parent;
	size_t i;

	if (!*pointer) {
		json_decref(*root);
		*root = value;
		return true;
	}
	parent = pointer_parent(*root, pointer, &last);
	if (json_is_object(parent))
		return json_object_set_new(parent, last, value) == 0;
	if (json_is_array(parent) && streq(last, "-"))
		return json_array_append_new(parent, value) == 0;
	if (json_is_array(parent) && array_index(last, json_array_size(parent), &i))
		return json_array_insert_new(parent, i, value) == 0;
	json_decref(value);
	return false;
}

static bool pointer_remove(json_t *root, const char *pointer)
{
	_cleanup_free_ char *last = NULL;
	json_t *parent = pointer_parent(root, pointer, &last);
	size_t i;

	if (json_is_object(parent))
		return json_object_del(parent, last) == 0;
	return json_is_array(parent) && json_array_size(parent) && array_index(last, json_array_size(parent) - 1, &i) &&
	       json_array_remove(parent, i) == 0;
}

static bool operation_replace(json_t **root, const char *path, const json_t *value)
{
	if (!value || !pointer_get(*root, path))
		return false;
	return (!*path || pointer_remove(*root, path)) && pointer_add(root, path, json_deep_copy(value));
}

static bool operation_transfer(json_t **root, const char *from, const char *path, bool move)
{
	json_t *v = from ? pointer_get(*root, from) : NULL;

	if (!v)
		return false;
	if (move && str_has_prefix(path, from) && path[strlen(from)] == '/')
		return false; /* into its own child: RFC 6902 4.4 */
	v = json_deep_copy(v);
	if (move && !pointer_remove(*root, from)) {
		json_decref(v);
		return false;
	}
	return pointer_add(root, path, v);
}

static bool operation_apply(json_t **root, const json_t *op, bool *failed_test)
{
	const char *name = json_str_or(json_object_get(op, "op"), ""), *path = json_str_at(op, "path");
	const char *from = json_str_at(op, "from");
	const json_t *value = json_object_get(op, "value");

	if (!path)
		return false;
	if (streq(name, "add"))
		return value && pointer_add(root, path, json_deep_copy(value));
	if (streq(name, "remove"))
		return pointer_remove(*root, path);
	if (streq(name, "replace"))
		return operation_replace(root, path, value);
	if (streq(name, "move") || streq(name, "copy"))
		return operation_transfer(root, from, path, streq(name, "move"));
	if (streq(name, "test")) {
		const json_t *v = pointer_get(*root, path);

		*failed_test = !value || !v || !json_equal(v, value);
		return !*failed_test;
	}
	return false;
}

json_t *patch_json(const json_t *target, const json_t *patch, bool *ret_failed_test, char **ret_error)
{
	_cleanup_json_ json_t *out = json_deep_copy(target);
	json_t *op;
	size_t i;

	*ret_failed_test = false;
	if (!json_is_array(patch) || json_array_size(patch) > OPERATIONS_MAX) {
		*ret_error = xstrdup("a JSON patch is an array of at most 10000 operations");
		return NULL;
	}
	json_array_foreach(patch, i, op)
		if (!operation_apply(&out, op, ret_failed_test)) {
			_cleanup_free_ char *text = json_text(op);

			*ret_error = xasprintf("operation %zu cannot be applied: %.200s", i, text);
			return NULL;
		}
	return take_ptr(out);
}
