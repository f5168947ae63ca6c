/* SPDX-License-Identifier: Apache-2.0 */
/* XDP on uplinks, each by a pinned link, links/IFINDEX-xdp. A device has one XDP program: where somebody else's is, ours stays away. Whatever
 * keeps it away is no failure: packets take the way through from_net.
 *
 * A veth delivers what XDP sends only if its other end has an XDP program as well, and drops it without a word if not: the other end is in
 * another namespace, so only who knows it may ask for native there. Tags that the device takes off are not to be seen by XDP, and a packet of
 * a VLAN would be taken for one of the uplink itself. */
#include "base/log.h"
#include "base/str.h"
#include "datapath/priv.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct wanted {
	const struct dp_link *links;
	size_t n;
	bool native;
	bool *there; /* by index of links */
};

static bool is_native(const struct datapath *dp)
{
	return dp->xdp != DP_XDP_GENERIC;
}

static int ethtool_ask(int fd, const char *name, void *command)
{
	struct ifreq req = { .ifr_data = command };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	return ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
}

static bool is_veth(int fd, const char *name)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };

	return ethtool_ask(fd, name, &info) == 0 && streq(info.driver, "veth");
}

static bool takes_tags_off(int fd, const char *name)
{
	struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };

	return ethtool_ask(fd, name, &flags) == 0 && flags.data & ETH_FLAG_RXVLAN;
}

/* Is there anything about the device that speaks against it? */
static enum dp_xdp_state look_at(const struct datapath *dp, uint32_t ifindex)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enum dp_xdp_state good = is_native(dp) ? DP_XDP_IS_NATIVE : DP_XDP_IS_GENERIC;
	char name[IF_NAMESIZE];

	if (fd < 0 || !if_indextoname(ifindex, name))
		return good; /* attaching will say what is wrong */
	if (dp->xdp == DP_XDP_AUTO && is_veth(fd, name))
		return DP_XDP_IS_VETH;
	return takes_tags_off(fd, name) ? DP_XDP_IS_TAGS : good;
}

static bool state_is_attached(enum dp_xdp_state state)
{
	return state == DP_XDP_IS_NATIVE || state == DP_XDP_IS_GENERIC;
}

static enum dp_xdp_state state_wanted(const struct datapath *dp, const struct dp_link *link)
{
	return dp->objects[HOOK_XDP_NET] && link->role == DP_LINK_UPLINK ? look_at(dp, link->ifindex) : DP_XDP_IS_OFF;
}

static int keep_or_unpin(struct datapath *dp, const char *pin, int fd _unused_, uint32_t ifindex, const char *program, void *ctx)
{
	struct wanted *want = ctx;

	if (!streq(program, dp_hook_names[HOOK_XDP_NET]))
		return 0;
	for (size_t i = 0; ifindex && i < want->n; i++)
		if (want->links[i].ifindex == ifindex && state_is_attached(state_wanted(dp, &want->links[i])) &&
		    attach_find_xdp(ifindex) == want->native) {
			want->there[i] = true;
			return 0;
		}
	return unlink(pin) < 0 ? -errno : 0;
}

static struct dp_xdp_uplink attach(struct datapath *dp, const struct dp_link *link, bool there)
{
	_cleanup_free_ char *pin = xasprintf("%s/links/%u-xdp", dp->dir, link->ifindex);
	struct dp_xdp_uplink u = { .ifindex = link->ifindex, .state = state_wanted(dp, link) };
	int r;

	if (dp->xdp != DP_XDP_OFF && !dp->objects[HOOK_XDP_NET]) {
		u.state = DP_XDP_IS_REFUSED;
		u.error = -EOPNOTSUPP;
	}
	if (there || !state_is_attached(u.state))
		return u;
	r = attach_xdp(link->ifindex, is_native(dp), dp->programs[HOOK_XDP_NET], pin);
	if (r == 0)
		return u;
	u.state = r == -EBUSY ? DP_XDP_IS_FOREIGN : DP_XDP_IS_REFUSED;
	u.error = r == -EBUSY ? 0 : r;
	return u;
}

static void say(const struct datapath *dp, const struct dp_xdp_uplink *now)
{
	struct dp_xdp_uplink before = {};
	const char *error = now->error ? strerror(-now->error) : "";
	char name[IF_NAMESIZE] = "?";

	datapath_read_xdp(dp, now->ifindex, &before);
	if (before.state == now->state && before.error == now->error)
		return;
	if_indextoname(now->ifindex, name);
	if (state_is_attached(now->state))
		log_info("XDP is on an uplink", L_STR("uplink", name), L_STR("mode", dp_xdp_state_text(now->state)));
	else
		log_warn("XDP is not on an uplink; its packets take the usual way", L_STR("uplink", name), L_STR("why", dp_xdp_state_text(now->state)),
			 L_STR("error", error));
}

int dp_apply_xdp(struct datapath *dp, const struct dp_link *links, size_t n)
{
	_cleanup_free_ bool *there = xnew0_array(bool, n + 1);
	struct wanted want = { .links = links, .n = n, .native = is_native(dp), .there = there };
	struct dp_xdp_uplink now[LINKS_MAX];
	int r = dp_each_pinned_link(dp, keep_or_unpin, &want);
	size_t n_now = 0;

	for (size_t i = 0; i < n && n_now < LINKS_MAX; i++) {
		struct dp_xdp_uplink before = {}, *u = &now[n_now];

		if (links[i].role != DP_LINK_UPLINK)
			continue;
		*u = attach(dp, &links[i], there[i]);
		datapath_read_xdp(dp, u->ifindex, &before);
		if (state_is_attached(u->state) && !there[i] && before.state == u->state)
			dp_repaired(dp, DP_REPAIR_PROGRAM, "%s on link %u", dp_hook_names[HOOK_XDP_NET], u->ifindex);
		say(dp, u);
		n_now++;
	}
	memcpy(dp->xdp_uplinks, now, n_now * sizeof(now[0]));
	dp->n_xdp_uplinks = n_now;
	return r;
}

int datapath_read_xdp(const struct datapath *dp, uint32_t ifindex, struct dp_xdp_uplink *ret)
{
	for (size_t i = 0; i < dp->n_xdp_uplinks; i++)
		if (dp->xdp_uplinks[i].ifindex == ifindex) {
			*ret = dp->xdp_uplinks[i];
			return 0;
		}
	return -ENOENT;
}

const char *dp_xdp_state_text(enum dp_xdp_state state)
{
	static const char *const texts[] = {
		[DP_XDP_IS_OFF] = "off",
		[DP_XDP_IS_NATIVE] = "native",
		[DP_XDP_IS_GENERIC] = "generic",
		[DP_XDP_IS_FOREIGN] = "off: another XDP program is on it",
		[DP_XDP_IS_VETH] = "off: it is a veth, of which auto does not know whether its other end takes what XDP sends",
		[DP_XDP_IS_TAGS] = "off: it takes tags of VLANs off, which XDP would not see (ethtool -K DEVICE rxvlan off)",
		[DP_XDP_IS_REFUSED] = "off: refused by the kernel or the driver",
	};

	return texts[state];
}
