/* SPDX-License-Identifier: Apache-2.0 */
/* A node with neighbours, connections of Services that go on by it, and xdp_net beside from_net over the same packets. */
#pragma once

#include "service_node.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "weft/xdp.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <time.h>

enum { BACKEND_PORT = 8080, CLIENT_PORT = 40000, STACK_TURN = 8, MUTATIONS = 3000, ROUTE_MTU = 1500 };

#define ROUTER4 "192.0.2.254"
#define ROUTER6 "fd30::fe"
#define OUTSIDE4 "198.51.100.77"
#define OUTSIDE6 "2001:db8::77"

static const uint8_t mac_node[6] = { 2, 2, 2, 2, 2, 2 }, mac_router[6] = { 2, 2, 2, 2, 2, 0xfe };

/* Where the endpoint is, and how the client's packets get there. */
static const struct conn {
	const char *what, *client, *ours, *endpoint, *as; /* as whom the node speaks to it */
	uint8_t proto, flags;				  /* of the frontend */
	const uint8_t *hop;
	enum forward_way way;
} conns[] = {
	{ "TCP over IPv4 to a node", WORLD4, OURS4, DIRECT4, NODE4, IPPROTO_TCP, 0, mac_node, FORWARD_DIRECT },
	{ "UDP over IPv4 to a node", WORLD4, OURS4, DIRECT4, NODE4, IPPROTO_UDP, 0, mac_node, FORWARD_DIRECT },
	{ "TCP over IPv6 to a node", WORLD6, OURS6, DIRECT6, NODE6, IPPROTO_TCP, 0, mac_node, FORWARD_DIRECT },
	{ "UDP over IPv6 to a node", WORLD6, OURS6, DIRECT6, NODE6, IPPROTO_UDP, 0, mac_node, FORWARD_DIRECT },
	{ "TCP over IPv4 to an endpoint outside", WORLD4, OURS4, OUTSIDE4, OURS4, IPPROTO_TCP, 0, mac_router, FORWARD_CLIENT },
	{ "UDP over IPv6 to an endpoint outside", WORLD6, OURS6, OUTSIDE6, OURS6, IPPROTO_UDP, 0, mac_router, FORWARD_CLIENT },
	{ "DSR, TCP over IPv4", WORLD4, OURS4, DIRECT4, NULL, IPPROTO_TCP, SERVICE_DSR, mac_node, FORWARD_DIRECT },
	{ "DSR, UDP over IPv6", WORLD6, OURS6, DIRECT6, NULL, IPPROTO_UDP, SERVICE_DSR, mac_node, FORWARD_DIRECT },
};

static uint16_t as_port; /* from which the node speaks to the endpoint */

/* ---- the node ---- */

static inline void neighbour(struct rtnl *nl, const char *addr, const uint8_t mac[6])
{
	struct neigh n = { .ifindex = if_uplink, .addr = addr_of(addr) };

	memcpy(n.mac, mac, 6);
	CHECK_INT(rtnl_replace_neigh(nl, &n), 0);
}

static inline void world_is_behind(struct rtnl *nl, const char *range, const char *router)
{
	struct route r = { .oif = if_uplink, .via = addr_of(router), .onlink = true };

	CHECK_INT(prefix_parse(range, &r.dst, NULL), 0);
	CHECK_INT(rtnl_replace_route(nl, &r), 0);
}

/* NODE_PORT, or no port at all: nobody claims it. */
static inline void reserve(bool it)
{
	bool reserved[65536] = { [NODE_PORT] = it };
	struct dp_nat_uplink uplink = { if_uplink, { addr_of(OURS4), addr_of(OURS6) } };
	struct dp_masquerade m = { .uplinks = &uplink, .n_uplinks = 1, .reserved = reserved };

	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
}

static inline void a_node_with_neighbours(void)
{
	_cleanup_close_ int self = netns_open_self();
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link_addr a4 = { if_uplink, addr_of(OURS4), 120, RT_SCOPE_UNIVERSE, 0 }, a6 = { if_uplink, addr_of(OURS6), 64, RT_SCOPE_UNIVERSE, IFA_F_NODAD };

	CHECK(self >= 0 && netns_sysctl(self, "ipv4/ip_forward", "1") == 0);
	CHECK_INT(netns_sysctl(self, "ipv6/conf/all/forwarding", "1"), 0);
	CHECK_INT(netns_sysctl(self, "ipv6/conf/uplink/disable_ipv6", "0"), 0);
	CHECK_INT(rtnl_open(&nl), 0);
	CHECK_INT(rtnl_replace_addr(nl, &a4), 0);
	CHECK_INT(rtnl_replace_addr(nl, &a6), 0);
	neighbour(nl, "192.0.2.2", mac_node);
	neighbour(nl, "fd30::2", mac_node);
	neighbour(nl, ROUTER4, mac_router);
	neighbour(nl, ROUTER6, mac_router);
	world_is_behind(nl, "198.51.100.0/24", ROUTER4);
	world_is_behind(nl, "2001:db8::/32", ROUTER6);
	reserve(false);
}

/* What xdp_net remembers as well. */
static inline void forget_all(void)
{
	int map = datapath_map_fd(dp, "xdp_recent");
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	forget();
	CHECK_INT(bpf_obj_get_info_by_fd(map, &info, &size), 0);
	for (uint32_t i = 0; i < info.max_entries; i++) {
		static const struct xdp_recent_pair none;
		struct xdp_recent_pair there;

		if (bpf_map_lookup_elem(map, &i, &there) == 0 && (there.line[0].mark || there.line[1].mark))
			put("xdp_recent", &i, &none);
	}
}

/* ---- packets ---- */

static inline struct outcome run_xdp(void)
{
	struct xdp_md ctx = { .data_end = f.len, .ingress_ifindex = if_uplink };
	struct outcome o = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.data, .data_size_in = f.len, .data_out = o.data, .data_size_out = sizeof(o.data),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	int r = bpf_prog_test_run_opts(datapath_program_fd(dp, "xdp_net"), &opts);

	CHECK_INT(r, 0);
	o.verdict = (int)opts.retval;
	o.len = opts.data_size_out;
	return o;
}

static inline void from_client(const struct conn *c, const char *flags, size_t payload)
{
	packet(c->proto, c->client, CLIENT_PORT, c->ours, NODE_PORT, flags, payload);
	if (c->proto == IPPROTO_UDP)
		((struct udphdr *)(f.data + f.l4))->len = htons(8 + payload);
	set_transport_sum(&f);
}

static inline void from_endpoint(const struct conn *c, const char *flags, size_t payload)
{
	packet(c->proto, c->endpoint, BACKEND_PORT, c->as, as_port, flags, payload);
	if (c->proto == IPPROTO_UDP)
		((struct udphdr *)(f.data + f.l4))->len = htons(8 + payload);
	set_transport_sum(&f);
}

/* As a veth, or a guest's virtio device, hands on what no wire has seen: the checksum's field holds the pseudo header's sum. */
static inline void sum_to_come(void)
{
	struct view v = view_of(f.data + f.l3);
	uint16_t pseudo = fold(sum_of(v.ip + (v.v6 ? 8 : 12), v.v6 ? 32 : 8) + v.proto + (v.len - v.l4));
	uint8_t *sum = f.data + f.l4 + sum_offset(v.proto);

	sum[0] = pseudo >> 8;
	sum[1] = pseudo;
}

/* A connection that has been answered, and goes on. */
static inline void establish(const struct conn *c)
{
	forget_all();
	service(c->ours, NODE_PORT, c->proto, c->endpoint, BACKEND_PORT, c->flags, 1);
	from_client(c, "S", 0);
	as_port = through("from_net", if_uplink).sport;
	if (c->as) {
		from_endpoint(c, "SA", 0);
		through("from_net", if_uplink);
	}
	from_client(c, "A", 0);
	through("from_net", if_uplink);
}

/* What lies in both maps: there is one connection. */
struct memory {
	struct nat_key inside, outside;
	struct nat_forward forward;
	struct nat_claim claim;
};

static inline struct memory remember(void)
{
	struct memory m = {};

	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_forward"), NULL, &m.inside), 0);
	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "nat_claims"), NULL, &m.outside), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_forward"), &m.inside, &m.forward), 0);
	CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "nat_claims"), &m.outside, &m.claim), 0);
	return m;
}

static inline void restore(const struct memory *m)
{
	put("nat_forward", &m->inside, &m->forward);
	put("nat_claims", &m->outside, &m->claim);
}

static inline bool memory_eq(const struct memory *a, const struct memory *b)
{
	return memcmp(&a->forward, &b->forward, sizeof(a->forward)) == 0 && memcmp(&a->claim, &b->claim, sizeof(a->claim)) == 0;
}

static inline uint64_t sent_on(void)
{
	struct dp_counter n;

	CHECK_INT(datapath_read_xdp_packets(dp, &n), 0);
	return n.packets;
}

static struct dp_counter forwards[FORWARD_WAY_COUNT];

static inline void count_before(void)
{
	CHECK_INT(datapath_read_forwards(dp, forwards), 0);
}

/* The bytes that went @way since then, and nothing went another way. */
static inline uint64_t counted(enum forward_way way)
{
	struct dp_counter now[FORWARD_WAY_COUNT];

	CHECK_INT(datapath_read_forwards(dp, now), 0);
	for (unsigned i = 0; i < FORWARD_WAY_COUNT; i++)
		CHECK_INT(now[i].packets, forwards[i].packets + (i == way));
	return now[way].bytes - forwards[way].bytes;
}

/* from_net and then xdp_net over the frame, within one tick of the datapath's clock: what they note of the time is the same. */
static inline void both(struct outcome *tc, struct outcome *xdp, struct memory *after_tc, struct memory *after_xdp, enum forward_way way)
{
	struct memory before = remember();
	uint64_t bytes;
	uint32_t tick;

	do {
		tick = ticks_now();
		restore(&before);
		count_before();
		*tc = run("from_net", &f, if_uplink);
		bytes = counted(way);
		*after_tc = remember();
		count_before();
		*xdp = run_xdp();
		*after_xdp = remember();
	} while (ticks_now() != tick);
	if (xdp->verdict == XDP_TX)
		CHECK_INT(counted(way), bytes);
}

/* From the Ethernet header's type on. */
static inline bool bytes_eq(const struct outcome *xdp, const struct outcome *tc)
{
	for (size_t i = 12; i < tc->len && xdp->len == tc->len; i++)
		if (xdp->data[i] != tc->data[i]) {
			printf("# byte %zu of %zu: %02x came, from_net makes %02x of %02x\n", i, tc->len, xdp->data[i], tc->data[i], f.data[i]);
			return false;
		}
	return xdp->len == tc->len;
}

static inline void CHECK_same_as_from_net(const char *what, const uint8_t *hop, enum forward_way way)
{
	struct memory after_tc, after_xdp;
	struct outcome tc, xdp;

	both(&tc, &xdp, &after_tc, &after_xdp, way);
	if (xdp.verdict != XDP_TX || !bytes_eq(&xdp, &tc))
		printf("# %s\n", what);
	CHECK_INT(tc.verdict, REDIRECT);
	CHECK_INT(xdp.verdict, XDP_TX);
	CHECK(bytes_eq(&xdp, &tc));
	CHECK(memcmp(xdp.data, hop, 6) == 0);
	CHECK(memcmp(xdp.data + 6, mac_host_a, 6) == 0);
	CHECK(memory_eq(&after_tc, &after_xdp));
}

#define CHECK_PASSED(what)                                                                                             \
	do {                                                                                                           \
		uint64_t _sent = sent_on();                                                                            \
		struct outcome _o = run_xdp();                                                                         \
		if (_o.verdict != XDP_PASS)                                                                            \
			printf("# %s\n", what);                                                                        \
		CHECK_INT(_o.verdict, XDP_PASS);                                                                       \
		CHECK(_o.len == f.len && memcmp(_o.data, f.data, f.len) == 0);                                         \
		CHECK_INT(sent_on(), _sent);                                                                           \
	} while (0)

/* What xdp_net remembers it remembers on each CPU for itself. */
static inline void stay_on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	CHECK_INT(sched_setaffinity(0, sizeof(one), &one), 0);
}

static inline void begin_xdp(void)
{
	harness_init();
	dp_config.inbound = true;
	dp_config.inbound_port_min = 2000;
	dp_config.inbound_port_max = 2999;
	dp_config.xdp = DP_XDP_NATIVE;
	harness_reopen();
}
