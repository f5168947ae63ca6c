/* SPDX-License-Identifier: Apache-2.0 */
/* weft why: the agent walks its tables, this prints the walk. All text is escaped: names come from the cluster's users. */
#include "base/str.h"
#include "cli/field.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"
#include "observe/line.h"
#include "observe/query.h"

enum { TIMEOUT_MS = 10000, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 3 };

static const char usage[] =
	"usage: weft why [OPTION]... SRC DST[:PORT][/PROTOCOL]\n"
	"\n"
	"What this node would do with the first packet of a connection, step by step: by which tables, which way, and if it is stopped,\n"
	"why. Nothing is sent. SRC and DST are NAMESPACE/POD, an address ([IPv6]:PORT), node:NAME or world; without a protocol it is\n"
	"TCP with a port and ICMP echo without. To a Service's address or a node port it goes on to each endpoint that may be drawn.\n"
	"\n"
	"  --source-port N     of a connection that is there: shows its entry in the flow table, and whether its packets pass\n"
	"  --ipv4, --ipv6      by their addresses of this family; else the first that both ends have\n"
	"  --bytes N           length of the IP packet: does it fit?\n"
	"  -o json             the answer as JSON\n"
	"  --socket PATH       of the agent\n"
	"\n"
	"Exit code: 0 it passes this node (whichever endpoint it gets), 3 it is, or may be, stopped here or not seen here, 1 the agent did not answer, 2 bad usage.\n";

struct wish {
	json_t *params;
	const char *socket, *words[2];
	int n_words;
	bool as_json;
};

static int complain(const char *what, const char *detail)
{
	char shown[300];

	str_show(shown, sizeof(shown), detail);
	fprintf(stderr, "weft why: %s%s%s; weft why --help explains\n", what, *shown ? ": " : "", shown);
	return -EINVAL;
}

static const struct {
	const char *option, *parameter;
} numbers[] = { { "--source-port", "sourcePort" }, { "--bytes", "bytes" } };

/* Return: 1 the value was used, 0 not, -EINVAL. */
static int take_word(void *wish, const char *word, const char *value)
{
	struct wish *w = wish;
	uint64_t n;

	if (*word != '-') {
		if (w->n_words == 2)
			return complain("more than a source and a destination", word);
		w->words[w->n_words++] = word;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (streq(word, numbers[i].option)) {
			if (!value || parse_u64(value, UINT32_MAX, &n) < 0)
				return complain("a number is missing after", word);
			json_object_set_new(w->params, numbers[i].parameter, json_integer(n));
			return 1;
		}
	if (streq(word, "--ipv4") || streq(word, "--ipv6")) {
		json_object_set_new(w->params, "family", json_integer(word[5] - '0'));
		return 0;
	}
	if (streq(word, "-o") && streq(value, "json")) {
		w->as_json = true;
		return 1;
	}
	if (streq(word, "--socket") && value) {
		w->socket = value;
		return 1;
	}
	return complain("not understood", word);
}

static bool is_verdict(const json_t *answer, const char *verdict)
{
	return streq(json_str_or(json_object_get(answer, "verdict"), ""), verdict);
}

/* Whichever endpoint it is. */
static bool passes(const json_t *answer)
{
	const json_t *e;
	size_t i;

	if (!is_verdict(answer, "depends"))
		return is_verdict(answer, "delivered") || is_verdict(answer, "sent");
	json_array_foreach(json_object_get(answer, "endpoints"), i, e)
		if (!passes(e))
			return false;
	json_array_foreach(json_object_get(answer, "others"), i, e)
		if (!passes(json_object_get(e, "answer")))
			return false;
	return true;
}

/* But for the verdict's word. */
static void print_rest(const json_t *answer)
{
	const json_t *rule;
	size_t i;

	const json_t *anew = json_object_get(answer, "anewDenied");

	if (*field_text(answer, "rule"))
		printf(", by %s", field_text(answer, "rule"));
	if (json_is_true(json_object_get(answer, "answers")))
		printf(", as answers to who began");
	if (anew)
		printf("; what the source began anew would be denied, %s%s%s", field_text(anew, "reason"), *field_text(anew, "rule") ? ", by " : "",
		       field_text(anew, "rule"));
	json_array_foreach(json_object_get(answer, "wouldDeny"), i, rule) {
		char text[700];

		str_show(text, sizeof(text), json_str_or(rule, ""));
		printf("; would be denied by %s, which only observes", text);
	}
	if (*field_text(answer, "ask"))
		printf("; node %s decides the rest: ask there", field_text(answer, "ask"));
	putchar('\n');
}

static void print_verdict(const json_t *answer)
{
	printf("%s", field_text(answer, "verdict"));
	if (*field_text(answer, "reason"))
		printf(", %s", field_text(answer, "reason"));
}

/* What becomes of it at one of several. */
static void print_endpoint(const json_t *e)
{
	struct buf name = { 0 };

	observe_one_end(json_object_get(e, "endpoint"), &name);
	printf("  at %s: ", name.data);
	buf_done(&name);
	print_verdict(e);
	print_rest(e);
}

/* And at as many more. */
static void print_others(const json_t *o)
{
	const json_t *first = json_object_get(o, "first"), *answer = json_object_get(o, "answer");
	struct buf name = { 0 };

	printf("  at %lld more", field_number(o, "count"));
	if (first) {
		observe_one_end(first, &name);
		printf(", %s%s", name.data, field_number(o, "count") > 1 ? " among them" : "");
		buf_done(&name);
	}
	printf(": ");
	print_verdict(answer);
	print_rest(answer);
}

static void print(const json_t *answer)
{
	const json_t *s, *endpoints = json_object_get(answer, "endpoints");
	struct buf head = { 0 };
	size_t i;

	observe_ends(answer, &head);
	printf("%s  %s\n", head.data, field_text(answer, "protocol"));
	buf_done(&head);
	json_array_foreach(json_object_get(answer, "steps"), i, s)
		printf("  %2zu. %-12s %s\n", i + 1, field_text(s, "at"), field_text(s, "text"));
	print_verdict(answer);
	printf("%s on node %s", is_verdict(answer, "depends") ? " on the endpoint," : "", field_text(answer, "node"));
	print_rest(answer);
	if (json_array_size(endpoints) > 1)
		json_array_foreach(endpoints, i, s)
			print_endpoint(s);
	json_array_foreach(json_object_get(answer, "others"), i, s)
		print_others(s);
}

static int show(const struct wish *w)
{
	_cleanup_ipc_answer_ struct ipc_answer a = { 0 };
	int r = ipc_call(w->socket, "why", w->params, TIMEOUT_MS, &a);

	if (r < 0 || !a.result) {
		char shown[128], why[300];

		str_escape(shown, sizeof(shown), w->socket);
		str_show(why, sizeof(why), r < 0 ? strerror(-r) : a.msg);
		fprintf(stderr, "weft why: %s: %s%s\n", shown, why,
			r == -ENOENT || r == -ECONNREFUSED ? "; weftd does not run there" : "");
		return EXIT_FAILED;
	}
	if (w->as_json) {
		json_dumpf(a.result, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		putchar('\n');
	} else {
		print(a.result);
	}
	if (fflush(stdout) != 0)
		return EXIT_FAILED;
	return passes(a.result) ? 0 : EXIT_STOPPED;
}

/* The agent's own parser, so that a mistake is answered without an agent. */
static int check(struct wish *w)
{
	_cleanup_free_ char *error = NULL;
	struct query q;

	if (w->n_words < 2)
		return complain("a source and a destination are expected", "");
	query_split(w->words[0], w->words[1], w->params);
	if (query_parse(w->params, &q, &error) < 0)
		return complain(error, "");
	query_done(&q);
	return 0;
}

int verb_why(int argc, char **argv)
{
	struct wish w = { .params = json_object(), .socket = DEFAULT_SOCKET };
	int r = verb_words(argc, argv, usage, take_word, &w);

	if (r == 0)
		r = check(&w) < 0 ? EXIT_USAGE : show(&w);
	else
		r = r < 0 ? EXIT_USAGE : 0;
	json_decref(w.params);
	return r;
}
