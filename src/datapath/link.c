/* SPDX-License-Identifier: Apache-2.0 */
/* Uplinks and tunnels. With tcx each has a pinned link a side, links/IFINDEX and links/IFINDEX-egress; with clsact the kernel's filters are the state.
 * The links of XDP lie beside them (xdp.c). */
#include "base/str.h"
#include "datapath/attach.h"
#include "datapath/priv.h"
#include "weft/endpoint.h"
#include "weft/link.h"

#include <dirent.h>
#include <net/if.h>

enum { SIDES = ATTACH_EGRESS + 1 };

_Static_assert(LINKS_MAX == JUDGED_LINKS_MAX, "the map has a place for each");

static const enum dp_hook hooks[][SIDES] = {
	[DP_LINK_UPLINK] = { HOOK_FROM_NET, HOOK_TO_NET },
	[DP_LINK_TUNNEL] = { HOOK_FROM_TUNNEL, HOOK_TO_TUNNEL },
	[DP_LINK_MESH] = { HOOK_FROM_MESH, HOOK_TO_MESH },
};

static const struct dp_link *find_wanted(const struct dp_link *links, size_t n, uint32_t ifindex)
{
	for (size_t i = 0; i < n; i++)
		if (links[i].ifindex == ifindex)
			return &links[i];
	return NULL;
}

static int hook_by_name(const char *name)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		if (streq(name, dp_hook_names[i]))
			return i;
	return -ENOENT;
}

int dp_each_pinned_link(struct datapath *dp, dp_pinned_link_fn *fn, void *ctx)
{
	_cleanup_free_ char *dir = xasprintf("%s/links", dp->dir);
	struct dirent *entry;
	int first = 0;
	DIR *d = opendir(dir);

	if (!d)
		return -errno;
	while ((entry = readdir(d))) {
		_cleanup_free_ char *pin = xasprintf("%s/%s", dir, entry->d_name);
		_cleanup_close_ int fd = -1;
		char name[16];
		uint32_t ifindex;

		if (entry->d_name[0] == '.')
			continue;
		fd = attach_find_tcx(pin, &ifindex, name);
		dp_note_error(&first, fd < 0 ? fd : fn(dp, pin, fd, ifindex, name, ctx));
	}
	closedir(d);
	return first;
}

static int replace_program(struct datapath *dp, const char *pin, int fd, uint32_t ifindex, const char *program,
			   void *ctx _unused_)
{
	int hook = hook_by_name(program);

	if (ifindex == 0 || hook < 0 || !dp->objects[hook])
		return unlink(pin) < 0 ? -errno : 0;
	return bpf_link_update(fd, dp->programs[hook], NULL);
}

int dp_replace_tcx(struct datapath *dp)
{
	return dp_each_pinned_link(dp, replace_program, NULL);
}

struct wanted {
	const struct dp_link *links;
	size_t n;
	bool *there; /* by index of links * SIDES + side */
	bool tcx;
};

static int keep_or_unpin(struct datapath *dp _unused_, const char *pin, int fd _unused_, uint32_t ifindex,
			 const char *program, void *ctx)
{
	struct wanted *want = ctx;
	const struct dp_link *link = want->tcx && ifindex ? find_wanted(want->links, want->n, ifindex) : NULL;

	if (streq(program, dp_hook_names[HOOK_XDP_NET]))
		return 0;
	for (int side = 0; link && side < SIDES; side++)
		if (streq(program, dp_hook_names[hooks[link->role][side]])) {
			want->there[(link - want->links) * SIDES + side] = true;
			return 0;
		}
	return unlink(pin) < 0 ? -errno : 0;
}

static int attach_side(struct datapath *dp, const struct dp_link *link, enum attach_side side)
{
	_cleanup_free_ char *pin = xasprintf("%s/links/%u%s", dp->dir, link->ifindex, side == ATTACH_EGRESS ? "-egress" : "");
	int program = dp->programs[hooks[link->role][side]];

	if (dp->tcx)
		return attach_tcx(link->ifindex, side, program, pin);
	return attach_clsact(link->ifindex, side, program, link->role == DP_LINK_UPLINK ? ATTACH_OTHERS : ATTACH_OURS);
}

static bool was_attached(const struct datapath *dp, uint32_t ifindex)
{
	for (size_t i = 0; i < dp->repair.n_links; i++)
		if (dp->repair.links[i] == ifindex)
			return true;
	return false;
}

/* Attaches what is not there. What was there before has been taken away by somebody. @there: by side */
static int attach_link(struct datapath *dp, const struct dp_link *link, const bool *there)
{
	int first = 0;

	for (int side = 0; side < SIDES; side++) {
		int r;

		if (there[side])
			continue;
		r = attach_side(dp, link, side);
		dp_note_error(&first, r);
		if (r == 0 && was_attached(dp, link->ifindex))
			dp_repaired(dp, DP_REPAIR_PROGRAM, "%s on link %u", dp_hook_names[hooks[link->role][side]], link->ifindex);
	}
	return first;
}

/* Is the filter one of those that this file attaches, where it is not wanted? */
static bool filter_is_left_over(struct datapath *dp, const struct dp_link *link, enum attach_side side, const char *program)
{
	bool ours = false;

	for (size_t role = 0; role < ARRAY_SIZE(hooks); role++)
		ours |= streq(program, dp_hook_names[hooks[role][side]]);
	return ours && (dp->tcx || !link);
}

/* The programs of its link are looked at with the endpoint; of such links a node has hundreds. */
static bool is_endpoints(struct datapath *dp, uint32_t ifindex)
{
	struct pod_iface iface;

	return bpf_map_lookup_elem(dp->maps[MAP_POD_IFACES], &ifindex, &iface) == 0;
}

/* Filters of ours on links that are not wanted, or are attached the other way. The empty clsact stays: to add or delete one, the
 * kernel takes the device's queues down for a moment (net/sched/sch_api.c, qdisc_graft), and what is sent then is lost. */
static int remove_filters(struct datapath *dp, const struct dp_link *links, size_t n)
{
	struct if_nameindex *all = if_nameindex();
	int first = 0;
	char name[16];
	uint32_t id;

	if (!all)
		return -errno;
	for (struct if_nameindex *l = all; l->if_index; l++)
		for (int side = 0; side < SIDES && !is_endpoints(dp, l->if_index); side++)
			if (attach_find_clsact(l->if_index, side, &id, name) == 0 &&
			    filter_is_left_over(dp, find_wanted(links, n, l->if_index), side, name))
				dp_note_error(&first, attach_remove_clsact(l->if_index, side));
	if_freenameindex(all);
	return first;
}

static void remember_links(struct datapath *dp, const struct dp_link *links, size_t n)
{
	dp->repair.n_links = MIN(n, (size_t)LINKS_MAX);
	for (size_t i = 0; i < dp->repair.n_links; i++)
		dp->repair.links[i] = links[i].ifindex;
}

/* What comes in by these the programs have seen. */
static int tell_judged(struct datapath *dp, const uint32_t *ifindexes, size_t n)
{
	struct judged_links judged = {};
	uint32_t zero = 0;

	memcpy(judged.ifindex, ifindexes, n * sizeof(*ifindexes));
	return bpf_map_update_elem(dp->maps[MAP_JUDGED_LINKS], &zero, &judged, BPF_ANY);
}

/* The kernel's filters that are there already. */
static void find_filters(struct datapath *dp, struct wanted *want)
{
	for (size_t i = 0; i < want->n; i++)
		for (int side = 0; side < SIDES; side++)
			want->there[i * SIDES + side] = dp_check_program(dp, want->links[i].ifindex, side,
									 hooks[want->links[i].role][side]) == 0;
}

int datapath_apply_links(struct datapath *dp, const struct dp_link *links, size_t n)
{
	_cleanup_free_ bool *there = xnew0_array(bool, (n + 1) * SIDES);
	struct wanted want = { .links = links, .n = n, .there = there, .tcx = dp->tcx };
	uint32_t judged[LINKS_MAX];
	size_t n_judged = 0;
	int first = 0;

	if (dp->tcx)
		dp_note_error(&first, dp_each_pinned_link(dp, keep_or_unpin, &want));
	else
		find_filters(dp, &want);
	for (size_t i = 0; i < n; i++) {
		int r = attach_link(dp, &links[i], there + i * SIDES);

		dp_note_error(&first, r);
		if (r == 0 && n_judged < LINKS_MAX)
			judged[n_judged++] = links[i].ifindex;
	}
	dp_note_error(&first, tell_judged(dp, judged, n_judged));
	if (!dp->tcx) /* the new way was first, so that no packet passes unseen */
		dp_note_error(&first, dp_each_pinned_link(dp, keep_or_unpin, &want));
	dp_note_error(&first, remove_filters(dp, links, n));
	dp_note_error(&first, dp_apply_xdp(dp, links, n));
	if (first == 0)
		remember_links(dp, links, n);
	return first;
}
