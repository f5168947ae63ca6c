/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's interface in the kernel: the veth pair, what is configured inside the pod, and the host side's routes. */
#pragma once

#include "ipam/journal.h"
#include "net/rtnl.h"

/* The group that doomed links are gathered in, and for nothing else: "WEFT" in ASCII. */
enum { POD_LINK_DOOMED_GROUP = 0x57454654 };

extern const char POD_LINK_PREFIX[]; /* of the host side's name */

/* What the node gives to all its pods. */
struct pod_link_env {
	struct addr node_addrs[IPAM_FAMILIES]; /* sources of the host's routes to pods; zero: none */
	uint32_t route_mtu;		       /* of the pod's default routes; 0: the device's */
};

/* Name, MACs: derived from the key, so they are the same whenever they are derived. */
void pod_link_names(struct endpoint_record *r);

/**
 * pod_link_create() - the pair, both ends down; the pod's end is born in its namespace
 * @r: names, MACs, MTU; @r->ifindex is filled in
 *
 * Return: 0, -EEXIST when the pod has such an interface, -errno. @ret_error says which step, owned by the caller.
 */
int pod_link_create(struct rtnl *nl, int netns_fd, struct endpoint_record *r, char **ret_error);
/* Host side: sysctls, up, routes, neighbours. Idempotent. */
int pod_link_up_host(struct rtnl *nl, const struct endpoint_record *r, const struct pod_link_env *env,
		     char **ret_error);
/* Has somebody set the host side down, put it under another interface, or given it another name, MAC, MTU or alias? */
bool pod_link_needs_mending(const struct endpoint_record *r, const struct link *l);
/* Gives it its name back. Where another interface has that by now nothing is tried. What is up is up after it, but may have been down in between, without its
 * routes. Return: 0, -EEXIST: another one has the name, -errno. */
int pod_link_rename_back(struct rtnl *nl, const struct endpoint_record *r, const struct link *l);
/* Puts all that but the name right, and the sysctls, as far as the kernel lets; routes and neighbours are not looked at. @ret_what: what is right now and was wrong, or NULL,
 * also after an error. Return: 0, the first -errno. */
int pod_link_mend_host(struct rtnl *nl, const struct endpoint_record *r, const struct link *l, const char **ret_what);
/* Inside the pod: addresses, routes, neighbours, up. From here on the pod can send. */
int pod_link_up_pod(int netns_fd, const struct endpoint_record *r, const struct pod_link_env *env, char **ret_error);
/* The pair goes by the pod's end, where nobody knows where the host's is. Return: 0, -EEXIST when the pod's interface is not the one that was made, -ENODEV,
 * -errno. */
int pod_link_remove_inside(int netns_fd, struct endpoint_record *r);
/* Takes the host's routes and neighbours away; the link stays. Missing ones are a success. */
int pod_link_withdraw(struct rtnl *nl, const struct endpoint_record *r);

/* Is everything there as it was made? Return: 0, -ESTALE with the reason in @ret_error, -errno. */
int pod_link_check(struct rtnl *nl, int netns_fd, const struct endpoint_record *r, char **ret_error);

/* Routes and neighbours of an endpoint as the host should hold them. Each takes an array of two; returns how many. */
size_t pod_link_routes(const struct endpoint_record *r, const struct pod_link_env *env,
		       struct route ret[IPAM_FAMILIES]);
size_t pod_link_neighs(const struct endpoint_record *r, struct neigh ret[IPAM_FAMILIES]);

/* Is a link of the host one of ours for a pod? Its key is in the alias. */
bool pod_link_is_ours(const struct link *l);
/* The key from the alias, both owned by the caller. Return: 0, -ENOENT when the alias holds none. */
int pod_link_key(const struct link *l, char **ret_container, char **ret_ifname);
