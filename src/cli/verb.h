/* SPDX-License-Identifier: Apache-2.0 */
/* A verb of the command line. The table is in main.c; a verb's function lives where its work is done. */
#pragma once

struct verb {
	const char *name;
	const char *help;		  /* one line, for `weft help` */
	int (*fn)(int argc, char **argv); /* argv[0] is the verb; returns the exit code */
};
