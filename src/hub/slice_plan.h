/* SPDX-License-Identifier: Apache-2.0 */
/* Which slices of a service have to be written so that together they hold its endpoints. Pure. */
#pragma once

#include "base/json.h"
#include "hub/topology.h"

enum { SLICE_ENDPOINTS = 100 };

struct slice_input {
	const json_t *svc;
	const json_t *const *pods;   /* those that the service selects, in a stable order */
	const json_t *const *nodes;  /* of each pod, NULL where there is none */
	size_t n_pods;
	const json_t *const *slices; /* what the controller has written for a service of this name */
	size_t n_slices;
	const struct topology *topology; /* the nodes' */
};

/* What became of topology mode Auto in one family. */
struct slice_topology {
	bool asked;
	enum topology_why why;
};
enum { SLICE_IPV4, SLICE_IPV6, SLICE_FAMILIES };

struct slice_plan {
	json_t *create; /* array of objects without a name: metadata.generateName */
	json_t *update; /* array of whole objects, as they should be */
	json_t *remove; /* array of names */
	struct slice_topology topology[SLICE_FAMILIES];
};

/**
 * slice_plan_make() - compare what is with what should be
 *
 * Afterwards at most SLICE_ENDPOINTS in a slice, each endpoint in exactly one, one port mapping and one family a slice, at
 * least one (perhaps empty) slice for each of the service's families. Slices that need no change are not in the plan; an endpoint
 * stays in the slice where it is. O(pods + endpoints in slices).
 */
void slice_plan_make(const struct slice_input *in, struct slice_plan *ret);
void slice_plan_done(struct slice_plan *p);
