/* SPDX-License-Identifier: Apache-2.0 */
/* Counts what a program does for one packet: instructions and look-ups of maps, exactly, by taking its steps one by one on a copy of the packet and of
 * the maps' values. A time says the same only on average and on a quiet machine. */
#pragma once

#include "frame.h"

#include <bpf/libbpf.h>

struct steps {
	int verdict;
	unsigned instructions; /* as clang made them, before the kernel rewrites any */
	unsigned lookups;      /* calls that look something up in a map */
	unsigned changes;      /* calls that would put or delete an entry; nothing is */
};

/**
 * steps_of() - run @prog over a frame that arrives at @ifindex, and has come to the node by @came_by
 *
 * Return: 0, or -ENOTSUP with @ret_why: the packet takes a way on which something is done that is not known here.
 */
int steps_of(struct bpf_program *prog, struct bpf_object *obj, const struct frame *f, uint32_t ifindex, uint32_t came_by, struct steps *ret,
	     const char **ret_why);
