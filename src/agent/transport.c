/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/transport.h"
#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"

static const struct {
	const char *name; /* as the table of options has it */
	enum route_transport transport;
	bool auto_direct;
} meanings[] = {
    [TRANSPORT_DIRECT] = {"direct", ROUTE_DIRECT},
    [TRANSPORT_VXLAN] = {"vxlan", ROUTE_VXLAN},
    [TRANSPORT_GENEVE] = {"geneve", ROUTE_GENEVE},
    [TRANSPORT_AUTO] = {"auto", ROUTE_VXLAN, true},
    [TRANSPORT_WIREGUARD] = {"wireguard", ROUTE_WIREGUARD},
};

enum route_transport transport_of(const struct options *o)
{
	return meanings[o->transport].transport;
}

const char *transport_name(const struct options *o)
{
	return meanings[o->transport].name;
}

bool transport_has_tunnel(const struct options *o)
{
	return route_transport_is_tunnel(transport_of(o));
}

uint16_t transport_port(const struct options *o)
{
	return !transport_has_tunnel(o) ? 0 : transport_of(o) == ROUTE_GENEVE ? o->geneve_port : o->vxlan_port;
}

void transport_fill(const struct agent *a, struct route_config *ret)
{
	ret->transport = transport_of(&a->opt);
	ret->auto_direct = meanings[a->opt.transport].auto_direct;
	ret->probe_port = a->opt.probe_port;
	if (a->prober)
		ret->proven = prober_proven(a->prober, &ret->n_proven);
}

static void on_changed(void *ctx)
{
	agent_mark_dirty(ctx, 0);
}

int transport_probe(struct agent *a)
{
	_cleanup_free_ struct prober_peer *peers = xnew0_array(struct prober_peer, a->plan.n_peers + 1);
	const struct model_node *own = model_find_node(a->model, a->opt.node_name);
	struct prober_config c = {.uid = own ? own->uid : "", .port = a->opt.probe_port, .peers = peers};
	int r = 0;

	if (!meanings[a->opt.transport].auto_direct)
		return 0;
	if (!a->prober) {
		free(a->prober_file);
		a->prober_file = xasprintf("%s/state/direct.json", a->opt.run_dir);
		r = prober_new(a->event, a->prober_file, on_changed, a, &a->prober);
		if (r == 0)
			agent_mark_dirty(a, 0); /* what the former agent knew */
	}
	if (r < 0)
		return r;
	memcpy(c.addrs, a->plan.node_addrs, sizeof(c.addrs));
	for (size_t i = 0; i < a->plan.n_peers; i++) {
		const struct route_peer *p = &a->plan.peers[i];
		const struct model_node *node = model_find_node(a->model, p->name);

		if (!p->probe || !node)
			continue;
		peers[c.n_peers] = (struct prober_peer){.name = p->name, .uid = node->uid};
		memcpy(peers[c.n_peers++].addrs, p->probe_addrs, sizeof(p->probe_addrs));
	}
	return prober_set(a->prober, &c);
}

char *transport_reason(const struct agent *a, const struct route_peer *peer)
{
	const struct proof *proof;
	uint64_t now = 0;

	if (!meanings[a->opt.transport].auto_direct || peer->state != ROUTE_PEER_OK)
		return NULL;
	if (!peer->probe)
		return xstrdup("it shares no network with this node");
	proof = a->prober ? prober_find(a->prober, peer->name) : NULL;
	if (!proof || !proof->since_us)
		return xstrdup("not probed yet");
	sd_event_now(a->event, CLOCK_MONOTONIC, &now);
	return xasprintf("plain packets %s for %llu s; probes: %llu answered, %llu not%s",
			 proof->proven ? "pass" : "do not pass", (unsigned long long)(now - proof->since_us) / 1000000,
			 (unsigned long long)proof->answered, (unsigned long long)proof->missed,
			 proof->proven && proof->bad ? ", the last one neither" : "");
}
