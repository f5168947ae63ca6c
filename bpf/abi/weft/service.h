/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services as the kernel sees them. docs/services.md tells the story; in short, one connection is translated so:
 *
 *	address, port, protocol, scope -> frontend	service_frontends (hash)
 *	set, a number below the frontend's slots -> backend id	service_slots (hash, 16 slots an entry)
 *	backend id -> address, port			service_backends (hash)
 *	with affinity: service, client -> backend id	service_affinity (LRU hash), looked at before the slots
 *
 * The agent has chosen already whom this node may use: every slot is as good as any other.
 *
 * A set is never changed. An update writes the new backends, then a new set, then switches each frontend (one store, so a reader
 * sees all of the old set or all of the new one), then takes the roles from backends that are in no set of the service any more;
 * sets and backends that are out of use stay for a grace period. Ids of sets and backends only grow; so an affinity entry or a
 * socket that names a backend which is gone finds nothing rather than somebody else. */
#pragma once

#include "weft/addr.h"

/* From where the packet comes that looks for a frontend. Traffic policies differ. */
enum service_scope {
	SERVICE_INTERNAL, /* this node and its pods: socket programs, from_pod */
	SERVICE_EXTERNAL, /* from outside: from_net */
	SERVICE_FORWARDED, /* by another node for DSR, as the client sent it: endpoints of this node only */
};

/* `service_frontends`. A NodePort is entered once a family, with the unspecified address (0.0.0.0 as ::ffff:0.0.0.0, or ::); it is
 * looked for where the destination is in service_nodes. Port and protocol 0: the address is a Service's whatever port is asked for. */
struct service_key {
	struct ip_addr addr;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, _UDP, _SCTP */
	__u8 scope; /* enum service_scope */
	__u32 pad;  /* zero */
};

/* Which endpoints a set is made of. Bit 1 << role in a backend: it is in that set of its service. */
enum service_role {
	SERVICE_CLUSTER, /* whoever this node should use: topology, terminating rules */
	SERVICE_LOCAL,	 /* endpoints on this node */
	SERVICE_ROLES,
};

enum service_flag {
	SERVICE_MAGLEV = 1,	 /* the slot is the client's hash; else it is random */
	SERVICE_DROP_EMPTY = 2,	 /* no slots: drop (traffic policy Local); else refuse */
	SERVICE_KEEP_CLIENT = 4, /* externalTrafficPolicy Local: the client's address is kept */
	SERVICE_DSR = 8,	 /* answers go to the client straight from the backend's node */
	SERVICE_SOURCES = 16,	 /* only clients in service_sources (loadBalancerSourceRanges); others are dropped */
	SERVICE_ADDRESS = 32,	 /* the entry of port 0: the Service's address, but no port of it; refuse */
	SERVICE_RESET = 64,	 /* TCP connections to a backend that is removed are to be reset */
};

struct service_frontend {
	__u32 service; /* id of one port of a Service in one family: its backends and its affinity */
	__u32 set;
	__u32 slots;	/* in the set; 0: nobody serves */
	__u32 affinity; /* ticks (FLOW_TICK_SHIFT) for which a client stays with its backend; 0: no affinity */
	__u8 flags;	/* enum service_flag */
	__u8 role;	/* enum service_role of the set */
	__u16 pad;
};

/* `service_slots`: SERVICE_CHUNK slots each; what is beyond the frontend's count is zero. */
#define SERVICE_CHUNK 16

struct service_slot_key {
	__u32 set;
	__u32 chunk; /* slot / SERVICE_CHUNK */
};

struct service_slot_chunk {
	__u32 backend[SERVICE_CHUNK];
};

/* `service_backends`: id (__u32, never 0) → */
enum service_backend_flag {
	SERVICE_ON_THIS_NODE = 1,
	SERVICE_HOST = 2, /* its address is a node's: hostNetwork */
	SERVICE_GONE = 4, /* it is no endpoint of its service any more, whoever else is: its entry waits to be deleted */
};

struct service_backend {
	struct ip_addr addr;
	__be16 port;
	__u8 proto;
	__u8 roles; /* 0: nobody new */
	__u8 flags; /* enum service_backend_flag */
	__u8 pad[3];
	__u32 service;
	__u32 pad2;
};

/* `service_affinity` (LRU hash) */
struct service_client {
	struct ip_addr addr; /* of the client, as its packets have it before any translation of the source */
	__u32 service;
	__u32 pad; /* zero */
};

struct service_affinity {
	__u32 backend;
	__u32 seen; /* tick of the latest connection */
};

/* `service_sources` (LPM): who may come, where the frontend says SERVICE_SOURCES. */
struct service_source_key {
	__u32 len; /* 32 + bits of addr that count */
	__u32 service;
	__be32 addr[4];
};

/* `service_nodes`: address → __u32, enum service_node: where NodePorts are. */
enum service_node { SERVICE_NODE_THIS = 1, SERVICE_NODE_OTHER = 2 };

/* `service_netns`: netns cookie (__u64) of a pod of this node → its addresses, IPv4 and IPv6. Other sockets are the host's. */
struct service_netns {
	struct ip_addr addrs[2];
};

/* `service_socks` (sk_storage): whom a socket believes to speak to, SERVICE_PAIRS of them (an unconnected UDP socket speaks
 * to several). It is the way back: recvmsg and getpeername replace the backend by the Service. */
#define SERVICE_PAIRS 4

/* `service_aparts` (LRU) → __u32, nothing: a socket's datagrams that from_pod translates. */
#define SERVICE_APARTS_MAX 4096
struct service_apart {
	struct ip_addr client, vip;
	__be16 client_port, vip_port;
	__u32 pad;
};

struct service_pair {
	struct ip_addr vip, backend;
	__be16 vip_port, backend_port;
	__u32 id; /* of the backend; 0: the place is free */
};

struct service_sock {
	struct service_pair pairs[SERVICE_PAIRS];
	__u32 next; /* the place that is used next */
	__u32 pad;
};

/* What the iterator over `service_socks` says of a connected socket whose endpoint serves no more. */
struct service_stale {
	__u64 netns, cookie; /* of its network namespace, and of the socket */
	struct service_pair pair;
	__u8 proto;
	__u8 pad[7];
};

/* `service_counts` (per-CPU array, __u64) */
enum service_count {
	SERVICE_TRANSLATED_SOCKET, /* connections and datagrams at the socket */
	SERVICE_TRANSLATED_PACKET, /* connections per packet */
	SERVICE_REFUSED,	   /* no endpoint, or no such port */
	SERVICE_DROPPED,	   /* no local endpoint */
	SERVICE_LEFT_TO_PACKETS,   /* at the socket, left alone: from_pod translates */
	SERVICE_COUNTS,
};

#define SERVICE_FRONTENDS_MAX 262144
#define SERVICE_CHUNKS_MAX 262144
#define SERVICE_BACKENDS_MAX 1048576
#define SERVICE_AFFINITY_MAX 65536
#define SERVICE_SOURCES_MAX 1048576
#define SERVICE_NODES_MAX 32768

ABI_SIZE(struct service_key, 24);
ABI_SIZE(struct service_frontend, 20);
ABI_SIZE(struct service_slot_key, 8);
ABI_SIZE(struct service_slot_chunk, 64);
ABI_SIZE(struct service_backend, 32);
ABI_SIZE(struct service_client, 24);
ABI_SIZE(struct service_affinity, 8);
ABI_SIZE(struct service_source_key, 24);
ABI_SIZE(struct service_netns, 32);
ABI_SIZE(struct service_pair, 40);
ABI_SIZE(struct service_stale, 64);
ABI_SIZE(struct service_sock, 168);
