/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that found no room: who of them gets what there is. */
#pragma once

#include "agent/policy_apply.h"

/**
 * policy_fit_make_way() - for the node's own policies, if they have not found room
 * @all: every other policy has to go, else so many, the largest first, as leave the room that is missing
 *
 * Marks them in p->failed; their endpoints are to be locked down before policy_fit_failed().
 */
void policy_fit_make_way(struct policy_apply *p, const struct policy_maps *m, bool all);
/**
 * policy_fit_failed() - the node's own first, then the smallest
 * @m: the maps that are being applied, or were last
 *
 * First out with all that is not whole, rules and port tables; nobody uses them, as their endpoints are locked down already. p->failed then says who is
 * left.
 */
void policy_fit_failed(struct policy_apply *p, const struct policy_maps *m);
/* Would one of them fit now? What is tried, and did not, is taken out again. */
bool policy_fit_has_room(struct policy_apply *p, const struct policy_maps *m);
/* Port tables that no policy uses but those of @late, by id. To be freed; @ret_n: of tables. */
bool *policy_fit_late_ports(const struct policy_maps *m, const bool *late, size_t n_late, size_t *ret_n);
