/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks at the uplink for an address that this node announces is answered by from_net; and what is then in the answer. */
#include "base/test.h"
#include "datapath/announce.h"
#include "harness.h"
#include "net/neighbour.h"

#include <bpf/bpf.h>
#include <linux/if_arp.h>

enum { REDIRECT = TC_ACT_REDIRECT };

static const uint8_t ours[6] = {2, 0xaa, 0, 0, 0, 1}, asker[6] = {2, 0xbb, 0, 0, 0, 2}, everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const char *const vips[] = {"192.0.2.200", "fd30::200"}, *const clients[] = {"192.0.2.77", "fd30::77"};
static struct frame f;

static void announce(int v6, uint32_t ifindex)
{
	struct dp_announced a = {.addr = addr_of(vips[v6]), .ifindex = ifindex};

	memcpy(a.mac, ours, 6);
	CHECK_INT(datapath_announce(dp, &a), 0);
}

static bool is_announced(int v6)
{
	struct addr vip = addr_of(vips[v6]);
	struct dp_announced *list;
	bool found = false;
	size_t n;

	CHECK_INT(datapath_list_announced(dp, &list, &n), 0);
	for (size_t i = 0; i < n; i++)
		found |= addr_eq(&list[i].addr, &vip) && list[i].ifindex == if_uplink;
	free(list);
	return found;
}

static void forget(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct addr vip = addr_of(vips[v6]);

		CHECK_INT(datapath_withdraw(dp, &vip, if_uplink), 0);
		CHECK_INT(datapath_withdraw(dp, &vip, if_uplink), 0); /* it is gone already */
	}
}

static void put(const struct neighbour *n, const uint8_t *to)
{
	f.len = neighbour_encode(n, to, f.data);
}

static void ask(int v6, const char *about, const char *from)
{
	struct neighbour n = {.kind = NEIGHBOUR_ASK, .about = addr_of(about)};

	if (from)
		n.from = addr_of(from);
	memcpy(n.mac, asker, 6);
	put(&n, NULL);
	if (v6 && !from) /* who has no address says no MAC address either (RFC 4861 4.3): without the option */
		f.len -= 8;
}

static void svc_5_who_asks_is_answered(void)
{
	forget();
	for (int v6 = 0; v6 < 2; v6++) {
		struct outcome out;
		struct neighbour n;

		ask(v6, vips[v6], clients[v6]);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* not announced: the stack's */
		announce(v6, if_tunnel);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK); /* elsewhere */
		announce(v6, if_uplink);
		out = CHECK_WAY("from_net", &f, if_uplink, FORWARD_NEIGHBOUR, REDIRECT);
		CHECK(memcmp(out.data, asker, 6) == 0 && memcmp(out.data + 6, ours, 6) == 0);
		CHECK_INT(neighbour_parse(out.data, out.len, &n), 0); /* checks the checksum, too */
		CHECK_INT(n.kind, NEIGHBOUR_ANSWER);
		CHECK(memcmp(n.mac, ours, 6) == 0);
		CHECK(addr_eq(&n.about, &(struct addr[]){addr_of(vips[v6])}[0]));
	}
}

static void the_arp_answer_is_for_who_asked(void)
{
	struct outcome out;

	forget();
	announce(0, if_uplink);
	ask(0, vips[0], clients[0]);
	out = run("from_net", &f, if_uplink);
	CHECK_INT(out.data[21], ARPOP_REPLY);
	CHECK(memcmp(out.data + 32, asker, 6) == 0);
	CHECK(memcmp(out.data + 38, (uint8_t[]){192, 0, 2, 77}, 4) == 0);
}

/* Who only wants to know whether the address is free: RFC 5227 2.1.1, RFC 4862 5.4.3. */
static void the_address_is_defended(void)
{
	struct outcome out;
	struct neighbour n;

	forget();
	announce(0, if_uplink);
	announce(1, if_uplink);
	ask(0, vips[0], NULL);
	out = run("from_net", &f, if_uplink);
	CHECK_INT(out.verdict, REDIRECT);
	CHECK_INT(neighbour_parse(out.data, out.len, &n), 0);
	CHECK_INT(n.kind, NEIGHBOUR_ANSWER);
	f.len = 0;
	frame_ether(&f, (uint8_t[]){0x33, 0x33, 0xff, 0, 2, 0}, asker, ETH_P_IPV6);
	frame_ip(&f, "::", "ff02::1:ff00:200", IPPROTO_ICMPV6);
	frame_ip6(&f)->hop_limit = 255;
	frame_icmp(&f, 135, 0, 0);
	frame_put(&f, addr_of(vips[1]).b, 16);
	frame_end(&f);
	out = run("from_net", &f, if_uplink);
	CHECK_INT(out.verdict, REDIRECT);
	CHECK(memcmp(out.data, (uint8_t[]){0x33, 0x33, 0, 0, 0, 1}, 6) == 0);
	CHECK_INT(neighbour_parse(out.data, out.len, &n), 0);
	CHECK_INT(n.kind, NEIGHBOUR_CLAIM); /* to everybody, not solicited */
}

static void what_is_no_question_is_the_stacks(void)
{
	forget();
	announce(0, if_uplink);
	announce(1, if_uplink);
	for (int v6 = 0; v6 < 2; v6++) {
		struct neighbour n = {.kind = NEIGHBOUR_CLAIM, .about = addr_of(vips[v6])};

		memcpy(n.mac, asker, 6);
		put(&n, NULL);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		ask(v6, clients[v6], vips[v6]);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		CHECK(is_announced(v6)); /* whoever that was */
	}
	ask(0, vips[0], clients[0]);
	f.data[19] = 5; /* five bytes of protocol address */
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	ask(0, vips[0], clients[0]);
	f.len = 30; /* cut short */
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
	ask(1, vips[1], clients[1]);
	f.data[21] = 64; /* from behind a router */
	CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
}

/* A peer's announcement ends ours when no agent is there to do it; nobody else's does, and none while the agent is awake. */
static void it_gives_way_while_the_agent_sleeps(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct neighbour n = {.kind = NEIGHBOUR_CLAIM, .about = addr_of(vips[v6])};

		forget();
		announce(v6, if_uplink);
		CHECK_INT(datapath_announce_awake(dp, 0), 0);
		CHECK_INT(datapath_apply_announce_peers(dp, (const uint8_t(*)[6])ours, 1), 0);
		memcpy(n.mac, asker, 6);
		put(&n, everybody);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		CHECK(is_announced(v6)); /* that was no peer */
		CHECK_INT(datapath_apply_announce_peers(dp, (const uint8_t(*)[6])asker, 1), 0);
		CHECK_INT(datapath_announce_awake(dp, 60000), 0);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		CHECK(is_announced(v6));
		CHECK_INT(datapath_announce_awake(dp, 0), 0);
		CHECK_INT(run("from_net", &f, if_uplink).verdict, TC_ACT_OK);
		CHECK(!is_announced(v6));
	}
}

int main(void)
{
	harness_init();
	RUN(svc_5_who_asks_is_answered);
	RUN(the_arp_answer_is_for_who_asked);
	RUN(the_address_is_defended);
	RUN(what_is_no_question_is_the_stacks);
	RUN(it_gives_way_while_the_agent_sleeps);
	harness_done();
	return test_end();
}
