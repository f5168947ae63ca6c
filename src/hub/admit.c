/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/admit.h"
#include "base/str.h"
#include "hub/validate.h"

#include <sys/random.h>

enum { GENERATE_TRIES = 8, SUFFIX_LEN = 5, GENERATE_BASE_MAX = 58 };

json_t *admit_options(struct write *w)
{
	const char *dry = query_str(w->rq, "dryRun"), *fv = query_str(w->rq, "fieldValidation");

	if (*dry && !streq(dry, "All"))
		return status_bad_request("dryRun: expected All, got \"%.100s\"", dry);
	if (*fv && !streq(fv, "Strict") && !streq(fv, "Warn") && !streq(fv, "Ignore"))
		return status_bad_request("fieldValidation: expected Strict, Warn or Ignore, got \"%.100s\"", fv);
	w->dry_run = *dry;
	return NULL;
}

static json_t *check_type(const struct kind *k, const json_t *j)
{
	_cleanup_free_ char *api_version = kind_api_version(k);
	const char *kind = json_str_at(j, "kind"), *version = json_str_at(j, "apiVersion");

	if (!json_is_object(j))
		return status_bad_request("the object provided is no JSON object");
	if (kind && !streq(kind, k->kind))
		return status_bad_request("the object provided is of kind \"%.100s\", expected \"%s\"", kind, k->kind);
	if (version && !streq(version, api_version))
		return status_bad_request("the API version in the data (%.100s) does not match the expected API version (%s)", version,
					  api_version);
	return NULL;
}

static json_t *type_errors(const struct kind *k, const struct errors *e)
{
	const json_t *first = json_array_get(e->causes, 0);

	return status_bad_request("%s in version \"%s\" cannot be handled as a %s: %s: %s", k->kind, k->version, k->kind,
				  json_str_at(first, "field"), json_str_at(first, "message"));
}

static json_t *unknown_fields(const struct write *w, const json_t *unknown)
{
	const char *mode = w->rq ? query_str(w->rq, "fieldValidation") : "Strict";
	struct buf b = { 0 };
	json_t *v, *s;
	size_t i;

	if (streq(mode, "Strict")) {
		json_array_foreach(unknown, i, v)
			buf_addf(&b, "%sunknown field \"%s\"", i ? ", " : "", json_string_value(v));
		s = status_bad_request("%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s", w->kind->kind,
				       w->kind->version, w->kind->kind, b.data);
		buf_done(&b);
		return s;
	}
	if (!streq(mode, "Ignore") && w->rp)
		json_array_foreach(unknown, i, v)
			reply_warn(w->rp, "unknown field \"%s\"", json_string_value(v));
	return NULL;
}

json_t *admit_decode(const struct write *w, json_t *j, json_t **ret)
{
	_cleanup_json_ json_t *obj = j, *unknown = json_array();
	_cleanup_(errors_done) struct errors e = { 0 };
	_cleanup_free_ char *api_version = kind_api_version(w->kind);
	json_t *no = check_type(w->kind, obj);

	if (no)
		return no;
	schema_decode(w->kind->schema, obj, NULL, unknown, &e);
	if (errors_any(&e))
		return type_errors(w->kind, &e);
	if (json_array_size(unknown) > 0)
		no = unknown_fields(w, unknown);
	if (no)
		return no;
	json_object_set_new(obj, "kind", json_string(w->kind->kind));
	json_object_set_new(obj, "apiVersion", json_string(api_version));
	meta_of(obj);
	*ret = take_ptr(obj);
	return NULL;
}

static char *random_suffix(char out[SUFFIX_LEN + 1])
{
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	uint8_t r[SUFFIX_LEN];

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		abort(); /* never short for 5 bytes: getrandom(2) */
	for (size_t i = 0; i < SUFFIX_LEN; i++)
		out[i] = alphabet[r[i] % (sizeof(alphabet) - 1)];
	out[SUFFIX_LEN] = 0;
	return out;
}

/* The name that generateName asks for; tried a few times, as upstream. */
static void generate_name(const struct write *w, json_t *obj)
{
	const char *base = meta_str(obj, "generateName"), *ns = meta_str(obj, "namespace");

	if (*meta_str(obj, "name") || !*base)
		return;
	for (int i = 0; i < GENERATE_TRIES; i++) {
		char suffix[SUFFIX_LEN + 1];
		_cleanup_free_ char *name = xasprintf("%.*s%s", GENERATE_BASE_MAX, base, random_suffix(suffix));

		json_object_set_new(meta_of(obj), "name", json_string(name));
		if (!store_get(w->hub->store, w->kind, ns, name))
			return;
	}
}

/* The namespace of the path is the object's. */
static json_t *settle_namespace(const struct write *w, json_t *obj)
{
	const char *given = meta_str(obj, "namespace"), *path = w->rq ? w->rq->ns : NULL;

	if (!w->kind->namespaced) {
		json_object_del(meta_of(obj), "namespace");
		return NULL;
	}
	if (path && *given && !streq(given, path))
		return status_bad_request("the namespace of the provided object does not match the namespace sent on the request");
	if (path)
		json_object_set_new(meta_of(obj), "namespace", json_string(path));
	if (!*meta_str(obj, "namespace"))
		return status_bad_request("an empty namespace may not be set when a resource name may be provided");
	return NULL;
}

static json_t *check_namespace(const struct write *w, const json_t *obj)
{
	const struct kind *k = kind_of("Namespace");
	const char *name = meta_str(obj, "namespace");
	const struct object *ns;

	if (!w->kind->namespaced)
		return NULL;
	ns = store_get(w->hub->store, k, "", name);
	if (!ns)
		return status_not_found(k, name);
	if (json_at(ns->json, "metadata", "deletionTimestamp") && !streq(w->kind->kind, "Event"))
		return status_new(403, "Forbidden",
				  "%s \"%s\" is forbidden: unable to create new content in namespace %s because it is being terminated",
				  w->kind->resource, meta_str(obj, "name"), name);
	return NULL;
}

static void set_system_fields(const struct write *w, json_t *obj)
{
	static const char *const ours[] = { "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion" };
	_cleanup_free_ char *uid = uuid_new();
	char now[TIME_TEXT_MAX];
	json_t *meta = meta_of(obj);

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		json_object_del(meta, ours[i]);
	json_object_set_new(meta, "uid", json_string(uid));
	json_object_set_new(meta, "creationTimestamp", json_string(time_now(now)));
	if (w->kind->has_generation)
		json_object_set_new(meta, "generation", json_integer(1));
	if (w->kind->has_status && !w->kind->keeps_status)
		json_object_del(obj, "status");
}

static json_t *prepare_create(const struct write *w, json_t *obj)
{
	json_t *no;

	if (*meta_str(obj, "resourceVersion"))
		return status_bad_request("resourceVersion should not be set on objects to be created");
	no = settle_namespace(w, obj);
	if (no)
		return no;
	generate_name(w, obj);
	set_system_fields(w, obj);
	return check_namespace(w, obj);
}

static void keep(json_t *to, const json_t *from, const char *field)
{
	json_t *v = json_object_get(from, field);

	if (v)
		json_object_set(to, field, v);
	else
		json_object_del(to, field);
}

/* What an update cannot touch is as it was; then the generation counts a change outside of metadata and status. */
static void keep_system_fields(const struct write *w, json_t *obj)
{
	static const char *const fields[] = { "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
					      "selfLink" };
	const json_t *was = json_object_get(w->old->json, "metadata");
	json_t *meta = meta_of(obj);

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		keep(meta, was, fields[i]);
	if (!json_object_get(meta, "uid"))
		keep(meta, was, "uid");
	if (w->kind->namespaced && !json_object_get(meta, "namespace"))
		keep(meta, was, "namespace");
	if (!json_object_get(meta, "name"))
		keep(meta, was, "name");
}

static void keep_other_half(const struct write *w, json_t *obj)
{
	const json_t *was = w->old->json;
	const char *key;
	json_t *v;
	void *tmp;

	if (!w->kind->has_status)
		return;
	if (!w->status_only) {
		keep(obj, was, "status");
		return;
	}
	json_object_foreach_safe(obj, tmp, key, v)
		if (!streq(key, "metadata") && !streq(key, "status"))
			keep(obj, was, key);
	keep(obj, was, "spec");
}

static bool spec_differs(const json_t *a, const json_t *b)
{
	_cleanup_json_ json_t *x = json_copy((json_t *)a), *y = json_copy((json_t *)b);

	for (const char *const *f = VALUES("metadata", "status"); *f; f++) {
		json_object_del(x, *f);
		json_object_del(y, *f);
	}
	return !json_equal(x, y);
}

static json_t *prepare_update(const struct write *w, json_t *obj)
{
	const char *rev = meta_str(obj, "resourceVersion"), *uid = meta_str(obj, "uid"), *name = meta_str(obj, "name");
	json_t *no = NULL;

	if (*name && !streq(name, w->old->name))
		return status_bad_request("the name of the object (%.253s) does not match the name on the URL (%s)", name,
					  w->old->name);
	if (w->kind->namespaced)
		no = settle_namespace(w, obj);
	if (no)
		return no;
	if (*rev && !streq(rev, meta_str(w->old->json, "resourceVersion")))
		return status_conflict(w->kind, w->old->name,
				       "the object has been modified; please apply your changes to the latest version and try again");
	if (*uid && !streq(uid, meta_str(w->old->json, "uid")))
		return status_conflict(w->kind, w->old->name,
				       "Precondition failed: UID in object meta does not match the stored one");
	keep_system_fields(w, obj);
	keep_other_half(w, obj);
	return NULL;
}

static json_t *check(const struct write *w, json_t *obj)
{
	_cleanup_(errors_done) struct errors e = { 0 };
	const json_t *old = w->old ? w->old->json : NULL;

	if (w->kind->defaults)
		w->kind->defaults(obj, old);
	validate_meta(w->kind, obj, &e);
	if (old)
		validate_meta_update(obj, old, &e);
	schema_validate(w->kind->schema, obj, NULL, &e);
	if (w->kind->validate)
		w->kind->validate(obj, old, &e);
	if (!errors_any(&e) && w->kind->allocate && !w->status_only)
		w->kind->allocate(w->hub, obj, old, w->dry_run, &e);
	return errors_any(&e) ? status_invalid(w->kind, meta_str(obj, "name"), &e) : NULL;
}

static json_t *io_error(void)
{
	return status_new(500, "InternalError", "Internal error occurred: the store cannot be written");
}

static json_t *put(const struct write *w, json_t *obj, struct object **ret)
{
	json_t *copy;
	struct object *stored;

	if (w->dry_run) {
		*ret = object_new(w->kind, json_incref(obj), NULL);
		return NULL;
	}
	copy = json_deep_copy(obj); /* no value is shared with the object before */
	if (store_put(w->hub->store, w->kind, copy, &stored) < 0) {
		if (w->kind->release)
			w->kind->release(w->hub, obj, w->old ? w->old->json : NULL);
		return io_error();
	}
	*ret = object_ref(stored);
	return NULL;
}

static json_t *store_new(const struct write *w, json_t *obj, struct object **ret)
{
	json_t *no = prepare_create(w, obj);

	if (no)
		return no;
	if (*meta_str(obj, "name") && store_get(w->hub->store, w->kind, meta_str(obj, "namespace"), meta_str(obj, "name")))
		return status_exists(w->kind, meta_str(obj, "name"));
	no = w->rq ? authorize_object(w->rq, NULL, obj) : NULL;
	if (!no)
		no = check(w, obj);
	return no ? no : put(w, obj, ret);
}

/* The last finalizer has gone from something that was to be deleted. */
static bool is_released(const struct write *w, const json_t *obj)
{
	return json_at(obj, "metadata", "deletionTimestamp") && json_array_size(json_at(obj, "metadata", "finalizers")) == 0 &&
	       json_array_size(json_at(w->old->json, "metadata", "finalizers")) > 0 && !streq(w->kind->kind, "Namespace") &&
	       (!w->kind->graceful || json_integer_value(json_at(obj, "metadata", "deletionGracePeriodSeconds")) == 0);
}

static json_t *remove_released(const struct write *w, json_t *obj, struct object **ret)
{
	const struct object *old = w->old;

	*ret = object_new(w->kind, json_deep_copy(obj), NULL);
	if (w->dry_run)
		return NULL;
	if (w->kind->release)
		w->kind->release(w->hub, old->json, NULL);
	if (store_delete(w->hub->store, w->kind, (*ret)->ns, (*ret)->name, json_deep_copy(obj)) < 0) {
		*ret = object_unref(*ret);
		return io_error();
	}
	return NULL;
}

static json_t *store_update(const struct write *w, json_t *obj, struct object **ret)
{
	json_t *no = prepare_update(w, obj);

	if (!no && w->rq)
		no = authorize_object(w->rq, w->old->json, obj);
	if (!no)
		no = check(w, obj);
	if (no)
		return no;
	keep(meta_of(obj), json_object_get(w->old->json, "metadata"), "resourceVersion");
	if (json_equal(obj, w->old->json)) {
		*ret = object_ref((struct object *)w->old);
		return NULL;
	}
	if (w->kind->has_generation && spec_differs(obj, w->old->json))
		json_object_set_new(meta_of(obj), "generation",
				    json_integer(json_integer_value(json_at(w->old->json, "metadata", "generation")) + 1));
	if (is_released(w, obj))
		return remove_released(w, obj, ret);
	if (w->kind->release && !w->dry_run)
		w->kind->release(w->hub, w->old->json, obj);
	return put(w, obj, ret);
}

json_t *admit_store(const struct write *w, json_t *j, struct object **ret)
{
	_cleanup_json_ json_t *obj = j;
	_cleanup_(object_unrefp) _unused_ struct object *hold = object_ref((struct object *)w->old);

	return w->old ? store_update(w, obj, ret) : store_new(w, obj, ret);
}

static json_t *write_own(const struct write *w, json_t *j, struct object **ret)
{
	_cleanup_(object_unrefp) struct object *out = NULL;
	json_t *obj = NULL, *no = admit_decode(w, j, &obj);

	if (!no)
		no = admit_store(w, obj, &out);
	if (!no && ret)
		*ret = take_ptr(out);
	return no;
}

json_t *admit_own(struct hub *hub, const struct kind *k, const struct object *old, json_t *j, struct object **ret)
{
	return write_own(&(const struct write){ .hub = hub, .kind = k, .old = old }, j, ret);
}

json_t *admit_own_status(struct hub *hub, const struct kind *k, const struct object *old, json_t *j)
{
	return write_own(&(const struct write){ .hub = hub, .kind = k, .old = old, .status_only = true }, j, NULL);
}
