/* SPDX-License-Identifier: Apache-2.0 */
/* The largest segment that SYNs speak of, lowered to the path (bpf/lib/mss.h): both families, both ways, at even and odd places, and
 * options that lie. */
#include "base/test.h"
#include "harness.h"
#include "net/netns.h"
#include "net/rtnl.h"
#include "view.h"

enum { WORLD_MTU = 1400 };

static struct frame f;

/* A segment whose options are @n bytes, the header's length in words as @doff says (0: as it is). */
static void segment(const char *src, const char *dst, const char *flags, const void *options, size_t n, unsigned doff)
{
	struct tcphdr *tcp;

	frame_ether(&f, mac_host_a, mac_pod_a, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, IPPROTO_TCP);
	tcp = frame_tcp(&f, 40000, 80, flags);
	tcp->doff = doff ? doff : 5 + (n + 3) / 4;
	frame_put(&f, options, n);
	frame_end(&f);
	set_transport_sum(&f);
}

/* What the option at @off of the options says; the checksums are right. */
static unsigned mss_after(const char *program, uint32_t ifindex, size_t off)
{
	struct outcome o = run(program, &f, ifindex);
	struct view v = view_of(o.data + ETH_HLEN);
	const uint8_t *at = v.ip + v.l4 + 20 + off;

	CHECK(o.verdict != TC_ACT_SHOT);
	CHECK_INT(o.len, f.len);
	CHECK_SUMS(&v);
	return at[2] << 8 | at[3];
}

static void is_untouched(const char *program, uint32_t ifindex)
{
	struct outcome o = run(program, &f, ifindex);

	CHECK(o.verdict != TC_ACT_SHOT);
	CHECK(o.len == f.len && memcmp(o.data + f.l4, f.data + f.l4, f.len - f.l4) == 0);
}

#define MSS_OF(mss) 2, 4, (mss) >> 8, (mss) & 255
static const uint8_t plain[] = { MSS_OF(8960) };
static const uint8_t at_odd[] = { 1, MSS_OF(8960), 1, 1, 1 };
static const uint8_t behind_others[] = { 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 3, 7, MSS_OF(8960), 0 };

static const struct {
	const char *pod, *far;
	unsigned mtu; /* 0: nothing to keep to */
} paths[] = { { A4, TUNNEL4, 1450 }, { A6, TUNNEL6, 1450 },	 { A4, DIRECT4, 1500 }, { A6, DIRECT6, 1500 },
	      { A4, WORLD4, WORLD_MTU }, { A6, WORLD6, WORLD_MTU }, { A4, B4, 0 },	 { A6, B6, 0 } };

static void each_path_both_ways(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		unsigned fits = paths[i].mtu ? paths[i].mtu - (strchr(paths[i].pod, ':') ? 60 : 40) : 8960;

		for (int ack = 0; ack < 2; ack++) {
			const char *flags = ack ? "SA" : "S";

			flows_clear();
			segment(paths[i].pod, paths[i].far, flags, plain, sizeof(plain), 0);
			CHECK_INT(mss_after("from_pod", if_a, 0), fits);
			segment(paths[i].pod, paths[i].far, flags, at_odd, sizeof(at_odd), 0);
			CHECK_INT(mss_after("from_pod", if_a, 1), fits);
			segment(paths[i].pod, paths[i].far, flags, behind_others, sizeof(behind_others), 0);
			CHECK_INT(mss_after("from_pod", if_a, 15), fits);
			segment(paths[i].far, paths[i].pod, flags, at_odd, sizeof(at_odd), 0);
			CHECK_INT(mss_after("to_pod", if_a, 1), fits);
		}
	}
}

static void past_the_stack_as_well(void)
{
	flows_clear();
	segment(DIRECT4, A4, "S", plain, sizeof(plain), 0);
	CHECK_INT(mss_after("from_net", if_uplink, 0), 1460);
	segment(DIRECT6, A6, "S", at_odd, sizeof(at_odd), 0);
	CHECK_INT(mss_after("from_net", if_uplink, 1), 1440);
}

static void what_fits_and_what_is_no_syn_is_left_alone(void)
{
	static const uint8_t fits[] = { MSS_OF(1410) };

	flows_clear();
	segment(A4, TUNNEL4, "S", fits, sizeof(fits), 0);
	is_untouched("from_pod", if_a);
	segment(A4, TUNNEL4, "S", NULL, 0, 0);
	is_untouched("from_pod", if_a);
	segment(A4, TUNNEL4, "A", plain, sizeof(plain), 0);
	is_untouched("from_pod", if_a);
}

/* Followed by a true option where the liar points, or by one that a reader out of bounds would find. */
static void options_that_lie_are_left_alone(void)
{
	static const struct {
		uint8_t options[40];
		uint8_t n, doff;
	} cases[] = {
		{ { 8, 0, MSS_OF(8960), 0, 0 }, 8, 0 },	  /* no length: a loop would stand still */
		{ { 8, 1, MSS_OF(8960), 0, 0 }, 8, 0 },	  /* less than its own two bytes */
		{ { 8, 250, MSS_OF(8960), 0, 0 }, 8, 0 }, /* to behind the end */
		{ { 2, 3, 255, 255 }, 4, 0 },		  /* a segment size of one byte */
		{ { 2, 6, 255, 255, 255, 255, 0, 0 }, 8, 0 },
		{ { 1, 1, 2, 4, 255, 255, 0, 0 }, 8, 6 }, /* the value lies behind the header */
		{ { 0, MSS_OF(8960), 0, 0, 0 }, 8, 0 },	  /* behind the end of the list */
		{ { MSS_OF(8960) }, 4, 15 },		  /* a header that is longer than the packet */
		{ { 1, 1, 1, 2 }, 4, 0 },		  /* cut off */
	};
	uint8_t noops[40];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		flows_clear();
		segment(A4, TUNNEL4, "S", cases[i].options, cases[i].n, cases[i].doff);
		is_untouched("from_pod", if_a);
		segment(A6, TUNNEL6, "S", cases[i].options, cases[i].n, cases[i].doff);
		is_untouched("from_pod", if_a);
	}
	memset(noops, 1, sizeof(noops));
	segment(A4, TUNNEL4, "S", noops, sizeof(noops), 0);
	is_untouched("from_pod", if_a);
	memcpy(noops + 36, plain, 4); /* the last place there is */
	segment(A4, TUNNEL4, "S", noops, sizeof(noops), 0);
	CHECK_INT(mss_after("from_pod", if_a, 36), 1410);
}

static void off_it_does_nothing(void)
{
	dp_config.mss_clamp = false;
	harness_reopen();
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		segment(paths[i].pod, paths[i].far, "S", plain, sizeof(plain), 0);
		is_untouched("from_pod", if_a);
	}
}

/* A node that forwards, by an uplink that is narrower than what the node table says of direct peers. */
static void open_the_world(void)
{
	_cleanup_close_ int self = netns_open_self();
	_cleanup_(rtnl_closep) struct rtnl *nl = NULL;
	static const char *const ranges[] = { "198.51.100.0/24", "2001:db8::/32" };

	CHECK(self >= 0 && netns_sysctl(self, "ipv4/ip_forward", "1") == 0);
	CHECK_INT(netns_sysctl(self, "ipv6/conf/all/forwarding", "1"), 0);
	CHECK_INT(rtnl_open(&nl), 0);
	CHECK_INT(rtnl_set_link_mtu(nl, if_uplink, WORLD_MTU), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		struct route r = { .oif = if_uplink };

		CHECK_INT(prefix_parse(ranges[i], &r.dst, NULL), 0);
		CHECK_INT(rtnl_replace_route(nl, &r), 0);
	}
}

int main(void)
{
	harness_quiet = false; /* the pods' kernels speak IPv6, too */
	harness_init();
	open_the_world();
	dp_config.mss_clamp = true;
	harness_reopen();
	RUN(each_path_both_ways);
	RUN(past_the_stack_as_well);
	RUN(what_fits_and_what_is_no_syn_is_left_alone);
	RUN(options_that_lie_are_left_alone);
	RUN(off_it_does_nothing);
	harness_done();
	return test_end();
}
