/* SPDX-License-Identifier: Apache-2.0 */
/* What survives a killed engine, in a directory of mode 0700: the configuration with the peers' last endpoints, who had a
 * session (those are shaken hands with at once), and a bound above every handshake timestamp ever sent. */
#pragma once

#include "wg/message.h"

struct engine;
struct state;

/**
 * state_new() - read what is there into the engine's device and keep it up to date from now on
 * @dir: NULL: nothing is kept
 *
 * A file that cannot be understood is an error, not an empty state: starting without keys would look like success.
 *
 * Return: 0 or -errno.
 */
int state_new(struct engine *e, const char *dir, struct state **ret);
/* Saves what is pending. */
struct state *state_free(struct state *s);
/* The files belong to a successor now. */
void state_disown(struct state *s);
/* Something changed: save soon. */
void state_touch(struct state *s);
void state_reserve_timestamp(struct state *s, const uint8_t timestamp[static TIMESTAMP_LEN]);
