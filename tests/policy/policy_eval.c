/* SPDX-License-Identifier: Apache-2.0 */
/* Compiler and look-up behind a pipe, for the differential test. One request a line:
 *
 *	{"objects": [...], "events": [{"put": OBJECT} | {"del": [KIND, NAMESPACE, NAME]} | {"compile": true}, ...],
 *	 "host": NODE (which is an endpoint, too), "observe": false, "deny": false, "family": 4, "srcs": [END, ...], "dsts": [END, ...], "ports": [["TCP", 80], ...],
 *	 "rules": true}
 *
 * Objects are put first, then the events are run; the answer judges the last state, source by source, destination by
 * destination, port by port: {"verdicts": "..X!?"} ('!': would be denied; '?': no such end), with "rules" also who decided at each end. */
#include "base/buf.h"
#include "base/str.h"
#include "policy/offline.h"

static _noreturn_ void die(const char *what, const char *detail)
{
	fprintf(stderr, "policy_eval: %s: %s\n", what, detail ? detail : "");
	exit(1);
}

static uint8_t protocol_of(const char *name)
{
	static const struct {
		const char *name;
		uint8_t number;
	} known[] = { { "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP }, { "SCTP", IPPROTO_SCTP }, { "ICMP", IPPROTO_ICMP },
		      { "ICMPv6", IPPROTO_ICMPV6 } };
	uint64_t n;

	for (size_t i = 0; name && i < ARRAY_SIZE(known); i++)
		if (streq(known[i].name, name))
			return known[i].number;
	if (!name || parse_u64(name, 255, &n) < 0)
		die("protocol", name);
	return n;
}

static void put(struct offline *o, const json_t *object)
{
	_cleanup_free_ char *error = NULL;

	if (offline_put(o, object, NULL, &error) < 0)
		die("object", error);
}

static void run_event(struct offline *o, const json_t *event)
{
	const json_t *del = json_object_get(event, "del"), *object = json_object_get(event, "put");

	if (object)
		put(o, object);
	if (del)
		offline_del(o, json_string_value(json_array_get(del, 0)), json_string_value(json_array_get(del, 1)),
			    json_string_value(json_array_get(del, 2)));
	if (json_object_get(event, "compile"))
		offline_compile(o, json_is_true(json_object_get(event, "compile")));
}

static void add_rules(const struct offline *o, const struct policy_answer *a, json_t *rules)
{
	static const char *const whys[] = { "rule", "default", "self", "own node", "locked" };
	json_t *pair = json_array();

	for (unsigned d = 0; d < POLICY_DIRECTIONS; d++) {
		const struct policy_side *s = &a->side[d];
		char rule[400] = "";

		if (s->why == POLICY_BY_RULE)
			policy_rule_format(o->policy, s->rule, rule, sizeof(rule));
		json_array_append_new(pair, json_sprintf("%s %s: %s %s", d == POLICY_INGRESS ? "ingress" : "egress",
							 s->allowed ? "allow" : "deny", s->judged ? whys[s->why] : "no endpoint", rule));
	}
	json_array_append_new(rules, pair);
}

static int family_of(const json_t *request)
{
	switch (json_integer_value(json_object_get(request, "family"))) {
	case 4:
		return AF_INET;
	case 6:
		return AF_INET6;
	default:
		return AF_UNSPEC;
	}
}

struct sweep {
	const struct offline *o;
	const json_t *ports;
	struct buf *out;
	json_t *rules;
};

static void judge_ports(const struct sweep *s, const struct offline_end *src, const struct offline_end *dst)
{
	for (size_t i = 0; i < json_array_size(s->ports); i++) {
		const json_t *p = json_array_get(s->ports, i);
		struct policy_answer a;

		if (!src || !dst) {
			(void)buf_adds(s->out, "?");
			continue;
		}
		offline_judge(s->o, src, dst, protocol_of(json_string_value(json_array_get(p, 0))),
			      json_integer_value(json_array_get(p, 1)), &a);
		(void)buf_adds(s->out, a.would_deny ? "!" : a.allowed ? "." : "X");
		if (s->rules)
			add_rules(s->o, &a, s->rules);
	}
}

static struct offline_end **find_ends(const struct offline *o, const json_t *texts, int family)
{
	struct offline_end **ends = xnew0_array(struct offline_end *, json_array_size(texts));

	for (size_t i = 0; i < json_array_size(texts); i++) {
		struct offline_end e;

		if (offline_find_end(o, json_string_value(json_array_get(texts, i)), family, &e) < 0)
			continue;
		ends[i] = xnew(struct offline_end);
		*ends[i] = e;
	}
	return ends;
}

static void free_ends(struct offline_end **ends, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(ends[i]);
	free(ends);
}

static void sweep(const struct offline *o, const json_t *request, json_t *answer)
{
	const json_t *srcs = json_object_get(request, "srcs"), *dsts = json_object_get(request, "dsts");
	size_t n_srcs = json_array_size(srcs), n_dsts = json_array_size(dsts);
	struct offline_end **from = find_ends(o, srcs, family_of(request)), **to = find_ends(o, dsts, family_of(request));
	struct buf out = { 0 };
	struct sweep s = { .o = o, .ports = json_object_get(request, "ports"), .out = &out };

	if (json_is_true(json_object_get(request, "rules")))
		s.rules = json_array();
	for (size_t i = 0; i < n_srcs; i++)
		for (size_t j = 0; j < n_dsts; j++)
			judge_ports(&s, from[i], to[j]);
	json_object_set_new(answer, "verdicts", json_string(out.data ? out.data : ""));
	if (s.rules)
		json_object_set_new(answer, "rules", s.rules);
	free_ends(from, n_srcs);
	free_ends(to, n_dsts);
	buf_done(&out);
}

static void handle(const char *line, size_t len)
{
	_cleanup_(offline_freep) struct offline *o = offline_new();
	_cleanup_json_ json_t *answer = json_object();
	_cleanup_free_ char *error = NULL, *text = NULL;
	_cleanup_json_ json_t *request = json_parse("request", line, len, &error);
	const json_t *objects = json_object_get(request, "objects"), *events = json_object_get(request, "events");

	if (!request)
		die("request", error);
	policy_set_modes(o->policy, json_is_true(json_object_get(request, "observe")), json_is_true(json_object_get(request, "deny")));
	o->host = json_str_at(request, "host");
	for (size_t i = 0; i < json_array_size(objects); i++)
		put(o, json_array_get(objects, i));
	for (size_t i = 0; i < json_array_size(events); i++)
		run_event(o, json_array_get(events, i));
	offline_compile(o, true);
	sweep(o, request, answer);
	text = json_text(answer);
	puts(text);
	fflush(stdout);
}

int main(void)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, stdin)) > 0)
		handle(line, n);
	return 0;
}
