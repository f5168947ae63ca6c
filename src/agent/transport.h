/* SPDX-License-Identifier: Apache-2.0 */
/* What the option `transport` means to the compiler, and the probes of `auto`. */
#pragma once

#include "agent/options.h"
#include "base/json.h"
#include "route/plan.h"

struct agent;

/* How peers are reached that no probe has proven: with `auto` by vxlan. */
enum route_transport transport_of(const struct options *o);
/* As the option names it. */
const char *transport_name(const struct options *o);
/* Does this node have a tunnel device? */
bool transport_has_tunnel(const struct options *o);
/* UDP port of the tunnel; 0 without one. */
uint16_t transport_port(const struct options *o);

/* `auto`: the opinions that the compiler is told. @ret stays valid until the next pass. */
void transport_fill(const struct agent *a, struct route_config *ret);
/* `auto`: who is asked from now on, by the plan. Return: 0, -errno. */
int transport_probe(struct agent *a);
/* `auto`: why a peer is reached as it is, in a line; owned by the caller. NULL otherwise. */
char *transport_reason(const struct agent *a, const struct route_peer *peer);
