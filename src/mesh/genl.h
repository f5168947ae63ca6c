/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of generic netlink's family "wireguard", there and back. Pure: the socket is engine_kernel.c's. */
#pragma once

#include "mesh/device.h"

#include <libmnl/libmnl.h>

/* A message to the family; @buf has MESH_GENL_MESSAGE bytes. */
enum { MESH_GENL_MESSAGE = 16384, MESH_GENL_PREFIXES = 256 };

/* Asks for the whole device. */
struct nlmsghdr *mesh_genl_get(void *buf, uint16_t family, uint32_t ifindex);
/* What a change says about the device itself, or NULL when that is nothing. */
struct nlmsghdr *mesh_genl_set_device(void *buf, uint16_t family, uint32_t ifindex, const struct mesh_change *c);

/**
 * mesh_genl_set_peer() - what a step says about its peer
 * @from: prefixes that earlier messages have said already
 * @ret_next: with how many to go on, 0 when all is said
 *
 * step->take is not among it: see mesh_genl_bin().
 */
struct nlmsghdr *mesh_genl_set_peer(void *buf, uint16_t family, uint32_t ifindex, const struct mesh_step *s, size_t from, size_t *ret_next);

/* Kernels before 6.16 cannot take a prefix away from a peer. A peer of no key that anybody has gets it, then goes. */
struct mesh_step mesh_genl_bin(const struct prefix *take, size_t n);

/* One message of an answer; a device may come in several. Return: 0, -EBADMSG, -E2BIG. */
int mesh_genl_parse(const struct nlmsghdr *nlh, struct mesh_device *ret);
/* The family's number in an answer of the controller. Return: number, -ENOENT. */
int mesh_genl_parse_family(const struct nlmsghdr *nlh);
struct nlmsghdr *mesh_genl_find_family(void *buf);
