/* SPDX-License-Identifier: Apache-2.0 */
/* What others claim: neighbours on the underlay, devices and processes of the node, and pods in tunnels of their own. */
#include "hostile.h"
#include "net/rtnl.h"

enum { OTHER = 1 }; /* an interface that is no pod's and none of ours */

static void somebody_elses_packet(void)
{
	udp(A4, B4);
	DROPPED("to_pod", if_a, DROP_NOT_FOR_POD);
	udp(A6, B6);
	DROPPED("to_pod", if_a, DROP_NOT_FOR_POD);
}

/* An interface of somebody else's in the node's namespace, at which no program of ours is, or a socket of the node, claims a pod of this node. */
static void others_claim_a_pod(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const struct {
			const char *program, *src, *dst;
			uint32_t ifindex, own;
		} ways[] = {
			{ "to_pod", v6 ? B6 : B4, v6 ? A6 : A4, if_a, if_b },
			{ "to_net", v6 ? A6 : A4, v6 ? DIRECT6 : DIRECT4, if_uplink, if_a },
			{ "to_tunnel", v6 ? A6 : A4, v6 ? TUNNEL6 : TUNNEL4, if_tunnel, if_a },
		};

		for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
			const uint32_t others[] = { OTHER, HARNESS_BY_NODE };

			udp(ways[i].src, ways[i].dst);
			for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
				harness_came_by = others[k];
				DROPPED(ways[i].program, ways[i].ifindex, DROP_NET_SOURCE);
			}
			harness_came_by = ways[i].own;
			CHECK_INT(run(ways[i].program, &f, ways[i].ifindex).verdict, TC_ACT_OK);
			udp(v6 ? WORLD6 : WORLD4, ways[i].dst); /* as themselves they may */
			for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
				harness_came_by = others[k];
				CHECK_INT(run(ways[i].program, &f, ways[i].ifindex).verdict, TC_ACT_OK);
			}
		}
	}
	harness_came_by = 0;
}

/* A socket of this node claims another node's pod: to one of ours, or out of the uplink. What is forwarded may. */
static void the_node_claims_a_pod_elsewhere(void)
{
	static const char *const elsewhere[] = { DIRECT4, DIRECT6, TUNNEL4, TUNNEL6 };

	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		bool v6 = strchr(elsewhere[i], ':');

		for (int out = 0; out < 2; out++) {
			udp(elsewhere[i], out ? v6 ? WORLD6 : WORLD4 : v6 ? A6 : A4);
			harness_came_by = HARNESS_BY_NODE;
			DROPPED(out ? "to_net" : "to_pod", out ? if_uplink : if_a, DROP_NET_SOURCE);
			harness_came_by = out ? OTHER : if_uplink;
			CHECK_INT(run(out ? "to_net" : "to_pod", &f, out ? if_uplink : if_a).verdict, TC_ACT_OK);
		}
	}
	harness_came_by = 0;
}

/* By a device that is not Weft's, another overlay's perhaps, comes whatever somebody has packed into its packets. */
static void others_claim_a_pod_elsewhere(void)
{
	const struct {
		const char *program;
		uint32_t ifindex;
		bool out;
	} ways[] = { { "to_pod", if_a }, { "to_net", if_uplink, true }, { "to_tunnel", if_tunnel, true } };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(ways); i++) {
		const char *program = ways[i / 2].program;
		bool v6 = i % 2, out = ways[i / 2].out;
		const char *dst = out ? v6 ? WORLD6 : WORLD4 : v6 ? A6 : A4;
		uint32_t at = ways[i / 2].ifindex;

		harness_came_by = OTHER + 1000;
		udp(v6 ? TUNNEL6 : TUNNEL4, dst);
		DROPPED(program, at, DROP_STRAY_SOURCE);
		udp(v6 ? DIRECT6 : DIRECT4, dst);
		DROPPED(program, at, DROP_STRAY_SOURCE);
		udp(v6 ? "fe80::1" : "169.254.1.1", dst); /* the pods' gateway */
		DROPPED(program, at, DROP_NET_SOURCE);
		harness_came_by = if_b; /* a pod's, that from_pod has looked at: in an answer of DSR it speaks as another node */
		udp(v6 ? DIRECT6 : DIRECT4, dst);
		CHECK_INT(run(program, &f, at).verdict, TC_ACT_OK);
		harness_came_by = OTHER + 1000;
		udp(v6 ? WORLD6 : WORLD4, dst); /* a container's */
		CHECK_INT(run(program, &f, at).verdict, TC_ACT_OK);
		udp(v6 ? "fd30::1" : "192.0.2.1", dst); /* the same, masqueraded */
		CHECK_INT(run(program, &f, at).verdict, TC_ACT_OK);
		udp(v6 ? DIRECT6 : DIRECT4, dst);
		harness_judge(if_tunnel, 0); /* an uplink that can carry no program, in a network with that node */
		harness_came_by = if_uplink;
		CHECK_INT(run(program, &f, at).verdict, TC_ACT_OK);
		harness_judge(0, 0); /* an earlier agent's state */
		harness_came_by = OTHER + 1000;
		CHECK_INT(run(program, &f, at).verdict, TC_ACT_OK);
		harness_judge(if_uplink, if_tunnel);
	}
	harness_came_by = 0;
	flows_clear();
}

static void outside_claims_inside(void)
{
	static const char *const sources[] = { A4, NODE4, "192.0.2.1", A6, NODE6, "fd30::1", "10.9.1.99", "fd09:0:0:1::99", /* of its range, nobody's */
					       "169.254.1.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "ff02::1", "fe80::1" };

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		udp(sources[i], strchr(sources[i], ':') ? B6 : B4);
		DROPPED("from_net", if_uplink, DROP_NET_SOURCE);
	}
	udp("10.9.1.99", TUNNEL4); /* nor does the node speak for it to others */
	DROPPED("from_net", if_uplink, DROP_NET_SOURCE);
	udp("fd09:0:0:1::99", TUNNEL6);
	DROPPED("from_net", if_uplink, DROP_NET_SOURCE);
}

/* Neither pods nor anybody outside reach what listens on the node's loopback, nor come from there. */
static void loopback_stays_at_home(void)
{
	static const char *const homes[] = { "127.0.0.1", "127.9.9.9", "127.255.255.255", "::1" }, *const others[] = { "126.255.255.255", "128.0.0.0", "::2", "::127.0.0.1" };

	for (size_t i = 0; i < ARRAY_SIZE(homes); i++) {
		bool v6 = strchr(homes[i], ':');

		udp(v6 ? A6 : A4, homes[i]);
		DROPPED("from_pod", if_a, DROP_LOOPBACK);
		udp(v6 ? DIRECT6 : DIRECT4, homes[i]);
		DROPPED("from_net", if_uplink, DROP_LOOPBACK);
		udp(homes[i], v6 ? "fd30::1" : "192.0.2.1");
		DROPPED("from_net", if_uplink, DROP_LOOPBACK);
		udp(v6 ? A6 : A4, others[i]);
		CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	}
	flows_clear();
}

/* Node 3 is behind the tunnel; node 2 sends directly, and nobody knows the world. */
static void outside_claims_a_tunnelled_pod(void)
{
	udp("10.9.3.3", B4);
	DROPPED("from_net", if_uplink, DROP_PLAIN_SOURCE);
	udp("fd09:0:0:3::3", B6);
	DROPPED("from_net", if_uplink, DROP_PLAIN_SOURCE);
	udp("10.9.3.3", "192.0.2.1"); /* this node's own services are meant as well */
	DROPPED("from_net", if_uplink, DROP_PLAIN_SOURCE);
}

/* Node 2 shares the network of one uplink with this node, and of no other one. */
static void outside_claims_a_pod_by_another_uplink(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		udp(v6 ? DIRECT6 : DIRECT4, v6 ? B6 : B4);
		DROPPED("from_net", if_a, DROP_PLAIN_SOURCE);
		CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
		udp(v6 ? DIRECT6 : DIRECT4, v6 ? "fd30::1" : "192.0.2.1");
		DROPPED("from_net", if_a, DROP_PLAIN_SOURCE);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
	flows_clear();
}

static struct dp_node_route own_address(const char *addr, enum dp_transport transport)
{
	struct addr a = addr_of(addr);
	struct dp_node_route r = { .prefix = prefix_host(&a), .transport = transport, .node = true, .ifindex = transport == DP_TUNNEL ? if_tunnel : if_uplink, .mtu = 1450 };

	if (transport == DP_TUNNEL)
		r.outer = r.underlay = a;
	else
		r.plain = true, r.plain_by[0] = if_uplink;
	return r;
}

/* To pods a node speaks by the way that it has to them. What is between nodes, outer packets first, comes by any. */
static void outside_claims_another_node(void)
{
	const char *tunnelled[] = { "192.0.2.3", "fd30::3" }, *direct[] = { "192.0.2.2", "fd30::2" };
	struct dp_node_route nodes[] = { own_address(tunnelled[0], DP_TUNNEL), own_address(tunnelled[1], DP_TUNNEL), own_address(direct[0], DP_NONE),
					 own_address(direct[1], DP_NONE) };

	CHECK_INT(datapath_apply_node_routes(dp, nodes, ARRAY_SIZE(nodes)), 0);
	for (int v6 = 0; v6 < 2; v6++) {
		const char *pod = v6 ? B6 : B4, *node = v6 ? "fd30::1" : "192.0.2.1";

		udp(tunnelled[v6], pod);
		DROPPED("from_net", if_uplink, DROP_PLAIN_SOURCE);
		udp(tunnelled[v6], node);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		udp(direct[v6], pod);
		DROPPED("from_net", if_a, DROP_PLAIN_SOURCE);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* by the stack: it is the world's, as what pods send there */
		udp(direct[v6], node);
		CHECK_INT(run("from_net", &f, if_a).verdict, TC_ACT_OK);
		harness_came_by = OTHER + 1000;
		udp(tunnelled[v6], pod);
		DROPPED("to_pod", if_b, DROP_STRAY_SOURCE);
		udp(direct[v6], pod);
		DROPPED("to_pod", if_b, DROP_STRAY_SOURCE);
		harness_came_by = 0;
		udp(v6 ? A6 : A4, direct[v6]); /* only its packets are known, no way to it */
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	}
	harness_reopen();
	flows_clear();
}

static void by_protocol(const char *src, const char *dst, uint8_t proto)
{
	begin(strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
	frame_payload(&f, 64);
	frame_end(&f);
}

/* Whatever address it has: the kernel is asked for those that the programs do not know. */
static void has_another_address(bool has)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link_addr a = { .ifindex = if_uplink, .addr = addr_of("203.0.113.5"), .len = 128 }, net = { .ifindex = if_uplink, .addr = addr_of("198.51.100.1"), .len = 96 + 24 };

	CHECK_INT(rtnl_open(&nl), 0);
	CHECK_INT(has ? rtnl_replace_addr(nl, &a) : rtnl_del_addr(nl, &a), 0);
	CHECK_INT(has ? rtnl_replace_addr(nl, &net) : rtnl_del_addr(nl, &net), 0);
}

/* A node takes out what is inside, so no pod's tunnel ends there; in AH of IPv6 is what its chain of headers ends with. */
static void tunnels_of_pods_to_nodes(void)
{
	static const uint8_t protocols[] = { IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_GRE, IPPROTO_ESP, IPPROTO_AH, IPPROTO_COMP, 115, 137, 143 };
	struct dp_node_route peers[] = { own_address("192.0.2.3", DP_TUNNEL), own_address("fd30::3", DP_TUNNEL), own_address("192.0.2.2", DP_NONE), own_address("fd30::2", DP_NONE) };
	static const char *const nodes[] = { "192.0.2.1", NODE4, "192.0.2.3", "192.0.2.2", "fd30::1", NODE6, "fd30::3", "fd30::2" };
	static const char *const others[] = { B4, TUNNEL4, DIRECT4, WORLD4, B6, TUNNEL6, DIRECT6, WORLD6 };

	harness_forward(false);
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (protocols[i] == IPPROTO_AH)
			continue;
		flows_forgive();
		for (size_t k = 0; k < ARRAY_SIZE(others); k++) {
			by_protocol(strchr(others[k], ':') ? A6 : A4, others[k], protocols[i]);
			CHECK(run("from_pod", &f, if_a).verdict != TC_ACT_SHOT);
		}
		by_protocol(DIRECT4, "192.0.2.1", protocols[i]); /* to an address of this node by which that one does not know it, too */
		DROPPED("from_net", if_uplink, DROP_POD_TUNNEL);
		by_protocol(DIRECT6, "fd30::1", protocols[i]);
		DROPPED("from_net", if_uplink, DROP_POD_TUNNEL);
		by_protocol(WORLD4, "192.0.2.1", protocols[i]);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
	CHECK_INT(datapath_apply_node_routes(dp, peers, ARRAY_SIZE(peers)), 0);
	for (int allowed = 0; allowed < 2; allowed++) {
		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++, flows_forgive())
			for (size_t k = 0; k < ARRAY_SIZE(nodes); k++) {
				bool v6 = strchr(nodes[k], ':');

				if (v6 && protocols[i] == IPPROTO_AH)
					continue;
				by_protocol(v6 ? A6 : A4, nodes[k], protocols[i]);
				if (allowed)
					CHECK(run("from_pod", &f, if_a).verdict != TC_ACT_SHOT);
				else
					DROPPED("from_pod", if_a, DROP_POD_TUNNEL);
			}
		dp_config.pod_tunnels = true;
		harness_reopen();
	}
	by_protocol(DIRECT4, "192.0.2.1", IPPROTO_GRE);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	dp_config.pod_tunnels = false;
	harness_reopen();
	has_another_address(true);
	harness_forward(true);
	by_protocol(A4, "203.0.113.5", IPPROTO_GRE);
	DROPPED("from_pod", if_a, DROP_POD_TUNNEL);
	by_protocol(A4, WORLD4, IPPROTO_GRE);
	CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	udp(A4, "203.0.113.5");
	CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	has_another_address(false);
	flows_clear();
}

static void tunnel_without_a_peer(void)
{
	udp(TUNNEL4, A4); /* has not come through a tunnel at all */
	DROPPED("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
	udp(WORLD4, A4);
	DROPPED("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
	udp(DIRECT6, A6); /* its node is not reached by tunnel */
	DROPPED("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
}

int main(void)
{
	harness_init();
	RUN(somebody_elses_packet);
	RUN(others_claim_a_pod);
	RUN(the_node_claims_a_pod_elsewhere);
	RUN(others_claim_a_pod_elsewhere);
	RUN(outside_claims_inside);
	RUN(loopback_stays_at_home);
	RUN(outside_claims_a_tunnelled_pod);
	RUN(outside_claims_a_pod_by_another_uplink);
	RUN(outside_claims_another_node);
	RUN(tunnels_of_pods_to_nodes);
	RUN(tunnel_without_a_peer);
	harness_done();
	return test_end();
}
