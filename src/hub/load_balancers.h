/* SPDX-License-Identifier: Apache-2.0 */
/* The load balancer controller: gives Services of type LoadBalancer their addresses (lb_plan.h). */
#pragma once

#include "hub/hub.h"

struct load_balancers;

/**
 * load_balancers_new() - compare once, then whenever something changes that has a say
 *
 * With an event loop (@hub->event) the work is done from there, once for all changes of a turn; without one the caller calls
 * load_balancers_run().
 */
int load_balancers_new(struct hub *hub, struct load_balancers **ret);
struct load_balancers *load_balancers_free(struct load_balancers *l);
DEFINE_CLEANUP(struct load_balancers *, load_balancers_free)

/* Return: how many objects were written; 0 when nothing has changed since. */
size_t load_balancers_run(struct load_balancers *l);
