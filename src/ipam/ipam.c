/* SPDX-License-Identifier: Apache-2.0 */
/* Every address that is in use or was freed is an entry in one hash table; freed ones also stand in a queue a family,
 * oldest first. What has no entry was never used; a cursor a range runs over those. When the cursor is at the end, the
 * head of the queue is next, once it has rested.
 *
 * The queue is bounded: in a large range the cursor practically never ends, and the queue would remember every pod
 * that ever was. The oldest entry past the bound is forgotten when it has rested, and the cursor starts over at the end
 * of the range, so that a forgotten address comes back in its turn. */
#include "ipam/ipam.h"
#include "base/htab.h"
#include "base/list.h"

#include <endian.h>

enum { FREED_MAX = 65536 };

struct entry {
	struct htab_node node;
	struct list freed; /* in its family's queue, oldest first, unless in use */
	struct addr addr;
	uint64_t freed_ms;
	bool used;
};

struct range {
	bool present;
	struct prefix prefix;
	uint32_t first, last; /* offsets that pods can have; first > last: none */
	uint64_t cursor;      /* next offset that was never used */
	bool forgot;	      /* an address before the cursor has no entry any more */
	struct list freed;
	size_t n_freed;
};

struct ipam {
	uint64_t rest_ms;
	struct htab entries;
	struct range ranges[IPAM_FAMILIES];
};

static uint64_t hash_addr(const struct addr *a)
{
	return hash_mem(a, sizeof(*a));
}

static struct entry *entry_find(const struct ipam *i, const struct addr *a)
{
	struct entry *e = NULL;

	HTAB_FIND(&i->entries, hash_addr(a), e, node, addr_eq(&e->addr, a));
	return e;
}

static struct entry *entry_new(struct ipam *i, const struct addr *a)
{
	struct entry *e = xnew0(struct entry);

	e->addr = *a;
	list_init(&e->freed);
	htab_insert(&i->entries, hash_addr(a), &e->node);
	return e;
}

static void unqueue(struct range *r, struct entry *e)
{
	if (!list_empty(&e->freed))
		r->n_freed--;
	list_remove(&e->freed);
}

static void entry_free(struct ipam *i, struct entry *e)
{
	unqueue(&i->ranges[ipam_family(&e->addr)], e);
	htab_remove(&i->entries, &e->node);
	free(e);
}

struct ipam *ipam_new(uint64_t rest_ms)
{
	struct ipam *i = xnew0(struct ipam);

	i->rest_ms = rest_ms;
	for (int f = 0; f < IPAM_FAMILIES; f++)
		list_init(&i->ranges[f].freed);
	return i;
}

struct ipam *ipam_free(struct ipam *i)
{
	if (!i)
		return NULL;
	for (struct htab_node *n = htab_begin(&i->entries), *next; n; n = next) {
		next = htab_next(&i->entries, n);
		free(container_of(n, struct entry, node));
	}
	htab_done(&i->entries);
	free(i);
	return NULL;
}

/* Offsets that pods can have: not the network's address, not the node's, not an IPv4 range's last. */
static void set_bounds(struct range *r)
{
	unsigned host_bits = 128 - r->prefix.len;
	uint64_t size = host_bits >= 32 ? UINT32_MAX : 1ull << host_bits;
	bool broadcast = addr_is_v4(&r->prefix.addr) && host_bits > 1;

	r->first = 2;
	r->last = size < 3 ? 0 : size - 1 - broadcast;
	r->cursor = r->first;
}

void ipam_set_range(struct ipam *i, int family, const struct prefix *range)
{
	struct range *r = &i->ranges[family];

	if (range ? r->present && prefix_eq(&r->prefix, range) : !r->present)
		return;
	r->present = range != NULL;
	r->forgot = false;
	if (range) {
		r->prefix = *range;
		set_bounds(r);
	}
}

static bool offset_of(const struct range *r, const struct addr *a, uint32_t *ret)
{
	uint32_t low, base;

	memcpy(&low, a->b + 12, 4);
	memcpy(&base, r->prefix.addr.b + 12, 4);
	*ret = be32toh(low) - be32toh(base);
	return r->present && prefix_contains(&r->prefix, a) && memcmp(a->b, r->prefix.addr.b, 12) == 0;
}

static bool can_be_a_pods(const struct range *r, const struct addr *a)
{
	uint32_t offset;

	return offset_of(r, a, &offset) && offset >= r->first && offset <= r->last;
}

static bool rested(const struct ipam *i, const struct entry *e, uint64_t now_ms)
{
	return now_ms >= e->freed_ms && now_ms - e->freed_ms >= i->rest_ms;
}

static bool take_unused(struct ipam *i, struct range *r, struct addr *ret)
{
	for (;;) {
		for (; r->cursor <= r->last; r->cursor++) {
			*ret = addr_add(&r->prefix.addr, r->cursor);
			if (!entry_find(i, ret)) {
				r->cursor++;
				return true;
			}
		}
		if (!r->forgot)
			return false;
		r->forgot = false;
		r->cursor = r->first;
	}
}

static bool take_rested(struct ipam *i, struct range *r, uint64_t now_ms, struct addr *ret)
{
	struct entry *e, *tmp;

	list_for_each_safe(e, tmp, &r->freed, freed) {
		if (!rested(i, e, now_ms))
			return false;
		if (!can_be_a_pods(r, &e->addr)) {
			entry_free(i, e); /* of a former range */
			continue;
		}
		*ret = e->addr;
		return true;
	}
	return false;
}

static int find_any(struct ipam *i, int family, uint64_t now_ms, struct addr *ret, char **ret_error)
{
	struct range *r = &i->ranges[family];
	char text[PREFIX_TEXT_MAX];
	struct ipam_use use;

	if (take_unused(i, r, ret) || take_rested(i, r, now_ms, ret))
		return 0;
	use = ipam_use(i, family, now_ms);
	*ret_error =
	    xasprintf("range %s has no free address: %llu of %llu are in use, %llu rest for up to %llu s",
		      prefix_format(&r->prefix, text), (unsigned long long)use.used, (unsigned long long)use.size,
		      (unsigned long long)use.resting, (unsigned long long)(i->rest_ms / 1000));
	return -ENOSPC;
}

static int check_wanted(struct ipam *i, int family, uint64_t now_ms, const struct addr *want, char **ret_error)
{
	const struct entry *e = entry_find(i, want);
	char text[ADDR_TEXT_MAX];

	addr_format(want, text);
	if (!can_be_a_pods(&i->ranges[family], want)) {
		*ret_error = xasprintf("address %s: not one that this node gives to pods", text);
		return -EADDRNOTAVAIL;
	}
	if (e && (e->used || !rested(i, e, now_ms))) {
		*ret_error = xasprintf("address %s: %s", text, e->used ? "in use" : "resting after its last use");
		return -EADDRINUSE;
	}
	return 0;
}

static void mark_used(struct ipam *i, const struct addr *a)
{
	struct entry *e = entry_find(i, a);

	if (!e)
		e = entry_new(i, a);
	unqueue(&i->ranges[ipam_family(a)], e);
	e->used = true;
}

int ipam_alloc(struct ipam *i, uint64_t now_ms, const struct addr want[IPAM_FAMILIES], struct addr ret[IPAM_FAMILIES],
	       char **ret_error)
{
	struct addr got[IPAM_FAMILIES] = {0};

	if (!i->ranges[IPAM_V4].present && !i->ranges[IPAM_V6].present) {
		*ret_error = xstrdup("the node has no address range yet");
		return -EAGAIN;
	}
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		bool wanted = want && !addr_is_zero(&want[f]);
		int r = 0;

		if (wanted) {
			got[f] = want[f];
			r = check_wanted(i, f, now_ms, &want[f], ret_error);
		} else if (i->ranges[f].present) {
			r = find_any(i, f, now_ms, &got[f], ret_error);
		}
		if (r < 0)
			return r; /* nothing is marked yet: an address passed by the cursor only comes later in turn */
	}
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		if (!addr_is_zero(&got[f]))
			mark_used(i, &got[f]);
		ret[f] = got[f];
	}
	return 0;
}

int ipam_adopt(struct ipam *i, const struct addr *a)
{
	if (ipam_in_use(i, a))
		return -EEXIST;
	mark_used(i, a);
	return 0;
}

/* Keeps the queue within its bound: see the top. */
static void forget_oldest(struct ipam *i, struct range *r, uint64_t now_ms)
{
	struct entry *oldest = list_entry(r->freed.next, struct entry, freed);

	if (r->n_freed <= FREED_MAX || !rested(i, oldest, now_ms))
		return;
	entry_free(i, oldest);
	r->forgot = true;
}

void ipam_release(struct ipam *i, const struct addr *a, uint64_t now_ms)
{
	struct range *r = &i->ranges[ipam_family(a)];
	struct entry *e;

	if (addr_is_zero(a))
		return;
	e = entry_find(i, a);
	if (!e)
		e = entry_new(i, a); /* freed before the restart that forgot it */
	else if (!e->used)
		return;
	e->used = false;
	e->freed_ms = now_ms;
	list_push_back(&r->freed, &e->freed);
	r->n_freed++;
	forget_oldest(i, r, now_ms);
}

void ipam_cancel(struct ipam *i, const struct addr *a)
{
	struct range *r = &i->ranges[ipam_family(a)];
	struct entry *e = entry_find(i, a);
	uint32_t offset;

	if (!e || !e->used)
		return;
	entry_free(i, e);
	if (offset_of(r, a, &offset) && offset < r->cursor)
		r->forgot = true;
}

bool ipam_in_use(const struct ipam *i, const struct addr *a)
{
	const struct entry *e = entry_find(i, a);

	return e && e->used;
}

struct ipam_use ipam_use(const struct ipam *i, int family, uint64_t now_ms)
{
	const struct range *r = &i->ranges[family];
	struct ipam_use use = {.present = r->present, .range = r->prefix};

	if (!r->present)
		return use;
	use.size = r->last < r->first ? 0 : (uint64_t)r->last - r->first + 1;
	for (struct htab_node *n = htab_begin(&i->entries); n; n = htab_next(&i->entries, n)) {
		const struct entry *e = container_of(n, struct entry, node);

		if (!can_be_a_pods(r, &e->addr))
			continue;
		use.used += e->used;
		use.resting += !e->used && !rested(i, e, now_ms);
	}
	return use;
}

void ipam_each_freed(const struct ipam *i, ipam_rest_fn *fn, void *ctx)
{
	for (int f = 0; f < IPAM_FAMILIES; f++) {
		const struct entry *e;

		list_for_each(e, &i->ranges[f].freed, freed)
			if (!fn(&e->addr, e->freed_ms, ctx))
				return;
	}
}
