/* SPDX-License-Identifier: Apache-2.0 */
/* MeshNode: how a node is reached by WireGuard. Written by its own agent only, read by all the others. */
#include "hub/schema_meta.h"

static const struct schema mesh_node_spec = {
	"dev.weft.v1alpha1.MeshNodeSpec", "How a node is reached.",
	FIELDS(STR("publicKey", "The node's WireGuard key, in base64.", .required = true),
	       STR("nextKey", "The key that takes its place soon, in base64: for a while the node may speak under either."),
	       STR_LIST("endpoints", "Where the node may be reached, best first: ADDRESS:PORT, [ADDRESS]:PORT.", .required = true))
};

static const struct schema mesh_node_status = {
	"dev.weft.v1alpha1.MeshNodeStatus", "What came of it.",
	FIELDS(STR("engine", "kernel or userspace."),
	       OBJ_KEYED("conditions", &schema_condition, "type", "Accepted: may the node take part?"))
};

const struct schema schema_meshnode = { "dev.weft.v1alpha1.MeshNode", "A node's part in the encrypted mesh; named as its Node.",
					FIELDS(META, OBJ("spec", &mesh_node_spec, "How the node is reached.", .required = true),
					       OBJ("status", &mesh_node_status, "What came of it.")) };
