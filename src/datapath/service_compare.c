/* SPDX-License-Identifier: Apache-2.0 */
/* Ports as they are wanted, held against the maps, field by field. What this process has written is asked for ids only, as nothing else knows them:
 * it may believe to have written what somebody changed since. What the maps have of the ports beside what is wanted lies under other keys, so they
 * are walked, once for all ports of a Service. */
#include "base/str.h"
#include "datapath/service_internal.h"

#include <stdarg.h>

enum { SLOTS_TOLD = 4 }; /* of a set; the others are counted */

/* The comparison of one port. */
struct comparison {
	struct datapath *dp;
	const struct dp_service *want;
	const struct service_state *st;
	const struct dp_service_frontend *frontend; /* about which something is told, or NULL */
	dp_difference_fn *fn;
	void *ctx;
	uint32_t slots[SERVICE_ROLES]; /* how many are wanted */
	struct prefix *sources; /* as the map has them */
	size_t n_sources, cap_sources;
};

/* Of all ports: by id, those that have never been put first. */
struct comparisons {
	struct comparison *list;
	size_t n;
};

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct comparison *)a)->st->id, y = ((const struct comparison *)b)->st->id;

	return x < y ? -1 : x > y;
}

/* The port with this id, or NULL. */
static struct comparison *find_port(const struct comparisons *all, uint32_t id)
{
	const struct service_state st = { .id = id };
	const struct comparison key = { .st = &st };

	return id ? bsearch(&key, all->list, all->n, sizeof(key), by_id) : NULL;
}

__attribute__((format(printf, 2, 3))) static void tell(const struct comparison *c, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	c->fn(c->ctx, c->want, c->frontend, text);
}

static void tell_number(const struct comparison *c, const char *of, const char *field, uint32_t there, uint32_t want)
{
	if (there != want)
		tell(c, "%s%s is %u, not %u", of, field, there, want);
}

static const char *place_format(const struct ip_addr *addr, __be16 port, char out[static ENDPOINT_TEXT_MAX])
{
	struct addr a;

	memcpy(&a, addr, sizeof(a));
	return addr_port_format(&a, ntohs(port), out);
}

/* ---- frontends ---- */

static int compare_frontend(struct comparison *c, const struct dp_service_frontend *f)
{
	struct set_state set = { .id = c->st->sets[f->role].id, .n = c->slots[f->role] };
	struct service_frontend want = services_encode_frontend(c->st, c->want, f, &set), there;
	struct service_key key = services_encode_key(c->want, f);
	int r = bpf_map_lookup_elem(c->dp->maps[MAP_SERVICE_FRONTENDS], &key, &there);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT) {
		tell(c, "the kernel has no such frontend");
		return 0;
	}
	tell_number(c, "", "service", there.service, want.service);
	tell_number(c, "", "set", there.set, want.set);
	tell_number(c, "", "slots", there.slots, want.slots);
	tell_number(c, "", "affinity, in ticks,", there.affinity, want.affinity);
	tell_number(c, "", "flags", there.flags, want.flags);
	tell_number(c, "", "role", there.role, want.role);
	return 0;
}

static int compare_frontends(struct comparison *c)
{
	int r = 0;

	for (size_t i = 0; i < c->want->n_frontends && r == 0; i++) {
		c->frontend = &c->want->frontends[i];
		r = compare_frontend(c, c->frontend);
	}
	c->frontend = NULL;
	return r;
}

static bool wants_frontend(const struct dp_service *want, const struct service_key *key)
{
	for (size_t i = 0; i < want->n_frontends; i++) {
		struct service_key k = services_encode_key(want, &want->frontends[i]);

		if (memcmp(&k, key, sizeof(k)) == 0)
			return true;
	}
	return false;
}

static void look_at_frontend(void *ctx, const void *key, const void *value)
{
	const struct service_frontend *f = value;
	const struct comparison *c = find_port(ctx, f->service);
	const struct service_key *k = key;
	char text[ENDPOINT_TEXT_MAX];

	if (c && !wants_frontend(c->want, k))
		tell(c, "frontend %s, protocol %u, scope %u is only in the kernel", place_format(&k->addr, k->port, text), k->proto, k->scope);
}

/* ---- backends ---- */

static struct backend_state encode(const struct comparison *c, const struct dp_service_backend *w)
{
	struct backend_state b = { .addr = dp_addr_encode(&w->addr), .port = htons(w->port), .roles = w->roles, .flags = w->flags };
	const struct backend_state *put = services_find_backend(c->st, &b);

	b.id = put ? put->id : 0;
	return b;
}

static void compare_backend_fields(const struct comparison *c, const struct service_backend *there, const struct service_backend *want)
{
	char of[ENDPOINT_TEXT_MAX + 16], is[ENDPOINT_TEXT_MAX], text[ENDPOINT_TEXT_MAX];

	snprintf(of, sizeof(of), "backend %s: ", place_format(&want->addr, want->port, text));
	if (memcmp(&there->addr, &want->addr, sizeof(want->addr)) != 0 || there->port != want->port)
		tell(c, "%sit is %s", of, place_format(&there->addr, there->port, is));
	tell_number(c, of, "protocol", there->proto, want->proto);
	tell_number(c, of, "roles", there->roles, want->roles);
	tell_number(c, of, "flags", there->flags, want->flags);
	tell_number(c, of, "service", there->service, want->service);
}

static int compare_backends(const struct comparison *c)
{
	for (size_t i = 0; i < c->want->n_backends; i++) {
		struct backend_state b = encode(c, &c->want->backends[i]);
		struct service_backend want = services_encode_backend(c->st, &b, b.roles), there;
		int r = b.id ? bpf_map_lookup_elem(c->dp->maps[MAP_SERVICE_BACKENDS], &b.id, &there) : -ENOENT;
		char text[ENDPOINT_TEXT_MAX];

		if (r < 0 && r != -ENOENT)
			return r;
		if (r == -ENOENT)
			tell(c, "backend %s is not in the kernel", place_format(&b.addr, b.port, text));
		else
			compare_backend_fields(c, &there, &want);
	}
	return 0;
}

static bool wants_backend(const struct comparison *c, uint32_t id)
{
	for (size_t i = 0; i < c->st->n_backends; i++)
		if (c->st->backends[i].id == id)
			return true;
	return false;
}

/* Those that wait to be deleted are nobody's endpoint, and say so. */
static void look_at_backend(void *ctx, const void *key, const void *value)
{
	const struct service_backend *b = value;
	const struct comparison *c = find_port(ctx, b->service);
	uint32_t id = *(const uint32_t *)key;
	char text[ENDPOINT_TEXT_MAX];

	if (c && !(b->flags & SERVICE_GONE) && !wants_backend(c, id))
		tell(c, "backend %s is only in the kernel, as %u", place_format(&b->addr, b->port, text), id);
}

/* ---- slots ---- */

static const char *backend_format(const struct comparison *c, uint32_t id, char out[static ENDPOINT_TEXT_MAX])
{
	struct service_backend b;

	if (bpf_map_lookup_elem(c->dp->maps[MAP_SERVICE_BACKENDS], &id, &b) == 0)
		return place_format(&b.addr, b.port, out);
	snprintf(out, ENDPOINT_TEXT_MAX, id ? "backend %u, which is not there" : "nobody's", id);
	return out;
}

/* @want: ids by slot, of whole chunks; beyond the last slot there are none. Return: how many slots are not as wanted. */
static uint32_t compare_chunk(const struct comparison *c, const struct service_slot_key *key, const uint32_t *want, uint32_t told)
{
	char is[ENDPOINT_TEXT_MAX], not[ENDPOINT_TEXT_MAX];
	struct service_slot_chunk there;
	uint32_t n = 0;

	if (bpf_map_lookup_elem(c->dp->maps[MAP_SERVICE_SLOTS], key, &there) < 0) {
		tell(c, "set %u has no slots from %u on", key->set, key->chunk * SERVICE_CHUNK);
		return 0;
	}
	for (uint32_t i = 0; i < SERVICE_CHUNK; i++) {
		if (there.backend[i] == want[i])
			continue;
		if (told + n++ < SLOTS_TOLD)
			tell(c, "slot %u of set %u is %s, not %s", key->chunk * SERVICE_CHUNK + i, key->set,
			     backend_format(c, there.backend[i], is), backend_format(c, want[i], not));
	}
	return n;
}

static void compare_set(struct comparison *c, enum service_role role)
{
	_cleanup_free_ uint32_t *want = xnew0_array(uint32_t, SERVICE_SLOTS_MAX);
	uint32_t n = c->want->fill ? c->want->fill(c->want, role, want) : 0, other = 0;

	c->slots[role] = n;
	for (uint32_t i = 0; i < n; i++)
		want[i] = encode(c, &c->want->backends[want[i]]).id;
	for (uint32_t i = 0; i < chunks_of(n); i++)
		other += compare_chunk(c, &(struct service_slot_key){ c->st->sets[role].id, i }, want + i * SERVICE_CHUNK, other);
	if (other > SLOTS_TOLD)
		tell(c, "%u more slots of set %u are other ones", other - SLOTS_TOLD, c->st->sets[role].id);
}

static void compare_sets(struct comparison *c)
{
	bool needed[SERVICE_ROLES] = {};

	for (size_t i = 0; i < c->want->n_frontends; i++)
		needed[c->want->frontends[i].role] = true;
	for (int role = 0; role < SERVICE_ROLES; role++)
		if (needed[role])
			compare_set(c, role);
}

/* ---- who may come ---- */

static void take_source(void *ctx, const void *key, const void *value)
{
	const struct service_source_key *k = key;
	struct comparison *c = find_port(ctx, k->service);
	struct prefix *p;

	(void)value;
	if (!c || k->len < 32)
		return;
	GROW(c->sources, c->n_sources, c->cap_sources);
	p = &c->sources[c->n_sources++];
	p->len = k->len - 32;
	memcpy(&p->addr, k->addr, sizeof(p->addr));
}

static void compare_sources(const struct comparison *c)
{
	_cleanup_free_ struct prefix *wanted = services_sorted_prefixes(c->want->sources, c->want->n_sources);
	char text[PREFIX_TEXT_MAX];

	services_sort_prefixes(c->sources, c->n_sources);
	for (size_t i = 0; i < c->want->n_sources; i++)
		if (!services_has_prefix(c->sources, c->n_sources, &c->want->sources[i]))
			tell(c, "source range %s is not in the kernel", prefix_format(&c->want->sources[i], text));
	for (size_t i = 0; i < c->n_sources; i++)
		if (!services_has_prefix(wanted, c->want->n_sources, &c->sources[i]))
			tell(c, "source range %s is only in the kernel", prefix_format(&c->sources[i], text));
}

/* Source ranges are collected rather than looked up: a look would find a wider one where one is missing. */
static int walk_maps(struct datapath *dp, struct comparisons *all)
{
	int r = services_each_entry(dp->maps[MAP_SERVICE_FRONTENDS], sizeof(struct service_key), sizeof(struct service_frontend), look_at_frontend, all);

	if (r == 0)
		r = services_each_entry(dp->maps[MAP_SERVICE_BACKENDS], sizeof(uint32_t), sizeof(struct service_backend), look_at_backend, all);
	if (r == 0)
		r = services_each_entry(dp->maps[MAP_SERVICE_SOURCES], sizeof(struct service_source_key), sizeof(uint32_t), take_source, all);
	for (size_t i = 0; i < all->n && r == 0; i++)
		compare_sources(&all->list[i]);
	return r;
}

static int compare_port(struct comparison *c)
{
	int r;

	compare_sets(c);
	r = compare_frontends(c);
	return r ? r : compare_backends(c);
}

int datapath_compare_services(struct datapath *dp, const struct dp_service *const *wants, size_t n, dp_difference_fn *fn, void *ctx)
{
	static const struct service_state never_put;
	_cleanup_free_ struct comparison *list = xnew0_array(struct comparison, n + 1);
	struct comparisons all = { list, n };
	struct services *s;
	int r = services_get(dp, &s);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct service_state *st = services_find_state(s, wants[i]->key);

		list[i] = (struct comparison){ .dp = dp, .want = wants[i], .st = st ? st : &never_put, .fn = fn, .ctx = ctx };
		r = compare_port(&list[i]);
	}
	if (n)
		qsort(list, n, sizeof(*list), by_id);
	if (r == 0)
		r = walk_maps(dp, &all);
	for (size_t i = 0; i < n; i++)
		free(list[i].sources);
	return r;
}
