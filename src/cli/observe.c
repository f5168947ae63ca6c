/* SPDX-License-Identifier: Apache-2.0 */
/* weft observe: the agent's events as they come. Its options become the parameters of the agent's method; they are checked here by
 * the same parser, so that a mistake is answered without an agent. */
#include "base/str.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"
#include "observe/filter.h"
#include "observe/line.h"

#include <time.h>

enum { CONNECT_MS = 10000, SHOWN_BEFORE = 10, EXIT_USAGE = 2 };

static const char usage[] =
	"usage: weft observe [OPTION]...\n"
	"\n"
	"What the datapath of this node drops and lets through, as it happens: sampled, with names. Without --last and --since the\n"
	"latest ten and then what comes, until interrupted.\n"
	"\n"
	"  --verdict WORDS     only these: denied (by a policy), dropped (for another reason), forwarded, audit\n"
	"                      (forwarded, but a policy that only observes would deny it); joined by commas\n"
	"  --kind WORDS        only these: drop, new, closed, changed, audit\n"
	"  --pod END           only what has this end on either side\n"
	"  --from END          only what comes from there\n"
	"  --to END            only what goes there\n"
	"  --protocol NAME     TCP, UDP, SCTP, ICMP, ICMPv6 or a number\n"
	"  --port N            of either end\n"
	"  --reason NAME       only drops for this reason\n"
	"  --last N            the latest N of those that the agent still has\n"
	"  --since AGE         those of the latest 30s, 5m, 2h\n"
	"  -f, --follow        go on with what comes, also after --last and --since\n"
	"  -o json             one JSON object a line; -o text is the default\n"
	"  --socket PATH       of the agent\n"
	"\n"
	"END is NAMESPACE/NAME (a pod or service), NAMESPACE/, node:NAME, an address, a prefix, or one of pod, node, service,\n"
	"stranger (in the cluster's ranges, but nobody that this node knows), group (multicast), link (link-local), world.\n";

struct wish {
	json_t *params;
	const char *socket;
	bool as_json, follow, bounded;
};

static int complain(const char *what, const char *detail)
{
	char shown[300];

	str_show(shown, sizeof(shown), detail);
	fprintf(stderr, "weft observe: %s%s%s; weft observe --help lists the options\n", what, *shown ? ": " : "", shown);
	return -EINVAL;
}

/* "a,b" */
static json_t *words(const char *value)
{
	json_t *list = json_array();

	for (const char *s = value;; s++) {
		size_t n = strcspn(s, ",");
		_cleanup_free_ char *word = xstrndup(s, n);

		json_array_append_new(list, json_string(word));
		s += n;
		if (!*s)
			return list;
	}
}

/* A number as a number, so that the parser says what is wrong with another text. */
static json_t *number(const char *value)
{
	uint64_t n;

	return parse_u64(value, INT64_MAX, &n) == 0 ? json_integer(n) : json_string(value);
}

/* "30s", "5m", "2h", "1d", "90" → milliseconds since 1970. */
static json_t *since(const char *value)
{
	static const struct {
		const char *unit;
		unsigned seconds;
	} units[] = { { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 }, { "", 1 } };
	size_t digits = strspn(value, "0123456789");
	_cleanup_free_ char *amount = xstrndup(value, digits);
	uint64_t n, now = time(NULL);

	if (parse_u64(amount, 1000000, &n) == 0)
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (streq(value + digits, units[i].unit))
				return json_integer((now - MIN(now, n * units[i].seconds)) * 1000);
	return json_string(value);
}

static const struct {
	const char *option, *parameter;
	json_t *(*value)(const char *text); /* NULL: as it is */
} options[] = {
	{ "--verdict", "verdict", words }, { "--kind", "kind", words },	  { "--pod", "pod", NULL },	   { "--from", "from", NULL },
	{ "--to", "to", NULL },		   { "--port", "port", number },  { "--protocol", "protocol", NULL },
	{ "--reason", "reason", NULL },	   { "--last", "last", number },  { "--since", "sinceMs", since },
};

/* Return: 1 it was one with a value, 0 it is none of the table, -EINVAL. */
static int take_parameter(struct wish *w, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!streq(options[i].option, name))
			continue;
		if (!value)
			return complain("a value is missing after", name);
		w->bounded |= streq(name, "--last") || streq(name, "--since");
		if (json_object_set_new(w->params, options[i].parameter,
					options[i].value ? options[i].value(value) : json_string(value)) < 0)
			return complain("no UTF-8 after", name);
		return 1;
	}
	return 0;
}

static int take_option(void *wish, const char *name, const char *value)
{
	struct wish *w = wish;
	int r = take_parameter(w, name, value);

	if (r != 0)
		return r;
	if (streq(name, "--follow") || streq(name, "-f")) {
		w->follow = true;
		return 0;
	}
	if (streq(name, "-o") && (streq(value, "json") || streq(value, "text"))) {
		w->as_json = streq(value, "json");
		return 1;
	}
	if (streq(name, "--socket") && value) {
		w->socket = value;
		return 1;
	}
	return complain("not understood", name);
}

static int check(struct wish *w)
{
	_cleanup_free_ char *error = NULL;
	struct observe_filter filter;

	if (!w->bounded) {
		json_object_set_new(w->params, "last", json_integer(SHOWN_BEFORE));
		w->follow = true;
	}
	json_object_set_new(w->params, "follow", json_boolean(w->follow));
	if (observe_filter_parse(w->params, &filter, &error) < 0)
		return complain(error, "");
	observe_filter_done(&filter);
	return 0;
}

static int say(const char *socket, const char *why, const char *hint)
{
	char shown[128], what[256];

	str_escape(shown, sizeof(shown), socket);
	str_show(what, sizeof(what), why);
	fprintf(stderr, "weft observe: %s: %s%s\n", shown, what, hint);
	return 1;
}

static void print(const json_t *event, bool as_json)
{
	struct buf line = { 0 };

	if (as_json) {
		json_dumpf(event, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
	} else {
		observe_line(event, &line);
		fwrite(line.data, 1, line.len, stdout);
	}
	buf_done(&line);
}

static int show(const struct wish *w)
{
	_cleanup_(ipc_stream_closep) struct ipc_stream *s = NULL;
	int r = ipc_stream_open(w->socket, "observe", w->params, CONNECT_MS, &s);

	while (r >= 0) {
		_cleanup_ipc_answer_ struct ipc_answer a = { 0 };

		r = ipc_stream_next(s, -1, &a);
		if (r == 0)
			return 0;
		if (r > 0 && !a.result)
			return say(w->socket, a.msg, "");
		if (r > 0)
			print(a.result, w->as_json);
		if (r > 0 && fflush(stdout) != 0)
			return 1;
	}
	return say(w->socket, strerror(-r), r == -ENOENT || r == -ECONNREFUSED ? "; weftd does not run there" : "");
}

int verb_observe(int argc, char **argv)
{
	struct wish w = { .params = json_object(), .socket = DEFAULT_SOCKET };
	int r = verb_words(argc, argv, usage, take_option, &w);

	if (r == 0)
		r = check(&w) < 0 ? EXIT_USAGE : show(&w);
	else
		r = r < 0 ? EXIT_USAGE : 0;
	json_decref(w.params);
	return r;
}
