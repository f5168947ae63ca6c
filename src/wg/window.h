/* SPDX-License-Identifier: Apache-2.0 */
/* How many initiations may be unanswered at once. Who shakes hands with all of its peers at the same moment, as after a restart,
 * gets their answers at the same moment: asked in portions, they find room in the queue of handshake messages. A peer that does not
 * answer holds its place for a moment only, so that the absent do not stand in the way of those who are there.
 *
 * The device's owner's; no clock. */
#pragma once

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

/* A quarter of the queue; and so many new ones a WINDOW_NS where nobody answers. While messages queue up, the answers that we wait for
 * may be among them: then it takes longer, but not for ever, as they may be anybody's. */
enum { WINDOW_MAX = 1024 };
#define WINDOW_NS (INT64_C(1000000000) / 2)
#define WINDOW_BACKLOG_NS (5 * WINDOW_NS)

struct window {
	struct list asked, waiting; /* oldest first */
	unsigned n_asked;
	bool backlog; /* messages queue up */
};

enum window_place { WINDOW_OUT, WINDOW_ASKED, WINDOW_WAITING };

/* A peer's part. */
struct window_node {
	struct list list;
	enum window_place place;
	int64_t asked_at;
};

void window_init(struct window *w);
static inline void window_node_init(struct window_node *n)
{
	list_init(&n->list);
}

/* Return: whether it may be asked now; else it waits, at the place it has already. */
bool window_enter(struct window *w, struct window_node *n, int64_t now);
/* It has answered, or need not be asked any more. */
void window_leave(struct window *w, struct window_node *n);
/* The first that waited and is to be asked now; NULL: none. */
struct window_node *window_next(struct window *w, int64_t now);
/* When that may change without an answer; INT64_MAX: nobody waits. */
int64_t window_deadline(const struct window *w);
