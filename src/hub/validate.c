/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/validate.h"
#include "base/str.h"
#include "hub/selector.h"
#include "net/addr.h"

#include <ctype.h>

enum { ANNOTATIONS_MAX = 256 * 1024, LABEL_NAME_MAX = 63 };

static const char subdomain_rule[] =
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
	"end with an alphanumeric character";
static const char label_rule[] = "a lowercase RFC 1123 label must consist of at most 63 lower case alphanumeric characters "
				 "or '-', and must start and end with an alphanumeric character";

void validate_label(const json_t *v, const struct path *at, struct errors *e)
{
	if (v && !name_is_dns_label(json_str_or(v, "")))
		err_invalid(e, at, v, "%s", label_rule);
}

void validate_subdomain(const json_t *v, const struct path *at, struct errors *e)
{
	if (v && !name_is_dns_subdomain(json_str_or(v, "")))
		err_invalid(e, at, v, "%s", subdomain_rule);
}

static void validate_address_name(const json_t *v, const struct path *at, struct errors *e)
{
	char text[ADDR_TEXT_MAX];
	struct addr a;

	if (addr_parse(json_str_or(v, ""), &a) < 0 || !streq(addr_format(&a, text), json_str_or(v, "")))
		err_invalid(e, at, v, "must be an IP address in canonical form");
}

static void validate_name(const struct kind *k, const json_t *v, const struct path *at, struct errors *e)
{
	const char *s = json_str_or(v, "");

	if (k->name_rule == NAME_SUBDOMAIN)
		validate_subdomain(v, at, e);
	else if (k->name_rule == NAME_LABEL)
		validate_label(v, at, e);
	else if (k->name_rule == NAME_ADDRESS)
		validate_address_name(v, at, e);
	else if (!name_is_dns_label(s) || !islower((unsigned char)s[0]))
		err_invalid(e, at, v,
			    "a DNS-1035 label must consist of at most 63 lower case alphanumeric characters or '-', start with "
			    "an alphabetic character, and end with an alphanumeric character");
}

void validate_labels(const json_t *labels, const struct path *at, struct errors *e)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)labels, key, v) {
		_cleanup_json_ json_t *k = json_string(key);

		if (!label_key_is_valid(key))
			err_invalid(e, at, k,
				    "name part must consist of at most 63 alphanumeric characters, '-', '_' or '.', and must "
				    "start and end with an alphanumeric character; a prefix before '/' must be a DNS subdomain");
		if (!label_value_is_valid(json_str_or(v, "")))
			err_invalid(e, at, v,
				    "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', "
				    "'_' or '.', and must start and end with an alphanumeric character");
	}
}

static void validate_annotations(const json_t *annotations, const struct path *at, struct errors *e)
{
	size_t total = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)annotations, key, v) {
		_cleanup_json_ json_t *k = json_string(key);
		_cleanup_free_ char *lower = xstrdup(key);

		for (char *p = lower; *p; p++)
			*p = tolower((unsigned char)*p);
		if (!label_key_is_valid(lower))
			err_invalid(e, at, k,
				    "name part must consist of at most 63 alphanumeric characters, '-', '_' or '.', and must "
				    "start and end with an alphanumeric character");
		total += strlen(key) + json_string_length(v);
	}
	if (total > ANNOTATIONS_MAX)
		err_too_long(e, at, ANNOTATIONS_MAX);
}

void validate_qualified_name(const json_t *v, const struct path *at, struct errors *e)
{
	if (v && !label_key_is_valid(json_str_or(v, "")))
		err_invalid(e, at, v,
			    "must be a qualified name: at most 63 alphanumeric characters, '-', '_' or '.', with an alphanumeric one at both ends, and an "
			    "optional DNS subdomain and '/' before it (e.g. example.com/my-name)");
}

void validate_meta(const struct kind *k, const json_t *obj, struct errors *e)
{
	const struct path *at = PATH(NULL, "metadata");
	const json_t *meta = json_object_get(obj, "metadata"), *name = json_object_get(meta, "name"), *finalizer;
	size_t i;

	if (!name || !json_string_length(name))
		err_required(e, PATH(at, "name"), "name or generateName is required");
	else
		validate_name(k, name, PATH(at, "name"), e);
	validate_labels(json_object_get(meta, "labels"), PATH(at, "labels"), e);
	validate_annotations(json_object_get(meta, "annotations"), PATH(at, "annotations"), e);
	json_array_foreach(json_object_get(meta, "finalizers"), i, finalizer)
		validate_qualified_name(finalizer, PATH_AT(PATH(at, "finalizers"), i), e);
}

void validate_meta_update(const json_t *obj, const json_t *old, struct errors *e)
{
	static const char *const fixed[] = { "uid", "name", "namespace", "creationTimestamp", NULL };

	for (const char *const *f = fixed; *f; f++)
		validate_immutable(json_at(obj, "metadata", *f), json_at(old, "metadata", *f),
				   PATH(PATH(NULL, "metadata"), *f), e);
}

static void validate_requirement(const json_t *r, const struct path *at, struct errors *e)
{
	const char *op = json_str_or(json_object_get(r, "operator"), "");
	const json_t *key = json_object_get(r, "key"), *values = json_object_get(r, "values"), *v;
	bool wants = streq(op, "In") || streq(op, "NotIn");
	size_t i;

	if (key && !label_key_is_valid(json_str_or(key, "")))
		err_invalid(e, PATH(at, "key"), key, "must be a valid label key");
	if (wants && json_array_size(values) == 0)
		err_required(e, PATH(at, "values"), "must be specified when `operator` is 'In' or 'NotIn'");
	if (!wants && json_array_size(values) > 0)
		err_forbidden(e, PATH(at, "values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
	json_array_foreach(values, i, v)
		if (!label_value_is_valid(json_str_or(v, "")))
			err_invalid(e, PATH_AT(PATH(at, "values"), i), v, "must be a valid label value");
}

void validate_label_selector(const json_t *selector, const struct path *at, struct errors *e)
{
	json_t *r;
	size_t i;

	validate_labels(json_object_get(selector, "matchLabels"), PATH(at, "matchLabels"), e);
	json_array_foreach(json_object_get(selector, "matchExpressions"), i, r)
		validate_requirement(r, PATH_AT(PATH(at, "matchExpressions"), i), e);
}

void validate_ip(const json_t *v, const struct path *at, struct errors *e)
{
	struct addr a;

	if (v && addr_parse(json_str_or(v, ""), &a) < 0)
		err_invalid(e, at, v, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

const char *endpoint_address_fault(const struct addr *a)
{
	bool v4 = addr_is_v4(a);
	const uint8_t *b = a->b;

	if (v4 ? !(b[12] | b[13] | b[14] | b[15]) : addr_is_zero(a))
		return "may not be unspecified (0.0.0.0 or ::)";
	if (v4 ? b[12] == 127 : memcmp(b, in6addr_loopback.s6_addr, 16) == 0)
		return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
	if (v4 ? b[12] == 169 && b[13] == 254 : b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
	if (v4 ? b[12] == 224 && !b[13] && !b[14] : b[0] == 0xff && (b[1] & 0xf) == 2)
		return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
	return NULL;
}

void validate_cidr(const json_t *v, const struct path *at, struct errors *e)
{
	struct prefix p;
	struct addr host;

	if (v && prefix_parse(json_str_or(v, ""), &p, &host) < 0)
		err_invalid(e, at, v, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

static bool port_name_is_valid(const char *s)
{
	size_t n = strlen(s);
	bool letter = false;

	if (n == 0 || n > 15 || s[0] == '-' || s[n - 1] == '-' || strstr(s, "--"))
		return false;
	for (; *s; s++) {
		letter |= islower((unsigned char)*s);
		if (!islower((unsigned char)*s) && !isdigit((unsigned char)*s) && *s != '-')
			return false;
	}
	return letter;
}

void validate_port_name(const json_t *v, const struct path *at, struct errors *e)
{
	if (v && !port_name_is_valid(json_str_or(v, "")))
		err_invalid(e, at, v,
			    "must be at most 15 characters, only lower case alphanumeric characters and '-', with at least one "
			    "letter, no '--', not starting or ending with '-'");
}

void validate_port_or_name(const json_t *v, const struct path *at, struct errors *e)
{
	if (json_is_string(v))
		validate_port_name(v, at, e);
	else if (v && (json_integer_value(v) < 1 || json_integer_value(v) > 65535))
		err_invalid(e, at, v, "must be between 1 and 65535, inclusive");
}

void validate_immutable(const json_t *v, const json_t *old, const struct path *at, struct errors *e)
{
	if (v != old && !(v && old && json_equal(v, old)))
		err_invalid(e, at, v, "field is immutable");
}

void default_str(json_t *obj, const char *field, const char *value)
{
	if (!*json_str_or(json_object_get(obj, field), ""))
		json_object_set_new(obj, field, json_string(value));
}

void default_int(json_t *obj, const char *field, json_int_t value)
{
	if (!json_object_get(obj, field))
		json_object_set_new(obj, field, json_integer(value));
}

json_t *default_object(json_t *obj, const char *field)
{
	json_t *v = json_object_get(obj, field);

	if (!v) {
		v = json_object();
		json_object_set_new(obj, field, v);
	}
	return v;
}
