/* SPDX-License-Identifier: Apache-2.0 */
/* The life of flows: where an entry is after which packets, what it costs whom, when it goes, and what outlives a restart. */
#include "base/test.h"
#include "base/str.h"
#include "harness.h"

#include <bpf/bpf.h>
#include <time.h>

static struct frame f;

/* A TCP packet between pod A (port 1000) and a host of the world (port 80). */
static void tcp(bool from_pod, const char *flags)
{
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, from_pod ? A4 : WORLD4, from_pod ? WORLD4 : A4, IPPROTO_TCP);
	frame_tcp(&f, from_pod ? 1000 : 80, from_pod ? 80 : 1000, flags);
	frame_end(&f);
	CHECK_INT(run(from_pod ? "from_pod" : "to_pod", &f, if_a).verdict, TC_ACT_OK);
}

static void udp(bool from_pod, uint16_t port)
{
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, from_pod ? A4 : WORLD4, from_pod ? WORLD4 : A4, IPPROTO_UDP);
	frame_udp(&f, from_pod ? port : 53, from_pod ? 53 : port);
	frame_end(&f);
	CHECK_INT(run(from_pod ? "from_pod" : "to_pod", &f, if_a).verdict, TC_ACT_OK);
}

static bool tcp_in(const char *map, struct flow_state *s)
{
	return flow_get(map, IPPROTO_TCP, A4, 1000, WORLD4, 80, s);
}

static bool tcp_moved(struct flow_state *s)
{
	return flow_moved(IPPROTO_TCP, A4, 1000, WORLD4, 80, s);
}

static bool wait_share(uint32_t id, uint64_t n)
{
	for (int i = 0; i < 2000 && share_of(id) != n; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	return share_of(id) == n;
}

/* The pod's end of the key of the flow above. */
static int pod_end(void)
{
	struct flow_key key = flow_key_of(IPPROTO_TCP, A4, 1000, WORLD4, 80);

	return key.port[0] == htons(1000) ? 0 : 1;
}

static void handshake(void)
{
	tcp(true, "S");
	tcp(false, "SA");
	tcp(true, "A");
}

static void a_handshake_moves_the_flow(void)
{
	struct flow_state s;

	flows_clear();
	tcp(true, "S");
	CHECK(tcp_in("flows_new", &s) && !tcp_in("flows", &s));
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_HALF_OPEN);
	CHECK_INT(s.initiator, pod_end());
	CHECK_INT(s.owner, 1);
	CHECK_INT(share_of(1), 0);
	tcp(true, "S"); /* again */
	tcp(false, "SA");
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_REPLIED);
	tcp(true, "A");
	CHECK(tcp_moved(&s));
	CHECK_INT(s.stage, FLOW_OPEN);
	CHECK_INT(s.initiator, pod_end());
	CHECK_INT(share_of(1), 1);
	CHECK_INT(share_of(0), 1);
}

static void who_speaks_first_is_the_initiator(void)
{
	struct flow_state s;

	flows_clear();
	tcp(false, "S");
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.initiator, !pod_end());
	CHECK_INT(s.owner, 1); /* the local end pays all the same */
}

static void a_close_by_both_ends_frees_the_share(void)
{
	struct flow_state s;

	flows_clear();
	handshake();
	CHECK(tcp_moved(&s));
	CHECK_INT(share_of(1), 1);
	tcp(true, "FA");
	CHECK(tcp_in("flows", &s));
	CHECK_INT(s.fin, 1 << pod_end());
	tcp(false, "FA");
	CHECK(!tcp_in("flows", &s));
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_CLOSING);
	CHECK_INT(share_of(1), 0);
	CHECK_INT(share_of(0), 0);
	tcp(true, "A");
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_CLOSING);
	tcp(true, "S"); /* the same ports again, within the time-out */
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_HALF_OPEN);
	CHECK_INT(s.fin, 0);
}

/* The entry was found a while before it is written over: what policy said is not written there, but said again for the next packet. */
static void an_entry_used_again_is_judged_again(void)
{
	struct flow_state s;

	CHECK_INT(datapath_policy_begin(dp), 0);
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
	flows_clear();
	tcp(true, "S");
	CHECK(tcp_in("flows_new", &s));
	CHECK(s.judged != 0);
	tcp(false, "RA");
	tcp(true, "S");
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_HALF_OPEN);
	CHECK_INT(s.judged, 0);
	tcp(false, "SA");
	CHECK(tcp_in("flows_new", &s));
	CHECK(s.judged != 0);
}

static void a_reset_frees_the_share(void)
{
	struct flow_state s;

	flows_clear();
	handshake();
	CHECK(tcp_moved(&s));
	tcp(false, "R");
	CHECK(!tcp_in("flows", &s));
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_RESET);
	CHECK_INT(share_of(1), 0);
	tcp(true, "A"); /* it was not believed: the connection is picked up again */
	tcp(false, "A");
	tcp(true, "A");
	CHECK(tcp_moved(&s));
	CHECK_INT(share_of(1), 1);
}

/* What is over before a sweep comes is moved nowhere: the next one takes its ripe entry away. */
static void a_short_connection_stays_out_of_the_table(void)
{
	struct flow_state s;

	flows_clear();
	handshake();
	tcp(true, "FA");
	tcp(false, "FA");
	udp(true, 5000); /* behind it in the queue */
	udp(false, 5000);
	udp(true, 5000);
	CHECK(flow_moved(IPPROTO_UDP, A4, 5000, WORLD4, 53, &s));
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.stage, FLOW_CLOSING);
	CHECK_INT(share_of(1), 1);
}

/* One that waits for the sweep is no less a conversation. */
static void a_flood_of_new_flows_evicts_no_conversation(void)
{
	struct flow_state s;

	flows_clear();
	handshake();
	for (int port = 2000; port < 2000 + 16 * FLOW_MAX; port++)
		udp(false, port);
	CHECK(tcp_moved(&s));
	CHECK_INT(s.initiator, pod_end());
}

/* What pod A begins and nobody answers is bounded; what is answered is not, nor is B, nor what others begin with A. */
static void a_pod_that_floods_is_refused_before_it_evicts_others(void)
{
	struct flow_state s;
	uint64_t before;

	flows_clear();
	frame_ether(&f, mac_host_b, mac_pod_b, ETH_P_IP);
	frame_ip(&f, B4, WORLD4, IPPROTO_TCP);
	frame_tcp(&f, 1000, 80, "S");
	frame_end(&f);
	CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_OK); /* half-open */
	for (int port = 1; port <= FLOW_SHARE; port++) {
		udp(true, port);
		udp(false, port);
	}
	before = drops_of(DROP_FLOW_UNANSWERED);
	for (int port = 2000; port < 2000 + 4 * FLOW_MAX; port++) {
		frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
		frame_ip(&f, A4, WORLD4, IPPROTO_TCP);
		frame_tcp(&f, port, 80, "S");
		frame_end(&f);
		run("from_pod", &f, if_a);
	}
	CHECK(drops_of(DROP_FLOW_UNANSWERED) - before > 3 * FLOW_MAX);
	CHECK(flow_get("flows_new", IPPROTO_TCP, B4, 1000, WORLD4, 80, &s));
	udp(false, 9999);
	last_drop();
}

static void a_running_connection_is_picked_up(void)
{
	struct flow_state s;

	flows_clear();
	tcp(false, "A");
	tcp(true, "A");
	tcp(false, "A");
	CHECK(tcp_moved(&s));
	CHECK_INT(s.stage, FLOW_OPEN);
}

static void a_syn_flood_never_enters_the_table(void)
{
	flows_clear();
	for (int port = 1; port < 2000; port++) {
		frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
		frame_ip(&f, WORLD4, A4, IPPROTO_TCP);
		frame_tcp(&f, port, 80, "S");
		frame_end(&f);
		CHECK_INT(run("to_pod", &f, if_a).verdict, TC_ACT_OK);
		frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
		frame_ip(&f, A4, WORLD4, IPPROTO_TCP);
		frame_tcp(&f, 80, port, "SA");
		frame_end(&f);
		CHECK_INT(run("from_pod", &f, if_a).verdict, TC_ACT_OK);
	}
	CHECK_INT(share_of(0), 0);
}

static void a_query_and_its_answer_stay_out_of_the_table(void)
{
	struct flow_state s;

	flows_clear();
	udp(true, 5000);
	udp(false, 5000);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 5000, WORLD4, 53, &s));
	CHECK_INT(s.stage, FLOW_REPLIED);
	udp(true, 5000);
	CHECK(flow_moved(IPPROTO_UDP, A4, 5000, WORLD4, 53, &s));
	CHECK_INT(share_of(1), 1);
}

static void an_endpoint_has_its_share(void)
{
	flows_clear();
	for (int port = 1; port <= FLOW_SHARE; port++) {
		udp(true, port);
		udp(false, port);
		udp(true, port);
	}
	CHECK(wait_share(1, FLOW_SHARE));
	frame_ip4(&f); /* the next is refused, what there is goes on, and the other pod is not touched */
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, WORLD4, IPPROTO_UDP);
	frame_udp(&f, 9999, 53);
	frame_end(&f);
	CHECK_DROP("from_pod", &f, if_a, DROP_FLOW_SHARE);
	udp(true, 1);
	udp(false, FLOW_SHARE);
	frame_ether(&f, mac_host_b, mac_pod_b, ETH_P_IP);
	frame_ip(&f, B4, WORLD4, IPPROTO_UDP);
	frame_udp(&f, 9999, 53);
	frame_end(&f);
	CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_OK);
}

/* A conversation that the world begins with pod A: all of it passes. */
static void received(uint16_t port)
{
	udp(false, port);
	udp(true, port);
	udp(false, port);
}

/* Whoever calls a pod as often as he can takes three quarters of its share: the others reach it, and it reaches others. */
static void what_others_begin_leaves_room(void)
{
	struct flow_state s;

	flows_clear();
	for (int port = 1; port <= 4 * FLOW_SHARE; port++)
		received(port);
	CHECK(wait_share(1, FLOW_SHARE * 3 / 4));
	udp(true, 5000);
	udp(false, 5000);
	udp(true, 5000);
	CHECK(flow_moved(IPPROTO_UDP, A4, 5000, WORLD4, 53, &s));
	CHECK(!s.received);
	received(5001);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 5001, WORLD4, 53, &s));
	CHECK_INT(s.stage, FLOW_OPEN);
	CHECK(s.received);
	for (int port = 6000; port < 6000 + FLOW_SHARE / 4 - 1; port++) { /* what it begins fills the rest */
		udp(true, port);
		udp(false, port);
		udp(true, port);
	}
	CHECK(wait_share(1, FLOW_SHARE));
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, WORLD4, IPPROTO_UDP);
	frame_udp(&f, 9999, 53);
	frame_end(&f);
	CHECK_DROP("from_pod", &f, if_a, DROP_FLOW_SHARE);
	received(9999);
}

/* An id that is used again counts from zero, and the entries of who had it before are given back too. */
static void an_id_used_again_is_not_refused(void)
{
	uint32_t id = 1;
	uint64_t none = 0;

	flows_clear();
	handshake();
	CHECK(wait_share(1, 1));
	bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &id, &none, BPF_ANY);
	tcp(false, "R");
	CHECK_INT((int64_t)share_of(1), -1);
	udp(true, 5000);
}

/* Both pods fill the table together (the share is raised for it). */
static void a_full_table_refuses_new_flows(void)
{
	uint64_t before;

	dp_config.flow_share = FLOW_MAX;
	harness_reopen();
	flows_clear();
	for (int port = 1; port <= FLOW_MAX; port++) {
		udp(true, port);
		udp(false, port);
		udp(true, port);
	}
	CHECK(wait_share(0, FLOW_MAX));
	before = drops_of(DROP_FLOW_TABLE_FULL);
	frame_ether(&f, mac_host_b, mac_pod_b, ETH_P_IP);
	frame_ip(&f, B4, WORLD4, IPPROTO_UDP);
	frame_udp(&f, 9999, 53);
	frame_end(&f);
	CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_SHOT);
	CHECK_INT(drops_of(DROP_FLOW_TABLE_FULL), before + 1);
	udp(true, 7); /* what there is goes on */
	udp(false, 9999); /* and what others begin is not refused */
	flows_clear();
	for (int port = 1; port <= 2 * FLOW_MAX; port++)
		received(port);
	CHECK(wait_share(0, FLOW_MAX * 3 / 4));
	dp_config.flow_share = FLOW_SHARE;
	harness_reopen();
}

/* Puts an entry as if its last packet had been @idle seconds ago. */
static void plant(const char *map, uint16_t port, uint8_t stage, unsigned idle)
{
	struct flow_key key = flow_key_of(IPPROTO_UDP, A4, port, WORLD4, 53);
	struct flow flow = { .state = { .seen = ticks_now() - FLOW_TICKS(idle), .owner = 1, .stage = stage } };

	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, map), &key, &flow, BPF_ANY), 0);
}

static void a_stale_entry_counts_as_gone(void)
{
	struct flow_state s;

	flows_clear();
	plant("flows_new", 1, FLOW_REPLIED, FLOW_TIMEOUT_NEW + 1);
	plant("flows_new", 2, FLOW_REPLIED, FLOW_TIMEOUT_NEW - 2);
	udp(true, 1);
	udp(true, 2);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 1, WORLD4, 53, &s));
	CHECK_INT(s.stage, FLOW_HALF_OPEN); /* begun anew */
	CHECK(flow_moved(IPPROTO_UDP, A4, 2, WORLD4, 53, &s)); /* gone on */
}

static bool wait_until_gone(const char *map, uint16_t port, int seconds)
{
	struct flow_state s;

	for (int i = 0; i < seconds * 50; i++) {
		if (!flow_get(map, IPPROTO_UDP, A4, port, WORLD4, 53, &s))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	return false;
}

/* From now on no key leaves the queue for a whole round, and none gets in. */
static void fill_turns(void)
{
	int fd = datapath_map_fd(dp, "flows_turns");
	struct flow_key stray = {};

	while (bpf_map_lookup_and_delete_elem(fd, NULL, &stray) == 0)
		;
	memset(&stray, 0, sizeof(stray));
	stray.turn = (uint8_t)ticks_now() | 1;
	while (bpf_map_update_elem(fd, NULL, &stray, BPF_ANY) == 0)
		;
	CHECK_INT(errno, E2BIG);
}

/* Moves a conversation to `flows` while the queue is full: on a machine that is busy until the strays' turn comes, again. */
static void move_without_turn(uint16_t port)
{
	struct flow_state s;
	uint32_t began;

	do {
		flows_clear();
		began = ticks_now();
		fill_turns();
		udp(true, port);
		udp(false, port);
		udp(true, port);
		CHECK(flow_moved(IPPROTO_UDP, A4, port, WORLD4, 53, &s));
	} while (ticks_now() - began >= TURN_TICKS - 4);
}

static bool turns_are_full(void)
{
	struct flow_key stray = { .turn = (uint8_t)ticks_now() | 1 };

	return bpf_map_update_elem(datapath_map_fd(dp, "flows_turns"), NULL, &stray, BPF_ANY) < 0 && errno == E2BIG;
}

/* New flows that come fast make the sweep run at once. */
static void make_it_sweep(void)
{
	struct flow_state s;

	udp(true, 9);
	udp(false, 9);
	udp(true, 9); /* ripe: it is moved by the sweep that the others bring about */
	for (int port = 100; port < 100 + 2 * FLOW_MAX / 256; port++)
		udp(true, port);
	CHECK(flow_moved(IPPROTO_UDP, A4, 9, WORLD4, 53, &s));
}

/* Turns are odd ticks: what gets one in an even tick does not have it at once. */
static void a_turn_is_waited_for(void)
{
	uint32_t began;

	do {
		flows_clear();
		while ((began = ticks_now()) & 1)
			;
		fill_turns();
		make_it_sweep();
	} while (ticks_now() != began);
	CHECK(turns_are_full());
	flows_clear();
}

/* With the queue of turns full an entry has none: the sweep finds it all the same. */
static void an_entry_without_a_turn_is_found(void)
{
	struct flow_state s;
	struct dp_stats before, after;
	uint64_t one = 1;
	uint32_t id = 1, all = 0;

	CHECK_INT(datapath_read_stats(dp, &before), 0);
	move_without_turn(1);
	plant("flows", 1, FLOW_OPEN, FLOW_TIMEOUT_OPEN + 1);
	plant("flows", 2, FLOW_OPEN, 0);
	bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &id, &one, BPF_ANY);
	bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &all, &one, BPF_ANY);
	CHECK(wait_until_gone("flows", 1, 30));
	CHECK(flow_get("flows", IPPROTO_UDP, A4, 2, WORLD4, 53, &s));
	CHECK_INT(share_of(1), 0);
	CHECK_INT(datapath_read_stats(dp, &after), 0);
	CHECK(after.searches > before.searches);
	flows_clear();
}

/* Another size of the table is another layout: the entries move into a new map, and get their turns there. */
static void entries_move_into_a_table_of_another_size_and_expire_there(void)
{
	uint64_t three = 3, none = 0;
	struct flow_state s;
	uint32_t id = 1, all = 0;
	int old;

	flows_clear();
	plant("flows", 1, FLOW_OPEN, 10);
	plant("flows", 2, FLOW_OPEN, FLOW_TIMEOUT_OPEN);
	plant("flows", 3, FLOW_OPEN, FLOW_TIMEOUT_OPEN - 2);
	plant("flows_new", 4, FLOW_HALF_OPEN, 0);
	bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &id, &three, BPF_ANY);
	bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &all, &three, BPF_ANY);
	old = dup(datapath_map_fd(dp, "endpoint_flows"));
	dp_config.flow_max = FLOW_MAX * 2;
	harness_reopen();
	bpf_map_update_elem(old, &id, &none, BPF_ANY); /* as if the old table's sweep, which runs until the new one's does, had ended all */
	close(old);
	CHECK(flow_get("flows", IPPROTO_UDP, A4, 1, WORLD4, 53, &s));
	CHECK_INT(s.owner, 1);
	CHECK_INT(s.stage, FLOW_OPEN);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 4, WORLD4, 53, &s));
	CHECK(wait_until_gone("flows", 2, 20));
	CHECK(wait_until_gone("flows", 3, 60));
	CHECK(flow_get("flows", IPPROTO_UDP, A4, 1, WORLD4, 53, &s));
	CHECK_INT(share_of(1), 1);
	CHECK_INT(share_of(0), 1);
	dp_config.flow_max = FLOW_MAX;
	harness_reopen();
	flows_clear(); /* all programs share the new maps */
	handshake();
	CHECK(tcp_moved(&s));
}

static char told[256];

static void on_repair(enum dp_repair what, const char *text, void *ctx)
{
	(void)ctx;
	CHECK_INT(what, DP_REPAIR_ENTRY);
	snprintf(told, sizeof(told), "%s", text);
}

static void check_told(const char *text)
{
	uint32_t links[] = { if_a, if_b };

	*told = 0;
	CHECK_INT(datapath_sweep_endpoints(dp, links, ARRAY_SIZE(links)), 0);
	CHECK_STR(told, text);
}

/* An entry ends with its turn, and a sweep moves conversations: shares and table are looked at when nothing moves any more. */
static void a_counter_of_flows_that_somebody_takes_away_is_made_anew(void)
{
	int map = datapath_map_fd(dp, "endpoint_flows");
	uint64_t below = -1;
	struct flow_state s;

	flows_clear();
	datapath_on_repair(dp, on_repair, NULL);
	for (uint32_t id = 0; id < 2; id++) {
		handshake();
		CHECK(tcp_moved(&s));
		CHECK(wait_share(1, 1) && wait_share(0, 1));
		CHECK_INT(bpf_map_delete_elem(map, &id), 0);
		check_told("1 entries of endpoint_flows");
		CHECK_INT(share_of(id), 1);
		CHECK_INT(bpf_map_update_elem(map, &id, &below, BPF_ANY), 0);
		check_told(""); /* nobody has taken anything away */
		CHECK_INT(share_of(id), 1);
		CHECK_INT(share_of(2), 0);
		tcp(true, "FA");
		tcp(false, "FA");
		CHECK_INT(share_of(0), 0);
		CHECK_INT(share_of(1), 0);
		flows_clear();
	}
	datapath_on_repair(dp, NULL, NULL);
}

static void leave_beside(const char *map, int fd)
{
	_cleanup_free_ char *maps = datapath_pin_dir(dp, 0), *path = xasprintf("%s/%s__before", maps, map);

	CHECK_INT(bpf_obj_pin(fd, path), 0);
	close(fd);
}

/* All that is in the map would be too old after half a minute, in which a slow machine has not loaded the programs twice. */
static void keep_for_long(int map)
{
	struct flow_key key, *at = NULL;
	struct flow_state s;
	unsigned n = 0;

	for (; bpf_map_get_next_key(map, at, &key) == 0; at = &key, n++) {
		CHECK_INT(bpf_map_lookup_elem(map, &key, &s), 0);
		s.seen = ticks_now() + FLOW_TICKS(600);
		CHECK_INT(bpf_map_update_elem(map, &key, &s, BPF_EXIST), 0);
	}
	CHECK_INT(n, 2);
}

/* What the programs that are attached write to the old table after it has been copied. An answer that met the new table first has begun a flow
 * of its own there, which policy judges as if the answer had asked. */
static void what_began_between_copy_and_switch_is_taken_over(void)
{
	struct flow_state s;
	int young, table;

	flows_clear();
	dp_config.flow_max = FLOW_MAX * 2;
	harness_reopen();
	young = dup(datapath_map_fd(dp, "flows_new"));
	table = dup(datapath_map_fd(dp, "flows"));
	tcp(true, "S");
	udp(true, 5);
	plant("flows", 6, FLOW_OPEN, 1);
	dp_config.flow_max = FLOW_MAX;
	harness_reopen();
	flows_clear(); /* nothing was there to be copied */
	tcp(false, "SA");
	CHECK(tcp_in("flows_new", &s));
	CHECK(s.initiator != pod_end());
	keep_for_long(young);
	leave_beside("flows_new", young);
	leave_beside("flows", table);
	harness_reopen();
	CHECK(tcp_in("flows_new", &s));
	CHECK_INT(s.initiator, pod_end());
	CHECK(!(s.origin & FLOW_UNSURE));
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 5, WORLD4, 53, &s));
	CHECK(flow_get("flows", IPPROTO_UDP, A4, 6, WORLD4, 53, &s));
	CHECK_INT(share_of(1), 1);
	CHECK_INT(share_of(0), 1);
	tcp(false, "SA");
	tcp(true, "A");
	CHECK(tcp_moved(&s));
	CHECK_INT(s.initiator, pod_end());
	flows_clear();
}

static void flows_and_counters_outlive_a_restart(void)
{
	struct flow_state s;
	uint64_t stack;

	flows_clear();
	handshake();
	stack = forwards_of(FORWARD_STACK);
	harness_reopen(); /* moves it, too */
	CHECK(tcp_in("flows", &s));
	CHECK_INT(share_of(1), 1);
	CHECK_INT(forwards_of(FORWARD_STACK), stack);
}

/* Of another version, or of a conversion that was cut off. */
static void pins_that_no_program_names_go(void)
{
	_cleanup_free_ char *maps = datapath_pin_dir(dp, 0), *other = xasprintf("%s/flows_of_old", maps);
	_cleanup_free_ char *cut_off = xasprintf("%s/flows__converted", maps), *flows = xasprintf("%s/flows", maps);

	CHECK_INT(bpf_obj_pin(datapath_map_fd(dp, "flows"), other), 0);
	CHECK_INT(bpf_obj_pin(datapath_map_fd(dp, "flows"), cut_off), 0);
	harness_reopen();
	CHECK(access(other, F_OK) < 0 && errno == ENOENT);
	CHECK(access(cut_off, F_OK) < 0 && errno == ENOENT);
	CHECK_INT(access(flows, F_OK), 0);
}

static void a_withdrawn_endpoint_is_locked_out(void)
{
	struct flow_state s;

	flows_clear();
	CHECK_INT(datapath_del_endpoint(dp, if_a), 0);
	CHECK_INT(datapath_del_endpoint(dp, if_a), -ENOENT);
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, A4, WORLD4, IPPROTO_UDP);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	CHECK_DROP("from_pod", &f, if_a, DROP_NO_ENDPOINT); /* its program stays, and lets nothing through */
	CHECK_INT(share_of(1), UINT64_MAX);
	harness_reopen();
	udp(true, 1);
	CHECK(flow_get("flows_new", IPPROTO_UDP, A4, 1, WORLD4, 53, &s));
}

int main(void)
{
	harness_init();
	RUN(a_handshake_moves_the_flow);
	RUN(who_speaks_first_is_the_initiator);
	RUN(a_close_by_both_ends_frees_the_share);
	RUN(a_reset_frees_the_share);
	RUN(a_short_connection_stays_out_of_the_table);
	RUN(a_flood_of_new_flows_evicts_no_conversation);
	RUN(a_pod_that_floods_is_refused_before_it_evicts_others);
	RUN(a_running_connection_is_picked_up);
	RUN(a_syn_flood_never_enters_the_table);
	RUN(a_query_and_its_answer_stay_out_of_the_table);
	RUN(an_endpoint_has_its_share);
	RUN(what_others_begin_leaves_room);
	RUN(an_id_used_again_is_not_refused);
	RUN(a_full_table_refuses_new_flows);
	RUN(a_stale_entry_counts_as_gone);
	RUN(a_turn_is_waited_for);
	RUN(an_entry_without_a_turn_is_found);
	RUN(a_counter_of_flows_that_somebody_takes_away_is_made_anew);
	RUN(entries_move_into_a_table_of_another_size_and_expire_there);
	RUN(what_began_between_copy_and_switch_is_taken_over);
	RUN(flows_and_counters_outlive_a_restart);
	RUN(pins_that_no_program_names_go);
	RUN(a_withdrawn_endpoint_is_locked_out);
	RUN(an_entry_used_again_is_judged_again);
	harness_done();
	return test_end();
}
