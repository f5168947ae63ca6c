/* SPDX-License-Identifier: Apache-2.0 */
/* Outer packets whose inside goes straight to a pod; and all those that are left, as they came, to the kernel's tunnel device. */
#include "base/test.h"
#include "harness.h"

#include <bpf/bpf.h>
#include <string.h>
#include <sys/utsname.h>

#define OWN4 "192.0.2.1"
#define PEER4 "192.0.2.3"
#define OWN6 "fd30::1"
#define PEER6 "fd30::3"

enum { UDP_LEN = 8, TUNNEL_LEN = 8, ETHER_LEN = 14, CE = 3 };

static struct frame f;
static bool geneve;

/* A packet of the other node's pod in an outer packet of that node, and where its parts are in the frame. */
struct wrapped {
	bool outer6, inner6;
	uint8_t outer_tos, inner_tos, proto;
	const char *outer_src, *inner_src, *inner_dst;
	size_t ip, udp, tunnel, ether, inner;
};

static struct wrapped plain(bool outer6, bool inner6)
{
	return (struct wrapped){ .outer6 = outer6, .inner6 = inner6, .proto = IPPROTO_TCP, .outer_src = outer6 ? PEER6 : PEER4,
				 .inner_src = inner6 ? TUNNEL6 : TUNNEL4, .inner_dst = inner6 ? A6 : A4 };
}

static void put_tos(struct frame *g, size_t ip, bool v6, uint8_t tos)
{
	if (v6)
		*(uint32_t *)(g->data + ip) |= htonl((uint32_t)tos << 20);
	else
		g->data[ip + 1] = tos;
}

static void make_inner(struct frame *g, const struct wrapped *w, size_t payload)
{
	frame_ether(g, mac_host_b, mac_vtep, w->inner6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(g, w->inner_src, w->inner_dst, w->proto);
	put_tos(g, g->l3, w->inner6, w->inner_tos);
	if (w->proto == IPPROTO_TCP)
		frame_tcp(g, 40000, 80, "S");
	else
		frame_icmp(g, w->inner6 ? 1 : 3, 0, 0);
	frame_payload(g, payload);
	frame_end(g);
}

static const uint8_t vxlan[TUNNEL_LEN] = { 8, 0, 0, 0, 0, 0, 7, 0 }, gnv[TUNNEL_LEN] = { 0, 0, 0x65, 0x58, 0, 0, 7, 0 };

/* Into `f`. */
static void wrap(struct wrapped *w, uint16_t sport, size_t payload)
{
	struct frame inner;

	make_inner(&inner, w, payload);
	frame_ether(&f, mac_host_a, mac_vtep, w->outer6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, w->outer_src, w->outer6 ? OWN6 : OWN4, IPPROTO_UDP);
	w->ip = f.l3;
	put_tos(&f, f.l3, w->outer6, w->outer_tos);
	frame_udp(&f, sport, dp_config.tunnel_port);
	w->udp = f.l4;
	w->tunnel = f.len;
	frame_put(&f, geneve ? gnv : vxlan, TUNNEL_LEN);
	w->ether = f.len;
	frame_put(&f, inner.data, inner.len);
	w->inner = w->ether + ETHER_LEN;
	((struct udphdr *)(f.data + w->udp))->len = htons(f.len - w->udp);
	frame_end(&f);
	((struct udphdr *)(f.data + w->udp))->check = 0;
}

static void check_given(const struct outcome *o, const struct wrapped *w, uint8_t tos)
{
	const uint8_t *ip = o->data + ETHER_LEN;
	size_t head = w->inner6 ? 40 : 20;

	CHECK_INT(o->len, f.len - w->ether);
	CHECK(memcmp(o->data, mac_pod_a, 6) == 0 && memcmp(o->data + 6, mac_host_a, 6) == 0);
	CHECK(memcmp(o->data + 12, f.data + w->ether + 12, 2) == 0);
	CHECK_INT(w->inner6 ? ip[7] : ip[8], 63);
	CHECK_INT(w->inner6 ? (ip[0] << 4 & 0xf0) | ip[1] >> 4 : ip[1], tos);
	CHECK(w->inner6 || frame_ip4_checksum_ok(ip));
	CHECK(memcmp(ip + head, f.data + w->inner + head, f.len - w->inner - head) == 0);
}

/* What everybody on the link gets is no node's to this one. */
static void not_in_frames_to_a_group(void)
{
	static const uint8_t groups[][6] = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, { 1, 0, 0x5e, 0, 0, 1 }, { 0x33, 0x33, 0, 0, 0, 1 } };

	for (int v6 = 0; v6 < 2; v6++) {
		struct wrapped w = plain(v6, v6);

		flows_clear();
		for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
			wrap(&w, 50000, 64);
			memcpy(f.data, groups[i], 6);
			CHECK_DROP("from_net", &f, if_uplink, DROP_DESTINATION_MAC);
		}
	}
}

/* It goes on to the device as @want. */
static void leave_as(const struct frame *want, const char *what, uint32_t gso_size)
{
	struct outcome o;

	o = run_gso("from_net", &f, if_uplink, gso_size);
	if (o.verdict != TC_ACT_OK)
		printf("# %s\n", what);
	CHECK_INT(o.verdict, TC_ACT_OK);
	CHECK(o.len == want->len && memcmp(o.data, want->data, want->len) == 0);
}

/* To the byte as it came. */
static void leave(const char *what, uint32_t gso_size)
{
	leave_as(&f, what, gso_size);
}

/* Linux 6.3 and later: the other family's packet is taken out as well (BPF_F_ADJ_ROOM_DECAP_L3_*). Before, it is the device's. */
static bool kernel_changes_family(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 3));
}

static void give(struct wrapped w, uint8_t tos)
{
	struct outcome o;

	wrap(&w, 50000, 100);
	if (w.outer6 != w.inner6 && !kernel_changes_family()) {
		struct frame want = f;

		memcpy(want.data + w.tunnel, vxlan, TUNNEL_LEN); /* Geneve is told to the device as VXLAN (lib/geneve.h) */
		leave_as(&want, "the other family", 0);
		return;
	}
	o = CHECK_WAY("from_net", &f, if_uplink, FORWARD_LOCAL, TC_ACT_REDIRECT);
	check_given(&o, &w, tos);
}

static void reach_by(const char *underlay)
{
	struct dp_node_route routes[2] = { { .transport = DP_TUNNEL, .underlay = addr_of(underlay), .outer = addr_of(underlay), .ifindex = if_tunnel,
					     .mtu = 1450, .unwrap = true } };

	routes[1] = routes[0];
	assert(prefix_parse("10.9.3.0/24", &routes[0].prefix, NULL) == 0 && prefix_parse("fd09:0:0:3::/64", &routes[1].prefix, NULL) == 0);
	CHECK_INT(datapath_apply_node_routes(dp, routes, ARRAY_SIZE(routes)), 0);
}

static void each_family_in_each(void)
{
	for (int v = 0; v < 4; v++) {
		reach_by(v & 1 ? PEER6 : PEER4);
		give(plain(v & 1, v & 2), 0);
	}
}

static void congestion_outside_is_told_inside(void)
{
	static const struct {
		uint8_t outer, inner, given;
	} cases[] = { { 0, 0, 0 }, { 2, 2, 2 }, { 1, 1, 1 }, { 2, CE, CE }, { CE, 2, CE }, { CE, 1, CE }, { CE, CE, CE }, { 0xb8, 0, 0 } };

	for (int v = 0; v < 4; v++) {
		reach_by(v & 1 ? PEER6 : PEER4);
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			struct wrapped w = plain(v & 1, v & 2);

			w.outer_tos = cases[i].outer;
			w.inner_tos = cases[i].inner;
			give(w, cases[i].given);
		}
	}
}

static void spoil_headers(bool outer6)
{
	struct wrapped w = plain(outer6, false);
	struct udphdr *udp;

	wrap(&w, 50000, 100);
	f.data[w.tunnel + 6] ^= 1;
	leave("another network", 0);
	wrap(&w, 50000, 100);
	f.data[w.tunnel] ^= 0x10;
	CHECK_DROP("from_net", &f, if_uplink, DROP_VXLAN_HEADER);
	wrap(&w, 50000, 100);
	udp = (void *)(f.data + w.udp);
	udp->check = htons(1);
	leave("a UDP checksum", 0);
	wrap(&w, 50000, 100);
	udp->len = htons(ntohs(udp->len) - 1);
	leave("a short UDP packet", 0);
	wrap(&w, 50000, 100);
	f.len++;
	leave("a longer frame", 0);
	wrap(&w, 50000, 100);
	f.data[w.ether + 13] = 6;
	leave("ARP inside", 0);
	if (outer6)
		return;
	wrap(&w, 50000, 100);
	frame_ip4(&f)->check ^= 1;
	leave("a wrong IP checksum", 0);
}

static void spoil_inside(void)
{
	struct wrapped w = plain(false, false);

	w.outer_src = "192.0.2.4";
	wrap(&w, 50000, 100);
	leave("another node", 0);
	w = plain(false, false);
	w.inner_src = WORLD4;
	wrap(&w, 50000, 100);
	leave("the world inside", 0);
	w = plain(false, false);
	w.inner_dst = NODE4;
	wrap(&w, 50000, 100);
	leave("for the node itself", 0);
	w.inner_dst = "10.9.1.99";
	wrap(&w, 50000, 100);
	leave("for nobody", 0);
	w = plain(false, false);
	w.proto = IPPROTO_ICMP;
	wrap(&w, 50000, 100);
	leave("an ICMP error", 0);
	w = plain(false, false);
	w.outer_tos = CE;
	wrap(&w, 50000, 100);
	leave("congestion that cannot be told", 0);
	w = plain(false, false);
	wrap(&w, 50000, 100);
	f.data[w.inner + 8] = 1;
	leave("the last hop", 0);
	wrap(&w, 50000, 100);
	f.data[w.inner + 6] = 0x20;
	leave("a fragment inside", 0);
}

static void the_rest_is_the_devices(void)
{
	struct dp_node_route none = { .transport = DP_TUNNEL, .underlay = addr_of(PEER4), .outer = addr_of(PEER4), .ifindex = if_tunnel, .mtu = 1450 };
	struct wrapped w = plain(false, false);

	reach_by(PEER6);
	spoil_headers(true);
	reach_by(PEER4);
	spoil_headers(false);
	spoil_inside();
	assert(prefix_parse("10.9.3.0/24", &none.prefix, NULL) == 0);
	CHECK_INT(datapath_apply_node_routes(dp, &none, 1), 0);
	wrap(&w, 50000, 100);
	leave("where it was not asked for", 0);
}

/* Behind a superpacket single packets wait for it with the device; other flows do not. */
static void what_follows_a_superpacket_does_not_overtake_it(void)
{
	struct wrapped w = plain(false, false), other = w;

	reach_by(PEER4);
	wrap(&w, 50001, 1400);
	leave("a superpacket", 1000);
	wrap(&w, 50001, 100);
	leave("a single packet behind it", 0);
	wrap(&other, 50002, 100);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_REDIRECT);
}

static void without_the_fast_path_all_is_the_devices(void)
{
	struct wrapped w = plain(false, false);

	dp_config.fast_path = false;
	harness_reopen();
	reach_by(PEER4);
	wrap(&w, 50000, 100);
	leave("fast path off", 0);
	dp_config.fast_path = true;
	harness_reopen();
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
	RUN(not_in_frames_to_a_group);
	RUN(each_family_in_each);
	RUN(congestion_outside_is_told_inside);
	RUN(the_rest_is_the_devices);
	RUN(what_follows_a_superpacket_does_not_overtake_it);
	RUN(without_the_fast_path_all_is_the_devices);
	RUN(geneve_alike);
	harness_done();
	return test_end();
}
