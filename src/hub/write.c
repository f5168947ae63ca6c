/* SPDX-License-Identifier: Apache-2.0 */
/* create, update, patch, bind: from the request's body to an admitted object. */
#include "hub/admit.h"
#include "base/str.h"
#include "base/yaml.h"
#include "hub/apply.h"
#include "hub/patch.h"
#include "hub/protobuf.h"

static bool is_type(const char *content_type, const char *type)
{
	size_t n = strlen(type);

	return strncasecmp(content_type, type, n) == 0 && (!content_type[n] || content_type[n] == ';' || content_type[n] == ' ');
}

/* JSON, or YAML where that is said. Return: NULL or a Status. */
static json_t *parse_body(const struct request *rq, bool yaml, json_t **ret)
{
	_cleanup_free_ char *error = NULL;
	_cleanup_json_ json_t *docs = NULL;

	if (!rq->body_len)
		return status_bad_request("the request has no body");
	if (!yaml) {
		*ret = json_parse("request body", rq->body, rq->body_len, &error);
		return *ret ? NULL : status_bad_request("couldn't get version/kind; json parse error: %s", error);
	}
	if (yaml_parse("request body", rq->body, rq->body_len, &docs, &error) < 0)
		return status_bad_request("error parsing YAML: %s", error);
	if (json_array_size(docs) != 1)
		return status_bad_request("the request body holds %zu YAML documents, expected one", json_array_size(docs));
	*ret = json_deep_copy(json_array_get(docs, 0));
	return NULL;
}

static json_t *unsupported(const char *expected)
{
	return status_new(415, "UnsupportedMediaType",
			  "the body of the request was in an unknown format - accepted media types include: %s", expected);
}

static json_t *read_object(const struct request *rq, json_t **ret)
{
	bool yaml = is_type(rq->content_type, "application/yaml");
	_cleanup_free_ char *error = NULL;

	if (rq->kind->protobuf && is_type(rq->content_type, "application/vnd.kubernetes.protobuf")) {
		*ret = protobuf_decode(rq->kind->schema, rq->body, rq->body_len, &error);
		return *ret ? NULL : status_bad_request("%s", error);
	}
	if (*rq->content_type && !yaml && !is_type(rq->content_type, "application/json"))
		return unsupported("application/json, application/yaml");
	return parse_body(rq, yaml, ret);
}

static struct object *find(struct hub *hub, const struct request *rq)
{
	return store_get(hub->store, rq->kind, rq->ns ? rq->ns : "", rq->name);
}

static void finish(struct reply *rp, int code, json_t *no, struct object *obj)
{
	if (no)
		reply_status(rp, no);
	else
		reply_object(rp, code, obj);
}

void api_create(struct hub *hub, struct request *rq, struct reply *rp)
{
	struct write w = { .hub = hub, .kind = rq->kind, .rq = rq, .rp = rp };
	_cleanup_(object_unrefp) struct object *obj = NULL;
	json_t *j = NULL, *no = admit_options(&w);

	if (!no)
		no = read_object(rq, &j);
	if (!no)
		no = admit_decode(&w, j, &j);
	if (!no)
		no = admit_store(&w, j, &obj);
	finish(rp, 201, no, obj);
}

/* namespaces/NAME/finalize: spec.finalizers only */
static json_t *only_finalizers(const struct object *old, json_t *j)
{
	json_t *out = json_deep_copy(old->json);

	json_object_set(out, "spec", json_object_get(j, "spec"));
	json_decref(j);
	return out;
}

void api_update(struct hub *hub, struct request *rq, struct reply *rp)
{
	struct write w = { .hub = hub, .kind = rq->kind, .rq = rq, .rp = rp, .old = find(hub, rq) };
	_cleanup_(object_unrefp) struct object *obj = NULL;
	json_t *j = NULL, *no = admit_options(&w);

	w.status_only = streq(rq->sub, "status");
	if (!no && !w.old)
		no = status_not_found(rq->kind, rq->name);
	if (!no)
		no = read_object(rq, &j);
	if (!no)
		no = admit_decode(&w, j, &j);
	if (!no && streq(rq->sub, "finalize"))
		j = only_finalizers(w.old, j);
	if (!no)
		no = admit_store(&w, j, &obj);
	finish(rp, 200, no, obj);
	if (!no && streq(rq->sub, "finalize"))
		namespace_sync(hub, rq->name);
}

static json_t *invalid_patch(const struct kind *k, const char *error)
{
	(void)k;
	return status_bad_request("invalid patch: %s", error);
}

/* Return: NULL and the patched object, or a Status. */
static json_t *patched(const struct request *rq, const struct object *old, const json_t *patch, json_t **ret)
{
	_cleanup_free_ char *error = NULL;
	json_t *out = NULL;

	if (is_type(rq->content_type, "application/merge-patch+json")) {
		out = json_is_object(patch) ? patch_merge(old->json, patch) : NULL;
		if (!out)
			error = xstrdup("expected an object");
	} else if (is_type(rq->content_type, "application/json-patch+json")) {
		bool failed_test;

		out = patch_json(old->json, patch, &failed_test, &error);
		if (!out && failed_test)
			return status_new(422, "Invalid", "the server rejected our request due to an error in our request: %s", error);
	} else {
		out = patch_strategic(rq->kind->schema, old->json, patch, &error);
	}
	if (!out)
		return invalid_patch(rq->kind, error);
	*ret = json_deep_copy(out); /* nothing shared with the stored object */
	json_decref(out);
	return NULL;
}

void api_patch(struct hub *hub, struct request *rq, struct reply *rp)
{
	static const char accepted[] = "application/json-patch+json, application/merge-patch+json, "
				       "application/strategic-merge-patch+json, application/apply-patch+yaml";
	struct write w = { .hub = hub, .kind = rq->kind, .rq = rq, .rp = rp, .old = find(hub, rq) };
	_cleanup_(object_unrefp) struct object *obj = NULL;
	_cleanup_json_ json_t *patch = NULL;
	bool apply = is_type(rq->content_type, "application/apply-patch+yaml");
	bool created = false;
	json_t *j = NULL, *no = admit_options(&w);

	w.status_only = streq(rq->sub, "status");
	if (!no && !apply && !is_type(rq->content_type, "application/merge-patch+json") &&
	    !is_type(rq->content_type, "application/json-patch+json") &&
	    !is_type(rq->content_type, "application/strategic-merge-patch+json"))
		no = unsupported(accepted);
	if (!no && !w.old && !apply)
		no = status_not_found(rq->kind, rq->name);
	if (!no)
		no = parse_body(rq, apply, &patch);
	if (!no && apply)
		no = server_side_apply(&w, patch, &j, &created);
	else if (!no)
		no = patched(rq, w.old, patch, &j);
	if (!no)
		no = admit_decode(&w, j, &j);
	if (!no)
		no = admit_store(&w, j, &obj);
	finish(rp, created ? 201 : 200, no, obj);
}

void api_bind(struct hub *hub, struct request *rq, struct reply *rp)
{
	struct write w = { .hub = hub, .kind = rq->kind, .rq = rq, .rp = rp, .old = find(hub, rq) };
	_cleanup_(object_unrefp) struct object *obj = NULL;
	_cleanup_json_ json_t *binding = NULL;
	json_t *j, *no = admit_options(&w);
	const char *node;

	if (!no && !w.old)
		no = status_not_found(rq->kind, rq->name);
	if (!no)
		no = read_object(rq, &binding);
	node = json_str_or(json_at(binding, "target", "name"), "");
	if (!no && !name_is_dns_subdomain(node))
		no = status_bad_request("target.name: expected the name of a node");
	if (!no && json_at(w.old->json, "spec", "nodeName"))
		no = status_conflict(rq->kind, rq->name, "the pod is already assigned to a node");
	if (!no) {
		j = json_deep_copy(w.old->json);
		json_object_set_new(json_object_get(j, "spec"), "nodeName", json_string(node));
		no = admit_store(&w, j, &obj);
	}
	if (no)
		reply_status(rp, no);
	else
		reply_status(rp, status_success(rq->kind, rq->name, meta_str(obj->json, "uid")));
	if (rp->code == 200)
		rp->code = 201;
}
