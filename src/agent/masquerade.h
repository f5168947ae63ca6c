/* SPDX-License-Identifier: Apache-2.0 */
/* What masquerade is told, from options, the cluster and the node: pure. docs/nat.md says what the rules are for. */
#pragma once

#include "agent/options.h"
#include "datapath/datapath.h"
#include "model/model.h"

/* Is it on for the family (0: IPv4, 1: IPv6)? @range: the pods' of that family; length 0: there is none, and nothing to do. */
bool masquerade_is_on(const struct options *o, int family, const struct prefix *range);

/**
 * masquerade_exempt() - what keeps its address
 * @ret: sorted, each once; the caller's to free()
 *
 * Destinations: pod ranges and addresses of all nodes, link-local, multicast, broadcast, option masquerade.exclude. Sources:
 * option masquerade.excludePools. O(nodes log nodes). Return: how many.
 */
size_t masquerade_exempt(const struct options *o, const struct model *m, struct dp_exempt **ret);
