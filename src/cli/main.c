/* SPDX-License-Identifier: Apache-2.0 */
/* weft: the command line. The first word picks a verb, the verb reads the rest. */
#include "base/str.h"
#include "cli/verb.h"
#include "cli/verbs.h"
#include "lab/verbs.h"

static int verb_help(int argc, char **argv);
static int verb_version(int argc, char **argv);

static const struct verb verbs[] = {
    {"lab", "a cluster out of network namespaces on this machine", lab_verb},
    {"mesh", "change this node's WireGuard key", verb_mesh},
    {"observe", "what this node drops and lets through, as it happens", verb_observe},
    {"policy", "policies in force on this node, and tests without a cluster", verb_policy},
    {"service", "Services as this node serves them, and as the kernel has them", verb_service},
    {"status", "what the agent of this node knows and does", verb_status},
    {"why", "what would happen to a connection, step by step", verb_why},
    {"version", "print the version", verb_version},
    {"help", "print this help", verb_help},
};

static void print_help(FILE *to)
{
	fputs("usage: weft VERB [OPTION]...\n\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	fputs("\n`weft VERB --help` explains a verb.\n", to);
}

static int verb_help(_unused_ int argc, _unused_ char **argv)
{
	print_help(stdout);
	return 0;
}

static int verb_version(_unused_ int argc, _unused_ char **argv)
{
	puts("weft " WEFT_VERSION);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	char shown[64];

	if (streq(name, "--help") || streq(name, "-h"))
		name = "help";
	if (streq(name, "--version"))
		name = "version";
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (streq(verbs[i].name, name))
			return verbs[i].fn(argc - 1, argv + 1);
	if (!*name) {
		print_help(stderr);
		return 2;
	}
	str_escape(shown, sizeof(shown), name);
	fprintf(stderr, "weft: no verb \"%s\"; `weft help` lists them\n", shown);
	return 2;
}
