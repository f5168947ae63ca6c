/* SPDX-License-Identifier: Apache-2.0 */
/* The node itself: what its kernel has (facts), what is set up once (forwarding, tunnel device, node addresses), and
 * the little that must be known at a restart before the API answers (state). */
#pragma once

#include "agent/options.h"
#include "agent/trouble.h"
#include "agent/uplinks.h"
#include "base/buf.h"
#include "base/json.h"
#include "model/model.h"
#include "net/rtnl.h"
#include "route/plan.h"

extern const char NODE_VXLAN_NAME[];

struct node_facts {
	struct route_underlay *underlays; /* of uplinks, in order of preference */
	size_t n_underlays;
	size_t n_between; /* so many are of links by which nodes reach each other; the others are of those towards the world alone */
	struct addr *own; /* every address of every interface that others might reach, in no order; not those of kube-ipvs0, which are Services' */
	size_t n_own;
	uint32_t uplinks[UPLINKS_MAX];
	char uplink_names[UPLINKS_MAX][IF_NAMESIZE];
	size_t n_uplinks;
	char *uplinks_problem; /* what of them is not served, or NULL */
};
void node_facts_done(struct node_facts *f);

/**
 * node_read_facts() - uplinks and their addresses
 * @node: this node's object, or NULL while it is not known; its InternalIPs say which links lead to other nodes
 *
 * Which they are: uplinks_choose(). Return: 0, -errno, -ENODEV with @ret_error when there is no uplink.
 */
int node_read_facts(struct rtnl *nl, const struct options *o, const struct model_node *node, struct node_facts *ret,
		    char **ret_error);

struct node_wants {
	bool ipv4, ipv6; /* of the pods */
	bool either_way; /* peers may use the uplink or the tunnel, whatever our route says: a strict filter becomes a loose one there */
	const char *tunnel; /* the device between nodes, or NULL */
};

/* Forwarding on, reverse path filter off for pods, router advertisements still accepted where they were, IPv6 on by the tunnel device and lo
 * (the node's address is there). Idempotent; each is tried. @t: those that cannot be set, forwarding for itself.
 * @ret_changed: what had to be written, last, or NULL; the caller's to free(). */
void node_set_sysctls(const struct node_facts *f, const struct node_wants *want, struct trouble *t, char **ret_changed);

/* The device of the tunnel transport: made, mended, up. @mtu: of the underlay; new: not that of the last call. @ret_mended: what was wrong with it, or NULL. Return: 0, -EADDRINUSE with the owner's name in @ret_error,
 * -errno. */
int node_ensure_vxlan(struct rtnl *nl, const struct options *o, const uint8_t mac[6], uint32_t mtu, bool mtu_is_new,
		      uint32_t *ret_ifindex, const char **ret_mended, char **ret_error);
/* Away with it, when it is ours. */
int node_remove_vxlan(struct rtnl *nl);

struct node_state {
	struct prefix ranges[2];
	struct addr node_addrs[2];
	struct addr underlay[2];
	uint32_t device_mtu, route_mtu;
	uint32_t tunnel_ifindex;
};
bool node_state_eq(const struct node_state *a, const struct node_state *b);
/* Return: 0, -ENOENT, -EBADMSG. */
int node_state_load(const char *path, struct node_state *ret);
int node_state_save(const char *path, const struct node_state *s);

/* Is portmap called behind weft-cni? */
bool node_portmap_is_wanted(const struct options *o);
/* Writes 10-weft.conflist when its content differs; nothing when the option is empty. Return: 1 it was written, 0, -errno. */
int node_write_conflist(const struct options *o);
int node_remove_conflist(const struct options *o);
/* Copies weft-cni from beside this program into cni.binDir; nothing when the option is empty. */
int node_install_plugin(const struct options *o);
