/* SPDX-License-Identifier: Apache-2.0 */
/* weftd --teardown: the node is taken out of service. Whatever carries our mark goes; the agent must not run meanwhile.
 */
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>

static int failures;

static void note(const char *what, int r)
{
	if (r >= 0)
		return;
	failures++;
	log_error("cannot remove all", L_STR("what", what), L_ERRNO(r));
}

static int remove_links(struct rtnl *nl)
{
	_cleanup_free_ struct link *links = NULL;
	_cleanup_free_ uint32_t *ours = NULL;
	size_t n, n_ours = 0;
	int r = rtnl_list_links(nl, &links, &n);

	if (r < 0)
		return r;
	ours = xnew0_array(uint32_t, n + 1);
	for (size_t i = 0; i < n; i++)
		if (pod_link_is_ours(&links[i]))
			ours[n_ours++] = links[i].ifindex;
	return n_ours ? rtnl_del_links(nl, ours, n_ours, POD_LINK_DOOMED_GROUP) : 0;
}

/* In chains of others, so that theirs drop again what they dropped before. */
static int remove_accepts(void)
{
	struct firewall_wants none = {0};
	_cleanup_free_ char *warning = NULL;
	unsigned made;

	(void)firewall_settle(&none, &made, &warning);
	return firewall_settle(&none, &made, &warning) > 0 ? -EBUSY : 0;
}

static int remove_node_addrs(struct rtnl *nl, const char *state)
{
	struct node_state s;
	int r = node_state_load(state, &s);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (int f = 0; f < 2 && r == 0; f++) {
		struct link_addr a = {.ifindex = 1, .addr = s.node_addrs[f], .len = 128};

		if (!addr_is_zero(&a.addr))
			r = rtnl_del_addr(nl, &a);
	}
	return r;
}

/* The files of one directory of ours, then the directory. */
static int remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (const struct dirent *e; (e = readdir(d));)
		if (!streq(e->d_name, ".") && !streq(e->d_name, "..") && unlinkat(dirfd(d), e->d_name, 0) < 0)
			r = -errno;
	closedir(d);
	if (r == 0 && rmdir(dir) < 0)
		r = -errno;
	return r;
}

static void remove_files(const struct options *o)
{
	static const char *const dirs[] = {"del-queue", "state", ""};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		_cleanup_free_ char *dir = xasprintf("%s/%s", o->run_dir, dirs[i]);

		note(dir, remove_dir(dir));
	}
}

int agent_teardown(const struct options *o)
{
	_cleanup_free_ char *state = xasprintf("%s/state/node.json", o->run_dir);
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	int r = agent_lock(o);

	if (r < 0)
		return 1;
	r = rtnl_open(&nl);
	if (r < 0) {
		log_error("cannot open rtnetlink", L_ERRNO(r));
		return 1;
	}
	note("runtime configuration", node_remove_conflist(o));
	note("datapath", datapath_remove(o->bpf_dir));
	note("pods' links", remove_links(nl));
	note("rules", rtnl_apply_rules(nl, NULL, 0, NULL));
	note("routes", rtnl_apply_routes(nl, NULL, 0, NULL, 0, NULL));
	note("neighbours", rtnl_apply_neighs(nl, NULL, 0, NULL, 0, NULL));
	note("rules in other packet filters", remove_accepts());
	note("tunnel device", node_remove_vxlan(nl));
	note("WireGuard interface", mesh_remove_device(nl, MESH_DEVICE));
	note("node addresses", remove_node_addrs(nl, state));
	remove_files(o);
	if (!failures)
		log_info("nothing of Weft is left on this node");
	return failures ? 1 : 0;
}
