/* SPDX-License-Identifier: Apache-2.0 */
/* The ports that services may have on every node, each once a protocol. Nothing is stored here: who holds what is in the
 * services, and is claimed again at start. */
#pragma once

#include "base/macro.h"

enum { NODE_PORT_FIRST = 30000, NODE_PORT_LAST = 32767, NODE_PORT_PROTOCOLS = 3 };

struct node_ports {
	uint16_t first, last; /* 0: not set up */
	uint16_t next;	      /* where the search for a free one goes on */
	uint64_t taken[NODE_PORT_PROTOCOLS][65536 / 64];
};

void node_ports_init(struct node_ports *p, uint16_t first, uint16_t last);
unsigned node_ports_protocol(const char *name); /* "TCP", "UDP", "SCTP" → 0, 1, 2 */

/* Return: 0, -ERANGE when it is outside, -EEXIST when another holds it. */
int node_ports_claim(struct node_ports *p, unsigned protocol, uint16_t port);
/**
 * node_ports_take() - a free port
 *
 * One that no protocol uses, as long as there is one; from the upper part of the range first: the lower one is where
 * people choose by hand (KEP-3668). Next fit: what was given back last is given out last.
 *
 * Return: 0, -ENOSPC.
 */
int node_ports_take(struct node_ports *p, unsigned protocol, uint16_t *ret);
void node_ports_return(struct node_ports *p, unsigned protocol, uint16_t port);
