/* SPDX-License-Identifier: Apache-2.0 */
/* Node routes: wanted against what the map holds. What is new or different is written first, what is too many goes last. */
#include "datapath/priv.h"
#include "weft/route.h"

struct node_route_entry {
	struct node_route_key key;
	struct node_route value;
};

static const uint8_t transports[] = { [DP_DIRECT] = TRANSPORT_DIRECT, [DP_TUNNEL] = TRANSPORT_TUNNEL, [DP_MESH] = TRANSPORT_MESH, [DP_NONE] = TRANSPORT_NONE };

_Static_assert(DP_PLAIN_LINKS_MAX == NODE_ROUTE_LINKS, "as many as an entry holds");

static struct node_route_entry encode(const struct dp_node_route *r)
{
	struct node_route_entry e = {
		.key.len = r->prefix.len,
		.value = {
			.ifindex = r->ifindex,
			.mtu = r->mtu,
			.transport = transports[r->transport],
		},
	};

	memcpy(e.key.addr, &r->prefix.addr, 16);
	memcpy(&e.value.underlay, &r->underlay, 16);
	e.value.outer = dp_addr_encode(&r->outer);
	e.value.plain = r->plain ? PLAIN_BY_LINKS : r->node ? PLAIN_TO_NODES : PLAIN_NEVER;
	memcpy(e.value.plain_by, r->plain_by, sizeof(e.value.plain_by));
	e.value.node = r->node;
	memcpy(e.value.vtep_mac, r->vtep_mac, 6);
	e.value.unwrap = r->unwrap;
	e.value.uplink = r->uplink;
	e.value.next_hop = dp_addr_encode(&r->next_hop);
	return e;
}

static bool is_as_before(const struct datapath *dp, const struct node_route_entry *want, size_t n)
{
	return dp->repair.routes && dp->repair.n_routes == n && memcmp(dp->repair.routes, want, n * sizeof(*want)) == 0;
}

int datapath_apply_node_routes(struct datapath *dp, const struct dp_node_route *routes, size_t n)
{
	_cleanup_free_ struct node_route_entry *want = NULL;
	_cleanup_free_ struct node_route_key *have = NULL;
	int map = dp->maps[MAP_NODE_ROUTES], first = 0;
	size_t n_have, changed = 0;

	if (n > NODE_ROUTES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < n; i++)
		if (routes[i].transport == DP_TUNNEL && (!routes[i].ifindex || routes[i].ifindex != dp->tunnel_ifindex))
			return -EINVAL;
	want = xnew0_array(struct node_route_entry, n + 1);
	for (size_t i = 0; i < n; i++)
		want[i] = encode(&routes[i]);
	qsort(want, n, sizeof(*want), dp_prefix_compare);
	n_have = dp_prefix_keys(map, NODE_ROUTES_MAX, &have);
	for (size_t i = 0; i < n; i++) {
		struct node_route now;

		if (bsearch(&want[i].key, have, n_have, sizeof(*have), dp_prefix_compare) &&
		    bpf_map_lookup_elem(map, &want[i].key, &now) == 0 && memcmp(&now, &want[i].value, sizeof(now)) == 0)
			continue;
		dp_note_error(&first, bpf_map_update_elem(map, &want[i].key, &want[i].value, BPF_ANY));
		changed++;
	}
	for (size_t i = 0; i < n_have; i++)
		if (!bsearch(&have[i], want, n, sizeof(*want), dp_prefix_compare))
			dp_note_error(&first, bpf_map_delete_elem(map, &have[i])), changed++;
	if (changed && is_as_before(dp, want, n))
		dp_repaired(dp, DP_REPAIR_ENTRY, "%zu node routes", changed);
	free(dp->repair.routes);
	dp->repair.routes = take_ptr(want);
	dp->repair.n_routes = n;
	return first;
}
