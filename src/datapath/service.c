/* SPDX-License-Identifier: Apache-2.0 */
/* One port's difference, written in the order that weft/service.h asks for. Until the frontends are switched nothing that packets
 * use has changed; so an error before that leaves the port as it was, and what was written for it waits to be deleted. */
#include "base/str.h"
#include "datapath/service_internal.h"
#include "weft/flow.h"

struct service_state *services_find_state(struct services *s, const char *key)
{
	struct service_state *st;

	HTAB_FIND(&s->by_key, hash_str(key), st, by_key, streq(st->key, key));
	return st;
}

struct service_key services_encode_key(const struct dp_service *want, const struct dp_service_frontend *f)
{
	struct service_key key = { .port = htons(f->port), .proto = want->proto, .scope = f->scope };

	memcpy(&key.addr, &f->addr, sizeof(key.addr));
	return key;
}

/* ---- a port that comes for the first time ---- */

/* Takes over what an earlier agent has of it. Backends that were on their way out are not taken up again. */
static void adopt(struct services *s, struct service_state *st, struct adopted *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_backends; i++)
		if (a->backends[i].flags & SERVICE_GONE)
			services_retire(s, a->backends[i].id, 0);
		else /* also who may not be chosen now: whoever is connected with it stays so */
			a->backends[n++] = a->backends[i];
	a->n_backends = n;
	st->id = a->id;
	st->backends = take_ptr(a->backends);
	st->n_backends = a->n_backends;
	st->frontends = take_ptr(a->frontends); /* those that are not wanted any more go */
	st->n_frontends = a->n_frontends;
	services_sort_prefixes(a->sources, a->n_sources);
	st->sources = take_ptr(a->sources);
	st->n_sources = a->n_sources;
	s->n_backends += a->n_backends;
	services_free_adopted(s, a);
}

static void adopt_set(struct services *s, struct set_state *set, const struct service_frontend *f)
{
	struct adopted_set *a = services_find_adopted_set(s, f->set);

	if (!a || set->id || f->slots > a->n_chunks * SERVICE_CHUNK)
		return;
	a->used = true;
	set->id = f->set;
	set->n = f->slots;
	set->backends = xnew0_array(uint32_t, f->slots + 1);
	memcpy(set->backends, a->chunks, f->slots * sizeof(uint32_t));
	s->n_slots += f->slots;
}

static int compare_backend(const void *a, const void *b)
{
	const struct backend_state *x = a, *y = b;
	int c = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	return c ? c : (int)ntohs(x->port) - (int)ntohs(y->port);
}

static void find_former_self(struct services *s, struct service_state *st, const struct dp_service *want)
{
	for (size_t i = 0; i < want->n_frontends; i++) {
		struct service_key key = services_encode_key(want, &want->frontends[i]);
		struct frontend_state *f = services_find_frontend(s, &key);
		struct adopted *a = f ? services_find_adopted(s, f->value.service) : NULL;

		if (a && !st->id)
			adopt(s, st, a);
		if (f && st->id == f->value.service)
			adopt_set(s, &st->sets[f->value.role % SERVICE_ROLES], &f->value);
	}
	if (st->n_backends) /* stable within one address: ids ascend */
		qsort(st->backends, st->n_backends, sizeof(*st->backends), compare_backend);
}

static struct service_state *state_new(struct services *s, const struct dp_service *want)
{
	struct service_state *st = xnew0(struct service_state);

	st->key = xstrdup(want->key);
	htab_insert(&s->by_key, hash_str(st->key), &st->by_key);
	if (s->adopted.count)
		find_former_self(s, st, want);
	if (!st->id)
		st->id = ++s->next_service;
	return st;
}

/* ---- backends ---- */

struct change {
	struct backend_state *backends; /* as wanted, with ids */
	size_t n;
	struct set_state sets[SERVICE_ROLES]; /* those that are new: id is set */
	bool needed[SERVICE_ROLES];
};

struct service_backend services_encode_backend(const struct service_state *st, const struct backend_state *b, uint8_t roles)
{
	return (struct service_backend){
		.addr = b->addr, .port = b->port, .proto = st->proto, .roles = roles, .flags = b->flags, .service = st->id };
}

static int write_backend(struct datapath *dp, const struct service_state *st, const struct backend_state *b, uint8_t roles)
{
	struct service_backend value = services_encode_backend(st, b, roles);

	return services_write(dp, MAP_SERVICE_BACKENDS, &b->id, &value);
}

/* Who is no endpoint any more is chosen by nobody, and those who are connected with it may have to know. */
static int write_gone(struct datapath *dp, const struct service_state *st, const struct backend_state *b)
{
	struct backend_state gone = *b;

	gone.flags |= SERVICE_GONE;
	return write_backend(dp, st, &gone, 0);
}

const struct backend_state *services_find_backend(const struct service_state *st, const struct backend_state *b)
{
	return st->n_backends ? bsearch(b, st->backends, st->n_backends, sizeof(*b), compare_backend) : NULL;
}

/* What backends are waiting to be written with one call. */
struct backend_batch {
	uint32_t n, ids[WRITES_AT_ONCE];
	struct service_backend values[WRITES_AT_ONCE];
};

static int flush_backends(struct datapath *dp, struct backend_batch *batch)
{
	uint32_t n = batch->n;

	batch->n = 0;
	return services_write_many(dp, MAP_SERVICE_BACKENDS, batch->ids, batch->values, n);
}

/* New ones, and those that come into another set, before any set names them. */
static int put_backends(struct datapath *dp, struct services *s, struct service_state *st, const struct dp_service *want,
			struct change *c)
{
	struct backend_batch batch;
	int r = 0;

	batch.n = 0;
	c->backends = xnew0_array(struct backend_state, want->n_backends + 1);
	for (; c->n < want->n_backends && r == 0; c->n++) {
		const struct dp_service_backend *w = &want->backends[c->n];
		struct backend_state *b = &c->backends[c->n];
		const struct backend_state *old;

		*b = (struct backend_state){ .port = htons(w->port), .roles = w->roles, .flags = w->flags };
		memcpy(&b->addr, &w->addr, sizeof(b->addr));
		old = services_find_backend(st, b);
		b->id = old ? old->id : ++s->next_backend;
		if (old && !(b->roles & ~old->roles) && b->flags == old->flags)
			continue;
		batch.ids[batch.n] = b->id;
		batch.values[batch.n++] = services_encode_backend(st, b, old ? old->roles | b->roles : b->roles);
		if (batch.n == WRITES_AT_ONCE)
			r = flush_backends(dp, &batch);
	}
	return r < 0 ? r : flush_backends(dp, &batch);
}

/* ---- sets ---- */

static bool set_has(const struct set_state *set, const uint32_t *ids, size_t n)
{
	return set->n == n && (n == 0 || (set->id && memcmp(set->backends, ids, n * sizeof(*ids)) == 0));
}

static int write_set(struct datapath *dp, const struct set_state *set)
{
	struct service_slot_key keys[WRITES_AT_ONCE];
	uint32_t n = 0;
	int r = 0;

	for (uint32_t at = 0; at < chunks_of(set->n) && r == 0; at += n) {
		for (n = 0; n < WRITES_AT_ONCE && at + n < chunks_of(set->n); n++)
			keys[n] = (struct service_slot_key){ .set = set->id, .chunk = at + n };
		r = services_write_many(dp, MAP_SERVICE_SLOTS, keys, set->backends + at * SERVICE_CHUNK, n);
	}
	return r;
}

static int put_set(struct datapath *dp, struct services *s, struct service_state *st, const struct dp_service *want,
		   enum service_role role, struct change *c)
{
	size_t n = want->fill ? want->fill(want, role, s->slots) : 0;
	struct set_state *set = &c->sets[role];

	for (size_t i = 0; i < n; i++)
		s->slots[i] = c->backends[s->slots[i]].id;
	if (set_has(&st->sets[role], s->slots, n))
		return 0;
	set->id = ++s->next_set;
	set->n = n;
	set->backends = xnew0_array(uint32_t, chunks_of(n) * SERVICE_CHUNK + 1);
	memcpy(set->backends, s->slots, n * sizeof(*s->slots));
	return write_set(dp, set);
}

static int put_sets(struct datapath *dp, struct services *s, struct service_state *st, const struct dp_service *want,
		    struct change *c)
{
	int r = 0;

	for (size_t i = 0; i < want->n_frontends; i++)
		c->needed[want->frontends[i].role] = true;
	for (int role = 0; role < SERVICE_ROLES && r == 0; role++)
		if (c->needed[role])
			r = put_set(dp, s, st, want, role, c);
	return r;
}

/* ---- frontends ---- */

struct service_frontend services_encode_frontend(const struct service_state *st, const struct dp_service *want, const struct dp_service_frontend *f, const struct set_state *set)
{
	return (struct service_frontend){ .service = st->id,
					  .set = set->id,
					  .slots = set->n,
					  .affinity = want->affinity_s ? MAX(FLOW_TICKS(want->affinity_s), 1u) : 0,
					  .flags = f->flags,
					  .role = f->role };
}

static int put_frontend(struct datapath *dp, struct services *s, struct service_state *st, const struct dp_service *want,
			const struct dp_service_frontend *f, const struct change *c)
{
	const struct set_state *set = c->sets[f->role].id ? &c->sets[f->role] : &st->sets[f->role];
	struct service_key key = services_encode_key(want, f);
	struct frontend_state *there = services_find_frontend(s, &key);
	struct service_frontend value = services_encode_frontend(st, want, f, set);
	int r;

	if (there && memcmp(&there->value, &value, sizeof(value)) == 0)
		return 0;
	r = services_write(dp, MAP_SERVICE_FRONTENDS, &key, &value);
	if (r == 0)
		services_note_frontend(s, &key, &value);
	return r;
}

static bool is_wanted(const struct dp_service *want, const struct service_key *key)
{
	for (size_t i = 0; i < want->n_frontends; i++) {
		struct service_key k = services_encode_key(want, &want->frontends[i]);

		if (memcmp(&k, key, sizeof(k)) == 0)
			return true;
	}
	return false;
}

/* A frontend that another service has got meanwhile is not ours to delete. */
static int drop_frontend(struct datapath *dp, struct services *s, const struct service_state *st, const struct service_key *key)
{
	struct frontend_state *f = services_find_frontend(s, key);
	int r;

	if (!f || f->value.service != st->id)
		return 0;
	r = services_delete(dp, MAP_SERVICE_FRONTENDS, key);
	if (r < 0)
		return r;
	htab_remove(&s->frontends, &f->node);
	free(f);
	return 0;
}

static int put_frontends(struct datapath *dp, struct services *s, struct service_state *st, const struct dp_service *want,
			 const struct change *c)
{
	int first = 0;

	for (size_t i = 0; i < want->n_frontends; i++)
		dp_note_error(&first, put_frontend(dp, s, st, want, &want->frontends[i], c));
	for (size_t i = 0; i < st->n_frontends; i++)
		if (!is_wanted(want, &st->frontends[i]))
			dp_note_error(&first, drop_frontend(dp, s, st, &st->frontends[i]));
	free(st->frontends);
	st->frontends = xnew0_array(struct service_key, want->n_frontends + 1);
	st->n_frontends = want->n_frontends;
	for (size_t i = 0; i < want->n_frontends; i++)
		st->frontends[i] = services_encode_key(want, &want->frontends[i]);
	return first;
}

/* ---- the end of a change ---- */

/* Whoever left a set is no longer chosen, also not by affinity. */
static int drop_roles(struct datapath *dp, struct services *s, struct service_state *st, const struct change *c)
{
	int first = 0;

	for (size_t i = 0; i < st->n_backends; i++) {
		const struct backend_state *old = &st->backends[i], *now;

		now = c->n ? bsearch(old, c->backends, c->n, sizeof(*now), compare_backend) : NULL;
		if (now && now->id == old->id && !(old->roles & ~now->roles))
			continue;
		s->left = true;
		if (now && now->id == old->id) {
			dp_note_error(&first, write_backend(dp, st, now, now->roles));
			continue;
		}
		dp_note_error(&first, write_gone(dp, st, old));
		services_retire(s, old->id, 0);
	}
	return first;
}

static void take_change(struct services *s, struct service_state *st, struct change *c)
{
	s->n_backends += c->n - st->n_backends;
	free(st->backends);
	st->backends = take_ptr(c->backends);
	st->n_backends = c->n;
	for (int role = 0; role < SERVICE_ROLES; role++) {
		struct set_state *old = &st->sets[role], *new = &c->sets[role];

		if (c->needed[role] && !new->id)
			continue;
		if (old->n)
			services_retire(s, old->id, chunks_of(old->n));
		s->n_slots = s->n_slots + new->n - old->n; /* in 64 bits: it may shrink */
		free(old->backends);
		*old = *new;
		new->backends = NULL;
	}
}

/* What was written for a change that failed. */
static void undo(struct services *s, struct service_state *st, struct change *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (!services_find_backend(st, &c->backends[i]))
			services_retire(s, c->backends[i].id, 0);
	for (int role = 0; role < SERVICE_ROLES; role++) {
		if (c->sets[role].id && c->sets[role].n)
			services_retire(s, c->sets[role].id, chunks_of(c->sets[role].n));
		free(c->sets[role].backends);
	}
	free(c->backends);
}

int datapath_put_service(struct datapath *dp, const struct dp_service *want)
{
	struct change c = {};
	struct service_state *st;
	struct services *s;
	int r = services_get(dp, &s);

	if (r < 0)
		return r;
	st = services_find_state(s, want->key);
	if (!st)
		st = state_new(s, want);
	if (want->n_frontends) /* one that goes has none, and no protocol */
		st->proto = want->proto;
	st->failed = true;
	r = put_backends(dp, s, st, want, &c);
	if (r == 0)
		r = put_sets(dp, s, st, want, &c);
	if (r == 0)
		r = services_put_sources(dp, st, want); /* an address that lets nobody in yet is better than one that lets in all */
	if (r < 0) {
		undo(s, st, &c);
		return r;
	}
	r = put_frontends(dp, s, st, want, &c);
	dp_note_error(&r, drop_roles(dp, s, st, &c));
	take_change(s, st, &c);
	st->failed = r < 0;
	return r;
}

static void state_free(struct services *s, struct service_state *st)
{
	if (s->audit.at == &st->by_key)
		s->audit.at = htab_next(&s->by_key, s->audit.at);
	htab_remove(&s->by_key, &st->by_key);
	for (int role = 0; role < SERVICE_ROLES; role++)
		free(st->sets[role].backends);
	free(st->backends);
	free(st->frontends);
	free(st->sources);
	free(st->key);
	free(st);
}

int datapath_del_service(struct datapath *dp, const char *key)
{
	struct dp_service nothing = { .key = key };
	struct service_state *st;
	struct services *s;
	int r = services_get(dp, &s);

	if (r < 0)
		return r;
	st = services_find_state(s, key);
	if (!st)
		return -ENOENT;
	r = datapath_put_service(dp, &nothing);
	if (r == 0)
		state_free(s, st);
	return r;
}

/* ---- the tables ---- */

struct services *services_free(struct services *s)
{
	struct htab_node *i;

	if (!s)
		return NULL;
	while ((i = htab_any(&s->by_key)))
		state_free(s, container_of(i, struct service_state, by_key));
	while ((i = htab_any(&s->frontends))) {
		htab_remove(&s->frontends, i);
		free(container_of(i, struct frontend_state, node));
	}
	while ((i = htab_any(&s->adopted)))
		services_free_adopted(s, container_of(i, struct adopted, node));
	while ((i = htab_any(&s->adopted_sets)))
		services_free_adopted_set(s, container_of(i, struct adopted_set, node));
	htab_done(&s->by_key);
	htab_done(&s->frontends);
	htab_done(&s->adopted);
	htab_done(&s->adopted_sets);
	free(s->retired);
	free(s->slots);
	free(s->nodes);
	free(s);
	return NULL;
}

int services_write(struct datapath *dp, enum dp_map map, const void *key, const void *value)
{
	dp->services->writes++;
	return bpf_map_update_elem(dp->maps[map], key, value, BPF_ANY);
}

int services_write_many(struct datapath *dp, enum dp_map map, const void *keys, const void *values, uint32_t n)
{
	if (n == 1) /* a batch costs the kernel two allocations */
		return services_write(dp, map, keys, values);
	if (n == 0)
		return 0;
	dp->services->writes += n;
	return bpf_map_update_batch(dp->maps[map], keys, values, &n, NULL);
}

int services_delete(struct datapath *dp, enum dp_map map, const void *key)
{
	int r = bpf_map_delete_elem(dp->maps[map], key);

	dp->services->writes++;
	return r == -ENOENT ? 0 : r;
}

struct frontend_state *services_find_frontend(struct services *s, const struct service_key *key)
{
	struct frontend_state *f;

	HTAB_FIND(&s->frontends, hash_mem(key, sizeof(*key)), f, node, memcmp(&f->key, key, sizeof(*key)) == 0);
	return f;
}

void services_note_frontend(struct services *s, const struct service_key *key, const struct service_frontend *value)
{
	struct frontend_state *f = services_find_frontend(s, key);

	if (!f) {
		f = xnew0(struct frontend_state);
		f->key = *key;
		htab_insert(&s->frontends, hash_mem(key, sizeof(*key)), &f->node);
	}
	f->value = *value;
}

struct adopted *services_find_adopted(struct services *s, uint32_t id)
{
	struct adopted *a;

	HTAB_FIND(&s->adopted, hash_mem(&id, sizeof(id)), a, node, a->id == id);
	return a;
}

struct adopted_set *services_find_adopted_set(struct services *s, uint32_t id)
{
	struct adopted_set *a;

	HTAB_FIND(&s->adopted_sets, hash_mem(&id, sizeof(id)), a, node, a->id == id);
	return a;
}

void services_free_adopted(struct services *s, struct adopted *a)
{
	htab_remove(&s->adopted, &a->node);
	free(a->backends);
	free(a->frontends);
	free(a->sources);
	free(a);
}

void services_free_adopted_set(struct services *s, struct adopted_set *a)
{
	htab_remove(&s->adopted_sets, &a->node);
	free(a->chunks);
	free(a);
}

/* ---- what is out of use ---- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void services_retire(struct services *s, uint32_t id, uint32_t chunks)
{
	GROW(s->retired, s->n_retired, s->cap_retired);
	s->retired[s->n_retired++] = (struct retired){ now_ns(), id, chunks };
}

void datapath_services_collect(struct datapath *dp)
{
	struct services *s = dp->services;
	uint64_t now = now_ns();

	if (!s)
		return;
	for (; s->retired_from < s->n_retired && now - s->retired[s->retired_from].at_ns >= 1000000000ull; s->retired_from++) {
		const struct retired *r = &s->retired[s->retired_from];

		if (r->chunks == 0) {
			services_delete(dp, MAP_SERVICE_BACKENDS, &r->id);
			s->left = true; /* who was about to connect with it is connected by now */
		}
		for (uint32_t i = 0; i < r->chunks; i++)
			services_delete(dp, MAP_SERVICE_SLOTS, &(struct service_slot_key){ r->id, i });
	}
	if (s->retired_from == s->n_retired) {
		s->n_retired = s->retired_from = 0;
	} else if (s->retired_from > 1024 && s->retired_from > s->n_retired / 2) {
		s->n_retired -= s->retired_from;
		memmove(s->retired, s->retired + s->retired_from, s->n_retired * sizeof(*s->retired));
		s->retired_from = 0;
	}
}
