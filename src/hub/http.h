/* SPDX-License-Identifier: Apache-2.0 */
/* HTTPS in front of the API: one libmicrohttpd daemon a listening socket, all in the hub's own loop. */
#pragma once

#include "hub/hub.h"
#include "hub/pki.h"

struct http;

/**
 * http_new() - serve on a listening socket
 * @fd: taken
 *
 * Return: 0 or -errno.
 */
int http_new(struct hub *hub, int fd, const struct pki_pair *server, const char *ca_pem, struct http **ret);
struct http *http_free(struct http *h);
