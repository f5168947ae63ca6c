/* SPDX-License-Identifier: Apache-2.0 */
/* The pinned maps: adopted when they have the layout that the programs expect, converted when they have not. */
#pragma once

#include "base/macro.h"

#include <bpf/libbpf.h>

/**
 * pins_adopt() - before the object is loaded: let @map be the one pinned at @path, if its layout is the same
 *
 * Same means: type, sizes, flags, number of entries, and BTF of key and value.
 *
 * Return: 1; 0 when there is none, or one of another layout: then a new one is made; -errno.
 */
int pins_adopt(struct bpf_map *map, const struct btf *btf, const char *path);

/**
 * pins_publish() - after the object is loaded: pin @map at @path
 *
 * The entries of another map that was there are copied, field by field by name.
 *
 * Return: 0 (also when it is the one that is there), -errno.
 */
int pins_publish(struct bpf_map *map, const char *path);

/* Pins the map in the place of the one that is pinned there. Return: 0, -errno. */
int pins_replace(int fd, const char *path);

/* Does a map of that name exist? */
typedef bool pins_known_fn(const char *name, const void *ctx);

/**
 * pins_sweep() - unlink the pins in @dir whose names no program uses any more: maps of other versions, half-made conversions
 *
 * Return: 0, -errno.
 */
int pins_sweep(const char *dir, pins_known_fn *known, const void *ctx);
