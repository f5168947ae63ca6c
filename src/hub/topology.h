/* SPDX-License-Identifier: Apache-2.0 */
/* Topology mode Auto (KEP-2433): which zone each endpoint of a Service is hinted for, so that each zone has a share of them as large as its
 * share of the cluster's CPUs. Pure. */
#pragma once

#include "base/json.h"

struct topology_zone {
	char *name;
	uint64_t cpu_m; /* allocatable, in thousandths */
};

/* Why there are no hints. */
enum topology_why {
	TOPOLOGY_OK,
	TOPOLOGY_NODES,	    /* a node has no zone, or does not say what CPUs it has */
	TOPOLOGY_ONE_ZONE,  /* fewer than two zones have ready nodes */
	TOPOLOGY_FEW,	    /* fewer endpoints than zones */
	TOPOLOGY_OVERLOAD,  /* however they are shared out, one would get a fifth more than its share */
	TOPOLOGY_NO_ZONE,   /* an endpoint's node has no zone */
};
const char *topology_why_text(enum topology_why why);

/* What the nodes are, as far as hints depend on it. */
struct topology {
	struct topology_zone *zones; /* by name */
	size_t n;
	uint64_t cpu_m; /* of all */
	enum topology_why why;
};

/* Whether hints depend on what differs between two states of a node; NULL: there is none. */
bool topology_node_differs(const json_t *node, const json_t *other);
/* Nodes of the control plane and those that are not ready are left out (as upstream). */
void topology_read(const json_t *const *nodes, size_t n, struct topology *ret);
bool topology_eq(const struct topology *a, const struct topology *b);
void topology_done(struct topology *t);

/* A ready endpoint. Texts are borrowed. */
struct topology_endpoint {
	const char *zone; /* its node's, "" when it has none */
	const char *was;  /* the zone that it is hinted for so far, or NULL */
	const char *hint; /* result */
};

/**
 * topology_allocate() - a zone for each endpoint
 *
 * Each zone gets at least its share of the endpoints divided by 1.2, rounded up. As long as the hints that there are fulfil this they stay;
 * but an endpoint that is hinted for another zone goes home when its own has too few and the other too many. O(endpoints × zones).
 *
 * Return: TOPOLOGY_OK, all hints are set; or why there are none.
 */
enum topology_why topology_allocate(const struct topology *t, struct topology_endpoint *e, size_t n);
