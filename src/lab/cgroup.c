/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/cgroup.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { REAP_MS = 3000 }; /* how long init may take; what it leaves is only a number in a table */

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

/* Calls @fn for each process of the subtree. */
static void for_each_pid(const char *path, void (*fn)(pid_t pid, void *ctx), void *ctx)
{
	_cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", path);
	_cleanup_free_ char *text = NULL;
	char *rest, *line, *save = NULL;
	struct dirent *e;
	DIR *d = opendir(path);

	while (d && (e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			_cleanup_free_ char *sub = xasprintf("%s/%s", path, e->d_name);

			for_each_pid(sub, fn, ctx);
		}
	if (d)
		closedir(d);
	if (file_read(procs, 1 << 20, &text, NULL) < 0)
		return;
	for (rest = text; (line = strtok_r(rest, "\n", &save)); rest = NULL)
		if (atoi(line) > 1)
			fn(atoi(line), ctx);
}

static void kill_pid(pid_t pid, void *ctx _unused_)
{
	kill(pid, SIGKILL);
}

struct pids {
	pid_t *p;
	size_t n, cap;
};

static void note_pid(pid_t pid, void *ctx)
{
	struct pids *v = ctx;

	GROW(v->p, v->n, v->cap);
	v->p[v->n++] = pid;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A dead process counts as one until its parent has looked: that is us for some, init for those that we left alone. */
static void wait_until_reaped(const struct pids *v, int64_t end)
{
	for (size_t i = 0; i < v->n; i++) {
		while (waitpid(v->p[i], NULL, WNOHANG) <= 0 && kill(v->p[i], 0) == 0 && now_ms() < end)
			poll(NULL, 0, 2);
	}
}

int cgroup_kill(const char *path, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;
	struct pids pids = { 0 };
	int r = 0;

	while (r == 0 && cgroup_is_populated(path)) {
		if (timeout_ms > 0)
			for_each_pid(path, note_pid, &pids);
		r = write_in(path, "cgroup.kill", "1");
		if (r == -ENOENT) { /* kernels before 5.14 */
			for_each_pid(path, kill_pid, NULL);
			r = 0;
		}
		if (r == 0 && now_ms() > end)
			r = -ETIMEDOUT;
		if (r == 0)
			poll(NULL, 0, 2);
	}
	if (r == 0)
		wait_until_reaped(&pids, MIN(end, now_ms() + REAP_MS));
	free(pids.p);
	return r;
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
