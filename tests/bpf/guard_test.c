/* SPDX-License-Identifier: Apache-2.0 */
/* The underlay guard: what of pods is dropped at an uplink, both ways, both families; what has to pass. */
#include "base/test.h"
#include "harness.h"

#include <bpf/bpf.h>

static struct frame f;

#define PEER4 "192.0.2.3"
#define PEER6 "fd30::3"

/* Both ends as they are seen on the wire. */
static const struct pair {
	const char *src, *dst;
	bool forbidden;
} pairs[] = {
	{ TUNNEL4, A4, true },	  { TUNNEL6, A6, true },   /* pod to pod */
	{ "10.9.200.7", A4, true }, { "fd09:0:0:ffff::7", A6, true }, /* of a node that is not known yet */
	{ A4, PEER4, true },	  { A6, PEER6, true },	   /* pod to node */
	{ PEER4, A4, true },	  { PEER6, A6, true },	   /* node to pod */
	{ A4, WORLD4, false },	  { A6, WORLD6, false },   /* pods and the world */
	{ WORLD4, A4, false },	  { WORLD6, A6, false },
	{ "192.0.2.1", PEER4, false }, { "fd30::1", PEER6, false }, /* between nodes: what is encrypted looks like this */
	{ PEER4, WORLD4, false }, { "198.51.100.1", "198.51.100.2", false },
};

static void apply_guard(void)
{
	static const char *const pods[] = { "10.9.0.0/16", "fd09::/16" }, *const nodes[] = { "192.0.2.1", PEER4, "fd30::1", PEER6 };
	struct dp_guarded list[ARRAY_SIZE(pods) + ARRAY_SIZE(nodes)] = {};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pods); i++)
		CHECK_INT(prefix_parse(pods[i], &list[n++].prefix, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		struct addr a = addr_of(nodes[i]);

		list[n++] = (struct dp_guarded){ .prefix = prefix_host(&a), .node = true };
	}
	CHECK_INT(datapath_apply_guard(dp, list, n), 0);
	CHECK_INT(datapath_apply_guard(dp, list, n), 0); /* idempotent */
}

static void frame_of(const struct pair *p, uint8_t proto, bool later_fragment)
{
	frame_ether(&f, mac_host_a, mac_host_a, strchr(p->src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, p->src, p->dst, proto);
	if (later_fragment)
		f.data[14 + 7] = 100; /* IPv4: the offset's low byte */
	frame_payload(&f, 64);
	frame_end(&f);
}

static bool guard_drops(const char *program, enum drop_reason why)
{
	uint64_t before = drops_of(why);
	bool shot = run(program, &f, if_uplink).verdict == TC_ACT_SHOT, counted = drops_of(why) != before;

	CHECK(shot || !counted);
	return counted;
}

static void without_it_everything_passes(void)
{
	dp_config.guard = false;
	harness_reopen();
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		frame_of(&pairs[i], IPPROTO_UDP, false);
		CHECK(!guard_drops("from_net", DROP_PLAINTEXT_IN));
		CHECK(!guard_drops("to_net", DROP_PLAINTEXT_OUT));
	}
}

static void plaintext_of_pods_passes_no_uplink(void)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IPIP, 253 };

	dp_config.guard = true;
	harness_reopen();
	apply_guard();
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		for (size_t k = 0; k < ARRAY_SIZE(protocols); k++) {
			frame_of(&pairs[i], protocols[k], false);
			CHECK(guard_drops("from_net", DROP_PLAINTEXT_IN) == pairs[i].forbidden);
			CHECK(guard_drops("to_net", DROP_PLAINTEXT_OUT) == pairs[i].forbidden);
		}
}

static void fragments_without_ports_are_seen(void)
{
	frame_of(&pairs[0], IPPROTO_UDP, true);
	CHECK(guard_drops("from_net", DROP_PLAINTEXT_IN));
	CHECK(guard_drops("to_net", DROP_PLAINTEXT_OUT));
}

/* An IPv6 header around the IPv4-mapped form of a pod's address. */
static void mapped_addresses_are_seen(void)
{
	struct pair mapped = { "::1", "::2" };

	frame_of(&mapped, IPPROTO_UDP, false);
	for (int end = 0; end < 2; end++) {
		struct addr a = addr_of(end ? A4 : TUNNEL4);

		memcpy(f.data + 14 + 8 + 16 * end, a.b, 16);
	}
	CHECK(guard_drops("from_net", DROP_PLAINTEXT_IN));
	CHECK(guard_drops("to_net", DROP_PLAINTEXT_OUT));
}

static void it_outlives_what_told_it(void)
{
	dp = datapath_close(dp); /* the agent dies, another one comes */
	harness_reopen();
	frame_of(&pairs[0], IPPROTO_UDP, false);
	CHECK(guard_drops("from_net", DROP_PLAINTEXT_IN));
	CHECK(guard_drops("to_net", DROP_PLAINTEXT_OUT));
	CHECK_INT(datapath_apply_guard(dp, NULL, 0), 0);
	CHECK(!guard_drops("from_net", DROP_PLAINTEXT_IN));
}

int main(void)
{
	harness_init();
	RUN(without_it_everything_passes);
	RUN(plaintext_of_pods_passes_no_uplink);
	RUN(fragments_without_ports_are_seen);
	RUN(mapped_addresses_are_seen);
	RUN(it_outlives_what_told_it);
	harness_done();
	return test_end();
}
