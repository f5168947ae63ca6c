/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an address at a node: it holds it; it knows who does; or it knows nobody, and asks before it takes (three times; who
 * ranks second waits a second longer than the first, so that not all take at once). A death leaves the addresses of the dead to the
 * best of the living, who takes them without asking. */
#include "service/election.h"

enum {
	ASKS = 3,		/* unanswered: nobody has it */
	RANK_MS = 1000,		/* who ranks one lower asks that much later */
	CHECK_MS = 10000,	/* the second looks whether the owner still answers */
	LEAVE_MS = 2000,	/* who should not have it any more waits that long for another's claim */
	YIELD_MS = 3000,	/* who gave way does not take for so long */
	BACKOFF_MAX = 4,	/* doublings */
	FORGIVE_MS = 300000,	/* after that long without one, deaths are forgotten */
	CROSSING_MS = 500,	/* two claims at one time */
	FOREIGN_CHECK_MS = 10000,
};

struct peer {
	char *name;
	bool dead, wanted;
	unsigned misses, deaths;
	uint64_t died_ms, answers_since_ms; /* answers_since_ms: of a dead one; 0: it does not answer */
};

struct contest {
	struct addr addr;
	char **nodes; /* best first */
	size_t n_nodes;
	bool holding, wanted, is_new;
	char *owner;	   /* another node, or NULL */
	bool foreign;	   /* somebody who is no node has it */
	unsigned foreign_heard;
	uint64_t confirmed_ms; /* when the owner was heard last */
	uint64_t ask_ms;       /* when to ask next; 0: nothing to ask */
	unsigned asks;
	uint64_t claimed_ms, leave_ms, not_before_ms;
	unsigned yields;
	unsigned conflicts;
};

struct election {
	char *me;
	election_fn *fn;
	void *ctx;
	uint64_t started_ms, isolated_until_ms;
	bool isolated; /* nobody answered for a while: the others may have gone on without us */
	struct peer *peers;
	const char **names;
	size_t n_peers;
	struct contest *contests; /* sorted by address */
	size_t n_contests;
	struct addr *adopted;
	size_t n_adopted, cap_adopted;
	uint64_t taken, released, n_conflicts;
};

/* FNV-1a with a good last mix: the name's and the address's bits decide alike. */
uint64_t election_rank(const struct addr *a, const char *node)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < sizeof(a->b); i++)
		h = (h ^ a->b[i]) * 0x100000001b3ull;
	for (; *node; node++)
		h = (h ^ (uint8_t)*node) * 0x100000001b3ull;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

static uint64_t backoff(uint64_t base, unsigned times)
{
	return base << MIN(times ? times - 1 : 0u, (unsigned)BACKOFF_MAX);
}

static char *copy_text(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(xmalloc(n), s, n);
}

struct election *election_new(const char *me, uint64_t now_ms, election_fn *fn, void *ctx)
{
	struct election *e = xnew0(struct election);

	*e = (struct election){.me = copy_text(me), .fn = fn, .ctx = ctx, .started_ms = now_ms};
	return e;
}

static void contest_done(struct contest *c)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		free(c->nodes[i]);
	free(c->nodes);
	free(c->owner);
}

struct election *election_free(struct election *e)
{
	if (!e)
		return NULL;
	for (size_t i = 0; i < e->n_contests; i++)
		contest_done(&e->contests[i]);
	for (size_t i = 0; i < e->n_peers; i++)
		free(e->peers[i].name);
	free(e->contests);
	free(e->peers);
	free(e->names);
	free(e->adopted);
	free(e->me);
	free(e);
	return NULL;
}

static struct peer *find_peer(const struct election *e, const char *name)
{
	for (size_t i = 0; i < e->n_peers; i++)
		if (streq(e->peers[i].name, name))
			return &e->peers[i];
	return NULL;
}

static bool lives(const struct election *e, const char *name)
{
	const struct peer *p;

	if (streq(name, e->me))
		return true;
	p = find_peer(e, name);
	return p && !p->dead;
}

bool election_peer_lives(const struct election *e, const char *node)
{
	return lives(e, node);
}

static int compare_contests(const void *a, const void *b)
{
	return addr_cmp(&((const struct contest *)a)->addr, &((const struct contest *)b)->addr);
}

static struct contest *find_contest(const struct election *e, const struct addr *a)
{
	struct contest key = {.addr = *a};

	return e->n_contests ? bsearch(&key, e->contests, e->n_contests, sizeof(key), compare_contests) : NULL;
}

static long place_of(const struct contest *c, const char *node)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (streq(c->nodes[i], node))
			return i;
	return -1;
}

/* This node's place among the living; -1: it is no candidate. */
static long live_place(const struct election *e, const struct contest *c)
{
	long place = 0;

	for (size_t i = 0; i < c->n_nodes; i++) {
		if (streq(c->nodes[i], e->me))
			return place;
		place += lives(e, c->nodes[i]);
	}
	return -1;
}

/* ---- what is done ---- */

static void set_owner(struct contest *c, const char *owner)
{
	if (owner == c->owner)
		return;
	free(c->owner);
	c->owner = owner ? copy_text(owner) : NULL;
}

static void take(struct election *e, struct contest *c, uint64_t now)
{
	set_owner(c, NULL);
	c->holding = true;
	c->foreign = false;
	c->asks = c->conflicts = c->foreign_heard = 0;
	c->ask_ms = c->leave_ms = 0;
	c->claimed_ms = now;
	e->taken++;
	e->fn(ELECTION_TAKE, &c->addr, e->ctx);
}

static void release(struct election *e, struct contest *c)
{
	c->holding = false;
	c->ask_ms = c->leave_ms = 0;
	c->asks = c->conflicts = 0;
	e->released++;
	e->fn(ELECTION_RELEASE, &c->addr, e->ctx);
}

static void give_way(struct election *e, struct contest *c, const char *to, uint64_t now)
{
	release(e, c);
	set_owner(c, to);
	c->confirmed_ms = now;
	if (now > c->not_before_ms + FORGIVE_MS)
		c->yields = 0;
	c->not_before_ms = now + backoff(YIELD_MS, ++c->yields);
}

static void claim(struct election *e, struct contest *c, uint64_t now)
{
	c->claimed_ms = now;
	e->fn(ELECTION_CLAIM, &c->addr, e->ctx);
}

static void ask(struct election *e, struct contest *c, uint64_t now)
{
	c->asks++;
	c->ask_ms = now + ELECTION_PROBE_MS;
	e->fn(ELECTION_ASK, &c->addr, e->ctx);
}

/* ---- what is wanted ---- */

static int compare_ranks(const void *x, const void *y, void *ctx)
{
	const char *a = *(const char *const *)x, *b = *(const char *const *)y;
	uint64_t p = election_rank(ctx, a), q = election_rank(ctx, b);

	return p != q ? (p > q ? -1 : 1) : strcmp(a, b);
}

static void set_nodes(struct contest *c, const struct election_want *w)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		free(c->nodes[i]);
	free(c->nodes);
	c->n_nodes = MIN(w->n_nodes, (size_t)ELECTION_NODES_MAX);
	c->nodes = xnew0_array(char *, c->n_nodes + 1);
	for (size_t i = 0; i < c->n_nodes; i++)
		c->nodes[i] = copy_text(w->nodes[i]);
	qsort_r(c->nodes, c->n_nodes, sizeof(*c->nodes), compare_ranks, &c->addr);
}

static void want_peer(struct election *e, const char *name)
{
	struct peer *p = find_peer(e, name);

	if (!p) {
		e->peers = xrealloc(e->peers, e->n_peers + 1, sizeof(*e->peers));
		p = &e->peers[e->n_peers++];
		*p = (struct peer){.name = copy_text(name)};
	}
	p->wanted = true;
}

static void set_peers(struct election *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_peers; i++)
		e->peers[i].wanted = false;
	for (size_t i = 0; i < e->n_contests; i++) {
		const struct contest *c = &e->contests[i];

		for (size_t k = 0; (c->holding || place_of(c, e->me) >= 0) && k < c->n_nodes; k++)
			if (!streq(c->nodes[k], e->me))
				want_peer(e, c->nodes[k]);
	}
	free(e->names);
	e->names = xnew0_array(const char *, e->n_peers + 1);
	for (size_t i = 0; i < e->n_peers; i++) {
		if (e->peers[i].wanted) {
			e->names[n] = e->peers[i].name;
			e->peers[n++] = e->peers[i];
		} else {
			free(e->peers[i].name);
		}
	}
	e->n_peers = n;
}

static bool take_adopted(struct election *e, const struct addr *a)
{
	for (size_t i = 0; i < e->n_adopted; i++)
		if (addr_eq(&e->adopted[i], a)) {
			e->adopted[i] = e->adopted[--e->n_adopted];
			return true;
		}
	return false;
}

void election_adopt(struct election *e, const struct addr *a)
{
	GROW(e->adopted, e->n_adopted, e->cap_adopted);
	e->adopted[e->n_adopted++] = *a;
}

static void add_contest(struct election *e, const struct addr *a)
{
	e->contests = xrealloc(e->contests, e->n_contests + 1, sizeof(*e->contests));
	e->contests[e->n_contests++] = (struct contest){.addr = *a, .is_new = true};
	qsort(e->contests, e->n_contests, sizeof(*e->contests), compare_contests);
}

static void drop_unwanted(struct election *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_contests; i++) {
		struct contest *c = &e->contests[i];

		if (c->wanted) {
			e->contests[n++] = *c;
			continue;
		}
		if (c->holding)
			release(e, c);
		contest_done(c);
	}
	e->n_contests = n;
	while (e->n_adopted > 0) { /* whatever it was for, it is no Service's now */
		struct addr a = e->adopted[--e->n_adopted];

		e->released++;
		e->fn(ELECTION_RELEASE, &a, e->ctx);
	}
}

void election_set(struct election *e, const struct election_want *wants, size_t n, uint64_t now_ms)
{
	for (size_t i = 0; i < e->n_contests; i++)
		e->contests[i].wanted = false;
	for (size_t i = 0; i < n; i++) {
		struct contest *c;

		if (!find_contest(e, &wants[i].addr))
			add_contest(e, &wants[i].addr);
		c = find_contest(e, &wants[i].addr);
		c->wanted = true;
		set_nodes(c, &wants[i]);
		if (c->is_new)
			c->holding = take_adopted(e, &c->addr);
	}
	drop_unwanted(e);
	set_peers(e);
	for (size_t i = 0; i < e->n_contests; i++) {
		struct contest *c = &e->contests[i];
		long place = live_place(e, c);

		if (c->is_new) /* two steps, so that the peers' MAC addresses are known when they answer */
			c->ask_ms = now_ms + 2 * ELECTION_PROBE_MS + RANK_MS * MAX(place, 0l);
		c->is_new = false;
	}
}

/* ---- who lives ---- */

static bool all_dead(const struct election *e)
{
	for (size_t i = 0; i < e->n_peers; i++)
		if (!e->peers[i].dead)
			return false;
	return e->n_peers > 1; /* of two nobody can tell who was alone */
}

static void died(struct election *e, struct peer *p, uint64_t now)
{
	p->dead = true;
	p->deaths = p->died_ms && now - p->died_ms > FORGIVE_MS ? 1 : p->deaths + 1;
	p->died_ms = now;
	p->answers_since_ms = 0;
	e->isolated |= all_dead(e);
}

/* A node that was silent may have gone on meanwhile, or have been alone: whoever holds an address that it could have asks. */
static void came_back(struct election *e, struct peer *p, uint64_t now)
{
	p->answers_since_ms = now;
	if (e->isolated && e->isolated_until_ms < now)
		e->isolated_until_ms = now + CHECK_MS / 2;
	e->isolated = false;
	for (size_t i = 0; i < e->n_contests; i++) {
		struct contest *c = &e->contests[i];

		if (!c->holding || place_of(c, p->name) < 0)
			continue;
		c->asks = 0;
		c->ask_ms = now;
	}
}

void election_probed(struct election *e, const char *node, bool answered, uint64_t now_ms)
{
	struct peer *p = find_peer(e, node);

	if (!p)
		return;
	if (!answered) {
		p->answers_since_ms = 0;
		if (++p->misses >= ELECTION_MISSES && !p->dead)
			died(e, p, now_ms);
		return;
	}
	p->misses = 0;
	if (!p->dead)
		return;
	if (!p->answers_since_ms)
		came_back(e, p, now_ms);
	if (now_ms - p->answers_since_ms >= backoff(ELECTION_SETTLE_MS, p->deaths))
		p->dead = false;
}

/* ---- what is heard ---- */

static bool is_isolated(const struct election *e, uint64_t now)
{
	return e->isolated || now < e->isolated_until_ms;
}

static void heard_foreign(struct election *e, struct contest *c, bool is_claim, uint64_t now)
{
	e->n_conflicts++;
	if (c->holding) { /* RFC 5227 2.4: defended, but not in a fight */
		c->foreign = true;
		if (is_claim && now - c->claimed_ms >= FOREIGN_CHECK_MS)
			claim(e, c, now);
		return;
	}
	if (++c->foreign_heard < ASKS) /* a node whose MAC address is not known yet? */
		return;
	c->foreign = true;
	c->asks = 0;
	c->ask_ms = now + FOREIGN_CHECK_MS;
}

/* Another node has what this one holds. Who is better keeps it, unless it was cut off from all others. */
static void heard_rival(struct election *e, struct contest *c, const char *node, bool is_claim, uint64_t now)
{
	long ours = place_of(c, e->me), theirs = place_of(c, node);
	bool worse = theirs >= 0 && (ours < 0 || theirs < ours);

	e->n_conflicts++;
	if (is_isolated(e, now) || (worse && is_claim) || (ours < 0 && is_claim)) {
		give_way(e, c, node, now);
	} else if (!worse) {
		claim(e, c, now);
	} else if (++c->conflicts >= ASKS) {
		give_way(e, c, node, now);
	} else {
		c->asks = 0;
		c->ask_ms = now + RANK_MS;
	}
}

void election_heard(struct election *e, const struct addr *a, const char *node, bool is_claim, uint64_t now_ms)
{
	struct contest *c = find_contest(e, a);

	if (!c || streq(node, e->me))
		return;
	if (!node) {
		heard_foreign(e, c, is_claim, now_ms);
		return;
	}
	if (c->holding) {
		heard_rival(e, c, node, is_claim, now_ms);
		return;
	}
	set_owner(c, node);
	c->foreign = false;
	c->foreign_heard = c->asks = 0;
	c->ask_ms = 0;
	c->confirmed_ms = now_ms;
}

/* ---- in time ---- */

static void step_holder(struct election *e, struct contest *c, long place, uint64_t now)
{
	if (place >= 0)
		c->leave_ms = 0;
	else if (!c->leave_ms)
		c->leave_ms = now + LEAVE_MS;
	else if (now >= c->leave_ms)
		release(e, c);
	if (!c->holding || !c->ask_ms || now < c->ask_ms)
		return;
	if (c->asks < ASKS)
		ask(e, c, now);
	else
		c->ask_ms = 0; /* nobody else has it */
}

/* The owner is gone, or no candidate any more: the best one takes it at once. */
static void step_orphan(struct election *e, struct contest *c, long place, uint64_t now)
{
	if (place == 0 && now >= c->not_before_ms) {
		take(e, c, now);
		return;
	}
	set_owner(c, NULL);
	c->asks = 0;
	c->ask_ms = MAX(now + RANK_MS * place, c->not_before_ms);
}

static void step_follower(struct election *e, struct contest *c, long place, uint64_t now)
{
	uint64_t steady_ms = e->started_ms + ELECTION_SETTLE_MS;

	if (place_of(c, c->owner) < 0 || !lives(e, c->owner)) {
		step_orphan(e, c, place, now);
		return;
	}
	if (place == 0 && place_of(c, e->me) < place_of(c, c->owner) && now >= MAX(c->not_before_ms, steady_ms)) {
		take(e, c, now);
		return;
	}
	if (c->asks == 0 ? now < c->confirmed_ms + CHECK_MS * MAX(place, 1l) : now < c->ask_ms)
		return;
	if (c->asks < ASKS)
		ask(e, c, now);
	else
		step_orphan(e, c, place, now); /* it lives, but does not answer for it */
}

static void step_seeker(struct election *e, struct contest *c, uint64_t now)
{
	if (now < c->ask_ms)
		return;
	if (c->foreign && c->asks == 0) /* perhaps it has gone */
		c->foreign_heard = 0;
	if (c->asks < ASKS)
		ask(e, c, now);
	else if (c->foreign_heard) /* it is asked for until it is clear who that is */
		c->asks = 0;
	else if (now >= c->not_before_ms)
		take(e, c, now);
}

void election_step(struct election *e, uint64_t now_ms)
{
	for (size_t i = 0; i < e->n_contests; i++) {
		struct contest *c = &e->contests[i];
		long place = live_place(e, c);

		if (c->holding)
			step_holder(e, c, place, now_ms);
		else if (place < 0)
			continue;
		else if (c->owner)
			step_follower(e, c, place, now_ms);
		else
			step_seeker(e, c, now_ms);
	}
}

/* ---- what is known ---- */

const char *const *election_peers(const struct election *e, size_t *ret_n)
{
	*ret_n = e->n_peers;
	return e->names;
}

enum election_state election_owner(const struct election *e, const struct addr *a, const char **ret_node)
{
	const struct contest *c = find_contest(e, a);

	*ret_node = NULL;
	if (!c)
		return ELECTION_NONE;
	if (c->holding) {
		*ret_node = e->me;
		return ELECTION_OURS;
	}
	*ret_node = c->owner;
	return c->owner ? ELECTION_OTHERS : c->foreign ? ELECTION_FOREIGN : ELECTION_UNKNOWN;
}

struct election_stats election_stats(const struct election *e)
{
	struct election_stats s = {.addresses = e->n_contests, .peers = e->n_peers, .taken = e->taken, .released = e->released,
				   .conflicts = e->n_conflicts};

	for (size_t i = 0; i < e->n_contests; i++) {
		s.held += e->contests[i].holding;
		s.foreign += e->contests[i].foreign;
	}
	for (size_t i = 0; i < e->n_peers; i++)
		s.dead += e->peers[i].dead;
	return s;
}
