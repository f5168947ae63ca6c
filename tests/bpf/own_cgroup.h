/* SPDX-License-Identifier: Apache-2.0 */
/* A cgroup of this process alone, to which socket programs can be attached without touching anybody else's sockets. It goes when the process ends. */
#pragma once

#include "base/str.h"

#include <err.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static char *own_cgroup; /* its path */

static inline char *own_cgroup_path(const char *name)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (statfs(places[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return xasprintf("%s/weft-%s-%d", places[i], name, getpid());
	errx(1, "no cgroup2 is mounted");
}

static inline void own_cgroup_move_to(const char *dir)
{
	_cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", dir);
	_cleanup_close_ int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		err(1, "cannot move into %s", dir);
}

static inline void own_cgroup_leave(void)
{
	_cleanup_free_ char *parent = xasprintf("%s/..", own_cgroup);

	own_cgroup_move_to(parent);
	rmdir(own_cgroup);
}

static inline void own_cgroup_enter(const char *name)
{
	own_cgroup = own_cgroup_path(name);
	if (mkdir(own_cgroup, 0755) < 0)
		err(1, "%s", own_cgroup);
	atexit(own_cgroup_leave);
	own_cgroup_move_to(own_cgroup);
}
