/* SPDX-License-Identifier: Apache-2.0 */
#include "wg/window.h"

#define NODE(l) list_entry(l, struct window_node, list)

void window_init(struct window *w)
{
	list_init(&w->asked);
	list_init(&w->waiting);
	w->n_asked = 0;
	w->backlog = false;
}

void window_leave(struct window *w, struct window_node *n)
{
	w->n_asked -= n->place == WINDOW_ASKED;
	n->place = WINDOW_OUT;
	list_remove(&n->list);
}

/* The end of the oldest; all have the same time. */
static int64_t expires_at(const struct window *w)
{
	return NODE(w->asked.next)->asked_at + (w->backlog ? WINDOW_BACKLOG_NS : WINDOW_NS);
}

static void expire(struct window *w, int64_t now)
{
	while (!list_empty(&w->asked) && expires_at(w) <= now)
		window_leave(w, NODE(w->asked.next));
}

static void ask(struct window *w, struct window_node *n, int64_t now)
{
	n->place = WINDOW_ASKED;
	n->asked_at = now;
	list_push_back(&w->asked, &n->list);
	w->n_asked++;
}

bool window_enter(struct window *w, struct window_node *n, int64_t now)
{
	if (n->place == WINDOW_WAITING)
		return false;
	window_leave(w, n);
	expire(w, now);
	if (w->n_asked == WINDOW_MAX || !list_empty(&w->waiting)) { /* those before it come first */
		n->place = WINDOW_WAITING;
		list_push_back(&w->waiting, &n->list);
		return false;
	}
	ask(w, n, now);
	return true;
}

struct window_node *window_next(struct window *w, int64_t now)
{
	struct window_node *n;

	if (list_empty(&w->waiting))
		return NULL;
	expire(w, now);
	if (w->n_asked == WINDOW_MAX)
		return NULL;
	n = NODE(w->waiting.next);
	window_leave(w, n);
	ask(w, n, now);
	return n;
}

int64_t window_deadline(const struct window *w)
{
	return list_empty(&w->waiting) ? INT64_MAX : list_empty(&w->asked) ? 0 : expires_at(w);
}
