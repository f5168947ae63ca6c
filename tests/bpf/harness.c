/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "weft/link.h"

#include <bpf/bpf.h>
#include <err.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>

#define PINS "/sys/fs/bpf/weft"

const uint8_t mac_pod_a[6] = { 2, 0, 0, 0, 0, 0xa }, mac_host_a[6] = { 2, 0x57, 0, 0, 0, 0xa };
const uint8_t mac_pod_b[6] = { 2, 0, 0, 0, 0, 0xb }, mac_host_b[6] = { 2, 0x57, 0, 0, 0, 0xb };
const uint8_t mac_vtep[6] = { 2, 0x57, 10, 9, 3, 1 }, mac_other[6] = { 2, 1, 1, 1, 1, 1 };
uint32_t if_a, if_b, if_uplink, if_tunnel;
struct datapath *dp;
struct dp_config dp_config;

bool harness_quiet = true;

static uint64_t seen_drops[DROP_REASON_COUNT];

static uint32_t add_veth(struct rtnl *nl, const char *name, const uint8_t mac[6], const char *peer)
{
	uint32_t ifindex;
	int r = rtnl_add_veth(nl, &(struct link_spec){ .name = name, .mac = mac, .up = true },
			      &(struct link_spec){ .name = peer, .mac = mac_other, .up = true }, &ifindex);

	if (r < 0)
		errx(1, "veth %s: %s", name, rtnl_error_text(nl));
	return ifindex;
}

static void silence(void)
{
	_cleanup_close_ int self = netns_open_self();

	if (self < 0 || netns_sysctl(self, "ipv6/conf/default/disable_ipv6", "1") < 0)
		errx(1, "cannot switch IPv6 off");
}

static struct prefix range_of(const char *addr, uint8_t len)
{
	struct addr a = addr_of(addr);

	return prefix_of(&a, len);
}

void harness_init(void)
{
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0)
		err(1, "namespaces and a bpf file system (root is needed)");
	if (harness_quiet)
		silence();
	r = rtnl_open(&nl);
	if (r < 0)
		errx(1, "netlink: %s", strerror(-r));
	if_a = add_veth(nl, "veth-a", mac_host_a, "peer-a");
	if_b = add_veth(nl, "veth-b", mac_host_b, "peer-b");
	if_uplink = add_veth(nl, "uplink", mac_host_a, "wire");
	r = rtnl_add_vxlan(nl, &(struct link_spec){ .name = "tunnel", .mac = mac_host_a, .up = true }, 4789, &if_tunnel);
	if (r < 0)
		errx(1, "vxlan: %s", rtnl_error_text(nl));
	dp_config = (struct dp_config){
		.pin_dir = PINS,
		.attach = DP_ATTACH_AUTO,
		.fast_path = true,
		.foreign_nat = true,
		.node_addrs = { addr_of(NODE4), addr_of(NODE6) },
		.ranges = { range_of(NODE4, 120), range_of(NODE6, 64) },
		.underlay = { addr_of("192.0.2.1"), addr_of("fd30::1") },
		.tunnel_ifindex = if_tunnel,
		.vni = 7,
		.flow_max = FLOW_MAX,
		.flow_share = FLOW_SHARE,
		.nat_max = NAT_MAX,
		.nat_share = NAT_SHARE,
		.nat_port_min = 1024,
		.nat_port_max = 65535,
		.tunnel_port = 4789,
	};
	harness_reopen();
}

static struct dp_node_route node_route(const char *prefix, enum dp_transport transport, const char *underlay)
{
	struct dp_node_route r = { .transport = transport, .underlay = addr_of(underlay) };

	assert(prefix_parse(prefix, &r.prefix, NULL) == 0);
	r.ifindex = transport == DP_TUNNEL ? if_tunnel : if_uplink;
	r.mtu = transport == DP_TUNNEL ? 1450 : 1500;
	r.plain = transport == DP_DIRECT;
	if (r.plain)
		r.plain_by[0] = if_uplink;
	else
		r.outer = r.underlay;
	memcpy(r.vtep_mac, mac_vtep, 6);
	return r;
}

/* As datapath_apply_links() does, which would attach the programs. */
void harness_judge(uint32_t a, uint32_t b)
{
	struct judged_links judged = { .ifindex = { a, b } };
	uint32_t zero = 0;

	if (bpf_map_update_elem(datapath_map_fd(dp, "judged_links"), &zero, &judged, BPF_ANY) < 0)
		err(1, "judged_links");
}

void harness_forward(bool on)
{
	_cleanup_close_ int self = netns_open_self();

	if (self < 0 || netns_sysctl(self, "ipv4/ip_forward", on ? "1" : "0") < 0 || netns_sysctl(self, "ipv6/conf/all/forwarding", on ? "1" : "0") < 0)
		errx(1, "forwarding");
}

void harness_reopen(void)
{
	struct dp_endpoint pods[] = {
		{ .ifindex = if_a, .id = 1, .addrs = { addr_of(A4), addr_of(A6) } },
		{ .ifindex = if_b, .id = 2, .addrs = { addr_of(B4), addr_of(B6) } },
	};
	struct dp_node_route routes[] = {
		node_route("10.9.2.0/24", DP_DIRECT, "192.0.2.2"),
		node_route("fd09:0:0:2::/64", DP_DIRECT, "fd30::2"),
		node_route("10.9.3.0/24", DP_TUNNEL, "192.0.2.3"),
		node_route("fd09:0:0:3::/64", DP_TUNNEL, "fd30::3"),
	};
	char *error = NULL;
	int r;

	dp = datapath_close(dp);
	if (datapath_open(&dp_config, &dp, &error) < 0)
		errx(1, "%s", error);
	memcpy(pods[0].pod_mac, mac_pod_a, 6);
	memcpy(pods[0].host_mac, mac_host_a, 6);
	memcpy(pods[1].pod_mac, mac_pod_b, 6);
	memcpy(pods[1].host_mac, mac_host_b, 6);
	r = datapath_apply_endpoints(dp, pods, 2);
	if (r == 0)
		r = datapath_apply_node_routes(dp, routes, ARRAY_SIZE(routes));
	if (r < 0)
		errx(1, "apply: %s", strerror(-r));
	harness_judge(if_uplink, if_tunnel);
	last_drop();
}

uint32_t harness_came_by;

void harness_done(void)
{
	dp = datapath_close(dp);
	if (datapath_remove(PINS) < 0)
		errx(1, "remove: %s", strerror(errno));
}

static uint32_t interface_of(const struct addr *a)
{
	const struct {
		const char *prefix;
		uint32_t ifindex;
	} all[] = { { A4, if_a }, { A6, if_a }, { B4, if_b }, { B6, if_b }, { "10.9.2.0/24", if_uplink }, { "fd09:0:0:2::/64", if_uplink },
		    { "10.9.3.0/24", if_tunnel }, { "fd09:0:0:3::/64", if_tunnel } };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct prefix p;

		if (strchr(all[i].prefix, '/') ? prefix_parse(all[i].prefix, &p, NULL) == 0 && prefix_contains(&p, a) :
						 addr_eq(a, &(struct addr[]){ addr_of(all[i].prefix) }[0]))
			return all[i].ifindex;
	}
	return 0;
}

/* (The socket is there: a test run's packets have one.) */
static uint32_t came_by(const struct frame *f)
{
	const uint8_t *ip = f->data + ETH_HLEN;
	struct addr src = addr_from_v4((struct in_addr){ 0 });

	if (harness_came_by)
		return harness_came_by == HARNESS_BY_NODE ? 0 : harness_came_by;
	if (f->data[12] == 0x86 && f->len >= ETH_HLEN + sizeof(struct ipv6hdr))
		memcpy(src.b, ip + 8, 16);
	else if (f->data[12] == 0x08 && f->len >= ETH_HLEN + sizeof(struct iphdr))
		memcpy(src.b + 12, ip + 12, 4);
	return interface_of(&src);
}

struct outcome run_gso(const char *program, const struct frame *f, uint32_t ifindex, uint32_t gso_size)
{
	struct __sk_buff ctx = { .ifindex = ifindex, .gso_size = gso_size, .ingress_ifindex = came_by(f) };
	struct outcome o = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len, .data_out = o.data,
		    .data_size_out = sizeof(o.data), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	int r = bpf_prog_test_run_opts(datapath_program_fd(dp, program), &opts);

	if (r < 0) {
		printf("# test run of %s: %s\n", program, strerror(-r));
		o.verdict = r;
		return o;
	}
	o.verdict = (int)opts.retval;
	o.len = opts.data_size_out;
	return o;
}

static void read_drops(struct dp_counter ret[DROP_REASON_COUNT])
{
	int r = datapath_read_drops(dp, ret);

	assert(r == 0);
}

uint64_t drops_of(enum drop_reason why)
{
	struct dp_counter c[DROP_REASON_COUNT];

	read_drops(c);
	return c[why].packets;
}

uint64_t all_drops(void)
{
	struct dp_counter c[DROP_REASON_COUNT];
	uint64_t n = 0;

	read_drops(c);
	for (int i = 0; i < DROP_REASON_COUNT; i++)
		n += c[i].packets;
	return n;
}

enum drop_reason last_drop(void)
{
	struct dp_counter c[DROP_REASON_COUNT];
	enum drop_reason last = DROP_NONE;

	read_drops(c);
	for (int i = 0; i < DROP_REASON_COUNT; i++) {
		if (c[i].packets != seen_drops[i])
			last = i;
		seen_drops[i] = c[i].packets;
	}
	return last;
}

uint64_t forwards_of(enum forward_way way)
{
	struct dp_counter c[FORWARD_WAY_COUNT];
	int r = datapath_read_forwards(dp, c);

	assert(r == 0);
	return c[way].packets;
}

struct flow_key flow_key_of(uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport)
{
	struct flow_key key = { .proto = proto };
	struct ip_addr x, y;
	struct addr p = addr_of(a), q = addr_of(b);
	bool first;

	memcpy(&x, &p, 16);
	memcpy(&y, &q, 16);
	if (x.q[1] != y.q[1])
		first = x.q[1] < y.q[1];
	else if (x.q[0] != y.q[0])
		first = x.q[0] < y.q[0];
	else
		first = htons(aport) <= htons(bport);
	key.addr[!first] = x;
	key.addr[first] = y;
	key.port[!first] = htons(aport);
	key.port[first] = htons(bport);
	return key;
}

bool flow_get(const char *map, uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport,
	      struct flow_state *ret)
{
	struct flow_key key = flow_key_of(proto, a, aport, b, bport);
	struct flow f = {};

	if (bpf_map_lookup_elem(datapath_map_fd(dp, map), &key, &f) < 0)
		return false;
	*ret = f.state;
	return true;
}

bool flow_moved(uint8_t proto, const char *a, uint16_t aport, const char *b, uint16_t bport, struct flow_state *ret)
{
	for (int i = 0; i < 2000; i++) {
		if (!flow_get("flows_new", proto, a, aport, b, bport, ret) && flow_get("flows", proto, a, aport, b, bport, ret))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	return false;
}

void flows_forgive(void)
{
	for (uint32_t id = 0; id < 3; id++)
		bpf_map_delete_elem(datapath_map_fd(dp, "flow_asks"), &id);
}

static void marks_clear(void)
{
	int map = datapath_map_fd(dp, "flows_recent");
	struct bpf_map_info info = {};
	struct flow_recent none = {};
	uint32_t size = sizeof(info);
	int r = bpf_obj_get_info_by_fd(map, &info, &size);

	assert(r == 0);
	for (uint32_t i = 0; i < info.max_entries; i++)
		bpf_map_update_elem(map, &i, &none, BPF_ANY);
}

void flows_clear(void)
{
	static const char *const maps[] = { "flows", "flows_new", "fragment_sets", "fragment_sets_outside" };
	uint8_t key[64];
	uint64_t none = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
		while (bpf_map_get_next_key(datapath_map_fd(dp, maps[i]), NULL, key) == 0)
			bpf_map_delete_elem(datapath_map_fd(dp, maps[i]), key);
	for (uint32_t id = 0; id < 3; id++)
		bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &id, &none, BPF_ANY);
	flows_forgive();
	marks_clear();
}

uint64_t share_of(uint32_t id)
{
	uint64_t n = UINT64_MAX;

	bpf_map_lookup_elem(datapath_map_fd(dp, "endpoint_flows"), &id, &n);
	return n;
}

uint32_t ticks_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (t.tv_sec * 1000000000ull + t.tv_nsec) >> FLOW_TICK_SHIFT;
}
