/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that are lost, and their pods. */
#pragma once

#include <stdint.h>

struct hub;

/* Since when this hub has been there without an interruption, and its last look: seconds of CLOCK_BOOTTIME, 0 before the first. */
struct node_liveness {
	int64_t since, last_look;
};

/* On each tick. Writes only what is not so yet. */
void node_liveness_check(struct hub *hub);
