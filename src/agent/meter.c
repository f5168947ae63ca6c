/* SPDX-License-Identifier: Apache-2.0 */
/* Whom the meter measures: every peer that is reached, by its address in the pod range, in each family that both have. */
#include "agent/agent.h"
#include "base/log.h"

void agent_start_meter(struct agent *a)
{
	int r = a->opt.measure_seconds ? meter_new(a->event, a->opt.measure_seconds * 1000, &a->meter) : 0;

	if (r < 0) /* a node that is not measured still has a network */
		log_error("cannot measure the way to other nodes", L_ERRNO(r));
}

void agent_apply_meter(struct agent *a)
{
	_cleanup_free_ struct meter_peer *list = NULL;
	size_t n = 0, cap = 0;

	if (!a->meter)
		return;
	for (size_t i = 0; a->planned && i < a->plan.n_peers; i++) {
		const struct route_peer *p = &a->plan.peers[i];
		const struct model_node *node = p->state == ROUTE_PEER_OK ? model_find_node(a->model, p->name) : NULL;

		for (unsigned k = 0; node && k < node->n_cidrs; k++) {
			const struct addr *own = &a->state.node_addrs[!addr_is_v4(&node->cidrs[k].addr)];

			if (addr_is_zero(own))
				continue;
			GROW(list, n, cap);
			list[n++] = (struct meter_peer){ .name = p->name, .addr = route_node_addr(&node->cidrs[k]), .own = *own };
		}
	}
	meter_set_peers(a->meter, list, n);
}
