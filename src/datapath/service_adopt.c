/* SPDX-License-Identifier: Apache-2.0 */
/* What the maps held when this process came: read once, whole. Ports that are put find themselves in it (datapath/service.c); what
 * nobody has claimed when everything is put is deleted. */
#include "datapath/service_internal.h"

int services_each_entry(int map, size_t key_size, size_t value_size, services_entry_fn *fn, void *ctx)
{
	enum { BATCH = 4096 };
	_cleanup_free_ uint8_t *keys = xcalloc(BATCH, key_size), *values = xcalloc(BATCH, value_size);
	uint8_t in[64], out[64]; /* the kernel's: four bytes in a hash, a key in a trie */
	bool more = false;
	int r;

	do {
		uint32_t n = BATCH;

		r = bpf_map_lookup_batch(map, more ? in : NULL, out, keys, values, &n, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < n; i++)
			fn(ctx, keys + i * key_size, values + i * value_size);
		memcpy(in, out, sizeof(in));
		more = true;
	} while (r == 0);
	return 0;
}

static struct adopted *get_adopted(struct services *s, uint32_t id)
{
	struct adopted *a = services_find_adopted(s, id);

	if (a)
		return a;
	a = xnew0(struct adopted);
	a->id = id;
	htab_insert(&s->adopted, hash_mem(&id, sizeof(id)), &a->node);
	return a;
}

static void take_frontend(void *ctx, const void *key, const void *value)
{
	struct services *s = ctx;
	const struct service_frontend *f = value;
	struct adopted *a = get_adopted(s, f->service);

	services_note_frontend(s, key, value);
	s->next_service = MAX(s->next_service, f->service);
	GROW(a->frontends, a->n_frontends, a->cap_frontends);
	a->frontends[a->n_frontends++] = *(const struct service_key *)key;
}

static void take_backend(void *ctx, const void *key, const void *value)
{
	struct services *s = ctx;
	const struct service_backend *b = value;
	uint32_t id = *(const uint32_t *)key;
	struct adopted *a = get_adopted(s, b->service);

	s->next_backend = MAX(s->next_backend, id);
	s->next_service = MAX(s->next_service, b->service);
	GROW(a->backends, a->n_backends, a->cap);
	a->backends[a->n_backends++] =
		(struct backend_state){ .addr = b->addr, .port = b->port, .roles = b->roles, .flags = b->flags, .id = id };
}

static void take_chunk(void *ctx, const void *key, const void *value)
{
	struct services *s = ctx;
	const struct service_slot_key *k = key;
	struct adopted_set *set = services_find_adopted_set(s, k->set);

	s->next_set = MAX(s->next_set, k->set);
	if (k->chunk >= SERVICE_SLOTS_MAX / SERVICE_CHUNK)
		return;
	if (!set) {
		set = xnew0(struct adopted_set);
		set->id = k->set;
		htab_insert(&s->adopted_sets, hash_mem(&k->set, sizeof(k->set)), &set->node);
	}
	if (k->chunk >= set->n_chunks) {
		set->chunks = xrealloc(set->chunks, k->chunk + 1, sizeof(*set->chunks));
		memset(set->chunks + set->n_chunks, 0, (k->chunk + 1 - set->n_chunks) * sizeof(*set->chunks));
		set->n_chunks = k->chunk + 1;
	}
	memcpy(&set->chunks[k->chunk], value, sizeof(*set->chunks));
}

static void take_source(void *ctx, const void *key, const void *value)
{
	struct services *s = ctx;
	const struct service_source_key *k = key;
	struct adopted *a = get_adopted(s, k->service);
	struct prefix *p;

	(void)value;
	s->next_service = MAX(s->next_service, k->service);
	GROW(a->sources, a->n_sources, a->cap_sources);
	p = &a->sources[a->n_sources++];
	p->len = k->len - 32;
	memcpy(&p->addr, k->addr, sizeof(p->addr));
}

static int compare_id(const void *a, const void *b)
{
	uint32_t x = ((const struct backend_state *)a)->id, y = ((const struct backend_state *)b)->id;

	return x < y ? -1 : x > y;
}

int services_get(struct datapath *dp, struct services **ret)
{
	struct services *s = dp->services;
	int r;

	if (s) {
		*ret = s;
		return 0;
	}
	s = xnew0(struct services);
	s->slots = xnew0_array(uint32_t, SERVICE_SLOTS_MAX);
	r = services_each_entry(dp->maps[MAP_SERVICE_FRONTENDS], sizeof(struct service_key), sizeof(struct service_frontend), take_frontend, s);
	if (r == 0)
		r = services_each_entry(dp->maps[MAP_SERVICE_BACKENDS], sizeof(uint32_t), sizeof(struct service_backend), take_backend, s);
	if (r == 0)
		r = services_each_entry(dp->maps[MAP_SERVICE_SLOTS], sizeof(struct service_slot_key), sizeof(struct service_slot_chunk), take_chunk, s);
	if (r == 0)
		r = services_each_entry(dp->maps[MAP_SERVICE_SOURCES], sizeof(struct service_source_key), sizeof(uint32_t), take_source, s);
	if (r < 0) {
		services_free(s);
		return r;
	}
	for (struct htab_node *i = htab_begin(&s->adopted); i; i = htab_next(&s->adopted, i)) {
		struct adopted *a = container_of(i, struct adopted, node);

		if (a->n_backends) /* of two with one address, one was on its way out: the later is the one in use */
			qsort(a->backends, a->n_backends, sizeof(*a->backends), compare_id);
	}
	*ret = dp->services = s;
	return 0;
}

static int drop_frontends(struct datapath *dp, struct services *s)
{
	struct htab_node *i, *next;
	int first = 0;

	for (i = htab_begin(&s->frontends); i; i = next) {
		struct frontend_state *f = container_of(i, struct frontend_state, node);

		next = htab_next(&s->frontends, i);
		if (!services_find_adopted(s, f->value.service))
			continue;
		dp_note_error(&first, services_delete(dp, MAP_SERVICE_FRONTENDS, &f->key));
		htab_remove(&s->frontends, &f->node);
		free(f);
	}
	return first;
}

static int retire_adopted(struct datapath *dp, struct services *s)
{
	struct htab_node *i;
	int first = 0;

	while ((i = htab_any(&s->adopted))) {
		struct adopted *a = container_of(i, struct adopted, node);

		for (size_t k = 0; k < a->n_backends; k++)
			services_retire(s, a->backends[k].id, 0);
		for (size_t k = 0; k < a->n_sources; k++)
			dp_note_error(&first, services_delete_source(dp, a->id, &a->sources[k]));
		services_free_adopted(s, a);
	}
	while ((i = htab_any(&s->adopted_sets))) {
		struct adopted_set *set = container_of(i, struct adopted_set, node);

		if (!set->used)
			services_retire(s, set->id, set->n_chunks);
		services_free_adopted_set(s, set);
	}
	return first;
}

int datapath_services_end(struct datapath *dp)
{
	struct services *s = NULL;
	int r = services_get(dp, &s);

	if (r == 0)
		r = drop_frontends(dp, s);
	if (r == 0)
		r = retire_adopted(dp, s);
	if (s)
		s->left = true; /* what left while no agent was there */
	return r;
}
