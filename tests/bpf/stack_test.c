/* SPDX-License-Identifier: Apache-2.0 */
/* Flows that came out of the stack, because somebody else translates addresses there, return through it; others never do. The
 * packets are those of a call to a Service (WORLD) as the programs see them: before the translation and after it. */
#include "base/test.h"
#include "harness.h"

#include <time.h>

static struct frame f;

static const struct place {
	const char *program;
	uint32_t *ifindex;
} from_a = { "from_pod", &if_a }, from_b = { "from_pod", &if_b }, to_b = { "to_pod", &if_b }, to_net = { "to_net", &if_uplink },
  to_tunnel = { "to_tunnel", &if_tunnel }, from_net = { "from_net", &if_uplink };

static struct outcome segment(const struct place *at, const char *src, uint16_t sport, const char *dst, uint16_t dport,
			      const char *flags)
{
	const uint8_t *host = at == &from_b ? mac_host_b : mac_host_a, *pod = at == &from_b ? mac_pod_b : mac_pod_a;

	frame_ether(&f, host, pod, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_TCP);
	frame_tcp(&f, sport, dport, flags);
	frame_end(&f);
	return run(at->program, &f, *at->ifindex);
}

static int call(const struct place *at, const char *src, const char *dst, const char *flags)
{
	return segment(at, src, 1000, dst, 80, flags).verdict;
}

static int answer(const struct place *at, const char *src, const char *dst, const char *flags)
{
	return segment(at, src, 80, dst, 1000, flags).verdict;
}

/* Which ends of the flow go through the stack: bit 0 the caller, bit 1 who is called; -1 without an entry. */
static int stack_bits(const char *map, const char *caller, const char *called)
{
	struct flow_key key = flow_key_of(IPPROTO_TCP, caller, 1000, called, 80);
	struct flow_state s;

	if (!flow_get(map, IPPROTO_TCP, caller, 1000, called, 80, &s))
		return -1;
	return key.port[0] == htons(1000) ? s.stack : (s.stack & 1) << 1 | s.stack >> 1;
}

static bool moved(const char *a, const char *b)
{
	struct flow_state s;

	return flow_moved(IPPROTO_TCP, a, 1000, b, 80, &s);
}

static const struct ends {
	const char *a, *b, *service, *direct, *tunnel;
} families[] = { { A4, B4, WORLD4, DIRECT4, TUNNEL4 }, { A6, B6, WORLD6, DIRECT6, TUNNEL6 } };

static void answers_of_a_pod_here_meet_the_stack(void)
{
	for (const struct ends *e = families; e < families + 2; e++) {
		flows_clear();
		CHECK_INT(call(&from_a, e->a, e->service, "S"), TC_ACT_OK);
		CHECK_INT(call(&to_b, e->a, e->b, "S"), TC_ACT_OK);
		CHECK_INT(stack_bits("flows_new", e->a, e->b), 2);
		CHECK_INT(stack_bits("flows_new", e->a, e->service), 1);
		CHECK_INT(answer(&from_b, e->b, e->a, "SA"), TC_ACT_OK);
		CHECK_INT(call(&to_b, e->a, e->b, "A"), TC_ACT_OK);
		CHECK(moved(e->a, e->b)); /* a conversation now */
		CHECK_INT(stack_bits("flows", e->a, e->b), 2);
		CHECK_INT(answer(&from_b, e->b, e->a, "A"), TC_ACT_OK);
	}
}

static void answers_from_elsewhere_meet_the_stack(void)
{
	for (const struct ends *e = families; e < families + 2; e++) {
		flows_clear();
		CHECK_INT(call(&from_a, e->a, e->service, "S"), TC_ACT_OK);
		CHECK_INT(call(&to_net, e->a, e->direct, "S"), TC_ACT_OK);
		CHECK_INT(stack_bits("flows_new", e->a, e->direct), 1);
		CHECK_INT(answer(&from_net, e->direct, e->a, "SA"), TC_ACT_OK);
		CHECK_INT(call(&to_net, e->a, e->direct, "A"), TC_ACT_OK);
		CHECK(moved(e->a, e->direct));
		CHECK_INT(stack_bits("flows", e->a, e->direct), 1);
		CHECK_INT(answer(&from_net, e->direct, e->a, "A"), TC_ACT_OK);
		CHECK_INT(call(&to_tunnel, e->a, e->tunnel, "S"), TC_ACT_OK);
		CHECK_INT(stack_bits("flows_new", e->a, e->tunnel), 1);
	}
}

/* Neither a pod's address nor a peer's range: what goes there takes the stack, so what comes from there does. */
static void both_directions_of_the_world_meet_the_stack(void)
{
	for (const struct ends *e = families; e < families + 2; e++) {
		flows_clear();
		CHECK_INT(call(&from_net, e->service, e->a, "S"), TC_ACT_OK);
		CHECK_INT(stack_bits("flows_new", e->service, e->a), 2);
		CHECK_INT(answer(&from_a, e->a, e->service, "SA"), TC_ACT_OK);
		CHECK_INT(call(&from_net, e->service, e->a, "A"), TC_ACT_OK);
		flows_clear();
		CHECK_INT(call(&from_a, e->a, e->service, "S"), TC_ACT_OK);
		CHECK_INT(answer(&from_net, e->service, e->a, "SA"), TC_ACT_OK);
		CHECK_INT(call(&from_net, e->direct, e->a, "S"), TC_ACT_REDIRECT);
		CHECK_INT(answer(&from_a, e->a, e->direct, "SA"), TC_ACT_REDIRECT);
	}
}

static void what_a_pod_began_itself_goes_past_the_stack(void)
{
	for (const struct ends *e = families; e < families + 2; e++) {
		flows_clear();
		CHECK_INT(call(&from_a, e->a, e->b, "S"), TC_ACT_REDIRECT);
		CHECK_INT(call(&to_b, e->a, e->b, "S"), TC_ACT_OK); /* the same by the stack, for its size or hop limit */
		CHECK_INT(stack_bits("flows_new", e->a, e->b), 0);
		CHECK_INT(answer(&from_b, e->b, e->a, "SA"), TC_ACT_REDIRECT);
		CHECK_INT(call(&from_a, e->a, e->direct, "S"), TC_ACT_REDIRECT);
		CHECK_INT(call(&to_net, e->a, e->direct, "S"), TC_ACT_OK);
		CHECK_INT(stack_bits("flows_new", e->a, e->direct), 0);
		CHECK_INT(answer(&from_net, e->direct, e->a, "SA"), TC_ACT_REDIRECT);
	}
}

static void ports_used_again_are_a_new_flow(void)
{
	flows_clear();
	call(&to_b, A4, B4, "S");
	answer(&from_b, B4, A4, "SA");
	call(&to_b, A4, B4, "A");
	call(&to_b, A4, B4, "FA");
	answer(&from_b, B4, A4, "FA");
	CHECK_INT(stack_bits("flows_new", A4, B4), 2); /* closing: what is still under way is translated */
	CHECK_INT(answer(&from_b, B4, A4, "A"), TC_ACT_OK);
	CHECK_INT(call(&from_a, A4, B4, "S"), TC_ACT_REDIRECT);
	CHECK_INT(stack_bits("flows_new", A4, B4), 0);
	CHECK_INT(answer(&from_b, B4, A4, "SA"), TC_ACT_REDIRECT);
}

static void complain(const uint8_t *host, const uint8_t *pod, const char *src, const char *dst, const char *to)
{
	struct frame inner;

	frame_ether(&inner, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&inner, dst, to, IPPROTO_TCP);
	frame_tcp(&inner, 1000, 80, "S");
	frame_end(&inner);
	frame_ether(&f, host, pod, ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_ICMP);
	frame_icmp(&f, 3, 3, 0);
	frame_put(&f, inner.data + 14, 28);
	frame_end(&f);
}

static void errors_take_the_way_of_their_flow(void)
{
	flows_clear();
	call(&to_b, A4, B4, "S");
	complain(mac_host_b, mac_pod_b, B4, A4, B4);
	CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_OK);
	call(&to_net, A4, DIRECT4, "S");
	complain(mac_host_a, mac_other, "203.0.113.1", A4, DIRECT4);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	flows_clear();
	call(&from_a, A4, B4, "S");
	complain(mac_host_b, mac_pod_b, B4, A4, B4);
	CHECK_INT(run("from_pod", &f, if_b).verdict, TC_ACT_REDIRECT);
	call(&from_a, A4, DIRECT4, "S");
	complain(mac_host_a, mac_other, "203.0.113.1", A4, DIRECT4);
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_REDIRECT);
}

static void the_nodes_own_leaves_unseen(void)
{
	flows_clear();
	CHECK_INT(call(&to_tunnel, NODE4, TUNNEL4, "S"), TC_ACT_OK);
	CHECK_INT(call(&to_net, "192.0.2.1", WORLD4, "S"), TC_ACT_OK);
	CHECK_INT(stack_bits("flows_new", NODE4, TUNNEL4), -1);
	CHECK_INT(stack_bits("flows_new", "192.0.2.1", WORLD4), -1);
}

/* What leaves counts on the pod's share as what it sends does. */
static void the_share_holds_for_what_leaves(void)
{
	flows_clear();
	for (int port = 1; port <= FLOW_SHARE; port++) {
		segment(&to_net, A4, port, DIRECT4, 80, "S");
		segment(&from_net, DIRECT4, 80, A4, port, "SA");
		segment(&to_net, A4, port, DIRECT4, 80, "A");
	}
	for (int i = 0; i < 2000 && share_of(1) != FLOW_SHARE; i++) /* a sweep */
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	CHECK_INT(share_of(1), FLOW_SHARE);
	CHECK_INT(segment(&to_net, A4, 7, DIRECT4, 80, "A").verdict, TC_ACT_OK);
	segment(&from_a, A4, 9999, DIRECT4, 80, "S");
	CHECK_DROP("to_net", &f, if_uplink, DROP_FLOW_SHARE);
}

static void without_foreign_nat_nothing_returns(void)
{
	dp_config.foreign_nat = false;
	harness_reopen();
	flows_clear();
	call(&to_b, A4, B4, "S");
	CHECK_INT(stack_bits("flows_new", A4, B4), 0);
	CHECK_INT(answer(&from_b, B4, A4, "SA"), TC_ACT_REDIRECT);
	call(&to_net, A4, DIRECT4, "S");
	CHECK_INT(stack_bits("flows_new", A4, DIRECT4), -1);
	CHECK_INT(call(&from_net, WORLD4, A4, "S"), TC_ACT_REDIRECT);
	dp_config.foreign_nat = true;
	harness_reopen();
}

int main(void)
{
	harness_init();
	RUN(answers_of_a_pod_here_meet_the_stack);
	RUN(answers_from_elsewhere_meet_the_stack);
	RUN(both_directions_of_the_world_meet_the_stack);
	RUN(what_a_pod_began_itself_goes_past_the_stack);
	RUN(ports_used_again_are_a_new_flow);
	RUN(errors_take_the_way_of_their_flow);
	RUN(the_nodes_own_leaves_unseen);
	RUN(the_share_holds_for_what_leaves);
	RUN(without_foreign_nat_nothing_returns);
	harness_done();
	return test_end();
}
