/* SPDX-License-Identifier: Apache-2.0 */
/* What a MeshNode may say. A key belongs to one node: whoever comes second with it is refused here, before any agent has to
 * choose between the two. */
#include "hub/kind_hooks.h"
#include "hub/hub.h"
#include "hub/validate.h"
#include "base/str.h"
#include "net/addr.h"

enum { KEY_TEXT = 44, ENDPOINTS_MAX = 32, SHOWN_MAX = 2 };

/* 32 bytes in base64: 43 digits, of which the last has two bits that say nothing, and one '='. */
static bool key_is_valid(const char *s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *last;

	if (!s || strlen(s) != KEY_TEXT || s[KEY_TEXT - 1] != '=' || strspn(s, digits) != KEY_TEXT - 1)
		return false;
	last = strchr(digits, s[KEY_TEXT - 2]);
	return (last - digits) % 4 == 0;
}

static void validate_key(const json_t *v, const struct path *at, struct errors *e)
{
	if (v && !key_is_valid(json_string_value(v)))
		err_invalid(e, at, v, "must be a WireGuard key: 32 bytes in base64");
}

static void validate_endpoint(const json_t *v, const struct path *at, struct errors *e)
{
	struct addr a;
	uint16_t port;

	if (addr_port_parse(json_str_or(v, ""), &a, &port) < 0 || port == 0)
		err_invalid(e, at, v, "must be ADDRESS:PORT or [ADDRESS]:PORT");
	else if (endpoint_address_fault(&a))
		err_invalid(e, at, v, "%s", endpoint_address_fault(&a));
}

void meshnode_validate(const json_t *obj, const json_t *old, struct errors *e)
{
	const struct path *at = PATH(NULL, "spec");
	const json_t *spec = json_object_get(obj, "spec"), *endpoints = json_object_get(spec, "endpoints"), *v;
	size_t i;

	(void)old;
	validate_key(json_object_get(spec, "publicKey"), PATH(at, "publicKey"), e);
	validate_key(json_object_get(spec, "nextKey"), PATH(at, "nextKey"), e);
	if (json_array_size(endpoints) > ENDPOINTS_MAX)
		err_invalid(e, PATH(at, "endpoints"), NULL, "must have at most %d items", ENDPOINTS_MAX);
	json_array_foreach(endpoints, i, v)
		validate_endpoint(v, PATH_AT(PATH(at, "endpoints"), i), e);
}

static bool has_key(const json_t *obj, const char *key)
{
	return streq(json_str_at(obj, "spec", "publicKey"), key) || streq(json_str_at(obj, "spec", "nextKey"), key);
}

static void refuse_taken(struct hub *hub, const json_t *obj, const char *field, struct errors *e)
{
	const struct kind *k = kind_of("MeshNode");
	const json_t *key = json_at(obj, "spec", field);
	size_t n;
	struct object *const *all = store_all(hub->store, k, &n);

	for (size_t i = 0; key && i < n; i++)
		if (!streq(all[i]->name, meta_str(obj, "name")) && has_key(all[i]->json, json_string_value(key)))
			err_invalid(e, PATH(PATH(NULL, "spec"), field), key, "is the key of MeshNode %s", all[i]->name);
}

void meshnode_allocate(struct hub *hub, json_t *obj, const json_t *old, bool dry_run, struct errors *e)
{
	(void)old;
	(void)dry_run;
	refuse_taken(hub, obj, "publicKey", e);
	refuse_taken(hub, obj, "nextKey", e);
}

static void cell_endpoints(const json_t *obj, struct buf *out)
{
	const json_t *list = json_at(obj, "spec", "endpoints"), *v;
	size_t i;

	json_array_foreach(list, i, v)
		if (i < SHOWN_MAX)
			buf_addf(out, "%s%s", i ? "," : "", json_str_or(v, ""));
	if (json_array_size(list) > SHOWN_MAX)
		buf_addf(out, " + %zu more...", json_array_size(list) - SHOWN_MAX);
}

static void cell_accepted(const json_t *obj, struct buf *out)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_at(obj, "status", "conditions"), i, c)
		if (streq(json_str_at(c, "type"), "Accepted")) {
			buf_adds(out, streq(json_str_at(c, "status"), "True") ? "True" : json_str_or(json_object_get(c, "reason"), "False"));
			return;
		}
	buf_adds(out, "Unknown");
}

const struct column meshnode_columns[] = {
	COLUMN_NAME,
	{ "Public-Key", "string", 0, "spec.publicKey", .doc = "The node's WireGuard key." },
	{ "Endpoints", "string", 0, .cell = cell_endpoints, .doc = "Where it may be reached." },
	{ "Engine", "string", 0, "status.engine", .doc = "kernel or userspace." },
	{ "Accepted", "string", 0, .cell = cell_accepted, .doc = "May it take part?" },
	COLUMN_AGE,
	{ 0 },
};
