/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of maps as BTF tells them: are two the same, and how do entries get from one to the other. */
#pragma once

#include "base/macro.h"

#include <bpf/btf.h>

/* A type within its BTF; id 0 is "none" (a ring buffer has neither key nor value). */
struct layout {
	const struct btf *btf;
	uint32_t id;
};

/* Same members, by name, at the same offsets with the same sizes. */
bool layout_same(struct layout a, struct layout b);

/**
 * layout_copy() - fill @to, zeroed before, with the members of @from that have the same name
 *
 * Integers may change their size (little-endian; what does not fit is cut), arrays their length, structs their order. Unions
 * are copied as bytes. Members without a namesake stay zero.
 */
void layout_copy(struct layout to, void *dst, struct layout from, const void *src);
