/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: what the kernel's network tables hold, read and changed. Synchronous; each call is one round trip (tens of
 * microseconds), a batch is one round trip for many changes. A struct rtnl belongs to the namespace it was opened in,
 * wherever the thread goes later.
 *
 * Changes are idempotent where that has a meaning: replace_x() makes it so, del_x() of what is not there is a success.
 * Every call returns 0 or -errno; the kernel's own words for the last failure are in rtnl_error_text(). */
#pragma once

#include "net/netobj.h"

struct rtnl;

/* In the thread's namespace, or in the one that @netns_fd names (the thread is back in its own on return). */
int rtnl_open(struct rtnl **ret);
int rtnl_open_in(int netns_fd, struct rtnl **ret);
struct rtnl *rtnl_close(struct rtnl *nl); /* copes with NULL; returns NULL */
DEFINE_CLEANUP(struct rtnl *, rtnl_close)

/* Why the last call on @nl failed: "link add weft0: Device or resource busy (…kernel's text…)"; "" when it did not. */
const char *rtnl_error_text(const struct rtnl *nl);

/**
 * rtnl_batch() - from here on changes are queued (they return 0) until rtnl_commit()
 * rtnl_commit() - send them in order, each judged on its own: a failed one does not stop the later ones
 * @fn: may be NULL; called for each failed change with its number in the batch (from 0), -errno and text
 *
 * Reading calls must not be made in between. Functions that return something (ret_ifindex) take NULL in a batch.
 * Return of rtnl_commit(): 0 or the first error, whose text is kept.
 */
typedef void rtnl_failed_fn(size_t number, int error, const char *text, void *ctx);
void rtnl_batch(struct rtnl *nl);
int rtnl_commit(struct rtnl *nl, rtnl_failed_fn *fn, void *ctx);
/* How many of the last batch the kernel took, and what the first of those was about: "route 10.0.0.0/24 table 254 dev 3"; "" without any. */
size_t rtnl_batch_made(const struct rtnl *nl);
const char *rtnl_batch_first(const struct rtnl *nl);

/* What a link is born with. Set the MAC always: udev renames and re-addresses links that got a random one. */
struct link_spec {
	const char *name;
	const uint8_t *mac; /* six bytes, or NULL */
	uint32_t mtu;	    /* 0: the kernel's default */
	uint32_t master;    /* 0: none */
	uint32_t group;
	bool up;
	int netns_fd; /* where it is created; 0 or less: the socket's namespace */
};

/* A peer in another namespace cannot be made up from here (-EINVAL with @peer->up): do it there. */
/* Return of the add calls: 0, -EEXIST when the name is taken, -EINVAL for a bad name, -errno. */
int rtnl_add_veth(struct rtnl *nl, const struct link_spec *here, const struct link_spec *peer, uint32_t *ret_ifindex);
int rtnl_add_bridge(struct rtnl *nl, const struct link_spec *spec, uint32_t *ret_ifindex);
/* External (metadata) mode, no learning, UDP checksum 0 sent and accepted over IPv6. -EEXIST also for a second external
 * device on the port; -EADDRINUSE when it is brought up beside a foreign user of the port. */
int rtnl_add_vxlan(struct rtnl *nl, const struct link_spec *spec, uint16_t port, uint32_t *ret_ifindex);

/* A link that needs no more than its kind: "wireguard". -EOPNOTSUPP when the kernel has none of it. */
int rtnl_add_kind(struct rtnl *nl, const struct link_spec *spec, const char *kind, uint32_t *ret_ifindex);

/* Return: 0, -ENODEV. */
int rtnl_find_link(struct rtnl *nl, const char *name, struct link *ret);
int rtnl_get_link(struct rtnl *nl, uint32_t ifindex, struct link *ret);
/* All links; the array is the caller's to free(). */
int rtnl_list_links(struct rtnl *nl, struct link **ret, size_t *ret_n);

int rtnl_set_link_up(struct rtnl *nl, uint32_t ifindex, bool up);
int rtnl_set_link_flags(struct rtnl *nl, uint32_t ifindex, uint32_t flags, uint32_t mask); /* for example IFF_NOARP */
int rtnl_set_link_mtu(struct rtnl *nl, uint32_t ifindex, uint32_t mtu);
int rtnl_set_link_mac(struct rtnl *nl, uint32_t ifindex, const uint8_t mac[6]);
int rtnl_set_link_master(struct rtnl *nl, uint32_t ifindex, uint32_t master);  /* 0: none */
int rtnl_set_link_alias(struct rtnl *nl, uint32_t ifindex, const char *alias); /* at most 255 bytes */
int rtnl_set_link_name(struct rtnl *nl, uint32_t ifindex, const char *name);
int rtnl_set_link_group(struct rtnl *nl, uint32_t ifindex, uint32_t group);
/* No IPv6 link-local address of its own making (IN6_ADDR_GEN_MODE_NONE), when @on is false. */
int rtnl_set_link_addrgen(struct rtnl *nl, uint32_t ifindex, bool on);
/* To another namespace; @name renames it on the way, NULL keeps it. */
int rtnl_move_link(struct rtnl *nl, uint32_t ifindex, int netns_fd, const char *name);
int rtnl_del_link(struct rtnl *nl, uint32_t ifindex);
/* Many at once: one RTNL round and one wait for readers (a veth deleted alone costs some 20 ms of them). They are
 * gathered in the group @group first, which must be used for this alone. */
int rtnl_del_links(struct rtnl *nl, const uint32_t *ifindexes, size_t n, uint32_t group);

int rtnl_replace_addr(struct rtnl *nl, const struct link_addr *a); /* IFA_F_NODAD in flags: usable at once */
int rtnl_del_addr(struct rtnl *nl, const struct link_addr *a);
/* @ifindex 0: of all links. @family AF_UNSPEC: both. */
int rtnl_list_addrs(struct rtnl *nl, int family, uint32_t ifindex, struct link_addr **ret, size_t *ret_n);

/* Return of add: -EEXIST when the slot (table, prefix, metric) is taken. replace puts it there whatever is there now.
 */
int rtnl_add_route(struct rtnl *nl, const struct route *r);
int rtnl_replace_route(struct rtnl *nl, const struct route *r);
int rtnl_del_route(struct rtnl *nl,
		   const struct route *r); /* by table, prefix, metric, proto; and type, oif, via where said */
/* A packet whose way is asked for. */
struct rtnl_way {
	struct addr src, dst;
	uint32_t iif;	   /* it came in by; 0: this node's own */
	uint16_t udp_port; /* it is for; 0: of no protocol in particular */
	bool entry;	   /* answer with the routing table's entry, all its next hops included; else with what holds for this packet */
};
/* Where the kernel would send it: the route that it would take, type RTN_LOCAL when it is for this node. Return: 0, -EHOSTUNREACH,
 * -ENETUNREACH, -EACCES, … as the route says, -errno. */
int rtnl_find_way(struct rtnl *nl, const struct rtnl_way *packet, struct route *ret);
/* @proto 0, @table 0: all. Cloned and cached routes are left out. */
int rtnl_list_routes(struct rtnl *nl, int family, uint32_t table, uint8_t proto, struct route **ret, size_t *ret_n);
/* The links that default routes lead to, of both families, of the main table and of each that a rule of somebody else's names (policy routing), all
 * next hops of each (up to 32 links); a link may be there more than once. Not of routes of ours. The array is the caller's to free(). O(routes of those tables). */
int rtnl_list_default_links(struct rtnl *nl, uint32_t **ret, size_t *ret_n);

int rtnl_add_rule(struct rtnl *nl, const struct rule *r); /* an equal one that exists is a success */
int rtnl_del_rule(struct rtnl *nl, const struct rule *r);
int rtnl_list_rules(struct rtnl *nl, int family, uint8_t proto, struct rule **ret, size_t *ret_n);

int rtnl_replace_neigh(struct rtnl *nl, const struct neigh *n);
int rtnl_del_neigh(struct rtnl *nl, const struct neigh *n);
int rtnl_list_neighs(struct rtnl *nl, int family, uint32_t ifindex, uint8_t proto, struct neigh **ret, size_t *ret_n);

/**
 * rtnl_apply_routes() - make the set of routes of protocol NET_PROTO_WEFT exactly this one, in all tables, both
 * families
 * @pod_links: routes whose oif is in this sorted array are left alone (they belong to endpoints); may be NULL
 *
 * Lists, diffs, and sends the difference as one batch: new and changed ones first, then what is to go. Foreign routes
 * (other protocols) are never touched. Two wanted routes in one slot are -ENOTUNIQ,
 * which no refusal of the kernel is.
 * rtnl_apply_rules(), rtnl_apply_neighs() - the same for rules and neighbours of that protocol
 * rtnl_put_neighs() - likewise, but none goes: what routes still lead to stays until they have changed
 *
 * Return: 0 or the first error (it goes on after errors); @ret_changed counts what was changed, also after an error; may be NULL.
 */
int rtnl_apply_routes(struct rtnl *nl, const struct route *want, size_t n, const uint32_t *pod_links, size_t n_links,
		      size_t *ret_changed);
int rtnl_apply_rules(struct rtnl *nl, const struct rule *want, size_t n, size_t *ret_changed);
int rtnl_put_neighs(struct rtnl *nl, const struct neigh *want, size_t n, const uint32_t *pod_links, size_t n_links,
		    size_t *ret_changed);
int rtnl_apply_neighs(struct rtnl *nl, const struct neigh *want, size_t n, const uint32_t *pod_links, size_t n_links,
		      size_t *ret_changed);
