/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/args.h"
#include "base/test.h"

enum { WORDS = 16 };

/* Splits at single spaces. */
static int parse(const char *line, struct lab_args *a, char **error)
{
	static char text[512];
	static char *argv[WORDS + 1];
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w && argc < WORDS; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	*error = NULL;
	return lab_args_parse(argc, argv, a, error);
}

static void defaults_are_the_contract(void)
{
	struct lab_args a;
	char *error;

	CHECK_INT(parse("up", &a, &error), 0);
	CHECK(a.verb == VERB_UP && a.nodes == 3 && a.subnets == 1 && a.zones == 1 && a.family == LAB_DUAL);
	CHECK_STR(a.name, "lab");
	CHECK_STR(a.transport, "vxlan");
}

static void options_stand_on_either_side(void)
{
	static const char *const lines[] = { "--name x up --nodes 4", "up --name x --nodes=4", "--nodes 4 up --name=x" };
	struct lab_args a;
	char *error;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		CHECK_INT(parse(lines[i], &a, &error), 0);
		CHECK_STR(a.name, "x");
		CHECK_INT(a.nodes, 4);
	}
	CHECK_INT(parse("up --nodes 0", &a, &error), 0);
	CHECK_INT(a.nodes, 0);
}

static void exec_takes_a_command(void)
{
	struct lab_args a;
	char *error;

	CHECK_INT(parse("exec --name x default/a -- ls --name y", &a, &error), 0);
	CHECK_STR(a.target, "default/a");
	CHECK_STR(a.name, "x");
	CHECK_STR(a.command[1], "--name");
	CHECK_INT(parse("exec n1 ip -br addr", &a, &error), 0);
	CHECK_STR(a.command[0], "ip");
	CHECK_STR(a.command[1], "-br");
}

static void errors_say_what_was_expected(void)
{
	static const struct {
		const char *line, *part;
	} cases[] = {
		{ "", "expected a verb" },
		{ "upp", "no verb \"upp\"" },
		{ "up now", "no further words" },
		{ "up --transport pigeon", "expected direct, vxlan, geneve, auto or wireguard" },
		{ "up --subnets 0", "expected a number from 1 to" },
		{ "up --mtu 1279", "from 1280 to 65535" },
		{ "up --mtu big", "from 1280 to 65535" },
		{ "up --nodes 201", "from 0 to 200" },
		{ "up --nodes -1", "from 0 to 200" },
		{ "up --nodes", "needs a value" },
		{ "up --family ipx", "expected dual, dual6, ipv4 or ipv6" },
		{ "up --set a", "expected KEY=VALUE" },
		{ "up --set a/b=c", "expected KEY=VALUE" },
		{ "up --name ../x", "expected lower case" },
		{ "up --frobnicate 1", "no option \"--frobnicate\"" },
		{ "down --nodes 3", "does not belong to this verb" },
		{ "status -o yaml", "expected json" },
		{ "node", "expected add, stop or start" },
		{ "node stop", "expected one node" },
		{ "node add n7", "nodes are numbered" },
		{ "exec n1", "expected -- and a command" },
		{ "exec -- ls", "expected NODE" },
		{ "up -- ls", "only exec takes a command" },
	};
	struct lab_args a;
	char *error;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CHECK_INT(parse(cases[i].line, &a, &error), -EINVAL);
		if (!strstr(error, cases[i].part))
			printf("# \"%s\": %s\n", cases[i].line, error);
		CHECK(strstr(error, cases[i].part));
		free(error);
	}
}

int main(void)
{
	RUN(defaults_are_the_contract);
	RUN(options_stand_on_either_side);
	RUN(exec_takes_a_command);
	RUN(errors_say_what_was_expected);
	return test_end();
}
