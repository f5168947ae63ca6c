/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds a packet of the programs on established flows, over one flow and over 64k flows; and the verifier's instruction
 * counts (budget_test.c holds them). Prints a table, of all or of the hooks that are named. */
#include "base/str.h"
#include "harness.h"

#include "weft/config.h"
#include "weft/nat.h"
#include "weft/policy.h"
#include "weft/service.h"

#include "first_floor.skel.h"
#include "next_flow.skel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <err.h>
#include <sys/param.h>

enum { FLOWS = 65536, REPEAT = 1 << 20, REPEAT_ROOM = 4096, ROUNDS = 7, EPOCHS = 4, TO_POD_GOAL = 120 /* nanoseconds over 64k flows */ };

/* Addresses of pods where packets have no Ethernet header: a test run takes a packet's protocol from bytes 12 and 13, where there the source
 * begins, which is ETH_P_IP for these. */
#define MESH_OWN4 "8.0.1.2"
#define MESH_PEER4 "8.0.2.7"
#define OURS4 "192.0.2.1"
#define PEER4 "192.0.2.3"
#define SERVICE4 "10.96.0.10"

enum { SERVICE_PORT = 80 };

/* What the programs know: bpf/lib/mark.h */
enum { PAST_STACK = 0x5757, WRAPPED = 0x5758 };

struct path {
	const char *hook, *src, *dst, *what;
	uint32_t *ifindex, *came_by; /* where what the stack has forwarded came in: for a pod's its interface, nobody else speaks as it */
	uint16_t mark;
	bool tunnelled, no_ethernet, stack, service;
};

static const char *const hooks[] = { "from_pod", "to_pod", "from_net", "from_tunnel", "to_net", "to_tunnel", "from_mesh", "to_mesh", "xdp_net" };

/* As flow_create() would have made them: what comes out of the stack, or goes to where only the stack leads, keeps to it. */
static void fill_flows(const char *pod, const char *peer, bool pod_first, bool via_stack)
{
	struct addr pod_addr = addr_of(pod);
	_cleanup_free_ struct flow_key *keys = xcalloc(FLOWS, sizeof(*keys));
	_cleanup_free_ struct flow *values = xcalloc(FLOWS, sizeof(*values));
	uint32_t n = FLOWS, all = 0;
	uint64_t held = FLOWS;

	for (int i = 0; i < FLOWS; i++) {
		keys[i] = pod_first ? flow_key_of(IPPROTO_TCP, pod, i, peer, 80) : flow_key_of(IPPROTO_TCP, peer, i, pod, 80);
		values[i].state = (struct flow_state){ .seen = ticks_now(), .owner = 1, .stage = FLOW_OPEN };
		if (via_stack)
			values[i].state.stack = memcmp(&keys[i].addr[0], &pod_addr, 16) == 0 ? 1 : 2;
	}
	if (bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &all, &held, BPF_ANY) < 0)
		err(1, "endpoint_flows");
	if (bpf_map_update_batch(datapath_map_fd(dp, "flows"), keys, values, &n, NULL) < 0)
		err(1, "filling the flow table, %u of %d", n, FLOWS);
}

/* Nanoseconds a run; REPEAT of them take about 0.1 s. */
static double round_of(int prog_fd, const struct path *p, const struct frame *f, uint32_t repeat)
{
	struct __sk_buff ctx = { .ifindex = *p->ifindex, .ingress_ifindex = p->came_by ? *p->came_by : 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .repeat = repeat);

	if (bpf_prog_test_run_opts(prog_fd, &opts) < 0)
		err(1, "test run");
	return opts.duration;
}

static double best_of(int prog_fd, const struct path *p, const struct frame *f, uint32_t repeat)
{
	double best = 1e9;

	for (int i = 0; i < ROUNDS; i++) {
		double ns = round_of(prog_fd, p, f, repeat); /* MIN() evaluates twice */

		best = MIN(best, ns);
	}
	return best;
}

/* Over whole epochs of flows_recent (a second each): in every one each flow is looked up once in the table, which the best round would
 * leave out. */
static double mean_of(int prog_fd, const struct path *p, const struct frame *f)
{
	double sum = 0;
	unsigned n = 0;

	for (uint32_t began = ticks_now(); ticks_now() - began < FLOW_TICKS(EPOCHS); n++)
		sum += round_of(prog_fd, p, f, REPEAT);
	return sum / n;
}

/* The constants of the program: `config` begins with the node's addresses. */
static struct config config_of(const char *hook)
{
	uint32_t ids[64], size = sizeof(struct bpf_prog_info), zero = 0;
	struct bpf_prog_info info = { .nr_map_ids = ARRAY_SIZE(ids), .map_ids = (uintptr_t)ids };
	struct config config = {};

	if (bpf_obj_get_info_by_fd(datapath_program_fd(dp, hook), &info, &size) < 0)
		err(1, "%s", hook);
	for (uint32_t i = 0; i < MIN(info.nr_map_ids, ARRAY_SIZE(ids)); i++) {
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(ids[i]);
		_cleanup_free_ uint8_t *value = NULL;
		const uint8_t *at;
		struct bpf_map_info map = {};

		size = sizeof(map);
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &map, &size) < 0 || !str_has_suffix(map.name, ".rodata"))
			continue;
		value = xcalloc(1, map.value_size);
		if (bpf_map_lookup_elem(fd, &zero, value) < 0)
			err(1, "%s", map.name);
		at = memmem(value, map.value_size, dp_config.node_addrs, sizeof(dp_config.node_addrs));
		if (at && value + map.value_size - at >= (ptrdiff_t)sizeof(config))
			memcpy(&config, at, sizeof(config));
	}
	return config;
}

static void tell(struct next_flow *skel, const struct path *p, const struct frame *f, uint32_t flows)
{
	skel->rodata->flow_mask = (flows ? flows : FLOWS) - 1;
	skel->rodata->fresh = flows ? 0 : 1; /* the id of pod A */
	skel->rodata->service = p->service ? SERVICE_PORT : 0;
	memcpy((void *)skel->rodata->frame, f->data, ETH_HLEN);
	memcpy((void *)&skel->rodata->source, addr_of(p->src).b + 12, 4);
	memcpy((void *)&skel->rodata->destination, addr_of(p->dst).b + 12, 4);
	skel->rodata->l3 = p->no_ethernet ? 0 : ETH_HLEN;
	skel->rodata->mark = p->mark;
	skel->rodata->word = config_of(p->hook).recent_key[FLOW_RECENT_TERMS - 1][FLOW_RECENT_ROWS - 1];
	if (p->tunnelled) {
		skel->rodata->tunnel_from = ntohl(inet_addr(PEER4));
		skel->rodata->tunnel_to = ntohl(inet_addr(OURS4));
		skel->rodata->tunnel_id = dp_config.vni;
	}
}

/* What a packet is of. */
enum { NEW_FLOWS = 0, NEW_FLOWS_WITH_ROOM = UINT32_MAX }; /* each begins one: in a full table, or in one that none has to leave */

/* Of the program alone: what next_flow costs by itself is taken off. @flows: how many there are. */
static double ns_per_packet(const struct path *p, const struct frame *f, uint32_t flows)
{
	struct next_flow *skel = next_flow__open();
	bool fresh = flows == NEW_FLOWS || flows == NEW_FLOWS_WITH_ROOM;
	uint32_t zero = 0;
	double alone, both;
	int fd = datapath_program_fd(dp, p->hook);

	if (!skel || bpf_map__reuse_fd(skel->maps.flow_asks, datapath_map_fd(dp, "flow_asks")) < 0 ||
	    bpf_map__reuse_fd(skel->maps.nat_asks, datapath_map_fd(dp, "nat_asks")) < 0)
		err(1, "next_flow");
	tell(skel, p, f, fresh ? 0 : flows);
	if (next_flow__load(skel) < 0)
		err(1, "next_flow");
	alone = best_of(bpf_program__fd(skel->progs.next_flow), p, f, REPEAT);
	if (bpf_map_update_elem(bpf_map__fd(skel->maps.next), &zero, &fd, BPF_ANY) < 0)
		err(1, "next");
	if (flows == 1 || flows == NEW_FLOWS_WITH_ROOM)
		both = best_of(bpf_program__fd(skel->progs.next_flow), p, f, flows == 1 ? REPEAT : REPEAT_ROOM);
	else
		both = mean_of(bpf_program__fd(skel->progs.next_flow), p, f);
	next_flow__destroy(skel);
	return both - alone;
}

static void bench(const struct path *p)
{
	bool out = streq(p->hook, "from_pod") || (str_has_prefix(p->hook, "to_") && !streq(p->hook, "to_pod")); /* the source is the pod */
	double one, many;
	struct frame f;

	flows_clear();
	fill_flows(out ? p->src : p->dst, out ? p->dst : p->src, out, p->stack);
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, p->src, p->dst, IPPROTO_TCP);
	frame_tcp(&f, 0, 80, "A");
	frame_payload(&f, 64);
	frame_end(&f);
	if (p->no_ethernet) {
		f.len -= ETH_HLEN;
		memmove(f.data, f.data + ETH_HLEN, f.len);
	}
	one = ns_per_packet(p, &f, 1);
	many = ns_per_packet(p, &f, FLOWS);
	printf("%-11s %-44s %8.0f %8.0f%s\n", p->hook, p->what, one, many,
	       !streq(p->hook, "to_pod") ? "" : many <= TO_POD_GOAL ? "   holds" : "   MISSED");
}

/* Every packet is the first one of its flow, a SYN that nobody answers. */
static void bench_first(const struct path *p)
{
	struct frame f;

	flows_clear();
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, p->src, p->dst, IPPROTO_TCP);
	frame_tcp(&f, 0, 80, "S");
	frame_end(&f);
	printf("%-11s %-44s %8.0f", p->hook, p->what, ns_per_packet(p, &f, NEW_FLOWS_WITH_ROOM));
	if (p->service) /* a table of translations that is full refuses new ones */
		printf(" %8s\n", "-");
	else
		printf(" %8.0f\n", ns_per_packet(p, &f, NEW_FLOWS));
}

static void put(const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(datapath_map_fd(dp, map), key, value, BPF_ANY) < 0)
		err(1, "%s", map);
}

static void policy_put(enum dp_policy_map map, const void *key, const void *value)
{
	if (datapath_policy_change(dp, map, key, value) < 0)
		err(1, "policy");
}

/* Pod B serves, what A may begin and B may be asked is said by a rule for every address, and all are looked up. */
static void serve(void)
{
	struct addr service = addr_of(SERVICE4), pods[] = { addr_of(A4), addr_of(B4) };
	struct service_key key = { .port = htons(SERVICE_PORT), .proto = IPPROTO_TCP, .scope = SERVICE_INTERNAL };
	struct service_frontend frontend = { .service = 1, .set = 1, .slots = 1 };
	struct service_slot_key slot = { .set = 1 };
	struct service_slot_chunk chunk = { .backend = { 1 } };
	struct service_backend backend = { .port = htons(8080), .proto = IPPROTO_TCP, .roles = 1, .flags = SERVICE_ON_THIS_NODE, .service = 1 };
	struct policy_cidr_key roots[] = { { .prefixlen = 0 }, { .prefixlen = 96, .addr = { [10] = 0xff, [11] = 0xff } } };
	struct policy_class_value class = { POLICY_CLASS_WORLD, POLICY_CLASS_WORLD };
	struct policy_endpoint_value value = { .policy = POLICY_ID_FIRST };
	struct policy_rule_value rule = { .slot[1] = { 1 << 2 | POLICY_ALLOW, 77 } };
	uint32_t id = 1;

	memcpy(&key.addr, &service, sizeof(key.addr));
	memcpy(&backend.addr, &pods[1], sizeof(backend.addr));
	put("service_backends", &id, &backend);
	put("service_slots", &slot, &chunk);
	put("service_frontends", &key, &frontend);
	if (datapath_policy_begin(dp) < 0)
		err(1, "policy");
	for (size_t i = 0; i < 2; i++) {
		struct policy_rule_key to_or_from = { POLICY_ID_FIRST, POLICY_CLASS_ANY4, i };

		policy_put(DP_POLICY_RULES, &to_or_from, &rule);
		policy_put(DP_POLICY_CIDRS, &roots[i], &class);
		policy_put(DP_POLICY_ENDPOINTS, &pods[i], &value);
	}
	if (datapath_policy_commit(dp, 0) < 0)
		err(1, "policy");
}

/* The look-ups and insertions of such a packet, and no program around them. */
static void bench_floor(void)
{
	const struct path from = { .ifindex = &if_a };
	struct first_floor *skel = first_floor__open_and_load();
	uint32_t zero32 = 0;
	uint64_t zero = 0, value[2] = {}, pairs[][2] = { { 0, 0 }, { 0, 1 } };
	double room, full;
	struct frame f;
	int fd;

	if (!skel)
		err(1, "first_floor");
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, B4, IPPROTO_TCP);
	frame_tcp(&f, 0, SERVICE_PORT, "S");
	frame_end(&f);
	if (bpf_map_update_elem(bpf_map__fd(skel->maps.slots), &zero, value, BPF_ANY) < 0 ||
	    bpf_map_update_elem(bpf_map__fd(skel->maps.backends), &zero32, value, BPF_ANY) < 0 ||
	    bpf_map_update_elem(bpf_map__fd(skel->maps.frontends), pairs[0], value, BPF_ANY) < 0)
		err(1, "first_floor");
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.identities), pairs[i], value, BPF_ANY) < 0 ||
		    bpf_map_update_elem(bpf_map__fd(skel->maps.verdicts), pairs[i], value, BPF_ANY) < 0)
			err(1, "first_floor");
	fd = bpf_program__fd(skel->progs.first_floor);
	room = best_of(fd, &from, &f, REPEAT_ROOM);
	full = mean_of(fd, &from, &f);
	printf("%-11s %-44s %8.0f %8.0f\n", "(floor)", "its look-ups and two insertions, nothing else", room, full);
	first_floor__destroy(skel);
}

/* The hooks that were asked for; none: all. */
static char *const *chosen;

static bool is_chosen(const char *hook)
{
	for (char *const *c = chosen; *c; c++)
		if (streq(*c, hook))
			return true;
	return !*chosen;
}

/* Packets that the programs drop would be fast, and no path. */
static void bench_all(const struct path *paths, size_t n, void (*bench_one)(const struct path *p))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t before = all_drops();

		if (!is_chosen(paths[i].hook))
			continue;
		bench_one(&paths[i]);
		if (all_drops() != before)
			errx(1, "%s %s: packets were dropped (%s)", paths[i].hook, paths[i].what, drop_reason_label(last_drop()));
	}
}

/* Pods of this node and another one's behind WireGuard, which nobody needs for the verdicts that are measured. */
static void mesh(void)
{
	struct dp_endpoint pods[] = {
		{ .ifindex = if_a, .id = 1, .addrs = { addr_of(A4), addr_of(A6) } },
		{ .ifindex = if_b, .id = 2, .addrs = { addr_of(MESH_OWN4), addr_of(B6) } },
	};
	struct dp_node_route route = { .transport = DP_MESH, .underlay = addr_of(PEER4), .ifindex = if_tunnel, .mtu = 1420 };
	struct addr peer = addr_of("8.0.2.0");

	route.prefix = prefix_of(&peer, 120);
	if (datapath_apply_endpoints(dp, pods, ARRAY_SIZE(pods)) < 0 || datapath_apply_node_routes(dp, &route, 1) < 0)
		err(1, "mesh");
}

/* Each flow of pod A to the world has its claim. */
static void masquerade(void)
{
	struct dp_nat_uplink uplink = { if_uplink, { addr_of(OURS4), addr_of("fd30::1") } };
	struct dp_masquerade rules = { .uplinks = &uplink, .n_uplinks = 1 };
	_cleanup_free_ struct nat_key *keys = xcalloc(FLOWS, sizeof(*keys));
	_cleanup_free_ struct nat_forward *values = xcalloc(FLOWS, sizeof(*values));
	struct addr pod = addr_of(A4), world = addr_of(WORLD4), ours = addr_of(OURS4);
	uint32_t n = FLOWS;

	dp_config.masquerade[0] = true;
	harness_reopen();
	if (datapath_apply_masquerade(dp, &rules) < 0)
		err(1, "masquerade");
	for (int i = 0; i < FLOWS; i++) {
		keys[i] = (struct nat_key){ .local_port = htons(i), .remote_port = htons(80), .proto = IPPROTO_TCP };
		memcpy(&keys[i].local, &pod, 16);
		memcpy(&keys[i].remote, &world, 16);
		values[i] = (struct nat_forward){ .port = htons(i), .open = 1, .seen = ticks_now() };
		memcpy(&values[i].addr, &ours, 16);
	}
	if (bpf_map_update_batch(datapath_map_fd(dp, "nat_forward"), keys, values, &n, NULL) < 0)
		err(1, "filling nat_forward, %u of %d", n, FLOWS);
}

static uint32_t verified_instructions(const char *hook)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(datapath_program_fd(dp, hook), &info, &size) < 0)
		err(1, "%s", hook);
	return info.verified_insns;
}

/* clang-format off */
static const struct path plain[] = {
	{ .hook = "to_pod", .src = WORLD4, .dst = A4, .ifindex = &if_a, .came_by = &if_uplink, .stack = true, .what = "another's, out of the stack" },
	{ .hook = "to_pod", .src = NODE4, .dst = A4, .ifindex = &if_a, .stack = true, .what = "the node's own" },
	{ .hook = "from_pod", .src = A4, .dst = B4, .ifindex = &if_a, .what = "to a pod of this node" },
	{ .hook = "from_pod", .src = A4, .dst = DIRECT4, .ifindex = &if_a, .what = "to another node, direct" },
	{ .hook = "from_pod", .src = A4, .dst = TUNNEL4, .ifindex = &if_a, .what = "to another node, tunnel" },
	{ .hook = "from_pod", .src = A4, .dst = WORLD4, .ifindex = &if_a, .stack = true, .what = "to the stack" },
	{ .hook = "from_net", .src = DIRECT4, .dst = A4, .ifindex = &if_uplink, .what = "to a pod" },
	{ .hook = "from_tunnel", .src = TUNNEL4, .dst = A4, .ifindex = &if_tunnel, .tunnelled = true, .what = "to a pod" },
	{ .hook = "to_net", .src = A4, .dst = DIRECT4, .ifindex = &if_uplink, .mark = PAST_STACK, .what = "past the stack: known by its mark" },
	{ .hook = "to_net", .src = OURS4, .dst = PEER4, .ifindex = &if_uplink, .mark = WRAPPED, .what = "an outer packet: known by its mark" },
	{ .hook = "to_net", .src = A4, .dst = DIRECT4, .ifindex = &if_uplink, .came_by = &if_a, .stack = true, .what = "a pod's, out of the stack" },
	{ .hook = "to_tunnel", .src = A4, .dst = TUNNEL4, .ifindex = &if_tunnel, .mark = PAST_STACK, .what = "past the stack: known by its mark" },
	{ .hook = "to_tunnel", .src = A4, .dst = TUNNEL4, .ifindex = &if_tunnel, .came_by = &if_a, .stack = true, .what = "a pod's, out of the stack" },
};
static const struct path first[] = {
	{ .hook = "from_pod", .src = A4, .dst = B4, .ifindex = &if_a, .what = "first packet to a pod of this node" },
	{ .hook = "from_pod", .src = A4, .dst = DIRECT4, .ifindex = &if_a, .what = "first packet to another node, direct" },
	{ .hook = "from_pod", .src = A4, .dst = WORLD4, .ifindex = &if_a, .what = "first packet to the stack" },
	{ .hook = "from_net", .src = DIRECT4, .dst = A4, .ifindex = &if_uplink, .what = "first packet to a pod" },
};
static const struct path served[] = {
	{ .hook = "from_pod", .src = A4, .dst = SERVICE4, .ifindex = &if_a, .service = true, .what = "first packet to a Service: pod of this node, policy" },
};
static const struct path encrypted[] = { /* into a pod each run would lengthen the packet by a header: up to there */
	{ .hook = "from_mesh", .src = MESH_PEER4, .dst = A4, .ifindex = &if_tunnel, .no_ethernet = true, .stack = true, .what = "to a pod, by the stack" },
	{ .hook = "to_mesh", .src = MESH_OWN4, .dst = MESH_PEER4, .ifindex = &if_tunnel, .no_ethernet = true, .mark = PAST_STACK, .what = "past the stack: known by its mark" },
	{ .hook = "to_mesh", .src = MESH_OWN4, .dst = MESH_PEER4, .ifindex = &if_tunnel, .came_by = &if_b, .no_ethernet = true, .stack = true, .what = "a pod's, out of the stack" },
};
static const struct path translated[] = {
	{ .hook = "to_net", .src = A4, .dst = WORLD4, .ifindex = &if_uplink, .came_by = &if_a, .stack = true, .what = "a pod's, masqueraded" },
};
/* clang-format on */

int main(int argc _unused_, char **argv)
{
	chosen = argv + 1;
	harness_init();
	dp_config.flow_max = dp_config.flow_share = 2 * FLOWS;
	dp_config.inbound = true; /* as agents have it */
	dp_config.nat_max = dp_config.nat_share = 2 * FLOWS;
	dp_config.xdp = DP_XDP_GENERIC;
	harness_reopen();
	printf("%-11s %-44s %8s %8s   ns a packet; 1 flow: best of %d, 64k: mean over %d epochs\n", "", "established TCP", "1 flow", "64k", ROUNDS,
	       EPOCHS);
	bench_all(plain, ARRAY_SIZE(plain), bench);
	printf("%-11s %-44s %8s %8s   each packet a new flow: best of %d, mean over %d epochs\n", "", "first packets", "room", "full", ROUNDS, EPOCHS);
	bench_all(first, ARRAY_SIZE(first), bench_first);
	serve();
	bench_all(served, ARRAY_SIZE(served), bench_first);
	harness_done(); /* no policies for the others */
	harness_reopen();
	if (is_chosen("floor"))
		bench_floor();
	mesh();
	bench_all(encrypted, ARRAY_SIZE(encrypted), bench);
	masquerade();
	bench_all(translated, ARRAY_SIZE(translated), bench);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		printf("%-11s %u instructions verified\n", hooks[i], verified_instructions(hooks[i]));
	harness_done();
	return 0;
}
