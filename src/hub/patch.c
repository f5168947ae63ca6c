/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/patch.h"
#include "base/str.h"

enum {
	OPERATIONS_MAX = 10000,
	TRANSFER_MAX = 3 << 20, /* bytes that "copy" and "move" take along, in all: else a few copies of copies fill the memory */
	DEPTH_MAX = 512,	/* of what an operation puts somewhere, counted from the root */
};

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

struct patcher {
	json_t *root;
	size_t transferred;
	bool failed_test;
};

/* Adds the size of @v to *@size. Return: does it end within @levels and TRANSFER_MAX? */
static bool measure(const json_t *v, size_t levels, size_t *size)
{
	const char *key;
	json_t *child;
	size_t i;

	*size += 16 + (json_is_string(v) ? json_string_length(v) : 0);
	if (levels == 0 || *size > TRANSFER_MAX)
		return false;
	json_array_foreach((json_t *)v, i, child)
		if (!measure(child, levels - 1, size))
			return false;
	json_object_foreach((json_t *)v, key, child) {
		*size += strlen(key);
		if (!measure(child, levels - 1, size))
			return false;
	}
	return true;
}

/* May @v, of at most TRANSFER_MAX with what is in *@size already, stand at @path? */
static bool fits_at(const char *path, const json_t *v, size_t *size)
{
	size_t above = 0;

	for (const char *c = path; *c; c++)
		above += *c == '/';
	return above < DEPTH_MAX && measure(v, DEPTH_MAX - above, size);
}

static bool operation_add(struct patcher *p, const char *path, const json_t *value)
{
	size_t size = 0;

	return value && fits_at(path, value, &size) && pointer_add(&p->root, path, json_deep_copy(value));
}

static bool operation_replace(struct patcher *p, const char *path, const json_t *value)
{
	if (!value || !pointer_get(p->root, path))
		return false;
	return (!*path || pointer_remove(p->root, path)) && operation_add(p, path, value);
}

static bool operation_transfer(struct patcher *p, const char *from, const char *path, bool move)
{
	json_t *v = from ? pointer_get(p->root, from) : NULL;

	if (!v || !fits_at(path, v, &p->transferred))
		return false;
	if (move && str_has_prefix(path, from) && path[strlen(from)] == '/')
		return false; /* into its own child: RFC 6902 4.4 */
	v = move ? json_incref(v) : json_deep_copy(v);
	if (move && *from && !pointer_remove(p->root, from)) {
		json_decref(v);
		return false;
	}
	return pointer_add(&p->root, path, v);
}

static bool operation_apply(struct patcher *p, const json_t *op)
{
	const char *name = json_str_or(json_object_get(op, "op"), ""), *path = json_str_at(op, "path");
	const char *from = json_str_at(op, "from");
	const json_t *value = json_object_get(op, "value");

	if (!path)
		return false;
	if (streq(name, "add"))
		return operation_add(p, path, value);
	if (streq(name, "remove"))
		return pointer_remove(p->root, path);
	if (streq(name, "replace"))
		return operation_replace(p, path, value);
	if (streq(name, "move") || streq(name, "copy"))
		return operation_transfer(p, from, path, streq(name, "move"));
	if (streq(name, "test")) {
		const json_t *v = pointer_get(p->root, path);

		p->failed_test = !value || !v || !json_equal(v, value);
		return !p->failed_test;
	}
	return false;
}

static char *operation_error(size_t number, const json_t *op)
{
	_cleanup_free_ char *text = json_text(op);
	char shown[256];

	str_escape(shown, sizeof(shown), text);
	return xasprintf("operation %zu cannot be applied, or makes the object too large or too deep: %s", number, shown);
}

json_t *patch_json(const json_t *target, const json_t *patch, bool *ret_failed_test, char **ret_error)
{
	struct patcher p = { 0 };
	json_t *op;
	size_t i;

	*ret_failed_test = false;
	if (!json_is_array(patch) || json_array_size(patch) > OPERATIONS_MAX) {
		*ret_error = xstrdup("a JSON patch is an array of at most 10000 operations");
		return NULL;
	}
	p.root = json_deep_copy(target);
	json_array_foreach(patch, i, op) {
		if (operation_apply(&p, op))
			continue;
		*ret_failed_test = p.failed_test;
		*ret_error = operation_error(i, op);
		json_decref(p.root);
		return NULL;
	}
	return p.root;
}
