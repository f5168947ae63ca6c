/* SPDX-License-Identifier: Apache-2.0 */
/* `weft lab …`: words joined by form feeds. What is accepted is within bounds; what is not is refused in one line. */
#include "fuzz.h"
#include "lab/args.h"

enum { WORDS_MAX = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	char *argv[WORDS_MAX + 1] = { NULL }, *error = NULL;
	struct lab_args a;
	int argc = 0, r;

	while (in.size && argc < WORDS_MAX)
		argv[argc++] = fuzz_text(&in, NULL);
	r = lab_args_parse(argc, argv, &a, &error);
	REQUIRE((r < 0) == (error != NULL));
	if (error)
		fuzz_require_line(error);
	if (r == 0) {
		REQUIRE(name_is_dns_label(a.name) && a.nodes >= 1 && a.nodes <= LAB_NODES_MAX);
		REQUIRE(a.subnets >= 1 && a.subnets <= LAB_SUBNETS_MAX && a.zones >= 1 && a.zones <= LAB_ZONES_MAX);
		REQUIRE(a.verb == VERB_HELP || (a.verb == VERB_EXEC) == (a.command != NULL));
		REQUIRE(a.verb != VERB_EXEC || (a.target && a.command[0]));
		for (size_t i = 0; i < a.n_set; i++)
			REQUIRE(strchr(a.set[i], '='));
		lab_args_done(&a);
	}
	free(error);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return 0;
}
