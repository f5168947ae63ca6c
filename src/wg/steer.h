/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets are handled: by the worker that their flow's hash gives them to, wherever that thread runs; or, while traffic is calm
 * (calm.h), by the one that belongs to the processor where they came, bound to it: nobody has to be woken on another processor.
 *
 * The engine's owner's. */
#pragma once

#include "wg/calm.h"
#include "wg/tun.h"

struct engine;

struct steer {
	struct calm calm;
	int program, socket_program; /* for the TUN and for the sockets; -1: packets are never steered */
	uint64_t changes;
};

/* Loads the program, so before capabilities are dropped. Where something of it is not to be had, nothing is steered. */
void steer_init(struct steer *s, const struct tun *t, const struct features *features, unsigned workers);
void steer_done(struct steer *s);
/* A worker has asked. */
void steer_decide(struct engine *e);
/* Workers and sockets come (@on), or are about to go. */
void steer_data_path(struct engine *e, bool on);
