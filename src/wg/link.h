/* SPDX-License-Identifier: Apache-2.0 */
/* Follows the interface's state: up or down, MTU, gone, or moved into another network namespace. */
#pragma once

#include "base/macro.h"

struct engine;
struct link;

/* Reports the present state at once, then each change, by engine_set_link(). Return: 0 or -errno. */
int link_new(struct engine *e, struct link **ret);
struct link *link_free(struct link *l);
