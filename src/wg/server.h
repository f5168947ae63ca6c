/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration socket NAME.sock: each connection carries requests of the UAPI. */
#pragma once

#include "base/macro.h"

struct engine;
struct server;

/* Return: 0 when nobody answers on DIR/NAME.sock; -EADDRINUSE, -errno. */
int server_probe(const char *dir, const char *name);
/* Return: a listening descriptor on DIR/NAME.sock (mode 0600), or -errno: -EADDRINUSE when somebody answers there. */
int server_listen(const char *dir, const char *name);

/* Is it @path that the socket is bound to? */
bool server_is_at(int fd, const char *path);

/**
 * server_new() - serve requests on a listening socket
 * @fd: taken over
 * @path: removed at the end, and when it is removed by somebody else the engine ends (as users of the Go
 *	implementation do it); NULL: neither
 */
int server_new(struct engine *e, int fd, const char *path, struct server **ret);
struct server *server_free(struct server *s);
/* The path now belongs to a successor: leave it alone. */
void server_disown(struct server *s);
int server_fd(const struct server *s);
