/* SPDX-License-Identifier: Apache-2.0 */
/* What `weft status` says of the mesh. Never a private key. */
#include "agent/agent.h"
#include "base/base64.h"

json_t *agent_mesh_status(const struct agent *a)
{
	char key[BASE64_LEN(MESH_KEY) + 1];
	struct mesh_status s;
	json_t *o;

	if (!a->mesh.mesh)
		return json_null();
	mesh_status(a->mesh.mesh, &s);
	o = json_pack("{ss, ss, ss, sI, sb, sI, sI}", "interface", MESH_DEVICE, "engine", s.engine, "publicKey",
		      base64_encode(a->mesh.key.public_key, MESH_KEY, key), "port", (json_int_t)a->opt.mesh_port, "settled", s.settled,
		      "peers", (json_int_t)s.device->n_peers, "engineStarts", (json_int_t)s.starts);
	if (s.error)
		json_object_set_new(o, "error", json_string(s.error));
	return o;
}

static void add_traffic(const struct mesh_peer *p, json_t *peer)
{
	char text[ENDPOINT_TEXT_MAX];

	if (!addr_is_zero(&p->endpoint))
		json_object_set_new(peer, "endpoint", json_string(addr_port_format(&p->endpoint, p->port, text)));
	json_object_set_new(peer, "lastHandshake", json_integer(p->handshake_s));
	json_object_set_new(peer, "receivedBytes", json_integer(p->rx_bytes));
	json_object_set_new(peer, "sentBytes", json_integer(p->tx_bytes));
}

void agent_mesh_peer_status(const struct agent *a, const char *name, json_t *peer)
{
	const struct mesh_found *found = a->mesh.planned ? mesh_plan_find(&a->mesh.plan, name) : NULL;
	char key[BASE64_LEN(MESH_KEY) + 1];
	const struct mesh_peer *p;
	struct mesh_status s;

	if (!found)
		return;
	json_object_set_new(peer, "mesh", json_string(mesh_peer_state_name(found->state)));
	if (found->state == MESH_PEER_DUPLICATE)
		json_object_set_new(peer, "why", json_sprintf("its WireGuard key is that of %s: no tunnel", found->holder));
	if (found->state == MESH_PEER_NO_KEY) {
		json_object_set_new(peer, "why", json_string("it has published no WireGuard key (yet)"));
		return;
	}
	json_object_set_new(peer, "publicKey", json_string(base64_encode(found->key, MESH_KEY, key)));
	mesh_status(a->mesh.mesh, &s);
	p = mesh_device_find(s.device, found->key);
	if (p && found->state != MESH_PEER_DUPLICATE)
		add_traffic(p, peer);
}
