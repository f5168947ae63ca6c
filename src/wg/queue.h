/* SPDX-License-Identifier: Apache-2.0 */
/* Handshake messages on their way from the workers to the engine's thread: bounded, so a flood costs no more memory than
 * this, and its depth says whether we are under load. */
#pragma once

#include "wg/device.h"

enum { HANDSHAKE_QUEUE_MAX = 4096 };

struct handshake_queue;

struct handshake_queue *handshake_queue_new(void);
struct handshake_queue *handshake_queue_free(struct handshake_queue *q);
/* Any thread. Return: 1: it was empty before, 0, or -ENOBUFS. */
int handshake_queue_push(struct handshake_queue *q, const void *msg, size_t len, const struct endpoint *from);
/* Return: how many there were, @max at most; @ret_left are behind them. */
unsigned handshake_queue_pop(struct handshake_queue *q, struct handshake_message *ret, unsigned max, size_t *ret_left);
size_t handshake_queue_depth(struct handshake_queue *q);
