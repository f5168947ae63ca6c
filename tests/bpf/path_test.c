/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets go, and what they look like then: both families, each protocol, each way; what the stack is left to do. */
#include "base/test.h"
#include "harness.h"

#include <bpf/bpf.h>

static struct frame f;

static const struct way {
	const char *src4, *dst4, *src6, *dst6;
	enum forward_way way;
	int verdict;
} ways[] = {
	{ A4, B4, A6, B6, FORWARD_LOCAL, TC_ACT_REDIRECT },
	{ A4, DIRECT4, A6, DIRECT6, FORWARD_DIRECT, TC_ACT_REDIRECT },
	{ A4, TUNNEL4, A6, TUNNEL6, FORWARD_TUNNEL, TC_ACT_REDIRECT },
	{ A4, NODE4, A6, NODE6, FORWARD_STACK, TC_ACT_OK },
	{ A4, WORLD4, A6, WORLD6, FORWARD_STACK, TC_ACT_OK },
	{ A4, "10.9.1.99", A6, "fd09:0:0:1::99", FORWARD_STACK, TC_ACT_OK }, /* no such pod: the stack answers */
};

static void begin(const char *src, const char *dst, uint8_t proto)
{
	frame_ether(&f, mac_host_a, mac_pod_a, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
}

static void transport(uint8_t proto, bool v6)
{
	switch (proto) {
	case IPPROTO_TCP:
		frame_tcp(&f, 40000, 80, "S");
		break;
	case IPPROTO_UDP:
		frame_udp(&f, 40000, 53);
		break;
	case IPPROTO_SCTP:
		frame_put(&f, "\x9c\x40\x01\xbb\0\0\0\0\0\0\0\0", 12);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		frame_icmp(&f, v6 ? 128 : 8, 0, 4711);
		break;
	default:
		frame_payload(&f, 20);
	}
	frame_payload(&f, 48);
	frame_end(&f);
}

/* One hop less, a right checksum, everything behind the IP header untouched. */
static void check_hop(const struct outcome *o, bool v6)
{
	const uint8_t *ip = o->data + 14;

	CHECK_INT(o->len, f.len);
	CHECK_INT(v6 ? ip[7] : ip[8], 63);
	if (!v6)
		CHECK(frame_ip4_checksum_ok(ip));
	CHECK(memcmp(o->data + f.l4, f.data + f.l4, f.len - f.l4) == 0);
}

static void each_way_each_protocol_each_family(void)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_ESP, 253 };

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++, flows_clear()) /* nothing is answered, which has a bound */
		for (size_t p = 0; p < ARRAY_SIZE(protocols); p++)
			for (int v6 = 0; v6 < 2; v6++) {
				uint8_t proto = v6 && protocols[p] == IPPROTO_ICMP ? IPPROTO_ICMPV6 : protocols[p];
				struct outcome o;

				if (proto == IPPROTO_ESP && streq(ways[w].dst4, NODE4)) /* tunnels_of_pods_to_nodes() */
					continue;
				begin(v6 ? ways[w].src6 : ways[w].src4, v6 ? ways[w].dst6 : ways[w].dst4, proto);
				transport(proto, v6);
				o = CHECK_WAY("from_pod", &f, if_a, ways[w].way, ways[w].verdict);
				if (ways[w].verdict == TC_ACT_REDIRECT)
					check_hop(&o, v6);
				else
					CHECK(o.len == f.len && memcmp(o.data, f.data, f.len) == 0);
			}
}

static void macs_are_those_of_the_next_hop(void)
{
	struct outcome o;

	begin(A4, B4, IPPROTO_UDP);
	transport(IPPROTO_UDP, false);
	o = CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	CHECK(memcmp(o.data, mac_pod_b, 6) == 0 && memcmp(o.data + 6, mac_host_b, 6) == 0);
	begin(A6, TUNNEL6, IPPROTO_UDP);
	transport(IPPROTO_UDP, true);
	o = CHECK_WAY("from_pod", &f, if_a, FORWARD_TUNNEL, TC_ACT_REDIRECT);
	CHECK(memcmp(o.data, mac_vtep, 6) == 0 && memcmp(o.data + 6, mac_host_a, 6) == 0);
}

/* RFC 1624's corner: the checksum stays right for every value of TTL and identification. */
static void checksums_stay_right(void)
{
	for (int ttl = 2; ttl < 256; ttl++)
		for (int id = 0; id < 65536; id += ttl == 64 ? 1 : 1337) {
			struct outcome o;

			begin(A4, B4, IPPROTO_UDP);
			frame_ip4(&f)->ttl = ttl;
			frame_ip4(&f)->id = htons(id);
			transport(IPPROTO_UDP, false);
			o = run("from_pod", &f, if_a);
			CHECK_INT(o.verdict, TC_ACT_REDIRECT);
			CHECK(frame_ip4_checksum_ok(o.data + 14));
		}
}

static void used_up_hops_go_to_the_stack(void)
{
	for (int ttl = 0; ttl < 2; ttl++) {
		begin(A4, B4, IPPROTO_UDP);
		frame_ip4(&f)->ttl = ttl;
		transport(IPPROTO_UDP, false);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
		begin(A6, DIRECT6, IPPROTO_UDP);
		frame_ip6(&f)->hop_limit = ttl;
		transport(IPPROTO_UDP, true);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	}
}

/* To other nodes, and how much each takes. */
static const struct {
	const char *src, *dst;
	size_t mtu;
} rooms[] = { { A4, TUNNEL4, 1450 }, { A6, TUNNEL6, 1450 }, { A4, DIRECT4, 1500 }, { A6, DIRECT6, 1500 } };

static void too_big_goes_to_the_stack(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rooms); i++)
		for (size_t over = 0; over < 2; over++) {
			begin(rooms[i].src, rooms[i].dst, IPPROTO_UDP);
			frame_udp(&f, 1, 2);
			frame_payload(&f, rooms[i].mtu + over - (f.len - f.l3));
			frame_end(&f);
			CHECK_INT(run("from_pod", &f, if_a).verdict, over ? TC_ACT_OK : TC_ACT_REDIRECT);
		}
}

/* Bytes behind the IP packet would go along: what has no room for them does the stack, which takes them off. A few are nobody's trouble (Ethernet's padding). */
static void a_trailer_wants_room(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rooms); i++)
		for (size_t over = 0; over < 2; over++) {
			begin(rooms[i].src, rooms[i].dst, IPPROTO_UDP);
			frame_udp(&f, 1, 2);
			frame_payload(&f, 10);
			frame_end(&f);
			frame_payload(&f, rooms[i].mtu + over - (f.len - f.l3));
			CHECK_INT(run("from_pod", &f, if_a).verdict, over ? TC_ACT_OK : TC_ACT_REDIRECT);
		}
}

/* A superpacket is judged by its segments: IP and TCP header and gso_size. */
static void superpackets_are_judged_by_segment(void)
{
	begin(A4, TUNNEL4, IPPROTO_TCP);
	frame_tcp(&f, 1, 2, "A");
	frame_payload(&f, 1900);
	frame_end(&f);
	CHECK_INT(run_gso("from_pod", &f, if_a, 1410).verdict, TC_ACT_REDIRECT);
	CHECK_INT(run_gso("from_pod", &f, if_a, 1411).verdict, TC_ACT_OK);
	CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	begin(A6, TUNNEL6, IPPROTO_TCP);
	frame_tcp(&f, 1, 2, "A");
	frame_payload(&f, 1900);
	frame_end(&f);
	CHECK_INT(run_gso("from_pod", &f, if_a, 1390).verdict, TC_ACT_REDIRECT);
	CHECK_INT(run_gso("from_pod", &f, if_a, 1391).verdict, TC_ACT_OK);
}

static void options_and_extension_headers_are_followed(void)
{
	struct flow_state s;

	flows_clear();
	begin(A4, B4, IPPROTO_UDP);
	frame_ip4(&f)->ihl = 6;
	frame_put(&f, "\1\1\1\0", 4);
	frame_udp(&f, 1111, 2222);
	frame_end(&f);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 1111, B4, 2222, &s));
	begin(A6, B6, IPPROTO_HOPOPTS);
	frame_put(&f, "\x3c\0\1\4\0\0\0", 8);	  /* hop-by-hop, then destination options of 16 bytes, */
	frame_put(&f, "\x33\1\1\x0c\0\0\0\0\0\0\0\0\0\0\0", 16);
	frame_put(&f, "\x11\4\0\0\0\0\0\1\0\0\0\1", 12); /* then an authentication header of 24 */
	frame_payload(&f, 12);
	frame_udp(&f, 3333, 4444);
	frame_end(&f);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A6, 3333, B6, 4444, &s));
}

static void later_fragments_belong_to_the_first_ones_flow(void)
{
	struct flow_state s;

	flows_clear();
	begin(A4, B4, IPPROTO_UDP);
	frame_ip4(&f)->frag_off = htons(0x2000);
	frame_ip4(&f)->id = htons(99);
	frame_udp(&f, 1111, 2222);
	frame_payload(&f, 72);
	frame_end(&f);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	begin(A4, B4, IPPROTO_UDP);
	frame_ip4(&f)->frag_off = htons(80 / 8);
	frame_ip4(&f)->id = htons(99);
	frame_payload(&f, 40);
	frame_end(&f);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 1111, B4, 2222, &s));
	CHECK(!flow_get("flows_new", IPPROTO_UDP, A4, 0, B4, 0, &s));
	begin(A6, B6, IPPROTO_FRAGMENT); /* RFC 6946: a whole packet with a fragment header */
	frame_put(&f, "\x11\0\0\0\0\0\0\1", 8);
	frame_udp(&f, 5, 6);
	frame_end(&f);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_LOCAL, TC_ACT_REDIRECT);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A6, 5, B6, 6, &s));
}

/* An ICMP error of @type from @src to @dst about the UDP packet @dst:1111 -> @about:2222. */
static void icmp_error(uint8_t type, const char *src, const char *dst, const char *about)
{
	bool v6 = strchr(src, ':') != NULL;
	struct frame inner;

	frame_ether(&inner, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&inner, dst, about, IPPROTO_UDP);
	frame_udp(&inner, 1111, 2222);
	frame_payload(&inner, 1000);
	frame_end(&inner);
	begin(src, dst, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	frame_icmp(&f, type, v6 ? 0 : 4, 0);
	frame_put(&f, inner.data + 14, v6 ? 48 : 28); /* as little as a router may quote */
	frame_end(&f);
}

static void icmp_errors_pass_with_their_flow(void)
{
	static const struct {
		const char *pod, *peer, *router;
		uint8_t type;
	} cases[] = { { A4, WORLD4, "203.0.113.1", 3 }, { A4, WORLD4, WORLD4, 11 }, { A6, WORLD6, "2001:db8:1::1", 2 },
		      { A6, WORLD6, WORLD6, 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool v6 = strchr(cases[i].pod, ':') != NULL;

		flows_clear();
		icmp_error(cases[i].type, cases[i].router, cases[i].pod, cases[i].peer);
		CHECK_DROP("to_pod", &f, if_a, DROP_ICMP_UNRELATED);
		begin(cases[i].pod, cases[i].peer, IPPROTO_UDP);
		frame_udp(&f, 1111, 2222);
		frame_end(&f);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
		icmp_error(cases[i].type, cases[i].router, cases[i].pod, cases[i].peer);
		CHECK_WAY("to_pod", &f, if_a, FORWARD_TO_POD, TC_ACT_OK);
		/* a pod complains about what was sent to it, and about nothing else: B's flow is none of A's business */
		frame_ether(&f, mac_host_b, mac_pod_b, v6 ? ETH_P_IPV6 : ETH_P_IP);
		frame_ip(&f, v6 ? B6 : B4, cases[i].peer, IPPROTO_UDP);
		frame_udp(&f, 1111, 2222);
		frame_end(&f);
		CHECK_WAY("from_pod", &f, if_b, FORWARD_STACK, TC_ACT_OK);
		icmp_error(cases[i].type, cases[i].pod, v6 ? B6 : B4, cases[i].peer);
		CHECK_DROP("from_pod", &f, if_a, DROP_ICMP_UNRELATED);
	}
}

static void a_pod_complains_about_packets_to_it(void)
{
	flows_clear();
	begin(WORLD4, A4, IPPROTO_UDP);
	frame_udp(&f, 1111, 2222);
	frame_end(&f);
	CHECK_WAY("to_pod", &f, if_a, FORWARD_TO_POD, TC_ACT_OK);
	icmp_error(3, A4, WORLD4, A4);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
}

static void neighbour_discovery_reaches_the_stack(void)
{
	static const struct {
		uint8_t type;
		const char *src, *dst, *target;
	} cases[] = {
		{ 135, A6, "ff02::1:ff00:1", "fe80::1" },
		{ 135, A6, "fe80::1", "fe80::1" },
		{ 135, "fe80::5", "ff02::1:ff00:1", "fe80::1" },
		{ 135, "::", "ff02::1:ff00:2", A6 },
		{ 136, A6, "fe80::1", A6 },
		{ 136, "fe80::5", "fe80::1", "fe80::5" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(cases[i].src, cases[i].dst, IPPROTO_ICMPV6);
		frame_ip6(&f)->hop_limit = 255;
		frame_icmp(&f, cases[i].type, 0, 0);
		frame_put(&f, addr_of(cases[i].target).b, 16);
		frame_end(&f);
		CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	}
}

static void packets_of_the_stack_reach_the_pod(void)
{
	begin(NODE4, A4, IPPROTO_TCP);
	transport(IPPROTO_TCP, false);
	CHECK_WAY("to_pod", &f, if_a, FORWARD_TO_POD, TC_ACT_OK);
	begin(WORLD6, A6, IPPROTO_UDP);
	transport(IPPROTO_UDP, true);
	CHECK_WAY("to_pod", &f, if_a, FORWARD_TO_POD, TC_ACT_OK);
}

static void from_net_takes_what_is_for_pods(void)
{
	struct outcome o;

	begin(DIRECT4, A4, IPPROTO_TCP);
	transport(IPPROTO_TCP, false);
	o = CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
	check_hop(&o, false);
	CHECK(memcmp(o.data, mac_pod_a, 6) == 0 && memcmp(o.data + 6, mac_host_a, 6) == 0);
	begin(DIRECT6, A6, IPPROTO_TCP);
	transport(IPPROTO_TCP, true);
	o = CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
	check_hop(&o, true);
}

static void from_net_leaves_the_rest_alone(void)
{
	static const struct {
		const char *src, *dst;
	} cases[] = { { "192.0.2.9", "192.0.2.1" }, { DIRECT4, NODE4 }, { WORLD6, "fd30::1" }, { "0.0.0.0", "255.255.255.255" },
		      { "::", "ff02::1:ff00:1" }, { DIRECT6, "fd09:0:0:1::77" } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome o;

		begin(cases[i].src, cases[i].dst, IPPROTO_UDP);
		transport(IPPROTO_UDP, false);
		o = run("from_net", &f, if_uplink);
		CHECK_INT(o.verdict, TC_ACT_OK);
		CHECK(memcmp(o.data, f.data, f.len) == 0);
	}
	frame_ether(&f, mac_host_a, mac_other, ETH_P_ARP);
	frame_payload(&f, 28);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
}

static void without_the_fast_path_all_is_the_stacks(void)
{
	dp_config.fast_path = false;
	harness_reopen();
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		struct outcome o;

		begin(ways[w].src4, ways[w].dst4, IPPROTO_UDP);
		transport(IPPROTO_UDP, false);
		o = CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
		CHECK(memcmp(o.data, f.data, f.len) == 0);
	}
	begin(DIRECT4, A4, IPPROTO_TCP);
	transport(IPPROTO_TCP, false);
	CHECK_WAY("from_net", &f, if_uplink, FORWARD_STACK, TC_ACT_OK);
	begin(B4, WORLD4, IPPROTO_UDP); /* the checks are the same */
	transport(IPPROTO_UDP, false);
	CHECK_DROP("from_pod", &f, if_a, DROP_SOURCE_ADDRESS);
	dp_config.fast_path = true;
	harness_reopen();
}

int main(void)
{
	harness_init();
	harness_forward(false); /* there are no routes: of those the kernel would be asked */
	RUN(each_way_each_protocol_each_family);
	RUN(macs_are_those_of_the_next_hop);
	RUN(checksums_stay_right);
	RUN(used_up_hops_go_to_the_stack);
	RUN(too_big_goes_to_the_stack);
	RUN(a_trailer_wants_room);
	RUN(superpackets_are_judged_by_segment);
	RUN(options_and_extension_headers_are_followed);
	RUN(later_fragments_belong_to_the_first_ones_flow);
	RUN(icmp_errors_pass_with_their_flow);
	RUN(a_pod_complains_about_packets_to_it);
	RUN(neighbour_discovery_reaches_the_stack);
	RUN(packets_of_the_stack_reach_the_pod);
	RUN(from_net_takes_what_is_for_pods);
	RUN(from_net_leaves_the_rest_alone);
	RUN(without_the_fast_path_all_is_the_stacks);
	harness_done();
	return test_end();
}
