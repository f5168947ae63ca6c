/* SPDX-License-Identifier: Apache-2.0 */
/* Random packets through the loaded programs, held against the model of packets_model.c: the same verdict, the same reason,
 * and a forwarded packet that differs in MACs, one hop and the checksum that follows from it, and nowhere else.
 *
 * A frame is built well, then damaged in up to three places. The run is repeatable: WEFT_FUZZ_SEED=N (printed) and the
 * number of the packet name it. */
#include "base/test.h"
#include "packets_model.h"

#include <sched.h>

enum { ROUNDS = 5000, ROUNDS_FULL = 100000, PACKETS = 40 /* between two clearings: fewer than any table holds */ };

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

static void build(bool from_pod)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_ESP };
	bool v6 = rnd(2);
	uint8_t proto = protocols[rnd(sizeof(protocols))];
	const char *src = pick_addr(v6, from_pod), *dst = pick_addr(v6, !from_pod);

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

/* One hop less, a checksum that is as right as it was, nothing else. */
static bool is_one_hop_on(const struct outcome *o)
{
	bool v6 = f.data[12] == 0x86;
	size_t ttl = v6 ? 21 : 22;
	uint8_t was[2048];

	if (o->len != f.len || o->data[ttl] != f.data[ttl] - 1)
		return false;
	if (!v6 && frame_ip4_checksum_ok(f.data + 14) != frame_ip4_checksum_ok(o->data + 14))
		return false;
	memcpy(was, f.data, f.len);
	memcpy(was, o->data, 12);
	was[ttl] = o->data[ttl];
	if (!v6)
		memcpy(was + 24, o->data + 24, 2);
	return memcmp(was, o->data, f.len) == 0;
}

static bool agrees(const struct model_verdict *want, const struct outcome *o, enum drop_reason why)
{
	if (want->way == WAY_DROP)
		return o->verdict == TC_ACT_SHOT && why == want->why;
	if (want->way == WAY_STACK)
		return o->verdict == TC_ACT_OK && o->len == f.len && memcmp(o->data, f.data, f.len) == 0;
	return o->verdict == TC_ACT_REDIRECT && macs_are_right(want, o->data) && is_one_hop_on(o);
}

static const struct program {
	const char *name;
	struct model_verdict (*model)(const uint8_t *frame, size_t len);
	uint32_t *ifindex;
	bool from_pod;
} programs[] = {
	{ "from_pod", model_from_pod, &if_a, true },
	{ "from_pod", model_from_pod, &if_a, true },
	{ "from_net", model_from_net, &if_uplink, false },
	{ "to_pod", model_to_pod, &if_a, false },
};

static bool one_packet(uint64_t seed, unsigned number)
{
	const struct program *p = &programs[rnd(ARRAY_SIZE(programs))];
	unsigned wounds = rnd(4);
	struct model_verdict want;
	struct outcome o;
	enum drop_reason why;

	build(p->from_pod);
	while (wounds--)
		damage();
	o = run(p->name, &f, *p->ifindex);
	if (o.verdict == -EINVAL && may_be_refused())
		return true;
	why = last_drop();
	want = p->model(f.data, f.len);
	if (!agrees(&want, &o, why)) {
		explain(seed, number, p->name, &want, o.verdict, why);
		return false;
	}
	ways[want.way]++;
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
	static const enum drop_reason elsewhere[] = { DROP_NONE, DROP_NO_ENDPOINT, DROP_FLOW_SHARE, DROP_FLOW_TABLE_FULL, DROP_TUNNEL_VNI,
						      DROP_TUNNEL_SOURCE, DROP_TUNNEL_DESTINATION, DROP_NAT_EXHAUSTED, DROP_NAT_SHARE, DROP_NAT_TABLE_FULL,
						      DROP_NAT_ADDRESS, DROP_PLAINTEXT_OUT, DROP_PLAINTEXT_IN, DROP_POLICY_EGRESS, DROP_POLICY_INGRESS,
						      DROP_POLICY_UNKNOWN_POD, DROP_POLICY_LOCKED, DROP_GENEVE_HEADER, DROP_GENEVE_CONTROL,
						      DROP_GENEVE_CRITICAL, DROP_FLOW_UNANSWERED, DROP_NAT_UNANSWERED, DROP_NAT_TUNNEL,
						      DROP_SERVICE_REFUSED, DROP_SERVICE_NO_LOCAL, DROP_SERVICE_SOURCE, DROP_SERVICE_PORT,
						      DROP_TOO_BIG, DROP_HOP_LIMIT, DROP_STRAY_SOURCE, DROP_VXLAN_HEADER };

	for (int w = 0; w < WAY_COUNT; w++)
		CHECK(ways[w] > 0);
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		bool counted = true;

		for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
			counted &= elsewhere[i] != (enum drop_reason)r;
		if (counted && !reasons[r])
			printf("# never: %s\n", drop_reason_label(r));
		CHECK(!counted || reasons[r] > 0);
	}
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
	RUN(programs_agree_with_the_model);
	RUN(every_outcome_was_met);
	harness_done();
	return test_end();
}
