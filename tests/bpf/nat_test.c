/* SPDX-License-Identifier: Apache-2.0 */
/* NAT and masquerade: packets of pods out through to_net, answers in through from_net; every header and checksum of what comes
 * out is looked at. The node is 192.0.2.1 and fd30::1 on its uplink. */
#include "base/test.h"
#include "harness.h"
#include "view.h"
#include "weft/nat.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define OURS4 "192.0.2.1"
#define OURS6 "fd30::1"
#define ROUTER4 "203.0.113.1"
#define ROUTER6 "2001:db8:1::1"

enum { REDIRECT = TC_ACT_REDIRECT };

static struct frame f;

static void begin(const char *src, const char *dst, uint8_t proto)
{
	frame_ether(&f, mac_other, mac_other, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
}

static uint8_t icmp_of(const char *addr)
{
	return strchr(addr, ':') ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

/* @flags: of TCP; "Q" and "P": ICMP echo request and reply, with sport as identifier. */
static void packet(uint8_t proto, const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *flags)
{
	bool v6 = strchr(src, ':');

	begin(src, dst, proto);
	if (proto == IPPROTO_TCP)
		frame_tcp(&f, sport, dport, flags);
	else if (proto == IPPROTO_UDP)
		frame_udp(&f, sport, dport)->len = htons(8 + 64);
	else
		frame_icmp(&f, *flags == 'Q' ? (v6 ? 128 : 8) : (v6 ? 129 : 0), 0, sport);
	frame_payload(&f, 64);
	frame_end(&f);
	set_transport_sum(&f);
}

static struct outcome out, in;

static struct view leave(void)
{
	out = run("to_net", &f, if_uplink);
	CHECK_INT(out.verdict, TC_ACT_OK);
	return view_of(out.data + ETH_HLEN);
}

static struct view arrive(int verdict)
{
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, verdict);
	return view_of(in.data + ETH_HLEN);
}

#define CHECK_ADDR(a, text)                                                                                            \
	do {                                                                                                           \
		char _t[ADDR_TEXT_MAX];                                                                                \
		CHECK_STR(addr_format(&(a), _t), text);                                                                \
	} while (0)

/* ---- the node ---- */

static const struct dp_nat_uplink no_v6 = { .addrs = {} };

static struct dp_masquerade rules(struct dp_nat_uplink *uplink, const struct dp_exempt *exempt, size_t n, const bool *reserved)
{
	*uplink = (struct dp_nat_uplink){ if_uplink, { addr_of(OURS4), addr_of(OURS6) } };
	return (struct dp_masquerade){ uplink, 1, exempt, n, reserved };
}

static void apply(const struct dp_exempt *exempt, size_t n, const bool *reserved)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, exempt, n, reserved);

	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
}

static void clear_map(const char *name)
{
	uint8_t key[64];

	while (bpf_map_get_next_key(datapath_map_fd(dp, name), NULL, key) == 0)
		bpf_map_delete_elem(datapath_map_fd(dp, name), key);
}

static void forget(void)
{
	uint32_t ids[] = { NAT_OWNER_ALL, 1, 2, NAT_OWNER_NODE };
	uint64_t none = 0;

	flows_clear();
	clear_map("nat_claims");
	clear_map("nat_forward");
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		bpf_map_update_elem(datapath_map_fd(dp, "nat_shares"), &ids[i], &none, BPF_ANY);
}

static uint64_t claims_of(uint32_t owner)
{
	uint64_t n = UINT64_MAX;

	bpf_map_lookup_elem(datapath_map_fd(dp, "nat_shares"), &owner, &n);
	return n;
}

static bool claim_get(uint8_t proto, const char *local, uint16_t port, const char *remote, uint16_t rport, struct nat_claim *ret)
{
	struct nat_key key = { .local_port = htons(port), .remote_port = htons(rport), .proto = proto };
	struct addr l = addr_of(local), r = addr_of(remote);

	memcpy(&key.local, &l, 16);
	memcpy(&key.remote, &r, 16);
	return bpf_map_lookup_elem(datapath_map_fd(dp, "nat_claims"), &key, ret) == 0;
}

static void reopen(void)
{
	harness_reopen();
	apply(NULL, 0, NULL);
}

static void restore(void)
{
	dp_config.nat_port_min = 1024;
	dp_config.nat_port_max = 65535;
	dp_config.nat_max = NAT_MAX;
	dp_config.nat_share = NAT_SHARE;
	dp_config.fast_path = true;
	dp_config.foreign_nat = false;
	dp_config.masquerade[0] = dp_config.masquerade[1] = true;
	reopen();
	forget();
}

/* ---- tests ---- */

static const struct {
	const char *pod, *ours, *world;
} families[] = { { A4, OURS4, WORLD4 }, { A6, OURS6, WORLD6 } };

static void there_and_back(void)
{
	for (int i = 0; i < 6; i++) {
		const char *pod = families[i % 2].pod, *ours = families[i % 2].ours, *world = families[i % 2].world;
		uint8_t proto = i < 2 ? IPPROTO_TCP : i < 4 ? IPPROTO_UDP : icmp_of(pod);
		struct view v;

		packet(proto, pod, 40000, world, 443, proto == IPPROTO_TCP ? "S" : "Q");
		v = leave();
		CHECK_ADDR(v.src, ours);
		CHECK_ADDR(v.dst, world);
		CHECK_INT(v.sport, 40000); /* its own port, as it is free */
		CHECK_INT(v.dport, i < 4 ? 443 : 40000);
		CHECK_SUMS(&v);
		CHECK_INT(out.len, f.len);
		packet(proto, world, i < 4 ? 443 : 40000, ours, 40000, proto == IPPROTO_TCP ? "SA" : "P");
		v = arrive(REDIRECT);
		CHECK_ADDR(v.src, world);
		CHECK_ADDR(v.dst, pod);
		CHECK_INT(v.dport, 40000);
		CHECK_SUMS(&v);
		CHECK(memcmp(in.data, mac_pod_a, 6) == 0);
	}
	CHECK_INT(claims_of(1), 6);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 6);
	forget();
}

static void the_flow_table_knows_the_pod(void)
{
	struct flow_state state;

	packet(IPPROTO_UDP, A4, 5000, WORLD4, 53, "");
	leave();
	packet(IPPROTO_UDP, WORLD4, 53, OURS4, 5000, "");
	arrive(REDIRECT);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 5000, WORLD4, 53, &state));
	forget();
}

static void without_fast_path(void)
{
	struct view v;

	dp_config.fast_path = false;
	reopen();
	packet(IPPROTO_UDP, A6, 5000, WORLD6, 53, "");
	v = leave();
	CHECK_ADDR(v.src, OURS6);
	packet(IPPROTO_UDP, WORLD6, 53, OURS6, 5000, "");
	v = arrive(TC_ACT_OK);
	CHECK_ADDR(v.dst, A6);
	CHECK_SUMS(&v);
	restore();
}

/* Where somebody else translates in the stack as well, answers are translated back and go through it. */
static void with_foreign_nat(void)
{
	struct view v;

	dp_config.foreign_nat = true;
	reopen();
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	leave();
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, "SA");
	v = arrive(TC_ACT_OK);
	CHECK_ADDR(v.dst, A4);
	CHECK_SUMS(&v);
	restore();
}

static void udp_without_a_checksum_stays_so(void)
{
	struct view v;

	packet(IPPROTO_UDP, A4, 5000, WORLD4, 53, "");
	leave();
	packet(IPPROTO_UDP, B4, 5000, WORLD4, 53, "");
	f.data[f.l4 + 6] = f.data[f.l4 + 7] = 0;
	v = leave();
	CHECK_ADDR(v.src, OURS4);
	CHECK(v.sport != 5000);
	CHECK_INT(v.ip[v.l4 + 6] | v.ip[v.l4 + 7], 0);
	CHECK(frame_ip4_checksum_ok(v.ip));
	forget();
}

static void damage_stays_damage(void)
{
	struct view v;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	f.data[f.len - 1] ^= 1;
	v = leave();
	CHECK(transport_sum(&v) != 0xffff);
	forget();
}

/* Ports are taken for each destination anew; two pods never get the same one towards the same. */
static void ports_by_destination(void)
{
	struct view v;
	uint16_t other;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	v = leave();
	CHECK_INT(v.sport, 40000);
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "S");
	v = leave();
	other = v.sport;
	CHECK(other != 40000 && other >= 1024);
	CHECK_SUMS(&v);
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 444, "S");
	v = leave();
	CHECK_INT(v.sport, 40000);
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "A"); /* keeps what it has */
	v = leave();
	CHECK_INT(v.sport, other);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, other, "SA");
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, B4);
	CHECK_INT(v.dport, 40000);
	CHECK_SUMS(&v);
	packet(icmp_of(A6), A6, 77, WORLD6, 0, "Q");
	CHECK_INT(leave().sport, 77);
	packet(icmp_of(B6), B6, 77, WORLD6, 0, "Q");
	v = leave();
	CHECK(v.sport != 77);
	CHECK_SUMS(&v);
	packet(icmp_of(A6), WORLD6, v.sport, OURS6, 0, "P");
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, B6);
	CHECK_INT(v.sport, 77);
	CHECK_SUMS(&v);
	forget();
}

static void CHECK_same(const char *what)
{
	out = run("to_net", &f, if_uplink);
	if (out.verdict != TC_ACT_OK || out.len != f.len || memcmp(out.data, f.data, f.len) != 0)
		printf("# changed: %s\n", what);
	CHECK_INT(out.verdict, TC_ACT_OK);
	CHECK(out.len == f.len && memcmp(out.data, f.data, f.len) == 0);
}

static void what_is_exempt_stays(void)
{
	struct dp_exempt exempt[] = { { .prefix = { addr_of("198.51.100.0"), 120 } }, { .prefix = { addr_of("2001:db8::"), 32 } } };
	struct dp_exempt pool[] = { { { addr_of("10.9.1.0"), 120 }, true } };
	struct addr src;

	apply(exempt, 2, NULL);
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	CHECK_same("excluded destination");
	packet(IPPROTO_TCP, A6, 40000, WORLD6, 443, "S");
	CHECK_same("excluded destination, IPv6");
	packet(IPPROTO_TCP, A4, 40000, ROUTER4, 443, "S");
	src = leave().src;
	CHECK_ADDR(src, OURS4);
	apply(pool, 1, NULL);
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	CHECK_same("excluded pool");
	packet(IPPROTO_TCP, A6, 40000, WORLD6, 443, "S");
	src = leave().src;
	CHECK_ADDR(src, OURS6);
	apply(NULL, 0, NULL);
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	src = leave().src;
	CHECK_ADDR(src, OURS4);
	forget();
}

static void a_family_switched_off_stays(void)
{
	struct addr src;

	dp_config.masquerade[0] = false;
	reopen();
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	CHECK_same("IPv4 is off");
	packet(IPPROTO_TCP, A6, 40000, WORLD6, 443, "S");
	src = leave().src;
	CHECK_ADDR(src, OURS6);
	dp_config.masquerade[0] = true;
	dp_config.masquerade[1] = false;
	reopen();
	packet(IPPROTO_TCP, A6, 40001, WORLD6, 443, "S");
	CHECK_same("IPv6 is off");
	restore();
}

/* Who reached the pod by its own address gets answers from it. */
static void answers_keep_their_address(void)
{
	packet(IPPROTO_TCP, WORLD4, 555, A4, 80, "S");
	arrive(REDIRECT);
	packet(IPPROTO_TCP, A4, 80, WORLD4, 555, "SA");
	CHECK_same("an answer");
	packet(icmp_of(A6), WORLD6, 9, A6, 0, "Q");
	arrive(REDIRECT);
	packet(icmp_of(A6), A6, 9, WORLD6, 0, "P");
	CHECK_same("an echo reply");
	forget();
}

static void others_pass(void)
{
	packet(IPPROTO_UDP, OURS4, 5000, WORLD4, 53, "");
	CHECK_same("the node's own");
	packet(IPPROTO_UDP, "192.0.2.77", 5000, WORLD4, 53, "");
	CHECK_same("a stranger's");
	packet(IPPROTO_UDP, OURS4, 5000, "192.0.2.3", 4789, "");
	CHECK_same("the tunnel");
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, 50000, "SA");
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, TC_ACT_OK);
	CHECK(memcmp(in.data, f.data, f.len) == 0);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
}

/* An ICMP error about the packet that `out` holds, from a router or the remote end. */
static void error_about(const struct view *quoted, size_t quote, const char *from, const char *to, uint8_t type, uint8_t code)
{
	uint8_t copy[256];

	memcpy(copy, quoted->ip, quote);
	begin(from, to, quoted->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	frame_icmp(&f, type, code, 0);
	frame_put(&f, copy, quote);
	frame_end(&f);
	set_transport_sum(&f);
}

static void errors_come_in(void)
{
	for (int i = 0; i < 6; i++) {
		bool v6 = i % 2;
		const char *pod = v6 ? B6 : B4, *ours = families[v6].ours, *world = families[v6].world;
		uint8_t proto = i < 2 ? IPPROTO_UDP : i < 4 ? IPPROTO_TCP : icmp_of(pod);
		size_t l3 = v6 ? 40 : 20;
		struct view v, quoted;

		packet(proto, v6 ? A6 : A4, 5000, world, 53, i < 4 ? "S" : "Q"); /* takes the port, so B gets another */
		leave();
		packet(proto, pod, 5000, world, 53, i < 4 ? "S" : "Q");
		run("from_pod", &f, if_b); /* only its MACs are wrong */
		memcpy(f.data, mac_host_b, 6);
		memcpy(f.data + 6, mac_pod_b, 6);
		CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_OK);
		v = leave();
		CHECK(v.sport != 5000);
		/* whole, and, for TCP, cut before its checksum (RFC 792) */
		for (size_t quote = l3 + 72; quote; quote = quote > l3 + 8 && proto == IPPROTO_TCP ? l3 + 8 : 0) {
			error_about(&v, quote, v6 ? ROUTER6 : ROUTER4, ours, v6 ? 2 : 3, v6 ? 0 : 4);
			struct view w = arrive(REDIRECT);

			CHECK_ADDR(w.src, v6 ? ROUTER6 : ROUTER4);
			CHECK_ADDR(w.dst, pod);
			CHECK_SUMS(&w);
			quoted = view_of(w.ip + l3 + 8);
			CHECK_ADDR(quoted.src, pod);
			CHECK_ADDR(quoted.dst, world);
			CHECK_INT(quoted.sport, 5000);
			CHECK(v6 || frame_ip4_checksum_ok(quoted.ip));
			if (quote == l3 + 72 && proto != IPPROTO_TCP)
				CHECK_INT(transport_sum(&quoted), 0xffff);
			v = view_of(out.data + ETH_HLEN);
		}
		forget();
	}
}

static void errors_about_nothing_are_the_nodes(void)
{
	struct view v;

	packet(IPPROTO_UDP, OURS4, 5000, WORLD4, 53, "");
	v = leave();
	error_about(&v, 48, ROUTER4, OURS4, 3, 4);
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, TC_ACT_OK);
	CHECK(memcmp(in.data, f.data, f.len) == 0);
}

static void errors_go_out(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const char *pod = v6 ? B6 : B4, *ours = families[v6].ours, *world = families[v6].world;
		struct view v, quoted;
		uint16_t port;

		packet(IPPROTO_UDP, v6 ? A6 : A4, 5000, world, 53, "");
		leave();
		packet(IPPROTO_UDP, pod, 5000, world, 53, "");
		port = leave().sport;
		CHECK(port != 5000);
		packet(IPPROTO_UDP, world, 53, ours, port, "");
		v = arrive(REDIRECT); /* what the pod gets, and complains about */
		error_about(&v, v6 ? 112 : 92, pod, world, v6 ? 1 : 3, v6 ? 4 : 3);
		v = leave();
		CHECK_ADDR(v.src, ours);
		CHECK_SUMS(&v);
		quoted = view_of(v.ip + v.l4 + 8);
		CHECK_ADDR(quoted.dst, ours);
		CHECK_INT(quoted.dport, port);
		CHECK(v6 || frame_ip4_checksum_ok(quoted.ip));
		CHECK_INT(transport_sum(&quoted), 0xffff);
		packet(IPPROTO_UDP, world, 99, pod, 7, ""); /* which never came */
		v = view_of(f.data + ETH_HLEN);
		error_about(&v, v6 ? 112 : 92, pod, world, v6 ? 1 : 3, v6 ? 4 : 3);
		CHECK_DROP("to_net", &f, if_uplink, DROP_ICMP_UNRELATED);
		forget();
	}
}

/* A fragment of a UDP datagram; the later one is payload only. */
static void fragment(const char *src, uint16_t sport, const char *dst, uint16_t dport, bool later)
{
	bool v6 = strchr(src, ':');
	uint8_t header[8] = { IPPROTO_UDP, 0, 0, later ? 64 : 1, 0, 0, 0, 5 };

	begin(src, dst, v6 ? IPPROTO_FRAGMENT : IPPROTO_UDP);
	if (v6)
		frame_put(&f, header, 8);
	else {
		frame_ip4(&f)->frag_off = htons(later ? 8 : 0x2000);
		frame_ip4(&f)->id = htons(5);
	}
	if (!later)
		frame_udp(&f, sport, dport)->check = htons(0x1234);
	frame_payload(&f, later ? 40 : 56);
	frame_end(&f);
}

static void fragments(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const char *pod = v6 ? B6 : B4, *ours = families[v6].ours, *world = families[v6].world;
		struct view v;
		uint16_t port;

		packet(IPPROTO_UDP, v6 ? A6 : A4, 5000, world, 53, "");
		leave();
		fragment(pod, 5000, world, 53, false);
		v = leave();
		port = v.sport;
		CHECK_ADDR(v.src, ours);
		CHECK(port != 5000);
		fragment(pod, 0, world, 0, true);
		v = leave();
		CHECK_ADDR(v.src, ours);
		CHECK(v6 || frame_ip4_checksum_ok(v.ip));
		CHECK(memcmp(v.ip + v.l4, f.data + f.len - 40, 40) == 0); /* payload is not touched */
		fragment(world, 0, ours, 0, true); /* before its first: nobody knows whose it is */
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		fragment(world, 53, ours, port, false);
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, pod);
		CHECK_INT(v.dport, 5000);
		fragment(world, 0, ours, 0, true);
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, pod);
		CHECK(memcmp(v.ip + v.l4, f.data + f.len - 40, 40) == 0);
		forget();
	}
}

static void fragment_sums_are_mended(void)
{
	struct view v;
	uint32_t before, after;

	fragment(A4, 5000, WORLD4, 53, false);
	before = sum_of(f.data + f.l3 + 12, 8) + sum_of(f.data + f.l4, 8);
	v = leave();
	after = sum_of(v.ip + 12, 8) + sum_of(v.ip + v.l4, 8);
	CHECK_INT(fold(before), fold(after));
	forget();
}

static void exhaustion(void)
{
	bool seen[16] = {};

	dp_config.nat_port_min = 2000;
	dp_config.nat_port_max = 2009;
	reopen();
	for (int i = 0; i < 10; i++) {
		uint16_t port;

		packet(IPPROTO_TCP, i % 2 ? A4 : B4, 40000 + i, WORLD4, 443, "S");
		port = leave().sport;
		CHECK(port >= 2000 && port < 2010 && !seen[port - 2000]);
		seen[(port - 2000) & 15] = true;
	}
	packet(IPPROTO_TCP, A4, 40010, WORLD4, 443, "S");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_EXHAUSTED);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 10);
	packet(IPPROTO_TCP, A4, 40010, WORLD4, 444, "S"); /* another destination has ports */
	leave();
	packet(IPPROTO_TCP, A4, 40001, WORLD4, 443, "A"); /* and who has one keeps it */
	leave();
	restore();
}

static void shares_and_table(void)
{
	dp_config.nat_max = 64;
	dp_config.nat_share = 40;
	reopen();
	for (int i = 0; i < 40; i++) {
		packet(IPPROTO_UDP, A4, 3000 + i, WORLD4, 53, "");
		leave();
	}
	packet(IPPROTO_UDP, A4, 4000, WORLD4, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_SHARE);
	for (int i = 0; i < 24; i++) {
		packet(IPPROTO_UDP, B4, 5000 + i, WORLD4, 53, "");
		leave();
	}
	packet(IPPROTO_UDP, B4, 6000, WORLD4, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_TABLE_FULL);
	CHECK_INT(claims_of(1), 40);
	CHECK_INT(claims_of(2), 24);
	restore();
}

static void no_address_no_passage(void)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, NULL, 0, NULL);

	uplink.addrs[1] = no_v6.addrs[1];
	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
	packet(IPPROTO_UDP, A6, 3000, WORLD6, 53, "");
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_ADDRESS);
	apply(NULL, 0, NULL);
	forget();
}

static void a_lost_address_ends_its_connections(void)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, NULL, 0, NULL);
	struct addr src;

	packet(IPPROTO_UDP, A4, 3000, WORLD4, 53, "");
	leave();
	uplink.addrs[0] = addr_of("192.0.2.9");
	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
	src = leave().src;
	CHECK_ADDR(src, "192.0.2.9");
	apply(NULL, 0, NULL);
	forget();
}

static void reserved_ports(void)
{
	static bool reserved[65536];

	memset(reserved + 30000, true, 2768);
	for (int i = 2000; i < 2010; i++)
		reserved[i] = i != 2007;
	dp_config.nat_port_min = 2000;
	dp_config.nat_port_max = 2009;
	harness_reopen();
	apply(NULL, 0, reserved);
	packet(IPPROTO_UDP, A4, 2003, WORLD4, 53, "");
	CHECK_INT(leave().sport, 2007);
	restore();
	apply(NULL, 0, reserved);
	packet(IPPROTO_UDP, A4, 30500, WORLD4, 53, "");
	CHECK(leave().sport != 30500);
	apply(NULL, 0, NULL);
	forget();
}

static int node_socket(int type, uint16_t port, bool v6)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(v6 ? AF_INET6 : AF_INET, type, 0), one = 1;

	CHECK(fd >= 0);
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	else
		*(struct sockaddr_in *)&any = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	CHECK_INT(bind(fd, (struct sockaddr *)&any, v6 ? sizeof(any) : sizeof(struct sockaddr_in)), 0);
	if (type == SOCK_STREAM)
		CHECK_INT(listen(fd, 1), 0);
	return fd;
}

static void ports_of_the_nodes_sockets(void)
{
	for (int i = 0; i < 4; i++) {
		int fd = node_socket(i < 2 ? SOCK_STREAM : SOCK_DGRAM, 5555, i % 2);
		uint8_t proto = i < 2 ? IPPROTO_TCP : IPPROTO_UDP;

		packet(proto, families[i % 2].pod, 5555, families[i % 2].world, 443, "S");
		CHECK(leave().sport != 5555);
		packet(proto, families[i % 2].pod, 5556, families[i % 2].world, 443, "S");
		CHECK_INT(leave().sport, 5556);
		close(fd);
		packet(proto, families[i % 2].pod, 5555, families[i % 2].world, 444, "S");
		CHECK_INT(leave().sport, 5555);
		forget();
	}
}

/* The node's socket picks a port from which a pod speaks to the same end: both go on. */
static void the_node_comes_later(void)
{
	struct view v;
	uint16_t port;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	CHECK_INT(leave().sport, 40000);
	packet(IPPROTO_TCP, OURS4, 40000, WORLD4, 443, "S");
	v = leave();
	port = v.sport;
	CHECK(port != 40000);
	CHECK_SUMS(&v);
	CHECK_INT(claims_of(NAT_OWNER_NODE), 1);
	packet(IPPROTO_TCP, OURS4, 40000, WORLD4, 443, "A");
	CHECK_INT(leave().sport, port);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
	v = arrive(TC_ACT_OK); /* to the stack */
	CHECK_ADDR(v.dst, OURS4);
	CHECK_INT(v.dport, 40000);
	CHECK_SUMS(&v);
	packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, "SA");
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, A4);
	packet(IPPROTO_TCP, OURS4, 40001, WORLD4, 443, "S");
	CHECK_same("another port of the node");
	forget();
}

static void sctp(const char *src, const char *dst)
{
	uint8_t header[12] = { 0x9c, 0x40, 0x01, 0xbb };

	begin(src, dst, IPPROTO_SCTP);
	frame_put(&f, header, sizeof(header));
	frame_payload(&f, 32);
	frame_end(&f);
}

/* A checksum that cannot be mended, or no ports: one end inside for each outside. The node goes before pods. */
static void protocols_without_choice(void)
{
	struct view v;

	sctp(A4, WORLD4);
	v = leave();
	CHECK_ADDR(v.src, OURS4);
	CHECK_INT(v.sport, 40000);
	CHECK(frame_ip4_checksum_ok(v.ip));
	sctp(B4, WORLD4);
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_EXHAUSTED);
	sctp(OURS4, WORLD4);
	CHECK_same("the node's association");
	CHECK_INT(claims_of(1), 0);
	begin(A6, WORLD6, IPPROTO_GRE);
	frame_payload(&f, 32);
	frame_end(&f);
	v = leave();
	CHECK_ADDR(v.src, OURS6);
	begin(WORLD6, OURS6, IPPROTO_GRE);
	frame_payload(&f, 32);
	frame_end(&f);
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, A6);
	forget();
}

static void a_ping_to_us_is_no_answer(void)
{
	packet(icmp_of(A4), A4, 7, WORLD4, 0, "Q");
	leave();
	packet(icmp_of(A4), WORLD4, 7, OURS4, 0, "Q");
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, TC_ACT_OK);
	CHECK(memcmp(in.data, f.data, f.len) == 0);
	forget();
}

static int stage_of(uint16_t port)
{
	struct nat_claim c;

	return claim_get(IPPROTO_TCP, OURS4, port, WORLD4, 443, &c) ? c.state.stage : -1;
}

static void tcp_states(void)
{
	static const struct {
		bool inside;
		const char *flags;
		int stage;
	} steps[] = {
		{ true, "S", FLOW_HALF_OPEN },	 { true, "S", FLOW_HALF_OPEN }, { false, "SA", FLOW_REPLIED }, { true, "A", FLOW_OPEN },
		{ false, "A", FLOW_OPEN },	 { true, "FA", FLOW_OPEN },	{ false, "FA", FLOW_CLOSING }, { true, "A", FLOW_CLOSING },
		{ true, "S", FLOW_HALF_OPEN },	 { false, "SA", FLOW_REPLIED }, { true, "A", FLOW_OPEN },      { false, "R", FLOW_RESET },
		{ false, "A", FLOW_OPEN },	 { true, "R", FLOW_RESET },
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].inside)
			packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, steps[i].flags);
		else
			packet(IPPROTO_TCP, WORLD4, 443, OURS4, 40000, steps[i].flags);
		if (steps[i].inside)
			leave();
		else
			arrive(REDIRECT);
		if (stage_of(40000) != steps[i].stage)
			printf("# step %zu\n", i);
		CHECK_INT(stage_of(40000), steps[i].stage);
	}
	/* after a reset it is gone in seconds, by its own timer; its share is given back */
	for (int i = 0; i < 600 && stage_of(40000) >= 0; i++)
		poll(NULL, 0, 100);
	CHECK_INT(stage_of(40000), -1);
	CHECK_INT(claims_of(1), 0);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	forget();
}

/* As after a restart of the agent, and one with another size of table: entries are converted, their timers run. */
static void connections_outlive_the_agent(void)
{
	uint16_t port;

	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "S");
	leave();
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "S");
	port = leave().sport;
	for (int i = 0; i < 2; i++) {
		struct view v;

		dp_config.nat_max = NAT_MAX * (1 + i);
		reopen();
		packet(IPPROTO_TCP, WORLD4, 443, OURS4, port, "SA");
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, B4);
		packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "A");
		CHECK_INT(leave().sport, port);
		CHECK_INT(claims_of(NAT_OWNER_ALL), 2);
	}
	packet(IPPROTO_TCP, B4, 40000, WORLD4, 443, "R");
	leave();
	packet(IPPROTO_TCP, A4, 40000, WORLD4, 443, "R");
	leave();
	for (int i = 0; i < 900 && claims_of(NAT_OWNER_ALL); i++)
		poll(NULL, 0, 100);
	CHECK_INT(claims_of(NAT_OWNER_ALL), 0);
	restore();
}

static void a_deleted_pods_port_is_not_answered(void)
{
	packet(IPPROTO_UDP, B4, 5000, WORLD4, 53, "");
	leave();
	CHECK_INT(datapath_del_endpoint(dp, if_b), 0);
	packet(IPPROTO_UDP, WORLD4, 53, OURS4, 5000, "");
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, TC_ACT_OK);
	CHECK(memcmp(in.data, f.data, f.len) == 0);
	restore();
}

int main(void)
{
	harness_init();
	restore();
	RUN(there_and_back);
	RUN(the_flow_table_knows_the_pod);
	RUN(without_fast_path);
	RUN(with_foreign_nat);
	RUN(udp_without_a_checksum_stays_so);
	RUN(damage_stays_damage);
	RUN(ports_by_destination);
	RUN(what_is_exempt_stays);
	RUN(a_family_switched_off_stays);
	RUN(answers_keep_their_address);
	RUN(others_pass);
	RUN(errors_come_in);
	RUN(errors_about_nothing_are_the_nodes);
	RUN(errors_go_out);
	RUN(fragments);
	RUN(fragment_sums_are_mended);
	RUN(exhaustion);
	RUN(shares_and_table);
	RUN(no_address_no_passage);
	RUN(a_lost_address_ends_its_connections);
	RUN(reserved_ports);
	RUN(ports_of_the_nodes_sockets);
	RUN(the_node_comes_later);
	RUN(protocols_without_choice);
	RUN(a_ping_to_us_is_no_answer);
	RUN(a_deleted_pods_port_is_not_answered);
	RUN(tcp_states);
	RUN(connections_outlive_the_agent);
	harness_done();
	return test_end();
}
