/* SPDX-License-Identifier: Apache-2.0 */
/* A map of another layout stays pinned, and in use by the programs that are attached, until its entries have been copied into
 * the new one; then the new one takes its name. What is written to the old map between the copy and the moment in which the new
 * programs are attached is lost: flows are picked up again by their next packet, everything else is applied anew. */
#include "datapath/pins.h"
#include "base/log.h"
#include "base/str.h"
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

static int map_info(int fd, struct bpf_map_info *ret)
{
	uint32_t size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(fd, ret, &size);
}

/* The BTF of a map that is in the kernel; NULL when it has none. */
static struct btf *btf_of(const struct bpf_map_info *info)
{
	return info->btf_id ? btf__load_from_kernel_by_id(info->btf_id) : NULL;
}

static void btf_freep(struct btf **btf)
{
	btf__free(*btf);
}

int pins_adopt(struct bpf_map *map, const struct btf *btf, const char *path)
{
	_cleanup_(btf_freep) struct btf *old = NULL;
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info info;
	int r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = map_info(fd, &info);
	if (r < 0)
		return r;
	old = btf_of(&info);
	if (!same_shape(map, &info) ||
	    !layout_same((struct layout){ btf, bpf_map__btf_key_type_id(map) }, (struct layout){ old, info.btf_key_type_id }) ||
	    !layout_same((struct layout){ btf, bpf_map__btf_value_type_id(map) }, (struct layout){ old, info.btf_value_type_id }))
		return 0;
	r = bpf_map__reuse_fd(map, fd);
	return r < 0 ? r : 1;
}

/* One side of a conversion. */
struct side {
	int fd;
	struct bpf_map_info info;
	struct layout key, value;
	size_t stride, n; /* a per-CPU value is an array */
};

static int side_init(struct side *s, int fd, const struct btf *btf)
{
	int r = map_info(fd, &s->info), cpus = libbpf_num_possible_cpus();

	if (r < 0 || cpus < 0)
		return r < 0 ? r : cpus;
	s->fd = fd;
	s->key = (struct layout){ btf, s->info.btf_key_type_id };
	s->value = (struct layout){ btf, s->info.btf_value_type_id };
	s->n = s->info.type == BPF_MAP_TYPE_PERCPU_ARRAY ? cpus : 1;
	s->stride = s->n > 1 ? (s->info.value_size + 7) / 8 * 8 : s->info.value_size;
	return 0;
}

static int convert_entries(const struct side *from, const struct side *to)
{
	_cleanup_free_ uint8_t *key = xcalloc(1, from->info.key_size), *next = xcalloc(1, from->info.key_size);
	_cleanup_free_ uint8_t *value = xcalloc(from->n, from->stride), *new_key = xcalloc(1, to->info.key_size);
	_cleanup_free_ uint8_t *new_value = xcalloc(to->n, to->stride);
	uint64_t lost = 0;
	int r, more = bpf_map_get_next_key(from->fd, NULL, next);

	while (more == 0) {
		memcpy(key, next, from->info.key_size);
		more = bpf_map_get_next_key(from->fd, key, next);
		if (bpf_map_lookup_elem(from->fd, key, value) < 0)
			continue;
		memset(new_key, 0, to->info.key_size);
		memset(new_value, 0, to->n * to->stride);
		layout_copy(to->key, new_key, from->key, key);
		for (size_t i = 0; i < MIN(from->n, to->n); i++)
			layout_copy(to->value, new_value + i * to->stride, from->value, value + i * from->stride);
		r = bpf_map_update_elem(to->fd, new_key, new_value, BPF_ANY);
		if (r == -E2BIG)
			lost++;
		else if (r < 0)
			return r;
	}
	if (lost)
		log_warn("a pinned map had more entries than its successor holds", L_STR("map", to->info.name), L_UINT("lost", lost));
	return 0;
}

static int convert(int from_fd, int to_fd, const char *path)
{
	_cleanup_(btf_freep) struct btf *old = NULL, *new = NULL;
	_cleanup_free_ char *temporary = xasprintf("%s__converted", path);
	struct side from, to;
	int r;

	r = map_info(from_fd, &from.info);
	if (r == 0)
		r = map_info(to_fd, &to.info);
	if (r < 0)
		return r;
	old = btf_of(&from.info);
	new = btf_of(&to.info);
	if (old && new && from.info.btf_key_type_id && to.info.btf_key_type_id) { /* a ring buffer has nothing to copy */
		r = side_init(&from, from_fd, old);
		if (r == 0)
			r = side_init(&to, to_fd, new);
		if (r == 0)
			r = convert_entries(&from, &to);
		if (r < 0)
			return r;
	}
	if (unlink(temporary) < 0 && errno != ENOENT)
		return -errno;
	r = bpf_obj_pin(to_fd, temporary);
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
	r = map_info(fd, &there);
	if (r == 0)
		r = map_info(bpf_map__fd(map), &ours);
	if (r < 0 || there.id == ours.id)
		return r;
	return convert(fd, bpf_map__fd(map), path);
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
