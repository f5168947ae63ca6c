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

static __always_inline struct node_route *node_route_find(const struct ip_addr *addr)
{
	struct node_route_key key = { .len = 128 };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&node_routes, &key);
}

/* What a tunnel carries comes out of the tunnel: as it is, anybody outside could have sent it. */
static __always_inline bool addr_may_come_plain(const struct ip_addr *src)
{
	const struct node_route *route = node_route_find(src);

	return !route || route->plain;
}
