/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `weft lab`. Each prints its own errors and returns the exit code: 0, 1 when it failed, 2 for bad arguments,
 * exec: the command's. */
#pragma once

#include "lab/args.h"

/* `weft lab …`, for the command line's table; argv[0] is "lab". */
int lab_verb(int argc, char **argv);

int lab_up(const struct lab_args *a);
int lab_down(const struct lab_args *a);
int lab_status(const struct lab_args *a);
int lab_kubeconfig(const struct lab_args *a);
int lab_node_add(const struct lab_args *a);
int lab_node_stop(const struct lab_args *a);
int lab_node_start(const struct lab_args *a);
int lab_exec(const struct lab_args *a);

/* One line on standard error, "weft lab: …". Returns 1. */
int lab_fail(const char *fmt, ...) _printf_(1, 2);
/* Loads the lab or says that there is none. Return: 0 or -errno (said). */
int lab_get(const struct lab_args *a, struct lab *ret);

/**
 * lab_teardown() - end all processes of a lab, take away its cgroups and files; the caller holds the lock
 *
 * Works on whatever is there: a whole lab, half of one, nothing. Return: 0 or -errno (said).
 */
int lab_teardown(const char *name);

/**
 * lab_start_runner() - start a program of the lab in its part of the cgroup tree
 * @part: "keeper" or the node's name
 * @argv: without the last argument, the report's descriptor, for which the place before the NULL is kept free
 * @keep: one more descriptor for it, or 0
 *
 * Return: descriptor to read its report from, -errno (said).
 */
int lab_start_runner(const struct lab *lab, const char *part, const char **argv, int keep);
int lab_start_node(const struct lab *lab, const struct lab_node *node);

/**
 * lab_wait_reports() - follow runners until each has said @last or has failed
 * @fds, @names: @n of them; descriptors are closed and become -1
 * @on_line: may be NULL; called for each line
 *
 * Return: 0, -EPROTO when one failed (said, with the end of its log), -EINTR on SIGINT or SIGTERM, -ETIMEDOUT.
 */
int lab_wait_reports(const struct lab *lab, int *fds, const char *const *names, size_t n, const char *last,
		     void (*on_line)(const char *name, const char *line));

/* Seconds since the program started, for progress lines. */
double lab_seconds(void);
