/* SPDX-License-Identifier: Apache-2.0 */
/* From the entries of one map to those of another that has another size or layout: field by field by name (layout.h). */
#pragma once

#include "base/macro.h"

#include <bpf/btf.h>
#include <linux/bpf.h>

struct conversion;

/**
 * conversion_new() - between two maps, which must live as long
 *
 * Return: 1; 0 when there is nothing to convert (a queue or a ring buffer has no keys); -errno.
 */
int conversion_new(struct conversion **ret, int from_fd, int to_fd);
struct conversion *conversion_free(struct conversion *c);
DEFINE_CLEANUP(struct conversion *, conversion_free)

/* An entry as the second map would have it. Return: 0 to go on. */
typedef int conversion_fn(const void *key, const void *value, void *ctx);

/**
 * conversion_each() - all entries of the first map
 *
 * Of a map that changes meanwhile: those that were there from the beginning to the end; each at least once.
 *
 * Return: 0, what @fn returned, -errno.
 */
int conversion_each(const struct conversion *c, conversion_fn *fn, void *ctx);
/* The one with the key (as the second map has it). Not for per-CPU maps. Return: 0, -ENOENT, -errno. */
int conversion_find(const struct conversion *c, const void *key, void *ret_value);

int conversion_map_info(int fd, struct bpf_map_info *ret);
/* The BTF of a map that is in the kernel; NULL when it has none. */
struct btf *conversion_btf_of(const struct bpf_map_info *info);
void conversion_btf_freep(struct btf **btf);
