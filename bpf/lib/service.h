/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services: from what is asked for to who serves it. weft/service.h says what lies where; socket programs and packet programs ask
 * the same questions here. */
#pragma once

#include "lib/prelude.h"
#include "weft/service.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICE_FRONTENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service_frontend);
} service_frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICE_CHUNKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_slot_key);
	__type(value, struct service_slot_chunk);
} service_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICE_BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct service_backend);
} service_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SERVICE_AFFINITY_MAX);
	__type(key, struct service_client);
	__type(value, struct service_affinity);
} service_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SERVICE_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_source_key);
	__type(value, __u32);
} service_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICE_NODES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ip_addr);
	__type(value, __u32);
} service_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVICE_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} service_counts SEC(".maps");

/* What is asked for, and by whom. */
struct service_ask {
	struct ip_addr client; /* as affinity and source ranges know it */
	__u32 hash;	       /* of the client and its port, as far as that is known: Maglev's, and the random choice's */
};

/* What came of it. */
enum service_answer {
	SERVICE_NONE,	/* no Service's: leave it alone */
	SERVICE_CHOSEN, /* an endpoint */
	SERVICE_REFUSE, /* nobody serves, or no such port */
	SERVICE_DROP,	/* nobody here serves, or not this client */
};

static __always_inline void service_count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&service_counts, &what);

	if (n)
		(*n)++;
}

static __always_inline bool addr_is_any(const struct ip_addr *a)
{
	return (a->q[0] | a->q[1]) == 0 || (addr_is_v4(a) && a->w[3] == 0);
}

/* NodePorts are entered once a family, for whatever address nodes have. */
static __always_inline struct service_frontend *service_find_node_port(struct service_key *key)
{
	struct ip_addr addr = key->addr; /* before 6.3 a map's key must lie in the function's own stack */
	__u32 *whose = bpf_map_lookup_elem(&service_nodes, &addr);

	if (!whose)
		return NULL;
	if (key->scope == SERVICE_EXTERNAL && *whose == SERVICE_NODE_OTHER) /* that node's affair, unless it sent the packet on */
		key->scope = SERVICE_FORWARDED;
	if (addr_is_v4(&addr))
		key->addr.w[3] = 0;
	else
		key->addr.q[0] = key->addr.q[1] = 0;
	return bpf_map_lookup_elem(&service_frontends, key);
}

/* The frontend of (address, port, protocol); or the address's own entry, which has no port, or NULL. */
static __always_inline struct service_frontend *service_find(const struct ip_addr *addr, __be16 port, __u8 proto, __u8 scope)
{
	struct service_key key = { .addr = *addr, .port = port, .proto = proto, .scope = scope };
	struct service_frontend *f = bpf_map_lookup_elem(&service_frontends, &key);

	if (f)
		return f;
	key.port = 0;
	key.proto = 0;
	f = bpf_map_lookup_elem(&service_frontends, &key);
	if (f)
		return f;
	key.port = port;
	key.proto = proto;
	return service_find_node_port(&key);
}

/* The backend, if it is in the set that the frontend draws from. */
static __always_inline struct service_backend *service_backend_of(const struct service_frontend *f, __u32 id)
{
	struct service_backend *b = bpf_map_lookup_elem(&service_backends, &id);

	return b && b->service == f->service && (b->roles & 1 << (f->role & 1)) ? b : NULL;
}

static __always_inline __u32 service_draw(const struct service_frontend *f, __u32 hash)
{
	__u32 slot = f->flags & SERVICE_MAGLEV ? hash % f->slots : (__u32)(((__u64)hash * f->slots) >> 32);
	struct service_slot_key key = { .set = f->set, .chunk = slot / SERVICE_CHUNK };
	struct service_slot_chunk *chunk = bpf_map_lookup_elem(&service_slots, &key);

	return chunk ? chunk->backend[slot % SERVICE_CHUNK] : 0;
}

/* The backend that the client had, if its time is not over. */
static __always_inline __u32 service_recall(const struct service_frontend *f, struct service_client *client, __u32 now)
{
	struct service_affinity *a = bpf_map_lookup_elem(&service_affinity, client);

	if (!a || (__s32)(now - a->seen) >= (__s32)f->affinity)
		return 0;
	a->seen = now;
	return a->backend;
}

/**
 * service_choose() - an endpoint behind a frontend that has slots
 * @ret_id: its id
 *
 * Return: SERVICE_CHOSEN and @ret, else SERVICE_REFUSE.
 */
static __always_inline enum service_answer service_choose(const struct service_frontend *f, const struct service_ask *ask,
							  struct service_backend *ret, __u32 *ret_id)
{
	struct service_client client = { .addr = ask->client, .service = f->service };
	struct service_backend *b = NULL;
	__u32 id, now = tick_now();

	if (unlikely(f->affinity)) {
		id = service_recall(f, &client, now);
		if (id)
			b = service_backend_of(f, id);
	}
	if (!b) {
		id = service_draw(f, ask->hash);
		b = service_backend_of(f, id);
		if (!b)
			return SERVICE_REFUSE;
		if (unlikely(f->affinity)) {
			struct service_affinity fresh = { .backend = id, .seen = now };

			bpf_map_update_elem(&service_affinity, &client, &fresh, BPF_ANY);
		}
	}
	*ret = *b;
	*ret_id = id;
	return SERVICE_CHOSEN;
}

/* What of a frontend without slots. */
static __always_inline enum service_answer service_empty(const struct service_frontend *f)
{
	return f->flags & SERVICE_DROP_EMPTY ? SERVICE_DROP : SERVICE_REFUSE;
}

static __always_inline bool service_lets_in(const struct service_frontend *f, const struct ip_addr *client)
{
	struct service_source_key key = { .len = 32 + 128, .service = f->service };

	if (likely(!(f->flags & SERVICE_SOURCES)))
		return true;
	__builtin_memcpy(key.addr, client, 16);
	return bpf_map_lookup_elem(&service_sources, &key);
}
