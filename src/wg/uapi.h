/* SPDX-License-Identifier: Apache-2.0 */
/* The text of WireGuard's cross-platform userspace interface: one key=value a line, an empty line ends. Pure text in and
 * out; sockets are in server.c. */
#pragma once

#include "base/buf.h"
#include "wg/device.h"

/* What a device does not know by itself. */
struct uapi_host {
	struct device *device;
	uint16_t (*port)(void *ctx);
	uint32_t (*fwmark)(void *ctx);
	int (*set_port)(void *ctx, uint16_t port);
	int (*set_fwmark)(void *ctx, uint32_t fwmark);
	void *ctx;
};

enum { UAPI_REQUEST_MAX = 64 << 20, UAPI_ALLOWED_MAX = 1 << 20 };

/* All of it, secrets included: the lines of a "get" without the errno line. */
void uapi_format(const struct uapi_host *h, struct buf *out);

/**
 * uapi_apply() - the lines of a "set" after its first one
 * @text: may be changed
 * @restoring: also take what "get" reports beyond configuration (a saved state)
 * @ret_bad: the key of the last line looked at, on failure the offending one; a static string
 *
 * Lines take effect one after the other; what came before a bad one stays.
 *
 * Return: 0, -EINVAL, -EADDRINUSE, -ENOSPC (too many peers or prefixes).
 */
int uapi_apply(const struct uapi_host *h, char *text, bool restoring, int64_t now, const char **ret_bad);
