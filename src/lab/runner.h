/* SPDX-License-Identifier: Apache-2.0 */
/* weft-lab-runner: what stays behind of a lab. One keeper holds the fabric, runs the hub and schedules; one process a
 * node holds its namespaces, runs its agent and plays kubelet; one holds the world host's namespace. */
#pragma once

#include "base/buf.h"
#include "lab/lab.h"

/* How a runner tells `weft lab` how far it is: lines on a pipe. "error TEXT" is the last one of a failed start; the reader
 * sees the end of file when the runner dies. */
struct report {
	int fd; /* -1: nobody listens (any more) */
};
void report_line(struct report *r, const char *fmt, ...) _printf_(2, 3);
void report_end(struct report *r);

int keeper_main(struct lab *lab, struct report *report, int hub_fd);
int node_main(struct lab *lab, struct lab_node *node, struct report *report);
