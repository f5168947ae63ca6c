/* SPDX-License-Identifier: Apache-2.0 */
/* The node's WireGuard key pair, in a file of its own. */
#pragma once

#include "mesh/device.h"

struct mesh_key {
	uint8_t private_key[MESH_KEY], public_key[MESH_KEY];
	bool has_next; /* a rotation is under way */
	bool uses_next; /* and this node already speaks under the next key */
	uint8_t next_private[MESH_KEY], next_public[MESH_KEY];
};
void mesh_key_done(struct mesh_key *k); /* wipes */

/* A fresh pair. Return: 0, -EIO when there is no randomness. */
int mesh_key_generate(uint8_t ret_private[static MESH_KEY], uint8_t ret_public[static MESH_KEY]);

/**
 * mesh_key_load() - the node's pair; made and written when there is none
 * @path: of the file (mode 0600, replaced atomically); its directory is made
 * @node: the node's name. A file that another node wrote (a copied machine) is not ours: a fresh pair takes its place
 * @ret_error: on failure, one line for people, owned by the caller
 *
 * A file that cannot be understood is an error, never overwritten: peers know this node by what was in it.
 *
 * Return: 1 when it was made, 0, -EBADMSG, -EPERM when others may read the file, -errno.
 */
int mesh_key_load(const char *path, const char *node, struct mesh_key *ret, char **ret_error);
int mesh_key_save(const char *path, const char *node, const struct mesh_key *k);
