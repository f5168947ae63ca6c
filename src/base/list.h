/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list: a head is a node that points at itself. */
#pragma once

#include "base/macro.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert(struct list *node, struct list *prev, struct list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert(node, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert(node, head, head->next);
}

/* Takes the node out; it may be taken out again (it points at itself). */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_for_each(pos, head, member)                                                                               \
	for (pos = list_entry((head)->next, __typeof__(*pos), member); &pos->member != (head);                         \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))
/* As above; the entry at hand may be removed or freed. */
#define list_for_each_safe(pos, tmp, head, member)                                                                     \
	for (pos = list_entry((head)->next, __typeof__(*pos), member),                                                 \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member);                                              \
	     &pos->member != (head); pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*pos), member))
