/* SPDX-License-Identifier: Apache-2.0 */
#include "datapath/conversion.h"
#include "datapath/layout.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* One side of a conversion. */
struct side {
	int fd;
	struct bpf_map_info info;
	struct btf *btf;
	struct layout key, value;
	size_t stride, n; /* a per-CPU value is an array */
};

struct conversion {
	struct side from, to;
	bool same; /* nothing but the size differs */
	uint8_t *key, *value; /* of an entry as the second map has it */
};

int conversion_map_info(int fd, struct bpf_map_info *ret)
{
	uint32_t size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(fd, ret, &size);
}

struct btf *conversion_btf_of(const struct bpf_map_info *info)
{
	return info->btf_id ? btf__load_from_kernel_by_id(info->btf_id) : NULL;
}

void conversion_btf_freep(struct btf **btf)
{
	btf__free(*btf);
}

static int side_init(struct side *s, int fd)
{
	int r = conversion_map_info(fd, &s->info), cpus = libbpf_num_possible_cpus();

	if (r < 0 || cpus < 0)
		return r < 0 ? r : cpus;
	s->fd = fd;
	s->btf = conversion_btf_of(&s->info);
	s->key = (struct layout){ s->btf, s->info.btf_key_type_id };
	s->value = (struct layout){ s->btf, s->info.btf_value_type_id };
	s->n = s->info.type == BPF_MAP_TYPE_PERCPU_ARRAY ? cpus : 1;
	s->stride = s->n > 1 ? (s->info.value_size + 7) / 8 * 8 : s->info.value_size;
	return 0;
}

static bool has_entries(const struct side *s)
{
	return s->btf && s->info.btf_key_type_id;
}

int conversion_new(struct conversion **ret, int from_fd, int to_fd)
{
	_cleanup_(conversion_freep) struct conversion *c = xnew0(struct conversion);
	int r = side_init(&c->from, from_fd);

	if (r == 0)
		r = side_init(&c->to, to_fd);
	if (r < 0 || !has_entries(&c->from) || !has_entries(&c->to))
		return r;
	c->same = c->from.n == c->to.n && layout_same(c->from.key, c->to.key) && layout_same(c->from.value, c->to.value);
	c->key = xcalloc(1, c->to.info.key_size);
	c->value = xcalloc(c->to.n, c->to.stride);
	*ret = take_ptr(c);
	return 1;
}

struct conversion *conversion_free(struct conversion *c)
{
	if (!c)
		return NULL;
	btf__free(c->from.btf);
	btf__free(c->to.btf);
	free(c->key);
	free(c->value);
	free(c);
	return NULL;
}

static void convert_value(const struct conversion *c, void *ret, const uint8_t *value)
{
	memset(ret, 0, c->to.n * c->to.stride);
	for (size_t i = 0; i < MIN(c->from.n, c->to.n); i++)
		layout_copy(c->to.value, (uint8_t *)ret + i * c->to.stride, c->from.value, value + i * c->from.stride);
}

static int tell(const struct conversion *c, const uint8_t *key, const uint8_t *value, conversion_fn *fn, void *ctx)
{
	if (c->same)
		return fn(key, value, ctx);
	memset(c->key, 0, c->to.info.key_size);
	layout_copy(c->to.key, c->key, c->from.key, key);
	convert_value(c, c->value, value);
	return fn(c->key, c->value, ctx);
}

/* Of a hash table that packets change a walk by keys begins anew when the key where it is has gone, and may never end. */
static int each_in_batches(const struct conversion *c, conversion_fn *fn, void *ctx)
{
	enum { BATCH = 4096 };
	size_t key_size = c->from.info.key_size, value_size = c->from.info.value_size;
	_cleanup_free_ uint8_t *keys = xcalloc(BATCH, key_size), *values = xcalloc(BATCH, value_size);
	uint32_t in, out;
	bool more = false;
	int r, stop = 0;

	do {
		uint32_t n = BATCH;

		r = bpf_map_lookup_batch(c->from.fd, more ? &in : NULL, &out, keys, values, &n, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < n && stop == 0; i++)
			stop = tell(c, keys + i * key_size, values + i * value_size, fn, ctx);
		in = out;
		more = true;
	} while (r == 0 && stop == 0);
	return stop;
}

static int each_by_key(const struct conversion *c, conversion_fn *fn, void *ctx)
{
	_cleanup_free_ uint8_t *key = xcalloc(1, c->from.info.key_size), *next = xcalloc(1, c->from.info.key_size);
	_cleanup_free_ uint8_t *value = xcalloc(c->from.n, c->from.stride);
	int more = bpf_map_get_next_key(c->from.fd, NULL, next), stop = 0;

	while (more == 0 && stop == 0) {
		memcpy(key, next, c->from.info.key_size);
		more = bpf_map_get_next_key(c->from.fd, key, next);
		if (bpf_map_lookup_elem(c->from.fd, key, value) == 0)
			stop = tell(c, key, value, fn, ctx);
	}
	return stop;
}

int conversion_each(const struct conversion *c, conversion_fn *fn, void *ctx)
{
	bool hash = c->from.info.type == BPF_MAP_TYPE_HASH || c->from.info.type == BPF_MAP_TYPE_LRU_HASH;

	return hash ? each_in_batches(c, fn, ctx) : each_by_key(c, fn, ctx);
}

int conversion_find(const struct conversion *c, const void *key, void *ret_value)
{
	_cleanup_free_ uint8_t *old_key = NULL, *value = NULL;
	int r;

	if (c->same)
		return bpf_map_lookup_elem(c->from.fd, key, ret_value);
	old_key = xcalloc(1, c->from.info.key_size);
	value = xcalloc(c->from.n, c->from.stride);
	layout_copy(c->from.key, old_key, c->to.key, key);
	r = bpf_map_lookup_elem(c->from.fd, old_key, value);
	if (r == 0)
		convert_value(c, ret_value, value);
	return r;
}
