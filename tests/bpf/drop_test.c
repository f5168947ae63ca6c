/* SPDX-License-Identifier: Apache-2.0 */
/* Every drop reason, provoked: what a pod sends here, the others in other files. The table at the end says which test does it; a reason without one fails
 * the run. Those that need a tunnel's metadata on the packet are provoked by traffic.py. */
#include "base/file.h"
#include "base/str.h"
#include "hostile.h"
#include "weft/event.h"
#include "weft/policy.h"

#include <ctype.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static bool provoked[DROP_REASON_COUNT];

#define PROVOKE(program, ifindex, why)                                                                                 \
	do {                                                                                                           \
		DROPPED(program, ifindex, why);                                                           \
		provoked[why] = true;                                                                                  \
	} while (0)
#define FROM_A(why) PROVOKE("from_pod", if_a, why)

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

/* Who asks for an address, and who answers: as itself, as the gateway, or as the pod beside it. */
static void dhcp(void)
{
	static const struct {
		const char *src, *dst;
		uint16_t sport, dport;
	} cases[] = { { "0.0.0.0", "255.255.255.255", 68, 67 }, { A4, "255.255.255.255", 68, 67 }, { A4, "255.255.255.255", 67, 68 },
		      { "169.254.1.1", "255.255.255.255", 67, 68 }, { B4, "255.255.255.255", 67, 68 }, { "fe80::5", "ff02::1:2", 546, 547 },
		      { A6, "ff02::1:2", 546, 547 }, { "fe80::5", "fe80::1", 547, 546 }, { A6, "ff05::1:3", 547, 547 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		udp_between(cases[i].src, cases[i].sport, cases[i].dst, cases[i].dport);
		FROM_A(DROP_DHCP);
		memset(f.data, 0xff, 6);
		FROM_A(DROP_DHCP);
	}
	udp_between(A4, 67, WORLD4, 67); /* a relay to its server */
	CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	udp_between(A6, 547, WORLD6, 547);
	CHECK_WAY("from_pod", &f, if_a, FORWARD_STACK, TC_ACT_OK);
	udp_between(B4, 67, WORLD4, 68); /* such ports hide nothing */
	FROM_A(DROP_SOURCE_ADDRESS);
	udp_between(B6, 547, WORLD6, 546);
	FROM_A(DROP_SOURCE_ADDRESS);
	udp_between(A4, 68, "224.0.0.1", 1000);
	FROM_A(DROP_MULTICAST);
}

static void tagged(uint16_t type, uint16_t tci, uint16_t next)
{
	uint8_t tag[4] = { tci >> 8, tci, next >> 8, next };

	begin(type);
	frame_put(&f, tag, sizeof(tag));
	frame_payload(&f, 60);
}

static void tags_and_ethertypes(void)
{
	static const uint16_t types[] = { 0x88cc, 0x8863, 0x6558, 0x0000, 0x05dc, 0x8847, 0x22f3 };

	for (int i = 0; i < 2; i++) {
		tagged(i ? ETH_P_8021AD : ETH_P_8021Q, 0x6000, ETH_P_IP);
		FROM_A(DROP_VLAN_ZERO);
		PROVOKE("from_net", if_uplink, DROP_QINQ); /* after the tag that the stack has taken off */
		tagged(i ? ETH_P_8021AD : ETH_P_8021Q, 0x6005, ETH_P_IP);
		FROM_A(DROP_VLAN);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* another network's */
		for (uint16_t vlan = 0; vlan < 2; vlan++) {
			tagged(i ? ETH_P_8021AD : ETH_P_8021Q, vlan, i ? ETH_P_8021Q : ETH_P_8021AD);
			FROM_A(DROP_QINQ);
		}
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
	{ DROP_FRAGMENT_TINY, "fragment_drop_test.c", "FROM_A(DROP_FRAGMENT_TINY)" },
	{ DROP_FRAGMENT_OVERLAP, "fragment_drop_test.c", "FROM_A(DROP_FRAGMENT_OVERLAP)" },
	{ DROP_FRAGMENT_UNKNOWN, "fragment_drop_test.c", "FROM_A(DROP_FRAGMENT_UNKNOWN)" },
	{ DROP_NOT_FOR_POD, "claims_test.c", "DROPPED(\"to_pod\", if_a, DROP_NOT_FOR_POD)" },
	{ DROP_PLAIN_SOURCE, "claims_test.c", "DROPPED(\"from_net\", if_uplink, DROP_PLAIN_SOURCE)" },
	{ DROP_STRAY_SOURCE, "claims_test.c", "DROPPED(program, at, DROP_STRAY_SOURCE)" },
	{ DROP_LOOPBACK, "claims_test.c", "DROPPED(\"from_pod\", if_a, DROP_LOOPBACK)" },
	{ DROP_POD_TUNNEL, "claims_test.c", "DROPPED(\"from_pod\", if_a, DROP_POD_TUNNEL)" },
	{ DROP_GENEVE_HEADER, "outer_drop_test.c", "GENEVE_DROPPED(v6, DROP_GENEVE_HEADER" },
	{ DROP_GENEVE_CONTROL, "outer_drop_test.c", "GENEVE_DROPPED(v6, DROP_GENEVE_CONTROL" },
	{ DROP_GENEVE_CRITICAL, "outer_drop_test.c", "GENEVE_DROPPED(v6, DROP_GENEVE_CRITICAL" },
	{ DROP_VXLAN_HEADER, "outer_drop_test.c", "DROPPED(\"from_net\", if_uplink, DROP_VXLAN_HEADER)" },
	{ DROP_TUNNEL_SOURCE, "claims_test.c", "DROPPED(\"from_tunnel\", if_tunnel, DROP_TUNNEL_SOURCE)" },
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

/* The tests before have left of this reason's burst what they have left, and time gives it back slowly. */
static void forget_events(enum drop_reason why)
{
	_cleanup_free_ struct event_rate *none = xnew0_array(struct event_rate, libbpf_num_possible_cpus());

	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "event_rates"), &(uint32_t){ why }, none, BPF_ANY), 0);
}

static void drops_are_events_at_a_bounded_rate(void)
{
	struct dp_event last = {};
	int n;

	forget_events(DROP_SOURCE_ADDRESS);
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
	RUN(dhcp);
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
	RUN(icmp_about_nothing);
	RUN(flow_limits);
	RUN(denied_by_policy);
	RUN(every_reason_has_a_test);
	RUN(drops_are_events_at_a_bounded_rate);
	harness_done();
	return test_end();
}
