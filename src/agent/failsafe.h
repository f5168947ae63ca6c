/* SPDX-License-Identifier: Apache-2.0 */
/* What no policy of the node itself can close. */
#pragma once

#include "agent/options.h"
#include "policy/spec.h"
#include "route/plan.h"

enum { FAILSAFE_API_MAX = 16 };
#define FAILSAFE_NAME "(failsafe)"

/* Ports of API servers: which this node must reach, and which others must reach here as it is one. */
struct failsafe_api {
	uint16_t out[FAILSAFE_API_MAX], in[FAILSAFE_API_MAX];
	unsigned n_out, n_in;
};
/* Once each, and no more than there is room for; 0 is none. */
void failsafe_add_port(uint16_t ports[static FAILSAFE_API_MAX], unsigned *n, uint16_t port);

/**
 * failsafe_spec() - the rules that come before all others of the node, as a policy object
 * @api: what is known of the API servers
 * @links: this node's addresses on its links: what it says to all on one of them is for itself, too
 *
 * Ports of the options policy.failsafePorts and policy.failsafeEgressPorts, those that Weft itself uses between nodes, and the API servers'; each for
 * TCP and UDP, from and to everywhere. Its name is no object's, so nobody can replace it. The caller owns it.
 */
struct policy_spec *failsafe_spec(const struct options *o, const struct failsafe_api *api, const struct route_underlay *links, size_t n_links);
