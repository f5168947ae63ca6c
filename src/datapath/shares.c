/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of shares: how many entries of `flows` and of `nat_claims` each owner has, and how many there are. Programs add and subtract, but make no
 * counter, and take what has none for something of an endpoint that is gone: no claim begins without those of its owner and of all, flows have
 * no bound, and what is there ends with its turn. So a counter that is missing is made, with what its owner has by now.
 *
 * Packets go on while the table is read: what begins or ends between the look at its place and the writing of the sum is missed. In steady use that is
 * as much too many as too few, of what happens within milliseconds. What counts too few falls below zero in the end, as does that of an endpoint that has
 * got the number of one whose entries are not gone yet; such a counter is made anew as well, which is nobody's damage. */
#include "datapath/conversion.h"
#include "datapath/priv.h"
#include "weft/endpoint.h"
#include "weft/nat.h"

enum { OWNER_ALL = NAT_OWNER_ALL }; /* of `endpoint_flows` as well */

/* A table whose entries are counted, and who has counters beside the endpoints. */
static const struct counted {
	enum dp_map table, counters;
	size_t owner_at; /* in a value */
	uint32_t others[4];
	size_t n_others;
} tables[] = {
	{ MAP_FLOWS, MAP_ENDPOINT_FLOWS, offsetof(struct flow, state.owner), { OWNER_ALL }, 1 },
	{ MAP_NAT_CLAIMS, MAP_NAT_SHARES, offsetof(struct nat_claim, state.owner), { OWNER_ALL, NAT_OWNER_NODE, NAT_OWNER_INBOUND, NAT_OWNER_FOREIGN }, 4 },
};

struct share {
	uint32_t owner;
	bool missing; /* else below zero */
	uint64_t held;
};

/* Counters to be made, sorted by their owner. */
struct recount {
	const struct counted *of;
	struct share *shares;
	size_t n;
};

static int compare_owners(const void *a, const void *b)
{
	uint32_t x = ((const struct share *)a)->owner, y = ((const struct share *)b)->owner;

	return x < y ? -1 : x > y;
}

static void count_for(struct recount *c, uint32_t owner)
{
	struct share *found = bsearch(&(struct share){ .owner = owner }, c->shares, c->n, sizeof(*found), compare_owners);

	if (found)
		found->held++;
}

static int on_entry(const void *key __attribute__((unused)), const void *value, void *ctx)
{
	struct recount *c = ctx;
	uint32_t owner;

	memcpy(&owner, (const uint8_t *)value + c->of->owner_at, sizeof(owner));
	count_for(c, owner);
	count_for(c, OWNER_ALL);
	return 0;
}

static int count_entries(struct datapath *dp, struct recount *c)
{
	_cleanup_(conversion_freep) struct conversion *same = NULL;
	int table = dp->maps[c->of->table], r = conversion_new(&same, table, table);

	if (r == 0)
		return -ENOTSUP;
	return r < 0 ? r : conversion_each(same, on_entry, c);
}

static void look(struct datapath *dp, struct recount *c, uint32_t owner)
{
	int64_t held;
	bool missing = bpf_map_lookup_elem(dp->maps[c->of->counters], &owner, &held) < 0;

	if (missing || held < 0)
		c->shares[c->n++] = (struct share){ .owner = owner, .missing = missing };
}

/* By their owner, and each once: an endpoint that moves has two interfaces for a moment. */
static void sort_shares(struct recount *c)
{
	size_t n = 0;

	qsort(c->shares, c->n, sizeof(*c->shares), compare_owners);
	for (size_t i = 0; i < c->n; i++)
		if (n == 0 || c->shares[i].owner != c->shares[n - 1].owner)
			c->shares[n++] = c->shares[i];
	c->n = n;
}

/* Return: 0 or the first error. */
static int make_shares(struct datapath *dp, struct recount *c)
{
	size_t made = 0;
	int first;

	sort_shares(c);
	first = count_entries(dp, c);
	if (first < 0)
		return first;
	for (size_t i = 0; i < c->n; i++) {
		int r = bpf_map_update_elem(dp->maps[c->of->counters], &c->shares[i].owner, &c->shares[i].held, BPF_ANY);

		made += r == 0 && c->shares[i].missing;
		dp_note_error(&first, r);
	}
	if (made && dp->repair.endpoints)
		dp_repaired(dp, DP_REPAIR_ENTRY, "%zu entries of %s", made, dp_map_names[c->of->counters]);
	return first;
}

static int mend_shares(struct datapath *dp, const struct counted *of, const uint32_t *ids, size_t n)
{
	_cleanup_free_ struct share *shares = xnew0_array(struct share, n + of->n_others);
	struct recount c = { .of = of, .shares = shares };

	for (size_t i = 0; i < of->n_others; i++)
		look(dp, &c, of->others[i]);
	for (size_t i = 0; i < n; i++)
		look(dp, &c, ids[i]);
	return c.n ? make_shares(dp, &c) : 0;
}

/* The numbers of the endpoints that are published. */
static uint32_t *list_ids(struct datapath *dp, size_t *ret_n)
{
	uint32_t *ids = NULL, ifindex, *last = NULL;
	size_t n = 0, cap = 0;

	for (; bpf_map_get_next_key(dp->maps[MAP_POD_IFACES], last, &ifindex) == 0; last = &ifindex) {
		struct pod_iface iface;

		if (bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ifindex, &iface) < 0)
			continue;
		GROW(ids, n, cap);
		ids[n++] = iface.id;
	}
	*ret_n = n;
	return ids;
}

int dp_mend_shares(struct datapath *dp)
{
	size_t n;
	_cleanup_free_ uint32_t *ids = list_ids(dp, &n);
	int first = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		dp_note_error(&first, mend_shares(dp, &tables[i], ids, n));
	return first;
}
