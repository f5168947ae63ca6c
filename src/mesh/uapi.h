/* SPDX-License-Identifier: Apache-2.0 */
/* The text by which a userspace WireGuard engine is read and changed. Pure. */
#pragma once

#include "base/buf.h"
#include "mesh/device.h"

enum { MESH_UAPI_ANSWER_MAX = 64 << 20, MESH_PEERS_MAX = 65536 };

/* A whole request, "set=1" to the empty line. It holds the private key when that is set. */
void mesh_uapi_format(const struct mesh_change *c, struct buf *out);

/**
 * mesh_uapi_parse() - the answer to "get=1", without the empty line at its end
 * @text: changed; keys in it are wiped
 * @ret: sorted
 *
 * Lines with unknown keys are passed over: engines grow.
 *
 * Return: 0, -EINVAL, -E2BIG, or the errno that the engine answers.
 */
int mesh_uapi_parse(char *text, struct mesh_device *ret);
