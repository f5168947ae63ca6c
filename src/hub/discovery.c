/* SPDX-License-Identifier: Apache-2.0 */
/* /version, /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION: which kinds there are, from the table. */
#include "hub/api.h"
#include "base/str.h"

#include <sys/utsname.h>

static json_t *version(void)
{
	return json_pack("{ss ss ss ss ss ss ss ss ss}", "major", "1", "minor", "32", "gitVersion", "v1.32.0-weft." WEFT_VERSION,
			 "gitCommit", "", "gitTreeState", "", "buildDate", "1970-01-01T00:00:00Z", "goVersion", "", "compiler",
			 "cc", "platform", "linux");
}

static json_t *strings(const char *const *values)
{
	json_t *a = json_array();

	for (; values && *values; values++)
		json_array_append_new(a, json_string(*values));
	return a;
}

static json_t *resource(const struct kind *k, const char *sub, const char *kind, const char *const *verbs)
{
	_cleanup_free_ char *name = xasprintf("%s%s%s", k->resource, sub ? "/" : "", sub ? sub : "");
	json_t *r = json_pack("{ss ss sb ss so}", "name", name, "singularName", sub ? "" : k->singular, "namespaced",
			      k->namespaced, "kind", kind, "verbs", strings(verbs));

	if (!sub && k->short_names)
		json_object_set_new(r, "shortNames", strings(k->short_names));
	if (!sub && k->categories)
		json_object_set_new(r, "categories", strings(k->categories));
	return r;
}

static json_t *resources(const char *group, const char *version_name)
{
	_cleanup_free_ char *gv = *group ? xasprintf("%s/%s", group, version_name) : xstrdup(version_name);
	static const char *const all[] = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch", NULL };
	static const char *const readers[] = { "get", "list", "watch", NULL };
	json_t *list = json_array();

	for (const struct kind *k = kinds; k->resource; k++) {
		if (!streq(k->group, group) || !streq(k->version, version_name))
			continue;
		json_array_append_new(list, resource(k, NULL, k->kind, k->read_only ? readers : all));
		if (k->has_status)
			json_array_append_new(list, resource(k, "status", k->kind, k->read_only ? VALUES("get") : VALUES("get", "patch", "update")));
		if (streq(k->resource, "pods"))
			json_array_append_new(list, resource(k, "binding", "Binding", VALUES("create")));
		if (streq(k->resource, "namespaces"))
			json_array_append_new(list, resource(k, "finalize", k->kind, VALUES("update")));
	}
	if (json_array_size(list) == 0) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{ss ss ss so}", "kind", "APIResourceList", "apiVersion", "v1", "groupVersion", gv, "resources", list);
}

/* Rows of a group stand together, and in it those of a version; the preferred one first. */
static json_t *versions_of(const struct kind *k)
{
	json_t *list = json_array();
	const char *group = k->group, *last = "";

	for (; k->resource && streq(k->group, group); k++) {
		_cleanup_free_ char *gv = kind_api_version(k);

		if (!streq(k->version, last))
			json_array_append_new(list, json_pack("{ss ss}", "groupVersion", gv, "version", k->version));
		last = k->version;
	}
	return list;
}

static json_t *group_of(const struct kind *first)
{
	_cleanup_json_ json_t *versions = versions_of(first);

	return json_pack("{ss sO sO}", "name", first->group, "versions", versions, "preferredVersion", json_array_get(versions, 0));
}

static json_t *groups(void)
{
	json_t *list = json_array();
	const char *last = "";

	for (const struct kind *k = kinds; k->resource; k++) {
		if (*k->group && !streq(k->group, last))
			json_array_append_new(list, group_of(k));
		last = k->group;
	}
	return json_pack("{ss ss so}", "kind", "APIGroupList", "apiVersion", "v1", "groups", list);
}

static json_t *one_group(const char *name)
{
	for (const struct kind *k = kinds; k->resource; k++)
		if (*name && streq(k->group, name)) {
			json_t *g = group_of(k);

			json_object_set_new(g, "kind", json_string("APIGroup"));
			json_object_set_new(g, "apiVersion", json_string("v1"));
			return g;
		}
	return NULL;
}

static json_t *document(const char *path)
{
	_cleanup_free_ char *copy = xstrdup(path);
	char *slash;

	if (streq(path, "/version"))
		return version();
	if (streq(path, "/api"))
		return json_pack("{ss s[s] s[]}", "kind", "APIVersions", "versions", "v1", "serverAddressByClientCIDRs");
	if (streq(path, "/apis"))
		return groups();
	if (streq(path, "/api/v1"))
		return resources("", "v1");
	if (!str_has_prefix(path, "/apis/"))
		return NULL;
	slash = strchr(copy + 6, '/');
	if (!slash)
		return one_group(copy + 6);
	*slash = 0;
	return resources(copy + 6, slash + 1);
}

bool discovery_handle(struct hub *hub, const struct request *rq, struct reply *rp)
{
	_cleanup_free_ char *path = xstrdup(rq->path);
	_cleanup_json_ json_t *doc = NULL;
	size_t n = strlen(path);

	(void)hub;
	if (n > 1 && path[n - 1] == '/')
		path[n - 1] = 0;
	doc = document(path);
	if (doc)
		reply_json(rp, 200, doc);
	return doc != NULL;
}
