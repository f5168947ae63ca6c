/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the model, as the compiler of policy takes them. */
#pragma once

#include "model/model.h"
#include "policy/policy.h"

/* @host: it is this node, and policies may speak of it. */
void policy_nodes_put(struct policy *to, const struct model_node *node, bool host);
/* The pod ranges of all nodes. */
void policy_nodes_put_ranges(struct policy *to, const struct model *m);
