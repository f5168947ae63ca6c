/* SPDX-License-Identifier: Apache-2.0 */
/* From MeshNodes and what nodes own to the WireGuard device that this node should have. Pure. */
#pragma once

#include "mesh/device.h"
#include "model/model.h"

/* What belongs to a peer: its pod ranges, and its addresses as pods reach them. Each prefix has one owner. */
struct mesh_claim {
	const char *node;
	struct prefix prefix;
};

struct mesh_config {
	const char *node; /* own name */
	const uint8_t *private_key, *public_key;
	uint16_t port, keepalive_s;
	uint32_t mark;
	bool ipv4, ipv6; /* families that this node has outside */
	unsigned attempt; /* of each peer's endpoints, which one to try: counted on while a peer stays silent */
};

enum mesh_peer_state {
	MESH_PEER_OK,
	MESH_PEER_NO_KEY,      /* no MeshNode (yet) */
	MESH_PEER_NO_ENDPOINT, /* none that this node's families reach: it may still come to us */
	MESH_PEER_DUPLICATE,   /* its key is ours, or an older MeshNode's */
};

struct mesh_found {
	const char *name; /* borrowed from the model */
	enum mesh_peer_state state;
	uint8_t key[MESH_KEY];
	bool has_next;
	uint8_t next_key[MESH_KEY];
	const char *holder; /* DUPLICATE: who has the key; borrowed */
};

struct mesh_plan {
	struct mesh_device device; /* sorted */
	struct mesh_found *found;  /* sorted by name, of each node that claims something */
	size_t n_found;
	const char *own_holder; /* an older MeshNode has this node's key; borrowed. NULL: all is well */
};

/**
 * mesh_compile() - the whole device
 * @claims: sorted by node
 *
 * Two MeshNodes with one key: the one created first has it (equal times: the smaller uid, then name), the other gets no
 * tunnel. All nodes come to the same answer. O(n log n) for n nodes. Never fails.
 */
void mesh_compile(const struct mesh_config *config, const struct model *m, const struct mesh_claim *claims, size_t n,
		  struct mesh_plan *ret);
void mesh_plan_done(struct mesh_plan *p);
const struct mesh_found *mesh_plan_find(const struct mesh_plan *p, const char *node); /* O(log n); NULL when there is none */
const char *mesh_peer_state_name(enum mesh_peer_state s);
