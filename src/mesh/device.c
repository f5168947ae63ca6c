/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/device.h"

enum { SESSION_S = 180 }; /* REJECT_AFTER_TIME: whoever was not heard for longer is not there */

void mesh_device_done(struct mesh_device *d)
{
	for (size_t i = 0; i < d->n_peers; i++)
		free(d->peers[i].allowed);
	free(d->peers);
	explicit_bzero(d, sizeof(*d));
}

static void copy_prefixes(const struct prefix *from, size_t n, struct prefix **ret)
{
	*ret = n ? xnew0_array(struct prefix, n) : NULL;
	if (n)
		memcpy(*ret, from, n * sizeof(*from));
}

void mesh_device_copy(const struct mesh_device *from, struct mesh_device *ret)
{
	*ret = *from;
	ret->cap_peers = from->n_peers;
	ret->peers = from->n_peers ? xnew0_array(struct mesh_peer, from->n_peers) : NULL;
	for (size_t i = 0; i < from->n_peers; i++) {
		ret->peers[i] = from->peers[i];
		ret->peers[i].cap_allowed = from->peers[i].n_allowed;
		copy_prefixes(from->peers[i].allowed, from->peers[i].n_allowed, &ret->peers[i].allowed);
	}
}

struct mesh_peer *mesh_device_add(struct mesh_device *d, const uint8_t key[static MESH_KEY])
{
	struct mesh_peer *p;

	GROW(d->peers, d->n_peers, d->cap_peers);
	p = &d->peers[d->n_peers++];
	*p = (struct mesh_peer){0};
	memcpy(p->key, key, MESH_KEY);
	return p;
}

void mesh_peer_allow(struct mesh_peer *p, const struct prefix *prefix)
{
	GROW(p->allowed, p->n_allowed, p->cap_allowed);
	p->allowed[p->n_allowed++] = *prefix;
}

static int cmp_peer(const void *a, const void *b)
{
	return memcmp(((const struct mesh_peer *)a)->key, ((const struct mesh_peer *)b)->key, MESH_KEY);
}

static int cmp_prefix(const void *x, const void *y)
{
	const struct prefix *a = x, *b = y;
	int r = addr_cmp(&a->addr, &b->addr);

	return r ? r : (int)a->len - b->len;
}

void mesh_device_sort(struct mesh_device *d)
{
	if (d->n_peers)
		qsort(d->peers, d->n_peers, sizeof(*d->peers), cmp_peer);
	for (size_t i = 0; i < d->n_peers; i++)
		if (d->peers[i].n_allowed)
			qsort(d->peers[i].allowed, d->peers[i].n_allowed, sizeof(struct prefix), cmp_prefix);
}

struct mesh_peer *mesh_device_find(const struct mesh_device *d, const uint8_t key[static MESH_KEY])
{
	struct mesh_peer wanted;

	if (!d->n_peers)
		return NULL;
	memcpy(wanted.key, key, MESH_KEY);
	return bsearch(&wanted, d->peers, d->n_peers, sizeof(*d->peers), cmp_peer);
}

/* ---- the difference ---- */

void mesh_change_done(struct mesh_change *c)
{
	for (size_t i = 0; i < c->n_steps; i++) {
		free(c->steps[i].add);
		free(c->steps[i].take);
	}
	free(c->steps);
	explicit_bzero(c, sizeof(*c));
}

bool mesh_change_is_empty(const struct mesh_change *c)
{
	return !c->set_key && !c->set_port && !c->set_mark && c->n_steps == 0;
}

static bool has_prefix(const struct mesh_peer *p, const struct prefix *prefix)
{
	return p && p->n_allowed && bsearch(prefix, p->allowed, p->n_allowed, sizeof(*prefix), cmp_prefix);
}

/* Those of @of that @in has not. */
static size_t missing(const struct mesh_peer *of, const struct mesh_peer *in, struct prefix **ret)
{
	size_t n = 0;

	*ret = NULL;
	for (size_t i = 0; of && i < of->n_allowed; i++) {
		if (has_prefix(in, &of->allowed[i]))
			continue;
		if (!*ret)
			*ret = xnew0_array(struct prefix, of->n_allowed);
		(*ret)[n++] = of->allowed[i];
	}
	return n;
}

static bool is_silent(const struct mesh_peer *have, int64_t now_s)
{
	return have->handshake_s + SESSION_S < now_s;
}

static struct mesh_step *add_step(struct mesh_change *c, const uint8_t key[static MESH_KEY])
{
	struct mesh_step *s;

	GROW(c->steps, c->n_steps, c->cap_steps);
	s = &c->steps[c->n_steps++];
	*s = (struct mesh_step){0};
	memcpy(s->key, key, MESH_KEY);
	return s;
}

/* May it speak as another that is wanted, which it should not? (A predecessor that is not wanted goes, and that with it.) */
static bool is_mistaken(const struct mesh_device *want_all, const struct mesh_peer *have)
{
	const struct mesh_peer *want = mesh_device_find(want_all, have->key);

	if (!have->has_predecessor || !want || !mesh_device_find(want_all, have->predecessor))
		return false;
	return !want->has_predecessor || memcmp(want->predecessor, have->predecessor, MESH_KEY) != 0;
}

/* Gains come first, for all peers: a prefix is never without an owner. */
static void gain(const struct mesh_device *all, const struct mesh_device *want_all, const struct mesh_peer *want, int64_t now_s, struct mesh_change *c)
{
	const struct mesh_peer *have = mesh_device_find(all, want->key);
	struct mesh_step s = {0};
	bool moved;

	if (have && is_mistaken(want_all, have)) {
		add_step(c, have->key)->remove = true;
		have = NULL;
	}
	moved = !have || !addr_eq(&have->endpoint, &want->endpoint) || have->port != want->port;
	s.create = !have;
	s.set_endpoint = moved && !addr_is_zero(&want->endpoint) && (!have || addr_is_zero(&have->endpoint) || is_silent(have, now_s));
	s.endpoint = want->endpoint;
	s.port = want->port;
	s.set_keepalive = have ? have->keepalive_s != want->keepalive_s : want->keepalive_s != 0;
	s.keepalive_s = want->keepalive_s;
	s.clear_psk = have && have->has_psk;
	s.n_add = missing(want, have, &s.add);
	s.set_predecessor = want->has_predecessor && !(have && have->has_predecessor) && mesh_device_find(all, want->predecessor);
	memcpy(s.predecessor, want->predecessor, MESH_KEY);
	if (!s.create && !s.set_endpoint && !s.set_keepalive && !s.clear_psk && !s.set_predecessor && !s.n_add)
		return;
	memcpy(s.key, want->key, MESH_KEY);
	*add_step(c, want->key) = s;
}

static void lose(const struct mesh_device *want_all, const struct mesh_peer *have, struct mesh_change *c)
{
	const struct mesh_peer *want = mesh_device_find(want_all, have->key);
	struct prefix *extra = NULL, *left;
	size_t n = want && !is_mistaken(want_all, have) ? missing(have, want, &extra) : 0, n_left = 0;

	if (!want) {
		add_step(c, have->key)->remove = true;
		return;
	}
	left = extra;
	for (size_t i = 0; i < n; i++) { /* what another peer has just taken over is gone already */
		bool moved = false;

		for (size_t k = 0; k < c->n_steps && !moved; k++)
			for (size_t a = 0; a < c->steps[k].n_add && !moved; a++)
				moved = prefix_eq(&c->steps[k].add[a], &extra[i]);
		if (!moved)
			left[n_left++] = extra[i];
	}
	if (n_left) {
		struct mesh_step *s = add_step(c, have->key);

		s->take = left;
		s->n_take = n_left;
	} else {
		free(extra);
	}
}

/* Once the successor has spoken, what was its predecessor's is its own. */
static void settle_successors(const struct mesh_device *have, struct mesh_device *want)
{
	for (size_t i = 0; i < want->n_peers; i++) {
		struct mesh_peer *old = &want->peers[i], *next = old->has_successor ? mesh_device_find(want, old->successor) : NULL;
		const struct mesh_peer *heard = next ? mesh_device_find(have, next->key) : NULL;

		if (!heard || !heard->handshake_s)
			continue;
		for (size_t k = 0; k < old->n_allowed; k++)
			mesh_peer_allow(next, &old->allowed[k]);
		old->n_allowed = 0;
	}
	mesh_device_sort(want);
}

/* In a time that says nothing about where they differ: private keys. */
static bool same_secret(const uint8_t a[static MESH_KEY], const uint8_t b[static MESH_KEY])
{
	volatile uint8_t differ = 0;

	for (int i = 0; i < MESH_KEY; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

void mesh_diff(const struct mesh_device *have, const struct mesh_device *given, int64_t now_s, struct mesh_change *ret)
{
	struct mesh_device want;

	*ret = (struct mesh_change){0};
	mesh_device_copy(given, &want);
	settle_successors(have, &want);
	ret->set_key = want.has_key && (!have->has_key || !same_secret(have->key, want.key));
	memcpy(ret->key, want.key, MESH_KEY);
	ret->set_port = have->port != want.port;
	ret->port = want.port;
	ret->set_mark = have->mark != want.mark;
	ret->mark = want.mark;
	for (size_t i = 0; i < want.n_peers; i++)
		gain(have, &want, &want.peers[i], now_s, ret);
	for (size_t i = 0; i < have->n_peers; i++)
		lose(&want, &have->peers[i], ret);
	mesh_device_done(&want);
}

void mesh_device_forget(struct mesh_device *d, const struct mesh_change *c)
{
	for (size_t i = 0; i < c->n_steps; i++) {
		struct mesh_peer *p = c->steps[i].remove ? mesh_device_find(d, c->steps[i].key) : NULL;

		if (!p)
			continue;
		free(p->allowed);
		memmove(p, p + 1, (size_t)(d->peers + d->n_peers - (p + 1)) * sizeof(*p));
		d->n_peers--;
	}
}

size_t mesh_count_lost(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want)
{
	size_t n = 0;

	for (size_t i = 0; i < before->n_peers; i++) {
		const struct mesh_peer *wanted = mesh_device_find(want, before->peers[i].key);

		n += wanted && !wanted->has_successor && !wanted->has_predecessor && !mesh_device_find(now, wanted->key);
	}
	return n;
}

static bool same_prefixes(const struct mesh_peer *a, const struct mesh_peer *b)
{
	if (a->n_allowed != b->n_allowed)
		return false;
	for (size_t i = 0; i < a->n_allowed; i++)
		if (!prefix_eq(&a->allowed[i], &b->allowed[i]))
			return false;
	return true;
}

static bool was_changed(const struct mesh_peer *before, const struct mesh_peer *now, const struct mesh_device *want_all, const struct mesh_peer *want)
{
	return (before->keepalive_s == want->keepalive_s && now->keepalive_s != want->keepalive_s) ||
	       (same_prefixes(before, want) && !same_prefixes(now, want)) || (!is_mistaken(want_all, before) && is_mistaken(want_all, now));
}

size_t mesh_count_changed(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want, bool alone)
{
	size_t n = 0;

	for (size_t i = 0; i < now->n_peers; i++) {
		const struct mesh_peer *p = &now->peers[i], *was = mesh_device_find(before, p->key), *wanted = mesh_device_find(want, p->key);

		if (p->has_psk && !(was && was->has_psk))
			n++;
		else if (alone)
			n += wanted ? was && was_changed(was, p, want, wanted) : !was;
	}
	return n;
}

static bool same_device(const struct mesh_device *a, const struct mesh_device *b)
{
	return a->has_key == b->has_key && same_secret(a->key, b->key) && a->port == b->port && a->mark == b->mark;
}

bool mesh_was_changed(const struct mesh_device *before, const struct mesh_device *now, const struct mesh_device *want)
{
	return same_device(before, want) && !same_device(now, want);
}

bool mesh_hold_back(const struct mesh_device *have, struct mesh_device *want, bool late)
{
	bool held = false;

	for (size_t i = 0; i < want->n_peers; i++) {
		struct mesh_peer *p = &want->peers[i];
		const struct mesh_peer *there = mesh_device_find(have, p->key);

		if (!p->begins || !p->keepalive_s || (there && (late || there->keepalive_s || there->handshake_s)))
			continue;
		p->keepalive_s = 0;
		held = true;
	}
	return held;
}
