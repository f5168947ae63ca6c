/* SPDX-License-Identifier: Apache-2.0 */
/* Pins that somebody removed. Programs and maps live on without them as long as something holds them, but the next agent
 * would find nothing to adopt: so they are put back while this one still has their descriptors. */
#include "base/file.h"
#include "base/str.h"
#include "datapath/priv.h"

#include <linux/magic.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static const char *const below[DP_PIN_DIRS] = { "maps", "links", "programs", "cgroup" };

char *datapath_pin_dir(const struct datapath *dp, unsigned i)
{
	return xasprintf("%s/%s", dp->dir, below[i]);
}

void datapath_on_repair(struct datapath *dp, dp_repair_fn *fn, void *ctx)
{
	dp->repair.fn = fn;
	dp->repair.ctx = ctx;
}

void datapath_set_tunnel(struct datapath *dp, uint32_t ifindex)
{
	dp->tunnel_ifindex = ifindex;
}

void dp_repaired(struct datapath *dp, enum dp_repair what, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	if (dp->repair.fn)
		dp->repair.fn(what, text, dp->repair.ctx);
}

/* Where the kernel has the place for one, and it was there at the start. Return: was it mounted? -errno. */
static int mend_bpffs(const char *dir)
{
	static const char place[] = "/sys/fs/bpf";
	struct statfs fs;

	if (!str_has_prefix(dir, "/sys/fs/bpf/") || statfs(place, &fs) < 0 || fs.f_type == BPF_FS_MAGIC)
		return 0;
	return mount("bpf", place, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0 ? -errno : 1;
}

/* The directories, and the lock on a directory that was made anew. */
static int mend_dirs(struct datapath *dp)
{
	_cleanup_free_ char *why = NULL;
	struct stat held, there;
	int fd, r = mend_bpffs(dp->dir);

	if (r > 0)
		dp_repaired(dp, DP_REPAIR_PIN, "the bpf file system of %s", dp->dir);
	r = MIN(r, 0);
	for (unsigned i = 0; i < DP_PIN_DIRS && r == 0; i++) {
		_cleanup_free_ char *path = datapath_pin_dir(dp, i);

		r = mkdir_parents(path, 0700);
	}
	if (r < 0 || fstat(dp->lock_fd, &held) < 0 || stat(dp->dir, &there) < 0)
		return r < 0 ? r : -errno;
	if (held.st_ino == there.st_ino && held.st_dev == there.st_dev)
		return 0;
	fd = dp_lock_dir(dp->dir, &why);
	if (fd < 0)
		return fd;
	close(dp->lock_fd);
	dp->lock_fd = fd;
	return 0;
}

static uint32_t id_of_map(int fd)
{
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

static uint32_t id_of_program(int fd)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

static int mend_pin(struct datapath *dp, const char *dir, const char *name, int fd, uint32_t (*id_of)(int fd))
{
	_cleanup_free_ char *path = xasprintf("%s/%s/%s", dp->dir, dir, name);
	_cleanup_close_ int there = bpf_obj_get(path);
	int r;

	if (there >= 0 && id_of(there) && id_of(there) == id_of(fd))
		return 0;
	if (there < 0 && there != -ENOENT)
		return there;
	if (there >= 0 && unlink(path) < 0) /* somebody else's in our place */
		return -errno;
	r = bpf_obj_pin(fd, path);
	if (r == 0)
		dp_repaired(dp, DP_REPAIR_PIN, "%s/%s", dir, name);
	return r;
}

static void mend_maps(struct datapath *dp, struct bpf_object *object, int *first)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
		if (!bpf_map__is_internal(map))
			dp_note_error(first, mend_pin(dp, "maps", bpf_map__name(map), bpf_map__fd(map), id_of_map));
}

int datapath_apply_pins(struct datapath *dp)
{
	int first = mend_dirs(dp);

	for (int i = 0; i < HOOK_COUNT && first == 0; i++) {
		if (!dp->objects[i])
			continue;
		mend_maps(dp, dp->objects[i], &first);
		dp_note_error(&first, mend_pin(dp, "programs", dp_hook_names[i], dp->programs[i], id_of_program));
	}
	if (first == 0 && dp->sock)
		mend_maps(dp, dp->sock, &first);
	if (first == 0)
		dp_note_error(&first, dp_mend_sockets(dp));
	return first;
}
