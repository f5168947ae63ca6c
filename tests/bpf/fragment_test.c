/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends first fragments only pushes out what itself has left, and nobody else's; and who may not send pushes out nothing. The flood is larger
 * than both tables; that it does push out is shown by its sender's own. */
#include "nat_node.h"
#include "weft/policy.h"

enum { FLOOD = 2 * (FRAGMENT_SETS_MAX + FRAGMENT_SETS_OUTSIDE_MAX), SHARE = FRAGMENT_SETS * FRAGMENT_WAYS };

/* One fragment of a UDP datagram from port 1000. */
static void fragment(const char *src, const char *dst, uint16_t dport, uint32_t id, bool later)
{
	bool v6 = strchr(src, ':'), of_b = streq(src, B4) || streq(src, B6);
	uint8_t header[8] = { IPPROTO_UDP, 0, 0, later ? 64 : 1, id >> 24, id >> 16, id >> 8, id };

	frame_ether(&f, of_b ? mac_host_b : mac_host_a, of_b ? mac_pod_b : mac_pod_a, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, v6 ? IPPROTO_FRAGMENT : IPPROTO_UDP);
	if (v6)
		frame_put(&f, header, sizeof(header));
	else {
		frame_ip4(&f)->frag_off = htons(later ? 8 : 0x2000);
		frame_ip4(&f)->id = htons(id);
	}
	if (!later)
		frame_udp(&f, 1000, dport);
	frame_payload(&f, later ? 40 : 56);
	frame_end(&f);
}

static uint64_t pushed_out(void)
{
	struct dp_counter n = {};

	CHECK_INT(datapath_read_fragments_pushed_out(dp, &n), 0);
	return n.packets;
}

static struct way {
	const char *program;
	uint32_t *ifindex;
	const char *src, *dst;
} ways[][3] = {
	/* the flood, its sender's other traffic, somebody else's */
	{ { "from_pod", &if_b, B4, A4 }, { "from_pod", &if_b, B4, TUNNEL4 }, { "from_pod", &if_a, A4, B4 } },
	{ { "from_pod", &if_b, B6, A6 }, { "from_pod", &if_b, B6, TUNNEL6 }, { "from_pod", &if_a, A6, B6 } },
	{ { "from_net", &if_uplink, DIRECT4, A4 }, { "from_net", &if_uplink, DIRECT4, A4 }, { "from_net", &if_uplink, DIRECT4, B4 } },
	{ { "from_net", &if_uplink, DIRECT6, A6 }, { "from_net", &if_uplink, DIRECT6, A6 }, { "from_pod", &if_a, A6, WORLD6 } },
};

static int one(const struct way *w, uint32_t id, bool later)
{
	fragment(w->src, w->dst, 2000, id, later);
	return run(w->program, &f, *w->ifindex).verdict;
}

static void a_flood_pushes_out_its_own(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const struct way *flood = &ways[i][0], *same = &ways[i][1], *other = &ways[i][2];
		uint64_t before = pushed_out();

		flows_clear();
		CHECK(one(same, 4, false) != TC_ACT_SHOT);
		CHECK(one(other, 3, false) != TC_ACT_SHOT);
		for (uint32_t id = 10000; id < 10000 + FLOOD; id++)
			CHECK(one(flood, id, false) != TC_ACT_SHOT);
		CHECK(one(other, 3, true) != TC_ACT_SHOT);
		CHECK_INT(one(same, 4, true), TC_ACT_SHOT); /* the planted case */
		CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_FRAGMENT_UNKNOWN));
		CHECK(one(flood, 10000 + FLOOD - 1, true) != TC_ACT_SHOT); /* its latest */
		CHECK(pushed_out() - before >= FLOOD - SHARE);
	}
}

/* One of the others that send to pod A from where the flood comes from. */
static const char *other_sender(bool v6, int i)
{
	static char text[32];

	snprintf(text, sizeof(text), v6 ? "fd09:0:0:2::%x" : "10.9.2.%d", 100 + i);
	return text;
}

/* To the same pod: a sender has a sixteenth of its places. By chance, as the numbers are drawn anew each time, some others have the same ones. */
static void other_senders_keep_their_own(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const struct way *flood = &ways[2 + v6][0];
		int alive = 0;

		flows_clear();
		for (int i = 0; i < 32; i++) {
			fragment(other_sender(v6, i), flood->dst, 2000, 7, false);
			CHECK(run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT);
		}
		for (uint32_t id = 10000; id < 10000 + FLOOD; id++)
			one(flood, id, false);
		for (int i = 0; i < 32; i++) {
			fragment(other_sender(v6, i), flood->dst, 2000, 7, true);
			alive += run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT;
		}
		CHECK(alive >= 20);
	}
}

/* Pod A takes nothing from DIRECT, or would not, if what is on trial were in force; others may send. */
static void forbid(bool trial)
{
	struct policy_cidr_key roots[] = { { .prefixlen = 0 }, { .prefixlen = 96, .addr = { [10] = 0xff, [11] = 0xff } } };
	struct policy_class_value world = { POLICY_CLASS_WORLD, POLICY_CLASS_WORLD }, enemy = { POLICY_CLASS_FIRST, POLICY_CLASS_WORLD };
	struct policy_endpoint_value value = { .policy = trial ? POLICY_OPEN : POLICY_ID_FIRST, .trial = trial ? POLICY_ID_FIRST : POLICY_OPEN };
	uint32_t any[] = { POLICY_CLASS_ANY4, POLICY_CLASS_ANY6 };
	struct policy_rule_value allow = { .slot[1] = { 1 << 2 | POLICY_ALLOW, 77 } }, deny = { .slot[1] = { 2 << 2 | POLICY_DENY, 78 } };

	CHECK_INT(datapath_policy_begin(dp), 0);
	for (int v6 = 0; v6 < 2; v6++) {
		struct addr a = addr_of(v6 ? A6 : A4), from = addr_of(v6 ? DIRECT6 : DIRECT4);
		struct policy_cidr_key peer = { .prefixlen = 128 };

		memcpy(peer.addr, &from, 16);
		for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++) {
			struct policy_rule_key key = { POLICY_ID_FIRST, any[v6], d }, of_enemy = { POLICY_ID_FIRST, POLICY_CLASS_FIRST, d };

			CHECK_INT(datapath_policy_change(dp, DP_POLICY_RULES, &key, &allow), 0);
			CHECK_INT(datapath_policy_change(dp, DP_POLICY_RULES, &of_enemy, &deny), 0);
		}
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_CIDRS, &roots[v6], &world), 0);
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_CIDRS, &peer, &enemy), 0);
		CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, &value), 0);
	}
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
}

static int sets(void)
{
	struct fragment_set_key key;
	int n = 0;

	for (void *last = NULL; bpf_map_get_next_key(datapath_map_fd(dp, "fragment_sets"), last, &key) == 0; last = &key)
		n++;
	return n;
}

static void who_may_not_send_leaves_nothing(void)
{
	forbid(false);
	for (int v6 = 0; v6 < 2; v6++) {
		const struct way *denied = &ways[2 + v6][0];
		uint64_t before;
		int alive = 0;

		flows_clear();
		for (int i = 0; i < 32; i++) {
			fragment(other_sender(v6, i), denied->dst, 2000, 7, false);
			CHECK(run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT);
		}
		before = pushed_out();
		for (uint32_t id = 10000; id < 10000 + 16 * SHARE; id++)
			CHECK_INT(one(denied, id, false), TC_ACT_SHOT);
		CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_POLICY_INGRESS));
		CHECK_INT(pushed_out(), before);
		for (int i = 0; i < 32; i++) {
			fragment(other_sender(v6, i), denied->dst, 2000, 7, true);
			alive += run("from_net", &f, if_uplink).verdict != TC_ACT_SHOT;
		}
		CHECK_INT(alive, 32);
		flows_clear();
		CHECK_INT(one(denied, 7, false), TC_ACT_SHOT);
		CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_POLICY_INGRESS));
		CHECK_INT(sets(), 0);
		CHECK_INT(one(denied, 7, true), TC_ACT_SHOT);
		CHECK_STR(drop_reason_label(last_drop()), drop_reason_label(DROP_FRAGMENT_UNKNOWN));
	}
}

/* What a policy on trial would deny passes, with all its fragments. */
static void a_trial_takes_no_fragment_away(void)
{
	forbid(true);
	for (int v6 = 0; v6 < 2; v6++) {
		flows_clear();
		for (uint32_t id = 7; id < 10; id++) { /* the first is told, the next are not */
			CHECK(one(&ways[2 + v6][0], id, false) != TC_ACT_SHOT);
			CHECK(one(&ways[2 + v6][0], id, true) != TC_ACT_SHOT);
		}
	}
	for (int v6 = 0; v6 < 2; v6++) {
		struct addr a = addr_of(v6 ? A6 : A4);

		CHECK_INT(datapath_policy_change(dp, DP_POLICY_ENDPOINTS, &a, NULL), 0);
	}
	CHECK_INT(datapath_policy_commit(dp, 0), 0);
}

/* Datagrams in flight at once, in any order, as many as a tenth of the share; and used ones are no loss. */
static void honest_senders_lose_nothing(void)
{
	uint64_t before;

	flows_clear();
	before = pushed_out();
	for (uint32_t round = 0; round < 500; round++) {
		for (uint32_t i = 0; i < SHARE / 10; i++)
			CHECK(one(&ways[0][2], round * 100 + i, false) != TC_ACT_SHOT);
		for (uint32_t i = SHARE / 10; i-- > 0;)
			CHECK(one(&ways[0][2], round * 100 + i, true) != TC_ACT_SHOT);
	}
	CHECK_INT(pushed_out(), before);
}

/* Answers from the world to what left by a claim: who floods one pod's claim by one address pushes out what that address has left. */
static void a_flood_from_the_world(void)
{
	const char *friend = "198.51.100.77";
	uint16_t port[2];
	struct view v;

	restore();
	for (int i = 0; i < 2; i++) {
		packet(IPPROTO_UDP, i ? B4 : A4, 1000, i ? friend : WORLD4, 1000, "");
		v = leave();
		port[i] = v.sport;
	}
	fragment(friend, OURS4, port[1], 3, false);
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, B4);
	for (uint32_t id = 10000; id < 10000 + FLOOD; id++) {
		fragment(WORLD4, OURS4, port[0], id, false);
		arrive(REDIRECT);
	}
	fragment(friend, OURS4, 0, 3, true);
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, B4);
}

/* Pod A speaks to @friend, pod B to who floods it for that; what the friend has left is asked for afterwards. */
static int after_a_flood_by(const char *flooder, const char *friend)
{
	uint16_t port[2];
	struct view v;

	restore();
	for (int i = 0; i < 2; i++) {
		packet(IPPROTO_UDP, i ? B6 : A6, 1000, i ? flooder : friend, 1000, "");
		port[i] = leave().sport;
	}
	fragment(friend, OURS6, port[0], 3, false);
	v = arrive(REDIRECT);
	CHECK_ADDR(v.dst, A6);
	for (uint32_t id = 10000; id < 10000 + FLOOD; id++) {
		fragment(flooder, OURS6, port[1], id, false);
		arrive(REDIRECT);
	}
	fragment(friend, OURS6, 0, 3, true);
	return run("from_net", &f, if_uplink).verdict;
}

/* An address beyond its /64 for which (w0 ^ 3 w1 ^ 5 w2 ^ 7 w3) is the friend's, too: a sum that everybody can compute, and turn round. */
static const char *address_like(const char *friend)
{
	static char text[ADDR_TEXT_MAX];
	struct addr a = addr_of(friend);
	uint32_t w[4], other;

	memcpy(w, &a, 16);
	other = w[1] ^ htonl(0x00bad000);
	w[3] = (w[1] * 3 ^ other * 3 ^ w[3] * 7) * 0xb6db6db7; /* by the inverse of 7 */
	w[1] = other;
	memcpy(&a, w, 16);
	return addr_format(&a, text);
}

static void nobody_outside_can_aim(void)
{
	const char *friend = "2001:db8:0:5::77";

	CHECK_INT(after_a_flood_by(address_like(friend), friend), REDIRECT);
	CHECK_INT(after_a_flood_by("2001:db8:0:5::666", friend), TC_ACT_OK); /* its neighbour in the /64, which is one owner */
}

/* Nothing of what is neither a claim's nor a Service's is noted: whoever sends it may send from any address. */
static void strangers_leave_nothing(void)
{
	struct fragment_set_key key;

	restore();
	for (int v6 = 0; v6 < 2; v6++) {
		fragment(v6 ? WORLD6 : WORLD4, v6 ? OURS6 : OURS4, 2000, 3, false);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	}
	CHECK_INT(bpf_map_get_next_key(datapath_map_fd(dp, "fragment_sets_outside"), NULL, &key), -ENOENT);
}

int main(void)
{
	harness_init();
	RUN(a_flood_pushes_out_its_own);
	RUN(other_senders_keep_their_own);
	RUN(who_may_not_send_leaves_nothing);
	RUN(a_trial_takes_no_fragment_away);
	RUN(honest_senders_lose_nothing);
	RUN(a_flood_from_the_world);
	RUN(nobody_outside_can_aim);
	RUN(strangers_leave_nothing);
	harness_done();
	return test_end();
}
