/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into an open datapath: for tests, and for tools that walk the real maps. Descriptors stay the datapath's. */
#pragma once

#include "datapath/datapath.h"

/* @hook: "from_pod", "to_pod", "from_net", "from_tunnel", "to_net", "to_tunnel". Return: descriptor, -ENOENT. */
int datapath_program_fd(struct datapath *dp, const char *hook);
/* @name as in docs/architecture.md. Return: descriptor, -ENOENT. */
int datapath_map_fd(struct datapath *dp, const char *name);
