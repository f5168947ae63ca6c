/* SPDX-License-Identifier: Apache-2.0 */
/* delete: at once, or gracefully (pods wait for their node), or when the finalizers have gone, and for a namespace when
 * its content has. */
#include "hub/admit.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/selector.h"

#include <time.h>

struct delete_options {
	bool has_grace, dry_run;
	json_int_t grace;
	char *uid, *rev; /* preconditions, or NULL */
};

static void options_done(struct delete_options *o)
{
	free(o->uid);
	free(o->rev);
}

static json_t *read_options(const struct request *rq, struct delete_options *o)
{
	_cleanup_free_ char *error = NULL;
	_cleanup_json_ json_t *body = rq->body_len ? json_parse("request body", rq->body, rq->body_len, &error) : NULL;
	const char *grace = query_str(rq, "gracePeriodSeconds");
	const json_t *v = json_object_get(body, "gracePeriodSeconds"), *dry = json_object_get(body, "dryRun");
	uint64_t seconds;

	if (rq->body_len && !json_is_object(body))
		return status_bad_request("%s", error ? error : "request body: expected DeleteOptions");
	if (*grace && parse_u64(grace, INT32_MAX, &seconds) < 0)
		return status_bad_request("gracePeriodSeconds: expected a number");
	if (v && !json_is_null(v) && (!json_is_integer(v) || json_integer_value(v) < 0))
		return status_bad_request("gracePeriodSeconds: expected a number that is not negative");
	o->has_grace = *grace || json_is_integer(v);
	o->grace = json_is_integer(v) ? json_integer_value(v) : *grace ? (json_int_t)seconds : 0;
	o->dry_run = json_array_size(dry) > 0 || streq(query_str(rq, "dryRun"), "All");
	v = json_at(body, "preconditions", "uid");
	o->uid = v ? xstrdup(json_str_or(v, "")) : NULL;
	v = json_at(body, "preconditions", "resourceVersion");
	o->rev = v ? xstrdup(json_str_or(v, "")) : NULL;
	return NULL;
}

static json_t *check_preconditions(const struct object *obj, const struct delete_options *o)
{
	if (o->uid && !streq(o->uid, meta_str(obj->json, "uid")))
		return status_conflict(obj->kind, obj->name, "Precondition failed: UID in precondition does not match the object's");
	if (o->rev && !streq(o->rev, meta_str(obj->json, "resourceVersion")))
		return status_conflict(obj->kind, obj->name,
				       "Precondition failed: ResourceVersion in precondition does not match the object's");
	return NULL;
}

/* Is there somebody who ends the pod? A node that does not exist never will. */
static bool has_node(struct hub *hub, const struct object *pod)
{
	const char *name = json_str_or(json_at(pod->json, "spec", "nodeName"), "");

	return *name && store_get(hub->store, kind_of("Node"), "", name);
}

/* How long a pod may take: what was asked for, else its own; nothing runs yet, or any more: no time at all. */
static json_int_t grace_of(struct hub *hub, const struct object *obj, const struct delete_options *o)
{
	const char *phase = json_str_or(json_at(obj->json, "status", "phase"), "");

	if (!obj->kind->graceful || !has_node(hub, obj) || streq(phase, "Succeeded") || streq(phase, "Failed"))
		return 0;
	if (o->has_grace)
		return o->grace;
	return json_integer_value(json_at(obj->json, "spec", "terminationGracePeriodSeconds"));
}

static json_t *mark_deleted(struct hub *hub, struct object *obj, json_int_t grace, struct object **ret)
{
	const json_t *was = json_at(obj->json, "metadata", "deletionGracePeriodSeconds");
	json_t *j, *meta;
	char when[TIME_TEXT_MAX];

	if (json_at(obj->json, "metadata", "deletionTimestamp") && json_integer_value(was) <= grace) {
		*ret = object_ref(obj);
		return NULL;
	}
	j = json_deep_copy(obj->json);
	meta = meta_of(j);
	json_object_set_new(meta, "deletionTimestamp", json_string(time_format(when, time(NULL) + grace)));
	json_object_set_new(meta, "deletionGracePeriodSeconds", json_integer(grace));
	if (json_object_get(meta, "generation"))
		json_object_set_new(meta, "generation", json_integer(json_integer_value(json_object_get(meta, "generation")) + 1));
	if (streq(obj->kind->kind, "Namespace"))
		json_object_set_new(json_object_get(j, "status"), "phase", json_string("Terminating"));
	if (store_put(hub->store, obj->kind, j, ret) < 0)
		return status_new(500, "InternalError", "Internal error occurred: the store cannot be written");
	object_ref(*ret);
	return NULL;
}

static json_t *remove_now(struct hub *hub, struct object *obj)
{
	/* Before the change is told: who hears of it may want what became free. */
	if (obj->kind->release)
		obj->kind->release(hub, obj->json, NULL);
	if (store_delete(hub->store, obj->kind, obj->ns, obj->name, NULL) == 0)
		return NULL;
	if (obj->kind->release)
		obj->kind->release(hub, obj->json, obj->json);
	return status_new(500, "InternalError", "Internal error occurred: the store cannot be written");
}

/* *ret: the object while it stays, NULL when it is gone. @obj must be held by the caller. */
static json_t *delete_object(struct hub *hub, struct object *obj, const struct delete_options *o, struct object **ret)
{
	json_int_t grace = grace_of(hub, obj, o);
	bool finalizers = json_array_size(json_at(obj->json, "metadata", "finalizers")) > 0;
	bool namespace = streq(obj->kind->kind, "Namespace");
	json_t *no = check_preconditions(obj, o);

	*ret = NULL;
	if (no)
		return no;
	if (o->dry_run) {
		*ret = object_ref(obj);
		return NULL;
	}
	if (grace == 0 && !finalizers && !namespace)
		return remove_now(hub, obj);
	return mark_deleted(hub, obj, grace, ret);
}

static bool is_protected(const struct request *rq)
{
	static const char *const names[] = { "default", "kube-system", "kube-public" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(rq->kind->kind, "Namespace") && streq(rq->name, names[i]))
			return true;
	return false;
}

void api_delete(struct hub *hub, struct request *rq, struct reply *rp)
{
	_cleanup_(object_unrefp) struct object *obj =
		object_ref(store_get(hub->store, rq->kind, rq->ns ? rq->ns : "", rq->name));
	_cleanup_(object_unrefp) struct object *left = NULL;
	_cleanup_(options_done) struct delete_options o = { 0 };
	json_t *no = read_options(rq, &o);

	if (!no && !obj)
		no = status_not_found(rq->kind, rq->name);
	if (!no && is_protected(rq))
		no = status_new(403, "Forbidden", "namespaces \"%s\" is forbidden: this namespace may not be deleted", rq->name);
	if (!no)
		no = authorize_object(rq, obj->json, NULL);
	if (!no)
		no = delete_object(hub, obj, &o, &left);
	if (no)
		reply_status(rp, no);
	else if (left)
		reply_object(rp, 200, left);
	else if (rq->kind->graceful)
		reply_object(rp, 200, obj);
	else
		reply_status(rp, status_success(rq->kind, rq->name, meta_str(obj->json, "uid")));
	if (!no && left && !o.dry_run && streq(rq->kind->kind, "Namespace"))
		namespace_sync(hub, rq->name);
}

static json_t *delete_all(struct hub *hub, struct object **all, size_t n, const struct request *rq,
			  const struct selector *labels, const struct field_selector *fields, const struct delete_options *o)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_(object_unrefp) struct object *left = NULL;
		json_t *no;

		if ((rq->ns && !streq(all[i]->ns, rq->ns)) || !field_selector_matches(fields, all[i]->json) ||
		    !selector_matches(labels, json_at(all[i]->json, "metadata", "labels")))
			continue;
		no = delete_object(hub, all[i], o, &left);
		if (no)
			return no;
	}
	return NULL;
}

void api_delete_collection(struct hub *hub, struct request *rq, struct reply *rp)
{
	_cleanup_(options_done) struct delete_options o = { 0 };
	_cleanup_(selector_freep) struct selector *labels = NULL;
	_cleanup_(field_selector_freep) struct field_selector *fields = NULL;
	_cleanup_free_ char *error = NULL;
	struct object **all;
	json_t *no;
	size_t n;

	if (streq(rq->kind->kind, "Namespace")) {
		reply_status(rp, status_new(405, "MethodNotAllowed", "namespaces are deleted one by one"));
		return;
	}
	no = read_options(rq, &o);
	if (!no && (selector_parse(query_str(rq, "labelSelector"), &labels, &error) < 0 ||
		    field_selector_parse(query_str(rq, "fieldSelector"), rq->kind, &fields, &error) < 0))
		no = status_bad_request("unable to parse requirement: %s", error);
	if (no) {
		reply_status(rp, no);
		return;
	}
	store_snapshot(hub->store, rq->kind, store_rev(hub->store), &all, &n);
	no = delete_all(hub, all, n, rq, labels, fields, &o);
	store_snapshot_free(all, n);
	reply_status(rp, no ? no : status_success(rq->kind, "", ""));
}

/* Deletes what the namespace holds; returns how much is left. */
static size_t delete_content(struct hub *hub, const char *name)
{
	static const struct delete_options o = { 0 };
	size_t remaining = 0;

	for (const struct kind *k = kinds; k->resource; k++) {
		struct object **all;
		size_t n;

		if (!k->namespaced)
			continue;
		store_snapshot(hub->store, k, store_rev(hub->store), &all, &n);
		for (size_t i = 0; i < n; i++) {
			_cleanup_(object_unrefp) struct object *left = NULL;
			json_t *no = streq(all[i]->ns, name) ? delete_object(hub, all[i], &o, &left) : NULL;

			if (no)
				log_warn("cannot delete an object of a namespace", L_STR("namespace", name),
					 L_STR("why", json_str_at(no, "message")));
			remaining += no || left;
			json_decref(no);
		}
		store_snapshot_free(all, n);
	}
	return remaining;
}

void namespace_sync(struct hub *hub, const char *name)
{
	const struct kind *k = kind_of("Namespace");
	_cleanup_(object_unrefp) struct object *ns = object_ref(store_get(hub->store, k, "", name));

	if (!ns || !json_at(ns->json, "metadata", "deletionTimestamp"))
		return;
	if (delete_content(hub, ns->name) > 0 || json_array_size(json_at(ns->json, "metadata", "finalizers")) > 0)
		return;
	store_delete(hub->store, k, "", ns->name, NULL);
}
