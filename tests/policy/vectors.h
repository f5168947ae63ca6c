/* SPDX-License-Identifier: Apache-2.0 */
/* Who gives the verdicts that vectors.c holds against the truth tables: the look-up in user space (vectors_lookup.c), or programs in the
 * kernel (tests/bpf/policy_vectors.c). */
#pragma once

#include "policy/offline.h"

void vectors_start(void);
void vectors_end(void);
/* New maps. */
void vectors_compiled(const struct offline *o);
bool vectors_judge(const struct offline *o, const struct offline_end *src, const struct offline_end *dst, uint8_t protocol, uint16_t port);
