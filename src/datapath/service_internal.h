/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/htab.h"
#include "datapath/priv.h"
#include "datapath/service.h"

#include <time.h>

struct backend_state {
	struct ip_addr addr;
	__be16 port;
	uint8_t roles, flags;
	uint32_t id;
};

/* A set as it lies in the kernel. */
struct set_state {
	uint32_t id; /* 0: none yet */
	uint32_t n;
	uint32_t *backends; /* ids, by slot; a new set's are followed by zeros to whole chunks, as they are written */
};

/* A port that has been put. */
struct service_state {
	struct htab_node by_key;
	char *key;
	uint32_t id;
	uint8_t proto;
	bool failed; /* the last change: what the maps have of it is not certain */
	struct set_state sets[SERVICE_ROLES];
	struct backend_state *backends; /* sorted by address and port */
	size_t n_backends;
	struct service_key *frontends;
	size_t n_frontends;
	struct prefix *sources;
	size_t n_sources;
};

/* A frontend in the kernel; whose it is says .value.service. */
struct frontend_state {
	struct htab_node node;
	struct service_key key;
	struct service_frontend value;
};

/* A service that an earlier agent left and nobody has put so far. */
struct adopted {
	struct htab_node node;
	uint32_t id;
	struct backend_state *backends;
	size_t n_backends, cap;
	struct service_key *frontends;
	size_t n_frontends, cap_frontends;
	struct prefix *sources;
	size_t n_sources, cap_sources;
};

struct adopted_set {
	struct htab_node node;
	uint32_t id, n_chunks;
	struct service_slot_chunk *chunks;
	bool used;
};

/* What waits for its grace period to be over. */
struct retired {
	uint64_t at_ns;
	uint32_t id, chunks; /* chunks: of the set; 0: it is a backend */
};

/* Of service_nodes. */
struct service_node_entry {
	struct ip_addr addr;
	uint32_t kind;
};

struct services {
	struct htab by_key, frontends, adopted, adopted_sets;
	uint32_t next_service, next_set, next_backend; /* the highest so far */
	struct retired *retired; /* oldest first from .retired_from */
	size_t n_retired, cap_retired, retired_from;
	uint64_t writes, aborted, n_backends, n_slots;
	bool left; /* a backend has left that sockets may be connected with */
	uint32_t *slots; /* room for one set */
	struct service_node_entry *nodes; /* as they were applied */
	size_t n_nodes;
	struct { /* where the audit goes on: first the nodes, then the ports */
		size_t node;
		struct htab_node *at;
	} audit;
};

/* The services of @dp; read from the maps at the first call. Return: 0, -errno. */
int services_get(struct datapath *dp, struct services **ret);
struct services *services_free(struct services *s);

int services_write(struct datapath *dp, enum dp_map map, const void *key, const void *value);
enum { WRITES_AT_ONCE = 128 };

/* @n keys and values, one after the other as the map has them. After an error some may be there. */
int services_write_many(struct datapath *dp, enum dp_map map, const void *keys, const void *values, uint32_t n);
int services_delete(struct datapath *dp, enum dp_map map, const void *key);
typedef void services_entry_fn(void *ctx, const void *key, const void *value);
/* Calls @fn for every entry of a map, read in batches. Return: 0, -errno. */
int services_each_entry(int map, size_t key_size, size_t value_size, services_entry_fn *fn, void *ctx);
struct service_state *services_find_state(struct services *s, const char *key);
struct frontend_state *services_find_frontend(struct services *s, const struct service_key *key);
/* Into the table only. */
void services_note_frontend(struct services *s, const struct service_key *key, const struct service_frontend *value);
struct adopted *services_find_adopted(struct services *s, uint32_t id);
struct adopted_set *services_find_adopted_set(struct services *s, uint32_t id);
void services_free_adopted(struct services *s, struct adopted *a);
void services_free_adopted_set(struct services *s, struct adopted_set *a);
/* The backend of @st with the address and port of @b, or NULL. */
const struct backend_state *services_find_backend(const struct service_state *st, const struct backend_state *b);
struct service_key services_encode_key(const struct dp_service *want, const struct dp_service_frontend *f);
struct service_frontend services_encode_frontend(const struct service_state *st, const struct dp_service *want, const struct dp_service_frontend *f, const struct set_state *set);
struct service_backend services_encode_backend(const struct service_state *st, const struct backend_state *b, uint8_t roles);
struct service_source_key services_source_key(uint32_t id, const struct prefix *p);
/* Prefix @p of service @id may not come any more. */
int services_delete_source(struct datapath *dp, uint32_t id, const struct prefix *p);
void services_sort_prefixes(struct prefix *list, size_t n);
struct prefix *services_sorted_prefixes(const struct prefix *list, size_t n);
bool services_has_prefix(const struct prefix *sorted, size_t n, const struct prefix *p);
/* Return: 0 or the first error; what failed is tried again by the next call. */
int services_put_sources(struct datapath *dp, struct service_state *st, const struct dp_service *want);
void services_retire(struct services *s, uint32_t id, uint32_t chunks);
static inline uint32_t chunks_of(uint32_t slots)
{
	return (slots + SERVICE_CHUNK - 1) / SERVICE_CHUNK;
}
