/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What belongs to other nodes. */
#pragma once

#include "lib/prelude.h"
#include "weft/route.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NODE_ROUTES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct node_route_key);
	__type(value, struct node_route);
} node_routes SEC(".maps");

/* To whom it belongs, and how its packets come. */
static __always_inline struct node_route *node_owner_find(const struct ip_addr *addr)
{
	struct node_route_key key = { .len = 128 };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&node_routes, &key);
}

/* The way to it. */
static __always_inline struct node_route *node_route_find(const struct ip_addr *addr)
{
	struct node_route *owner = node_owner_find(addr);

	return owner && owner->transport != TRANSPORT_NONE ? owner : NULL;
}

/* Do its packets come as they are, and by this interface? Without branches, each of which the verifier would follow to the program's end: a number less
 * one has the upper bit of 64 if it was 0. */
static __always_inline __u64 node_comes_plain_by(const struct node_route *owner, __u32 ifindex)
{
	__u64 found = (__u64)owner->plain_by[0] - 1;

#pragma unroll
	for (int i = 0; i < NODE_ROUTE_LINKS; i++)
		found |= (__u64)(owner->plain_by[i] ^ ifindex) - 1;
	return (found & ((__u64)(owner->plain ^ PLAIN_BY_LINKS) - 1)) >> 63;
}

/* May it come by this uplink as it is? What a tunnel carries comes out of the tunnel, and what is plain by the networks that both nodes share: elsewhere anybody outside
 * could have sent it. What nodes have to do with each other is theirs, outer packets among it. */
static __always_inline bool addr_may_come_plain(const struct ip_addr *src, __u32 ifindex, bool to_pod)
{
	const struct node_route *owner = node_owner_find(src);

	return !owner || (node_comes_plain_by(owner, ifindex) | (owner->node & !to_pod));
}
