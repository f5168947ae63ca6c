/* SPDX-License-Identifier: Apache-2.0 */
/* What no policy of the node itself can close. */
#pragma once

#include "agent/options.h"
#include "policy/spec.h"

/**
 * failsafe_spec() - the rules that come before all others of the node, as a policy object
 * @api_port: of the API server that this agent talks to; 0: not known
 *
 * Ports of the options policy.failsafePorts and policy.failsafeEgressPorts, those that Weft itself uses between nodes, and the API server's; each for
 * TCP and UDP, from and to everywhere. Its name is no object's, so nobody can replace it. The caller owns it.
 */
struct policy_spec *failsafe_spec(const struct options *o, uint16_t api_port);
