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

/* The same prefix may be wanted twice. Sorted. */
static size_t distinct(const struct entries *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n; i++)
		n += i == 0 || memcmp(e->data + i * stride(e), e->data + (i - 1) * stride(e), e->key_size) != 0;
	return n;
}

/* The keys that are there, all of them before any goes, as their order changes with a deletion. */
static uint8_t *list_keys(int map, size_t size, size_t *ret_n)
{
	uint8_t *keys = NULL;
	size_t n = 0, cap = 0;

	for (;;) {
		if ((n + 1) * size > cap) {
			cap = MAX(cap * 2, 64 * size);
			keys = xrealloc(keys, cap, 1);
		}
		if (bpf_map_get_next_key(map, n ? keys + (n - 1) * size : NULL, keys + n * size) < 0)
			break;
		n++;
	}
	*ret_n = n;
	return keys;
}

/* Somebody else's doing, when the same was wanted the last time. Takes the data of @want. */
static void note_repairs(struct datapath *dp, enum dp_map map, struct entries *want, size_t changed)
{
	struct dp_nat_wanted *before = &dp->repair.nat[map == MAP_NAT_EXEMPT];

	if (changed && before->data && before->n == want->n && memcmp(before->data, want->data, want->n * stride(want)) == 0)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%zu entries of %s", changed, dp_map_names[map]);
	free(before->data);
	*before = (struct dp_nat_wanted){ take_ptr(want->data), want->n };
}

/* Makes the map hold exactly these, and takes their data. Writing what is there already does no harm; of what is there the keys are asked for, and
 * the value where it is more than that the key is there: in a trie a look-up may find a wider one. */
static int sync_map(struct datapath *dp, enum dp_map map, struct entries *want)
{
	size_t n_there, kept = 0, changed = 0;
	int fd = dp->maps[map], first = 0;
	_cleanup_free_ uint8_t *there = list_keys(fd, want->key_size, &n_there);

	qsort_r(want->data, want->n, stride(want), compare_keys, &want->key_size);
	for (size_t i = 0; i < n_there; i++)
		kept += is_wanted(want, there + i * want->key_size);
	for (size_t i = 0; i < want->n; i++) {
		const uint8_t *key = want->data + i * stride(want);
		struct nat_uplink now;

		changed += map == MAP_NAT_UPLINKS && bpf_map_lookup_elem(fd, key, &now) == 0 && memcmp(&now, key + want->key_size, sizeof(now)) != 0;
		dp_note_error(&first, bpf_map_update_elem(fd, key, key + want->key_size, BPF_ANY));
	}
	for (size_t i = 0; i < n_there; i++)
		if (!is_wanted(want, there + i * want->key_size))
			dp_note_error(&first, bpf_map_delete_elem(fd, there + i * want->key_size));
	note_repairs(dp, map, want, changed + distinct(want) - kept + n_there - kept);
	return first;
}

static int apply_uplinks(struct datapath *dp, const struct dp_masquerade *m)
{
	struct entries want = entries_new(m->n_uplinks, sizeof(uint32_t), sizeof(struct nat_uplink));

	for (size_t i = 0; i < m->n_uplinks; i++) {
		struct nat_uplink value = { .addrs = { dp_addr_encode(&m->uplinks[i].addrs[0]), dp_addr_encode(&m->uplinks[i].addrs[1]) } };

		entries_add(&want, &m->uplinks[i].ifindex, &value);
	}
	return sync_map(dp, MAP_NAT_UPLINKS, &want);
}

static int apply_exempt(struct datapath *dp, const struct dp_masquerade *m)
{
	struct entries want = entries_new(m->n_exempt, sizeof(struct nat_exempt_key), sizeof(uint32_t));
	uint32_t yes = 1;

	for (size_t i = 0; i < m->n_exempt; i++) {
		const struct dp_exempt *e = &m->exempt[i];
		struct nat_exempt_key key = { .len = 32 + e->prefix.len, .side = e->source ? NAT_FROM : NAT_TO };

		memcpy(key.addr, &e->prefix.addr, 16);
		entries_add(&want, &key, &yes);
	}
	return sync_map(dp, MAP_NAT_EXEMPT, &want);
}

static int apply_reserved(struct datapath *dp, const struct dp_masquerade *m)
{
	unsigned changed = 0;
	int r = 0;

	if (!dp->repair.reserved)
		dp->repair.reserved = xnew0_array(uint64_t, NAT_RESERVED_WORDS);
	for (uint32_t i = 0; i < NAT_RESERVED_WORDS && r == 0; i++) {
		uint64_t word = 0, now = 0;

		for (uint32_t bit = 0; m->reserved && bit < 64; bit++)
			word |= (uint64_t)m->reserved[i * 64 + bit] << bit;
		r = bpf_map_lookup_elem(dp->maps[MAP_NAT_RESERVED], &i, &now);
		if (r == 0 && now != word) {
			r = bpf_map_update_elem(dp->maps[MAP_NAT_RESERVED], &i, &word, BPF_ANY);
			changed += dp->repair.reserved_known && dp->repair.reserved[i] == word;
		}
		dp->repair.reserved[i] = word;
	}
	dp->repair.reserved_known = r == 0;
	if (changed)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%u entries of %s", changed, dp_map_names[MAP_NAT_RESERVED]);
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
