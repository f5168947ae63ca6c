/* SPDX-License-Identifier: Apache-2.0 */
/* The health of each part of the agent: fine, or what is wrong and since when. */
#pragma once

#include "base/json.h"

enum part { PART_API, PART_CNI, PART_DATAPATH, PART_ROUTES, PART_IPAM, PART_SERVICES, PART_MESH, PART_POLICY, PARTS };

struct health {
	struct {
		char *error;	  /* NULL: fine */
		uint64_t since_s; /* of this state; seconds since 1970 */
		bool was_well;	  /* since the start: before, waiting is no problem */
		char *last;	  /* the last error, also when it is over */
		uint64_t last_s;
	} parts[PARTS];
};

void health_init(struct health *h, const char *starting); /* all parts wait, for this reason */
void health_done(struct health *h);
/* @error: NULL when all is well; copied. A change is logged. */
void health_set(struct health *h, enum part part, const char *error);
bool health_is_good(const struct health *h);
const char *health_part_name(enum part part);
json_t *health_to_json(const struct health *h);
