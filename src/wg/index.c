/* SPDX-License-Identifier: Apache-2.0 */
/* At most a quarter of the slots is in use, so a random free one is found at once. */
#include "wg/index.h"

#include "wg/crypto.h"

enum { INITIAL_SIZE = 64 };

static struct index_array *new_array(size_t size)
{
	struct index_array *a = xcalloc(1, sizeof(*a) + size * sizeof(a->slots[0]));

	a->mask = size - 1;
	return a;
}

static void free_array(void *ctx _unused_, void *p)
{
	free(p);
}

void index_init(struct index_table *t, struct qsbr *qsbr)
{
	*t = (struct index_table){ .qsbr = qsbr };
	atomic_store(&t->array, new_array(INITIAL_SIZE));
}

void index_done(struct index_table *t)
{
	free(atomic_load(&t->array));
	atomic_store(&t->array, NULL);
}

static _Atomic(struct index_slot *) *place(struct index_table *t, uint32_t index)
{
	struct index_array *a = atomic_load(&t->array);

	return &a->slots[index & a->mask];
}

/* Twice the size: two indexes that differed in the low bits still do. */
static void double_array(struct index_table *t)
{
	struct index_array *old = atomic_load(&t->array), *a = new_array(2 * ((size_t)old->mask + 1));

	for (size_t i = 0; i <= old->mask; i++) {
		struct index_slot *s = atomic_load(&old->slots[i]);

		if (s)
			atomic_store(&a->slots[s->index & a->mask], s);
	}
	atomic_store(&t->array, a);
	qsbr_retire(t->qsbr, old, free_array, NULL);
}

static void put(struct index_table *t, struct index_slot *slot, enum index_kind kind, struct peer *peer)
{
	slot->kind = kind;
	slot->peer = peer;
	atomic_store_explicit(place(t, slot->index), slot, memory_order_release);
	t->used++;
}

void index_insert(struct index_table *t, struct index_slot *slot, enum index_kind kind, struct peer *peer)
{
	index_remove(t, slot);
	if (4 * (t->used + 1) > (size_t)atomic_load(&t->array)->mask + 1)
		double_array(t);
	do
		crypto_random(&slot->index, sizeof(slot->index));
	while (slot->index == 0 || atomic_load(place(t, slot->index)));
	put(t, slot, kind, peer);
}

int index_restore(struct index_table *t, struct index_slot *slot, enum index_kind kind, struct peer *peer)
{
	struct index_slot *other;

	/* Indexes of one process never collide in its own array; ours may still be smaller. */
	while ((other = atomic_load(place(t, slot->index)))) {
		if (other->index == slot->index || atomic_load(&t->array)->mask >= (1u << 22))
			return -EEXIST;
		double_array(t);
	}
	put(t, slot, kind, peer);
	return 0;
}

void index_replace(struct index_table *t, struct index_slot *from, struct index_slot *to, enum index_kind kind)
{
	assert(from->kind != INDEX_FREE);
	to->index = from->index;
	to->kind = kind;
	to->peer = from->peer;
	from->kind = INDEX_FREE;
	atomic_store_explicit(place(t, to->index), to, memory_order_release);
}

void index_remove(struct index_table *t, struct index_slot *slot)
{
	if (slot->kind == INDEX_FREE)
		return;
	atomic_store_explicit(place(t, slot->index), NULL, memory_order_release);
	slot->kind = INDEX_FREE;
	t->used--;
}
