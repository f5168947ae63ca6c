/* SPDX-License-Identifier: Apache-2.0 */
/* The underlay guard's table. What is wanted is written before anything goes: the guard is never open for a moment. */
#include "datapath/priv.h"
#include "weft/guard.h"
#include "weft/route.h"

static int compare_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct node_route_key));
}

static size_t list_keys(int map, struct node_route_key **ret)
{
	struct node_route_key *keys = NULL, *last = NULL;
	size_t n = 0, cap = 0;

	for (;;) {
		GROW(keys, n, cap);
		last = n ? &keys[n - 1] : NULL;
		if (n >= GUARD_MAX || bpf_map_get_next_key(map, last, &keys[n]) < 0)
			break;
		n++;
	}
	*ret = keys;
	return n;
}

/* Writing what stands there already costs no more than finding out. */
static int put(int map, const struct dp_guarded *g, const struct node_route_key *key)
{
	struct guard_entry e = { .kind = g->node ? GUARD_NODE : GUARD_POD };

	return bpf_map_update_elem(map, key, &e, BPF_ANY);
}

int datapath_apply_guard(struct datapath *dp, const struct dp_guarded *guarded, size_t n)
{
	_cleanup_free_ struct node_route_key *want = NULL, *have = NULL;
	int map = dp->maps[MAP_GUARD], first = 0;
	size_t n_have;

	if (n > GUARD_MAX)
		return -E2BIG;
	want = xnew0_array(struct node_route_key, n + 1);
	for (size_t i = 0; i < n; i++) {
		want[i].len = guarded[i].prefix.len;
		memcpy(want[i].addr, &guarded[i].prefix.addr, 16);
		dp_note_error(&first, put(map, &guarded[i], &want[i]));
	}
	qsort(want, n, sizeof(*want), compare_key);
	n_have = list_keys(map, &have);
	for (size_t i = 0; i < n_have; i++)
		if (!bsearch(&have[i], want, n, sizeof(*want), compare_key))
			dp_note_error(&first, bpf_map_delete_elem(map, &have[i]));
	return first;
}
