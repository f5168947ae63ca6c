/* SPDX-License-Identifier: Apache-2.0 */
/* The underlay guard's table. What is wanted is written before anything goes: the guard is never open for a moment. */
#include "datapath/priv.h"
#include "weft/guard.h"
#include "weft/route.h"

/* Writing what stands there already costs no more than finding out. */
static int put(int map, const struct dp_guarded *g, const struct node_route_key *key)
{
	struct guard_entry e = { .kind = g->node ? GUARD_NODE : GUARD_POD };

	return bpf_map_update_elem(map, key, &e, BPF_ANY);
}

static size_t missing_of(const struct node_route_key *of, size_t n, const struct node_route_key *from, size_t n_from)
{
	size_t missing = 0;

	for (size_t i = 0; i < n; i++) /* of equal ones the last counts */
		missing += (i + 1 == n || dp_prefix_compare(&of[i], &of[i + 1]) != 0) &&
			   !bsearch(&of[i], from, n_from, sizeof(*from), dp_prefix_compare);
	return missing;
}

/* Somebody else's doing, when the same was wanted the last time: a guard that is open lets plaintext out, so it is said. */
static void note_repairs(struct datapath *dp, struct node_route_key *want, size_t n, struct node_route_key *have, size_t n_have)
{
	size_t changed = missing_of(want, n, have, n_have) + missing_of(have, n_have, want, n);

	if (changed && dp->repair.guard && dp->repair.n_guard == n && memcmp(dp->repair.guard, want, n * sizeof(*want)) == 0)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%zu entries of the guard against plaintext", changed);
	free(dp->repair.guard);
	dp->repair.guard = want;
	dp->repair.n_guard = n;
}

int datapath_apply_guard(struct datapath *dp, const struct dp_guarded *guarded, size_t n)
{
	_cleanup_free_ struct node_route_key *want = NULL, *have = NULL;
	int map = dp->maps[MAP_GUARD], first = 0;
	size_t n_have;

	if (n > GUARD_MAX)
		return -E2BIG;
	n_have = dp_prefix_keys(map, GUARD_MAX, &have);
	want = xnew0_array(struct node_route_key, n + 1);
	for (size_t i = 0; i < n; i++) {
		want[i].len = guarded[i].prefix.len;
		memcpy(want[i].addr, &guarded[i].prefix.addr, 16);
		dp_note_error(&first, put(map, &guarded[i], &want[i]));
	}
	qsort(want, n, sizeof(*want), dp_prefix_compare);
	for (size_t i = 0; i < n_have; i++)
		if (!bsearch(&have[i], want, n, sizeof(*want), dp_prefix_compare))
			dp_note_error(&first, bpf_map_delete_elem(map, &have[i]));
	note_repairs(dp, take_ptr(want), n, have, n_have);
	return first;
}
