/* SPDX-License-Identifier: Apache-2.0 */
/* A node that masquerades, for the tests of NAT: packets of pods out through to_net, answers in through from_net. The node is 192.0.2.1
 * and fd30::1 on its uplink. */
#pragma once

#include "base/test.h"
#include "harness.h"
#include "view.h"
#include "weft/nat.h"

#include <bpf/bpf.h>
#include <netinet/in.h>

#define OURS4 "192.0.2.1"
#define OURS6 "fd30::1"

enum { REDIRECT = TC_ACT_REDIRECT };

static struct frame f;

static inline void begin(const char *src, const char *dst, uint8_t proto)
{
	frame_ether(&f, mac_host_a, mac_other, strchr(src, ':') ? ETH_P_IPV6 : ETH_P_IP);
	frame_ip(&f, src, dst, proto);
}

static inline uint8_t icmp_of(const char *addr)
{
	return strchr(addr, ':') ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

/* @flags: of TCP; "Q" and "P": ICMP echo request and reply, with sport as identifier. */
static inline void packet(uint8_t proto, const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *flags)
{
	bool v6 = strchr(src, ':');

	begin(src, dst, proto);
	if (proto == IPPROTO_TCP)
		frame_tcp(&f, sport, dport, flags);
	else if (proto == IPPROTO_UDP)
		frame_udp(&f, sport, dport)->len = htons(8 + 64);
	else
		frame_icmp(&f, *flags == 'Q' ? (v6 ? 128 : 8) : (v6 ? 129 : 0), 0, sport);
	frame_payload(&f, 64);
	frame_end(&f);
	set_transport_sum(&f);
}

static struct outcome out, in;

static inline struct view leave(void)
{
	out = run("to_net", &f, if_uplink);
	CHECK_INT(out.verdict, TC_ACT_OK);
	return view_of(out.data + ETH_HLEN);
}

static inline struct view arrive(int verdict)
{
	in = run("from_net", &f, if_uplink);
	CHECK_INT(in.verdict, verdict);
	return view_of(in.data + ETH_HLEN);
}

#define CHECK_ADDR(a, text)                                                                                            \
	do {                                                                                                           \
		char _t[ADDR_TEXT_MAX];                                                                                \
		CHECK_STR(addr_format(&(a), _t), text);                                                                \
	} while (0)

/* ---- the node ---- */

static inline struct dp_masquerade rules(struct dp_nat_uplink *uplink, const struct dp_exempt *exempt, size_t n, const bool *reserved)
{
	*uplink = (struct dp_nat_uplink){ if_uplink, { addr_of(OURS4), addr_of(OURS6) } };
	return (struct dp_masquerade){ uplink, 1, exempt, n, reserved };
}

static inline void apply(const struct dp_exempt *exempt, size_t n, const bool *reserved)
{
	struct dp_nat_uplink uplink;
	struct dp_masquerade m = rules(&uplink, exempt, n, reserved);

	CHECK_INT(datapath_apply_masquerade(dp, &m), 0);
}

static inline void clear_map(const char *name)
{
	uint8_t key[64];

	while (bpf_map_get_next_key(datapath_map_fd(dp, name), NULL, key) == 0)
		bpf_map_delete_elem(datapath_map_fd(dp, name), key);
}

static inline void forget(void)
{
	uint32_t ids[] = { NAT_OWNER_ALL, 1, 2, NAT_OWNER_NODE, NAT_OWNER_FOREIGN };
	uint64_t none = 0;

	flows_clear();
	clear_map("nat_claims");
	clear_map("nat_forward");
	clear_map("nat_asks");
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		bpf_map_update_elem(datapath_map_fd(dp, "nat_shares"), &ids[i], &none, BPF_ANY);
}

static inline uint64_t claims_of(uint32_t owner)
{
	uint64_t n = UINT64_MAX;

	bpf_map_lookup_elem(datapath_map_fd(dp, "nat_shares"), &owner, &n);
	return n;
}

static inline bool claim_get(uint8_t proto, const char *local, uint16_t port, const char *remote, uint16_t rport, struct nat_claim *ret)
{
	struct nat_key key = { .local_port = htons(port), .remote_port = htons(rport), .proto = proto };
	struct addr l = addr_of(local), r = addr_of(remote);

	memcpy(&key.local, &l, 16);
	memcpy(&key.remote, &r, 16);
	return bpf_map_lookup_elem(datapath_map_fd(dp, "nat_claims"), &key, ret) == 0;
}

static inline void reopen(void)
{
	harness_reopen();
	apply(NULL, 0, NULL);
}

static inline void restore(void)
{
	dp_config.nat_port_min = 1024;
	dp_config.nat_port_max = 65535;
	dp_config.nat_max = NAT_MAX;
	dp_config.nat_share = NAT_SHARE;
	dp_config.fast_path = true;
	dp_config.foreign_nat = false;
	dp_config.masquerade[0] = dp_config.masquerade[1] = true;
	reopen();
	forget();
}

static inline void CHECK_same(const char *what)
{
	out = run("to_net", &f, if_uplink);
	if (out.verdict != TC_ACT_OK || out.len != f.len || memcmp(out.data, f.data, f.len) != 0)
		printf("# changed: %s\n", what);
	CHECK_INT(out.verdict, TC_ACT_OK);
	CHECK(out.len == f.len && memcmp(out.data, f.data, f.len) == 0);
}

static const struct {
	const char *pod, *ours, *world;
} families[] = { { A4, OURS4, WORLD4 }, { A6, OURS6, WORLD6 } };
