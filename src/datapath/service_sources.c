/* SPDX-License-Identifier: Apache-2.0 */
/* Source ranges of Services in the kernel. */
#include "datapath/service_internal.h"

struct service_source_key services_source_key(uint32_t id, const struct prefix *p)
{
	struct service_source_key key = { .len = 32 + p->len, .service = id };

	memcpy(key.addr, &p->addr, sizeof(key.addr));
	return key;
}

int services_delete_source(struct datapath *dp, uint32_t id, const struct prefix *p)
{
	struct service_source_key key = services_source_key(id, p);

	return services_delete(dp, MAP_SERVICE_SOURCES, &key);
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int c = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

bool services_has_prefix(const struct prefix *sorted, size_t n, const struct prefix *p)
{
	return n && bsearch(p, sorted, n, sizeof(*p), compare_prefixes);
}

void services_sort_prefixes(struct prefix *list, size_t n)
{
	if (n)
		qsort(list, n, sizeof(*list), compare_prefixes);
}

struct prefix *services_sorted_prefixes(const struct prefix *list, size_t n)
{
	struct prefix *r = xnew0_array(struct prefix, n + 1);

	for (size_t i = 0; i < n; i++)
		r[i] = list[i];
	services_sort_prefixes(r, n);
	return r;
}

static bool same_prefixes(const struct prefix *a, size_t n_a, const struct prefix *b, size_t n_b)
{
	bool same = n_a == n_b;

	for (size_t i = 0; i < n_a && same; i++)
		same = prefix_eq(&a[i], &b[i]);
	return same;
}

/* What is in the kernel then is remembered, sorted: what could not be written, or not be taken away, is tried again. */
int services_put_sources(struct datapath *dp, struct service_state *st, const struct dp_service *want)
{
	_cleanup_free_ struct prefix *wanted = services_sorted_prefixes(want->sources, want->n_sources);
	struct prefix *there;
	uint32_t yes = 1;
	size_t n = 0;
	int first = 0;

	if (same_prefixes(wanted, want->n_sources, st->sources, st->n_sources))
		return 0;
	there = xnew0_array(struct prefix, want->n_sources + st->n_sources + 1);
	for (size_t i = 0; i < want->n_sources; i++) {
		struct service_source_key key = services_source_key(st->id, &wanted[i]);
		int r = services_has_prefix(st->sources, st->n_sources, &wanted[i]) ? 0 : services_write(dp, MAP_SERVICE_SOURCES, &key, &yes);

		dp_note_error(&first, r);
		if (r == 0)
			there[n++] = wanted[i];
	}
	for (size_t i = 0; i < st->n_sources; i++) {
		int r = services_has_prefix(wanted, want->n_sources, &st->sources[i]) ? 0 : services_delete_source(dp, st->id, &st->sources[i]);

		dp_note_error(&first, r);
		if (r < 0)
			there[n++] = st->sources[i];
	}
	free(st->sources);
	st->sources = there;
	st->n_sources = n;
	services_sort_prefixes(there, n);
	return first;
}
