/* SPDX-License-Identifier: Apache-2.0 */
/* Every link gets its MAC at birth, so that no udev renames it; addresses skip duplicate detection, they are ours alone.
 * The fabric routes between its subnets and knows nothing of pods, as somebody else's network would. */
#include "lab/links.h"
#include "net/netns.h"
#include "net/rtnl.h"

#include <linux/if_addr.h>

static const int families[] = { AF_INET, AF_INET6 };

static int explain(struct rtnl *nl, int r, const char *what, const char *name, char **ret_error)
{
	if (r < 0)
		*ret_error = xasprintf("%s %s: %s", what, name, nl && *rtnl_error_text(nl) ? rtnl_error_text(nl) : strerror(-r));
	return r;
}

static int add_address(struct rtnl *nl, uint32_t ifindex, struct addr a, struct prefix net)
{
	struct link_addr la = { .ifindex = ifindex, .addr = a, .len = net.len, .flags = IFA_F_NODAD };

	return rtnl_replace_addr(nl, &la);
}

static int add_default(struct rtnl *nl, uint32_t ifindex, struct addr via)
{
	struct route r = { .dst = prefix_any(addr_family(&via)), .via = via, .oif = ifindex, .proto = RTPROT_STATIC };

	return rtnl_replace_route(nl, &r);
}

int lo_up(int netns_fd)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	int r = rtnl_open_in(netns_fd, &nl);

	return r < 0 ? r : rtnl_set_link_up(nl, 1, true);
}

/* Link-local addresses are usable at once, too: a router asks for its neighbours from them. */
static int no_dad(int netns_fd)
{
	return netns_sysctl(netns_fd, "ipv6/conf/default/accept_dad", "0");
}

static int make_router(void)
{
	_cleanup_close_ int self = netns_open_self();
	int r = no_dad(self);

	if (r == 0)
		r = netns_sysctl(self, "ipv4/ip_forward", "1");
	return r < 0 ? r : netns_sysctl(self, "ipv6/conf/all/forwarding", "1");
}

static int build_bridge(const struct lab *lab, struct rtnl *nl, unsigned subnet, char **ret_error)
{
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	uint32_t ifindex;
	int r;

	snprintf(name, sizeof(name), "br%u", subnet);
	lab_mac(LAB_MAC_BRIDGE, subnet, mac);
	r = rtnl_add_bridge(nl, &(struct link_spec){ .name = name, .mac = mac, .up = true }, &ifindex);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++)
		if (lab_has(lab, families[i]))
			r = add_address(nl, ifindex, lab_router_address(subnet, families[i]), lab_subnet_prefix(subnet, families[i]));
	return explain(nl, r, "bridge", name, ret_error);
}

/* Both ends' addresses, then the far end's default route. */
static int address_pair(const struct lab *lab, struct rtnl *near, uint32_t near_if, struct rtnl *far)
{
	struct link eth0;
	int r = rtnl_find_link(far, "eth0", &eth0);

	if (r == 0)
		r = rtnl_set_link_up(far, eth0.ifindex, true);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++) {
		int f = families[i];

		if (!lab_has(lab, f))
			continue;
		r = add_address(near, near_if, lab_world_router(f), lab_world_prefix(f));
		if (r == 0)
			r = add_address(far, eth0.ifindex, lab_world_address(f), lab_world_prefix(f));
		if (r == 0)
			r = add_default(far, eth0.ifindex, lab_world_router(f));
	}
	return r;
}

static int build_world(const struct lab *lab, struct rtnl *nl, int world_fd, char **ret_error)
{
	_cleanup_(rtnl_closep) struct rtnl *far = NULL;
	uint8_t near_mac[6], far_mac[6];
	uint32_t ifindex;
	int r = lo_up(world_fd);

	if (r == 0)
		r = no_dad(world_fd);
	lab_mac(LAB_MAC_WORLD, 0, near_mac);
	lab_mac(LAB_MAC_WORLD, 1, far_mac);
	if (r == 0)
		r = rtnl_open_in(world_fd, &far);
	if (r == 0)
		r = rtnl_add_veth(nl, &(struct link_spec){ .name = "world", .mac = near_mac, .up = true },
				  &(struct link_spec){ .name = "eth0", .mac = far_mac, .netns_fd = world_fd }, &ifindex);
	if (r < 0)
		return explain(nl, r, "host", "world", ret_error);
	r = address_pair(lab, nl, ifindex, far);
	return explain(*rtnl_error_text(far) ? far : nl, r, "addresses of", "world", ret_error);
}

int fabric_build(const struct lab *lab, int world_fd, char **ret_error)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	int r = rtnl_open(&nl);

	if (r == 0)
		r = rtnl_set_link_up(nl, 1, true);
	if (r == 0)
		r = make_router();
	if (r < 0)
		return explain(nl, r, "namespace", "fabric", ret_error);
	for (unsigned s = 0; r == 0 && s < lab->subnets; s++)
		r = build_bridge(lab, nl, s, ret_error);
	return r < 0 ? r : build_world(lab, nl, world_fd, ret_error);
}

/* The cable: NODE in the fabric, a port of its subnet's bridge; eth0 in the node. */
static int add_cable(const struct lab *lab, const struct lab_node *node, int fabric_fd, int self_fd, char **ret_error)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	uint8_t port_mac[6], mac[6];
	char bridge[IF_NAMESIZE];
	struct link br, old;
	uint32_t ifindex;
	int r = rtnl_open_in(fabric_fd, &nl);

	snprintf(bridge, sizeof(bridge), "br%u", lab_subnet_of(lab, node));
	lab_mac(LAB_MAC_PORT, node->number, port_mac);
	lab_mac(LAB_MAC_NODE, node->number, mac);
	if (r == 0)
		r = rtnl_find_link(nl, bridge, &br);
	/* The cable of an earlier boot may not have gone yet: the kernel takes its time with a dead namespace. */
	if (r == 0 && rtnl_find_link(nl, node->name, &old) == 0)
		r = rtnl_del_link(nl, old.ifindex);
	if (r == 0)
		r = rtnl_add_veth(nl, &(struct link_spec){ .name = node->name, .mac = port_mac, .mtu = lab->mtu, .master = br.ifindex, .up = true },
				  &(struct link_spec){ .name = "eth0", .mac = mac, .mtu = lab->mtu, .netns_fd = self_fd }, &ifindex);
	return explain(nl, r, "cable of", node->name, ret_error);
}

static int address_node(const struct lab *lab, const struct lab_node *node, char **ret_error)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	unsigned subnet = lab_subnet_of(lab, node);
	struct link eth0;
	int r = rtnl_open(&nl);

	if (r == 0)
		r = rtnl_set_link_up(nl, 1, true);
	if (r == 0)
		r = rtnl_find_link(nl, "eth0", &eth0);
	if (r == 0)
		r = rtnl_set_link_up(nl, eth0.ifindex, true);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++) {
		int f = families[i];

		if (!lab_has(lab, f))
			continue;
		r = add_address(nl, eth0.ifindex, lab_node_address(lab, node, f), lab_subnet_prefix(subnet, f));
		if (r == 0)
			r = add_default(nl, eth0.ifindex, lab_router_address(subnet, f));
	}
	return explain(nl, r, "addresses of", node->name, ret_error);
}

int node_plug(const struct lab *lab, const struct lab_node *node, int fabric_fd, char **ret_error)
{
	_cleanup_close_ int self = netns_open_self();
	int r = make_router();

	if (r < 0)
		return explain(NULL, r, "forwarding of", node->name, ret_error);
	r = add_cable(lab, node, fabric_fd, self, ret_error);
	return r < 0 ? r : address_node(lab, node, ret_error);
}
