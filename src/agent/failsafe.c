/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/failsafe.h"
#include "agent/lists.h"
#include "base/str.h"

#include <netinet/in.h>

void failsafe_add_port(uint16_t ports[static FAILSAFE_API_MAX], unsigned *n, uint16_t port)
{
	for (unsigned i = 0; i < *n; i++)
		if (ports[i] == port)
			return;
	if (port && *n < FAILSAFE_API_MAX)
		ports[(*n)++] = port;
}

/* Runs of ports are one range each: failsafe lists are short. */
static void add_ports(struct rule_spec *r, const bool ports[static PORTS])
{
	for (unsigned lo = 1; lo < PORTS; lo++) {
		unsigned hi = lo;

		if (!ports[lo])
			continue;
		while (hi + 1 < PORTS && ports[hi + 1])
			hi++;
		rule_add_port(r, IPPROTO_TCP, lo, hi, NULL);
		rule_add_port(r, IPPROTO_UDP, lo, hi, NULL);
		lo = hi;
	}
}

static void add_rule(struct policy_spec *s, enum policy_direction d, const struct options *o, const char *list, const uint16_t *api, unsigned n_api)
{
	const uint64_t own[] = { o->vxlan_port, o->geneve_port, o->mesh_port, o->probe_port };
	_cleanup_free_ bool *ports = xnew0_array(bool, PORTS);
	struct rule_spec *r = policy_spec_add_rule(s, d, 0);

	(void)list_ports(list, ports); /* checked when it was read */
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		ports[own[i]] = true;
	for (unsigned i = 0; i < n_api; i++)
		ports[api[i]] = true;
	r->name = xstrdup("failsafe");
	r->verdict = POLICY_ALLOW;
	r->any_peer = true;
	add_ports(r, ports);
}

/* Nobody else speaks as them: from_net drops it, and so does the stack (IPv4 only: IPv6 has no broadcast). */
static void add_own(struct policy_spec *s, const struct route_underlay *links, size_t n)
{
	struct rule_spec *r = policy_spec_add_rule(s, POLICY_INGRESS, 1);

	r->name = xstrdup("failsafe");
	r->verdict = POLICY_ALLOW;
	r->any_port = true;
	for (size_t i = 0; i < n; i++)
		if (addr_is_v4(&links[i].addr))
			rule_add_peer(r, PEER_BLOCK)->cidr = prefix_host(&links[i].addr);
}

struct policy_spec *failsafe_spec(const struct options *o, const struct failsafe_api *api, const struct route_underlay *links, size_t n_links)
{
	struct policy_spec *s = xnew0(struct policy_spec);

	s->kind = KIND_CLUSTER;
	s->tier = TIER_ADMIN;
	s->priority = PRIORITY_FAILSAFE;
	s->namespace_ = xstrdup("");
	s->name = xstrdup(FAILSAFE_NAME);
	s->of_nodes = true;
	s->subject = (struct peer_spec){ .type = PEER_PODS, .namespaces = selector_new_any(), .selector = selector_new_any() };
	add_rule(s, POLICY_INGRESS, o, o->policy_failsafe_ports, api->in, api->n_in);
	add_own(s, links, n_links);
	add_rule(s, POLICY_EGRESS, o, o->policy_failsafe_egress_ports, api->out, api->n_out);
	return s;
}
