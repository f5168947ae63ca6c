/* SPDX-License-Identifier: Apache-2.0 */
#include "datapath/announce.h"
#include "datapath/priv.h"
#include "weft/announce.h"

#include <time.h>

static struct announce_key key_of(const struct addr *addr, uint32_t ifindex)
{
	return (struct announce_key){ .addr = dp_addr_encode(addr), .ifindex = ifindex };
}

int datapath_announce(struct datapath *dp, const struct dp_announced *a)
{
	struct announce_key key = key_of(&a->addr, a->ifindex);
	struct announced value = {};

	memcpy(value.mac, a->mac, sizeof(value.mac));
	return bpf_map_update_elem(dp->maps[MAP_ANNOUNCED], &key, &value, BPF_ANY);
}

int datapath_withdraw(struct datapath *dp, const struct addr *addr, uint32_t ifindex)
{
	struct announce_key key = key_of(addr, ifindex);
	int r = bpf_map_delete_elem(dp->maps[MAP_ANNOUNCED], &key);

	return r == -ENOENT ? 0 : r;
}

int datapath_list_announced(struct datapath *dp, struct dp_announced **ret, size_t *ret_n)
{
	struct dp_announced *list = xnew0_array(struct dp_announced, ANNOUNCED_MAX);
	struct announce_key key, *last = NULL;
	size_t n = 0;

	for (; n < ANNOUNCED_MAX && bpf_map_get_next_key(dp->maps[MAP_ANNOUNCED], last, &key) == 0; last = &key) {
		struct announced value;

		if (bpf_map_lookup_elem(dp->maps[MAP_ANNOUNCED], &key, &value) < 0)
			continue; /* from_net has just given way */
		list[n].ifindex = key.ifindex;
		memcpy(&list[n].addr, &key.addr, 16);
		memcpy(list[n++].mac, value.mac, 6);
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

static bool is_among(const struct announce_peer *p, const uint8_t (*macs)[6], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(p->mac, macs[i], 6) == 0)
			return true;
	return false;
}

/* New ones first; those to go are listed before any goes, as deleting changes the order of keys. */
int datapath_apply_announce_peers(struct datapath *dp, const uint8_t (*macs)[6], size_t n)
{
	_cleanup_free_ struct announce_peer *have = xnew0_array(struct announce_peer, ANNOUNCE_PEERS_MAX);
	int map = dp->maps[MAP_ANNOUNCE_PEERS], first = 0;
	size_t n_have = 0;
	uint32_t yes = 1;

	if (n > ANNOUNCE_PEERS_MAX)
		return -E2BIG;
	while (n_have < ANNOUNCE_PEERS_MAX && bpf_map_get_next_key(map, n_have ? &have[n_have - 1] : NULL, &have[n_have]) == 0)
		n_have++;
	for (size_t i = 0; i < n; i++) {
		struct announce_peer key = {};

		memcpy(key.mac, macs[i], 6);
		dp_note_error(&first, bpf_map_update_elem(map, &key, &yes, BPF_ANY));
	}
	for (size_t i = 0; i < n_have; i++)
		if (!is_among(&have[i], macs, n))
			dp_note_error(&first, bpf_map_delete_elem(map, &have[i]));
	return first;
}

int datapath_announce_awake(struct datapath *dp, uint32_t for_ms)
{
	struct timespec t;
	uint64_t until;
	uint32_t zero = 0;

	clock_gettime(CLOCK_MONOTONIC, &t); /* as bpf_ktime_get_ns() */
	until = t.tv_sec * 1000000000ull + t.tv_nsec + for_ms * 1000000ull;
	return bpf_map_update_elem(dp->maps[MAP_ANNOUNCE_AWAKE], &zero, &until, BPF_ANY);
}
