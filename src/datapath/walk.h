/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the pinned maps as the programs read them, an entry at a time: what `weft why` walks. Nothing here changes anything. */
#pragma once

#include "datapath/service.h"

/* The endpoint that owns the address, as `endpoints` says. Its addrs are as `pod_ifaces` has them: zero where it has none.
 * Return: 0, -ENOENT, -errno. */
int datapath_find_endpoint(struct datapath *dp, const struct addr *a, struct dp_endpoint *ret);
/* How packets for @a travel to another node; the prefix is not told. Return: 0, -ENOENT, -errno. */
int datapath_find_node_route(struct datapath *dp, const struct addr *a, struct dp_node_route *ret);
/* The same, and where only how its packets come is known (DP_NONE). */
int datapath_find_node_owner(struct datapath *dp, const struct addr *a, struct dp_node_route *ret);

struct dp_tuple {
	struct addr src, dst;
	uint16_t sport, dport; /* host order */
	uint8_t proto;
};

struct dp_flow {
	const char *stage; /* "half-open", "replied", "open", "closing", "reset" */
	bool source_began;
	bool goes_on;	/* what the source sends belongs to it: it has not timed out, nor is it a question that was denied, which the source may
			 * meet with one of its own */
	bool from_node; /* begun by this node itself: no policy is asked */
	bool unsure;	/* nobody saw who began it: it is judged as if either had */
	bool via_stack[2]; /* what the source, the destination sends and gets goes through the stack of its node */
	uint32_t owner;	   /* endpoint */
	uint32_t idle_s;
};
/* An entry of `flows` or `flows_new`, stale ones included. Return: 0, -ENOENT, -errno. */
int datapath_find_flow(struct datapath *dp, const struct dp_tuple *t, struct dp_flow *ret);
/* Entries of `flows` on the share of an endpoint, 0: all. Return: 0, -errno. */
int datapath_read_share(struct datapath *dp, uint32_t id, uint64_t *ret);

/* What policy says of the first packet of a flow at one of its ends. */
struct dp_judgement {
	enum { DP_UNJUDGED, DP_ALLOWED, DP_DENIED, DP_LOCKED } verdict; /* UNJUDGED: no pod of this node, or no policy applies to it */
	bool unknown_peer; /* in the cluster's ranges, but no pod that this node knows */
	uint32_t rule;	   /* that decided, 0: none */
	bool would_deny;   /* not denied, but a policy that only observes would deny it, by */
	uint32_t trial_rule;
};
/**
 * datapath_judge() - the probes of bpf/lib/policy.h, in the same order
 * @end: whose policy is asked; of a group (multicast, 255.255.255.255) the node's
 * @peer: the other end, also the same one: a pod that speaks to itself through a Service is asked at both (CNP-12); of a pod that speaks to its own address no
 *	  program is asked
 * @port: of the destination, host order; 0 with ICMP
 *
 * Return: 0, -errno.
 */
int datapath_judge(struct datapath *dp, const struct addr *end, const struct addr *peer, bool egress, uint8_t proto, uint16_t port,
		   struct dp_judgement *ret);

/* Is it left as it is on its way out, by destination or by source? */
bool datapath_is_exempt(struct datapath *dp, const struct addr *a, bool source);
/* As whom packets leave by the interface. Return: 0, -ENOENT when it is no uplink, -errno. */
int datapath_find_nat_uplink(struct datapath *dp, uint32_t ifindex, struct dp_nat_uplink *ret);

/**
 * datapath_find_frontend() - as service_find() in bpf/lib/service.h: the Service's port, else its address, else a node port
 * @ret: .there says whether there is one, .frontend which: with the unspecified address for a node port, with port 0 and flag SERVICE_ADDRESS for an
 *	 address; with scope SERVICE_FORWARDED for another node's. Its backends are the caller's to free()
 *
 * Return: 0, -errno.
 */
int datapath_find_frontend(struct datapath *dp, const struct addr *a, uint16_t port, uint8_t proto, enum service_scope scope,
			   struct dp_service_set *ret);
/* May this client come? */
bool datapath_lets_in(struct datapath *dp, const struct dp_service_set *set, const struct addr *client);
/* The backend with which affinity keeps the client; 0: none. It need not serve any more. */
uint32_t datapath_recall_backend(struct datapath *dp, const struct dp_service_set *set, const struct addr *client);
/* Is it a node's address, where node ports are? */
bool datapath_is_service_node(struct datapath *dp, const struct addr *a);
