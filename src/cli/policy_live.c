/* SPDX-License-Identifier: Apache-2.0 */
/* weft policy list, show, confirm: the policies that this node has in force. Names come from the cluster's users: all text is escaped. */
#include "base/json.h"
#include "base/str.h"
#include "cli/verbs.h"
#include "ipc/ipc.h"

enum { TIMEOUT_MS = 30000 };

struct args {
	const char *socket, *pod; /* or a revision */
	bool as_json;
};

static const char *shown(const char *s, char out[static 512])
{
	str_show(out, 512, s ? s : "");
	return out;
}

static void print_object(const json_t *o)
{
	const char *ns = json_str_or(json_object_get(o, "namespace"), "");
	_cleanup_free_ char *name = xasprintf("%s%s%s", ns, *ns ? "/" : "", json_str_or(json_object_get(o, "name"), ""));
	char text[512], kind[512], tier[512], mode[512];
	const json_t *error;
	size_t i;

	printf("%-24s %-40s %-9s %5lld %5lld %s\n", shown(json_str_at(o, "kind"), kind), shown(name, text), shown(json_str_at(o, "tier"), tier),
	       (long long)json_integer_value(json_object_get(o, "priority")), (long long)json_integer_value(json_object_get(o, "pods")),
	       shown(json_str_at(o, "mode"), mode));
	json_array_foreach(json_object_get(o, "errors"), i, error)
		printf("  invalid, fails closed: %s\n", shown(json_string_value(error), text));
	if (json_object_get(o, "trouble"))
		printf("  no room: %s\n", shown(json_str_at(o, "trouble"), text));
}

static void print_list(const json_t *list)
{
	const json_t *o;
	size_t i;

	printf("%-24s %-40s %-9s %5s %5s %s\n", "KIND", "NAME", "TIER", "PRIO", "PODS", "MODE");
	json_array_foreach(list, i, o)
		print_object(o);
}

static void print_words(const char *before, const json_t *words, const json_t *more, bool any)
{
	const json_t *word;
	char text[512];
	size_t i;

	printf(" %s", before);
	if (any)
		printf(" anything");
	else if (!json_array_size(words) && !json_integer_value(more)) /* domain names alone, which nobody resolves */
		printf(" nothing");
	json_array_foreach(words, i, word)
		printf("%s %s", i ? "," : "", shown(json_string_value(word), text));
	if (json_integer_value(more))
		printf("%s %lld more", i ? " and" : "", (long long)json_integer_value(more));
}

static void print_rules(const json_t *o)
{
	bool observes = streq(json_str_at(o, "mode"), "observe");
	const char *is = observes ? "would be" : "is";
	const json_t *r;
	char text[512];
	size_t i;

	json_array_foreach(json_object_get(o, "rules"), i, r) {
		bool egress = streq(json_str_at(r, "direction"), "egress");

		printf("  %s[%lld] %s", egress ? "egress" : "ingress", (long long)json_integer_value(json_object_get(r, "index")),
		       shown(json_str_at(r, "verdict"), text));
		print_words(egress ? "to" : "from", json_object_get(r, "peers"), json_object_get(r, "morePeers"), json_is_true(json_object_get(r, "anyPeer")));
		print_words("ports", json_object_get(r, "ports"), json_object_get(r, "morePorts"), json_is_true(json_object_get(r, "anyPort")));
		if (json_is_true(json_object_get(r, "isolated")))
			printf("; not asked: a NetworkPolicy isolates for %s", egress ? "egress" : "ingress");
		putchar('\n');
	}
	if (json_integer_value(json_object_get(o, "moreRules")))
		printf("  and %lld more rules\n", (long long)json_integer_value(json_object_get(o, "moreRules")));
	if (json_is_true(json_object_get(o, "isolatesIngress")))
		printf("  ingress: what no NetworkPolicy allows %s denied\n", is);
	if (json_is_true(json_object_get(o, "isolatesEgress")))
		printf("  egress: what no NetworkPolicy allows %s denied\n", is);
	if (observes)
		puts("  only observes: what it would deny is told (weft observe --verdict audit), nothing is denied");
}

static void print_pod(const json_t *pod)
{
	const json_t *list = json_object_get(pod, "policies"), *o;
	const char *state = json_str_or(json_object_get(pod, "state"), "");
	char text[512];
	size_t i;

	if (*state)
		printf("%s\n", shown(state, text));
	if (str_has_prefix(state, "locked:"))
		puts("nothing passes but what its own node sends; what follows is not in force");
	if (streq(json_str_at(pod, "default"), "deny"))
		puts("by default denied: what no policy speaks of (policy.default)");
	json_array_foreach(list, i, o) {
		print_object(o);
		printf("  selects %s\n", shown(json_str_at(o, "subject"), text));
		print_rules(o);
	}
}

static void print_host(const json_t *host)
{
	const char *state = json_str_or(json_object_get(host, "state"), "");
	char text[512];

	if (!host || streq(state, "none"))
		return;
	printf("policies of the node itself: %s", streq(state, "observed") ? "only observed" : shown(state, text));
	if (json_object_get(host, "revision"))
		printf(", revision %s", shown(json_str_at(host, "revision"), text));
	if (streq(state, "trial"))
		printf(", %lld s left: \"weft policy confirm\" keeps them", (long long)json_integer_value(json_object_get(host, "secondsLeft")));
	if (json_is_false(json_object_get(host, "apiReached")))
		printf("%s", streq(state, "trial") ? "; the API server was not reached under them yet" :
						     ": the API server was not reached under them; \"weft policy confirm\" tries them again");
	putchar('\n');
}

static int parse(int argc, char **argv, struct args *a)
{
	for (int i = 2; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (streq(argv[i], "-o") && streq(next, "json"))
			a->as_json = i++;
		else if (streq(argv[i], "--socket") && next)
			a->socket = argv[++i];
		else if (!a->pod && argv[i][0] != '-')
			a->pod = argv[i];
		else
			return -EINVAL;
	}
	return 0;
}

int policy_live(int argc, char **argv)
{
	struct args a = { .socket = DEFAULT_SOCKET };
	_cleanup_ipc_answer_ struct ipc_answer answer = { 0 };
	_cleanup_json_ json_t *params = NULL;
	bool list = streq(argv[1], "list"), confirm = streq(argv[1], "confirm");
	char where[512], why[512];
	int r;

	if (parse(argc, argv, &a) < 0 || (!confirm && list != !a.pod))
		return -EINVAL;
	params = list ? NULL : confirm ? json_pack("{sb, ss*}", "confirm", true, "revision", a.pod) : json_pack("{ss}", "pod", streq(a.pod, "node") ? "/node" : a.pod);
	r = ipc_call(a.socket, "policy", params, TIMEOUT_MS, &answer);
	if (r < 0 || !answer.result) {
		fprintf(stderr, "weft policy: %s: %s%s\n", shown(a.socket, where), shown(r < 0 ? strerror(-r) : answer.msg, why),
			r == -ENOENT || r == -ECONNREFUSED ? "; weftd does not run there" : "");
		return 1;
	}
	if (a.as_json) {
		json_dumpf(answer.result, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (list) {
		print_list(json_object_get(answer.result, "policies"));
		print_host(json_object_get(answer.result, "host"));
	} else if (confirm) {
		print_host(answer.result);
	} else {
		print_pod(answer.result);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
