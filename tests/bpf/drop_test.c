/* SPDX-License-Identifier: Apache-2.0 */
/* Every drop reason, provoked. The table at the end says which test does it; a reason without one fails the run. Those that
 * need a tunnel's metadata on the packet are provoked by traffic.py. */
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "harness.h"
#include "net/rtnl.h"
#include "weft/policy.h"

#include <ctype.h>
#include <bpf/bpf.h>

static struct frame f;

enum { OTHER = 1 }; /* an interface that is no pod's and none of ours */

static bool provoked[DROP_REASON_COUNT];

#define PROVOKE(program, ifindex, why)                                                                                 \
	do {                                                                                                           \
		CHECK_DROP((program), &f, (ifindex), (why));                                                           \
		provoked[why] = true;                                                                                  \
	} while (0)
#define FROM_A(why) PROVOKE("from_pod", if_a, why)

static void begin(uint16_t type)
{
	frame_ether(&f, mac_host_a, mac_pod_a, type);
}

/* A UDP packet of pod A. */
static void udp(const char *src, const char *dst)
{
	begin(strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_UDP);
	frame_udp(&f, 1000, 2000);
	frame_payload(&f, 32);
	frame_end(&f);
}

static void unknown_interface(void)
{
	udp(A4, B4);
	PROVOKE("from_pod", if_uplink, DROP_NO_ENDPOINT);
	PROVOKE("to_pod", if_uplink, DROP_NO_ENDPOINT);
}

static void foreign_macs(void)
{
	udp(A4, B4);
	memcpy(f.data + 6, mac_pod_b, 6);
	FROM_A(DROP_SOURCE_MAC);
	udp(A4, B4);
	memcpy(f.data, mac_pod_b, 6);
	FROM_A(DROP_DESTINATION_MAC);
	udp(A4, B4);
	memset(f.data, 0xff, 6);
	FROM_A(DROP_DESTINATION_MAC);
	udp(A6, B6);
	memcpy(f.data, "\x33\x33\0\0\0\1", 6);
	FROM_A(DROP_DESTINATION_MAC);
}

/* From outside: what is to another host is the stack's, which takes it as little; to a group nothing is forwarded. */
static void macs_from_outside(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct flow_state flow;

		flows_clear();
		udp(v6 ? DIRECT6 : DIRECT4, v6 ? A6 : A4);
		memcpy(f.data, mac_other, 6);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		memset(f.data, 0xff, 6);
		PROVOKE("from_net", if_uplink, DROP_DESTINATION_MAC);
		memcpy(f.data, "\x01\0\x5e\0\0\1", 6);
		PROVOKE("from_net", if_uplink, DROP_DESTINATION_MAC);
		CHECK(!flow_get("flows_new", IPPROTO_UDP, v6 ? DIRECT6 : DIRECT4, 1000, v6 ? A6 : A4, 2000, &flow));
		memcpy(f.data, mac_host_a, 6);
		CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
		CHECK(flow_get("flows_new", IPPROTO_UDP, v6 ? DIRECT6 : DIRECT4, 1000, v6 ? A6 : A4, 2000, &flow));
	}
}

static void foreign_addresses(void)
{
	static const char *const sources[] = { B4, NODE4, "0.0.0.0", "127.0.0.1", WORLD4, DIRECT4, "169.254.1.1",
					       B6, NODE6, "::", "::1",  WORLD6, DIRECT6, "fe80::2" };

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		udp(sources[i], strchr(sources[i], ':') ? WORLD6 : WORLD4);
		FROM_A(DROP_SOURCE_ADDRESS);
	}
}

static void dhcp_is_a_foreign_address(void)
{
	begin(ETH_P_IP);
	memset(f.data, 0xff, 6);
	frame_ip(&f, "0.0.0.0", "255.255.255.255", IPPROTO_UDP);
	frame_udp(&f, 68, 67);
	frame_payload(&f, 240);
	frame_end(&f);
	FROM_A(DROP_SOURCE_ADDRESS);
}

static void tags_and_ethertypes(void)
{
	static const uint16_t types[] = { 0x88cc, 0x8863, 0x6558, 0x0000, 0x05dc, 0x8847, 0x22f3 };

	for (int i = 0; i < 2; i++) {
		begin(i ? ETH_P_8021AD : ETH_P_8021Q);
		frame_put(&f, "\0\0\x08\0", 4);
		frame_payload(&f, 60);
		FROM_A(DROP_VLAN);
		PROVOKE("from_net", if_uplink, DROP_VLAN); /* after the tag that the stack has taken off */
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		begin(types[i]);
		frame_payload(&f, 60);
		FROM_A(DROP_ETHERTYPE);
	}
	PROVOKE("to_pod", if_a, DROP_ETHERTYPE);
	PROVOKE("from_tunnel", if_tunnel, DROP_ETHERTYPE);
}

static void arp(void)
{
	begin(ETH_P_ARP);
	memset(f.data, 0xff, 6);
	frame_put(&f, "\0\1\x08\0\6\4\0\1", 8);
	frame_payload(&f, 20);
	FROM_A(DROP_ARP);
	PROVOKE("from_tunnel", if_tunnel, DROP_ARP);
}

static void cut_off(void)
{
	udp(A4, B4);
	f.len -= 36;
	frame_end(&f); /* four bytes of a UDP header, and a length that says so */
	FROM_A(DROP_TRUNCATED);
	begin(ETH_P_IPV6); /* (a test run refuses a frame that is shorter than the IP header itself) */
	((struct ipv6hdr *)frame_ip(&f, A6, B6, IPPROTO_HOPOPTS))->payload_len = 0;
	frame_put(&f, "\x11\0\0\0", 4);
	frame_end(&f);
	FROM_A(DROP_TRUNCATED);
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_TCP);
	frame_tcp(&f, 1, 2, "S");
	f.len -= 4;
	frame_end(&f);
	FROM_A(DROP_TRUNCATED);
}

static void contradictions(void)
{
	udp(A4, B4);
	frame_ip4(&f)->ihl = 4;
	FROM_A(DROP_MALFORMED);
	udp(A4, B4);
	frame_ip4(&f)->version = 5;
	FROM_A(DROP_MALFORMED);
	udp(A4, B4);
	frame_ip4(&f)->tot_len = htons(f.len - f.l3 + 1);
	FROM_A(DROP_MALFORMED);
	udp(A4, B4);
	frame_ip4(&f)->tot_len = htons(19);
	FROM_A(DROP_MALFORMED);
	udp(A6, B6);
	frame_ip6(&f)->payload_len = htons(2000);
	FROM_A(DROP_MALFORMED);
	udp(A6, B6);
	frame_ip6(&f)->version = 4;
	FROM_A(DROP_MALFORMED);
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_TCP);
	frame_tcp(&f, 1, 2, "S")->doff = 4;
	frame_end(&f);
	FROM_A(DROP_MALFORMED);
	begin(ETH_P_IP); /* the other family's ICMP */
	frame_ip(&f, A4, B4, IPPROTO_ICMPV6);
	frame_icmp(&f, 128, 0, 1);
	frame_end(&f);
	FROM_A(DROP_MALFORMED);
	PROVOKE("to_pod", if_b, DROP_MALFORMED);
	PROVOKE("from_net", if_uplink, DROP_NET_SOURCE);
}

static void v4_mapped(void)
{
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_UDP);
	memset(&frame_ip6(&f)->daddr, 0, 10);
	memset((uint8_t *)&frame_ip6(&f)->daddr + 10, 0xff, 2);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	FROM_A(DROP_V4_MAPPED);
}

static void endless_extension_headers(void)
{
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_DSTOPTS);
	for (int i = 0; i < 9; i++)
		frame_put(&f, i < 8 ? "\x3c\0\1\4\0\0\0" : "\x11\0\1\4\0\0\0", 8);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	FROM_A(DROP_EXTENSION_HEADERS);
}

static void source_routes(void)
{
	static const uint8_t options[2][8] = { { 131, 7, 4, 1, 2, 3, 4, 0 }, { 1, 137, 7, 4, 1, 2, 3, 4 } };

	for (int i = 0; i < 2; i++) {
		begin(ETH_P_IP);
		frame_ip(&f, A4, B4, IPPROTO_UDP);
		frame_ip4(&f)->ihl = 7;
		frame_put(&f, options[i], 8);
		frame_udp(&f, 1, 2);
		frame_end(&f);
		FROM_A(DROP_SOURCE_ROUTE);
	}
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_ROUTING);
	frame_put(&f, "\x11\2\0\1\0\0\0", 8); /* type 0 */
	frame_payload(&f, 16);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	FROM_A(DROP_SOURCE_ROUTE);
}

static void multicast(void)
{
	static const char *const groups[] = { "224.0.0.251", "239.1.1.1", "255.255.255.255", "240.0.0.1" };

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		udp(A4, groups[i]);
		f.data[0] = 1;
		FROM_A(DROP_MULTICAST);
	}
	udp(A6, "ff02::fb");
	FROM_A(DROP_MULTICAST);
}

static void icmp6(uint8_t type, const char *src, const char *dst, const char *target)
{
	begin(ETH_P_IPV6);
	frame_ip(&f, src, dst, IPPROTO_ICMPV6);
	frame_ip6(&f)->hop_limit = 255;
	frame_icmp(&f, type, 0, 0);
	if (target)
		frame_put(&f, addr_of(target).b, 16);
	frame_end(&f);
}

static void router_messages(void)
{
	icmp6(133, "fe80::5", "ff02::2", NULL);
	FROM_A(DROP_ROUTER_SOLICITATION);
	icmp6(134, "fe80::5", "ff02::1", NULL);
	FROM_A(DROP_ROUTER_ADVERTISEMENT);
	icmp6(137, A6, B6, B6);
	FROM_A(DROP_ICMP_REDIRECT);
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_ICMP);
	frame_icmp(&f, 5, 1, 0);
	frame_payload(&f, 28);
	frame_end(&f);
	FROM_A(DROP_ICMP_REDIRECT);
}

static void multicast_listeners(void)
{
	begin(ETH_P_IPV6);
	frame_ip(&f, "fe80::5", "ff02::16", IPPROTO_HOPOPTS);
	frame_put(&f, "\x3a\0\5\2\0\0\1", 8); /* router alert */
	frame_icmp(&f, 143, 0, 0);
	frame_payload(&f, 20);
	frame_end(&f);
	FROM_A(DROP_MLD);
	icmp6(131, "fe80::5", "ff02::1:3", "ff02::1:3");
	FROM_A(DROP_MLD);
}

static void neighbour_spoofing(void)
{
	icmp6(136, A6, B6, B6); /* speaks for B */
	FROM_A(DROP_ND_SPOOF);
	icmp6(136, "fe80::5", "ff02::1", "fe80::1"); /* speaks for the gateway */
	FROM_A(DROP_ND_SPOOF);
	icmp6(136, "fe80::1", "ff02::1", A6);
	FROM_A(DROP_ND_SPOOF);
	icmp6(135, B6, "ff02::1:ff00:1", "fe80::1"); /* asks as B */
	FROM_A(DROP_ND_SPOOF);
	icmp6(135, "::", "ff02::1:ff00:3", B6); /* claims B's address by duplicate address detection */
	FROM_A(DROP_ND_SPOOF);
	icmp6(135, A6, "ff02::1:ff00:1", "fe80::1");
	frame_ip6(&f)->hop_limit = 254;
	FROM_A(DROP_ND_SPOOF);
}

/* The stack forwards what is to a global address or to a wider group, and no policy speaks of neighbour discovery. */
static void neighbour_discovery_stays_on_its_link(void)
{
	static const char *const beyond[] = { B6, TUNNEL6, DIRECT6, WORLD6, "ff05::1", "ff0e::1" };
	static const char *const here[] = { "fe80::1", "ff02::1", "ff12::1", NODE6 };

	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++)
		for (int type = 135; type < 137; type++) {
			icmp6(type, A6, beyond[i], A6);
			FROM_A(DROP_ND_SPOOF);
		}
	for (size_t i = 0; i < ARRAY_SIZE(here); i++) {
		icmp6(135, A6, here[i], A6);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	}
	for (int type = 133; type < 137; type++) {
		icmp6(type, WORLD6, A6, A6);
		PROVOKE("from_net", if_uplink, DROP_ND_SPOOF);
		icmp6(type, A6, WORLD6, A6);
		PROVOKE("to_net", if_uplink, DROP_ND_SPOOF);
	}
	icmp6(135, "fe80::1", A6, A6); /* the node's own */
	CHECK_WAY("to_pod", &f, if_a, FORWARD_TO_POD, TC_ACT_OK);
}

static void fragment4(uint16_t off, uint16_t id, size_t payload)
{
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_TCP);
	frame_ip4(&f)->frag_off = htons(0x2000 | off / 8);
	frame_ip4(&f)->id = htons(id);
	if (payload)
		frame_payload(&f, payload);
	else
		frame_tcp(&f, 1, 2, "S");
	frame_end(&f);
}

static void fragments(void)
{
	fragment4(0, 1, 16); /* 16 bytes of a TCP header */
	FROM_A(DROP_FRAGMENT_TINY);
	fragment4(8, 1, 100);
	FROM_A(DROP_FRAGMENT_OVERLAP);
	fragment4(1480, 77, 100);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment4(0, 77, 0);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	fragment4(1480, 78, 100); /* another packet's */
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, "\x06\0\x05\xc8\0\0\0\1", 8);
	frame_payload(&f, 100);
	frame_end(&f);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, "\x06\0\0\1\0\0\0\1", 8);
	frame_payload(&f, 16);
	frame_end(&f);
	FROM_A(DROP_FRAGMENT_TINY);
}

/* A fragment over IPv6; the first one, if there are @options bytes of them, has those before its TCP header, of which there are @n bytes. */
static void fragment6(uint8_t next, uint16_t off, uint8_t id, size_t options, size_t n)
{
	uint8_t header[8] = { next, 0, off >> 8, off | 1, [7] = id }, option[8] = { IPPROTO_TCP, options / 8 - 1, 1, 4 };
	uint8_t tcp[20] = { 0, 1, 0, 2, [12] = 0x50, 0x02 };

	begin(ETH_P_IPV6);
	frame_ip(&f, A6, B6, IPPROTO_FRAGMENT);
	frame_put(&f, header, sizeof(header));
	if (options)
		frame_put(&f, option, sizeof(option));
	if (options > 8)
		frame_payload(&f, options - 8);
	if (off)
		frame_payload(&f, n);
	else
		frame_put(&f, tcp, n);
	frame_end(&f);
}

#define PASSES() CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT)

/* Extension headers that are fragmented with what they stand before: what a later fragment names as next header counts for nothing. */
static void fragments_behind_options(void)
{
	flows_clear();
	fragment6(IPPROTO_DSTOPTS, 0, 1, 16, 16);
	FROM_A(DROP_FRAGMENT_TINY);
	fragment6(IPPROTO_DSTOPTS, 0, 2, 1544, 20);
	FROM_A(DROP_EXTENSION_HEADERS);
	fragment6(IPPROTO_DSTOPTS, 40, 3, 0, 64);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment6(IPPROTO_DSTOPTS, 0, 3, 16, 20);
	PASSES();
	for (uint16_t off = 8; off < 36; off += 8) { /* its headers end after 36 bytes */
		fragment6(IPPROTO_DSTOPTS, off, 3, 0, 64);
		FROM_A(DROP_FRAGMENT_OVERLAP);
		fragment6(IPPROTO_UDP, off, 3, 0, 64);
		FROM_A(DROP_FRAGMENT_OVERLAP);
	}
	fragment6(IPPROTO_DSTOPTS, 40, 3, 0, 64);
	PASSES();
	fragment6(IPPROTO_TCP, 40, 3, 0, 64);
	PASSES();
	fragment6(IPPROTO_DSTOPTS, 40, 4, 0, 64);
	FROM_A(DROP_FRAGMENT_UNKNOWN);
	fragment6(IPPROTO_DSTOPTS, 0, 5, 1536, 20); /* as many as there may be */
	PASSES();
	fragment6(IPPROTO_DSTOPTS, 1552, 5, 0, 64);
	FROM_A(DROP_FRAGMENT_OVERLAP);
	fragment6(IPPROTO_DSTOPTS, 1560, 5, 0, 64);
	PASSES();
}

/* Of what is put together nothing may lie behind its 65,535th byte; over IPv6 its own header is not counted. */
static void a_datagram_longer_than_any(void)
{
	flows_clear();
	fragment4(0, 90, 0);
	PASSES();
	fragment4(65480, 90, 36);
	FROM_A(DROP_MALFORMED);
	fragment4(65480, 90, 35);
	PASSES();
	fragment6(IPPROTO_TCP, 0, 91, 0, 20);
	PASSES();
	fragment6(IPPROTO_TCP, 65480, 91, 0, 56);
	FROM_A(DROP_MALFORMED);
	fragment6(IPPROTO_TCP, 65480, 91, 0, 55);
	PASSES();
}

/* Extension headers behind the packet's end: the next fragment, or nobody, has what its receiver reads there. What stands there in the frame, for
 * which Ethernet has room, is for us alone, so it must not be what is judged. */
static void headers_behind_the_end(void)
{
	for (int i = 0; i < 4; i++) {
		begin(ETH_P_IPV6);
		frame_ip(&f, A6, B6, i & 1 ? IPPROTO_FRAGMENT : IPPROTO_DSTOPTS);
		if (i & 1)
			frame_put(&f, "\x3c\0\0\1\0\0\0\7", 8); /* the first one */
		frame_put(&f, i & 2 ? "\x3b\1\1\4\0\0\0" : "\x3c\0\1\4\0\0\0", 8);
		frame_end(&f);
		frame_put(&f, i & 2 ? "\0\0\0\0\0\0\0" : "\x3b\0\1\4\0\0\0", 8); /* the end of the options, or further ones */
		FROM_A(i & 1 ? DROP_FRAGMENT_TINY : DROP_TRUNCATED);
	}
}

static void icmp_about_nothing(void)
{
	flows_clear();
	begin(ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_ICMP);
	frame_icmp(&f, 3, 1, 0);
	{
		struct frame inner;

		frame_ether(&inner, mac_host_a, mac_pod_a, ETH_P_IP);
		frame_ip(&inner, B4, A4, IPPROTO_UDP);
		frame_udp(&inner, 5, 6);
		frame_end(&inner);
		frame_put(&f, inner.data + 14, inner.len - 14);
	}
	frame_end(&f);
	FROM_A(DROP_ICMP_UNRELATED);
	PROVOKE("to_pod", if_b, DROP_ICMP_UNRELATED);
}

static void flow_limits(void)
{
	uint64_t share = FLOW_SHARE, all = FLOW_MAX, none = 0;
	struct flow_asks asks = { .unanswered = 2 * FLOW_SHARE };
	int map = datapath_map_fd(dp, "endpoint_flows");
	uint32_t a = 1, total = 0;

	flows_clear();
	bpf_map_update_elem(map, &a, &share, BPF_ANY);
	udp(A4, B4);
	FROM_A(DROP_FLOW_SHARE);
	bpf_map_update_elem(map, &a, &none, BPF_ANY);
	bpf_map_update_elem(map, &total, &all, BPF_ANY);
	FROM_A(DROP_FLOW_TABLE_FULL);
	bpf_map_update_elem(map, &total, &none, BPF_ANY);
	asks.tick = ticks_now(); /* a tick forgives an eighth of the share */
	bpf_map_update_elem(datapath_map_fd(dp, "flow_asks"), &a, &asks, BPF_ANY);
	FROM_A(DROP_FLOW_UNANSWERED);
	flows_clear();
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
}

static void somebody_elses_packet(void)
{
	udp(A4, B4);
	PROVOKE("to_pod", if_a, DROP_NOT_FOR_POD);
	udp(A6, B6);
	PROVOKE("to_pod", if_a, DROP_NOT_FOR_POD);
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
				PROVOKE(ways[i].program, ways[i].ifindex, DROP_NET_SOURCE);
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
			PROVOKE(out ? "to_net" : "to_pod", out ? if_uplink : if_a, DROP_NET_SOURCE);
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
		PROVOKE(program, at, DROP_STRAY_SOURCE);
		udp(v6 ? DIRECT6 : DIRECT4, dst);
		PROVOKE(program, at, DROP_STRAY_SOURCE);
		udp(v6 ? "fe80::1" : "169.254.1.1", dst); /* the pods' gateway */
		PROVOKE(program, at, DROP_NET_SOURCE);
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
		PROVOKE("from_net", if_uplink, DROP_NET_SOURCE);
	}
	udp("10.9.1.99", TUNNEL4); /* nor does the node speak for it to others */
	PROVOKE("from_net", if_uplink, DROP_NET_SOURCE);
	udp("fd09:0:0:1::99", TUNNEL6);
	PROVOKE("from_net", if_uplink, DROP_NET_SOURCE);
}

/* Neither pods nor anybody outside reach what listens on the node's loopback, nor come from there. */
static void loopback_stays_at_home(void)
{
	static const char *const homes[] = { "127.0.0.1", "127.9.9.9", "127.255.255.255", "::1" }, *const others[] = { "126.255.255.255", "128.0.0.0", "::2", "::127.0.0.1" };

	for (size_t i = 0; i < ARRAY_SIZE(homes); i++) {
		bool v6 = strchr(homes[i], ':');

		udp(v6 ? A6 : A4, homes[i]);
		FROM_A(DROP_LOOPBACK);
		udp(v6 ? DIRECT6 : DIRECT4, homes[i]);
		PROVOKE("from_net", if_uplink, DROP_LOOPBACK);
		udp(homes[i], v6 ? "fd30::1" : "192.0.2.1");
		PROVOKE("from_net", if_uplink, DROP_LOOPBACK);
		udp(v6 ? A6 : A4, others[i]);
		CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	}
	flows_clear();
}

/* Node 3 is behind the tunnel; node 2 sends directly, and nobody knows the world. */
static void outside_claims_a_tunnelled_pod(void)
{
	udp("10.9.3.3", B4);
	PROVOKE("from_net", if_uplink, DROP_PLAIN_SOURCE);
	udp("fd09:0:0:3::3", B6);
	PROVOKE("from_net", if_uplink, DROP_PLAIN_SOURCE);
	udp("10.9.3.3", "192.0.2.1"); /* this node's own services are meant as well */
	PROVOKE("from_net", if_uplink, DROP_PLAIN_SOURCE);
}

/* Node 2 shares the network of one uplink with this node, and of no other one. */
static void outside_claims_a_pod_by_another_uplink(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		udp(v6 ? DIRECT6 : DIRECT4, v6 ? B6 : B4);
		PROVOKE("from_net", if_a, DROP_PLAIN_SOURCE);
		CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
		udp(v6 ? DIRECT6 : DIRECT4, v6 ? "fd30::1" : "192.0.2.1");
		PROVOKE("from_net", if_a, DROP_PLAIN_SOURCE);
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
		PROVOKE("from_net", if_uplink, DROP_PLAIN_SOURCE);
		udp(tunnelled[v6], node);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		udp(direct[v6], pod);
		PROVOKE("from_net", if_a, DROP_PLAIN_SOURCE);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* by the stack: it is the world's, as what pods send there */
		udp(direct[v6], node);
		CHECK_INT(run("from_net", &f, if_a).verdict, TC_ACT_OK);
		harness_came_by = OTHER + 1000;
		udp(tunnelled[v6], pod);
		PROVOKE("to_pod", if_b, DROP_STRAY_SOURCE);
		udp(direct[v6], pod);
		PROVOKE("to_pod", if_b, DROP_STRAY_SOURCE);
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
		PROVOKE("from_net", if_uplink, DROP_POD_TUNNEL);
		by_protocol(DIRECT6, "fd30::1", protocols[i]);
		PROVOKE("from_net", if_uplink, DROP_POD_TUNNEL);
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
					FROM_A(DROP_POD_TUNNEL);
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
	FROM_A(DROP_POD_TUNNEL);
	by_protocol(A4, WORLD4, IPPROTO_GRE);
	CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	udp(A4, "203.0.113.5");
	CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	has_another_address(false);
	flows_clear();
}

/* RFC 8926 3.4: another version, control packets, options that must be understood; and what is inside must be a frame. */
static void geneve_that_is_not_spoken(void)
{
	static const struct {
		uint8_t header[8];
		enum drop_reason why;
	} cases[] = {
		{ { 0x40, 0, 0x65, 0x58, 0, 0, 1, 0 }, DROP_GENEVE_HEADER },
		{ { 0, 0, 0x08, 0x00, 0, 0, 1, 0 }, DROP_GENEVE_HEADER },
		{ { 8, 0, 0, 0, 0, 0, 1, 0 }, DROP_GENEVE_HEADER }, /* VXLAN */
		{ { 0x3f, 0, 0x65, 0x58, 0, 0, 1, 0 }, DROP_GENEVE_HEADER }, /* options longer than the packet */
		{ { 0, 0x80, 0x65, 0x58, 0, 0, 1, 0 }, DROP_GENEVE_CONTROL },
		{ { 1, 0x40, 0x65, 0x58, 0, 0, 1, 0 }, DROP_GENEVE_CRITICAL },
	};

	dp_config.geneve = true;
	dp_config.tunnel_port = 6081;
	harness_reopen();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int v6 = 0; v6 < 2; v6++) {
			begin(v6 ? ETH_P_IPV6 : ETH_P_IP);
			frame_ip(&f, v6 ? "fd30::3" : "192.0.2.3", v6 ? "fd30::1" : "192.0.2.1", IPPROTO_UDP);
			frame_udp(&f, 50000, 6081);
			frame_put(&f, cases[i].header, 8);
			frame_payload(&f, 64);
			frame_end(&f);
			PROVOKE("from_net", if_uplink, cases[i].why);
		}
	dp_config.geneve = false;
	dp_config.tunnel_port = 4789;
	harness_reopen();
}

static void tunnel_without_a_peer(void)
{
	udp(TUNNEL4, A4); /* has not come through a tunnel at all */
	PROVOKE("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
	udp(WORLD4, A4);
	PROVOKE("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
	udp(DIRECT6, A6); /* its node is not reached by tunnel */
	PROVOKE("from_tunnel", if_tunnel, DROP_TUNNEL_SOURCE);
}

/* Pod A has a policy that denies all, the world's addresses one class, pods another. */
static void policy_of_a(uint32_t policy, uint32_t group)
{
	struct addr a = addr_of(A4);
	struct policy_cidr_key roots[] = { { .prefixlen = 0 }, { .prefixlen = 96, .addr = { [10] = 0xff, [11] = 0xff } } };
	struct policy_class_value class = { group, group };
	struct policy_endpoint_value value = { .policy = policy };

	CHECK_INT(datapath_policy_begin(dp), 0);
	for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++) {
		struct policy_rule_key key = { POLICY_ID_FIRST, POLICY_CLASS_ANY4, d };
		struct policy_rule_value rule = { .slot[1] = { 1 << 2 | POLICY_DENY, 77 } };

		CHECK_INT(datapath_policy_change(dp, DP_POLICY_RULES, &key, &rule), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_CIDRS, &roots[i], &class), 0);
	CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, &value), 0);
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
}

static void denied_by_policy(void)
{
	struct addr a = addr_of(A4);

	flows_clear();
	policy_of_a(POLICY_ID_FIRST, POLICY_CLASS_WORLD);
	udp(A4, B4);
	FROM_A(DROP_POLICY_EGRESS);
	begin(ETH_P_IP);
	frame_ip(&f, B4, A4, IPPROTO_UDP);
	frame_udp(&f, 7, 8);
	frame_end(&f);
	harness_came_by = if_b;
	PROVOKE("to_pod", if_a, DROP_POLICY_INGRESS);
	policy_of_a(POLICY_ID_FIRST, POLICY_CLASS_UNKNOWN);
	PROVOKE("to_pod", if_a, DROP_POLICY_UNKNOWN_POD);
	policy_of_a(POLICY_LOCKED, POLICY_CLASS_WORLD);
	PROVOKE("to_pod", if_a, DROP_POLICY_LOCKED);
	harness_came_by = 0;
	CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, NULL), 0);
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
	udp(A4, B4);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
}

/* Reasons that the tests of other files provoke, each with the line that looks for it there. */
static const struct {
	enum drop_reason why;
	const char *file, *line;
} elsewhere[] = {
	{ DROP_TUNNEL_VNI, "traffic.py", "udp_is_dropped(\"tunnel_vni\"" },
	{ DROP_TUNNEL_DESTINATION, "traffic.py", "udp_is_dropped(\"tunnel_destination\"" },
	{ DROP_PLAINTEXT_IN, "guard_test.c", "CHECK(guard_drops(\"from_net\", DROP_PLAINTEXT_IN))" },
	{ DROP_PLAINTEXT_OUT, "guard_test.c", "CHECK(guard_drops(\"to_net\", DROP_PLAINTEXT_OUT))" },
	{ DROP_NAT_EXHAUSTED, "nat_limits_test.c", "CHECK_DROP(\"to_net\", &f, if_uplink, DROP_NAT_EXHAUSTED)" },
	{ DROP_NAT_SHARE, "nat_limits_test.c", "CHECK_DROP(\"to_net\", &f, if_uplink, DROP_NAT_SHARE)" },
	{ DROP_NAT_TABLE_FULL, "nat_limits_test.c", "CHECK_DROP(\"to_net\", &f, if_uplink, DROP_NAT_TABLE_FULL)" },
	{ DROP_NAT_ADDRESS, "nat_limits_test.c", "CHECK_DROP(\"to_net\", &f, if_uplink, DROP_NAT_ADDRESS)" },
	{ DROP_NAT_UNANSWERED, "nat_limits_test.c", "CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_NAT_UNANSWERED))" },
	{ DROP_NAT_TUNNEL, "nat_limits_test.c", "CHECK_DROP(\"to_net\", &f, if_uplink, DROP_NAT_TUNNEL)" },
	{ DROP_SERVICE_REFUSED, "inbound_test.c", "CHECK_INT(drops_of(DROP_SERVICE_REFUSED), before + 1)" },
	{ DROP_SERVICE_NO_LOCAL, "inbound_test.c", "CHECK_DROP(\"from_net\", &f, if_uplink, DROP_SERVICE_NO_LOCAL)" },
	{ DROP_SERVICE_SOURCE, "inbound_test.c", "CHECK_DROP(\"from_net\", &f, if_uplink, DROP_SERVICE_SOURCE)" },
	{ DROP_SERVICE_PORT, "inbound_test.c", "CHECK_DROP(\"from_net\", &f, if_uplink, DROP_SERVICE_PORT)" },
	{ DROP_HOP_LIMIT, "inbound_test.c", "CHECK_INT(drops_of(DROP_HOP_LIMIT), before + 1)" },
	{ DROP_TOO_BIG, "inbound_test.c", "CHECK_INT(drops_of(DROP_TOO_BIG), before + 1)" },
};

/* The name of the function that @at stands in, which begins at the left margin. */
static char *function_around(const char *text, const char *at)
{
	const char *open = NULL, *name;

	for (const char *p = strstr(text, "\nstatic "); p && p < at; p = strstr(p + 1, "\nstatic "))
		open = strchr(p, '(');
	if (!open || open > at)
		return NULL;
	for (name = open; name > text && (isalnum(name[-1]) || name[-1] == '_'); name--)
		;
	return xasprintf("%.*s", (int)(open - name), name);
}

/* Is it one of the tests, or called by what stands in the file? */
static bool is_run(const char *text, const char *function)
{
	_cleanup_free_ char *run = xasprintf("RUN(%s)", function), *call = xasprintf("%s(", function);
	const char *defined = strstr(text, call);

	return strstr(text, run) || (defined && strstr(defined + 1, call));
}

/* Not as a remark, and in a function that is run. */
static bool file_says(const char *name, const char *line)
{
	const char *dir = getenv("BPF_SOURCES"); /* in a guest they lie elsewhere */
	_cleanup_free_ char *path = xasprintf("%s/%s", dir ? dir : TESTS_DIR, name), *text = NULL, *function = NULL;
	const char *at, *first;
	size_t size;

	at = file_read(path, 1 << 20, &text, &size) == 0 ? strstr(text, line) : NULL;
	if (!at)
		return false;
	for (first = at; first > text && first[-1] != '\n'; first--)
		;
	first += strspn(first, " \t");
	if (!str_has_suffix(name, ".c"))
		return *first != '#';
	function = function_around(text, at);
	return *first != '/' && function && is_run(text, function);
}

static void every_reason_has_a_test(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		CHECK(!provoked[elsewhere[i].why]); /* then it need not be said here */
		provoked[elsewhere[i].why] = file_says(elsewhere[i].file, elsewhere[i].line);
	}
	for (int i = 1; i < DROP_REASON_COUNT; i++) {
		if (!provoked[i])
			printf("# no test provokes %s\n", drop_reason_label(i));
		CHECK(provoked[i]);
	}
}

static void count_event(const struct dp_event *e, void *ctx)
{
	struct dp_event *last = ctx;

	*last = *e;
}

static void drops_are_events_at_a_bounded_rate(void)
{
	struct dp_event last = {};
	int n;

	while (datapath_read_events(dp, 100, count_event, &last) > 0)
		;
	udp(B4, WORLD4);
	for (int i = 0; i < 200; i++)
		CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_SHOT);
	n = datapath_read_events(dp, 1000, count_event, &last);
	CHECK(n > 0 && n <= 32 * 8); /* a burst on each CPU that the runs met */
	CHECK(n < 200);
	CHECK_INT(last.reason, DROP_SOURCE_ADDRESS);
	CHECK_INT(last.ifindex, if_a);
	CHECK_INT(last.proto, IPPROTO_UDP);
	CHECK_INT(last.dport, 2000);
	CHECK_INT(last.len, f.len);
	CHECK(addr_eq(&last.src, &(struct addr[]){ addr_of(B4) }[0]));
}

int main(void)
{
	harness_init();
	RUN(unknown_interface);
	RUN(foreign_macs);
	RUN(macs_from_outside);
	RUN(foreign_addresses);
	RUN(dhcp_is_a_foreign_address);
	RUN(tags_and_ethertypes);
	RUN(arp);
	RUN(cut_off);
	RUN(contradictions);
	RUN(v4_mapped);
	RUN(endless_extension_headers);
	RUN(source_routes);
	RUN(multicast);
	RUN(router_messages);
	RUN(multicast_listeners);
	RUN(neighbour_spoofing);
	RUN(neighbour_discovery_stays_on_its_link);
	RUN(fragments);
	RUN(fragments_behind_options);
	RUN(a_datagram_longer_than_any);
	RUN(headers_behind_the_end);
	RUN(icmp_about_nothing);
	RUN(flow_limits);
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
	RUN(geneve_that_is_not_spoken);
	RUN(tunnel_without_a_peer);
	RUN(denied_by_policy);
	RUN(every_reason_has_a_test);
	RUN(drops_are_events_at_a_bounded_rate);
	harness_done();
	return test_end();
}
