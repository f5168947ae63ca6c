/* SPDX-License-Identifier: Apache-2.0 */
/* /openapi/v2 (JSON and protobuf) and /openapi/v3. `kubectl explain`, client-side validation and the patches that `kubectl apply`
 * computes live on these: the types, the merge keys, and the fieldValidation parameter of PATCH. */
#include "hub/openapi.h"
#include "base/str.h"
#include "hub/api.h"

/* Clients ask with an @, which is no valid media type in an answer (RFC 2045 5.1): upstream answers with a dot. */
static const char v2_protobuf[] = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

static json_t *reference(const struct schema *s, enum openapi_version v)
{
	_cleanup_free_ char *ref =
		xasprintf("%s%s", v == OPENAPI_V2 ? "#/definitions/" : "#/components/schemas/", s->name);

	return json_pack("{ss}", "$ref", ref);
}

static json_t *type_of(const struct field *f, enum openapi_version v)
{
	static const struct {
		const char *type, *format;
	} names[] = {
		[F_STRING] = { "string" },	   [F_INT] = { "integer", "int32" },
		[F_LONG] = { "integer", "int64" }, [F_BOOL] = { "boolean" },
		[F_NUMBER] = { "number" },	   [F_INT_OR_STRING] = { "string", "int-or-string" },
		[F_QUANTITY] = { "string" },	   [F_TIME] = { "string", "date-time" },
		[F_MICROTIME] = { "string", "date-time" }, [F_ANY] = { "object" },
	};
	json_t *t;

	if (f->type == F_OBJECT)
		return reference(f->of, v);
	/* Both forms are accepted; v3 can say so. */
	if (v == OPENAPI_V3 && (f->type == F_INT_OR_STRING || f->type == F_QUANTITY))
		return json_pack("{s[{ss}{ss}] ss*}", "oneOf", "type", "string", "type",
				 f->type == F_QUANTITY ? "number" : "integer", "format", names[f->type].format);
	t = json_pack("{ss ss*}", "type", names[f->type].type, "format", names[f->type].format);
	for (const char *const *value = f->values; value && *value; value++) {
		if (!json_object_get(t, "enum"))
			json_object_set_new(t, "enum", json_array());
		json_array_append_new(json_object_get(t, "enum"), json_string(*value));
	}
	return t;
}

static void add_list_rules(const struct field *f, json_t *p)
{
	if (f->shape == LIST) {
		json_object_set_new(p, "x-kubernetes-list-type", json_string("atomic"));
		return;
	}
	json_object_set_new(p, "x-kubernetes-patch-strategy", json_string("merge"));
	if (f->shape == SET) {
		json_object_set_new(p, "x-kubernetes-list-type", json_string("set"));
		return;
	}
	json_object_set_new(p, "x-kubernetes-patch-merge-key", json_string(f->key));
	json_object_set_new(p, "x-kubernetes-list-type", json_string("map"));
	json_object_set_new(p, "x-kubernetes-list-map-keys", json_pack("[s]", f->key));
}

static json_t *property(const struct field *f, enum openapi_version v)
{
	json_t *one = type_of(f, v), *p;

	if (f->shape == MAP) {
		p = json_pack("{ss so}", "type", "object", "additionalProperties", one);
	} else if (f->shape != ONE) {
		p = json_pack("{ss so}", "type", "array", "items", one);
		add_list_rules(f, p);
	} else if (f->type == F_OBJECT && v == OPENAPI_V3) {
		p = json_pack("{s[o]}", "allOf", one); /* a bare $ref could carry no description */
	} else {
		p = one;
	}
	json_object_set_new(p, "description", json_string(f->doc));
	return p;
}

static void define(const struct schema *s, enum openapi_version v, json_t *out)
{
	json_t *properties, *required, *d;

	if (json_object_get(out, s->name))
		return;
	properties = json_object();
	required = json_array();
	d = json_pack("{ss ss so}", "description", s->doc, "type", "object", "properties", properties);
	json_object_set_new(out, s->name, d);
	for (const struct field *f = s->fields; f->name; f++) {
		json_object_set_new(properties, f->name, property(f, v));
		if (f->required)
			json_array_append_new(required, json_string(f->name));
		if (f->type == F_OBJECT)
			define(f->of, v, out);
	}
	if (json_array_size(required) > 0)
		json_object_set(d, "required", required);
	json_decref(required);
}

static json_t *gvk(const struct kind *k)
{
	return json_pack("{ss ss ss}", "group", k->group, "version", k->version, "kind", k->kind);
}

static bool is_wanted(const struct kind *k, const char *group, const char *version)
{
	return !group || (streq(k->group, group) && streq(k->version, version));
}

json_t *openapi_definitions(const char *group, const char *version, enum openapi_version v)
{
	json_t *out = json_object();

	for (const struct kind *k = kinds; k->resource; k++) {
		if (!is_wanted(k, group, version))
			continue;
		define(k->schema, v, out);
		json_object_set_new(json_object_get(out, k->schema->name), "x-kubernetes-group-version-kind",
				    json_pack("[o]", gvk(k)));
	}
	return out;
}

static json_t *operation(const struct kind *k, const char *action, bool writes, enum openapi_version v)
{
	static const char *const parameters[] = { "dryRun", "fieldManager", "fieldValidation" };
	json_t *list = json_array(), *op = json_pack("{ss so so s{s{ss}}}", "x-kubernetes-action", action,
						      "x-kubernetes-group-version-kind", gvk(k), "parameters", list, "responses",
						      "200", "description", "OK");

	for (size_t i = 0; writes && i < ARRAY_SIZE(parameters); i++) {
		json_t *p = json_pack("{ss ss}", "name", parameters[i], "in", "query");

		if (v == OPENAPI_V2)
			json_object_set_new(p, "type", json_string("string"));
		else
			json_object_set_new(p, "schema", json_pack("{ss}", "type", "string"));
		json_array_append_new(list, p);
	}
	return op;
}

static void add_paths(const struct kind *k, enum openapi_version v, json_t *out)
{
	_cleanup_free_ char *base = xasprintf("%s%s%s/%s%s/%s", *k->group ? "/apis/" : "/api", k->group, "", k->version,
					      k->namespaced ? "/namespaces/{namespace}" : "", k->resource);
	_cleanup_free_ char *one = xasprintf("%s/{name}", base);

	json_object_set_new(out, base, json_pack("{so so}", "get", operation(k, "list", false, v), "post",
						 operation(k, "post", true, v)));
	json_object_set_new(out, one, json_pack("{so so so so}", "get", operation(k, "get", false, v), "put",
						operation(k, "put", true, v), "patch", operation(k, "patch", true, v), "delete",
						operation(k, "delete", false, v)));
}

static json_t *paths(const char *group, const char *version, enum openapi_version v)
{
	json_t *out = json_object();

	for (const struct kind *k = kinds; k->resource; k++)
		if (is_wanted(k, group, version))
			add_paths(k, v, out);
	return out;
}

static json_t *info(void)
{
	return json_pack("{ss ss}", "title", "Weft", "version", WEFT_VERSION);
}

static void answer_v2(const struct request *rq, struct reply *rp)
{
	_cleanup_json_ json_t *definitions = openapi_definitions(NULL, NULL, OPENAPI_V2);
	_cleanup_json_ json_t *all = paths(NULL, NULL, OPENAPI_V2), *doc = NULL;

	if (strstr(rq->accept, "spec.v2@v1.0+protobuf")) {
		rp->code = 200;
		rp->content_type = v2_protobuf;
		openapi_encode_v2(definitions, all, &rp->body);
		return;
	}
	doc = json_pack("{ss so sO sO}", "swagger", "2.0", "info", info(), "paths", all, "definitions", definitions);
	reply_json(rp, 200, doc);
}

static void answer_v3_index(struct reply *rp)
{
	json_t *all = json_object();
	_cleanup_json_ json_t *doc = json_pack("{so}", "paths", all);

	for (const struct kind *k = kinds; k->resource; k++) {
		_cleanup_free_ char *gv = kind_api_version(k);
		_cleanup_free_ char *path = xasprintf("%s/%s", *k->group ? "apis" : "api", gv);
		_cleanup_free_ char *url = xasprintf("/openapi/v3/%s?hash=%s", path, WEFT_VERSION);

		json_object_set_new(all, path, json_pack("{ss}", "serverRelativeURL", url));
	}
	reply_json(rp, 200, doc);
}

static bool answer_v3(const char *rest, struct reply *rp)
{
	for (const struct kind *k = kinds; k->resource; k++) {
		_cleanup_free_ char *gv = kind_api_version(k), *path = xasprintf("%s/%s", *k->group ? "apis" : "api", gv);
		_cleanup_json_ json_t *doc = NULL;

		if (!streq(path, rest))
			continue;
		doc = json_pack("{ss so so s{so}}", "openapi", "3.0.0", "info", info(), "paths",
				paths(k->group, k->version, OPENAPI_V3), "components", "schemas",
				openapi_definitions(k->group, k->version, OPENAPI_V3));
		reply_json(rp, 200, doc);
		return true;
	}
	return false;
}

bool openapi_handle(const struct request *rq, struct reply *rp)
{
	static const char v3[] = "/openapi/v3/";

	if (streq(rq->path, "/openapi/v2"))
		answer_v2(rq, rp);
	else if (streq(rq->path, "/openapi/v3"))
		answer_v3_index(rp);
	else
		return str_has_prefix(rq->path, v3) && answer_v3(rq->path + sizeof(v3) - 1, rp);
	return true;
}
