/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/queue.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>
#include <sys/stat.h>

enum { FILE_MAX = 4096 };

/* 128 bits of two independent hashes: a collision would lose a DEL, which the minute's reconciliation repairs. */
static char *file_of(const char *dir, const char *container, const char *ifname)
{
	_cleanup_free_ char *key = xasprintf("%s/%s", container, ifname);
	size_t n = strlen(key);

	return xasprintf("%s/%016llx%016llx.json", dir, (unsigned long long)hash_bytes(key, n, 0),
			 (unsigned long long)hash_bytes(key, n, 0x9e3779b97f4a7c15ull));
}

static int count_files(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	if (!d)
		return -errno;
	for (const struct dirent *e; (e = readdir(d));)
		n += str_has_suffix(e->d_name, ".json");
	closedir(d);
	return n;
}

int del_queue_put(const char *dir, const char *container, const char *ifname)
{
	_cleanup_free_ char *path = file_of(dir, container, ifname), *text = NULL;
	_cleanup_json_ json_t *j = json_pack("{ss, ss}", "containerID", container, "ifname", ifname);
	int n, r = mkdir_parents(dir, 0700);

	if (r < 0)
		return r;
	n = count_files(dir);
	if (n < 0)
		return n;
	if (n >= DEL_QUEUE_MAX && access(path, F_OK) < 0)
		return -ENOSPC;
	text = json_text(j);
	return file_write_atomic(path, text, strlen(text), 0600);
}

/* Return: 1 done, 0 to be kept or not there. */
static int drain_file(const char *path, del_queue_fn *fn, void *ctx)
{
	_cleanup_free_ char *text = NULL, *error = NULL;
	_cleanup_json_ json_t *j = NULL;
	const char *container, *ifname;
	size_t len;
	int r = file_read(path, FILE_MAX, &text, &len);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		j = json_parse("queued DEL", text, len, &error);
	container = json_str_at(j, "containerID");
	ifname = json_str_at(j, "ifname");
	if (!container || !ifname) {
		log_warn("queued DEL is unreadable, removed", L_STR("file", path),
			 L_STR("why", error ? error : "fields missing"));
	} else if (!fn(container, ifname, ctx)) {
		return 0;
	}
	unlink(path);
	return 1;
}

int del_queue_drain(const char *dir, del_queue_fn *fn, void *ctx)
{
	DIR *d = opendir(dir);
	int done = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (const struct dirent *e; (e = readdir(d));) {
		_cleanup_free_ char *path = xasprintf("%s/%s", dir, e->d_name);

		if (str_has_suffix(e->d_name, ".json"))
			done += drain_file(path, fn, ctx);
	}
	closedir(d);
	return done;
}

int del_queue_drain_one(const char *dir, const char *container, const char *ifname, del_queue_fn *fn, void *ctx)
{
	_cleanup_free_ char *path = file_of(dir, container, ifname);

	return drain_file(path, fn, ctx);
}
