/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/event.h"
#include "base/str.h"

#include <strings.h>

static const char *const kind_names[] = {
	[OBSERVE_DROP] = "drop", [OBSERVE_NEW] = "new", [OBSERVE_CLOSED] = "closed", [OBSERVE_CHANGED] = "changed",
	[OBSERVE_AUDIT] = "audit"
};
static const char *const verdict_names[] = {
	[OBSERVE_FORWARDED] = "forwarded", [OBSERVE_DENIED] = "denied", [OBSERVE_DROPPED] = "dropped", [OBSERVE_AUDITED] = "audit"
};
static const char *const end_names[] = {
	[OBSERVE_UNKNOWN] = "unknown", [OBSERVE_POD] = "pod",	    [OBSERVE_NODE] = "node",
	[OBSERVE_SERVICE] = "service", [OBSERVE_STRANGER] = "stranger", [OBSERVE_GROUP] = "group",	    [OBSERVE_LINK] = "link",
	[OBSERVE_WORLD] = "world",
};
_Static_assert(ARRAY_SIZE(kind_names) == OBSERVE_KINDS && ARRAY_SIZE(verdict_names) == OBSERVE_VERDICTS &&
	       ARRAY_SIZE(end_names) == OBSERVE_END_KINDS, "a name is missing");

static const struct {
	const char *name;
	uint8_t number;
} protocols[] = { { "TCP", IPPROTO_TCP },   { "UDP", IPPROTO_UDP },	  { "SCTP", IPPROTO_SCTP },
		  { "ICMP", IPPROTO_ICMP }, { "ICMPv6", IPPROTO_ICMPV6 }, { "ICMP6", IPPROTO_ICMPV6 } };

const char *observe_kind_name(enum observe_kind k)
{
	return k < OBSERVE_KINDS ? kind_names[k] : "unknown";
}

const char *observe_verdict_name(enum observe_verdict v)
{
	return v < OBSERVE_VERDICTS ? verdict_names[v] : "unknown";
}

const char *observe_end_kind_name(enum observe_end_kind k)
{
	return k < OBSERVE_END_KINDS ? end_names[k] : "unknown";
}

static int name_index(const char *const *names, size_t n, const char *s)
{
	for (size_t i = 0; i < n; i++)
		if (streq(names[i], s))
			return i;
	return -EINVAL;
}

int observe_verdict_parse(const char *s, enum observe_verdict *ret)
{
	int i = name_index(verdict_names, OBSERVE_VERDICTS, s);

	if (i >= 0)
		*ret = i;
	return MIN(i, 0);
}

int observe_end_kind_parse(const char *s, enum observe_end_kind *ret)
{
	int i = name_index(end_names, OBSERVE_END_KINDS, s);

	if (i >= 0)
		*ret = i;
	return MIN(i, 0);
}

const char *protocol_format(uint8_t proto, char out[static PROTOCOL_TEXT_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (protocols[i].number == proto)
			return protocols[i].name;
	snprintf(out, PROTOCOL_TEXT_MAX, "%u", proto);
	return out;
}

int protocol_parse_text(const char *s, uint8_t *ret)
{
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (strcasecmp(protocols[i].name, s) == 0) {
			*ret = protocols[i].number;
			return 0;
		}
	if (parse_u64(s, UINT8_MAX, &n) < 0)
		return -EINVAL;
	*ret = n;
	return 0;
}

const char *tcp_flags_format(uint8_t flags, char out[static 9])
{
	static const char letters[] = "FSRP.UEW"; /* from bit 0: FIN SYN RST PSH ACK URG ECE CWR */
	size_t n = 0;

	for (int bit = 0; bit < 8; bit++)
		if (flags & 1 << bit)
			out[n++] = letters[bit];
	out[n] = 0;
	return out;
}

void observe_end_done(struct observe_end *e)
{
	free(e->namespace_);
	free(e->name);
	free(e->node);
}

void observe_event_done(struct observe_event *e)
{
	observe_end_done(&e->src);
	observe_end_done(&e->dst);
	free(e->via);
	free(e->rule);
	*e = (struct observe_event){ 0 };
}

/* Names come from API objects and are UTF-8; those of a container runtime need not be. Who prints them escapes them. */
static void put_text(json_t *o, const char *key, const char *text)
{
	char clean[600];

	if (!text || !*text || json_object_set_new(o, key, json_string(text)) == 0)
		return;
	str_escape(clean, sizeof(clean), text);
	json_object_set_new(o, key, json_string(clean));
}

json_t *observe_end_json(const struct observe_end *e)
{
	json_t *o = json_object();
	char text[ADDR_TEXT_MAX];

	put_text(o, "kind", observe_end_kind_name(e->kind));
	if (!addr_is_zero(&e->addr))
		put_text(o, "address", addr_format(&e->addr, text));
	if (e->port)
		json_object_set_new(o, "port", json_integer(e->port));
	put_text(o, "namespace", e->namespace_);
	put_text(o, "name", e->name);
	put_text(o, "node", e->node);
	return o;
}

json_t *observe_event_json(const struct observe_event *e, const char *node)
{
	char number[PROTOCOL_TEXT_MAX], flags[9];
	json_t *o = json_pack("{sI, sI}", "seq", (json_int_t)e->seq, "atMs", (json_int_t)e->at_ms);

	put_text(o, "node", node);
	put_text(o, "kind", observe_kind_name(e->kind));
	put_text(o, "verdict", observe_verdict_name(e->verdict));
	put_text(o, "reason", e->reason);
	put_text(o, "text", e->text);
	if (e->proto)
		put_text(o, "protocol", protocol_format(e->proto, number));
	json_object_set_new(o, "source", observe_end_json(&e->src));
	json_object_set_new(o, "destination", observe_end_json(&e->dst));
	if (e->proto == IPPROTO_TCP)
		put_text(o, "tcpFlags", tcp_flags_format(e->tcp_flags, flags));
	if (e->len)
		json_object_set_new(o, "bytes", json_integer(e->len));
	put_text(o, "program", e->hook);
	put_text(o, "path", e->path);
	put_text(o, "pod", e->via);
	put_text(o, "rule", e->rule);
	if (e->missed)
		json_object_set_new(o, "missed", json_integer(e->missed));
	return o;
}
