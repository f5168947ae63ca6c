/* SPDX-License-Identifier: Apache-2.0 */
/* NAT and masquerade, what becomes of packets: every header and checksum of what comes out is looked at. */
#include "../lab/sctp.h"
#include "nat_node.h"

#define ROUTER4 "203.0.113.1"
#define ROUTER6 "2001:db8:1::1"

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
	harness_came_by = if_b; /* a container's, say, that netfilter has translated: another node would believe what is inside */
	CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_TUNNEL);
	harness_came_by = 0;
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

/* The headers of a fragment; what is later than the first is payload only. */
static void begin_fragment(const char *src, const char *dst, uint8_t proto, bool later)
{
	bool v6 = strchr(src, ':');
	uint8_t header[8] = { proto, 0, 0, later ? 64 : 1, 0, 0, 0, 5 };

	begin(src, dst, v6 ? IPPROTO_FRAGMENT : proto);
	if (v6)
		frame_put(&f, header, 8);
	else {
		frame_ip4(&f)->frag_off = htons(later ? 8 : 0x2000);
		frame_ip4(&f)->id = htons(5);
	}
}

static void fragment(const char *src, uint16_t sport, const char *dst, uint16_t dport, bool later)
{
	begin_fragment(src, dst, IPPROTO_UDP, later);
	if (!later)
		frame_udp(&f, sport, dport)->check = htons(0x1234);
	frame_payload(&f, later ? 40 : 56);
	frame_end(&f);
}

/* @type: 0 or 8, as IPv4 has them */
static void fragment_of_echo(const char *src, const char *dst, uint8_t type, uint16_t id, bool later)
{
	bool v6 = strchr(src, ':');

	begin_fragment(src, dst, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, later);
	if (!later)
		frame_icmp(&f, !v6 ? type : type ? 128 : 129, 0, id);
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

/* A long ping of a pod, and its answer; and one of somebody outside to this node, which is no answer. */
static void fragments_of_echoes(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const char *pod = v6 ? B6 : B4, *ours = families[v6].ours, *world = families[v6].world;
		struct view v;
		uint16_t id;

		packet(v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, v6 ? A6 : A4, 77, world, 0, "Q"); /* the identifier is another pod's */
		leave();
		fragment_of_echo(pod, world, 8, 77, false);
		v = leave();
		id = v.sport;
		CHECK_ADDR(v.src, ours);
		CHECK(id != 77);
		fragment_of_echo(pod, world, 8, 77, true);
		v = leave();
		CHECK_ADDR(v.src, ours);
		fragment_of_echo(world, ours, 8, id, false);
		v = arrive(TC_ACT_OK);
		CHECK_ADDR(v.dst, ours);
		fragment_of_echo(world, ours, 8, id, true);
		v = arrive(TC_ACT_OK);
		CHECK_ADDR(v.dst, ours);
		fragment_of_echo(world, ours, 0, id, false);
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, pod);
		CHECK_INT(v.sport, 77);
		fragment_of_echo(world, ours, 0, id, true);
		v = arrive(REDIRECT);
		CHECK_ADDR(v.dst, pod);
		CHECK(v6 || frame_ip4_checksum_ok(v.ip));
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

static void sctp(const char *src, const char *dst)
{
	uint8_t header[12] = { 0x9c, 0x40, 0x01, 0xbb };
	uint32_t sum;

	begin(src, dst, IPPROTO_SCTP);
	f.l4 = f.len;
	frame_put(&f, header, sizeof(header));
	frame_payload(&f, 32);
	frame_end(&f);
	sum = htole32(sctp_crc32c(f.data + f.l4, f.len - f.l4));
	memcpy(f.data + f.l4 + 8, &sum, sizeof(sum));
}

/* Two pods from one port to one peer: the second gets another port, and the checksum says so. */
static void sctp_ports_are_translated(void)
{
	uint8_t copy[12 + 32];
	struct view v;
	uint32_t sum;

	sctp(A4, WORLD4);
	v = leave();
	CHECK_ADDR(v.src, OURS4);
	CHECK_INT(v.sport, 40000);
	CHECK(frame_ip4_checksum_ok(v.ip));
	sctp(B4, WORLD4);
	v = leave();
	CHECK_ADDR(v.src, OURS4);
	CHECK(v.sport != 40000);
	memcpy(copy, v.ip + v.l4, sizeof(copy));
	memcpy(&sum, copy + 8, 4);
	memset(copy + 8, 0, 4);
	CHECK_INT(le32toh(sum), sctp_crc32c(copy, sizeof(copy)));
	sctp(B4, WORLD4); /* of a fragment nobody knows it */
	frame_ip4(&f)->frag_off = htons(0x2000);
	frame_end(&f);
	CHECK_DROP("to_net", &f, if_uplink, DROP_SERVICE_PORT);
	frame_ip4(&f)->frag_off = htons(8);
	frame_end(&f);
	CHECK_DROP("to_net", &f, if_uplink, DROP_SERVICE_PORT);
	forget();
}

static void portless(const char *src, const char *dst)
{
	begin(src, dst, IPPROTO_GRE);
	frame_payload(&f, 32);
	frame_end(&f);
}

/* No ports: one end inside for each outside. The node goes before pods, and keeps the claim as long as it speaks. */
static void protocols_without_choice(void)
{
	struct view v;

	portless(A6, WORLD6);
	v = leave();
	CHECK_ADDR(v.src, OURS6);
	portless(WORLD6, OURS6);
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, A6);
	for (int i = 0; i < 2; i++) {
		portless(OURS6, WORLD6);
		CHECK_same("the node's own");
		CHECK_INT(claims_of(NAT_OWNER_NODE), 1);
		flows_clear(); /* what the world begins with the pod, it may answer */
		portless(A6, WORLD6);
		CHECK_DROP("to_net", &f, if_uplink, DROP_NAT_EXHAUSTED);
		portless(WORLD6, OURS6);
		v = arrive(TC_ACT_OK);
		CHECK_ADDR(v.dst, OURS6);
	}
	CHECK_INT(claims_of(NAT_OWNER_ALL), 1);
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
	RUN(fragments_of_echoes);
	RUN(fragment_sums_are_mended);
	RUN(sctp_ports_are_translated);
	RUN(protocols_without_choice);
	RUN(a_ping_to_us_is_no_answer);
	harness_done();
	return test_end();
}
