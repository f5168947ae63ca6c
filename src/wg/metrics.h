/* SPDX-License-Identifier: Apache-2.0 */
/* Counters for Prometheus, over HTTP on a local address or a unix socket. */
#pragma once

#include "base/buf.h"

struct engine;
struct metrics;

enum { METRICS_WHERE_MAX = 128 }; /* bytes that any place which can be listened at has room in */

/* "127.0.0.1:9586", "[::1]:9586" or "unix:/path". Return: a listening descriptor; -EINVAL; -EADDRINUSE, also where another program answers at
 * the path; -errno. */
int metrics_listen(const char *where);
/* Takes @fd over, which listens at @where. The engine knows it until it is freed. */
int metrics_new(struct engine *e, int fd, const char *where, struct metrics **ret);
int metrics_fd(const struct metrics *m);
const char *metrics_where(const struct metrics *m);
struct metrics *metrics_free(struct metrics *m);
void metrics_format(struct engine *e, struct buf *out);
