/* SPDX-License-Identifier: Apache-2.0 */
/* Policy maps: the caller says which entry changes, in an order that keeps an update invisible half done; here each gets its
 * generation. An agent that was started anew knows nothing of the numbers that are in force, so it takes a generation that nobody
 * uses, writes everything beside what is there, and lets one endpoint after the other change over; then the rest is swept. */
#include "datapath/priv.h"
#include "weft/policy.h"

enum { GENERATIONS = 1 << (32 - POLICY_GENERATION_SHIFT) };

static const enum dp_map maps[DP_POLICY_MAPS] = {
	[DP_POLICY_ADDRS] = MAP_POLICY_ADDRS, [DP_POLICY_CIDRS] = MAP_POLICY_CIDRS, [DP_POLICY_RULES] = MAP_POLICY_RULES,
	[DP_POLICY_PORTS] = MAP_POLICY_PORTS, [DP_POLICY_ENDPOINTS] = MAP_POLICY_ENDPOINTS,
};

static int read_state(struct datapath *dp, struct policy_state *ret)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(dp->maps[MAP_POLICY_STATE], &zero, ret);
}

/* A key or value as the kernel has it. */
union entry {
	struct policy_addr_at addr;
	struct policy_cidr_at cidr;
	struct policy_class_value class;
	struct policy_class_turn class_turn;
	struct policy_rule_key rule_key;
	struct policy_rule_value rule;
	struct policy_port_key port_key;
	struct policy_port_value port;
	struct policy_endpoint_value endpoint;
	struct policy_endpoint_turn endpoint_turn;
	struct ip_addr ip;
};

/* The revision in force; no other agent changes it. */
static int revision_of(struct datapath *dp, uint32_t *ret)
{
	struct policy_state s;
	int r = dp->policy_revision_known ? 0 : read_state(dp, &s);

	if (r == 0 && !dp->policy_revision_known)
		dp->policy_revision = s.revision;
	dp->policy_revision_known = r == 0;
	*ret = dp->policy_revision;
	return r;
}

static uint32_t revision_after(uint32_t revision)
{
	return revision + 2 ? revision + 2 : 2; /* 0 means "never" */
}

bool dp_policy_has_turned(uint32_t since, uint32_t revision)
{
	return (int32_t)(revision - since) >= 0;
}

static uint32_t mark(const struct datapath *dp, uint32_t id, uint32_t first)
{
	return id < first ? id : id | dp->policy_generation << POLICY_GENERATION_SHIFT;
}

static void encode_key(const struct datapath *dp, enum dp_policy_map map, const void *key, union entry *ret)
{
	const struct policy_cidr_key *cidr = key;

	memset(ret, 0, sizeof(*ret));
	switch (map) {
	case DP_POLICY_ADDRS:
		ret->addr.generation = dp->policy_generation;
		memcpy(ret->addr.addr, key, sizeof(ret->addr.addr));
		break;
	case DP_POLICY_CIDRS:
		ret->cidr.generation = dp->policy_generation;
		ret->cidr.prefixlen = 32 + cidr->prefixlen;
		memcpy(ret->cidr.addr, cidr->addr, sizeof(ret->cidr.addr));
		break;
	case DP_POLICY_RULES:
		ret->rule_key = *(const struct policy_rule_key *)key;
		ret->rule_key.policy = mark(dp, ret->rule_key.policy, POLICY_ID_FIRST);
		ret->rule_key.class_id = mark(dp, ret->rule_key.class_id, POLICY_CLASS_FIRST);
		break;
	case DP_POLICY_PORTS:
		ret->port_key = *(const struct policy_port_key *)key;
		ret->port_key.ports = mark(dp, ret->port_key.ports, 1);
		break;
	default:
		memcpy(&ret->ip, key, sizeof(ret->ip));
	}
}

static void encode_value(const struct datapath *dp, enum dp_policy_map map, const void *value, union entry *ret)
{
	memset(ret, 0, sizeof(*ret));
	switch (map) {
	case DP_POLICY_ADDRS:
	case DP_POLICY_CIDRS:
		ret->class = *(const struct policy_class_value *)value;
		ret->class.class_id = mark(dp, ret->class.class_id, POLICY_CLASS_FIRST);
		break;
	case DP_POLICY_RULES:
		ret->rule = *(const struct policy_rule_value *)value;
		ret->rule.ports = mark(dp, ret->rule.ports, 1);
		break;
	case DP_POLICY_PORTS:
		ret->port = *(const struct policy_port_value *)value;
		break;
	default:
		ret->endpoint = *(const struct policy_endpoint_value *)value;
		ret->endpoint.policy = mark(dp, ret->endpoint.policy, POLICY_ID_FIRST);
		ret->endpoint.trial = mark(dp, ret->endpoint.trial, POLICY_ID_FIRST);
		ret->endpoint.after = mark(dp, ret->endpoint.after, POLICY_ID_FIRST);
	}
}

/* As it was at a revision: what is written now is what holds, or what did before. */
static void take_before(enum dp_policy_map map, const union entry *there, uint32_t revision, union entry *v)
{
	if (map == DP_POLICY_ADDRS)
		v->class_turn.before = dp_policy_has_turned(there->class_turn.since, revision) ? there->class : there->class_turn.before;
	else
		v->endpoint_turn.before = dp_policy_has_turned(there->endpoint_turn.since, revision) ? there->endpoint : there->endpoint_turn.before;
}

/* An address that had no class of its own had its prefix's, which is judged alike by all policies in force, whatever the update makes of prefixes. */
static void take_before_absent(struct datapath *dp, enum dp_policy_map map, const union entry *key, union entry *v)
{
	struct policy_cidr_at at = { .prefixlen = 32 + 128, .generation = key->addr.generation };

	if (map == DP_POLICY_ENDPOINTS) {
		v->endpoint_turn.before = (struct policy_endpoint_value){ .gone = 1 };
		return;
	}
	memcpy(at.addr, key->addr.addr, sizeof(at.addr));
	if (bpf_map_lookup_elem(dp->maps[MAP_POLICY_CIDRS], &at, &v->class_turn.before) < 0)
		v->class_turn.before = v->class;
}

static bool takes_turns(enum dp_policy_map map)
{
	return map == DP_POLICY_ADDRS || map == DP_POLICY_ENDPOINTS;
}

static uint32_t since_of(enum dp_policy_map map, const union entry *v)
{
	return map == DP_POLICY_ADDRS ? v->class_turn.since : v->endpoint_turn.since;
}

static void set_since(enum dp_policy_map map, union entry *v, uint32_t since)
{
	*(map == DP_POLICY_ADDRS ? &v->class_turn.since : &v->endpoint_turn.since) = since;
}

/* Holds at once. */
static int encode_at_once(struct datapath *dp, enum dp_policy_map map, const void *value, union entry *ret)
{
	uint32_t revision;
	int r;

	encode_value(dp, map, value, ret);
	if (!takes_turns(map))
		return 0;
	r = revision_of(dp, &revision);
	set_since(map, ret, revision);
	take_before(map, ret, revision, ret);
	return r;
}

int datapath_policy_change(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value)
{
	union entry k, v;
	int r;

	encode_key(dp, map, key, &k);
	if (value) {
		r = encode_at_once(dp, map, value, &v);
		return r ? r : bpf_map_update_elem(dp->maps[maps[map]], &k, &v, BPF_ANY);
	}
	r = bpf_map_delete_elem(dp->maps[maps[map]], &k);
	return r == -ENOENT ? 0 : r;
}

/* As the kernel has the entries of a map. */
static const struct {
	size_t key, value;
} entry_sizes[DP_POLICY_MAPS] = {
	[DP_POLICY_ADDRS] = { sizeof(struct policy_addr_at), sizeof(struct policy_class_turn) },
	[DP_POLICY_CIDRS] = { sizeof(struct policy_cidr_at), sizeof(struct policy_class_value) },
	[DP_POLICY_RULES] = { sizeof(struct policy_rule_key), sizeof(struct policy_rule_value) },
	[DP_POLICY_PORTS] = { sizeof(struct policy_port_key), sizeof(struct policy_port_value) },
	[DP_POLICY_ENDPOINTS] = { sizeof(struct ip_addr), sizeof(struct policy_endpoint_turn) },
};

enum { BATCH = 256 };

static int put_batch(struct datapath *dp, enum dp_policy_map map, const struct dp_policy_put *puts, uint32_t *n)
{
	char keys[BATCH * sizeof(union entry)], values[sizeof(keys)];
	union entry k, v;

	for (uint32_t i = 0; i < *n; i++) {
		int r = encode_at_once(dp, map, puts[i].value, &v);

		if (r < 0) {
			*n = 0;
			return r;
		}
		encode_key(dp, map, puts[i].key, &k);
		memcpy(keys + i * entry_sizes[map].key, &k, entry_sizes[map].key);
		memcpy(values + i * entry_sizes[map].value, &v, entry_sizes[map].value);
	}
	return bpf_map_update_batch(dp->maps[maps[map]], keys, values, n, NULL);
}

int datapath_policy_put_many(struct datapath *dp, enum dp_policy_map map, const struct dp_policy_put *puts, size_t n, size_t *ret_done)
{
	int r = 0;

	for (*ret_done = 0; *ret_done < n && r == 0;) {
		uint32_t done = MIN(n - *ret_done, (size_t)BATCH);

		r = put_batch(dp, map, puts + *ret_done, &done);
		*ret_done += done;
	}
	return r;
}

/* Before the first entry for the next revision: whoever is next must know. */
static int note_writing(struct datapath *dp)
{
	struct policy_state s;
	uint32_t zero = 0;
	int r = dp->policy_writing ? 0 : read_state(dp, &s);

	if (r < 0 || dp->policy_writing)
		return r;
	s.writing = 1;
	r = bpf_map_update_elem(dp->maps[MAP_POLICY_STATE], &zero, &s, BPF_ANY);
	dp->policy_writing = r == 0;
	return r;
}

int datapath_policy_turn(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value)
{
	static const struct policy_endpoint_value gone = { .gone = 1 };
	union entry k, v, there;
	uint32_t revision;
	int r = revision_of(dp, &revision);

	if (r == 0)
		r = note_writing(dp);
	if (r < 0)
		return r;
	encode_key(dp, map, key, &k);
	encode_value(dp, map, value ? value : &gone, &v);
	r = bpf_map_lookup_elem(dp->maps[maps[map]], &k, &there);
	if (r == 0)
		take_before(map, &there, revision, &v);
	else if (r == -ENOENT)
		take_before_absent(dp, map, &k, &v);
	else
		return r;
	set_since(map, &v, revision_after(revision));
	return bpf_map_update_elem(dp->maps[maps[map]], &k, &v, BPF_ANY);
}

static bool is_as_wanted(enum dp_policy_map map, const union entry *have, const union entry *want, uint32_t revision)
{
	static const size_t sizes[DP_POLICY_MAPS] = {
		[DP_POLICY_ADDRS] = sizeof(struct policy_class_value), [DP_POLICY_CIDRS] = sizeof(struct policy_class_value),
		[DP_POLICY_RULES] = sizeof(struct policy_rule_value), [DP_POLICY_PORTS] = sizeof(struct policy_port_value),
		[DP_POLICY_ENDPOINTS] = sizeof(struct policy_endpoint_value),
	};

	if (memcmp(have, want, sizes[map]) != 0)
		return false;
	return !takes_turns(map) || dp_policy_has_turned(since_of(map, have), revision);
}

/* The trie answers with a shorter prefix when this one is gone: then it is put back if that says otherwise. */
int datapath_policy_mend(struct datapath *dp, enum dp_policy_map map, const void *key, const void *value)
{
	union entry k, want, have;
	uint32_t revision;
	int r = revision_of(dp, &revision);

	if (r < 0)
		return r;
	encode_key(dp, map, key, &k);
	r = encode_at_once(dp, map, value, &want);
	if (r < 0)
		return r;
	r = bpf_map_lookup_elem(dp->maps[maps[map]], &k, &have);
	if (r == 0 && is_as_wanted(map, &have, &want, revision))
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = bpf_map_update_elem(dp->maps[maps[map]], &k, &want, BPF_ANY);
	return r < 0 ? r : 1;
}

int datapath_policy_commit(struct datapath *dp, uint64_t until)
{
	struct policy_state s;
	uint32_t zero = 0;
	int r = read_state(dp, &s);

	if (r < 0)
		return r;
	s.revision = revision_after(s.revision);
	s.until = until;
	s.writing = 0;
	r = bpf_map_update_elem(dp->maps[MAP_POLICY_STATE], &zero, &s, BPF_ANY);
	dp->policy_revision = s.revision;
	dp->policy_revision_known = r == 0;
	dp->policy_writing &= r < 0;
	return r;
}

/* Is the entry one of those that are looked for? */
typedef bool meant_fn(struct datapath *dp, enum dp_policy_map map, const union entry *key, const void *ctx);

/* The keys of all entries that are meant. They are gathered before anything is done to them: a walk over a hash that shrinks under it starts anew when its place is
 * gone. */
static union entry *gather(struct datapath *dp, enum dp_policy_map map, meant_fn *is_meant, const void *ctx, size_t *ret_n)
{
	union entry key, *keys = NULL, *last = NULL, next;
	size_t cap = 0;

	*ret_n = 0;
	memset(&next, 0, sizeof(next));
	while (bpf_map_get_next_key(dp->maps[maps[map]], last, &next) == 0) {
		key = next;
		last = &key;
		if (!is_meant(dp, map, &key, ctx))
			continue;
		GROW(keys, *ret_n, cap);
		keys[(*ret_n)++] = key;
	}
	return keys;
}

static bool has_not_turned(struct datapath *dp, enum dp_policy_map map, const union entry *key, const void *ctx)
{
	const uint32_t *revision = ctx;
	union entry v;

	return bpf_map_lookup_elem(dp->maps[maps[map]], key, &v) == 0 && !dp_policy_has_turned(since_of(map, &v), *revision);
}

/* What an agent that died has written for a revision that it never gave: some of an update. What holds stays, what would is forgotten. */
static int undo_map(struct datapath *dp, enum dp_policy_map map, uint32_t revision)
{
	size_t n;
	_cleanup_free_ union entry *keys = gather(dp, map, has_not_turned, &revision, &n);
	int fd = dp->maps[maps[map]], first = 0;
	union entry v;

	for (size_t i = 0; i < n; i++) {
		if (bpf_map_lookup_elem(fd, &keys[i], &v) < 0)
			continue;
		if (map == DP_POLICY_ADDRS)
			v.class = v.class_turn.before;
		else
			v.endpoint = v.endpoint_turn.before;
		set_since(map, &v, revision);
		dp_note_error(&first, bpf_map_update_elem(fd, &keys[i], &v, BPF_ANY));
	}
	return first;
}

/* Flows keep their verdicts under the revision, and an agent that was killed after it had changed endpoints at once, or before it said so, has not said
 * that it is another: until the API tells the next one everything, and that may be never, no one else would. */
int dp_policy_void(struct datapath *dp)
{
	struct policy_state s;
	int r = read_state(dp, &s);

	if (r == 0 && s.writing) {
		r = undo_map(dp, DP_POLICY_ENDPOINTS, s.revision);
		dp_note_error(&r, undo_map(dp, DP_POLICY_ADDRS, s.revision));
	}
	return r < 0 || s.revision == 0 ? r : datapath_policy_commit(dp, s.until);
}

/* --- generations --- */

static void note_used(bool used[GENERATIONS], uint32_t policy)
{
	if (policy >= POLICY_ID_FIRST)
		used[policy >> POLICY_GENERATION_SHIFT] = true;
}

/* What an endpoint's entry says at the revision in force; @ret: gone, when nothing. */
static int read_endpoint(struct datapath *dp, const struct ip_addr *key, struct policy_endpoint_value *ret)
{
	union entry there;
	uint32_t revision;
	int r = revision_of(dp, &revision);

	*ret = (struct policy_endpoint_value){ .gone = 1 };
	if (r == 0)
		r = bpf_map_lookup_elem(dp->maps[MAP_POLICY_ENDPOINTS], key, &there);
	if (r == 0)
		*ret = dp_policy_has_turned(there.endpoint_turn.since, revision) ? there.endpoint : there.endpoint_turn.before;
	return r == -ENOENT ? 0 : r;
}

int dp_policy_read_endpoint(struct datapath *dp, const struct addr *addr, struct policy_endpoint_value *ret)
{
	struct ip_addr key = dp_addr_encode(addr);

	return read_endpoint(dp, &key, ret);
}

/* Which are used by policies of endpoints: all others are left from something that did not come to its end. */
static void find_used(struct datapath *dp, bool used[GENERATIONS])
{
	struct ip_addr key, *last = NULL, next;
	struct policy_endpoint_value v;

	memset(used, 0, GENERATIONS);
	while (bpf_map_get_next_key(dp->maps[MAP_POLICY_ENDPOINTS], last, &next) == 0) {
		key = next;
		last = &key;
		if (read_endpoint(dp, &key, &v) < 0)
			continue;
		note_used(used, v.policy);
		note_used(used, v.trial);
		note_used(used, v.after);
	}
}

bool datapath_policy_is_untold(struct datapath *dp)
{
	bool used[GENERATIONS];
	struct policy_state s;

	if (read_state(dp, &s) < 0)
		return false;
	find_used(dp, used);
	return s.revision == 0 || dp->policy_entries_lost || !memchr(used, true, sizeof(used));
}

static uint32_t generation_of(enum dp_policy_map map, const union entry *k)
{
	switch (map) {
	case DP_POLICY_ADDRS:
		return k->addr.generation;
	case DP_POLICY_CIDRS:
		return k->cidr.generation;
	case DP_POLICY_RULES:
		return k->rule_key.policy >> POLICY_GENERATION_SHIFT;
	default:
		return k->port_key.ports >> POLICY_GENERATION_SHIFT;
	}
}

static bool is_of_no_generation(struct datapath *dp _unused_, enum dp_policy_map map, const union entry *key, const void *ctx)
{
	uint32_t generation = generation_of(map, key);
	const bool *used = ctx;

	return generation >= GENERATIONS || !used[generation];
}

static int delete_meant(struct datapath *dp, enum dp_policy_map map, meant_fn *is_meant, const void *ctx)
{
	size_t n;
	_cleanup_free_ union entry *keys = gather(dp, map, is_meant, ctx, &n);
	int first = 0;

	for (size_t i = 0; i < n; i++) {
		int r = bpf_map_delete_elem(dp->maps[maps[map]], &keys[i]);

		dp_note_error(&first, r == -ENOENT ? 0 : r);
	}
	return first;
}

/* Deletes what belongs to a generation that is not @used. */
static int sweep(struct datapath *dp, const bool used[GENERATIONS])
{
	int first = 0;

	for (int map = 0; map < DP_POLICY_ENDPOINTS; map++)
		dp_note_error(&first, delete_meant(dp, map, is_of_no_generation, used));
	return first;
}

int datapath_policy_begin(struct datapath *dp)
{
	bool used[GENERATIONS];
	uint32_t g = 0;

	find_used(dp, used);
	while (g < GENERATIONS && used[g])
		g++;
	if (g == GENERATIONS) /* each of them in force at some endpoint: not by us */
		return -EOVERFLOW;
	dp->policy_generation = g;
	return sweep(dp, used);
}

static int compare_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

struct addr_list {
	const struct addr *all; /* sorted */
	size_t n;
};

static bool is_no_endpoint(struct datapath *dp _unused_, enum dp_policy_map map _unused_, const union entry *key, const void *ctx)
{
	const struct addr_list *keep = ctx;

	return !bsearch(&key->ip, keep->all, keep->n, sizeof(*keep->all), compare_addr);
}

int datapath_policy_finish(struct datapath *dp, const struct addr *endpoints, size_t n)
{
	bool used[GENERATIONS] = { false };
	int first = delete_meant(dp, DP_POLICY_ENDPOINTS, is_no_endpoint, &(struct addr_list){ endpoints, n });

	used[dp->policy_generation] = true;
	dp_note_error(&first, sweep(dp, used));
	return first;
}

/* --- endpoints --- */

int dp_policy_prepare(struct datapath *dp, const struct dp_endpoint *ep)
{
	const struct policy_endpoint_value want = { .policy = ep->open ? POLICY_OPEN : POLICY_LOCKED };
	struct policy_endpoint_value there;
	struct policy_state s;
	int r = read_state(dp, &s);

	for (int i = 0; i < 2 && r == 0; i++) {
		if (addr_is_zero(&ep->addrs[i]) || (!ep->open && s.revision == 0))
			continue;
		r = dp_policy_read_endpoint(dp, &ep->addrs[i], &there);
		if (r == 0 && (ep->open || there.gone))
			r = datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &ep->addrs[i], &want);
	}
	return r;
}
