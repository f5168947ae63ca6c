/* SPDX-License-Identifier: Apache-2.0 */
/* Who is who: names for addresses, and for what the datapath tells of them. */
#pragma once

#include "observe/stream.h"

struct agent;
struct dp_event;

/* Fills in kind and names; the address and port stay the caller's. Names are new texts, freed with the event. */
void seeing_name(const struct agent *a, struct observe_end *end);
/* "NetworkPolicy default/web ingress[0]"; NULL for rule 0. Owned by the caller. */
char *seeing_rule(const struct agent *a, uint32_t rule);
/* A datapath_read_events() callback: keeps the event, hands it to those who read along. @ctx: the agent. */
void seeing_on_event(const struct dp_event *ev, void *ctx);
/* The method `observe`. */
void agent_on_observe(struct ipc_request *req, json_t *params, void *ctx);
/* The method `why`: why.c. */
void agent_on_why(struct ipc_request *req, json_t *params, void *ctx);
