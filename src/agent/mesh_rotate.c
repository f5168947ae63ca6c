/* SPDX-License-Identifier: Apache-2.0 */
/* A new key without a lost packet, in three steps. The next key is announced, so that every peer has it as a second peer of
 * this node; then this node speaks under it, and shakes hands anew, while packets under the old sessions still come in; when all
 * peers that were there have done so, it is the key, and the old one is forgotten. Each step is in the key file before it is
 * taken: an agent that is killed in between is followed by one that goes on. */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

#include <time.h>

enum {
	LOOK_US = 200000,
	ANNOUNCE_US = 5000000, /* watches tell within milliseconds; slow ones get this long */
	SETTLE_US = 90000000,  /* for peers that are silent: they find the new key in the API */
};

static int save(struct agent *a)
{
	_cleanup_free_ char *path = xasprintf("%s/mesh.key", a->opt.mesh_dir);
	int r = mesh_key_save(path, a->opt.node_name, &a->mesh.key);

	if (r < 0)
		log_error("cannot write the WireGuard key", L_STR("file", path), L_ERRNO(r));
	return r;
}

static uint64_t now_us(struct agent *a)
{
	uint64_t t = 0;

	(void)sd_event_now(a->event, CLOCK_MONOTONIC, &t);
	return t;
}

/* Have all peers that talk with us shaken hands since the change? */
static bool peers_followed(const struct agent *a)
{
	struct mesh_status s;

	mesh_status(a->mesh.mesh, &s);
	for (size_t i = 0; i < s.device->n_peers; i++)
		if (s.device->peers[i].handshake_s < a->mesh.switched_s)
			return false;
	return s.settled;
}

static bool is_announced(const struct agent *a)
{
	const struct model_mesh_node *own = model_find_mesh_node(a->model, a->opt.node_name);

	return own && own->has_next && memcmp(own->next_key, a->mesh.key.next_public, MESH_KEY) == 0;
}

static void speak_under_next(struct agent *a)
{
	a->mesh.key.uses_next = true;
	if (save(a) < 0) {
		a->mesh.key.uses_next = false;
		return;
	}
	a->mesh.rotation_us = now_us(a);
	a->mesh.switched_s = time(NULL);
	log_info("speaking under the next WireGuard key");
	agent_mesh_apply(a);
}

static void forget_old(struct agent *a)
{
	struct mesh_key *k = &a->mesh.key, old = *k;

	memcpy(k->private_key, old.next_private, MESH_KEY);
	memcpy(k->public_key, old.next_public, MESH_KEY);
	k->has_next = k->uses_next = false;
	if (save(a) < 0)
		*k = old;
	else
		log_info("the next WireGuard key is this node's key now");
	mesh_key_done(&old);
	agent_mesh_apply(a);
}

static int on_look(sd_event_source *s, uint64_t usec, void *ctx)
{
	struct agent *a = ctx;
	struct agent_mesh *m = &a->mesh;

	if (!m->key.uses_next && !is_announced(a))
		m->rotation_us = usec; /* the time runs from when the API has it */
	else if (!m->key.uses_next && usec - m->rotation_us >= ANNOUNCE_US)
		speak_under_next(a);
	else if (m->key.uses_next && (peers_followed(a) || usec - m->rotation_us >= SETTLE_US))
		forget_old(a);
	if (!m->key.has_next)
		return 0;
	(void)sd_event_source_set_time(s, usec + LOOK_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

void agent_mesh_resume_rotation(struct agent *a)
{
	struct agent_mesh *m = &a->mesh;

	if (!m->key.has_next)
		return;
	m->rotation_us = now_us(a);
	m->switched_s = time(NULL);
	m->rotation_timer = sd_event_source_disable_unref(m->rotation_timer);
	if (sd_event_add_time_relative(a->event, &m->rotation_timer, CLOCK_MONOTONIC, LOOK_US, 0, on_look, a) < 0)
		log_error("cannot set a timer: the change of the WireGuard key waits for the next start");
}

void agent_on_rotate_key(struct ipc_request *req, _unused_ json_t *params, void *ctx)
{
	struct agent *a = ctx;
	struct mesh_key *k = &a->mesh.key;

	if (!a->mesh.mesh) {
		ipc_reply_error(req, 100, "this node does not encrypt", "transport is not wireguard");
		return;
	}
	if (k->has_next) {
		ipc_reply_error(req, 100, "the key is being changed already", "");
		return;
	}
	k->has_next = mesh_key_generate(k->next_private, k->next_public) == 0;
	k->uses_next = false;
	if (!k->has_next || save(a) < 0) {
		k->has_next = false;
		ipc_reply_error(req, 100, "cannot make a key", "see the agent's log");
		return;
	}
	agent_mesh_resume_rotation(a);
	agent_mesh_publish(a);
	ipc_reply(req, json_object());
}
