/* SPDX-License-Identifier: Apache-2.0 */
/* Counters for Prometheus, over HTTP on a local address or a unix socket. */
#pragma once

#include "base/buf.h"

struct engine;
struct metrics;

/* "127.0.0.1:9586", "[::1]:9586" or "unix:/path". Return: a listening descriptor, -EINVAL, -errno. */
int metrics_listen(const char *where);
/* Takes @fd over. */
int metrics_new(struct engine *e, int fd, struct metrics **ret);
struct metrics *metrics_free(struct metrics *m);
void metrics_format(struct engine *e, struct buf *out);
