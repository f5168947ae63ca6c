/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables of flows and of claims leave to those of another size or layout that take their place. */
#pragma once

#include "base/macro.h"

#include <bpf/libbpf.h>

struct inheritance;

struct inheritance *inheritance_new(void);
struct inheritance *inheritance_free(struct inheritance *in);
DEFINE_CLEANUP(struct inheritance *, inheritance_free)

/* Is it one of the maps that are looked after here, and not by pins_publish()? */
bool inheritance_has(const char *map);
/* Before an object is loaded: lets @map be the one that takes the place of the pinned one, if another object brought it. Return: 1, 0, -errno. */
int inheritance_adopt(struct inheritance *in, struct bpf_map *map);
/* After it: pins @map at @path where there is none; one that is there goes on until inheritance_pin(). Return: 0, -errno. */
int inheritance_publish(struct inheritance *in, struct bpf_map *map, const char *path);

/* Is anything left to anybody? Then bpf/inherit.bpf.c has to be loaded, and: */
bool inheritance_is_any(const struct inheritance *in);
/* Who may have a share in the old tables may have one in the new ones; what is used of it is counted anew. Return: 0, -errno. */
int inheritance_open_shares(struct inheritance *in);
/**
 * inheritance_pass() - what is in the old tables, the first time; later what was touched since the pass before
 * @flow, @claim: descriptors of the programs
 *
 * Return: 0, -errno.
 */
int inheritance_pass(struct inheritance *in, int flow, int claim);
/* The new tables take the names of the old ones, which lie beside them until pins_sweep(): who starts after an agent that was killed now finds
 * them. Return: 0, -errno. */
int inheritance_pin(struct inheritance *in);
