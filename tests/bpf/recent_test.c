/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations seen a moment ago (bpf/lib/flow_recent.h): which packets pass without a look into the flow table, and which must not.
 *
 * A packet that was looked up notes when: so an entry that was made old before stays old if its mark was enough. A mark lasts for an
 * epoch of a second, which may end at any moment; what needs two packets in one epoch is tried again. */
#include "base/test.h"
#include "harness.h"
#include "weft/policy.h"

#include <bpf/bpf.h>
#include <time.h>

enum { OLD = 20 /* seconds: younger than any time-out in `flows` */, TRIES = 20 };

static struct frame f;

struct conversation {
	uint8_t proto;
	const char *pod, *peer;
	uint16_t port, peer_port;
};

static const struct conversation tcp4 = { IPPROTO_TCP, A4, WORLD4, 1000, 80 }, tcp6 = { IPPROTO_TCP, A6, WORLD6, 1000, 80 },
				 udp4 = { IPPROTO_UDP, A4, WORLD4, 1000, 53 }, direct4 = { IPPROTO_TCP, A4, DIRECT4, 1000, 80 };

static void build(const struct conversation *c, bool from_pod, const char *flags)
{
	frame_ether(&f, mac_host_a, mac_pod_a, strchr(c->pod, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, from_pod ? c->pod : c->peer, from_pod ? c->peer : c->pod, c->proto);
	if (c->proto == IPPROTO_TCP)
		frame_tcp(&f, from_pod ? c->port : c->peer_port, from_pod ? c->peer_port : c->port, flags);
	else
		frame_udp(&f, from_pod ? c->port : c->peer_port, from_pod ? c->peer_port : c->port);
	frame_end(&f);
}

static void packet(const struct conversation *c, bool from_pod, const char *flags)
{
	build(c, from_pod, flags);
	CHECK(run(from_pod ? "from_pod" : "to_pod", &f, if_a).verdict != TC_ACT_SHOT);
}

static struct flow_key key_of(const struct conversation *c)
{
	return flow_key_of(c->proto, c->pod, c->port, c->peer, c->peer_port);
}

static bool get(const char *map, const struct conversation *c, struct flow_state *s)
{
	return flow_get(map, c->proto, c->pod, c->port, c->peer, c->peer_port, s);
}

/* The pod's end of the key. */
static int pod_end(const struct conversation *c)
{
	struct flow_key key = key_of(c);
	struct addr pod = addr_of(c->pod);

	return memcmp(&key.addr[0], &pod, 16) == 0 ? 0 : 1;
}

/* An entry in `flows`, last seen OLD seconds ago. */
static void put(const struct conversation *c, struct flow_state state)
{
	struct flow_key key = key_of(c);
	struct flow flow = { .state = state };

	flow.state.seen = ticks_now() - FLOW_TICKS(OLD);
	flow.state.owner = 1;
	flow.state.stage = FLOW_OPEN;
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "flows"), &key, &flow, BPF_ANY), 0);
}

static bool was_looked_up(const struct conversation *c)
{
	struct flow_state s = {};

	CHECK(get("flows", c, &s));
	return ticks_now() - s.seen < FLOW_TICKS(OLD);
}

static void age(const struct conversation *c)
{
	struct flow_state s = {};

	CHECK(get("flows", c, &s));
	put(c, s);
}

/* The first has no marks. */
static uint32_t lines(void)
{
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	CHECK_INT(bpf_obj_get_info_by_fd(datapath_map_fd(dp, "flows_recent"), &info, &size), 0);
	return info.max_entries;
}

static unsigned marks(void)
{
	struct flow_recent line;
	unsigned n = 0;

	for (uint32_t i = 1; i < lines(); i++) {
		CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "flows_recent"), &i, &line), 0);
		for (int k = 0; k < FLOW_RECENT_WAYS; k++)
			n += line.mark[k] != 0;
	}
	return n;
}

/* Does the second of two packets pass by the mark that the first one left? */
static bool is_known(const struct conversation *c, bool first, bool second)
{
	for (int i = 0; i < TRIES; i++) {
		packet(c, first, "A");
		age(c);
		packet(c, second, "A");
		if (!was_looked_up(c))
			return true;
	}
	return false;
}

static void a_packet_passes_by_the_mark_of_either_direction(void)
{
	static const struct conversation *const all[] = { &tcp4, &tcp6, &udp4 };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		flows_clear();
		put(all[i], (struct flow_state){});
		CHECK(is_known(all[i], true, true));
		CHECK(is_known(all[i], true, false));
		CHECK(is_known(all[i], false, true));
		CHECK(is_known(all[i], false, false));
	}
}

static void a_mark_is_gone_with_its_epoch(void)
{
	unsigned n = 0;

	for (int k = 0; k < TRIES && n != 1; k++) { /* a test that is held up skips an epoch */
		flows_clear();
		put(&tcp4, (struct flow_state){});
		packet(&tcp4, true, "A");
		age(&tcp4);
		for (int i = 0; i < 2000 && !was_looked_up(&tcp4); i++) {
			nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
			packet(&tcp4, true, "A");
		}
		CHECK(was_looked_up(&tcp4));
		n = marks();
	}
	CHECK_INT(n, 1); /* the new one has taken the place of the old */
}

static void set_revision(uint32_t revision)
{
	struct policy_state state = { .revision = revision };
	uint32_t zero = 0;

	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "policy_state"), &zero, &state, BPF_ANY), 0);
}

static void another_revision_of_the_policy_is_felt_by_the_next_packet(void)
{
	struct policy_endpoint_value locked = { .policy = POLICY_LOCKED };
	struct addr pod = addr_of(A4);
	struct flow_state s;

	flows_clear();
	put(&tcp4, (struct flow_state){});
	CHECK(is_known(&tcp4, true, true));
	set_revision(2);
	packet(&tcp4, true, "A");
	CHECK(was_looked_up(&tcp4));
	CHECK(get("flows", &tcp4, &s));
	CHECK_INT(s.judged, 2);
	CHECK(is_known(&tcp4, true, true));
	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "policy_endpoints"), &pod, &locked, BPF_ANY), 0);
	set_revision(4);
	build(&tcp4, true, "A");
	for (int i = 0; i < 3; i++) /* a denial leaves no mark */
		CHECK_DROP("from_pod", &f, if_a, DROP_POLICY_LOCKED);
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "policy_endpoints"), &pod), 0);
	set_revision(0);
}

static void a_connection_that_ends_takes_its_mark_away(void)
{
	static const char *const ends[] = { "FA", "R" };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		flows_clear();
		put(&tcp4, (struct flow_state){});
		CHECK(is_known(&tcp4, true, true));
		packet(&tcp4, false, ends[i]);
		CHECK_INT(marks(), 0);
		packet(&tcp4, true, "A");
		CHECK_INT(marks(), 0); /* half closed, or over */
	}
	last_drop();
}

/* What is closing, translated, or denied is looked up each time. */
static void only_what_is_settled_is_marked(void)
{
	static const struct flow_state unsettled[] = { { .fin = 1 }, { .initiator = 1, .stack = FLOW_STACK_TRANSLATED * 3 }, { .origin = FLOW_DENIED } };

	for (size_t i = 0; i < ARRAY_SIZE(unsettled); i++) {
		flows_clear();
		put(&udp4, unsettled[i]);
		packet(&udp4, true, "");
		CHECK(was_looked_up(&udp4));
		CHECK_INT(marks(), 0);
	}
	flows_clear(); /* not yet in `flows` */
	packet(&udp4, true, "");
	packet(&udp4, false, "");
	packet(&udp4, true, "");
	packet(&udp4, true, "");
	CHECK_INT(marks(), 0);
}

/* The way of a packet by the mark is that by the entry. */
static void a_mark_tells_the_way(void)
{
	static const struct {
		uint8_t stack; /* bit 0: the pod's end */
		enum forward_way out, in;
		int out_verdict, in_verdict;
	} cases[] = { { 0, FORWARD_DIRECT, FORWARD_LOCAL, TC_ACT_REDIRECT, TC_ACT_REDIRECT },
		      { 1, FORWARD_STACK, FORWARD_STACK, TC_ACT_OK, TC_ACT_OK },
		      { 2, FORWARD_DIRECT, FORWARD_LOCAL, TC_ACT_REDIRECT, TC_ACT_REDIRECT },
		      { 3, FORWARD_STACK, FORWARD_STACK, TC_ACT_OK, TC_ACT_OK } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t s = cases[i].stack, swapped = s >> 1 | (s & 1) << 1;

		flows_clear();
		put(&direct4, (struct flow_state){ .stack = pod_end(&direct4) ? swapped : s });
		CHECK(is_known(&direct4, true, true));
		for (int k = 0; k < 3; k++) {
			build(&direct4, true, "A");
			CHECK_WAY("from_pod", &f, if_a, cases[i].out, cases[i].out_verdict);
			build(&direct4, false, "A");
			CHECK_WAY("from_net", &f, if_uplink, cases[i].in, cases[i].in_verdict);
		}
	}
}

/* A packet that differs in one thing only begins a flow of its own. */
static void no_other_conversation_passes_by_the_mark(void)
{
	static const struct conversation others[] = {
		{ IPPROTO_TCP, A4, WORLD4, 1001, 80 },	       { IPPROTO_TCP, A4, WORLD4, 1000, 81 },
		{ IPPROTO_TCP, A4, WORLD4, 80, 1000 },	       { IPPROTO_TCP, A4, "198.51.100.8", 1000, 80 },
		{ IPPROTO_TCP, A4, "198.50.100.9", 1000, 80 }, { IPPROTO_UDP, A4, WORLD4, 1000, 80 },
		{ IPPROTO_TCP, A6, WORLD6, 1001, 80 },	       { IPPROTO_UDP, A6, WORLD6, 1000, 80 },
		{ IPPROTO_TCP, A6, "2001:db8::8", 1000, 80 },  { IPPROTO_TCP, A6, "2001:db8::1:0:9", 1000, 80 },
		{ IPPROTO_TCP, A6, "2001:db8:1::9", 1000, 80 }, { IPPROTO_TCP, A6, "2003:db8::9", 1000, 80 },
	};
	struct flow_state s;

	flows_clear();
	put(&tcp4, (struct flow_state){});
	put(&tcp6, (struct flow_state){});
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		for (int from_pod = 0; from_pod < 2; from_pod++) {
			struct flow_key key = key_of(&others[i]);

			CHECK(is_known(&tcp4, true, true) && is_known(&tcp6, true, true));
			bpf_map_delete_elem(datapath_map_fd(dp, "flows_new"), &key);
			flows_forgive();
			packet(&others[i], from_pod, "A");
			CHECK(get("flows_new", &others[i], &s));
		}
}

/* The same would be seen if a packet did pass by a mark that is not its own: here a planted one. */
static void a_planted_mark_is_seen(void)
{
	struct flow_key key = key_of(&udp4);
	struct flow_recent saved[1 + 64] = {};
	struct flow_state s;
	bool passed = false;

	CHECK(lines() <= ARRAY_SIZE(saved));
	for (int i = 0; i < TRIES && !passed; i++) {
		flows_clear();
		put(&udp4, (struct flow_state){});
		packet(&udp4, true, "");
		for (uint32_t k = 0; k < lines(); k++)
			CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "flows_recent"), &k, &saved[k]), 0);
		flows_clear();
		packet(&udp4, true, "");
		CHECK(get("flows_new", &udp4, &s)); /* nothing is left of it */
		CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "flows_new"), &key), 0);
		for (uint32_t k = 0; k < lines(); k++)
			CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "flows_recent"), &k, &saved[k], BPF_ANY), 0);
		packet(&udp4, true, "");
		passed = !get("flows_new", &udp4, &s);
	}
	CHECK(passed);
}

/* An entry that somebody takes out of the table is missed when the epoch ends, not for ever. */
static void a_removed_entry_is_missed_in_the_next_epoch(void)
{
	struct flow_key key = key_of(&udp4);
	struct flow_state s;

	flows_clear();
	put(&udp4, (struct flow_state){});
	packet(&udp4, true, "");
	CHECK_INT(bpf_map_delete_elem(datapath_map_fd(dp, "flows"), &key), 0);
	for (int i = 0; i < 2000 && !get("flows_new", &udp4, &s); i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		packet(&udp4, true, "");
	}
	CHECK(get("flows_new", &udp4, &s));
}

/* The programs of another start have other numbers. */
static void marks_do_not_outlive_the_programs(void)
{
	bool looked_up = false;

	flows_clear();
	put(&tcp4, (struct flow_state){});
	CHECK(is_known(&tcp4, true, true));
	for (int i = 0; i < 3 && !looked_up; i++) {
		harness_reopen();
		CHECK(marks() > 0);
		age(&tcp4);
		packet(&tcp4, true, "A");
		looked_up = was_looked_up(&tcp4);
	}
	CHECK(looked_up);
	CHECK(is_known(&tcp4, true, true));
}

/* As the sweep counts them, which runs once a second. */
static void conversations(uint64_t n)
{
	uint32_t all = 0;

	CHECK_INT(bpf_map_update_elem(datapath_map_fd(dp, "endpoint_flows"), &all, &n, BPF_ANY), 0);
}

static uint32_t wait_for_used(uint32_t wanted)
{
	struct flow_recent head = {};
	uint32_t zero = 0;

	for (int i = 0; i < 2000 && head.used != wanted; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "flows_recent"), &zero, &head), 0);
	}
	return head.used;
}

static unsigned marks_behind(uint32_t line)
{
	struct flow_recent r;
	unsigned n = 0;

	for (uint32_t i = line + 1; i < lines(); i++) {
		CHECK_INT(bpf_map_lookup_elem(datapath_map_fd(dp, "flows_recent"), &i, &r), 0);
		for (int k = 0; k < FLOW_RECENT_WAYS; k++)
			n += r.mark[k] != 0;
	}
	return n;
}

/* Few conversations use few lines, many more, and no packet is lost when the number changes. */
static void lines_are_used_as_conversations_need_them(void)
{
	static const struct {
		uint64_t conversations;
		uint32_t used;
	} turns[] = { { 257, 128 }, { 1 << 20, 2048 / FLOW_RECENT_WAYS }, { 31, 64 } };
	struct conversation c = udp4;
	unsigned behind = 0;

	dp_config.flow_max = dp_config.flow_share = 2048;
	harness_reopen();
	flows_clear();
	for (size_t t = 0; t < ARRAY_SIZE(turns); t++) {
		conversations(turns[t].conversations);
		CHECK_INT(wait_for_used(turns[t].used), turns[t].used);
		behind = marks_behind(turns[t].used);
		for (c.port = 2000; c.port < 2020; c.port++) {
			put(&c, (struct flow_state){});
			packet(&c, true, "");
			CHECK(is_known(&c, true, false));
		}
		CHECK_INT(marks_behind(turns[t].used), behind);
	}
	CHECK(behind > 0); /* those of larger numbers of lines would be seen */
	dp_config.flow_max = FLOW_MAX;
	dp_config.flow_share = FLOW_SHARE;
	harness_reopen();
}

/* As many conversations as the table holds: some share a line with more than eight, drive each other out, and pass all the same. */
static void a_full_line_loses_no_packet(void)
{
	struct conversation c = udp4;

	dp_config.flow_share = FLOW_MAX;
	harness_reopen();
	flows_clear();
	for (int turn = 0; turn < 3; turn++)
		for (int i = 0; i < FLOW_MAX; i++) {
			c.port = 2000 + i;
			if (turn == 0)
				put(&c, (struct flow_state){});
			packet(&c, i & 1, "");
			CHECK(turn > 0 || was_looked_up(&c));
		}
	CHECK(marks() > FLOW_MAX / 2 && marks() <= FLOW_MAX);
	dp_config.flow_share = FLOW_SHARE;
	harness_reopen();
}

/* Another size is another table, into which nothing is copied: programs that are loaded anew know no mark of those before. */
static void a_table_of_another_size_is_empty(void)
{
	flows_clear();
	put(&udp4, (struct flow_state){});
	packet(&udp4, true, "");
	CHECK(marks() > 0);
	dp_config.flow_max = FLOW_MAX / 2;
	harness_reopen();
	CHECK_INT(marks(), 0);
	put(&udp4, (struct flow_state){});
	packet(&udp4, true, "");
	CHECK(marks() > 0);
	dp_config.flow_max = FLOW_MAX;
	harness_reopen();
	CHECK_INT(marks(), 0);
}

int main(void)
{
	harness_init();
	RUN(a_packet_passes_by_the_mark_of_either_direction);
	RUN(a_mark_is_gone_with_its_epoch);
	RUN(another_revision_of_the_policy_is_felt_by_the_next_packet);
	RUN(a_connection_that_ends_takes_its_mark_away);
	RUN(only_what_is_settled_is_marked);
	RUN(a_mark_tells_the_way);
	RUN(no_other_conversation_passes_by_the_mark);
	RUN(a_planted_mark_is_seen);
	RUN(a_removed_entry_is_missed_in_the_next_epoch);
	RUN(marks_do_not_outlive_the_programs);
	RUN(lines_are_used_as_conversations_need_them);
	RUN(a_full_line_loses_no_packet);
	RUN(a_table_of_another_size_is_empty);
	harness_done();
	return test_end();
}
