/* SPDX-License-Identifier: Apache-2.0 */
/* Outer packets that the datapath makes itself: the same as the kernel's tunnel device would make, of each family in each. */
#include "base/test.h"
#include "harness.h"

#include <string.h>

#define OWN4 "192.0.2.1"
#define PEER4 "192.0.2.3"
#define OWN6 "fd30::1"
#define PEER6 "fd30::3"

enum { UDP_LEN = 8, TUNNEL_LEN = 8, ETHER_LEN = 14, FIRST_PORT = 49152, TTL = 64 };

static struct frame f;
static bool geneve;

static struct dp_node_route tunnel_to(const char *prefix, const char *underlay)
{
	struct dp_node_route r = { .transport = DP_TUNNEL, .underlay = addr_of(underlay), .outer = addr_of(underlay), .ifindex = if_tunnel,
				   .mtu = 1450, .uplink = if_uplink, .next_hop = addr_of("192.0.2.254") };

	assert(prefix_parse(prefix, &r.prefix, NULL) == 0);
	memcpy(r.vtep_mac, mac_vtep, 6);
	return r;
}

/* All of the other node's pods by this outer address. */
static void reach_by(const char *underlay)
{
	struct dp_node_route routes[] = { tunnel_to("10.9.3.0/24", underlay), tunnel_to("fd09:0:0:3::/64", underlay) };

	CHECK_INT(datapath_apply_node_routes(dp, routes, ARRAY_SIZE(routes)), 0);
}

static void inner(bool v6, uint8_t tos, uint16_t sport, size_t payload)
{
	frame_ether(&f, mac_host_a, mac_pod_a, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, v6 ? A6 : A4, v6 ? TUNNEL6 : TUNNEL4, IPPROTO_TCP);
	if (v6)
		*(uint32_t *)(f.data + f.l3) |= htonl((uint32_t)tos << 20);
	else
		f.data[f.l3 + 1] = tos;
	frame_tcp(&f, sport, 80, "S");
	frame_payload(&f, payload);
	frame_end(&f);
}

/* The IP header outside, and what follows its 20 or 40 bytes. */
static const uint8_t *check_ip(const struct outcome *o, bool v6, uint8_t tos)
{
	struct addr src = addr_of(v6 ? OWN6 : OWN4), dst = addr_of(v6 ? PEER6 : PEER4);
	const struct iphdr *ip4 = (const void *)(o->data + ETHER_LEN);
	const struct ipv6hdr *ip6 = (const void *)(o->data + ETHER_LEN);

	if (v6) {
		CHECK_INT(ntohl(*(const uint32_t *)ip6), 6u << 28 | (uint32_t)tos << 20);
		CHECK_INT(ntohs(ip6->payload_len), o->len - ETHER_LEN - sizeof(*ip6));
		CHECK(ip6->nexthdr == IPPROTO_UDP && ip6->hop_limit == TTL);
		CHECK(memcmp(&ip6->saddr, src.b, 16) == 0 && memcmp(&ip6->daddr, dst.b, 16) == 0);
		return (const void *)(ip6 + 1);
	}
	CHECK(ip4->version == 4 && ip4->ihl == 5 && ip4->tos == tos && ip4->frag_off == 0);
	CHECK(ip4->ttl == TTL && ip4->protocol == IPPROTO_UDP);
	CHECK_INT(ntohs(ip4->tot_len), o->len - ETHER_LEN);
	CHECK(memcmp(&ip4->saddr, src.b + 12, 4) == 0 && memcmp(&ip4->daddr, dst.b + 12, 4) == 0);
	CHECK(frame_ip4_checksum_ok((const void *)ip4));
	return (const void *)(ip4 + 1);
}

/* What was sent is inside, a hop further; before it stands what its other end takes for a tunnel of ours. */
static void check_outer(const struct outcome *o, bool outer6, bool inner6, uint8_t tos)
{
	static const uint8_t vxlan[8] = { 8, 0, 0, 0, 0, 0, 7, 0 }, gnv[8] = { 0, 0, 0x65, 0x58, 0, 0, 7, 0 };
	const uint8_t *at = check_ip(o, outer6, tos);
	const struct udphdr *udp = (const void *)at;

	CHECK_INT(o->len, f.len + ETHER_LEN + UDP_LEN + TUNNEL_LEN + (outer6 ? 40 : 20));
	CHECK(ntohs(udp->source) >= FIRST_PORT && ntohs(udp->dest) == dp_config.tunnel_port && udp->check == 0);
	CHECK_INT(ntohs(udp->len), o->data + o->len - at);
	at += UDP_LEN;
	CHECK(memcmp(at, geneve ? gnv : vxlan, TUNNEL_LEN) == 0);
	at += TUNNEL_LEN;
	CHECK(memcmp(at, mac_vtep, 6) == 0 && memcmp(at + 6, mac_host_a, 6) == 0 && memcmp(at + 12, f.data + 12, 2) == 0);
	at += ETHER_LEN;
	CHECK_INT(inner6 ? at[7] : at[8], 63);
	CHECK(inner6 || frame_ip4_checksum_ok(at));
	CHECK(memcmp(at + (f.l4 - f.l3), f.data + f.l4, f.len - f.l4) == 0);
}

static void each_family_in_each(void)
{
	for (int outer6 = 0; outer6 < 2; outer6++) {
		reach_by(outer6 ? PEER6 : PEER4);
		for (int inner6 = 0; inner6 < 2; inner6++) {
			struct outcome o;

			inner(inner6, 0, 40000, 100);
			o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
			check_outer(&o, outer6, inner6, 0);
		}
	}
}

/* RFC 6040 as the kernel has it: what an administrator's DSCP means inside is nobody's affair outside; congestion is told outside
 * anew. */
static void congestion_bits_are_taken_over(void)
{
	static const uint8_t tos[][2] = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { 3, 2 }, { 0xb8, 0 }, { 0xba, 2 } };

	for (size_t i = 0; i < ARRAY_SIZE(tos); i++)
		for (int v = 0; v < 4; v++) {
			struct outcome o;

			reach_by(v & 1 ? PEER6 : PEER4);
			inner(v & 2, tos[i][0], 40000, 10);
			o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
			check_outer(&o, v & 1, v & 2, tos[i][1]);
		}
}

static uint16_t source_port(uint16_t sport)
{
	struct outcome o;

	inner(false, 0, sport, 10);
	o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
	return ntohs(((const struct udphdr *)(o.data + ETHER_LEN + 20))->source);
}

/* A flow keeps its port; flows have different ones, nearly all. */
static void a_flow_keeps_its_source_port(void)
{
	int others = 0;
	uint16_t first;

	reach_by(PEER4);
	first = source_port(40000);
	for (uint16_t i = 1; i < 32; i++)
		others += source_port(40000 + i) != first;
	CHECK_INT(source_port(40000), first);
	CHECK(others > 28);
}

/* The network may cut packets, and put together only what belongs together. */
static void identifications_follow_each_other(void)
{
	uint16_t before = 0;

	reach_by(PEER4);
	for (int i = 0; i < 20; i++) {
		struct outcome o;
		uint16_t now;

		inner(i & 1, 0, 40000 + i, 10);
		o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
		now = ntohs(((const struct iphdr *)(o.data + ETHER_LEN))->id);
		CHECK(i == 0 || now == (uint16_t)(before + 1));
		before = now;
	}
}

/* A superpacket that is not TCP's or UDP's (a test run's has no type at all) is cut by the tunnel's device; it gets the packet as it
 * has always been. What TCP's look like, tests/lab/test_encap.py sees. */
static void what_cannot_be_wrapped_is_the_devices(void)
{
	for (int v = 0; v < 4; v++) {
		struct outcome o;

		reach_by(v & 1 ? PEER6 : PEER4);
		inner(v & 2, 0, 40000, 1700);
		o = run_gso("from_pod", &f, if_a, 1300);
		CHECK_INT(o.verdict, TC_ACT_REDIRECT);
		CHECK_INT(o.len, f.len);
		CHECK(memcmp(o.data, mac_vtep, 6) == 0);
		CHECK_INT(o.data[v & 2 ? 21 : 22], 63); /* one hop less, not two */
	}
}

/* Without a way the tunnel's device gets it: nothing is put before the packet. */
static void the_device_makes_the_rest(void)
{
	struct dp_node_route route = tunnel_to("10.9.3.0/24", PEER4);
	struct outcome o;

	route.uplink = 0;
	CHECK_INT(datapath_apply_node_routes(dp, &route, 1), 0);
	inner(false, 0, 40000, 10);
	o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
	CHECK_INT(o.len, f.len);
	CHECK(memcmp(o.data, mac_vtep, 6) == 0);
}

static void geneve_alike(void)
{
	geneve = dp_config.geneve = true;
	dp_config.tunnel_port = 6081;
	harness_reopen();
	each_family_in_each();
}

int main(void)
{
	harness_init();
	RUN(each_family_in_each);
	RUN(congestion_bits_are_taken_over);
	RUN(a_flow_keeps_its_source_port);
	flows_forgive();
	RUN(identifications_follow_each_other);
	RUN(what_cannot_be_wrapped_is_the_devices);
	RUN(the_device_makes_the_rest);
	RUN(geneve_alike);
	harness_done();
	return test_end();
}
