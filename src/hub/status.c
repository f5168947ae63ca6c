/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/status.h"
#include "base/buf.h"
#include "base/str.h"
#include "hub/kind.h"

static json_t *status_make(int code, const char *reason, const char *message, json_t *details)
{
	json_t *s = json_pack("{ss ss s{} ss so ss}", "kind", "Status", "apiVersion", "v1", "metadata", "status",
			      code < 400 ? "Success" : "Failure", "message", json_string_or_escaped(message), "reason", reason);

	assert(s);
	if (details)
		json_object_set_new(s, "details", details);
	json_object_set_new(s, "code", json_integer(code));
	return s;
}

json_t *status_new(int code, const char *reason, const char *fmt, ...)
{
	_cleanup_free_ char *m = NULL;
	va_list ap;

	va_start(ap, fmt);
	m = xvasprintf(fmt, ap);
	va_end(ap);
	return status_make(code, reason, m, NULL);
}

json_t *status_bad_request(const char *fmt, ...)
{
	_cleanup_free_ char *m = NULL;
	va_list ap;

	va_start(ap, fmt);
	m = xvasprintf(fmt, ap);
	va_end(ap);
	return status_make(400, "BadRequest", m, NULL);
}

static json_t *details_of(const struct kind *k, const char *name, bool by_kind)
{
	json_t *d = json_pack("{ss ss}", "name", name, "kind", by_kind ? k->kind : k->resource);

	if (*k->group)
		json_object_set_new(d, "group", json_string(k->group));
	return d;
}

/* "pods", "leases.coordination.k8s.io": how messages name a resource */
static char *qualified(const struct kind *k)
{
	return *k->group ? xasprintf("%s.%s", k->resource, k->group) : xstrdup(k->resource);
}

json_t *status_not_found(const struct kind *k, const char *name)
{
	_cleanup_free_ char *q = qualified(k), *m = xasprintf("%s \"%s\" not found", q, name);

	return status_make(404, "NotFound", m, details_of(k, name, false));
}

json_t *status_exists(const struct kind *k, const char *name)
{
	_cleanup_free_ char *q = qualified(k), *m = xasprintf("%s \"%s\" already exists", q, name);

	return status_make(409, "AlreadyExists", m, details_of(k, name, false));
}

json_t *status_conflict(const struct kind *k, const char *name, const char *detail)
{
	_cleanup_free_ char *q = qualified(k);
	_cleanup_free_ char *m = xasprintf("Operation cannot be fulfilled on %s \"%s\": %s", q, name, detail);

	return status_make(409, "Conflict", m, details_of(k, name, false));
}

json_t *status_invalid(const struct kind *k, const char *name, const struct errors *e)
{
	size_t n = json_array_size(e->causes), i;
	struct buf b = { 0 };
	json_t *cause, *details = details_of(k, name, true), *s;

	if (*k->group)
		buf_addf(&b, "%s.%s \"%s\" is invalid: %s", k->kind, k->group, name, n > 1 ? "[" : "");
	else
		buf_addf(&b, "%s \"%s\" is invalid: %s", k->kind, name, n > 1 ? "[" : "");
	json_array_foreach(e->causes, i, cause)
		buf_addf(&b, "%s%s: %s", i ? ", " : "", json_str_at(cause, "field"), json_str_at(cause, "message"));
	if (n > 1)
		buf_adds(&b, "]");
	json_object_set(details, "causes", e->causes);
	s = status_make(422, "Invalid", b.data, details);
	buf_done(&b);
	return s;
}

json_t *status_expired(const char *fmt, ...)
{
	_cleanup_free_ char *m = NULL;
	va_list ap;

	va_start(ap, fmt);
	m = xvasprintf(fmt, ap);
	va_end(ap);
	return status_make(410, "Expired", m, NULL);
}

json_t *status_success(const struct kind *k, const char *name, const char *uid)
{
	json_t *details = details_of(k, name, false), *s;

	json_object_set_new(details, "uid", json_string(uid ? uid : ""));
	s = json_pack("{ss ss s{} ss so}", "kind", "Status", "apiVersion", "v1", "metadata", "status", "Success",
		      "details", details);
	return s;
}

int status_code(const json_t *status)
{
	json_int_t code = json_integer_value(json_object_get(status, "code"));

	return code ? (int)code : 200;
}
