/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `weft lab`. */
#pragma once

#include "lab/lab.h"

enum lab_verb {
	VERB_HELP,
	VERB_UP,
	VERB_DOWN,
	VERB_STATUS,
	VERB_KUBECONFIG,
	VERB_NODE_ADD,
	VERB_NODE_STOP,
	VERB_NODE_START,
	VERB_EXEC,
};

struct lab_args {
	enum lab_verb verb;
	const char *name;    /* of the lab */
	unsigned nodes, subnets, zones, mtu;
	enum lab_family family;
	const char *transport;
	const char **set;    /* KEY=VALUE */
	size_t n_set, cap_set;
	bool json;
	const char *target;  /* node, NAMESPACE/POD or "world" */
	char **command;	     /* NULL-terminated, inside argv */
};

void lab_args_done(struct lab_args *a);

/**
 * lab_args_parse() - everything after "weft lab"
 * @argv: @argc strings and a NULL; borrowed by @ret
 * @ret_error: what is wrong and what was expected; owned by the caller
 *
 * Return: 0, -EINVAL.
 */
int lab_args_parse(int argc, char **argv, struct lab_args *ret, char **ret_error);
