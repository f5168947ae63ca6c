/* SPDX-License-Identifier: Apache-2.0 */
/* What survives a killed engine, in a directory of mode 0700: the configuration, the peers' last endpoints and newest timestamps, who had a
 * session (those are shaken hands with at once), and a bound above every handshake timestamp ever sent. */
#pragma once

#include "wg/message.h"

struct engine;
struct peer;
struct state;

struct state_stats {
	uint64_t records, rewrites, errors;
};

/**
 * state_new() - read what is there into the engine's device and keep it up to date from now on
 * @dir: NULL: nothing is kept
 * @read: false: only keep
 *
 * A file that cannot be understood is an error, not an empty state: starting without keys would look like success.
 *
 * Return: 0 or -errno.
 */
int state_new(struct engine *e, const char *dir, bool read, struct state **ret);
/* Saves what is pending. */
struct state *state_free(struct state *s);
/* What is under way is on the disk when this returns. */
void state_wait(struct state *s);
/* The files belong to a successor now: state_wait() came before. */
void state_disown(struct state *s);
/* The files are ours from here on: a predecessor, if there was one, writes no more. */
void state_begin(struct state *s);
/* The configuration, or what we know of a peer, has changed: save soon. */
void state_touch(struct state *s);
void state_touch_peer(struct state *s, struct peer *p);
/* We are about to answer an initiation of the peer's: save now. */
void state_accepted(struct state *s, struct peer *p);
/* We are about to use a session that the peer has answered for: save now. */
void state_answered(struct state *s, struct peer *p);
void state_reserve_timestamp(struct state *s, const uint8_t timestamp[static TIMESTAMP_LEN]);
const struct state_stats *state_stats(const struct state *s);
