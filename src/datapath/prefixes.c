/* SPDX-License-Identifier: Apache-2.0 */
#include "datapath/priv.h"
#include "weft/route.h"

int dp_prefix_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct node_route_key));
}

size_t dp_prefix_keys(int map, size_t max, struct node_route_key **ret)
{
	struct node_route_key *keys = NULL, *last = NULL;
	size_t n = 0, cap = 0;

	for (;;) {
		GROW(keys, n, cap);
		last = n ? &keys[n - 1] : NULL;
		if (n >= max || bpf_map_get_next_key(map, last, &keys[n]) < 0)
			break;
		n++;
	}
	qsort(keys, n, sizeof(*keys), dp_prefix_compare);
	*ret = keys;
	return n;
}
