/* SPDX-License-Identifier: Apache-2.0 */
/* Namespace, ConfigMap, Lease, Event, and the cells that all kinds share. */
#include "hub/kind_hooks.h"
#include "hub/validate.h"
#include "base/str.h"

#include <ctype.h>
#include <time.h>

enum { CONFIGMAP_MAX = 1024 * 1024 };

/* Two units at most, and the smaller one only where it says something: how kubectl writes ages. */
static void format_duration(int64_t s, struct buf *out)
{
	if (s < 0)
		s = 0;
	if (s < 120)
		buf_addf(out, "%ds", (int)s);
	else if (s < 600 && s % 60)
		buf_addf(out, "%dm%ds", (int)(s / 60), (int)(s % 60));
	else if (s < 3 * 3600)
		buf_addf(out, "%dm", (int)(s / 60));
	else if (s < 8 * 3600 && s / 60 % 60)
		buf_addf(out, "%dh%dm", (int)(s / 3600), (int)(s / 60 % 60));
	else if (s < 48 * 3600)
		buf_addf(out, "%dh", (int)(s / 3600));
	else if (s < 8 * 86400 && s / 3600 % 24)
		buf_addf(out, "%dd%dh", (int)(s / 86400), (int)(s / 3600 % 24));
	else
		buf_addf(out, "%dd", (int)(s / 86400));
}

void format_since(const char *when, struct buf *out)
{
	int64_t t;

	if (!when || time_parse(when, &t) < 0)
		buf_adds(out, "<unknown>");
	else
		format_duration(time(NULL) - t, out);
}

void cell_age(const json_t *obj, struct buf *out)
{
	format_since(json_str_at(obj, "metadata", "creationTimestamp"), out);
}

void cell_name(const json_t *obj, struct buf *out)
{
	buf_adds(out, meta_str(obj, "name"));
}

void cell_list(const json_t *list, struct buf *out)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v)
		buf_addf(out, "%s%s", i ? "," : "", json_str_or(v, ""));
}

void cell_selector(const json_t *labels, struct buf *out)
{
	size_t before = out->len;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)labels, key, v)
		buf_addf(out, "%s%s=%s", out->len > before ? "," : "", key, json_str_or(v, ""));
	if (out->len == before)
		buf_adds(out, "<none>");
}

const struct column default_columns[] = { COLUMN_NAME, COLUMN_AGE, { 0 } };

void namespace_defaults(json_t *obj, const json_t *old)
{
	json_t *labels = default_object(meta_of(obj), "labels");

	if (!old)
		json_object_set_new(default_object(obj, "spec"), "finalizers", json_pack("[s]", "kubernetes"));
	default_str(default_object(obj, "status"), "phase", "Active");
	json_object_set_new(labels, "kubernetes.io/metadata.name", json_string(meta_str(obj, "name")));
}

const struct column namespace_columns[] = {
	COLUMN_NAME,
	{ "Status", "string", 0, "status.phase", .doc = "Active or Terminating." },
	COLUMN_AGE,
	{ 0 },
};

static bool is_config_key(const char *s)
{
	if (!*s || strlen(s) > 253 || streq(s, ".") || streq(s, "..") || str_has_prefix(s, ".."))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-_.", *s))
			return false;
	return true;
}

static size_t validate_config_data(const json_t *obj, const char *field, struct errors *e)
{
	const json_t *data = json_object_get(obj, field);
	size_t total = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)data, key, v) {
		_cleanup_json_ json_t *k = json_string(key);

		total += strlen(key) + json_string_length(v);
		if (!is_config_key(key))
			err_invalid(e, PATH_KEY(PATH(NULL, field), key), k,
				    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'");
		if (streq(field, "binaryData") && json_at(obj, "data", key))
			err_invalid(e, PATH_KEY(PATH(NULL, "data"), key), k, "duplicate of key present in binaryData");
	}
	return total;
}

void configmap_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	size_t total = validate_config_data(obj, "data", e) + validate_config_data(obj, "binaryData", e);

	if (total > CONFIGMAP_MAX)
		err_too_long(e, NULL, CONFIGMAP_MAX);
	if (!json_is_true(json_object_get(old, "immutable")))
		return;
	if (!json_is_true(json_object_get(obj, "immutable")))
		err_forbidden(e, PATH(NULL, "immutable"), "field is immutable when `immutable` is set");
	for (const char *const *f = VALUES("data", "binaryData"); *f; f++)
		if (json_object_get(obj, *f) != json_object_get(old, *f) &&
		    !json_equal(json_object_get(obj, *f), json_object_get(old, *f)))
			err_forbidden(e, PATH(NULL, *f), "field is immutable when `immutable` is set");
}

static void cell_data(const json_t *obj, struct buf *out)
{
	buf_addf(out, "%zu", json_object_size(json_object_get(obj, "data")) +
				     json_object_size(json_object_get(obj, "binaryData")));
}

const struct column configmap_columns[] = {
	COLUMN_NAME,
	{ "Data", "string", 0, .cell = cell_data, .doc = "Number of keys." },
	COLUMN_AGE,
	{ 0 },
};

const struct column lease_columns[] = {
	COLUMN_NAME,
	{ "Holder", "string", 0, "spec.holderIdentity", .doc = "Who holds it." },
	COLUMN_AGE,
	{ 0 },
};

void event_defaults(json_t *obj, const json_t *old)
{
	char now[TIME_TEXT_MAX];

	(void)old;
	default_str(obj, "type", "Normal");
	if (!json_object_get(obj, "firstTimestamp") && !json_object_get(obj, "eventTime")) {
		default_str(obj, "firstTimestamp", time_now(now));
		default_str(obj, "lastTimestamp", now);
		default_int(obj, "count", 1);
	}
}

void event_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const json_t *ns = json_at(obj, "involvedObject", "namespace");
	const char *own = meta_str(obj, "namespace"), *other = json_str_or(ns, "");

	(void)old;
	/* Events of cluster-scoped objects are kept in default. */
	if (*other ? !streq(own, other) : !streq(own, "default") && !streq(own, "kube-system"))
		err_invalid(e, PATH(PATH(NULL, "involvedObject"), "namespace"), ns, "does not match event.namespace");
}

static void cell_last_seen(const json_t *obj, struct buf *out)
{
	const char *when = json_str_at(obj, "series", "lastObservedTime");

	if (!when)
		when = json_str_at(obj, "lastTimestamp");
	if (!when)
		when = json_str_at(obj, "eventTime");
	format_since(when, out);
}

static void cell_first_seen(const json_t *obj, struct buf *out)
{
	const char *when = json_str_at(obj, "firstTimestamp");

	format_since(when ? when : json_str_at(obj, "eventTime"), out);
}

static void cell_object(const json_t *obj, struct buf *out)
{
	for (const char *p = json_str_or(json_at(obj, "involvedObject", "kind"), ""); *p; p++) {
		char c = tolower((unsigned char)*p);

		buf_add(out, &c, 1);
	}
	buf_addf(out, "/%s", json_str_or(json_at(obj, "involvedObject", "name"), ""));
}

static void cell_source(const json_t *obj, struct buf *out)
{
	const char *host = json_str_at(obj, "source", "host"), *c = json_str_at(obj, "source", "component");

	buf_adds(out, c && *c ? c : json_str_or(json_object_get(obj, "reportingComponent"), ""));
	if (host && *host)
		buf_addf(out, ", %s", host);
}

static void cell_count(const json_t *obj, struct buf *out)
{
	json_int_t n = json_integer_value(json_at(obj, "series", "count"));

	if (!n)
		n = json_integer_value(json_object_get(obj, "count"));
	buf_addf(out, "%lld", (long long)(n ? n : 1));
}

const struct column event_columns[] = {
	{ "Last Seen", "string", 0, .cell = cell_last_seen, .doc = "Time since it last happened." },
	{ "Type", "string", 0, "type", .doc = "Normal or Warning." },
	{ "Reason", "string", 0, "reason", .doc = "What happened, as one word." },
	{ "Object", "string", 0, .cell = cell_object, .doc = "What it happened to." },
	{ "Subobject", "string", 1, "involvedObject.fieldPath", .doc = "The part that it happened to." },
	{ "Source", "string", 1, .cell = cell_source, .doc = "Who reported it." },
	{ "Message", "string", 0, "message", .doc = "What happened, for people." },
	{ "First Seen", "string", 1, .cell = cell_first_seen, .doc = "Time since it first happened." },
	{ "Count", "string", 1, .cell = cell_count, .doc = "How often." },
	{ "Name", "string", 1, .cell = cell_name, .doc = "Name of the event." },
	{ 0 },
};
