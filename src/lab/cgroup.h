/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's subtree of the cgroup2 hierarchy. It is also how the lab knows its processes: whoever is in the subtree
 * belongs to the lab, whatever else died; no pid is ever remembered. */
#pragma once

#include "lab/lab.h"

#include <sys/types.h>

/**
 * cgroup_of() - "/sys/fs/cgroup/…/weft-lab-NAME[/PART]", wherever the machine has its cgroup2; owned by the caller
 * @part: "n1", "keeper", …; NULL for the lab itself
 *
 * Return: NULL when no cgroup2 is mounted.
 */
char *cgroup_of(const char *lab_name, const char *part);

/* Makes the directory and those above it that are missing. Return: 0 or -errno. */
int cgroup_make(const char *path);
/* A descriptor for clone3(CLONE_INTO_CGROUP). Return: descriptor, -errno. */
int cgroup_open(const char *path);
/* The first process in exactly this cgroup. Return: pid, 0 when there is none or no such cgroup. */
pid_t cgroup_first_pid(const char *path);
bool cgroup_is_populated(const char *path); /* with all below it */

/**
 * cgroup_kill() - end every process in the subtree with SIGKILL and wait until they are gone
 *
 * Return: 0 also when there is no such cgroup, -ETIMEDOUT after @timeout_ms, -errno.
 */
int cgroup_kill(const char *path, int timeout_ms);
/* Takes the empty subtree away. Return: 0 also when there is none, -EBUSY when processes are in it, -errno. */
int cgroup_remove(const char *path);
/* Moves the calling process. Return: 0 or -errno. */
int cgroup_enter(const char *path);
