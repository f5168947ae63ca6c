/* SPDX-License-Identifier: Apache-2.0 */
/* One table of parameters; a parameter that is not in it is an error, so a filter that is misspelt does not show everything. */
#include "observe/filter.h"
#include "base/str.h"

enum { SHOWN = 100, TEXT_MAX = 400, ALL_KEPT = OBSERVE_LAST_MAX };

static int refuse(char **ret_error, const char *name, const json_t *value, const char *expected)
{
	char shown[SHOWN];

	str_escape(shown, sizeof(shown), json_str_or(value, ""));
	*ret_error = xasprintf("%s%s%s%s: expected %s", name, *shown ? " \"" : "", shown, *shown ? "\"" : "", expected);
	return -EINVAL;
}

static const char end_expected[] =
	"NAMESPACE/NAME, NAMESPACE/, node:NAME, an address, a prefix, or one of pod, node, service, stranger, group, link, world";

/* "a/b", "a/", "/b" is nothing. */
static int parse_object(const char *s, struct observe_match *ret)
{
	const char *slash = strchr(s, '/');
	_cleanup_free_ char *ns = xstrndup(s, slash - s);

	if (!name_is_dns_label(ns) || (slash[1] && !name_is_dns_subdomain(slash + 1)))
		return -EINVAL;
	*ret = (struct observe_match){ .how = slash[1] ? MATCH_OBJECT : MATCH_NAMESPACE,
				       .name = slash[1] ? xstrdup(slash + 1) : NULL };
	ret->namespace_ = take_ptr(ns);
	return 0;
}

static int parse_end(const char *s, struct observe_match *ret)
{
	enum observe_end_kind kind;
	struct prefix p;
	struct addr a;

	if (observe_end_kind_parse(s, &kind) == 0)
		*ret = (struct observe_match){ .how = MATCH_KIND, .kind = kind };
	else if (addr_parse(s, &a) == 0)
		*ret = (struct observe_match){ .how = MATCH_PREFIX, .prefix = prefix_host(&a) };
	else if (prefix_parse(s, &p, &a) == 0)
		*ret = (struct observe_match){ .how = MATCH_PREFIX, .prefix = p };
	else if (str_has_prefix(s, "node:") && name_is_dns_subdomain(s + 5))
		*ret = (struct observe_match){ .how = MATCH_ON_NODE, .name = xstrdup(s + 5) };
	else
		return strchr(s, '/') ? parse_object(s, ret) : -EINVAL;
	return 0;
}

static void match_done(struct observe_match *m)
{
	free(m->namespace_);
	free(m->name);
}

static int take_end(const json_t *v, const char *name, struct observe_match *ret, char **ret_error)
{
	const char *s = json_string_value(v);

	if (!s || strlen(s) > TEXT_MAX || parse_end(s, ret) < 0)
		return refuse(ret_error, name, v, end_expected);
	return 0;
}

static int take_either(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	return take_end(v, name, &f->either, ret_error);
}

static int take_from(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	return take_end(v, name, &f->from, ret_error);
}

static int take_to(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	return take_end(v, name, &f->to, ret_error);
}

/* Words of a set as bits: one, or a list of them. */
static int take_words(const json_t *v, const char *name, const char *(*word)(unsigned), unsigned n, const char *expected,
		      unsigned *ret, char **ret_error)
{
	size_t count = json_is_array(v) ? json_array_size(v) : 1;
	unsigned bits = 0;

	for (size_t k = 0; k < count; k++) {
		const json_t *one = json_is_array(v) ? json_array_get(v, k) : v;
		unsigned i = 0;

		while (i < n && !streq(word(i), json_string_value(one)))
			i++;
		if (i == n)
			return refuse(ret_error, name, one, expected);
		bits |= 1u << i;
	}
	*ret = bits;
	return bits ? 0 : refuse(ret_error, name, NULL, expected);
}

static const char *verdict_word(unsigned i)
{
	return observe_verdict_name(i);
}

static const char *kind_word(unsigned i)
{
	return observe_kind_name(i);
}

static int take_verdict(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	return take_words(v, name, verdict_word, OBSERVE_VERDICTS, "forwarded, denied, dropped or audit", &f->verdicts, ret_error);
}

static int take_kind(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	return take_words(v, name, kind_word, OBSERVE_KINDS, "drop, new, closed, changed or audit", &f->kinds, ret_error);
}

static int take_protocol(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	const char *s = json_string_value(v);

	f->has_protocol = true;
	return s && protocol_parse_text(s, &f->protocol) == 0 ?
		       0 : refuse(ret_error, name, v, "TCP, UDP, SCTP, ICMP, ICMPv6 or a number");
}

static int take_number(const json_t *v, const char *name, json_int_t min, json_int_t max, json_int_t *ret, char **ret_error)
{
	char expected[80];

	*ret = json_integer_value(v);
	if (json_is_integer(v) && *ret >= min && *ret <= max)
		return 0;
	snprintf(expected, sizeof(expected), "a number from %lld to %lld", (long long)min, (long long)max);
	return refuse(ret_error, name, v, expected);
}

static int take_port(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	json_int_t n;
	int r = take_number(v, name, 1, UINT16_MAX, &n, ret_error);

	f->port = n;
	return r;
}

static int take_since(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	json_int_t n;
	int r = take_number(v, name, 0, INT64_MAX, &n, ret_error);

	f->since_ms = n;
	return r;
}

static int take_last(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	json_int_t n;
	int r = take_number(v, name, 0, OBSERVE_LAST_MAX, &n, ret_error);

	f->last = n;
	return r;
}

static int take_reason(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	const char *s = json_string_value(v);

	if (!s || !*s || strlen(s) > TEXT_MAX || s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")])
		return refuse(ret_error, name, v, "a reason as docs/drop-reasons.md lists them");
	free(f->reason);
	f->reason = xstrdup(s);
	return 0;
}

static int take_follow(struct observe_filter *f, const json_t *v, const char *name, char **ret_error)
{
	f->follow = json_is_true(v);
	return json_is_boolean(v) ? 0 : refuse(ret_error, name, v, "true or false");
}

static const struct {
	const char *name;
	int (*take)(struct observe_filter *f, const json_t *v, const char *name, char **ret_error);
} parameters[] = {
	{ "verdict", take_verdict }, { "kind", take_kind },	    { "pod", take_either },  { "from", take_from },
	{ "to", take_to },	     { "protocol", take_protocol }, { "port", take_port },   { "reason", take_reason },
	{ "sinceMs", take_since },   { "last", take_last },	    { "follow", take_follow },
};

int observe_filter_parse(const json_t *params, struct observe_filter *ret, char **ret_error)
{
	struct observe_filter f = { .last = UINT64_MAX };
	const char *key;
	json_t *v;
	int r = 0;

	json_object_foreach((json_t *)params, key, v) {
		size_t i = 0;

		while (i < ARRAY_SIZE(parameters) && !streq(parameters[i].name, key))
			i++;
		if (i == ARRAY_SIZE(parameters)) {
			char shown[SHOWN];

			str_escape(shown, sizeof(shown), key);
			*ret_error = xasprintf("\"%s\" is no parameter of observe", shown);
			r = -EINVAL;
		} else {
			r = parameters[i].take(&f, v, key, ret_error);
		}
		if (r < 0) {
			observe_filter_done(&f);
			return r;
		}
	}
	if (f.last == UINT64_MAX)
		f.last = f.follow && !f.since_ms ? 0 : ALL_KEPT;
	*ret = f;
	return 0;
}

void observe_filter_done(struct observe_filter *f)
{
	match_done(&f->either);
	match_done(&f->from);
	match_done(&f->to);
	free(f->reason);
	*f = (struct observe_filter){ 0 };
}

static bool end_matches(const struct observe_match *m, const struct observe_end *e)
{
	switch (m->how) {
	case MATCH_ANY:
		return true;
	case MATCH_OBJECT:
		return streq(m->namespace_, e->namespace_) && streq(m->name, e->name);
	case MATCH_NAMESPACE:
		return streq(m->namespace_, e->namespace_);
	case MATCH_ON_NODE:
		return streq(m->name, e->kind == OBSERVE_NODE ? e->name : e->node);
	case MATCH_PREFIX:
		return e->kind != OBSERVE_UNKNOWN && prefix_contains(&m->prefix, &e->addr);
	case MATCH_KIND:
		return e->kind == m->kind;
	}
	return false;
}

bool observe_filter_matches(const struct observe_filter *f, const struct observe_event *e)
{
	if (f->verdicts && !(f->verdicts & 1u << e->verdict))
		return false;
	if (f->kinds && !(f->kinds & 1u << e->kind))
		return false;
	if (f->has_protocol && f->protocol != e->proto)
		return false;
	if (f->port && f->port != e->src.port && f->port != e->dst.port)
		return false;
	if (f->reason && !streq(f->reason, e->reason))
		return false;
	if (e->at_ms < f->since_ms)
		return false;
	if (!end_matches(&f->either, &e->src) && !end_matches(&f->either, &e->dst))
		return false;
	return end_matches(&f->from, &e->src) && end_matches(&f->to, &e->dst);
}
