/* SPDX-License-Identifier: Apache-2.0 */
/* weftd: the node agent. Reads its options, then runs (agent.c) or takes the node out of service (teardown.c). */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

static const char DEFAULT_CONFIG[] = "/etc/weft/weftd.yaml";

static void print_help(void)
{
	puts("usage: weftd [--config FILE] [--set KEY=VALUE]... [--teardown]\n\n"
	     "The node agent of Weft.\n\n"
	     "  --config FILE     options as YAML; without it /etc/weft/weftd.yaml, when that is there\n"
	     "  --set KEY=VALUE   one option, after the file\n"
	     "  --teardown        remove everything of Weft from this node, and end\n"
	     "  --print-options   the reference of the options, as markdown\n"
	     "  --print-metrics   the reference of the metrics, as markdown\n"
	     "  --version, --help\n\n"
	     "Options (and their defaults):");
	options_print_help(stdout);
}

struct arguments {
	const char *config;
	const char **sets;
	size_t n_sets, sets_cap;
	bool teardown, done;
	int code;
};

static void usage_error(struct arguments *a, const char *what, const char *arg)
{
	char shown[128];

	str_escape(shown, sizeof(shown), arg);
	fprintf(stderr, "weftd: %s \"%s\"; weftd --help lists the options\n", what, shown);
	a->done = true;
	a->code = 2;
}

static const char *value_of(struct arguments *a, int argc, char **argv, int *i)
{
	if (*i + 1 < argc)
		return argv[++*i];
	usage_error(a, "a value is missing after", argv[*i]);
	return NULL;
}

static void parse_arguments(int argc, char **argv, struct arguments *a)
{
	for (int i = 1; i < argc && !a->done; i++) {
		const char *arg = argv[i], *value;

		if (streq(arg, "--help") || streq(arg, "--version") || streq(arg, "--print-options") ||
		    streq(arg, "--print-metrics")) {
			a->done = true;
			if (streq(arg, "--help"))
				print_help();
			else if (streq(arg, "--version"))
				puts("weftd " WEFT_VERSION);
			else if (streq(arg, "--print-metrics"))
				agent_metrics_print(stdout);
			else
				options_print(stdout);
		} else if (streq(arg, "--teardown")) {
			a->teardown = true;
		} else if (streq(arg, "--config")) {
			a->config = value_of(a, argc, argv, &i);
		} else if (streq(arg, "--set")) {
			value = value_of(a, argc, argv, &i);
			GROW(a->sets, a->n_sets, a->sets_cap);
			a->sets[a->n_sets++] = value;
		} else {
			usage_error(a, "unknown argument", arg);
		}
	}
}

static int set_one(struct options *o, const char *text, char **ret_error)
{
	_cleanup_free_ char *copy = xstrdup(text), *where = NULL;
	char *eq = strchr(copy, '='), shown[160];

	str_escape(shown, sizeof(shown), text);
	where = xasprintf("--set %s", shown);
	if (!eq) {
		*ret_error = xasprintf("%s: expected KEY=VALUE", where);
		return -EINVAL;
	}
	*eq = '\0';
	return options_set(o, where, copy, eq + 1, ret_error);
}

static int read_options(struct options *o, const struct arguments *a, char **ret_error)
{
	int r = 0;

	options_init(o);
	if (a->config || access(DEFAULT_CONFIG, F_OK) == 0)
		r = options_load_file(o, a->config ? a->config : DEFAULT_CONFIG, ret_error);
	for (size_t i = 0; i < a->n_sets && r >= 0; i++)
		r = set_one(o, a->sets[i], ret_error);
	return r < 0 ? r : options_finish(o, ret_error);
}

int main(int argc, char **argv)
{
	struct arguments args = {0};
	struct options o = {0};
	_cleanup_free_ char *error = NULL;
	int code;

	parse_arguments(argc, argv, &args);
	if (args.done) {
		free(args.sets);
		return args.code;
	}
	if (read_options(&o, &args, &error) < 0) {
		fprintf(stderr, "weftd: %s\n", error);
		code = 2;
	} else {
		log_set_level((enum log_level)o.log_level);
		code = args.teardown ? agent_teardown(&o) : agent_run(&o);
	}
	options_done(&o);
	free(args.sets);
	return code;
}
