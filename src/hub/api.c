/* SPDX-License-Identifier: Apache-2.0 */
/* From a path to a verb on a kind:
 *	/api/v1[/namespaces/NS]/RESOURCE[/NAME[/SUB]]	/apis/GROUP/VERSION[/namespaces/NS]/RESOURCE[/NAME[/SUB]]
 * and everything that is no resource: discovery, OpenAPI, health, metrics. */
#include "hub/api.h"
#include "base/log.h"
#include "base/str.h"
#include "hub/table.h"
#include "hub/watch.h"

enum { SEGMENTS_MAX = 9 };

void identity_done(struct identity *id)
{
	free(id->user);
	json_decref(id->groups);
	*id = (struct identity){ 0 };
}

void request_done(struct request *rq)
{
	free(rq->ns);
	free(rq->name);
	free(rq->sub);
	json_decref(rq->query);
}

void reply_done(struct reply *r)
{
	buf_done(&r->body);
	json_decref(r->warnings);
	if (r->watch)
		watch_spec_done(r->watch);
	free(r->watch);
	*r = (struct reply){ 0 };
}

static void reply_start(struct reply *r, int code, const char *content_type)
{
	r->code = code;
	r->content_type = content_type;
	buf_done(&r->body);
}

void reply_json(struct reply *r, int code, const json_t *j)
{
	_cleanup_free_ char *text = json_text(j);

	reply_start(r, code, "application/json");
	buf_adds(&r->body, text);
}

void reply_object(struct reply *r, int code, const struct object *o)
{
	reply_start(r, code, "application/json");
	buf_add(&r->body, o->text, o->text_len);
}

void reply_status(struct reply *r, json_t *status)
{
	reply_json(r, status_code(status), status);
	json_decref(status);
}

void reply_text(struct reply *r, int code, const char *text)
{
	reply_start(r, code, "text/plain; charset=utf-8");
	buf_adds(&r->body, text);
}

void reply_warn(struct reply *r, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	if (!r->warnings)
		r->warnings = json_array();
	json_array_append_new(r->warnings, json_string(text));
}

const char *query_str(const struct request *rq, const char *name)
{
	return json_str_or(json_object_get(rq->query, name), "");
}

bool query_bool(const struct request *rq, const char *name)
{
	const char *v = query_str(rq, name);

	return streq(v, "true") || streq(v, "1");
}

bool wants_table(const struct request *rq)
{
	const char *p = rq->accept;

	while (*p) {
		size_t n = strcspn(p, ",");
		_cleanup_free_ char *one = xstrndup(p, n);

		if (strstr(one, "as=Table") && strstr(one, "v=v1") && !strstr(one, "v=v1beta1"))
			return true;
		if (!strchr(one, ';') && strstr(one, "application/json"))
			return false;
		p += n + (p[n] == ',');
	}
	return false;
}

static size_t split(char *path, char *segments[static SEGMENTS_MAX])
{
	size_t n = 0;
	char *save = NULL;

	for (char *s = strtok_r(path, "/", &save); s; s = strtok_r(NULL, "/", &save)) {
		if (n == SEGMENTS_MAX)
			return SEGMENTS_MAX + 1;
		segments[n++] = s;
	}
	return n;
}

static char *dup_or_null(char *const *segments, size_t n, size_t i)
{
	return i < n ? xstrdup(segments[i]) : NULL;
}

/* Fills kind, ns, name, sub; false: no such resource. */
static bool parse_resource(struct request *rq)
{
	_cleanup_free_ char *path = xstrdup(rq->path);
	char *seg[SEGMENTS_MAX];
	size_t n = split(path, seg), at;
	const char *group, *version;

	if (n > SEGMENTS_MAX || n < 3)
		return false;
	if (streq(seg[0], "api"))
		group = "", version = seg[1], at = 2;
	else if (streq(seg[0], "apis") && n >= 4)
		group = seg[1], version = seg[2], at = 3;
	else
		return false;
	/* namespaces/NS/RESOURCE…, but namespaces/NS and namespaces/NS/status mean the namespace */
	if (streq(seg[at], "namespaces") && n >= at + 3 && kind_find(group, version, seg[at + 2])) {
		rq->ns = xstrdup(seg[at + 1]);
		at += 2;
	}
	rq->kind = kind_find(group, version, seg[at]);
	rq->name = dup_or_null(seg, n, at + 1);
	rq->sub = dup_or_null(seg, n, at + 2);
	if (!rq->kind || n > at + 3 || (rq->ns && !rq->kind->namespaced) || (rq->kind->namespaced && rq->name && !rq->ns))
		return false;
	return true;
}

struct route {
	const char *method;
	bool named;
	const char *sub;
	const char *verb;
	void (*handle)(struct hub *, struct request *, struct reply *);
};

static const struct route routes[] = {
	{ "GET", false, NULL, "list", api_list },	  { "GET", true, NULL, "get", api_get },
	{ "POST", false, NULL, "create", api_create },	  { "PUT", true, NULL, "update", api_update },
	{ "PATCH", true, NULL, "patch", api_patch },	  { "DELETE", true, NULL, "delete", api_delete },
	{ "DELETE", false, NULL, "deletecollection", api_delete_collection },
	{ "GET", true, "status", "get", api_get },	  { "PUT", true, "status", "update", api_update },
	{ "PATCH", true, "status", "patch", api_patch },  { "POST", true, "binding", "create", api_bind },
	{ "PUT", true, "finalize", "update", api_update },
};

static bool sub_exists(const struct request *rq)
{
	if (!rq->sub)
		return true;
	if (streq(rq->sub, "status"))
		return rq->kind->has_status;
	if (streq(rq->sub, "binding"))
		return streq(rq->kind->resource, "pods");
	return streq(rq->sub, "finalize") && streq(rq->kind->resource, "namespaces");
}

static const struct route *find_route(const struct request *rq)
{
	const char *method = streq(rq->method, "HEAD") ? "GET" : rq->method;

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (streq(routes[i].method, method) && routes[i].named == (rq->name != NULL) && streq(routes[i].sub, rq->sub))
			return &routes[i];
	return NULL;
}

static bool reads(const char *verb)
{
	return streq(verb, "get") || streq(verb, "list") || streq(verb, "watch");
}

static json_t *method_not_allowed(void)
{
	return status_new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

static void handle_resource(struct hub *hub, struct request *rq, struct reply *rp)
{
	const struct route *route = find_route(rq);
	json_t *no;

	if (!route) {
		reply_status(rp, method_not_allowed());
		return;
	}
	rq->verb = route->verb;
	if (streq(rq->verb, "list") && query_bool(rq, "watch"))
		rq->verb = "watch";
	no = authorize(hub, rq);
	if (!no && rq->kind->read_only && !reads(rq->verb))
		no = method_not_allowed();
	if (no)
		reply_status(rp, no);
	else if (streq(rq->verb, "watch"))
		api_watch(hub, rq, rp);
	else
		route->handle(hub, rq, rp);
}

static bool handle_public(struct hub *hub, const struct request *rq, struct reply *rp)
{
	static const char *const health[] = { "/healthz", "/livez", "/readyz" };

	if (!streq(rq->method, "GET") && !streq(rq->method, "HEAD"))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(health); i++)
		if (streq(rq->path, health[i])) {
			bool ok = hub->ready || i < 2;

			reply_text(rp, ok ? 200 : 503, ok ? "ok" : "starting");
			return true;
		}
	if (!streq(rq->path, "/version"))
		return false;
	return discovery_handle(hub, rq, rp);
}

static bool handle_other(struct hub *hub, const struct request *rq, struct reply *rp)
{
	if (!streq(rq->method, "GET") && !streq(rq->method, "HEAD"))
		return false;
	if (streq(rq->path, "/metrics")) {
		reply_text(rp, 200, "");
		metrics_write(hub, &rp->body);
		return true;
	}
	return discovery_handle(hub, rq, rp) || openapi_handle(rq, rp);
}

void api_handle(struct hub *hub, struct request *rq, struct reply *rp)
{
	rq->verb = "other";
	if (handle_public(hub, rq, rp))
		;
	else if (!rq->id->user)
		reply_status(rp, status_new(401, "Unauthorized", "Unauthorized"));
	else if (handle_other(hub, rq, rp))
		;
	else if (parse_resource(rq) && sub_exists(rq))
		handle_resource(hub, rq, rp);
	else
		reply_status(rp, status_new(404, "NotFound", "the server could not find the requested resource"));
	metrics_count(&hub->metrics, rq->verb, rq->kind ? rq->kind->resource : "", rp->code);
	if (rp->code >= 500)
		log_warn("request failed", L_STR("method", rq->method), L_STR("path", rq->path), L_INT("code", rp->code));
}
