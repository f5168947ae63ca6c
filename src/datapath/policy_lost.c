/* SPDX-License-Identifier: Apache-2.0 */
/* The state of policy is gone, and pods live here: somebody has removed pins, and the agent died before it could put them back. Until the API answers nobody
 * knows what was in force. Open, a pod would be reached by whom its policies keep away, for as long as the API is silent; so those pods are locked down. That is
 * done before any program that knows the new maps is attached: nothing passes in between.
 *
 * Empty maps are also what an agent finds that is the first to know policy, or to come before any was told. Then nothing was in force, and nothing is locked
 * down. The programs that carry the pods still have the maps of before: they say which it is. */
#include "base/log.h"
#include "base/str.h"
#include "datapath/attach.h"
#include "datapath/conversion.h"
#include "datapath/priv.h"
#include "weft/policy.h"

#include <net/if.h>
#include <sys/random.h>

enum { PROGRAM_MAPS = 256, STATE_MAX = 256 };

/* @ret: what it says first, whatever layout it has. */
static int read_revision(uint32_t map_id, const char *name, uint32_t *ret)
{
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(map_id);
	struct bpf_map_info info;
	uint32_t state[STATE_MAX / sizeof(uint32_t)], zero = 0;
	int r = fd < 0 ? fd : conversion_map_info(fd, &info);

	if (r < 0)
		return r;
	if (!streq(info.name, name))
		return -ENOENT;
	r = info.value_size > sizeof(state) ? -E2BIG : bpf_map_lookup_elem(fd, &zero, state);
	if (r == 0)
		*ret = state[0];
	return r;
}

/* Return: 0, -ENOENT when the program knows no policy, -errno. */
static int revision_of_program(uint32_t id, uint32_t *ret)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	uint32_t maps[PROGRAM_MAPS], size;
	struct bpf_prog_info info = { .nr_map_ids = PROGRAM_MAPS, .map_ids = (uintptr_t)maps };
	int r;

	size = sizeof(info);
	r = fd < 0 ? fd : bpf_obj_get_info_by_fd(fd, &info, &size);
	if (r < 0)
		return r;
	r = -ENOENT;
	for (uint32_t i = 0; i < MIN(info.nr_map_ids, (uint32_t)PROGRAM_MAPS) && r == -ENOENT; i++)
		r = read_revision(maps[i], dp_map_names[MAP_POLICY_STATE], ret);
	return r;
}

/* Of what is attached to some pod; all pods' programs have the same maps. Return: see revision_of_program(); -ESRCH when nothing is. */
static int revision_attached(uint32_t *ret)
{
	struct if_nameindex *links = if_nameindex();
	char name[16];
	uint32_t id;
	int r = links ? -ESRCH : -errno;

	for (struct if_nameindex *l = links; l && l->if_index && r == -ESRCH; l++)
		if (attach_find_clsact(l->if_index, ATTACH_INGRESS, &id, name) == 0 && streq(name, dp_hook_names[HOOK_FROM_POD]))
			r = revision_of_program(id, ret);
	if (links)
		if_freenameindex(links);
	return r;
}

/* What was in force had a revision: flows may bear it, so another begins after it; where nothing knows it, at random. Return: 1 when it is lost, 0 when
 * there was none, -errno. */
static int begin_anew(struct datapath *dp)
{
	struct policy_state s = { 0 };
	uint32_t zero = 0;
	int r = revision_attached(&s.revision);

	if (r == -ENOENT || (r == 0 && s.revision == 0))
		return 0;
	if (r < 0 && getrandom(&s.revision, sizeof(s.revision), 0) != sizeof(s.revision))
		abort(); /* never short up to 256 bytes: getrandom(2) */
	s.revision &= ~1u;
	r = bpf_map_update_elem(dp->maps[MAP_POLICY_STATE], &zero, &s, BPF_ANY);
	if (r == 0)
		r = datapath_policy_commit(dp, 0);
	return r < 0 ? r : 1;
}

static int lock_all(struct datapath *dp, const struct addr *pods, size_t n, bool only_gone, size_t *ret_count)
{
	static const struct policy_endpoint_value locked = { .policy = POLICY_LOCKED };
	struct policy_endpoint_value there;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (only_gone)
			r = dp_policy_read_endpoint(dp, &pods[i], &there);
		if (r < 0 || (only_gone && !there.gone))
			continue;
		r = datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &pods[i], &locked);
		*ret_count += r == 0;
	}
	return r;
}

void dp_policy_look_for_lost(struct datapath *dp)
{
	static const int maps[] = { MAP_POLICY_STATE, MAP_POLICY_ADDRS, MAP_POLICY_CIDRS, MAP_POLICY_RULES, MAP_POLICY_PORTS };
	size_t missing = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		_cleanup_free_ char *path = xasprintf("%s/maps/%s", dp->dir, dp_map_names[maps[i]]);

		missing += access(path, F_OK) < 0 && errno == ENOENT;
	}
	dp->policy_entries_lost = missing > 0 && missing < ARRAY_SIZE(maps); /* all: a node that is new, or a state that is lost with them */
}

/* A revision that is there says that the state is, but maybe not the endpoints' map, in which each pod would stand; nor what it says of them. */
int dp_policy_lock_lost(struct datapath *dp, const struct addr *pods, size_t n)
{
	struct policy_state s;
	uint32_t zero = 0;
	size_t count = 0;
	int r;

	if (!n)
		return 0;
	r = bpf_map_lookup_elem(dp->maps[MAP_POLICY_STATE], &zero, &s);
	if (r == 0 && s.revision == 0) {
		r = begin_anew(dp);
		if (r == 0)
			return 0;
	}
	if (r >= 0)
		r = lock_all(dp, pods, n, s.revision != 0 && !dp->policy_entries_lost, &count);
	if (count)
		log_warn("the state of policy was lost: pods are locked down until the API has told their policies", L_UINT("addresses", count));
	return r;
}

size_t datapath_policy_count_locked(struct datapath *dp, const struct addr *pods, size_t n)
{
	struct policy_endpoint_value there;
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += dp_policy_read_endpoint(dp, &pods[i], &there) == 0 && !there.gone && there.policy == POLICY_LOCKED;
	return count;
}
