/* SPDX-License-Identifier: Apache-2.0 */
/* Services in the kernel: what is wanted of each port comes in, the difference is written. docs/services.md has the maps.
 *
 * What an earlier agent left is adopted: a port is the one whose frontends it finds in the maps; its ids, and with them affinity and
 * sockets, go on. Nothing that was left is taken away before datapath_services_end(). */
#pragma once

#include "datapath/datapath.h"
#include "weft/service.h" /* bpf/abi: scopes, roles, flags */

struct dp_service_frontend {
	struct addr addr;
	uint16_t port; /* host order; 0 with flag SERVICE_ADDRESS */
	uint8_t scope; /* enum service_scope */
	uint8_t role;  /* enum service_role */
	uint8_t flags; /* enum service_flag */
};

struct dp_service_backend {
	struct addr addr;
	uint16_t port;	 /* host order */
	uint8_t roles;	 /* bits 1 << enum service_role */
	uint8_t flags;	 /* enum service_backend_flag */
	uint32_t weight; /* in the set SERVICE_CLUSTER, at least 1 */
};

/* One port of a Service in one family; or, without backends and protocol 0, a Service's addresses for all other ports. */
struct dp_service {
	const char *key; /* names it among all: "default/web:http/tcp4" */
	uint8_t proto;	 /* IPPROTO_* */
	uint32_t affinity_s; /* 0: none */
	const struct dp_service_frontend *frontends;
	size_t n_frontends;
	const struct dp_service_backend *backends; /* sorted by address and port, each once */
	size_t n_backends;
	const struct prefix *sources; /* who may come where a frontend says SERVICE_SOURCES */
	size_t n_sources;
	/* Fills a set: indexes of @backends for the slots of a role; at most SERVICE_SLOTS_MAX. Return: how many. */
	size_t (*fill)(const struct dp_service *s, enum service_role role, uint32_t *ret);
};

enum { SERVICE_SLOTS_MAX = 65536 };

/**
 * datapath_put_service() - make the kernel serve this port like this
 *
 * Order: backends, sets, frontends, then the roles of backends that left; see weft/service.h. O(backends and slots of this port);
 * writes what differs only.
 *
 * Return: 0, -E2BIG when a map is full (the port stays as it was, as far as it was), -errno.
 */
int datapath_put_service(struct datapath *dp, const struct dp_service *s);
/* Return: 0, -ENOENT, -errno. */
int datapath_del_service(struct datapath *dp, const char *key);
/* Everything has been put: what an earlier agent left and nobody has put goes. Return: 0 or the first error. */
int datapath_services_end(struct datapath *dp);
/* Deletes what has been out of use for a second. To be called now and then. */
void datapath_services_collect(struct datapath *dp);

/**
 * datapath_audit_services() - the next entries of Services' maps and of service_nodes: what is not as it was put is put back, and told
 *
 * To be called once a second or so: each look is bounded, and a large node's entries are looked at within half a minute.
 *
 * Return: 0 or the first error.
 */
int datapath_audit_services(struct datapath *dp);

/* Sockets of the node and its pods whose endpoint is lost to them: connected UDP, where it serves no more; TCP, where it is removed and the
 * Service asks for a reset (SERVICE_RESET). Ordered by namespace, then socket. */
struct dp_stale {
	struct service_stale *list; /* the caller's to free() */
	size_t n;
};
/* Looks for them, if any can have lost theirs since the last look that was well. Return: 0, -errno. */
int datapath_find_stale(struct datapath *dp, struct dp_stale *ret);
bool dp_stale_has(const struct dp_stale *stale, uint64_t netns);
/* Aborts those that are in the thread's network namespace, whose cookie is @netns; their owners see ECONNABORTED. Return: how many,
 * -EOPNOTSUPP, -errno. */
int datapath_abort_stale(struct datapath *dp, const struct dp_stale *stale, uint64_t netns);
/* Not all could be aborted: the next look is not spared. */
void datapath_stale_remain(struct datapath *dp);

/* A node's address: NodePorts are there. */
struct dp_service_node {
	struct addr addr;
	bool this_node;
};
/* Makes the set exactly this. Return: 0, -E2BIG, or the first error. */
int datapath_apply_service_nodes(struct datapath *dp, const struct dp_service_node *nodes, size_t n);

/* What the kernel has of a port, for people. */
struct dp_service_slot {
	struct addr addr;
	uint16_t port;
	uint32_t id, slots; /* how many of the set's */
	uint8_t roles, flags; /* as dp_service_backend's */
};
struct dp_service_set {
	struct dp_service_frontend frontend;
	bool there; /* false: the kernel has no such frontend */
	uint32_t service, set, slots, affinity_s;
	struct dp_service_slot *backends; /* by id */
	size_t n_backends;
};
/* Looks a frontend up, walks its slots. @ret->backends is the caller's to free(). Return: 0, -errno. */
int datapath_read_service(struct datapath *dp, const struct dp_service_frontend *f, uint8_t proto, struct dp_service_set *ret);

/* One thing in which the maps are not as a port is wanted. @f: the frontend of @want that it is about, NULL: it is about the port. */
typedef void dp_difference_fn(void *ctx, const struct dp_service *want, const struct dp_service_frontend *f, const char *text);

/**
 * datapath_compare_services() - what differs between ports as they are wanted and as the kernel's maps have them
 *
 * Every field of their frontends, their slots, every field of their backends, their source ranges; and what the maps have under their ids
 * beside those. For people: walks the maps of frontends, backends and sources once, half a second on a node whose maps are full.
 *
 * Return: 0, -errno.
 */
int datapath_compare_services(struct datapath *dp, const struct dp_service *const *wants, size_t n, dp_difference_fn *fn, void *ctx);

struct dp_service_stats {
	uint64_t services, frontends, backends, slots; /* as this process knows them */
	uint64_t writes; /* stores and deletions in maps so far */
	uint64_t aborted; /* sockets whose endpoint was gone */
	uint64_t counts[SERVICE_COUNTS];
	bool sockets; /* are socket programs attached? */
	bool aborts;  /* are those that lose their endpoint found? */
};
int datapath_read_service_stats(struct datapath *dp, struct dp_service_stats *ret);
const char *service_count_label(unsigned what);
