/* SPDX-License-Identifier: Apache-2.0 */
/* A map of another layout stays pinned, and in use by the programs that are attached, until its entries have been copied into
 * the new one; then the new one takes its name. What is written to the old map between the copy and the moment in which the new
 * programs are attached is lost: all that the agent writes is applied anew. What packets write is inherited another way (inherit.c). */
#include "datapath/pins.h"
#include "base/log.h"
#include "base/str.h"
#include "datapath/conversion.h"
#include "datapath/layout.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <dirent.h>
#include <fcntl.h>

static bool same_shape(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return info->type == bpf_map__type(map) && info->key_size == bpf_map__key_size(map) &&
	       info->value_size == bpf_map__value_size(map) && info->map_flags == bpf_map__map_flags(map) &&
	       info->max_entries == bpf_map__max_entries(map);
}

int pins_adopt(struct bpf_map *map, const struct btf *btf, const char *path)
{
	_cleanup_(conversion_btf_freep) struct btf *old = NULL;
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info info;
	int r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = conversion_map_info(fd, &info);
	if (r < 0)
		return r;
	old = conversion_btf_of(&info);
	if (!same_shape(map, &info) ||
	    !layout_same((struct layout){ btf, bpf_map__btf_key_type_id(map) }, (struct layout){ old, info.btf_key_type_id }) ||
	    !layout_same((struct layout){ btf, bpf_map__btf_value_type_id(map) }, (struct layout){ old, info.btf_value_type_id }))
		return 0;
	r = bpf_map__reuse_fd(map, fd);
	return r < 0 ? r : 1;
}

struct copying {
	int to;
	uint64_t lost;
};

static int on_entry(const void *key, const void *value, void *ctx)
{
	struct copying *c = ctx;
	int r = bpf_map_update_elem(c->to, key, value, BPF_ANY);
	bool full = r == -E2BIG || r == -ENOSPC; /* a hash table's word, a trie's */

	c->lost += full;
	return full ? 0 : r;
}

static int copy_entries(int from, int to, const char *path)
{
	_cleanup_(conversion_freep) struct conversion *conversion = NULL;
	struct copying c = { .to = to };
	int r = conversion_new(&conversion, from, to);

	if (r > 0)
		r = conversion_each(conversion, on_entry, &c);
	if (c.lost)
		log_warn("a pinned map had more entries than its successor holds", L_STR("map", path), L_UINT("lost", c.lost));
	return r;
}

int pins_replace(int fd, const char *path)
{
	_cleanup_free_ char *temporary = xasprintf("%s__converted", path);
	int r;

	if (unlink(temporary) < 0 && errno != ENOENT)
		return -errno;
	r = bpf_obj_pin(fd, temporary);
	if (r < 0)
		return r;
	return rename(temporary, path) < 0 ? -errno : 0;
}

int pins_publish(struct bpf_map *map, const char *path)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info there, ours;
	int r;

	if (fd == -ENOENT)
		return bpf_obj_pin(bpf_map__fd(map), path);
	if (fd < 0)
		return fd;
	r = conversion_map_info(fd, &there);
	if (r == 0)
		r = conversion_map_info(bpf_map__fd(map), &ours);
	if (r < 0 || there.id == ours.id)
		return r;
	r = copy_entries(fd, bpf_map__fd(map), path);
	return r < 0 ? r : pins_replace(bpf_map__fd(map), path);
}

int pins_sweep(const char *dir, pins_known_fn *known, const void *ctx)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (r == 0 && (errno = 0, e = readdir(d))) {
		if (e->d_name[0] == '.' || known(e->d_name, ctx))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			r = -errno;
		else
			log_info("unlinked a map that no program uses any more", L_STR("map", e->d_name));
	}
	if (r == 0)
		r = -errno;
	closedir(d);
	return r;
}
