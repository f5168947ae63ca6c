/* SPDX-License-Identifier: Apache-2.0 */
/* To count memberships no set is made: a set is known by the sum of its blocks' hashes (which are seeded) as the walk of blocks.c goes by. A policy has an
 * entry for each set that holds a block which it names, so beside each set stands how many policies do: of a block that comes or goes only
 * those change that hold no other one of the object, or of the policy. */
#include "policy/blocks_count.h"

void marks_add(struct marks *to, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++) {
			struct peer *peer = o->rules[i].peers[j];

			if (peer->type != PEER_BLOCK || !peer->in_table)
				continue;
			GROW(to->m, to->n, to->cap);
			to->m[to->n++] = (struct mark){ peer->cidr, peer, false };
			for (unsigned x = 0; x < peer->n_except; x++) {
				GROW(to->m, to->n, to->cap);
				to->m[to->n++] = (struct mark){ peer->except[x], peer, true };
			}
		}
}

bool object_names_blocks(const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (o->rules[i].peers[j]->type == PEER_BLOCK && o->rules[i].peers[j]->in_table)
				return true;
	return false;
}

static int cmp_mark(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;
	int c = addr_cmp(&x->prefix.addr, &y->prefix.addr);

	if (!c)
		c = (int)x->prefix.len - (int)y->prefix.len;
	return c ? c : (int)x->except - (int)y->except;
}

void marks_sort(struct marks *m)
{
	if (m->n > 1)
		qsort(m->m, m->n, sizeof(*m->m), cmp_mark);
}

struct level {
	struct prefix prefix;
	uint64_t sum;
	size_t size, undo; /* how many changes of `present` there were before it */
	size_t entries;
};

struct count {
	struct tally *t;
	struct level stack[130];
	unsigned depth;
	struct peer **changes; /* of whom `present` was turned over */
	size_t n_changes, cap_changes;
	uint64_t *seen; /* sums of the sets so far, open addressing */
	size_t mask;
	size_t prefixes, memberships, entries;
	bool whole; /* entries, too */
};

/* No IPv6 block means IPv4. */
static bool is_v4(const struct prefix *p)
{
	return addr_is_v4(&p->addr) && p->len >= V4_BITS_BEFORE;
}

/* Of small numbers the hash alone is all but a product, and sums of products meet: {1, 4} would be taken for {2, 3}. So it is mixed (as splitmix64 does). */
static uint64_t word_of(const struct peer *peer)
{
	uint64_t h = hash_mem(&peer->id, sizeof(peer->id));

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
	h = (h ^ h >> 27) * 0x94d049bb133111eb;
	return h ^ h >> 31;
}

static unsigned *held_of(struct held *h, bool v4)
{
	return v4 ? &h->v4 : &h->v6;
}

/* Return: by how many entries a set with the user has more, or less. */
static size_t hold(struct tally *t, uint32_t user, bool present, bool v4)
{
	const struct user *u = &t->users[user];
	unsigned *held = held_of(&t->by_user[user], v4);
	size_t n = 0;

	if (present ? (*held)++ : --*held)
		return 0;
	for (size_t i = u->first; i < u->first + u->n; i++) {
		unsigned *of_policy = held_of(&t->by_policy[t->policies[i]], v4);

		if (!(present ? (*of_policy)++ : --*of_policy))
			n += !t->out[t->policies[i]];
	}
	return n;
}

static size_t hold_all(struct tally *t, const struct peer *peer, bool present)
{
	bool v4 = is_v4(&peer->cidr);
	size_t n = 0;

	for (uint32_t i = t->first_user[peer->place]; i < t->first_user[peer->place + 1]; i++)
		n += hold(t, t->users_of[i], present, v4);
	return n;
}

static void turn(struct count *c, struct level *l, struct peer *peer, bool present)
{
	size_t entries = c->whole ? hold_all(c->t, peer, present) : 0;

	uint64_t h = word_of(peer);

	c->t->present[peer->place] = present;
	l->sum += present ? h : -h;
	l->size += present ? 1 : -1;
	l->entries += present ? entries : -entries;
	GROW(c->changes, c->n_changes, c->cap_changes);
	c->changes[c->n_changes++] = peer;
}

static void leave(struct count *c, const struct prefix *p)
{
	while (c->depth && !(p && prefix_covers(&c->stack[c->depth - 1].prefix, p))) {
		const struct level *l = &c->stack[--c->depth];

		while (c->n_changes > l->undo) {
			struct peer *peer = c->changes[--c->n_changes];
			bool *present = &c->t->present[peer->place];

			*present = !*present;
			if (c->whole)
				hold_all(c->t, peer, *present);
		}
	}
}

static void note_set(struct count *c, const struct level *l)
{
	uint64_t key = l->sum | 1; /* 0 is an empty place */

	for (size_t at = key * 0x9e3779b97f4a7c15 >> 20; l->size; at++) {
		uint64_t *s = &c->seen[at & c->mask];

		if (*s == key)
			return;
		if (*s)
			continue;
		*s = key;
		c->memberships += l->size;
		c->entries += l->entries;
		return;
	}
}

static bool same_family(const struct prefix *a, const struct prefix *b)
{
	return is_v4(a) == is_v4(b);
}

/* @m: of one prefix. */
static void enter(struct count *c, const struct mark *m, size_t n)
{
	struct level l = { .prefix = m->prefix };
	bool any = false;

	leave(c, &m->prefix);
	if (c->depth && same_family(&c->stack[c->depth - 1].prefix, &m->prefix)) {
		l.sum = c->stack[c->depth - 1].sum;
		l.size = c->stack[c->depth - 1].size;
		l.entries = c->stack[c->depth - 1].entries;
	}
	l.undo = c->n_changes;
	for (size_t i = 0; i < n; i++) {
		struct peer *peer = m[i].peer;

		any |= c->t->on[peer->place];
		if (c->t->on[peer->place] && c->t->present[peer->place] == m[i].except && same_family(&peer->cidr, &m[i].prefix))
			turn(c, &l, peer, !m[i].except);
	}
	c->prefixes += any;
	c->stack[c->depth++] = l;
	note_set(c, &l);
}

struct sums tally_count(struct tally *t, const struct marks *m, bool whole)
{
	_cleanup_free_ struct count *c = xnew0(struct count);
	struct sums sums;
	size_t end;

	c->t = t;
	c->whole = whole;
	for (c->mask = 64; c->mask < 2 * m->n; c->mask *= 2)
		;
	c->seen = xnew0_array(uint64_t, c->mask);
	c->mask--;
	for (size_t i = 0; i < m->n; i = end) {
		for (end = i + 1; end < m->n && prefix_eq(&m->m[end].prefix, &m->m[i].prefix);)
			end++;
		enter(c, m->m + i, end - i);
	}
	leave(c, NULL);
	free(c->seen);
	free(c->changes);
	sums = (struct sums){ c->prefixes, c->memberships, c->entries };
	return sums;
}

/* --- who names them --- */

static int cmp_use(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* An object's place among the users, from 1 on: its ingress, and behind it its egress. */
static void add_user(struct tally *t, struct object *o)
{
	o->place = t->n_users + 1;
	for (unsigned d = 0; d < POLICY_DIRECTIONS; d++) {
		GROW(t->users, t->n_users, t->cap_users);
		t->users[t->n_users++] = (struct user){ .object = o };
	}
}

struct uses {
	uint64_t *list; /* place or user << 32 | user or policy */
	size_t n, cap;
};

static void add_use(struct uses *u, uint64_t of, uint64_t what)
{
	GROW(u->list, u->n, u->cap);
	u->list[u->n++] = of << 32 | what;
}

static void sort_uses(struct uses *u)
{
	size_t n = 0;

	if (u->n > 1)
		qsort(u->list, u->n, sizeof(*u->list), cmp_use);
	for (size_t i = 0; i < u->n; i++)
		if (i == 0 || u->list[i] != u->list[i - 1])
			u->list[n++] = u->list[i];
	u->n = n;
}

static void add_blocks_of(struct uses *blocks, const struct object *o)
{
	for (unsigned i = 0; i < o->spec->n_rules; i++)
		for (unsigned j = 0; j < o->spec->rules[i].n_peers; j++)
			if (o->rules[i].peers[j]->type == PEER_BLOCK && o->rules[i].peers[j]->in_table)
				add_use(blocks, o->rules[i].peers[j]->place, o->place - 1 + o->spec->rules[i].direction);
}

/* By whom, and for which policies, blocks are named. */
static void gather_uses(struct tally *t, struct uses *blocks, struct uses *policies)
{
	struct htab_node *n;

	for (n = htab_begin(&t->p->psets); n; n = htab_next(&t->p->psets, n)) {
		const struct pset *s = container_of(n, struct pset, node);

		for (unsigned i = 0; !s->idle && i < s->n_objects; i++) {
			struct object *o = s->objects[i];

			if (!object_names_blocks(o))
				continue;
			if (!o->place) {
				add_user(t, o);
				add_blocks_of(blocks, o);
			}
			for (unsigned d = 0; d < POLICY_DIRECTIONS; d++)
				add_use(policies, o->place - 1 + d, t->n_policies + d);
		}
		t->n_policies += POLICY_DIRECTIONS; /* each direction has entries of its own */
	}
	for (size_t u = 0; u < t->n_users; u++)
		t->users[u].object->place = 0;
	sort_uses(blocks);
	sort_uses(policies);
}

void tally_users(struct tally *t)
{
	struct uses blocks = { 0 }, policies = { 0 };

	gather_uses(t, &blocks, &policies);
	t->policies = xnew0_array(uint32_t, policies.n + 1);
	for (size_t i = 0; i < policies.n; i++) {
		struct user *u = &t->users[policies.list[i] >> 32];

		if (u->n++ == 0)
			u->first = i;
		t->policies[i] = (uint32_t)policies.list[i];
	}
	t->users_of = xnew0_array(uint32_t, blocks.n + 1);
	t->first_user = xnew0_array(uint32_t, t->n_peers + 1);
	for (size_t place = 0, i = 0; place <= t->n_peers; place++) {
		t->first_user[place] = i;
		for (; i < blocks.n && blocks.list[i] >> 32 == place; i++)
			t->users_of[i] = (uint32_t)blocks.list[i];
	}
	t->by_user = xnew0_array(struct held, t->n_users + 1);
	t->by_policy = xnew0_array(struct held, t->n_policies + 1);
	t->out = xnew0_array(bool, t->n_policies + 1);
	free(blocks.list);
	free(policies.list);
}

void tally_begin(struct tally *t, struct policy *p)
{
	struct htab_node *n;

	*t = (struct tally){ .p = p };
	for (n = htab_begin(&p->peers); n; n = htab_next(&p->peers, n)) {
		struct peer *peer = container_of(n, struct peer, node);

		if (peer->type != PEER_BLOCK || !peer->in_table)
			continue;
		peer->place = t->n_peers++;
		GROW(t->all.m, t->all.n, t->all.cap);
		t->all.m[t->all.n++] = (struct mark){ peer->cidr, peer, false };
		for (unsigned x = 0; x < peer->n_except; x++) {
			GROW(t->all.m, t->all.n, t->all.cap);
			t->all.m[t->all.n++] = (struct mark){ peer->except[x], peer, true };
		}
	}
	t->on = xnew0_array(bool, t->n_peers);
	t->present = xnew0_array(bool, t->n_peers);
	memset(t->on, true, t->n_peers * sizeof(*t->on));
}

void tally_done(struct tally *t)
{
	free(t->all.m);
	free(t->on);
	free(t->present);
	free(t->users);
	free(t->policies);
	free(t->users_of);
	free(t->first_user);
	free(t->by_user);
	free(t->by_policy);
	free(t->out);
}
