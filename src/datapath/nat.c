/* SPDX-License-Identifier: Apache-2.0 */
/* What NAT is told: addresses of uplinks, what is exempt, ports that are not to be used. Claims are the kernel's alone; when an
 * address of ours is gone, their forward entries are taken away, and the timers of the claims do the rest. */
#include "weft/nat.h"
#include "datapath/priv.h"

/* Entries of a map as they are wanted: key and value of each behind each other. */
struct entries {
	uint8_t *data;
	size_t n, key_size, value_size;
};

static size_t stride(const struct entries *e)
{
	return e->key_size + e->value_size;
}

static struct entries entries_new(size_t max, size_t key_size, size_t value_size)
{
	return (struct entries){ xcalloc(max + 1, key_size + value_size), 0, key_size, value_size };
}

static void entries_add(struct entries *e, const void *key, const void *value)
{
	memcpy(e->data + e->n * stride(e), key, e->key_size);
	memcpy(e->data + e->n * stride(e) + e->key_size, value, e->value_size);
	e->n++;
}

static int compare_keys(const void *a, const void *b, void *size)
{
	return memcmp(a, b, *(size_t *)size);
}

static bool is_wanted(const struct entries *e, const void *key)
{
	size_t lo = 0, hi = e->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = memcmp(key, e->data + mid * stride(e), e->key_size);

		if (c == 0)
			return true;
		*(c < 0 ? &hi : &lo) = c < 0 ? mid : mid + 1;
	}
	return false;
}

/* Keys of the map that are not wanted; they are listed before any goes, as the order of keys changes with a deletion. */
static int remove_others(int map, const struct entries *want)
{
	_cleanup_free_ uint8_t *keys = NULL;
	size_t n = 0, cap = 0, size = want->key_size;
	int first = 0;

	for (;;) {
		if ((n + 1) * size > cap) {
			cap = MAX(cap * 2, 64 * size);
			keys = xrealloc(keys, cap, 1);
		}
		if (bpf_map_get_next_key(map, n ? keys + (n - 1) * size : NULL, keys + n * size) < 0)
			break;
		n++;
	}
	for (size_t i = 0; i < n; i++)
		if (!is_wanted(want, keys + i * size))
			dp_note_error(&first, bpf_map_delete_elem(map, keys + i * size));
	return first;
}

/* Makes the map hold exactly these. Writing what is there already does no harm. */
static int sync_map(int map, struct entries *want)
{
	int first = 0;

	qsort_r(want->data, want->n, stride(want), compare_keys, &want->key_size);
	for (size_t i = 0; i < want->n; i++) {
		const uint8_t *key = want->data + i * stride(want);

		dp_note_error(&first, bpf_map_update_elem(map, key, key + want->key_size, BPF_ANY));
	}
	dp_note_error(&first, remove_others(map, want));
	return first;
}

static int apply_uplinks(struct datapath *dp, const struct dp_masquerade *m)
{
	struct entries want = entries_new(m->n_uplinks, sizeof(uint32_t), sizeof(struct nat_uplink));
	int r;

	for (size_t i = 0; i < m->n_uplinks; i++) {
		struct nat_uplink value = { .addrs = { dp_addr_encode(&m->uplinks[i].addrs[0]), dp_addr_encode(&m->uplinks[i].addrs[1]) } };

		entries_add(&want, &m->uplinks[i].ifindex, &value);
	}
	r = sync_map(dp->maps[MAP_NAT_UPLINKS], &want);
	free(want.data);
	return r;
}

static int apply_exempt(struct datapath *dp, const struct dp_masquerade *m)
{
	struct entries want = entries_new(m->n_exempt, sizeof(struct nat_exempt_key), sizeof(uint32_t));
	uint32_t yes = 1;
	int r;

	for (size_t i = 0; i < m->n_exempt; i++) {
		const struct dp_exempt *e = &m->exempt[i];
		struct nat_exempt_key key = { .len = 32 + e->prefix.len, .side = e->source ? NAT_FROM : NAT_TO };

		memcpy(key.addr, &e->prefix.addr, 16);
		entries_add(&want, &key, &yes);
	}
	r = sync_map(dp->maps[MAP_NAT_EXEMPT], &want);
	free(want.data);
	return r;
}

static int apply_reserved(struct datapath *dp, const struct dp_masquerade *m)
{
	int r = 0;

	for (uint32_t i = 0; i < NAT_RESERVED_WORDS && r == 0; i++) {
		uint64_t word = 0, now = 0;

		for (uint32_t bit = 0; m->reserved && bit < 64; bit++)
			word |= (uint64_t)m->reserved[i * 64 + bit] << bit;
		r = bpf_map_lookup_elem(dp->maps[MAP_NAT_RESERVED], &i, &now);
		if (r == 0 && now != word)
			r = bpf_map_update_elem(dp->maps[MAP_NAT_RESERVED], &i, &word, BPF_ANY);
	}
	return r;
}

static bool is_ours(const struct dp_masquerade *m, const struct ip_addr *addr)
{
	for (size_t i = 0; i < m->n_uplinks; i++)
		if (memcmp(&m->uplinks[i].addrs[0], addr, 16) == 0 || memcmp(&m->uplinks[i].addrs[1], addr, 16) == 0)
			return true;
	return false;
}

/* Connections with an address that is no uplink's any more: nothing can come back to them. */
static int end_orphans(struct datapath *dp, const struct dp_masquerade *m)
{
	enum { BATCH = 4096 };
	_cleanup_free_ struct nat_key *keys = xnew0_array(struct nat_key, BATCH);
	_cleanup_free_ struct nat_forward *values = xnew0_array(struct nat_forward, BATCH);
	int map = dp->maps[MAP_NAT_FORWARD], r, first = 0;
	uint32_t in, out;
	bool more = false;

	do {
		uint32_t n = BATCH;

		r = bpf_map_lookup_batch(map, more ? &in : NULL, &out, keys, values, &n, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < n; i++)
			if (!values[i].backend && !is_ours(m, &values[i].addr) && bpf_map_delete_elem(map, &keys[i]) < 0 && errno != ENOENT)
				dp_note_error(&first, -errno);
		in = out;
		more = true;
	} while (r == 0);
	return first;
}

static bool addrs_changed(const struct datapath *dp, const struct dp_masquerade *m)
{
	return dp->n_nat_addrs != m->n_uplinks ||
	       (m->n_uplinks && memcmp(dp->nat_addrs, m->uplinks, m->n_uplinks * sizeof(*m->uplinks)) != 0);
}

int datapath_apply_masquerade(struct datapath *dp, const struct dp_masquerade *m)
{
	int first = 0;

	if (m->n_uplinks > NAT_UPLINKS_MAX || m->n_exempt > NAT_EXEMPT_MAX)
		return -E2BIG;
	dp_note_error(&first, apply_exempt(dp, m)); /* first: what must keep its address is never translated */
	dp_note_error(&first, apply_reserved(dp, m));
	dp_note_error(&first, apply_uplinks(dp, m));
	if (first < 0 || !addrs_changed(dp, m))
		return first;
	first = end_orphans(dp, m);
	if (first < 0)
		return first;
	free(dp->nat_addrs);
	dp->nat_addrs = xnew0_array(struct dp_nat_uplink, m->n_uplinks + 1);
	memcpy(dp->nat_addrs, m->uplinks, m->n_uplinks * sizeof(*m->uplinks));
	dp->n_nat_addrs = m->n_uplinks;
	return 0;
}

uint32_t dp_prime_from(uint32_t n)
{
	for (n = MAX(n, 2u);; n++) {
		uint32_t d = 2;

		while (d * d <= n && n % d)
			d++;
		if (d * d > n)
			return n;
	}
}
