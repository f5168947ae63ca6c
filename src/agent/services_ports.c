/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of this node at which Services and pods' host ports are served. No socket holds them, so masquerade has to be told: what a pod sent from such a port
 * to a client would leave as the node's, and from then on the pod would get what that client asks for there. */
#include "agent/services_internal.h"

enum { PORTS = 65536 };

static void count(struct services_view *s, const struct service_view *v, int by)
{
	for (size_t i = 0; v && i < v->n_ports; i++)
		for (size_t k = 0; k < v->ports[i].n_addresses; k++) {
			const struct service_address *at = &v->ports[i].addresses[k];
			uint32_t *n = &s->taken[at->port], before = *n;

			if (at->kind == SERVICE_CLUSTER_IP)
				continue;
			*n += by;
			s->taken_changed |= !before != !*n;
		}
}

void services_take_ports(struct services_view *s, const struct service_view *old, const struct service_view *view)
{
	if (!s->taken)
		s->taken = xnew0_array(uint32_t, PORTS);
	count(s, view, 1);
	count(s, old, -1);
}
