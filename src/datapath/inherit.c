/* SPDX-License-Identifier: Apache-2.0 */
/* Packets write into the tables that they have met until the last program is replaced, so what those leave is taken over in passes: all of it
 * before the programs are replaced, and after them, twice, what was touched since. Between the last look at an entry and the
 * next one lies the replacing of some programs and no more; a packet of a connection that began in between may miss its entry, and
 * what that brings about gives way to what is left (bpf/inherit.bpf.c, which is handed one entry at a time, as only a program may
 * change entries and shares under the eyes of others).
 *
 * The new tables are pinned in the place of the old ones right before the programs are replaced, and the old ones beside them. An agent that is
 * killed before that leaves all as it was; one that is killed after it leaves both to the next. */
#include "weft/inherit.h"
#include "base/log.h"
#include "base/str.h"
#include "datapath/conversion.h"
#include "datapath/inherit.h"
#include "datapath/pins.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <time.h>

enum heir { FLOWS, FLOWS_NEW, CLAIMS, FORWARD, FLOW_COUNTS, CLAIM_COUNTS, HEIRS };

static const char *const names[HEIRS] = {
	[FLOWS] = "flows",
	[FLOWS_NEW] = "flows_new",
	[CLAIMS] = "nat_claims",
	[FORWARD] = "nat_forward",
	[FLOW_COUNTS] = "endpoint_flows",
	[CLAIM_COUNTS] = "nat_shares",
};

/* Of whom: what was pinned, and what an agent that was killed had left beside it. */
enum { PINNED, BESIDE, GENERATIONS };

struct inheritance {
	struct {
		char *path;		/* NULL: no object has it yet */
		int from[GENERATIONS]; /* -1: nobody leaves anything */
		int to;
	} heirs[HEIRS];
	bool begun;
	uint32_t since; /* tick when the latest pass began */
};

struct inheritance *inheritance_new(void)
{
	struct inheritance *in = xnew0(struct inheritance);

	for (int i = 0; i < HEIRS; i++)
		in->heirs[i].to = in->heirs[i].from[PINNED] = in->heirs[i].from[BESIDE] = -1;
	return in;
}

struct inheritance *inheritance_free(struct inheritance *in)
{
	if (!in)
		return NULL;
	for (int i = 0; i < HEIRS; i++) {
		free(in->heirs[i].path);
		close_fd(in->heirs[i].to);
		for (int g = 0; g < GENERATIONS; g++)
			close_fd(in->heirs[i].from[g]);
	}
	free(in);
	return NULL;
}

static int find(const char *map)
{
	for (int i = 0; i < HEIRS; i++)
		if (streq(names[i], map))
			return i;
	return -1;
}

bool inheritance_has(const char *map)
{
	return find(map) >= 0;
}

int inheritance_adopt(struct inheritance *in, struct bpf_map *map)
{
	int i = find(bpf_map__name(map)), r;

	if (i < 0 || in->heirs[i].to < 0)
		return 0;
	r = bpf_map__reuse_fd(map, in->heirs[i].to);
	return r < 0 ? r : 1;
}

static char *path_beside(const char *path)
{
	return xasprintf("%s__before", path);
}

/* A count is nothing that is left: keys alone are. */
static int find_beside(struct inheritance *in, int i, const char *path)
{
	_cleanup_free_ char *beside = path_beside(path);
	int fd = i < FLOW_COUNTS ? bpf_obj_get(beside) : -ENOENT;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	in->heirs[i].from[BESIDE] = fd;
	return 0;
}

static int find_pinned(struct inheritance *in, int i, int map, const char *path)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info there, ours;
	int r;

	if (fd == -ENOENT)
		return bpf_obj_pin(map, path);
	if (fd < 0)
		return fd;
	r = conversion_map_info(fd, &there);
	if (r == 0)
		r = conversion_map_info(map, &ours);
	if (r == 0 && there.id != ours.id)
		in->heirs[i].from[PINNED] = take_fd(fd);
	return r;
}

int inheritance_publish(struct inheritance *in, struct bpf_map *map, const char *path)
{
	int i = find(bpf_map__name(map)), r;

	if (in->heirs[i].path)
		return 0;
	r = find_pinned(in, i, bpf_map__fd(map), path);
	if (r == 0)
		r = find_beside(in, i, path);
	if (r < 0)
		return r;
	r = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0);
	if (r < 0)
		return -errno;
	in->heirs[i].to = r;
	in->heirs[i].path = xstrdup(path);
	return 0;
}

bool inheritance_is_any(const struct inheritance *in)
{
	for (int i = 0; i < HEIRS; i++)
		if (in->heirs[i].from[PINNED] >= 0 || in->heirs[i].from[BESIDE] >= 0)
			return true;
	return false;
}

/* ---- shares ---- */

static int on_share(const void *key, const void *value __attribute__((unused)), void *ctx)
{
	uint64_t none = 0;
	int r = bpf_map_update_elem(*(const int *)ctx, key, &none, BPF_NOEXIST);

	return r == -EEXIST ? 0 : r;
}

int inheritance_open_shares(struct inheritance *in)
{
	int r = 0;

	for (int i = FLOW_COUNTS; i <= CLAIM_COUNTS && r >= 0; i++) {
		_cleanup_(conversion_freep) struct conversion *c = NULL;

		if (in->heirs[i].from[PINNED] < 0)
			continue;
		r = conversion_new(&c, in->heirs[i].from[PINNED], in->heirs[i].to);
		if (r > 0)
			r = conversion_each(c, on_share, &in->heirs[i].to);
	}
	return MIN(r, 0);
}

/* ---- passes ---- */

struct pass {
	bool all;
	uint32_t since;
	int program;
	int to;			/* what has come there by the pass before */
	const struct conversion *forward; /* of claims */
	uint64_t lost;
};

static uint32_t ticks_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec * 1000000000ull + t.tv_nsec) >> FLOW_TICK_SHIFT;
}

/* A second before the pass began counts as after it: what is touched later may not be said in the entry's latest tick. */
static bool is_due(const struct pass *p, uint32_t seen)
{
	return p->all || (int32_t)(seen - p->since + FLOW_TICKS(1)) >= 0;
}

static int hand_over(struct pass *p, const void *entry, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = entry, .data_size_in = size);
	int r = bpf_prog_test_run_opts(p->program, &run);

	if (r == 0 && run.retval != 0 /* TC_ACT_OK */)
		p->lost++;
	return r;
}

/* Nothing is said that the new table does not know: a pass is short where conversations only go on. */
static bool says_nothing(const struct flow_state *left, const struct flow_state *here)
{
	return left->stage == here->stage && left->fin == here->fin && left->initiator == here->initiator && left->origin == here->origin;
}

static bool flow_is_known(const struct pass *p, const struct inherited_flow *entry)
{
	struct flow here; /* or struct flow_state, with which it begins */

	return !p->all && bpf_map_lookup_elem(p->to, &entry->key, &here) == 0 && says_nothing(&entry->state, &here.state);
}

static bool claim_is_known(const struct pass *p, const struct inherited_claim *entry)
{
	struct nat_claim here;

	return !p->all && bpf_map_lookup_elem(p->to, &entry->key, &here) == 0 && here.port == entry->claim.port &&
	       memcmp(&here.addr, &entry->claim.addr, sizeof(here.addr)) == 0 && says_nothing(&entry->claim.state, &here.state);
}

/* An entry of `flows` begins as one of `flows_new`. */
static int on_flow(const void *key, const void *value, void *ctx)
{
	struct inherited_flow entry = {};
	struct pass *p = ctx;

	memcpy(&entry.key, key, sizeof(entry.key));
	memcpy(&entry.state, value, sizeof(entry.state));
	return is_due(p, entry.state.seen) && !flow_is_known(p, &entry) ? hand_over(p, &entry, sizeof(entry)) : 0;
}

/* The connection as its inside end sees it: nat_key_inside() of bpf/lib/nat.h. */
static struct nat_key inside_of(const struct nat_key *key, const struct nat_claim *claim)
{
	struct nat_key r = *key;

	r.local = claim->addr;
	r.local_port = claim->port;
	if (claim->uplink) {
		r.remote = claim->front;
		r.remote_port = claim->front_port;
	}
	return r;
}

static int on_claim(const void *key, const void *value, void *ctx)
{
	struct inherited_claim entry = {};
	struct pass *p = ctx;
	struct nat_key inside;
	int r;

	memcpy(&entry.key, key, sizeof(entry.key));
	memcpy(&entry.claim, value, sizeof(entry.claim));
	if ((entry.claim.state.stage == FLOW_OPEN && !is_due(p, entry.claim.state.seen)) || claim_is_known(p, &entry))
		return 0;
	inside = inside_of(&entry.key, &entry.claim);
	r = conversion_find(p->forward, &inside, &entry.forward);
	if (r == -ENOENT) /* its other half is not there yet, or no more */
		return 0;
	if (r < 0)
		return r;
	return is_due(p, entry.claim.state.seen) || is_due(p, entry.forward.seen) ? hand_over(p, &entry, sizeof(entry)) : 0;
}

static int inherit_flows(struct inheritance *in, enum heir heir, int generation, struct pass *p)
{
	_cleanup_(conversion_freep) struct conversion *c = NULL;
	int from = in->heirs[heir].from[generation], r;

	if (from < 0)
		return 0;
	p->to = in->heirs[heir].to;
	r = conversion_new(&c, from, p->to);
	return r > 0 ? conversion_each(c, on_flow, p) : r;
}

/* A connection's halves lie in two maps; of which one alone may have got another layout. */
static int inherit_claims(struct inheritance *in, int generation, struct pass *p)
{
	_cleanup_(conversion_freep) struct conversion *claims = NULL, *forward = NULL;
	int from[2] = { in->heirs[CLAIMS].from[generation], in->heirs[FORWARD].from[generation] }, r;

	if (from[0] < 0 && from[1] < 0)
		return 0;
	for (int i = 0; i < 2; i++)
		if (from[i] < 0)
			from[i] = in->heirs[i ? FORWARD : CLAIMS].to;
	r = conversion_new(&claims, from[0], in->heirs[CLAIMS].to);
	if (r > 0)
		r = conversion_new(&forward, from[1], in->heirs[FORWARD].to);
	p->forward = forward;
	p->to = in->heirs[CLAIMS].to;
	return r > 0 ? conversion_each(claims, on_claim, p) : r;
}

int inheritance_pass(struct inheritance *in, int flow, int claim)
{
	struct pass p = { .all = !in->begun, .since = in->since };
	int r = 0;

	in->since = ticks_now();
	in->begun = true;
	for (int g = 0; g < GENERATIONS && r == 0; g++) {
		p.program = claim; /* first: a connection that misses its claim is reset by the node, one that misses its flow tries again */
		r = inherit_claims(in, g, &p);
		p.program = flow;
		for (int i = FLOWS; i <= FLOWS_NEW && r == 0; i++)
			r = inherit_flows(in, i, g, &p);
	}
	if (p.lost)
		log_warn("translations have no place in a table that became smaller", L_UINT("lost", p.lost));
	return MIN(r, 0);
}

/* ---- names ---- */

int inheritance_pin(struct inheritance *in)
{
	int r = 0;

	for (int i = 0; i < HEIRS && r == 0; i++) {
		_cleanup_free_ char *beside = NULL;

		if (in->heirs[i].from[PINNED] < 0)
			continue;
		beside = path_beside(in->heirs[i].path);
		if (i < FLOW_COUNTS)
			r = pins_replace(in->heirs[i].from[PINNED], beside);
		if (r == 0)
			r = pins_replace(in->heirs[i].to, in->heirs[i].path);
	}
	return r;
}
