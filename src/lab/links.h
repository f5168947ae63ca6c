/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's wires: the fabric (a bridge a subnet, a router, the world host) and a node's cable into it. */
#pragma once

#include "lab/lab.h"

/**
 * fabric_build() - in the calling process's fresh network namespace, which becomes the fabric
 * @world_fd: a fresh network namespace for the world host
 * @ret_error: on failure, what failed; owned by the caller
 *
 * Return: 0 or -errno.
 */
int fabric_build(const struct lab *lab, int world_fd, char **ret_error);

/**
 * node_plug() - connect the calling process's fresh network namespace to the fabric as the node's eth0, with its
 * addresses and a default route through the router of its subnet
 */
int node_plug(const struct lab *lab, const struct lab_node *node, int fabric_fd, char **ret_error);

/* Brings lo up in a namespace. */
int lo_up(int netns_fd);
