/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: a disk that takes its time. Each sync waits while the file that SLOWDISK names is there, and touches SLOWDISK.held when it begins to. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int held(const char *name, int fd)
{
	const char *file = getenv("SLOWDISK");
	int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	char path[4096];

	if (file && access(file, F_OK) == 0) {
		snprintf(path, sizeof(path), "%s.held", file);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	while (file && access(file, F_OK) == 0)
		usleep(10000);
	return sync(fd);
}

int fsync(int fd)
{
	return held("fsync", fd);
}

int fdatasync(int fd)
{
	return held("fdatasync", fd);
}
