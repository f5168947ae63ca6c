/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/cgroup.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

/* /proc/mounts: "cgroup2 /sys/fs/cgroup/unified cgroup2 rw…"; the first one counts. */
static char *find_mount(void)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line, *save = NULL;

	if (file_read("/proc/mounts", 1 << 20, &text, NULL) < 0)
		return NULL;
	for (rest = text; (line = strtok_r(rest, "\n", &save)); rest = NULL) {
		char *fields = NULL, *at, *type;

		strtok_r(line, " ", &fields);
		at = strtok_r(NULL, " ", &fields);
		type = strtok_r(NULL, " ", &fields);
		if (at && streq(type, "cgroup2"))
			return xstrdup(at);
	}
	return NULL;
}

char *cgroup_of(const char *lab_name, const char *part)
{
	_cleanup_free_ char *mount = find_mount();

	if (!mount)
		return NULL;
	return xasprintf("%s/weft-lab-%s%s%s", mount, lab_name, part ? "/" : "", part ? part : "");
}

int cgroup_make(const char *path)
{
	return mkdir_parents(path, 0755);
}

int cgroup_open(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int write_in(const char *path, const char *file, const char *text)
{
	_cleanup_free_ char *full = xasprintf("%s/%s", path, file);

	return file_write(full, text);
}

int cgroup_enter(const char *path)
{
	return write_in(path, "cgroup.procs", "0");
}

pid_t cgroup_first_pid(const char *path)
{
	_cleanup_free_ char *full = xasprintf("%s/cgroup.procs", path);
	_cleanup_free_ char *text = NULL;

	if (file_read(full, 1 << 20, &text, NULL) < 0)
		return 0;
	return atoi(text); /* the kernel's own format; empty is 0 */
}

bool cgroup_is_populated(const char *path)
{
	_cleanup_free_ char *full = xasprintf("%s/cgroup.events", path);
	_cleanup_free_ char *text = NULL;

	return file_read(full, 4096, &text, NULL) == 0 && strstr(text, "populated 1");
}

/* For kernels before 5.14, which have no cgroup.kill. */
static void kill_each(const char *path)
{
	_cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", path);
	_cleanup_free_ char *text = NULL;
	char *rest, *line, *save = NULL;
	struct dirent *e;
	DIR *d = opendir(path);

	while (d && (e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			_cleanup_free_ char *sub = xasprintf("%s/%s", path, e->d_name);

			kill_each(sub);
		}
	if (d)
		closedir(d);
	if (file_read(procs, 1 << 20, &text, NULL) < 0)
		return;
	for (rest = text; (line = strtok_r(rest, "\n", &save)); rest = NULL)
		if (atoi(line) > 1)
			kill(atoi(line), SIGKILL);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int cgroup_kill(const char *path, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	while (cgroup_is_populated(path)) {
		int r = write_in(path, "cgroup.kill", "1");

		if (r == -ENOENT)
			kill_each(path);
		else if (r < 0)
			return r;
		if (now_ms() > end)
			return -ETIMEDOUT;
		poll(NULL, 0, 2); /* until the kernel has reaped them */
	}
	return 0;
}

int cgroup_remove(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			_cleanup_free_ char *sub = xasprintf("%s/%s", path, e->d_name);
			int r2 = cgroup_remove(sub);

			r = r ? r : r2;
		}
	closedir(d);
	if (rmdir(path) < 0 && errno != ENOENT)
		return r ? r : -errno;
	return r;
}
