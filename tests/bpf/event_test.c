/* SPDX-License-Identifier: Apache-2.0 */
/* Connections as events: which packets make one, how many at most, and none when it is off. */
#include "base/test.h"
#include "harness.h"

static struct frame f;
static struct dp_event seen[400];
static unsigned n_seen;

static void keep(const struct dp_event *e, _unused_ void *ctx)
{
	if (e->kind != DP_EVENT_DROP && n_seen < ARRAY_SIZE(seen))
		seen[n_seen++] = *e;
}

static void collect(void)
{
	n_seen = 0;
	while (datapath_read_events(dp, 1000, keep, NULL) > 0)
		;
}

static void tcp(bool from_pod, uint16_t port, const char *flags)
{
	frame_ether(&f, mac_host_a, mac_pod_a, ETH_P_IP);
	frame_ip(&f, from_pod ? A4 : WORLD4, from_pod ? WORLD4 : A4, IPPROTO_TCP);
	frame_tcp(&f, from_pod ? port : 80, from_pod ? 80 : port, flags);
	frame_end(&f);
	CHECK_INT(run(from_pod ? "from_pod" : "to_pod", &f, if_a).verdict, TC_ACT_OK);
}

static void open_with(bool events)
{
	dp_config.flow_events = events;
	harness_reopen();
	flows_clear();
	collect();
}

static void off_is_silent(void)
{
	open_with(false);
	tcp(true, 1000, "S");
	tcp(false, 1000, "R");
	collect();
	CHECK_INT(n_seen, 0);
}

static void a_connection_begins_and_ends(void)
{
	open_with(true);
	tcp(true, 1001, "S");
	tcp(false, 1001, "SA");
	tcp(true, 1001, "A");
	collect();
	CHECK_INT(n_seen, 1);
	CHECK_INT(seen[0].kind, DP_EVENT_NEW);
	CHECK_INT(seen[0].reason, DROP_NONE);
	CHECK_INT(seen[0].sport, 1001);
	CHECK_INT(seen[0].dport, 80);
	CHECK_INT(seen[0].proto, IPPROTO_TCP);
	CHECK_STR(seen[0].hook, "from_pod");
	CHECK(addr_eq(&seen[0].src, &(struct addr[]){ addr_of(A4) }[0]) && addr_eq(&seen[0].dst, &(struct addr[]){ addr_of(WORLD4) }[0]));
	tcp(true, 1001, "FA");
	collect();
	CHECK_INT(n_seen, 0); /* one side has more to say */
	tcp(false, 1001, "FA");
	collect();
	CHECK_INT(n_seen, 1);
	CHECK_INT(seen[0].kind, DP_EVENT_CLOSED);
}

static void a_reset_ends_it_as_well(void)
{
	struct flow_state s;

	open_with(true);
	tcp(true, 1002, "S");
	tcp(false, 1002, "SA");
	tcp(true, 1002, "A");
	tcp(true, 1002, "A");
	flow_moved(IPPROTO_TCP, A4, 1002, WORLD4, 80, &s); /* from `flows` too, where it is by now */
	collect();
	tcp(false, 1002, "R");
	collect();
	CHECK_INT(n_seen, 1);
	CHECK_INT(seen[0].kind, DP_EVENT_CLOSED);
}

static void a_flood_is_sampled_and_counted(void)
{
	uint64_t before, after;

	open_with(true);
	CHECK_INT(datapath_read_missed(dp, &before), 0);
	for (int i = 0; i < 250; i++)
		tcp(false, 2000 + i, "S"); /* from outside: what a pod begins has a bound */
	collect();
	CHECK_INT(datapath_read_missed(dp, &after), 0);
	CHECK(n_seen > 0 && n_seen < 250);
	CHECK_INT(n_seen + (after - before), 250);
}

int main(void)
{
	harness_init();
	RUN(off_is_silent);
	RUN(a_connection_begins_and_ends);
	RUN(a_reset_ends_it_as_well);
	RUN(a_flood_is_sampled_and_counted);
	harness_done();
	return test_end();
}
