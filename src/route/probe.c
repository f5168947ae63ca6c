/* SPDX-License-Identifier: Apache-2.0 */
/* The plain way, for probes alone. Whatever transport carries a peer's packets, the probes of `auto` travel as they would with
 * `direct`: from and to the nodes' addresses in the pod ranges, by the peer's address on the shared network. A rule takes
 * them there by their port; both ends use the same one, so that a reverse path filter finds the same way back. */
#include "route/compile.h"

enum { PROBE_RULE_PRIORITY = 5756 }; /* before the table of peers */

void route_plan_probe(struct compiling *c, struct member *m)
{
	for (int f = 0; f < 2; f++) {
		const struct route_underlay *u;
		const struct addr *via;

		if (!route_is_common(c, m, f))
			continue;
		u = route_on_link(c->config, m->node, f == 0 ? AF_INET : AF_INET6, &via);
		if (!u)
			continue;
		m->peer->probe_addrs[f] = route_node_addr(&m->ranges[f]);
		route_add_route(c, (struct route){.dst = prefix_host(&m->peer->probe_addrs[f]),
						  .via = *via,
						  .oif = u->ifindex,
						  .src = c->plan->node_addrs[f],
						  .table = NET_TABLE_PROBES});
	}
}

void route_plan_probe_rule(struct compiling *c, int f)
{
	route_add_rule(c, (struct rule){.family = f == 0 ? AF_INET : AF_INET6,
					.priority = PROBE_RULE_PRIORITY,
					.from = prefix_host(&c->plan->node_addrs[f]),
					.table = NET_TABLE_PROBES,
					.ip_proto = IPPROTO_UDP,
					.dport = c->config->probe_port});
}
