/* SPDX-License-Identifier: Apache-2.0 */
/* The truth tables of tests/policy/vectors.c by the datapath: compiled maps are applied as the agent does it, each probe is a packet that
 * runs through the program that it would meet. Every pod of a case is a pod of this node. */
#include "agent/policy_apply.h"
#include "base/test.h"
#include "harness.h"
#include "policy/vectors.h"
#include "weft/endpoint.h"

#include <bpf/bpf.h>

static struct policy_apply applied;
static uint16_t sport = 1024;

void vectors_start(void)
{
	harness_init();
}

void vectors_end(void)
{
	policy_apply_forget(&applied);
	harness_done();
}

void vectors_compiled(const struct offline *o)
{
	CHECK_INT(policy_apply(&applied, dp, o->maps), 0);
	while (policy_apply_is_leaving(&applied))
		CHECK_INT(policy_apply_finish(&applied), 0);
	CHECK(!policy_apply_is_failed(&applied));
}

/* From the next packet on, the interface of pod A is that of the pod with this address. */
static void become(const struct addr *a)
{
	struct pod_iface iface = { .id = 1 };
	int map = datapath_map_fd(dp, "pod_ifaces");

	memset(iface.addrs, ADDR_ABSENT_BYTE, sizeof(iface.addrs));
	memcpy(&iface.addrs[!addr_is_v4(a)], a, sizeof(*a));
	memcpy(iface.pod_mac, mac_pod_a, 6);
	memcpy(iface.host_mac, mac_host_a, 6);
	CHECK_INT(bpf_map_update_elem(map, &if_a, &iface, BPF_ANY), 0);
}

static void build(struct frame *f, bool from_pod, const struct addr *src, const struct addr *dst, uint8_t protocol, uint16_t port)
{
	char s[ADDR_TEXT_MAX], d[ADDR_TEXT_MAX];
	struct { uint16_t sport, dport; uint32_t tag, sum; uint8_t chunk[20]; } init = { .chunk = { 1, 0, 0, 20 } };

	sport = sport == 65535 ? 1024 : sport + 1;
	frame_ether(f, from_pod ? mac_host_a : mac_pod_a, from_pod ? mac_pod_a : mac_host_a, addr_is_v4(src) ? ETH_P_IP : ETH_P_IPV6);
	frame_ip(f, addr_format(src, s), addr_format(dst, d), protocol);
	if (protocol == IPPROTO_TCP) {
		frame_tcp(f, sport, port, "S");
	} else if (protocol == IPPROTO_UDP) {
		frame_udp(f, sport, port);
	} else {
		init.sport = htons(sport);
		init.dport = htons(port);
		frame_put(f, &init, sizeof(init));
	}
	frame_end(f);
}

/* A node's packets reach a pod through the stack; between two nodes, or from one to the world, nobody judges. */
bool vectors_judge(const struct offline *o, const struct offline_end *src, const struct offline_end *dst, uint8_t protocol, uint16_t port)
{
	bool from_pod = !src->node;
	enum drop_reason why;
	struct frame f;
	int verdict;

	(void)o;
	if (!from_pod && dst->node)
		return true;
	become(from_pod ? &src->addr : &dst->addr);
	build(&f, from_pod, &src->addr, &dst->addr, protocol, port);
	harness_came_by = src->node && streq(src->node, dst->pod_node) ? 0 : if_b;
	flows_forgive();
	last_drop();
	verdict = run(from_pod ? "from_pod" : "to_pod", &f, if_a).verdict;
	if (verdict != TC_ACT_SHOT)
		return true;
	why = last_drop();
	if (!drop_is_by_policy(why))
		printf("# dropped for %s\n", drop_reason_label(why));
	CHECK(drop_is_by_policy(why));
	return false;
}
