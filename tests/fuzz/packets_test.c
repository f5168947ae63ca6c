/* SPDX-License-Identifier: Apache-2.0 */
/* Random packets through the loaded programs, held against the model of packets_model.c: the same verdict, the same reason,
 * counted once, and a forwarded packet that differs in MACs, one hop and the checksum that follows from it, and nowhere else. (xdp_net, which is held
 * against from_net: mutations_come_out_the_same in tests/bpf/xdp_test.c.)
 *
 * A frame is built well, then damaged in up to three places. The run is repeatable: WEFT_FUZZ_SEED=N (printed) and the
 * number of the packet name it. */
#include "base/test.h"
#include "by_tunnel.skel.h"
#include "packets_model.h"

#include <bpf/bpf.h>
#include <err.h>
#include <net/if.h>
#include <sched.h>

enum { ETHER = 14, STRANGER = 1001 /* an interface of somebody else's */, ROUNDS = 5000, ROUNDS_FULL = 100000, PACKETS = 40 /* between two clearings: fewer than any table holds */ };

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static struct frame f;
static uint64_t state;
static uint64_t reasons[DROP_REASON_COUNT], ways[WAY_COUNT];

static uint32_t rnd(uint32_t n) /* below n: xorshift64* */
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dull >> 33) % n;
}

static const char *pick_addr(bool v6, bool local)
{
	static const char *const all[][2] = { { A4, A6 }, { B4, B6 }, { NODE4, NODE6 }, { DIRECT4, DIRECT6 }, { TUNNEL4, TUNNEL6 },
					      { WORLD4, WORLD6 }, { "224.0.0.1", "ff02::1" }, { "10.9.1.99", "fe80::2" },
					      { "255.255.255.255", "fe80::1" }, { "127.0.0.1", "::1" }, { "0.0.0.0", "::" } };

	return all[local && rnd(4) ? 0 : rnd(ARRAY_SIZE(all))][v6];
}

static void put_transport(uint8_t proto)
{
	static const uint16_t dhcp[] = { 67, 68, 546, 547 };
	static const char *const flags[] = { "S", "SA", "A", "F", "R" };
	static const uint8_t types4[] = { 0, 8, 3, 5, 11, 13 }, types6[] = { 128, 129, 1, 2, 3, 133, 134, 135, 136, 137, 143 };

	switch (proto) {
	case IPPROTO_TCP:
		frame_tcp(&f, 40000 + rnd(3), 80, flags[rnd(5)]);
		break;
	case IPPROTO_UDP:
		if (rnd(6))
			frame_udp(&f, 40000 + rnd(3), 53);
		else
			frame_udp(&f, dhcp[rnd(ARRAY_SIZE(dhcp))], dhcp[rnd(ARRAY_SIZE(dhcp))]);
		break;
	case IPPROTO_ICMP:
		frame_icmp(&f, types4[rnd(sizeof(types4))], 0, rnd(3));
		break;
	case IPPROTO_ICMPV6:
		frame_icmp(&f, types6[rnd(sizeof(types6))], 0, rnd(3));
		break;
	default:
		frame_payload(&f, 12);
	}
}

/* A quoted packet from where the error goes to, or the target of neighbour discovery. */
static void put_quote(bool v6, const char *from, const char *to)
{
	static const uint8_t ports[8] = { 40000 >> 8, 40000 & 255, 0, 53 };
	struct addr a = addr_of(from), b = addr_of(to);
	struct iphdr ip4 = { .version = 4, .ihl = 5, .tot_len = htons(200), .ttl = 9, .protocol = rnd(2) ? IPPROTO_UDP : IPPROTO_TCP };
	struct ipv6hdr ip6 = { .version = 6, .payload_len = htons(160), .nexthdr = rnd(2) ? IPPROTO_UDP : 44 };

	if (v6 && rnd(2)) {
		frame_put(&f, a.b, 16);
		return;
	}
	memcpy(&ip4.saddr, a.b + 12, 4);
	memcpy(&ip4.daddr, b.b + 12, 4);
	memcpy(&ip6.saddr, a.b, 16);
	memcpy(&ip6.daddr, b.b, 16);
	frame_put(&f, v6 ? (void *)&ip6 : &ip4, v6 ? sizeof(ip6) : sizeof(ip4));
	frame_put(&f, ports, sizeof(ports));
}

static void put_extensions(uint8_t proto)
{
	static const uint8_t kinds[] = { 0, 43, 44, 51, 60, 135 };
	unsigned n = rnd(10);
	uint8_t *next = &((struct ipv6hdr *)(f.data + f.l3))->nexthdr;

	for (unsigned i = 0; i < n; i++) {
		uint8_t kind = rnd(3) ? 60 : kinds[rnd(sizeof(kinds))], ext[8] = { proto };

		if (kind == 43)
			ext[2] = rnd(4), ext[3] = rnd(8) ? 0 : 1;
		if (kind == 44)
			ext[3] = rnd(3) ? rnd(2) : 8 * (1 + rnd(4)), ext[7] = rnd(3);
		*next = kind;
		next = frame_put(&f, ext, 8);
		*next = proto;
	}
	f.l4 = f.len;
}

static void put_options(void)
{
	static const uint8_t options[][4] = { { 1, 1, 1, 0 }, { 7, 3, 4, 0 }, { 131, 3, 4, 0 }, { 7, 0, 0, 0 }, { 148, 4, 0, 0 }, { 137, 3, 4, 0 } };
	unsigned n = 1 + rnd(3);

	for (unsigned i = 0; i < n; i++)
		frame_put(&f, options[rnd(rnd(2) ? 2 : ARRAY_SIZE(options))], 4);
	frame_ip4(&f)->ihl += n;
	f.l4 = f.len;
}

static void put_fragment4(void)
{
	frame_ip4(&f)->frag_off = htons(rnd(2) ? 0x2000 : rnd(5) | (rnd(2) ? 0x2000 : 0));
	frame_ip4(&f)->id = htons(rnd(3));
}

/* Whose packets come by the mesh, or are to go there: those of a node that has it, those of pod C, somebody's. */
static const char *pick_mesh(bool v6)
{
	static const char *const all[][2] = { { MESH4, MESH6 }, { C4, C6 }, { "8.0.9.9", "2001:db8:86dd::9" } };
	uint32_t n = rnd(5);

	return all[n < 3 ? n : 0][v6];
}

enum kind { OF_POD, FROM_NET, TO_POD, OF_TUNNEL, TO_TUNNEL, OF_MESH, TO_MESH };

static const char *pick_source(enum kind kind, bool v6)
{
	if (kind == OF_MESH || kind == TO_MESH)
		return pick_mesh(v6);
	if (kind == OF_TUNNEL && rnd(4))
		return v6 ? TUNNEL6 : TUNNEL4;
	return pick_addr(v6, kind == OF_POD);
}

static void build(enum kind kind)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_ESP };
	bool v6 = rnd(2);
	uint8_t proto = protocols[rnd(sizeof(protocols))];
	const char *src = pick_source(kind, v6), *dst = pick_addr(v6, kind != OF_POD);

	if (proto == IPPROTO_ICMP && v6)
		proto = IPPROTO_ICMPV6;
	frame_ether(&f, rnd(16) ? mac_host_a : rnd(2) ? mac_other : everybody, mac_pod_a, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
	if (v6 && !rnd(3))
		put_extensions(proto);
	if (!v6 && !rnd(5))
		put_options();
	if (!v6 && !rnd(5))
		put_fragment4();
	put_transport(proto);
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		put_quote(v6, dst, src);
	frame_payload(&f, rnd(8) ? rnd(40) : 1400 + rnd(80));
	frame_end(&f);
	if (v6 && !rnd(4))
		frame_ip6(&f)->hop_limit = rnd(2) ? 255 : rnd(3);
	if (kind == OF_MESH || kind == TO_MESH) {
		f.len -= ETHER;
		memmove(f.data, f.data + ETHER, f.len);
	}
}

/* An outer packet of VXLAN, or of what is like it. */
static void build_outer(void)
{
	static const char *const sources[][2] = { { "192.0.2.3", "fd30::3" }, { "192.0.2.1", "fd30::1" }, { WORLD4, WORLD6 }, { NODE4, NODE6 } };
	static const uint8_t headers[][8] = { { 8, 0, 0, 0, 0, 0, 7, 0 }, { 8, 0, 0, 0, 0, 0, 9, 0 }, { 0x88, 0, 0, 1, 0, 0, 7, 0 }, { 8, 0, 0, 0, 0, 0, 7, 1 }, { 0, 0, 0x65, 0x58, 0, 0, 7, 0 } };
	static const uint16_t types[] = { ETH_P_IP, ETH_P_IPV6, ETH_P_ARP };
	bool v6 = rnd(2);
	uint16_t type = types[rnd(ARRAY_SIZE(types))], inner[7] = { [6] = htons(type) };
	uint32_t from = rnd(8);

	frame_ether(&f, rnd(16) ? mac_host_a : rnd(2) ? mac_other : everybody, mac_vtep, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, sources[from < 4 ? from : 0][v6], v6 ? "fd30::1" : "192.0.2.1", IPPROTO_UDP);
	frame_udp(&f, 50000, rnd(16) ? 4789 : 4790);
	frame_put(&f, headers[rnd(2) ? 0 : rnd(ARRAY_SIZE(headers))], 8 - (rnd(8) ? 0 : rnd(8)));
	frame_put(&f, inner, rnd(4) ? sizeof(inner) : rnd(sizeof(inner)));
	frame_payload(&f, rnd(60));
	frame_end(&f);
	((struct udphdr *)(f.data + f.l4))->len = htons(f.len - f.l4 + (rnd(6) ? 0 : rnd(40) - 20));
}

static void damage(void)
{
	static const uint8_t tags[][4] = { { 0x60, 0, 8, 0 }, { 0, 5, 8, 0 }, { 0, 0, 0x81, 0 }, { 0, 5, 0x88, 0xa8 } };
	static const uint8_t interesting[] = { 0, 1, 2, 4, 5, 6, 17, 43, 44, 51, 58, 60, 127, 128, 132, 135, 136, 255 };
	uint32_t reach = MIN(f.len, (size_t)110), at = rnd(4) ? 12 + rnd(reach - 12) : rnd(reach);

	switch (rnd(7)) {
	case 0:
		f.data[at] ^= 1 << rnd(8);
		break;
	case 1:
	case 2:
		f.data[at] = interesting[rnd(sizeof(interesting))];
		break;
	case 3:
		f.data[at] = rnd(256);
		break;
	case 4:
		f.len = MAX((size_t)14 + 20, f.len - rnd(f.len));
		break;
	case 6: /* an IPv4-mapped address, where an IPv6 packet has one */
		memcpy(f.data + (rnd(2) ? 22 : 38), "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x09\x01", 15);
		f.data[13] = rnd(2) ? 0xdd : f.data[13];
		break;
	case 5:
		f.data[12] = rnd(2) ? 0x81 : 0x08, f.data[13] = rnd(2) ? 0 : 6;
		if (f.data[12] == 0x81 && rnd(2)) /* a whole tag, and perhaps one behind it */
			memcpy(f.data + 14, tags[rnd(ARRAY_SIZE(tags))], 4);
	}
}

static bool may_be_refused(void) /* by bpf_prog_test_run, which wants a whole network header */
{
	return f.len < 14 + 40;
}

static void explain(uint64_t seed, unsigned number, const char *program, const struct model_verdict *want, int verdict,
		    enum drop_reason why)
{
	printf("# WEFT_FUZZ_SEED=%llu, packet %u, %s: verdict %d (%s); the model: way %d (%s)\n# ", (unsigned long long)seed, number,
	       program, verdict, verdict == TC_ACT_SHOT ? drop_reason_label(why) : "", want->way,
	       want->way == WAY_DROP ? drop_reason_label(want->why) : "");
	for (size_t i = 0; i < f.len; i++)
		printf("%02x", f.data[i]);
	printf("\n");
}

static bool macs_are(const uint8_t *frame, const uint8_t *dst, const uint8_t *src)
{
	static const uint8_t zero[6];

	return memcmp(frame, dst ? dst : zero, 6) == 0 && memcmp(frame + 6, src ? src : zero, 6) == 0;
}

static bool macs_are_right(const struct model_verdict *want, const uint8_t *out)
{
	switch (want->way) {
	case WAY_LOCAL:
		return macs_are(out, want->to_b ? mac_pod_b : mac_pod_a, want->to_b ? mac_host_b : mac_host_a);
	case WAY_DIRECT:
		return macs_are(out, NULL, NULL);
	default:
		return macs_are(out, mac_vtep, mac_host_a);
	}
}

/* One hop less, a checksum that is as right as it was, nothing else. Without an Ethernet header it has got one. */
static bool is_one_hop_on(const struct outcome *o, bool bare)
{
	bool v6 = f.data[12] == 0x86;
	size_t ttl = v6 ? 21 : 22, more = bare ? ETHER : 0;
	uint8_t was[2048];

	memcpy(was + 12, f.data + 12, 2);
	memcpy(was + more, f.data, f.len);
	if (bare)
		memcpy(was + 12, f.data + 12, 2);
	if (o->len != f.len + more || o->data[ttl] != was[ttl] - 1)
		return false;
	if (!v6 && frame_ip4_checksum_ok(was + ETHER) != frame_ip4_checksum_ok(o->data + ETHER))
		return false;
	memcpy(was, o->data, 12);
	was[ttl] = o->data[ttl];
	if (!v6)
		memcpy(was + 24, o->data + 24, 2);
	return memcmp(was, o->data, o->len) == 0;
}

/* @counted: drops, of whatever reason */
static bool agrees(const struct model_verdict *want, const struct outcome *o, enum drop_reason why, uint64_t counted, bool bare)
{
	if (counted != (want->way == WAY_DROP))
		return false;
	if (want->way == WAY_DROP)
		return o->verdict == TC_ACT_SHOT && why == want->why;
	if (want->way == WAY_STACK)
		return o->verdict == TC_ACT_OK && o->len == f.len && memcmp(o->data, f.data, f.len) == 0;
	return o->verdict == TC_ACT_REDIRECT && macs_are_right(want, o->data) && is_one_hop_on(o, bare);
}

static const struct program {
	const char *name;
	struct model_verdict (*model)(const uint8_t *frame, size_t len);
	uint32_t *ifindex;
	enum kind kind;
} programs[] = {
	{ "from_pod", model_from_pod, &if_a, OF_POD },
	{ "from_pod", model_from_pod, &if_a, OF_POD },
	{ "from_net", model_from_net, &if_uplink, FROM_NET },
	{ "to_pod", model_to_pod, &if_a, TO_POD },
	{ "from_tunnel", model_from_tunnel, &if_tunnel, OF_TUNNEL },
	{ "to_tunnel", model_to_tunnel, &if_tunnel, TO_TUNNEL },
	{ "from_mesh", model_from_mesh, &if_tunnel, OF_MESH },
	{ "to_mesh", model_to_mesh, &if_tunnel, TO_MESH },
};

static bool met[ARRAY_SIZE(programs)][WAY_COUNT];
static struct by_tunnel *by_tunnel;

/* How often anything was dropped since the last look, and why last. */
static uint64_t new_drops(enum drop_reason *ret_why)
{
	static struct dp_counter seen[DROP_REASON_COUNT];
	struct dp_counter now[DROP_REASON_COUNT];
	uint64_t n = 0;

	*ret_why = DROP_NONE;
	CHECK_INT(datapath_read_drops(dp, now), 0);
	for (int i = 0; i < DROP_REASON_COUNT; i++) {
		if (now[i].packets != seen[i].packets)
			*ret_why = i;
		n += now[i].packets - seen[i].packets;
	}
	memcpy(seen, now, sizeof(seen));
	return n;
}

/* The tunnel that it came out of, which mostly is node 3's, or the interface that it came in by. */
static void set_around(enum kind kind)
{
	static const char *const from[][2] = { { "192.0.2.3", "fd30::3" }, { "192.0.2.2", "fd30::2" }, { WORLD4, WORLD6 }, { "192.0.2.1", "fd30::1" } };
	const uint32_t by[] = { HARNESS_BY_NODE, 1, if_a, if_b, if_c, if_uplink, if_tunnel, STRANGER, STRANGER };
	bool v6 = rnd(4) ? f.data[12] == 0x86 : rnd(2);

	model_around = (struct model_around){ .tunnelled = kind == OF_TUNNEL && rnd(16), .vni = rnd(8) ? 7 : rnd(9) };
	model_around.outer_src = addr_of(from[rnd(3) ? 0 : rnd(ARRAY_SIZE(from))][v6]);
	model_around.outer_dst = addr_of(rnd(8) ? v6 ? "fd30::1" : "192.0.2.1" : v6 ? NODE6 : NODE4);
	harness_came_by = kind == TO_TUNNEL || kind == TO_MESH ? by[rnd(ARRAY_SIZE(by))] : 0;
	model_around.came_by = harness_came_by == HARNESS_BY_NODE ? 0 : harness_came_by;
}

static struct outcome run_out_of_tunnel(void)
{
	const struct model_around *m = &model_around;
	struct bpf_tunnel_key key = { .tunnel_id = m->vni };
	struct __sk_buff ctx = { .ifindex = if_tunnel };
	struct outcome o = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.data, .data_size_in = f.len, .data_out = o.data, .data_size_out = sizeof(o.data),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	bool v6 = !addr_is_v4(&m->outer_src);
	int r;

	memcpy(v6 ? (void *)key.local_ipv6 : &key.local_ipv4, m->outer_src.b + (v6 ? 0 : 12), v6 ? 16 : 4);
	memcpy(v6 ? (void *)key.remote_ipv6 : &key.remote_ipv4, m->outer_dst.b + (v6 ? 0 : 12), v6 ? 16 : 4);
	if (!v6)
		key.local_ipv4 = ntohl(key.local_ipv4), key.remote_ipv4 = ntohl(key.remote_ipv4);
	by_tunnel->bss->outer = key;
	by_tunnel->bss->outer_is_v6 = v6;
	r = bpf_prog_test_run_opts(bpf_program__fd(by_tunnel->progs.by_tunnel), &opts);
	o.verdict = r < 0 ? r : (int)opts.retval;
	o.len = opts.data_size_out;
	return o;
}

static bool one_packet(uint64_t seed, unsigned number)
{
	const struct program *p = &programs[rnd(ARRAY_SIZE(programs))];
	unsigned wounds = rnd(4);
	struct model_verdict want;
	struct outcome o;
	enum drop_reason why;
	uint64_t counted;

	if (p->kind == FROM_NET && !rnd(3))
		build_outer();
	else
		build(p->kind);
	while (wounds--)
		damage();
	set_around(p->kind);
	o = p->kind == OF_TUNNEL && model_around.tunnelled ? run_out_of_tunnel() : run(p->name, &f, *p->ifindex);
	if (o.verdict == -EINVAL && may_be_refused())
		return true;
	counted = new_drops(&why);
	want = p->model(f.data, f.len);
	if (!agrees(&want, &o, why, counted, p->kind == OF_MESH)) {
		explain(seed, number, p->name, &want, o.verdict, why);
		return false;
	}
	ways[want.way]++;
	met[p - programs][want.way] = true;
	reasons[want.why] += want.way == WAY_DROP;
	return true;
}

static void programs_agree_with_the_model(void)
{
	const char *given = getenv("WEFT_FUZZ_SEED"), *tier = getenv("WEFT_TEST_TIER");
	uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
	unsigned rounds = streq(tier, "full") ? ROUNDS_FULL : ROUNDS;

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	for (unsigned i = 0; i < rounds; i++) {
		flows_clear();
		model_clear();
		for (unsigned k = 0; k < PACKETS; k++)
			CHECK(one_packet(seed, i * PACKETS + k));
	}
}

/* A generator that never gets somewhere would find nothing there. */
static void every_outcome_was_met(void)
{
	static const enum drop_reason elsewhere[] = { DROP_NONE, DROP_NO_ENDPOINT, DROP_FLOW_SHARE, DROP_FLOW_TABLE_FULL, DROP_NAT_EXHAUSTED, DROP_NAT_SHARE, DROP_NAT_TABLE_FULL,
						      DROP_NAT_ADDRESS, DROP_PLAINTEXT_OUT, DROP_PLAINTEXT_IN, DROP_POLICY_EGRESS, DROP_POLICY_INGRESS,
						      DROP_POLICY_UNKNOWN_POD, DROP_POLICY_LOCKED, DROP_GENEVE_HEADER, DROP_GENEVE_CONTROL,
						      DROP_GENEVE_CRITICAL, DROP_FLOW_UNANSWERED, DROP_NAT_UNANSWERED, DROP_NAT_TUNNEL,
						      DROP_SERVICE_REFUSED, DROP_SERVICE_NO_LOCAL, DROP_SERVICE_SOURCE, DROP_SERVICE_PORT,
						      DROP_TOO_BIG, DROP_HOP_LIMIT };

	for (int w = 0; w < WAY_COUNT; w++)
		CHECK(ways[w] > 0);
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		enum kind kind = programs[i].kind;

		CHECK(met[i][WAY_DROP] && met[i][WAY_STACK]);
		CHECK(met[i][WAY_LOCAL] == (kind != TO_POD && kind != TO_TUNNEL && kind != TO_MESH));
	}
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		bool counted = true;

		for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
			counted &= elsewhere[i] != (enum drop_reason)r;
		if (counted && !reasons[r])
			printf("# never: %s\n", drop_reason_label(r));
		CHECK(!counted || reasons[r] > 0);
	}
}

static struct dp_node_route mesh_route(const char *addr)
{
	struct addr a = addr_of(addr);

	return (struct dp_node_route){ .prefix = prefix_host(&a), .transport = DP_MESH, .underlay = addr_of("192.0.2.4"), .ifindex = if_tunnel, .mtu = 1420 };
}

static struct dp_node_route node_route(const char *prefix, enum dp_transport transport, const char *underlay)
{
	struct dp_node_route r = { .transport = transport, .underlay = addr_of(underlay), .ifindex = transport == DP_TUNNEL ? if_tunnel : if_uplink,
				   .mtu = transport == DP_TUNNEL ? 1450 : 1500, .plain = transport == DP_DIRECT };

	assert(prefix_parse(prefix, &r.prefix, NULL) == 0);
	if (r.plain)
		r.plain_by[0] = if_uplink;
	else
		r.outer = r.underlay;
	memcpy(r.vtep_mac, mac_vtep, 6);
	return r;
}

/* The harness's node, a node by the mesh and pod C. */
static void add_mesh(void)
{
	struct dp_node_route routes[] = { node_route("10.9.2.0/24", DP_DIRECT, "192.0.2.2"), node_route("fd09:0:0:2::/64", DP_DIRECT, "fd30::2"),
					  node_route("10.9.3.0/24", DP_TUNNEL, "192.0.2.3"), node_route("fd09:0:0:3::/64", DP_TUNNEL, "fd30::3"),
					  mesh_route(MESH4), mesh_route(MESH6) };
	struct dp_endpoint pods[] = { { .ifindex = if_a, .id = 1, .addrs = { addr_of(A4), addr_of(A6) } }, { .ifindex = if_b, .id = 2, .addrs = { addr_of(B4), addr_of(B6) } },
				      { .id = 3, .addrs = { addr_of(C4), addr_of(C6) } } };

	memcpy(pods[0].pod_mac, mac_pod_a, 6);
	memcpy(pods[0].host_mac, mac_host_a, 6);
	memcpy(pods[1].pod_mac, mac_pod_b, 6);
	memcpy(pods[1].host_mac, mac_host_b, 6);
	pods[2].ifindex = if_c = if_nametoindex("peer-b");
	if (!if_c || datapath_apply_endpoints(dp, pods, ARRAY_SIZE(pods)) < 0 || datapath_apply_node_routes(dp, routes, ARRAY_SIZE(routes)) < 0)
		errx(1, "the mesh");
}

static void load_by_tunnel(void)
{
	int zero = 0, fd = datapath_program_fd(dp, "from_tunnel");

	by_tunnel = by_tunnel__open_and_load();
	if (!by_tunnel || bpf_map_update_elem(bpf_map__fd(by_tunnel->maps.next), &zero, &fd, BPF_ANY) < 0)
		err(1, "by_tunnel");
}

int main(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one); /* tables that forget the oldest do so for each processor */
	harness_init();
	dp_config.foreign_nat = false; /* the model knows no stages of a flow; stack_test.c has these */
	harness_reopen();
	harness_forward(false); /* nor the node's routes */
	add_mesh();
	load_by_tunnel();
	RUN(programs_agree_with_the_model);
	RUN(every_outcome_was_met);
	by_tunnel__destroy(by_tunnel);
	harness_done();
	return test_end();
}
