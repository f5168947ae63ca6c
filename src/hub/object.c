/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/object.h"
#include "base/str.h"

#include <sys/random.h>
#include <time.h>

struct object *object_new(const struct kind *k, json_t *json, char *text)
{
	struct object *o = xnew(struct object);

	*o = (struct object){
		.refs = 1,
		.kind = k,
		.rev = meta_rev(json),
		.ns = xstrdup(meta_str(json, "namespace")),
		.name = xstrdup(meta_str(json, "name")),
		.json = json,
		.text = text ? text : json_text(json),
	};
	o->text_len = strlen(o->text);
	return o;
}

struct object *object_ref(struct object *o)
{
	if (o)
		o->refs++;
	return o;
}

struct object *object_unref(struct object *o)
{
	if (!o || --o->refs > 0)
		return NULL;
	free(o->ns);
	free(o->name);
	json_decref(o->json);
	free(o->text);
	free(o);
	return NULL;
}

int object_key_cmp(const char *ns_a, const char *name_a, const char *ns_b, const char *name_b)
{
	int c = strcmp(ns_a, ns_b);

	return c ? c : strcmp(name_a, name_b);
}

const char *meta_str(const json_t *obj, const char *field)
{
	return json_str_or(json_at(obj, "metadata", field), "");
}

json_t *meta_of(json_t *obj)
{
	json_t *m = json_object_get(obj, "metadata");

	if (!m) {
		m = json_object();
		json_object_set_new(obj, "metadata", m);
	}
	return m;
}

uint64_t meta_rev(const json_t *obj)
{
	uint64_t rev;

	return parse_u64(meta_str(obj, "resourceVersion"), INT64_MAX, &rev) == 0 ? rev : 0;
}

const char *time_format(char out[static TIME_TEXT_MAX], int64_t t)
{
	struct tm tm;
	time_t tt = t;

	gmtime_r(&tt, &tm);
	strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

const char *time_now(char out[static TIME_TEXT_MAX])
{
	return time_format(out, time(NULL));
}

const char *microtime_now(char out[static TIME_TEXT_MAX])
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	time_format(out, now.tv_sec);
	snprintf(out + 19, TIME_TEXT_MAX - 19, ".%06uZ", (unsigned)(now.tv_nsec / 1000) % 1000000);
	return out;
}

int time_parse(const char *s, int64_t *ret)
{
	struct tm tm = { 0 };
	int h, m;
	const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!p)
		return -EINVAL;
	*ret = timegm(&tm);
	if (*p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (streq(p, "Z"))
		return 0;
	if (sscanf(p + (*p != 0), "%2d:%2d", &h, &m) != 2 || (*p != '+' && *p != '-'))
		return -EINVAL;
	*ret -= (*p == '+' ? 1 : -1) * (h * 3600 + m * 60);
	return 0;
}

char *uuid_new(void)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		abort(); /* never short for 16 bytes: getrandom(2) */
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	return xasprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
			 b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}
