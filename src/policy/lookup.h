/* SPDX-License-Identifier: Apache-2.0 */
/* A verdict from the compiled maps: the same probes in the same order as the datapath makes them. */
#pragma once

#include "net/addr.h"
#include "policy/maps.h"

struct policy_query {
	struct addr src, dst; /* after service translation */
	uint8_t protocol;     /* IPPROTO_ */
	uint16_t port;	      /* destination port; 0 where the protocol has none */
	bool from_own_node;   /* made by the destination's own node (probes of the kubelet): always reaches its pods, and itself */
	bool via_service;     /* a pod that reaches itself through a Service is judged; at its own address it is not */
};

enum policy_why {
	POLICY_BY_RULE,	     /* `rule` says so */
	POLICY_BY_DEFAULT,   /* nothing decides */
	POLICY_BY_SELF,	     /* a pod to its own address */
	POLICY_BY_OWN_NODE,
	POLICY_BY_LOCK,	     /* the endpoint is locked down */
};

struct policy_side {
	bool judged; /* there is an endpoint of ours at this end */
	bool allowed;
	enum policy_why why;
	uint32_t rule;
	uint32_t policy;
	struct policy_class_value peer;
	bool would_deny;      /* allowed, but denied if what only observes were in force */
	uint32_t trial_rule; /* that would; 0: none by name */
};

struct policy_answer {
	bool allowed;
	bool would_deny; /* allowed, but not at each end if what only observes were in force */
	struct policy_side side[POLICY_DIRECTIONS]; /* egress at the source, ingress at the destination */
};

/* Class of an address: exact, else the longest prefix. */
struct policy_class_value policy_lookup_class(const struct policy_maps *m, const struct addr *a);
/* One direction of one endpoint. */
void policy_lookup_side(const struct policy_maps *m, const struct addr *endpoint, const struct addr *peer, enum policy_direction d,
			uint8_t protocol, uint16_t port, struct policy_side *ret);
void policy_lookup(const struct policy_maps *m, const struct policy_query *q, struct policy_answer *ret);
