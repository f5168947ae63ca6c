/* SPDX-License-Identifier: Apache-2.0 */
/* Receiver index -> handshake or session: a flat array, slot number in the low bits, random bits above. Read without
 * locks inside a QSBR section; one writer. */
#pragma once

#include "wg/qsbr.h"

struct peer;

enum index_kind { INDEX_FREE, INDEX_HANDSHAKE, INDEX_SESSION };

struct index_slot {
	uint32_t index; /* valid while kind is not INDEX_FREE */
	enum index_kind kind;
	struct peer *peer;
};

struct index_array {
	uint32_t mask;
	_Atomic(struct index_slot *) slots[];
};

struct index_table {
	_Atomic(struct index_array *) array;
	size_t used;
	struct qsbr *qsbr;
};

void index_init(struct index_table *t, struct qsbr *qsbr);
void index_done(struct index_table *t);
/* Picks an unused random index for @slot. */
void index_insert(struct index_table *t, struct index_slot *slot, enum index_kind kind, struct peer *peer);
/* @to takes over the index of @from, which becomes free. */
void index_replace(struct index_table *t, struct index_slot *from, struct index_slot *to, enum index_kind kind);
/* Puts @slot at the index it names already (taken over from another process). Return: 0, -EEXIST. */
int index_restore(struct index_table *t, struct index_slot *slot, enum index_kind kind, struct peer *peer);
void index_remove(struct index_table *t, struct index_slot *slot);

static inline struct index_slot *index_find(const struct index_table *t, uint32_t index)
{
	struct index_array *a = atomic_load_explicit(&t->array, memory_order_acquire);
	struct index_slot *s = atomic_load_explicit(&a->slots[index & a->mask], memory_order_acquire);

	return s && s->index == index ? s : NULL;
}
