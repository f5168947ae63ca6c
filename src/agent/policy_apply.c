/* SPDX-License-Identifier: Apache-2.0 */
/* policy_maps_diff() says what changes, and in which order an update is invisible half done; this makes the changes and copes with maps
 * that are full. Then a policy is not whole, so it is not in force at any endpoint: those are locked down before a class is given that
 * it has no entries for; what they had got of the map is given to the smaller ones, so that one that is too large touches no other. What
 * did not fit is tried again with the next update, when all is written once more. */
#include "agent/policy_fit.h"

#include <stdlib.h>

static const enum dp_policy_map dp_maps[POLICY_MAP_COUNT] = {
	[POLICY_MAP_ADDRS] = DP_POLICY_ADDRS, [POLICY_MAP_CIDRS] = DP_POLICY_CIDRS, [POLICY_MAP_RULES] = DP_POLICY_RULES,
	[POLICY_MAP_PORTS] = DP_POLICY_PORTS, [POLICY_MAP_ENDPOINTS] = DP_POLICY_ENDPOINTS,
};

static void forget_failed(struct policy_apply *p)
{
	free(p->failed);
	free(p->failed_ports);
	p->failed = p->failed_ports = NULL;
	free(p->blind);
	p->blind = NULL;
	policy_room_done(&p->room);
	p->n_failed_ids = p->n_failed_ports = p->n_blind = 0;
	p->locked = 0;
}

void policy_apply_forget(struct policy_apply *p)
{
	p->dp = NULL;
	p->fresh = 0;
	p->applied = policy_maps_put(p->applied);
	for (int i = 0; i < 2; i++)
		p->leaving[i] = policy_maps_put(p->leaving[i]);
	forget_failed(p);
}

void policy_apply_mark(bool **list, size_t *n, uint32_t id)
{
	if (id >= *n) {
		*list = xrealloc(*list, id + 1, sizeof(**list));
		memset(*list + *n, 0, id + 1 - *n);
		*n = id + 1;
	}
	(*list)[id] = true;
}

enum { WAITING = 1024 };

/* Of one run over the changes. */
struct run {
	struct policy_apply *p;
	const struct policy_maps *new_;
	enum policy_step step;
	bool removes; /* only what goes, or everything else */
	bool changed;
	enum policy_map map;	     /* of what waits: addresses and rules that hold at once, to be written together */
	struct dp_policy_put waiting[WAITING];
	size_t n_waiting;
	const bool *late, *late_ports; /* policies and port tables that are written when all others are, by id: nobody but who is locked down uses them */
	size_t n_late, n_late_ports;
};

/* What stood there, for the trie of older kernels refuses to replace when it is full, must not stay under a number that may come to mean another
 * class; and where it went there is room. */
static void note_absent(struct policy_apply *p, const struct policy_change *c, const struct policy_maps *m)
{
	int r = datapath_policy_change(p->dp, dp_maps[c->map], c->key, NULL);

	if (r < 0 || datapath_policy_change(p->dp, dp_maps[c->map], c->key, c->value) < 0)
		policy_room_note_absent(&p->room, m, c->map, c->key);
}

static void note_failure(struct policy_apply *p, const struct policy_change *c, const struct policy_maps *m)
{
	if (c->map == POLICY_MAP_RULES) {
		policy_apply_mark(&p->failed, &p->n_failed_ids, ((const struct policy_rule_key *)c->key)->policy);
	} else if (c->map == POLICY_MAP_PORTS) {
		policy_apply_mark(&p->failed_ports, &p->n_failed_ports, ((const struct policy_port_key *)c->key)->ports);
	} else {
		note_absent(p, c, m);
	}
}

bool policy_apply_has_failed(const struct policy_apply *p, uint32_t policy)
{
	return policy_apply_id_is_in(p->failed, p->n_failed_ids, policy) || policy_apply_id_is_in(p->blind, p->n_blind, policy);
}

static bool some_have_failed(const struct policy_apply *p)
{
	return p->failed || p->blind;
}

enum dp_policy_map policy_apply_dp_map(enum policy_map map)
{
	return dp_maps[map];
}

/* What it tells apart is only who is allowed more than those ports. */
static uint32_t failsafe_of(const struct policy_apply *p)
{
	return policy_apply_id_is_in(p->failed, p->n_failed_ids, p->host_failsafe) ? POLICY_LOCKED : p->host_failsafe;
}

bool policy_apply_host_is_failed(const struct policy_apply *p)
{
	return policy_apply_has_failed(p, p->host_policy) || policy_apply_has_failed(p, p->host_after);
}

struct policy_endpoint_value policy_apply_endpoint_value(const struct policy_apply *p, const struct policy_endpoint_value *wanted)
{
	struct policy_endpoint_value v = *wanted;

	if (policy_apply_has_failed(p, v.after)) /* only the node has one */
		v.after = failsafe_of(p);
	if (policy_apply_has_failed(p, v.policy)) {
		v.policy = v.policy != p->host_policy ? POLICY_LOCKED : v.until ? v.after : failsafe_of(p); /* of a trial: what was confirmed goes on */
		v.trial = 0;
	}
	if (policy_apply_has_failed(p, v.trial))
		v.trial = 0;
	return v;
}

/* At once where it is locked down, else when all turns. */
static int put_endpoint(struct policy_apply *p, const struct policy_endpoint_entry *e, bool at_once)
{
	struct policy_endpoint_value v = policy_apply_endpoint_value(p, &e->value);

	return (at_once ? datapath_policy_change : datapath_policy_turn)(p->dp, DP_POLICY_ENDPOINTS, &e->key, &v);
}

/* Port tables that are not whole spoil the policies that refer to them. */
static void spread_failures(struct policy_apply *p, const struct policy_maps *m)
{
	const struct policy_rule_entry *rules = policy_maps_rules(m);

	for (size_t i = 0; p->failed_ports && i < m->n[POLICY_MAP_RULES]; i++)
		if (policy_apply_id_is_in(p->failed_ports, p->n_failed_ports, rules[i].value.ports))
			policy_apply_mark(&p->failed, &p->n_failed_ids, rules[i].key.policy);
}

static int lock_failed(struct policy_apply *p, const struct policy_maps *m)
{
	const struct policy_endpoint_entry *e = policy_maps_endpoints(m);
	int first = 0;

	p->locked = 0;
	for (size_t i = 0; some_have_failed(p) && i < m->n[POLICY_MAP_ENDPOINTS]; i++) {
		int r;

		if (!policy_apply_has_failed(p, e[i].value.policy) && !policy_apply_has_failed(p, e[i].value.after))
			continue;
		p->locked++;
		r = put_endpoint(p, &e[i], true);
		first = first ? first : r;
	}
	return first;
}

/* Nothing turns with it: this is before POLICY_STEP_CLASSES. */
static int lock_now(struct policy_apply *p, const struct policy_maps *m)
{
	int r = lock_failed(p, m);

	return r == 0 && p->locked ? datapath_policy_commit(p->dp, m->host_until) : r;
}

static int settle_failed(struct policy_apply *p, const struct policy_maps *m)
{
	int r;

	if (!p->failed && !p->failed_ports)
		return 0;
	spread_failures(p, m);
	for (int all = 0; all < 2; all++) {
		policy_fit_make_way(p, m, all);
		r = lock_now(p, m);
		if (r < 0)
			return r;
		policy_fit_failed(p, m);
		if (!policy_apply_host_is_failed(p))
			break;
	}
	return lock_failed(p, m); /* those that are left; the others change over in their turn */
}

static void note_blind(uint32_t policy, void *ctx)
{
	struct policy_apply *p = ctx;

	policy_apply_mark(&p->blind, &p->n_blind, policy);
}

static void find_blind(struct policy_apply *p, const struct policy_maps *m)
{
	free(p->blind);
	p->blind = NULL;
	p->n_blind = 0;
	policy_room_each_blind(&p->room, m, note_blind, p);
}

static int change_prefix(struct policy_apply *p, const struct policy_maps *m, size_t i, bool put)
{
	const struct policy_cidr_entry *e = &policy_maps_cidrs(m)[i];

	return datapath_policy_change(p->dp, DP_POLICY_CIDRS, &e->key, put ? &e->value : NULL);
}

/* Prefixes that the node's own policies tell apart have room before others. Who is concerned by those is locked down before they go. */
static int give_host_prefixes(struct policy_apply *p, const struct policy_maps *m)
{
	_cleanup_free_ size_t *go = NULL, *come = NULL;
	size_t n_go, n_come;
	int r;

	policy_room_exchange(&p->room, m, (uint32_t[]){ p->host_policy, p->host_after }, 2, &go, &n_go, &come, &n_come);
	if (!n_come)
		return 0;
	for (size_t i = 0; i < n_go; i++)
		policy_room_note_absent(&p->room, m, POLICY_MAP_CIDRS, &policy_maps_cidrs(m)[go[i]]);
	find_blind(p, m);
	r = lock_failed(p, m);
	for (size_t i = 0; i < n_go && r == 0; i++)
		r = change_prefix(p, m, go[i], false);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_come; i++)
		if (change_prefix(p, m, come[i], true) == 0)
			policy_room_note_present(&p->room, m, POLICY_MAP_CIDRS, &policy_maps_cidrs(m)[come[i]]);
	find_blind(p, m);
	return 0;
}

static int settle_absent(struct policy_apply *p, const struct policy_maps *m)
{
	if (!p->room.n)
		return 0;
	find_blind(p, m);
	if (policy_apply_host_is_failed(p)) {
		int r = give_host_prefixes(p, m);

		if (r < 0)
			return r;
	}
	return p->blind ? lock_failed(p, m) : 0;
}

/* All that is new is there, or known not to fit. */
static int enter_step(struct run *run, enum policy_step step)
{
	int r = 0;

	if (run->step < POLICY_STEP_CLASSES && step >= POLICY_STEP_CLASSES)
		r = settle_failed(run->p, run->new_);
	if (r == 0 && run->step < POLICY_STEP_SWITCH && step >= POLICY_STEP_SWITCH)
		r = settle_absent(run->p, run->new_);
	run->step = step;
	return r;
}

static bool is_full(int r)
{
	return r == -E2BIG || r == -ENOMEM || r == -ENOSPC;
}

static int write_waiting(struct run *run)
{
	size_t n = run->n_waiting;

	run->n_waiting = 0;
	for (size_t at = 0; at < n;) {
		size_t done;
		int r = datapath_policy_put_many(run->p->dp, dp_maps[run->map], run->waiting + at, n - at, &done);

		at += done;
		if (r == 0)
			break;
		if (!is_full(r))
			return r;
		note_failure(run->p, &(struct policy_change){ .map = run->map, .key = run->waiting[at].key, .value = run->waiting[at].value }, run->new_);
		at++;
	}
	return 0;
}

static int put_later(struct run *run, const struct policy_change *c)
{
	int r = run->n_waiting == WAITING ? write_waiting(run) : 0;

	run->map = c->map;
	run->waiting[run->n_waiting++] = (struct dp_policy_put){ c->key, c->value };
	return r;
}

static bool is_late(const struct run *run, const struct policy_change *c)
{
	if (c->map == POLICY_MAP_RULES)
		return policy_apply_id_is_in(run->late, run->n_late, ((const struct policy_rule_key *)c->key)->policy);
	return c->map == POLICY_MAP_PORTS && policy_apply_id_is_in(run->late_ports, run->n_late_ports, ((const struct policy_port_key *)c->key)->ports);
}

static int on_change(const struct policy_change *c, void *ctx)
{
	struct run *run = ctx;
	struct policy_apply *p = run->p;
	bool turns = c->turns && (p->applied || c->map == POLICY_MAP_ENDPOINTS); /* else nobody asks for this generation's classes yet */
	bool waits = c->value && !turns && (c->map == POLICY_MAP_ADDRS || c->map == POLICY_MAP_RULES);
	int r = 0;

	if (run->removes != (c->step == POLICY_STEP_REMOVE))
		return 0;
	if (!waits || run->map != c->map || run->step != c->step)
		r = write_waiting(run); /* before anything else is done */
	if (r == 0)
		r = enter_step(run, c->step);
	if (r < 0)
		return r;
	run->changed = true;
	if (is_late(run, c)) {
		note_failure(p, c, run->new_);
		return 0;
	}
	if (c->map == POLICY_MAP_ENDPOINTS && c->value) {
		struct policy_endpoint_entry e = { .value = *(const struct policy_endpoint_value *)c->value };

		memcpy(&e.key, c->key, sizeof(e.key));
		return put_endpoint(p, &e, false);
	}
	if (waits)
		return put_later(run, c);
	if (turns)
		r = datapath_policy_turn(p->dp, dp_maps[c->map], c->key, c->value);
	else
		r = datapath_policy_change(p->dp, dp_maps[c->map], c->key, c->value);
	if (!is_full(r))
		return r;
	note_failure(p, c, run->new_);
	return 0;
}

/* Endpoints whose policy has found room after all, but which were locked down for that: it has not changed, so no change says so. */
static int unlock(struct policy_apply *p, const struct policy_maps *m)
{
	const struct policy_endpoint_entry *e = policy_maps_endpoints(m);
	int r = 0;

	for (size_t i = 0; some_have_failed(p) && i < m->n[POLICY_MAP_ENDPOINTS] && r == 0; i++)
		r = put_endpoint(p, &e[i], false);
	return r;
}

/* @late: policies, by id. */
static int run_changes(struct policy_apply *p, const struct policy_maps *old, struct policy_maps *maps, const bool *late, size_t n_late, bool *ret_changed)
{
	struct run run = { .p = p, .new_ = maps, .late = late, .n_late = n_late };
	_cleanup_free_ bool *late_ports = n_late ? policy_fit_late_ports(maps, late, n_late, &run.n_late_ports) : NULL;
	int r;

	run.late_ports = late_ports;
	r = policy_maps_diff(old, maps, on_change, &run, NULL);

	if (r == 0)
		r = write_waiting(&run);
	if (r == 0)
		r = enter_step(&run, POLICY_STEP_REMOVE); /* when there was nothing else to do */
	if (r == 0)
		r = unlock(p, maps);
	*ret_changed |= run.changed;
	return r;
}

/* Takes @m. */
static void add_leaving(struct policy_apply *p, struct policy_maps *m)
{
	struct policy_maps *both;

	if (!m || !p->leaving[0]) {
		p->leaving[0] = m ? m : p->leaving[0];
		return;
	}
	both = policy_maps_merge(p->leaving[0], m);
	policy_maps_put(m);
	policy_maps_put(p->leaving[0]);
	p->leaving[0] = both;
}

/* What went before the last call, and has not come back since, nor gone again. */
static int remove_rested(struct policy_apply *p)
{
	_cleanup_(policy_maps_putp) struct policy_maps *keep = p->leaving[0] ? policy_maps_merge(p->leaving[0], p->applied) : policy_maps_get(p->applied);
	struct run run = { .p = p, .new_ = keep, .removes = true, .step = POLICY_STEP_REMOVE };

	return policy_maps_diff(p->leaving[1], keep, on_change, &run, NULL);
}

size_t policy_apply_count_rules(const struct policy_apply *p)
{
	_cleanup_(policy_maps_putp) struct policy_maps *all = p->applied ? policy_maps_get(p->applied) : NULL;

	for (size_t i = 0; i < ARRAY_SIZE(p->leaving); i++) {
		struct policy_maps *more = !p->leaving[i] ? NULL : all ? policy_maps_merge(all, p->leaving[i]) : policy_maps_get(p->leaving[i]);

		if (!more)
			continue;
		policy_maps_put(all);
		all = more;
	}
	return all ? all->n[POLICY_MAP_RULES] : 0;
}

static int sweep_fresh(struct policy_apply *p)
{
	const struct policy_endpoint_entry *e = policy_maps_endpoints(p->applied);
	size_t n = p->applied->n[POLICY_MAP_ENDPOINTS];
	_cleanup_free_ struct addr *keep = xnew0_array(struct addr, n + 1);

	for (size_t i = 0; i < n; i++)
		memcpy(&keep[i], &e[i].key, sizeof(keep[i]));
	return datapath_policy_finish(p->dp, keep, n);
}

int policy_apply_finish(struct policy_apply *p)
{
	int r = p->leaving[1] ? remove_rested(p) : 0, s = 0;

	policy_maps_put(p->leaving[1]);
	p->leaving[1] = take_ptr(p->leaving[0]);
	if (p->fresh && p->applied && --p->fresh == 0) {
		s = sweep_fresh(p);
		p->fresh = s < 0;
	}
	return r < 0 ? r : s;
}

void policy_apply_each_locked(const struct policy_apply *p, policy_apply_locked_fn *fn, void *ctx)
{
	const struct policy_endpoint_entry *e = p->applied ? policy_maps_endpoints(p->applied) : NULL;
	struct addr addr;

	for (size_t i = 0; some_have_failed(p) && e && i < p->applied->n[POLICY_MAP_ENDPOINTS]; i++) {
		if (!policy_apply_has_failed(p, e[i].value.policy))
			continue;
		memcpy(&addr, &e[i].key, sizeof(addr));
		fn(&addr, !policy_apply_id_is_in(p->failed, p->n_failed_ids, e[i].value.policy), ctx);
	}
}

size_t policy_apply_count_locked(const struct policy_apply *p)
{
	const struct policy_endpoint_entry *e = p->applied ? policy_maps_endpoints(p->applied) : NULL;
	size_t n = 0;

	for (size_t i = 0; e && i < p->applied->n[POLICY_MAP_ENDPOINTS]; i++)
		n += policy_apply_endpoint_value(p, &e[i].value).policy == POLICY_LOCKED;
	return n;
}

static int on_difference(_unused_ const struct policy_change *c, _unused_ void *ctx)
{
	return 1;
}

/* One that is absent is put, if there is. */
static bool has_room_for_absent(struct policy_apply *p, enum policy_map map)
{
	const struct policy_map_shape *shape = &policy_map_shapes[map];
	const char *e = p->applied->entries[map];

	for (size_t i = 0; p->room.absent[map] && i < p->applied->n[map]; i++)
		if (p->room.absent[map][i])
			return datapath_policy_change(p->dp, dp_maps[map], e + i * shape->entry_size, e + i * shape->entry_size + shape->value_offset) == 0;
	return false;
}

/* Would it be in vain to write everything again? The same is wanted, and nothing that had no room has any now. */
static bool is_as_full(struct policy_apply *p, const struct policy_maps *maps)
{
	return policy_apply_is_failed(p) && p->applied && policy_maps_diff(p->applied, maps, on_difference, NULL, NULL) == 0 &&
	       !has_room_for_absent(p, POLICY_MAP_CIDRS) && !has_room_for_absent(p, POLICY_MAP_ADDRS) && !policy_fit_has_room(p, p->applied);
}

static int begin(struct policy_apply *p, struct datapath *dp)
{
	int r;

	if (p->dp == dp)
		return 0;
	policy_apply_forget(p);
	r = datapath_policy_begin(dp);
	if (r < 0)
		return r;
	p->dp = dp;
	p->fresh = 2;
	return 0;
}

static int on_leaving(const struct policy_change *c, void *ctx)
{
	struct run *run = ctx;

	if (c->value || c->step == POLICY_STEP_REMOVE)
		return 0;
	run->changed = true;
	return datapath_policy_change(run->p->dp, dp_maps[c->map], c->key, NULL);
}

/* What goes makes room for what did not fit. No endpoint changes over yet: whether it may is known when all is written again. */
static int make_room(struct policy_apply *p, const struct policy_maps *maps, bool *ret_changed)
{
	struct run run = { .p = p };
	int r = policy_maps_diff(p->applied, maps, on_leaving, &run, NULL);

	*ret_changed |= run.changed;
	return r;
}

static int cmp_endpoint(const void *key, const void *entry)
{
	return memcmp(key, &((const struct policy_endpoint_entry *)entry)->key, sizeof(((const struct policy_endpoint_entry *)entry)->key));
}

static bool was_locked(const struct policy_apply *p, const struct policy_endpoint_entry *e)
{
	const struct policy_endpoint_entry *before = p->applied ? policy_maps_endpoints(p->applied) : NULL;

	before = before ? bsearch(&e->key, before, p->applied->n[POLICY_MAP_ENDPOINTS], sizeof(*before), cmp_endpoint) : NULL;
	return !before || policy_apply_has_failed(p, before->value.policy);
}

/* What had no room comes last, or it would take the room of what is in force and has only changed. Return: such policies of @maps, by id. */
static bool *find_late(const struct policy_apply *p, const struct policy_maps *maps)
{
	const struct policy_endpoint_entry *e = policy_maps_endpoints(maps);
	bool *late = xnew0_array(bool, p->n_failed_ids + 1);

	if (p->n_failed_ids)
		memcpy(late, p->failed, p->n_failed_ids * sizeof(*late));
	for (size_t i = 0; i < maps->n[POLICY_MAP_ENDPOINTS]; i++)
		if (policy_apply_id_is_in(late, p->n_failed_ids, e[i].value.policy) && !was_locked(p, &e[i]))
			late[e[i].value.policy] = false;
	return late;
}

int policy_apply(struct policy_apply *p, struct datapath *dp, struct policy_maps *maps)
{
	_cleanup_free_ bool *late = NULL;
	bool changed = false, again;
	size_t n_late;
	int r = begin(p, dp);

	if (r < 0)
		return r;
	if (is_as_full(p, maps))
		return 0;
	p->host_policy = maps->host_policy;
	p->host_after = maps->host_after;
	p->host_failsafe = maps->host_failsafe;
	again = policy_apply_is_failed(p);
	late = find_late(p, maps);
	n_late = p->n_failed_ids;
	forget_failed(p);
	if (again)
		r = make_room(p, maps, &changed);
	if (r == 0)
		r = run_changes(p, again ? NULL : p->applied, maps, late, n_late, &changed);
	if (r == 0 && changed)
		r = datapath_policy_commit(dp, maps->host_until);
	if (r < 0) { /* what is in force is some of both: everything is written again, and flows must not go on by the old meanwhile */
		(void)datapath_policy_commit(dp, maps->host_until);
		policy_apply_forget(p);
		return r;
	}
	p->commits += changed;
	p->audit.at = 0;
	add_leaving(p, take_ptr(p->applied));
	p->applied = policy_maps_get(maps);
	return 0;
}
