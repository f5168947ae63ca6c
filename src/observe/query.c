/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/query.h"
#include "base/str.h"
#include "observe/event.h"

enum { SHOWN = 100, TEXT_MAX = 400 };

static int refuse(char **ret_error, const char *name, const json_t *value, const char *expected)
{
	char shown[SHOWN];

	str_escape(shown, sizeof(shown), json_str_or(value, ""));
	*ret_error = xasprintf("%s%s%s%s: expected %s", name, *shown ? " \"" : "", shown, *shown ? "\"" : "", expected);
	return -EINVAL;
}

static int parse_pod(const char *s, struct query_end *ret)
{
	const char *slash = strchr(s, '/');
	_cleanup_free_ char *ns = slash ? xstrndup(s, slash - s) : NULL;

	if (!ns || !name_is_dns_label(ns) || !name_is_dns_subdomain(slash + 1))
		return -EINVAL;
	*ret = (struct query_end){ .how = QUERY_POD, .name = xstrdup(slash + 1) };
	ret->namespace_ = take_ptr(ns);
	return 0;
}

static int parse_end(const char *s, struct query_end *ret)
{
	struct addr a;

	if (streq(s, "world"))
		*ret = (struct query_end){ .how = QUERY_WORLD };
	else if (addr_parse(s, &a) == 0)
		*ret = (struct query_end){ .how = QUERY_ADDRESS, .addr = a };
	else if (str_has_prefix(s, "node:") && name_is_dns_subdomain(s + 5))
		*ret = (struct query_end){ .how = QUERY_NODE, .name = xstrdup(s + 5) };
	else
		return parse_pod(s, ret);
	return 0;
}

static int take_end(const json_t *params, const char *name, struct query_end *ret, char **ret_error)
{
	const json_t *v = json_object_get(params, name);
	const char *s = json_string_value(v);

	if (!s || strlen(s) > TEXT_MAX || parse_end(s, ret) < 0)
		return refuse(ret_error, name, v, "NAMESPACE/POD, an address, node:NAME or world");
	return 0;
}

static int take_number(const json_t *params, const char *name, json_int_t max, json_int_t *ret, char **ret_error)
{
	const json_t *v = json_object_get(params, name);
	char expected[60];

	*ret = json_integer_value(v);
	if (!v || (json_is_integer(v) && *ret >= 1 && *ret <= max))
		return 0;
	snprintf(expected, sizeof(expected), "a number from 1 to %lld", (long long)max);
	return refuse(ret_error, name, v, expected);
}

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static int take_protocol(const json_t *params, struct query *q, char **ret_error)
{
	const json_t *v = json_object_get(params, "protocol");
	json_int_t port, source_port;
	int r = take_number(params, "port", UINT16_MAX, &port, ret_error);

	if (r == 0)
		r = take_number(params, "sourcePort", UINT16_MAX, &source_port, ret_error);
	if (r < 0)
		return r;
	if (v && (!json_is_string(v) || protocol_parse_text(json_string_value(v), &q->protocol) < 0))
		return refuse(ret_error, "protocol", v, "TCP, UDP, SCTP, ICMP, ICMPv6 or a number");
	if (q->protocol == IPPROTO_ICMPV6)
		q->protocol = IPPROTO_ICMP; /* which of the two the addresses say */
	if (has_ports(q->protocol) ? !port : port || source_port)
		return refuse(ret_error, "port", NULL, "one with TCP, UDP and SCTP, and none with other protocols");
	q->port = port;
	q->source_port = source_port;
	return 0;
}

static int take_size_and_family(const json_t *params, struct query *q, char **ret_error)
{
	const json_t *family = json_object_get(params, "family");
	json_int_t bytes, n = json_integer_value(family);
	int r = take_number(params, "bytes", 65535, &bytes, ret_error);

	if (r < 0)
		return r;
	if (family && n != 4 && n != 6)
		return refuse(ret_error, "family", NULL, "4 or 6");
	q->family = !family ? AF_UNSPEC : n == 4 ? AF_INET : AF_INET6;
	q->bytes = bytes;
	return 0;
}

static int check_names(const json_t *params, char **ret_error)
{
	static const char *const known[] = { "from", "to", "protocol", "port", "sourcePort", "family", "bytes" };
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)params, key, v) {
		char shown[SHOWN];
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && !streq(known[i], key))
			i++;
		if (i < ARRAY_SIZE(known))
			continue;
		str_escape(shown, sizeof(shown), key);
		*ret_error = xasprintf("\"%s\" is no parameter of why", shown);
		return -EINVAL;
	}
	return 0;
}

int query_parse(const json_t *params, struct query *ret, char **ret_error)
{
	struct query q = { .protocol = IPPROTO_TCP };
	int r = check_names(params, ret_error);

	if (r == 0)
		r = take_end(params, "from", &q.from, ret_error);
	if (r == 0)
		r = take_end(params, "to", &q.to, ret_error);
	if (r == 0)
		r = take_protocol(params, &q, ret_error);
	if (r == 0)
		r = take_size_and_family(params, &q, ret_error);
	if (r < 0)
		query_done(&q);
	else
		*ret = q;
	return r;
}

static void end_done(struct query_end *e)
{
	free(e->namespace_);
	free(e->name);
}

void query_done(struct query *q)
{
	end_done(&q->from);
	end_done(&q->to);
	*q = (struct query){ 0 };
}

/* Cuts "/tcp" off; "default/tcp" is a pod. */
static const char *cut_protocol(char *text)
{
	char *slash = strrchr(text, '/');
	uint8_t protocol;

	if (!slash || protocol_parse_text(slash + 1, &protocol) < 0)
		return NULL;
	if (memchr(text, '/', slash - text) || memchr(text, ':', slash - text) || memchr(text, '.', slash - text) ||
	    (slash - text == 5 && str_has_prefix(text, "world"))) {
		*slash = 0;
		return slash + 1;
	}
	return NULL;
}

/* Cuts ":80" off, and the brackets of an IPv6 address. */
static const char *cut_port(char *text)
{
	char *colon = strrchr(text, ':'), *end;
	struct addr whole;

	if (*text == '[' && (end = strchr(text, ']'))) {
		memmove(text, text + 1, end - text - 1);
		end[-1] = 0;
		return end[1] == ':' ? end + 2 : NULL;
	}
	if (!colon || addr_parse(text, &whole) == 0 || (str_has_prefix(text, "node:") && colon == text + 4))
		return NULL;
	*colon = 0;
	return colon + 1;
}

void query_split(const char *source, const char *destination, json_t *params)
{
	_cleanup_free_ char *to = xstrdup(destination);
	const char *protocol = cut_protocol(to), *port = cut_port(to);
	uint64_t n;

	json_object_set_new(params, "from", json_string(source));
	json_object_set_new(params, "to", json_string(to));
	if (port)
		json_object_set_new(params, "port", parse_u64(port, UINT16_MAX, &n) == 0 ? json_integer(n) : json_string(port));
	json_object_set_new(params, "protocol", json_string(protocol ? protocol : port ? "TCP" : "ICMP"));
}
