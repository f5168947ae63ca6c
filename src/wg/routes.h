/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's routes in the namespace of the sockets, as far as they concern an interface. */
#pragma once

#include "wg/endpoint.h"

struct engine;
struct routes;

int routes_new(struct engine *e, struct routes **ret);
struct routes *routes_free(struct routes *r);
/* The TUN has gone to another namespace, or is back. */
void routes_moved(struct routes *r);

/**
 * routes_way_out() - by which interface a datagram leaves that is sent to @to's remote from @to's own address
 *
 * Return: its index, or -errno.
 */
int routes_way_out(struct routes *r, const struct endpoint *to);
