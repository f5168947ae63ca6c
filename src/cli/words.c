/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "cli/verbs.h"

#include <stdio.h>

int verb_words(int argc, char **argv, const char *usage, verb_word_fn *take, void *wish)
{
	for (int i = 1; i < argc; i++) {
		int r;

		if (streq(argv[i], "--help") || streq(argv[i], "-h")) {
			fputs(usage, stdout);
			return 1;
		}
		r = take(wish, argv[i], argv[i + 1]);
		if (r < 0)
			return r;
		i += r > 0;
	}
	return 0;
}
