/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds a packet of a Service's connection from outside: of one that is under way, over one flow and over 64k
 * flows, and of a first one. In the same rounds those of another load balancer, if KATRAN_OBJECT names its program as
 * an object, which is not of this tree. What each does for a packet: docs/performance.md, Katran. */
#include "base/str.h"
#include "harness.h"
#include "net/netns.h"
#include "net/rtnl.h"

#include "weft/config.h"
#include "weft/nat.h"
#include "weft/service.h"

#include "next_flow.skel.h"
#include "next_frame.skel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <err.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/param.h>
#include <time.h>

/* Rounds of packets that are under way take some 0.2 s, in which each of 64k connections has eight; those of first packets are short enough for the tables to have
 * room for all. */
enum { FLOWS = 65536, REPEAT = 16 * FLOWS, REPEAT_FIRST = 2048, ROUNDS = 11, BACKENDS = 16, NODE_PORT = 30080, MAGLEV_PORT, BACKEND_PORT = 8080, FIRST_PORT = 1024 };
enum { TABLE = 4 * FLOWS, STACK_TURN = 8, STEP = 40503, MAGLEV_SLOTS = 1601 };

#define OURS4 "192.0.2.1"
#define NEIGHBOUR4 "192.0.2.2"
#define ROUTER4 "192.0.2.254"

/* Each has room for those that come after it. */
static const char *const clients[] = { WORLD4, "198.51.100.20", "198.51.100.30", "198.51.100.40", "198.51.100.50" };

/* How it is counted: by the program alone, what makes the next frame is taken off. */
struct measured {
	struct next_frame *frames; /* one of both */
	struct next_flow *flows;
	struct frame f;
	const char *what;
	uint32_t repeat, verdict;
	int program;
	double alone, both; /* the least of all rounds */
};

/* Packets of a kind are compared. */
enum kind { UNDER_WAY, FIRST, LATER, FIRST_TWO };

struct row {
	const char *what;
	enum kind kind;
	uint32_t flows;		  /* 0: each packet begins one */
	struct measured parts[2]; /* of a packet that two programs see, the sum */
	size_t n_parts;
	double rounds[ROUNDS];
};

static struct row rows[32];
static size_t n_rows;

/* ---- the node ---- */

static void put(int map, const void *key, const void *value)
{
	if (bpf_map_update_elem(map, key, value, BPF_ANY) < 0)
		err(1, "map");
}

static struct ip_addr ip_of(const char *text)
{
	struct addr a = addr_of(text);
	struct ip_addr r;

	memcpy(&r, &a, 16);
	return r;
}

/* The endpoints' addresses: those behind DIRECT4. */
static struct ip_addr backend_addr(unsigned i)
{
	struct ip_addr r = ip_of(DIRECT4);

	r.b[15] += i;
	return r;
}

static void must(int r, const char *what)
{
	if (r < 0)
		errx(1, "%s: %s", what, strerror(-r));
}

static void neighbour(struct rtnl *nl, const char *addr)
{
	struct neigh n = { .ifindex = if_uplink, .addr = addr_of(addr), .mac = { 2, 2, 2, 2, 2, 2 } };

	must(rtnl_replace_neigh(nl, &n), "neighbour");
}

static void make_node(void)
{
	_cleanup_close_ int self = netns_open_self();
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	struct link_addr own = { if_uplink, addr_of(OURS4), 120, RT_SCOPE_UNIVERSE, 0 };
	struct dp_nat_uplink uplink = { if_uplink, { addr_of(OURS4), addr_of("fd30::1") } };
	bool reserved[65536] = { [NODE_PORT] = true, [MAGLEV_PORT] = true };
	struct dp_masquerade m = { .uplinks = &uplink, .n_uplinks = 1, .reserved = reserved };
	struct route world = { .oif = if_uplink, .via = addr_of(ROUTER4), .onlink = true };

	must(self, "namespace");
	must(netns_sysctl(self, "ipv4/ip_forward", "1"), "forwarding");
	must(rtnl_open(&nl), "netlink");
	must(rtnl_replace_addr(nl, &own), "address");
	neighbour(nl, NEIGHBOUR4);
	neighbour(nl, ROUTER4);
	must(prefix_parse("198.51.100.0/24", &world.dst, NULL), "route");
	must(rtnl_replace_route(nl, &world), "route");
	must(datapath_apply_masquerade(dp, &m), "masquerade");
}

/* By @port, through a table of @slots. */
static void make_frontend(uint16_t port, uint32_t set, uint32_t slots, uint8_t flags)
{
	struct service_key key = { .addr = ip_of("0.0.0.0"), .port = htons(port), .proto = IPPROTO_TCP, .scope = SERVICE_EXTERNAL };
	struct service_frontend frontend = { .service = 1, .set = set, .slots = slots, .flags = flags };

	for (uint32_t i = 0; i < slots; i += SERVICE_CHUNK) {
		struct service_slot_key slot = { .set = set, .chunk = i / SERVICE_CHUNK };
		struct service_slot_chunk chunk = {};

		for (uint32_t k = 0; k < MIN((uint32_t)SERVICE_CHUNK, slots - i); k++)
			chunk.backend[k] = 1 + (i + k) % BACKENDS;
		put(datapath_map_fd(dp, "service_slots"), &slot, &chunk);
	}
	put(datapath_map_fd(dp, "service_frontends"), &key, &frontend);
}

static void make_service(void)
{
	struct ip_addr ours = ip_of(OURS4);
	uint32_t this = SERVICE_NODE_THIS;

	put(datapath_map_fd(dp, "service_nodes"), &ours, &this);
	for (uint32_t id = 1; id <= BACKENDS; id++) {
		struct service_backend b = { .addr = backend_addr(id - 1), .port = htons(BACKEND_PORT), .proto = IPPROTO_TCP, .roles = 1, .service = 1 };

		put(datapath_map_fd(dp, "service_backends"), &id, &b);
	}
	make_frontend(NODE_PORT, 1, BACKENDS, 0);
	make_frontend(MAGLEV_PORT, 2, MAGLEV_SLOTS, SERVICE_DSR | SERVICE_MAGLEV);
}

/* Those that are under way go to so many endpoints more. */
enum { LATEST = 4 };

static struct nat_forward forward_of(const char *client, unsigned i, bool direct)
{
	struct nat_forward r = { .port = htons(direct ? i : FIRST_PORT + i / LATEST), .open = 1, .seen = ticks_now() };

	r.addr = ip_of(direct ? client : NODE4);
	r.to = backend_addr(BACKENDS + i % LATEST);
	r.to_port = htons(BACKEND_PORT);
	r.direct = direct;
	r.backend = 1 + BACKENDS + i % LATEST;
	return r;
}

/* Connections of one client to the Service, from port 0 on. With @direct the endpoints answer themselves. */
static void establish(const char *client, bool direct)
{
	uint32_t all = NAT_OWNER_ALL, inbound = NAT_OWNER_INBOUND;
	uint64_t held = FLOWS;

	put(datapath_map_fd(dp, "nat_shares"), &all, &held);
	put(datapath_map_fd(dp, "nat_shares"), &inbound, &held);
	for (unsigned i = 0; i < FLOWS; i++) {
		struct nat_key inside = { .local = ip_of(client), .remote = ip_of(OURS4), .local_port = htons(i), .remote_port = htons(NODE_PORT) };
		struct nat_forward forward = forward_of(client, i, direct);
		struct nat_key outside = { .local = forward.addr, .remote = forward.to, .local_port = forward.port, .remote_port = forward.to_port };
		struct nat_claim claim = { .addr = inside.local, .front = inside.remote, .port = inside.local_port, .front_port = inside.remote_port };

		inside.proto = outside.proto = IPPROTO_TCP;
		claim.uplink = if_uplink;
		claim.state = (struct flow_state){ .seen = ticks_now(), .owner = NAT_OWNER_INBOUND, .stage = FLOW_OPEN };
		put(datapath_map_fd(dp, "nat_claims"), &outside, &claim);
		put(datapath_map_fd(dp, "nat_forward"), &inside, &forward);
	}
}

/* ---- what is measured ---- */

static void make_frame(struct frame *f, const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *flags)
{
	memset(f, 0, sizeof(*f));
	frame_ether(f, mac_host_a, mac_other, ETH_P_IP);
	frame_ip(f, src, dst, IPPROTO_TCP);
	frame_tcp(f, sport, dport, flags)->check = htons(0x1234);
	frame_payload(f, *flags == 'S' ? 0 : 64);
	frame_end(f);
}

static void go_on_to(const struct bpf_map *next, int program)
{
	uint32_t zero = 0;

	if (program >= 0)
		put(bpf_map__fd(next), &zero, &program);
	else
		bpf_map_delete_elem(bpf_map__fd(next), &zero);
}

static struct next_frame *next_frames(const struct frame *f, uint32_t flows, uint32_t step, uint32_t senders)
{
	struct next_frame *skel = next_frame__open();

	if (!skel)
		err(1, "next_frame");
	memcpy((void *)skel->rodata->frame, f->data, sizeof(skel->rodata->frame));
	skel->rodata->frame_len = f->len;
	skel->rodata->flow_mask = (flows ? flows : FLOWS) - 1;
	skel->rodata->step = step;
	skel->rodata->senders = senders;
	skel->rodata->first_port = FIRST_PORT;
	skel->rodata->fresh = flows == 0;
	if (next_frame__load(skel) < 0)
		err(1, "next_frame");
	return skel;
}

static struct next_flow *next_flows(const struct frame *f, uint16_t port)
{
	struct next_flow *skel = next_flow__open();

	if (!skel || bpf_map__reuse_fd(skel->maps.flow_asks, datapath_map_fd(dp, "flow_asks")) < 0 ||
	    bpf_map__reuse_fd(skel->maps.nat_asks, datapath_map_fd(dp, "nat_asks")) < 0)
		err(1, "next_flow");
	skel->rodata->flow_mask = FLOWS - 1;
	skel->rodata->fresh = 1;
	skel->rodata->service = port;
	memcpy((void *)skel->rodata->frame, f->data, ETH_HLEN);
	memcpy((void *)&skel->rodata->source, f->data + f->l3 + 12, 4);
	memcpy((void *)&skel->rodata->destination, f->data + f->l3 + 16, 4);
	skel->rodata->l3 = ETH_HLEN;
	if (next_flow__load(skel) < 0)
		err(1, "next_flow");
	return skel;
}

/* Nanoseconds a run. @ret_verdict: the latest one's. */
static double round_of(const struct measured *m, uint32_t repeat, uint32_t *ret_verdict)
{
	struct __sk_buff skb = { .ifindex = if_uplink };
	struct xdp_md xdp = { .data_end = m->f.len, .ingress_ifindex = if_uplink };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = m->f.data, .data_size_in = m->f.len, .repeat = repeat);

	opts.ctx_in = m->frames ? (void *)&xdp : (void *)&skb;
	opts.ctx_size_in = m->frames ? sizeof(xdp) : sizeof(skb);
	if (bpf_prog_test_run_opts(bpf_program__fd(m->frames ? m->frames->progs.next_frame : m->flows->progs.next_flow), &opts) < 0)
		err(1, "test run");
	*ret_verdict = opts.retval;
	return opts.duration;
}

static struct measured *part(struct row *r, const struct frame *f, uint32_t repeat, int program, uint32_t verdict)
{
	struct measured *m = &r->parts[r->n_parts++];

	*m = (struct measured){ .f = *f, .what = r->what, .repeat = repeat, .program = program, .verdict = verdict, .alone = 1e9, .both = 1e9 };
	return m;
}

static struct row *row(const char *what, enum kind kind)
{
	struct row *r = &rows[n_rows++];

	r->what = what;
	r->kind = kind;
	return r;
}

static void under_way(const char *what, int program, const struct frame *f, uint32_t senders)
{
	static const uint32_t flows[] = { 1, FLOWS };

	for (size_t i = 0; i < ARRAY_SIZE(flows); i++) {
		struct row *r = row(what, UNDER_WAY);

		r->flows = flows[i];
		part(r, f, REPEAT, program, XDP_TX)->frames = next_frames(f, flows[i], STEP, senders);
	}
}

/* In every eighth tick xdp_net leaves each connection a packet to from_net, which is not there to say that it had it. So a round lies between two such
 * ticks, and has time before the second; not all clocks say at once that the first is over. */
static double round_between_turns(const struct measured *m, uint32_t *ret_verdict)
{
	uint32_t began;
	double ns;

	do {
		while (began = ticks_now(), began % STACK_TURN < 2 || began % STACK_TURN > STACK_TURN / 2)
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		ns = round_of(m, m->repeat, ret_verdict);
	} while (ticks_now() / STACK_TURN != began / STACK_TURN);
	return ns;
}

/* Return: nanoseconds of this round. */
static double measure(struct measured *m)
{
	const struct bpf_map *next = m->frames ? m->frames->maps.next : m->flows->maps.next;
	uint32_t verdict;
	double ns;

	go_on_to(next, -1);
	ns = round_of(m, FLOWS / 4, &verdict);
	m->alone = MIN(m->alone, ns);
	go_on_to(next, m->program);
	ns = round_between_turns(m, &verdict);
	m->both = MIN(m->both, ns);
	if (verdict != m->verdict)
		errx(1, "%s: a verdict of %u, expected %u", m->what, verdict, m->verdict);
	return ns - m->alone;
}

/* Of other connections in each round: a packet with each of @flags. */
static void first_ones(const char *what, enum kind kind, int program, const char *client, uint16_t port, const char *flags)
{
	struct row *r = row(what, kind);
	struct frame f;

	for (const char *flag = flags; *flag; flag++) {
		make_frame(&f, client, 0, OURS4, port, (char[]){ *flag, 0 });
		((struct tcphdr *)(f.data + f.l4))->seq = htonl(flag - flags); /* a SYN counts */
		part(r, &f, REPEAT_FIRST, program, XDP_TX)->frames = next_frames(&f, 0, STEP, 0);
	}
}

static void weft_rows(void)
{
	int xdp = datapath_program_fd(dp, "xdp_net");
	struct frame f;
	struct row *r;
	struct addr endpoint = addr_of(DIRECT4);
	char text[ADDR_TEXT_MAX];

	endpoint.b[15] += BACKENDS;
	establish(clients[0], false);
	establish(clients[1], true);
	make_frame(&f, clients[0], 0, OURS4, NODE_PORT, "A");
	under_way("xdp_net: a client's, to another node's endpoint (SNAT)", xdp, &f, 0);
	make_frame(&f, clients[1], 0, OURS4, NODE_PORT, "A");
	under_way("xdp_net: a client's, to another node's endpoint (DSR)", xdp, &f, 0);
	make_frame(&f, addr_format(&endpoint, text), BACKEND_PORT, NODE4, 0, "A");
	under_way("xdp_net: the endpoint's answer", xdp, &f, LATEST);
	make_frame(&f, clients[2], 0, OURS4, NODE_PORT, "S");
	r = row("xdp_net and from_net: a connection's first packet", FIRST);
	part(r, &f, REPEAT, xdp, XDP_PASS)->frames = next_frames(&f, 0, STEP, 0);
	part(r, &f, REPEAT_FIRST, datapath_program_fd(dp, "from_net"), TC_ACT_REDIRECT)->flows = next_flows(&f, NODE_PORT);
	first_ones("xdp_net: a connection's first packet (DSR by Maglev)", FIRST, xdp, clients[2], MAGLEV_PORT, "S");
	first_ones("xdp_net: its first two (DSR by Maglev)", FIRST_TWO, xdp, clients[3], MAGLEV_PORT, "SA");
	make_frame(&f, clients[4], 0, OURS4, MAGLEV_PORT, "A");
	r = row("xdp_net and from_net: a later one, not known (Maglev)", LATER);
	part(r, &f, REPEAT_FIRST, xdp, XDP_PASS)->frames = next_frames(&f, 0, STEP, 0);
	part(r, &f, REPEAT_FIRST, datapath_program_fd(dp, "from_net"), TC_ACT_REDIRECT)->flows = next_flows(&f, MAGLEV_PORT);
}

/* ---- the other one ---- */

/* What its maps hold, as far as it is needed here. */
struct katran_vip {
	uint32_t addr[4];
	uint16_t port;
	uint8_t proto;
};

struct katran_real {
	uint32_t addr[4];
	uint8_t flags;
};

enum { KATRAN_RING = 65537, KATRAN_MISSES = 512, KATRAN_NEW = 514, KATRAN_KEY = 40, KATRAN_VALUE = 16, CPUS = 1024 };

static int katran_stats = -1;

static int katran_map(struct bpf_object *o, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(o, name);

	if (fd < 0)
		errx(1, "no map %s in the object", name);
	return fd;
}

/* One address with as many reals behind it as our Service has endpoints, on a ring as full as it would make it; each
 * CPU a table of connections. */
static struct bpf_program *katran_open(const char *path)
{
	struct bpf_object *o = bpf_object__open_file(path, NULL);
	struct katran_vip vip = { .addr = { inet_addr(OURS4) }, .port = htons(NODE_PORT), .proto = IPPROTO_TCP };
	uint32_t meta[2] = {}, zero = 0;
	uint8_t mac[8] = { 2, 2, 2, 2, 2, 2 };

	if (!o || bpf_object__load(o) < 0)
		errx(1, "%s does not load", path);
	put(katran_map(o, "ctl_array"), &zero, mac);
	put(katran_map(o, "vip_map"), &vip, meta);
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct katran_real real = { .addr = { htonl(ntohl(inet_addr(DIRECT4)) + i) } };

		put(katran_map(o, "reals"), &i, &real);
	}
	for (uint32_t i = 0; i < KATRAN_RING; i++) {
		uint32_t real = 1 + i % BACKENDS;

		put(katran_map(o, "ch_rings"), &i, &real);
	}
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		int lru = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "katran_lru", KATRAN_KEY, KATRAN_VALUE, TABLE, NULL);

		put(katran_map(o, "lru_mapping"), &cpu, &lru);
	}
	katran_stats = katran_map(o, "stats");
	return bpf_object__find_program_by_name(o, "balancer_ingress");
}

/* Packets of which its tables did not know the connection. */
static uint64_t katran_misses(void)
{
	uint64_t values[2 * CPUS] = {}, sum = 0;
	uint32_t index = KATRAN_MISSES;

	if (katran_stats < 0)
		return 0;
	if (bpf_map_lookup_elem(katran_stats, &index, values) < 0)
		err(1, "stats");
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += values[2 * i + 1];
	return sum;
}

/* It notes no connection of more than so many a second: the count begins anew. */
static void katran_forgive(void)
{
	static const uint64_t none[2 * CPUS];
	uint32_t index = KATRAN_NEW;

	if (katran_stats >= 0)
		put(katran_stats, &index, none);
}

static void katran_rows(const char *path)
{
	int fd = bpf_program__fd(katran_open(path));
	struct frame f, first;
	struct measured all;
	uint32_t verdict;

	for (size_t i = 0; i < 2; i++) { /* as many as in our tables, those that are measured first */
		make_frame(&first, clients[i], 0, OURS4, NODE_PORT, "S");
		all = (struct measured){ .f = first, .frames = next_frames(&first, FLOWS, 1, 0) };
		go_on_to(all.frames->maps.next, fd);
		katran_forgive();
		round_of(&all, FLOWS, &verdict);
		next_frame__destroy(all.frames);
	}
	make_frame(&f, clients[0], 0, OURS4, NODE_PORT, "A");
	under_way("Katran: a client's, known to its table", fd, &f, 0);
	first_ones("Katran: a connection's first packet", FIRST, fd, clients[2], NODE_PORT, "S");
	first_ones("Katran: its first two", FIRST_TWO, fd, clients[3], NODE_PORT, "SA");
	first_ones("Katran: a later packet, not known to its table", LATER, fd, clients[4], NODE_PORT, "A");
}

/* ---- all of it ---- */

static bool is_katrans(const struct row *r)
{
	return str_has_prefix(r->what, "Katran");
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The median of the rounds' ratios to Katran's packet of the same kind. 0: there is none. */
static double beside_katran(const struct row *r)
{
	double ratios[ROUNDS];

	for (size_t i = 0; i < n_rows; i++) {
		if (!is_katrans(&rows[i]) || rows[i].flows != r->flows || rows[i].kind != r->kind)
			continue;
		for (int k = 0; k < ROUNDS; k++)
			ratios[k] = r->rounds[k] / rows[i].rounds[k];
		qsort(ratios, ROUNDS, sizeof(*ratios), by_size);
		return ratios[ROUNDS / 2];
	}
	return 0;
}

static void tell(const struct row *r)
{
	double ns = 0, ratio = is_katrans(r) ? 0 : beside_katran(r);

	for (size_t k = 0; k < r->n_parts; k++)
		ns += r->parts[k].both - r->parts[k].alone;
	printf("%-60s %-10s %6.0f", r->what, r->flows == 1 ? "one flow" : r->flows ? "64k flows" : "", ns);
	if (ratio > 0)
		printf("   x %.2f", ratio);
	printf("\n");
}

/* Each SYN has a line then, which stands as long as both rounds last. */
static void wait_for_lines(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 600000000 }, NULL);
	while (ticks_now() % STACK_TURN != 2)
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static void play_round(int n)
{
	for (size_t i = 0; i < n_rows; i++) {
		struct row *r = &rows[i];
		uint64_t misses = katran_misses();

		katran_forgive();
		if (r->kind == FIRST_TWO)
			wait_for_lines();
		r->rounds[n] = 0;
		for (size_t k = 0; k < r->n_parts; k++)
			r->rounds[n] += measure(&r->parts[k]);
		if (r->flows && katran_misses() != misses)
			errx(1, "%s: its table did not know it", r->what);
	}
}

int main(void)
{
	const char *katran = getenv("KATRAN_OBJECT");
	uint64_t drops;

	harness_init();
	dp_config.inbound = true;
	dp_config.nat_max = dp_config.nat_share = TABLE;
	dp_config.inbound_port_min = FIRST_PORT; /* as the agent has it, where the kernel has its own defaults */
	dp_config.inbound_port_max = 32767;
	dp_config.xdp = DP_XDP_GENERIC;
	harness_reopen();
	make_node();
	make_service();
	weft_rows();
	if (katran)
		katran_rows(katran);
	drops = all_drops();
	for (int i = 0; i < ROUNDS; i++)
		play_round(i);
	if (all_drops() != drops)
		errx(1, "packets were dropped (%s)", drop_reason_label(last_drop()));
	printf("nanoseconds a packet, the least of %d rounds; x: beside Katran's packet of the kind, median of the "
	       "rounds\n",
	       ROUNDS);
	for (size_t i = 0; i < n_rows; i++)
		tell(&rows[i]);
	if (!katran)
		printf("left out: Katran's 5 rows, KATRAN_OBJECT names no object\n");
	harness_done();
	return 0;
}
