/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets are handled: by the worker that their flow's hash gives them to, wherever that thread runs; or, while traffic is calm
 * (calm.h), by the one that belongs to the processor where they came, bound to it: nobody has to be woken on another processor.
 *
 * The engine's owner's. */
#pragma once

#include "wg/calm.h"
#include "wg/steer_program.h"

struct engine;

struct steer {
	struct calm calm;
	struct steer_programs programs; /* none: packets are never steered */
	bool attached;
	bool given_up; /* packets are not handled near any more */
	uint64_t changes;
};

/**
 * steer_init() - have the programs, so before capabilities are dropped; where something of it is not to be had, nothing is steered
 * @adopted: those of a predecessor with as many workers, empty: none; taken from it, if they are of use
 */
void steer_init(struct steer *s, const struct tun *t, const struct features *features, unsigned workers, struct steer_programs *adopted);
/* Nothing of ours is left at the interface, which may outlive us, unless a successor goes on with it (@disown). */
void steer_done(struct steer *s, const struct tun *t);
void steer_disown(struct steer *s);
static inline bool steer_on(const struct steer *s)
{
	return s->programs.sockets.fd >= 0;
}
/* A worker has asked. */
void steer_decide(struct engine *e);
/* Workers and sockets come (@on), or are about to go. */
void steer_data_path(struct engine *e, bool on);
