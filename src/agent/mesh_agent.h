/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's part in the encrypted mesh: this node's key, its MeshNode object, its WireGuard interface. */
#pragma once

#include "agent/options.h"
#include "ipc/server.h"
#include "mesh/key.h"
#include "mesh/mesh.h"
#include "mesh/plan.h"

extern const char MESH_DEVICE[];

struct agent;

/* What is told to the API, and how that stands. */
struct mesh_publication {
	json_t *spec, *status; /* as they were accepted last; NULL: not since the start */
	bool pending;
	uint64_t retry_us; /* after a refusal */
	char *error;	   /* or NULL */
};

struct agent_mesh {
	struct mesh *mesh; /* NULL without encryption */
	char *program, *state_dir;
	struct mesh_key key;
	struct mesh_plan plan;
	bool planned;
	char *refused; /* nodes with another's key, as they were logged last; NULL: none */
	struct mesh_publication told;
	sd_event_source *attempt_timer, *rotation_timer;
	uint64_t rotation_us; /* when its present step began */
	int64_t switched_s;   /* when this node began to speak under the next key, by the wall clock */
	unsigned attempt;
	uint64_t lost, changed; /* of mesh_status, as they were told last */
};

static inline bool mesh_is_on(const struct options *o)
{
	return o->transport == TRANSPORT_WIREGUARD;
}

/* Loads or makes the key. Return: 0, -errno, which is logged. */
int agent_mesh_start(struct agent *a);
void agent_mesh_stop(struct agent *a);
/* The interface; see mesh_ensure_device(). @mtu: of the underlay. */
int agent_mesh_ensure(struct agent *a, uint32_t mtu, bool mtu_is_new, uint32_t *ret_ifindex, const char **ret_mended, char **ret_error);
/* The underlay guard knows every pod range and node: before there is a route. Return: 0, -errno. */
int agent_mesh_guard(struct agent *a);
/* Peers, keys and allowed addresses as the plan of routes says. */
void agent_mesh_apply(struct agent *a);
void agent_mesh_set_health(struct agent *a);

/* mesh_rotate.c: goes on with a rotation that an earlier agent began; begins one for `weft mesh rotate-key`. */
void agent_mesh_resume_rotation(struct agent *a);
void agent_on_rotate_key(struct ipc_request *req, json_t *params, void *ctx);

/* mesh_publish.c: this node's MeshNode is as it should be, or a request is under way. */
void agent_mesh_publish(struct agent *a);
void agent_mesh_publish_done(struct agent *a);

/* mesh_status.c */
json_t *agent_mesh_status(const struct agent *a);			    /* for `weft status` */
void agent_mesh_peer_status(const struct agent *a, const char *name, json_t *peer); /* adds to a peer of it */
